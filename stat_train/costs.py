"""What a run cost: paid for replies, seconds on devices, tokens trained on. The manifest and the report both say it."""

from __future__ import annotations

import json
from pathlib import Path

from stat_train.config import Endpoint, LocalStudent
from stat_train.device_seconds import device_seconds
from stat_train.models.budget import Price
from stat_train.run import Run, Summary
from stat_train.train_settings import ExternalTraining

# The stages that load a model's weights; one that was made before seconds were counted has none to tell.
ON_DEVICES = ("answer", "score", "train", "validate", "rl", "benchmark", "likelihood", "harness")


def costs_of(run: Run) -> Summary:
    """Return what is known of the costs up to here, which for a finished run is all of them.

    `paid` (replies: calls, tokens, dollars); `device_seconds` (artifact -> device -> seconds, or None); and the tokens
    that the optimizer saw, over all epochs, without padding: `fine_tuning_tokens` those of the model's own fine-tuning,
    `all_fine_tuning_tokens` those of the other learning rates too, both None where it was trained elsewhere;
    `reinforcement_tokens` those of rollouts.
    """
    expected = ON_DEVICES if isinstance(run.config.student, LocalStudent) else ()
    seconds = {artifact: device_seconds(artifact.folder) for artifact in run.folder.made}
    on_devices = {
        artifact.name: found for artifact, found in seconds.items() if found is not None or artifact.stage in expected
    }
    return {"paid": paid(run), "device_seconds": on_devices, **_trained_tokens(run)}


def _trained_tokens(run: Run) -> dict[str, int | None]:
    every = {stage: [each.folder for each in run.folder.made if each.stage == stage] for stage in ("train", "rl")}
    elsewhere = isinstance(run.config.train, ExternalTraining) and run.config.reaches("train")
    # The run folder shows the training that was taken.
    own = [run.folder.folder] if every["train"] else []
    return {
        "fine_tuning_tokens": None if elsewhere else _tokens(own, "trained_tokens"),
        "all_fine_tuning_tokens": None if elsewhere else _tokens(every["train"], "trained_tokens"),
        "reinforcement_tokens": _tokens(every["rl"], "tokens"),
    }


def _tokens(folders: list[Path], name: str) -> int:
    return sum(int(json.loads((folder / "training.json").read_text())[name]) for folder in folders)


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
