"""How sure a rate is: exact intervals, and what to believe of a skill that was seen a few times only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stat_train.intervals import CONFIDENCE

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[float64]

# What lies outside on each side of an interval.
TAIL = (1 - CONFIDENCE) / 2
# How many exposures the prior is worth. Two: a skill that was seen twice is drawn half of the way to the student's
# usual rate, so that one unlucky question does not top the list; one that was seen 100 times, 2 % of the way.
PRIOR_EXPOSURES = 2.0
# EvalTree (arXiv 2503.08893) leaves a node of its tree undefined below this number too: the interval of any rate is
# then wider than half of the scale.
MIN_EXPOSED = 5


def exact_bounds(missing: ArrayLike, exposed: ArrayLike) -> tuple[Floats, Floats]:
    """Return the exact (Clopper-Pearson) 95 % bounds of each rate missing / exposed, for `exposed` of at least 1.

    They are quantiles of Beta distributions, all skills in one call; scipy's binomtest searches for one at a time.
    """
    import numpy
    from scipy.stats import beta

    few, all_ = numpy.asarray(missing, dtype=float), numpy.asarray(exposed, dtype=float)
    # At the ends the Beta distribution has no width; the bound is the end itself.
    low = numpy.where(few > 0, beta.ppf(TAIL, numpy.maximum(few, 1), all_ - few + 1), 0.0)
    high = numpy.where(few < all_, beta.ppf(1 - TAIL, few + 1, numpy.maximum(all_ - few, 1)), 1.0)
    return low, high


def prior(missing: int, exposed: int) -> tuple[float, float]:
    """Return the Beta prior (a, b) of a skill's rate: the student's usual rate, worth PRIOR_EXPOSURES exposures.

    A usual rate of 0 or 1 gives no distribution (a or b would be 0) and would claim to be certain of every skill;
    Jeffreys' prior, Beta(1/2, 1/2), is taken then.
    """
    if not 0 < missing < exposed:
        return 0.5, 0.5
    usual = missing / exposed
    return PRIOR_EXPOSURES * usual, PRIOR_EXPOSURES * (1 - usual)


def posterior(missing: Sequence[int], exposed: Sequence[int]) -> tuple[Floats, Floats, Floats]:
    """Return mean, low and high (95 % credible, equal tails) of each skill's rate, given all skills of the student."""
    import numpy
    from scipy.stats import beta

    a, b = prior(sum(missing), sum(exposed))
    more = a + numpy.asarray(missing, dtype=float)
    less = b + numpy.asarray(exposed, dtype=float) - numpy.asarray(missing, dtype=float)
    return more / (more + less), beta.ppf(TAIL, more, less), beta.ppf(1 - TAIL, more, less)
