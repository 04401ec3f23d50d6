"""The claims of the suite, each with what was measured and whether it holds; what does not is said as plainly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from stat_train.claims.measures import (
    Change,
    Training,
    added_by_rl,
    against,
    baselines,
    beside,
    best_baseline,
    by_student,
    gain,
)
from stat_train.claims.results import NOT_MISSING_BELOW, RETAINED
from stat_train.evaluation.summary import FINE_TUNED, REINFORCED

LONGER = "longer_chains"
NEEDED = f"no skill is needed that was missing in {100 * NOT_MISSING_BELOW:g} % of its questions or more"
ABOVE_BEST, ABOVE_BASE, LOST, ADDED = 1.5, 6.0, 1.0, 5.0
CLAIMED, NAIVE = ("stat_sel", "stat_syn"), ("pool", "augment")


class Verdict(NamedTuple):
    """A claim in words, what was measured, and whether it holds; None while what it is measured by is not whole."""

    claim: str
    measured: str
    holds: bool | None


def verdicts(every: Sequence[Training]) -> list[Verdict]:
    """Return the claims that the trainings there are can decide: none where a recipe was trained in several ways."""
    fine_tuned = [each for each in every if each.arm == FINE_TUNED]
    tuned = {each.recipe: each for each in fine_tuned}
    if len(tuned) < len(fine_tuned):
        return []
    found = [verdict for recipe in CLAIMED if recipe in tuned for verdict in _of_targeted(tuned[recipe], every)]
    for naive in (tuned[recipe] for recipe in NAIVE if recipe in tuned):
        claimed = [tuned[recipe] for recipe in CLAIMED if recipe in tuned and naive in beside(tuned[recipe], every)]
        found += [_naive(naive, claimed)] if claimed else []
    reinforced = [each for each in every if each.arm == REINFORCED and each.recipe == "stat_sel"]
    return found + [verdict for each in reinforced for verdict in _of_reinforced(each)]


def _of_targeted(training: Training, every: Sequence[Training]) -> Iterator[Verdict]:
    name, headline = training.name, training.first.headline
    best = best_baseline(training, every, headline)
    if best and (above := against(best, training, headline)):
        holds = above.points >= ABOVE_BEST and above.is_above_zero
        claim = f"`{name}` is at least {ABOVE_BEST} points above the best baseline (`{best.name}`), interval above 0"
        lacking = [each.name for each in baselines(training, every) if not training.runs.keys() <= each.runs.keys()]
        measured = f"open: {', '.join(lacking)} lacks seeds" if lacking else _also_by_student(training, above)
        yield Verdict(claim, measured, None if lacking else holds)
    gained = gain(training, headline)
    claim = f"`{name}` gains at least {ABOVE_BASE:g} points on average"
    yield Verdict(claim, points(gained), gained.points >= ABOVE_BASE)
    if RETAINED in training.benchmarks:
        kept = gain(training, RETAINED)
        claim = f"`{name}` loses less than {LOST:g} point on average where {NEEDED}"
        yield Verdict(claim, points(kept), kept.points > -LOST)


def _also_by_student(training: Training, above: Change) -> str:
    """Return a margin, and what it is with a value for each student where some were trained on several seeds."""
    each = by_student(training, above)
    return points(above) + (f"; a value for each student: {points(each)}" if each else "")


def _naive(training: Training, claimed: Sequence[Training]) -> Verdict:
    headline = training.first.headline
    gained, half = gain(training, headline), min(gain(each, headline).points for each in claimed) / 2
    names = " and ".join(f"`{each.name}`" for each in claimed)
    most = f"the lesser of {names}" if len(claimed) > 1 else names
    claim = f"`{training.name}` gains less than half of what {most} gains, on average"
    return Verdict(claim, f"{points(gained)}; half is {half:+.1f}", gained.points < half)


def _of_reinforced(training: Training) -> Iterator[Verdict]:
    changes = {name: added_by_rl(training, name) for name in training.benchmarks}
    if longer := changes.pop(LONGER, None):
        claim = f"`{training.name}`: GRPO adds at least {ADDED:g} points on average on longer chains"
        yield Verdict(claim, points(longer), longer.points >= ADDED)
    lowered = {name: each for name, each in changes.items() if each and each.high is not None and each.high < 0}
    told = ", ".join(f"{name} {points(each)}" for name, each in changes.items() if each)
    yield Verdict(f"`{training.name}`: GRPO lowers no other benchmark beyond its interval", told, not lowered)


def points(change: Change) -> str:
    """Return a change with its bounds, in points."""
    bounds = "" if change.low is None else f" ({change.low:+.1f} to {change.high:+.1f})"
    return f"{change.points:+.1f}{bounds}"
