"""How sure a share is."""

from __future__ import annotations

from typing import NamedTuple

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A share with its 95 % bounds; all three are None when nothing was counted."""

    value: float | None
    low: float | None
    high: float | None


def binomial_interval(successes: int, trials: int) -> Interval:
    """Return the share of successes with its exact (Clopper-Pearson) 95 % interval."""
    from scipy.stats import binomtest

    if trials == 0:
        return Interval(None, None, None)
    bounds = binomtest(successes, trials).proportion_ci(CONFIDENCE, method="exact")
    return Interval(successes / trials, float(bounds.low), float(bounds.high))
