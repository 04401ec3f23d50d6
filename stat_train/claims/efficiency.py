"""Data efficiency: how many pairs of one recipe reach what another reaches with few."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from stat_train.claims.measures import PAIRS, Training, known
from stat_train.claims.results import Scores
from stat_train.evaluation.over_seeds import drawn_means
from stat_train.evaluation.statistics import expanded_tail
from stat_train.evaluation.summary import BASE, FINE_TUNED

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Floats = NDArray[float64]

REFERENCE, REFERENCE_PAIRS = "stat_sel", 1000
# The bounds of few seeds lie far out, where 1,000 have too few.
RESAMPLES = 2000
DASH = "–"


class Reached(NamedTuple):
    """At how many pairs a recipe reaches the reference: infinity where it does not within the sweep.

    `of_means` is of the mean curves, with 95 % bounds (None for one seed), `by_seed` of each seed's. At `fewest` it may
    do so with fewer. None stands for nothing to reach: there the reference is not above the untrained student, which
    the bounds count as no pairs.
    """

    recipe: str
    of_means: float | None
    low: float | None
    high: float | None
    by_seed: list[float | None]
    fewest: int
    most: int


def efficiency(every: Sequence[Training]) -> str:
    """Return a table of how many pairs reach what STAT-Sel does with 1,000; "" where no recipe has a curve."""
    curves = curves_of(every)
    if REFERENCE_PAIRS not in curves.get(REFERENCE, {}):
        return ""
    others = [recipe for recipe, sizes in curves.items() if recipe != REFERENCE and len(sizes) > 1]
    found = [each for recipe in others if any((each := reached(curves, recipe)).by_seed)]
    if not found:
        return ""
    return (
        f"Pairs that reach what `{REFERENCE}` reaches with {REFERENCE_PAIRS:,}, straight lines between sizes (on a "
        "logarithmic scale), with 95 % intervals from seeds and questions drawn anew together, as wide for few seeds "
        f"as Student's t; {DASH} where `{REFERENCE}` gained nothing with so few, which counts as 0 pairs in the "
        "intervals:\n\n"
        "|  | mean curves | times as many | seed by seed |\n| --- | --- | --- | --- |\n" + "\n".join(map(_row, found))
    )


def curves_of(every: Sequence[Training]) -> dict[str, dict[int, Training]]:
    """Return the trainings of each recipe by their number of pairs, of a sweep that varies it.

    A recipe that was trained in several ways with as many pairs has no such curve.
    """
    found: dict[str, dict[int, list[Training]]] = {}
    for each in every:
        if PAIRS in each.first.varies and each.arm == FINE_TUNED:
            found.setdefault(each.recipe, {}).setdefault(int(each.first.varies[PAIRS]), []).append(each)
    return {
        recipe: {pairs: trained[0] for pairs, trained in sorted(sizes.items())}
        for recipe, sizes in found.items()
        if all(len(trained) == 1 for trained in sizes.values())
    }


def reached(curves: Mapping[str, Mapping[int, Training]], recipe: str) -> Reached:
    """Return at how many pairs a recipe reaches the reference, of the seeds that both have.

    Each resample of seeds and questions has curves of its own, whose crossing is worked out anew.
    """
    reference, sizes = curves[REFERENCE][REFERENCE_PAIRS], curves[recipe]
    seeds = [seed for seed in reference.runs if all(seed in each.runs for each in sizes.values())]
    pairs, fewest, most = list(sizes), min(sizes), max(sizes)
    if not seeds:
        return Reached(recipe, None, None, None, [], fewest, most)
    goal, *gains = _gains([reference, *sizes.values()], seeds)
    by_seed = [
        crossing(pairs, each, at) for at, *each in zip(*(gain.mean(axis=1) for gain in (goal, *gains)), strict=True)
    ]
    of_means = crossing(pairs, [float(gain.mean()) for gain in gains], float(goal.mean()))
    if len(seeds) == 1:
        return Reached(recipe, of_means, None, None, by_seed, fewest, most)
    low, high = _bounds(pairs, gains, goal)
    return Reached(recipe, of_means, low, high, by_seed, fewest, most)


def _gains(every: Sequence[Training], seeds: Sequence[int]) -> Floats:
    """Return what trainings gained by training, seed and question, of questions that all have scored.

    Where seeds have questions of their own, what is gained on all of a seed's stands for them.
    """
    import numpy

    runs = [[each.runs[seed] for seed in seeds] for each in every]
    scores = [[(run.scores[BASE][run.headline], run.scores[FINE_TUNED][run.headline]) for run in row] for row in runs]
    if len({run.questions[run.headline] for row in runs for run in row}) > 1:
        return numpy.array([[[_mean(after) - _mean(before)] for before, after in row] for row in scores])
    # None becomes not-a-number.
    by_arm: Floats = numpy.array(scores, dtype=float)
    gains = by_arm[:, :, 1] - by_arm[:, :, 0]
    return gains[:, :, ~numpy.isnan(gains).any(axis=(0, 1))]


def _mean(scores: Scores) -> float:
    found = list(known(scores))
    return sum(found) / len(found) if found else math.nan


def _bounds(pairs: Sequence[int], gains: Sequence[Floats], goal: Floats) -> tuple[float, float]:
    drawn = [drawn_means(gain, 0, RESAMPLES).tolist() for gain in (goal, *gains)]
    crossings = sorted(crossing(pairs, each, at) or 0.0 for at, *each in zip(*drawn, strict=True))
    beyond = int(expanded_tail(len(goal)) * RESAMPLES)
    return crossings[beyond], crossings[-1 - beyond]


def crossing(pairs: Sequence[int], gains: Sequence[float], goal: float) -> float | None:
    """Return the pairs at which a curve of gains first reaches a goal: infinity for never, None for a goal of nothing.

    What the fewest pairs reach already is reached at so many.
    """
    if goal <= 0:
        return None
    points = list(zip(pairs, gains, strict=True))
    if points[0][1] >= goal:
        return float(points[0][0])
    for (low, before), (high, after) in itertools.pairwise(points):
        if after >= goal:
            share = (goal - before) / (after - before)
            return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return math.inf


def _row(found: Reached) -> str:
    def size(pairs: float | None) -> str:
        return DASH if pairs is None else f"{_bound(pairs, found)}{min(pairs, found.most):,.0f}"

    def times(pairs: float | None) -> str:
        return DASH if pairs is None else f"{_bound(pairs, found)}{min(pairs, found.most) / REFERENCE_PAIRS:.1f}"

    bounds = "" if found.low is None else f" ({times(found.low)} to {times(found.high)})"
    by_seed = ", ".join(map(size, found.by_seed))
    return f"| `{found.recipe}` | {size(found.of_means)} | {times(found.of_means)}{bounds} | {by_seed} |"


def _bound(pairs: float, found: Reached) -> str:
    """Return the words for what is known as a bound alone, because the sweep has no fewer or no more pairs."""
    if math.isinf(pairs):
        return "more than "
    return "at most " if pairs == found.fewest else ""
