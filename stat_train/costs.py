"""What a run cost, for its manifest: what it paid for replies, and how long its stages kept devices busy."""

from __future__ import annotations

from stat_train.config import Endpoint, LocalStudent
from stat_train.device_seconds import device_seconds
from stat_train.models.budget import Price
from stat_train.run import Run, Summary

# The stages that load a model's weights; one that was made before seconds were counted has none to tell.
ON_DEVICES = ("answer", "score", "train", "validate", "rl", "benchmark")


def costs_of(run: Run) -> Summary:
    """Return `paid` (replies: calls, tokens, dollars) and `device_seconds` (artifact -> device -> seconds, or None)."""
    expected = ON_DEVICES if isinstance(run.config.student, LocalStudent) else ()
    seconds = {artifact: device_seconds(artifact.folder) for artifact in run.folder.made}
    on_devices = {
        artifact.name: found for artifact, found in seconds.items() if found is not None or artifact.stage in expected
    }
    return {"paid": paid(run), "device_seconds": on_devices}


def paid(run: Run) -> Summary:
    """Return what this run paid for replies over all its restarts; `usd` is None when a price is not known.

    `at_most`: calls under way when a process ended are in it, counted at their most.
    """
    config = run.config
    asked = [config.student, config.teacher, *([run.second.settings] if config.audit.sample else [])]
    endpoints = [each for each in asked if isinstance(each, Endpoint)]
    if not endpoints:
        return {"calls": 0, "tokens": 0, "usd": 0.0, "at_most": False}
    prices = [Price(each.usd_per_million_input_tokens, each.usd_per_million_output_tokens) for each in endpoints]
    spent, known = run.budget.spent, all(price.usd(0, 0) is not None for price in prices)
    usd = round(spent.usd, 6) if known or not spent.calls else None
    return {"calls": spent.calls, "tokens": spent.tokens, "usd": usd, "at_most": bool(run.budget.uncertain.calls)}
