"""How sure a share is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[float64]

CONFIDENCE = 0.95
# What lies outside on each side of an interval.
TAIL = (1 - CONFIDENCE) / 2
# How many exposures the prior is worth. Two: a skill that was seen twice is drawn half of the way to the student's
# usual rate, so that one unlucky question does not top the list; one that was seen 100 times, 2 % of the way.
PRIOR_EXPOSURES = 2.0


class Interval(NamedTuple):
    """A share with its 95 % bounds; all three are None when nothing was counted."""

    value: float | None
    low: float | None
    high: float | None


def binomial_interval(successes: int, trials: int) -> Interval:
    """Return the share of successes with its exact (Clopper-Pearson) 95 % interval."""
    if trials == 0:
        return Interval(None, None, None)
    (low,), (high,) = exact_bounds([successes], [trials])
    return Interval(successes / trials, float(low), float(high))


def exact_bounds(successes: ArrayLike, trials: ArrayLike) -> tuple[Floats, Floats]:
    """Return the exact (Clopper-Pearson) 95 % bounds of each share successes / trials, for `trials` of at least 1.

    They are quantiles of Beta distributions, all shares in one call; scipy's binomtest searches for one at a time.
    """
    import numpy
    from scipy.stats import beta

    few, every = numpy.asarray(successes, dtype=float), numpy.asarray(trials, dtype=float)
    # At the ends the Beta distribution has no width; the bound is the end itself.
    low = numpy.where(few > 0, beta.ppf(TAIL, numpy.maximum(few, 1), every - few + 1), 0.0)
    high = numpy.where(few < every, beta.ppf(1 - TAIL, few + 1, numpy.maximum(every - few, 1)), 1.0)
    return low, high


def rate_prior(missing: int, exposed: int) -> tuple[float, float]:
    """Return the Beta prior (a, b) of a skill's rate: the student's usual rate, worth PRIOR_EXPOSURES exposures.

    Half a question is added on both sides, so that a student who misses nothing, or everything, has a prior too: one
    that is near that end and does not claim to be certain.
    """
    usual = (missing + 0.5) / (exposed + 1)
    return PRIOR_EXPOSURES * usual, PRIOR_EXPOSURES * (1 - usual)
