"""Data efficiency: how many pairs of one recipe reach what another reaches with few."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stat_train.claims.measures import PAIRS, Change, Training, against, gain
from stat_train.claims.verdicts import points
from stat_train.evaluation.summary import FINE_TUNED

REFERENCE, REFERENCE_PAIRS = "stat_sel", 1000
DASH = "–"


class Reached(NamedTuple):
    """At how many pairs a recipe reaches the reference: infinity where it does not within the sweep.

    `of_means` is of the mean curve, with 95 % bounds (None where the changes have none), `by_seed` of each seed's. None
    stands for nothing to reach: the reference is not above the untrained student there. `fewest` and `most` are the
    sweep's pairs; `above_with_most` is by how much the recipe is above the reference with the most of them.
    """

    of_means: float | None
    low: float | None
    high: float | None
    by_seed: dict[int, float | None]
    fewest: int
    most: int
    above_with_most: Change


def efficiency(every: Sequence[Training]) -> str:
    """Return a table of how many pairs reach what STAT-Sel does with 1,000; "" where no recipe has a curve."""
    curves = curves_of(every)
    if REFERENCE_PAIRS not in curves.get(REFERENCE, {}):
        return ""
    others = [recipe for recipe, sizes in curves.items() if recipe != REFERENCE and len(sizes) > 1]
    found = {recipe: each for recipe in others if (each := reached(curves, recipe)) and any(each.by_seed.values())}
    if not found:
        return ""
    return (
        f"Pairs that reach what `{REFERENCE}` reaches with {REFERENCE_PAIRS:,}, straight lines between sizes (on a "
        f"logarithmic scale); {DASH} where `{REFERENCE}` gained nothing with so few. The 95 % intervals hold the sizes "
        f"at which the two cannot be told apart, from 0 where the gain of `{REFERENCE}` is not sure:\n\n"
        f"|  | mean curve | times as many | seed by seed | its most pairs against those {REFERENCE_PAIRS:,} |\n"
        "| --- | --- | --- | --- | --- |\n" + "\n".join(_row(recipe, each) for recipe, each in found.items())
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


def reached(curves: Mapping[str, Mapping[int, Training]], recipe: str) -> Reached | None:
    """Return at how many pairs a recipe reaches the reference, of the seeds that all have; None without any.

    The bounds are where those of the difference between the two cross zero, so they are as wide as the table's.
    """
    reference, sizes = curves[REFERENCE][REFERENCE_PAIRS], curves[recipe]
    seeds = [seed for seed in reference.runs if all(seed in each.runs for each in sizes.values())]
    if not seeds:
        return None
    goal, *curve = (
        each._replace(runs={seed: each.runs[seed] for seed in seeds}) for each in (reference, *sizes.values())
    )
    headline, pairs = goal.first.headline, list(sizes)
    gained, above = gain(goal, headline), [change for each in curve if (change := against(goal, each, headline))]
    low, high = _bounds(pairs, gained, above)
    by_seed = [
        _crossing(pairs, each) if at > 0 else None
        for at, *each in zip(gained.per_seed, *(change.per_seed for change in above), strict=True)
    ]
    return Reached(
        of_means=_crossing(pairs, [change.points for change in above]) if gained.points > 0 else None,
        low=low,
        high=high,
        by_seed=dict(zip(seeds, by_seed, strict=True)),
        fewest=pairs[0],
        most=pairs[-1],
        above_with_most=above[-1],
    )


def _bounds(pairs: Sequence[int], gained: Change, above: Sequence[Change]) -> tuple[float | None, float | None]:
    """Return the fewest pairs of which it is not sure that they fall short, and the fewest that surely do not."""
    bounds = [(change.low, change.high) for change in above if change.low is not None and change.high is not None]
    if not bounds:
        return None, None
    lows, highs = zip(*bounds, strict=True)
    return _crossing(pairs, highs) if gained.is_above_zero else 0.0, _crossing(pairs, lows)


def _crossing(pairs: Sequence[int], above: Sequence[float]) -> float:
    """Return the pairs at which a curve first comes up to 0: what the fewest do already, infinity for never."""
    places = list(zip(pairs, above, strict=True))
    if places[0][1] >= 0:
        return float(places[0][0])
    for (low, before), (high, after) in itertools.pairwise(places):
        if after >= 0:
            share = -before / (after - before)
            return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return math.inf


def _row(recipe: str, found: Reached) -> str:
    by_seed = ", ".join(f"{seed}: {_size(pairs, found)}" for seed, pairs in found.by_seed.items())
    cells = (_size(found.of_means, found), _times(found), by_seed, points(found.above_with_most))
    return f"| `{recipe}` | {' | '.join(cells)} |"


def _times(found: Reached) -> str:
    def times(pairs: float) -> str:
        return f"{_bound(pairs, found)}{min(pairs, found.most) / REFERENCE_PAIRS:.1f}"

    if found.of_means is None:
        return DASH
    if found.low is None or found.high is None:
        return times(found.of_means)
    if found.low == math.inf:
        return f"{times(found.of_means)}, as are both bounds"
    return f"{times(found.of_means)} ({times(found.low)} to {times(found.high)})"


def _size(pairs: float | None, found: Reached) -> str:
    return DASH if pairs is None else f"{_bound(pairs, found)}{min(pairs, found.most):,.0f}"


def _bound(pairs: float, found: Reached) -> str:
    """Return the words for what is known as a bound alone, because the sweep has no fewer or no more pairs."""
    if math.isinf(pairs):
        return "more than "
    return "at most " if pairs == found.fewest else ""
