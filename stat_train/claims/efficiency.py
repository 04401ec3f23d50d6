"""Data efficiency: how many pairs of one recipe reach what another reaches with few."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median_high
from typing import NamedTuple

from stat_train.claims.measures import PAIRS, Training, known
from stat_train.evaluation.summary import BASE, FINE_TUNED

REFERENCE, REFERENCE_PAIRS = "stat_sel", 1000
DASH = "–"


class Reached(NamedTuple):
    """At how many pairs a recipe reaches the reference, for each seed; infinity where it does not within the sweep.

    At `fewest` it may do so with fewer. It is None where the reference is not above the untrained student.
    """

    recipe: str
    pairs: list[float | None]
    fewest: int
    most: int


def efficiency(every: Sequence[Training]) -> str:
    """Return in words how many pairs of each other recipe reach what STAT-Sel does with 1,000; "" without a curve."""
    curves = curves_of(every)
    if REFERENCE_PAIRS not in curves.get(REFERENCE, {}) or len(curves) < 2:
        return ""
    every_recipe = [reached(curves, recipe) for recipe in curves if recipe != REFERENCE]
    lines = [_in_words(each) for each in every_recipe if any(each.pairs)]
    if not lines:
        return ""
    return (
        f"Pairs that reach what `{REFERENCE}` reaches with {REFERENCE_PAIRS:,}, straight lines between sizes (on a "
        f"logarithmic scale), seed by seed; {DASH} where `{REFERENCE}` gained nothing with so few:\n\n"
        + "\n".join(lines)
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
        if len(sizes) > 1 and all(len(trained) == 1 for trained in sizes.values())
    }


def reached(curves: Mapping[str, Mapping[int, Training]], recipe: str) -> Reached:
    """Return at how many pairs a recipe reaches the reference, seed by seed."""
    reference, sizes = curves[REFERENCE][REFERENCE_PAIRS], curves[recipe]
    seeds = [seed for seed in reference.runs if all(seed in each.runs for each in sizes.values())]
    return Reached(recipe, [_crossing(sizes, reference, seed) for seed in seeds], min(sizes), max(sizes))


def _accuracy(training: Training, seed: int, arm: str) -> float:
    run = training.runs[seed]
    return fmean(known(run.scores[arm][run.headline]))


def _crossing(sizes: Mapping[int, Training], reference: Training, seed: int) -> float | None:
    """Return the pairs at which a curve first reaches the reference: infinity for never, None for without any."""
    goal = _accuracy(reference, seed, reference.arm)
    if goal <= _accuracy(reference, seed, BASE):
        return None
    points = [(pairs, _accuracy(each, seed, each.arm)) for pairs, each in sizes.items()]
    if points[0][1] >= goal:
        return float(points[0][0])
    for (low, before), (high, after) in itertools.pairwise(points):
        if after >= goal:
            share = (goal - before) / (after - before)
            return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return math.inf


def _in_words(found: Reached) -> str:
    each = ", ".join(DASH if pairs is None else _size(pairs, found) for pairs in found.pairs)
    sizes = [pairs for pairs in found.pairs if pairs is not None]
    # Of an even number the higher one: between a number and infinity there is none.
    middle = median_high(sizes)
    low, high = _size(min(sizes), found), _size(max(sizes), found)
    times = f"{_bound(middle, found)}{min(middle, found.most) / REFERENCE_PAIRS:.1f} times"
    return f"- `{found.recipe}`: {each}; median {times} as many, from {low} to {high}"


def _size(pairs: float, found: Reached) -> str:
    return f"{_bound(pairs, found)}{min(pairs, found.most):,.0f}"


def _bound(pairs: float, found: Reached) -> str:
    """Return the words for what is known as a bound alone, because the sweep has no fewer or no more pairs."""
    if math.isinf(pairs):
        return "more than "
    return "at most " if pairs == found.fewest else ""
