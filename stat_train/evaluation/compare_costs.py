"""What the runs of a comparison cost: tokens trained, dollars paid for replies, seconds on devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from stat_train.device_seconds import in_all
from stat_train.evaluation.compare_runs import RunResult
from stat_train.evaluation.summary import FINE_TUNED, PROMPTED


class Costs(NamedTuple):
    """What a model cost; None where it is not known, as in runs that were made before it was written down.

    `trained_tokens` passed the optimizer, over all epochs, prompts and answers, without padding; to reinforcement
    learning they are its rollouts, after those of the fine-tuning that it started from. Dollars and seconds are the
    whole run's: `teacher_usd` what it paid itself, at most so much where `usd_at_most`; `device_seconds` those of every
    stage that loads weights, evaluation included, times its devices ("gpu", "cpu" or both), without a server's.
    `shared_seconds` of them are of stages that others of the compared runs count too. With several seeds, all are means
    over their runs.
    """

    trained_tokens: float | None
    points_per_million_tokens: float | None
    teacher_usd: float | None
    usd_at_most: bool
    device_seconds: float | None
    device: str | None
    seconds_by_stage: dict[str, float]
    shared_seconds: float


def costs_of_runs(runs: Sequence[RunResult], arm: str, gain: float | None, every: Sequence[RunResult]) -> Costs:
    """Return what an arm cost, on average over the runs that made it; `gain` is in shares, `every` run compared."""
    tokens = _mean([trained_tokens(run, arm) for run in runs])
    shared = _shared_stages(every)
    devices = {device for run in runs for found in _stages(run).values() for device in found or ()}
    return Costs(
        trained_tokens=tokens,
        points_per_million_tokens=100 * gain / (tokens / 1e6) if tokens and gain is not None else None,
        teacher_usd=_mean([_paid(run) for run in runs]),
        usd_at_most=any(bool(((run.costs or {}).get("paid") or {}).get("at_most")) for run in runs),
        device_seconds=_mean([_device_seconds(run) for run in runs]),
        device=" and ".join(sorted(devices)) or None,
        seconds_by_stage=_by_stage(runs),
        shared_seconds=sum(_sum(found) for run in runs for name, found in _stages(run).items() if name in shared)
        / len(runs),
    )


def trained_tokens(run: RunResult, arm: str) -> int | None:
    """Return the tokens that the optimizer saw on the way to an arm; None when that was not written down.

    Of several learning rates, the tokens of the one that was chosen.
    """
    if arm == PROMPTED:
        return 0
    told = ("fine_tuning_tokens", *(() if arm == FINE_TUNED else ("reinforcement_tokens",)))
    counts: list[int | None] = [(run.costs or {}).get(name) for name in told]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _paid(run: RunResult) -> float | None:
    paid = (run.costs or {}).get("paid") or {}
    usd = paid.get("usd")
    return None if usd is None else float(usd)


def _stages(run: RunResult) -> dict[str, dict[str, float] | None]:
    """Return by artifact the seconds on each device, None for one that loaded weights and did not count them."""
    found: dict[str, dict[str, float] | None] = (run.costs or {}).get("device_seconds") or {}
    return found


def _device_seconds(run: RunResult) -> float | None:
    found = in_all(_stages(run))
    return None if found is None else _sum(found)


def _by_stage(runs: Sequence[RunResult]) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for run in runs:
        for name, found in _stages(run).items():
            stage = name.rpartition("-")[0]
            seconds[stage] = seconds.get(stage, 0.0) + _sum(found)
    return {stage: round(total / len(runs), 2) for stage, total in seconds.items()}


def _shared_stages(every: Sequence[RunResult]) -> set[str]:
    counts = Counter(name for run in every for name in _stages(run))
    return {name for name, count in counts.items() if count > 1}


def _sum(found: dict[str, float] | None) -> float:
    return sum((found or {}).values())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
