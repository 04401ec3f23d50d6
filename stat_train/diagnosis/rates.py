"""What to believe of the rate of a skill that was seen a few times only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stat_train.intervals import TAIL

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Floats = NDArray[float64]

# How many exposures the prior is worth. Two: a skill that was seen twice is drawn half of the way to the student's
# usual rate, so that one unlucky question does not top the list; one that was seen 100 times, 2 % of the way.
PRIOR_EXPOSURES = 2.0
# EvalTree (arXiv 2503.08893) leaves a node of its tree undefined below this number too: the interval of any rate is
# then wider than half of the scale.
MIN_EXPOSED = 5


def prior(missing: int, exposed: int) -> tuple[float, float]:
    """Return the Beta prior (a, b) of a skill's rate: the student's usual rate, worth PRIOR_EXPOSURES exposures.

    Half a question is added on both sides, so that a student who misses nothing, or everything, has a prior too: one
    that is near that end and does not claim to be certain.
    """
    usual = (missing + 0.5) / (exposed + 1)
    return PRIOR_EXPOSURES * usual, PRIOR_EXPOSURES * (1 - usual)


def posterior(missing: Sequence[int], exposed: Sequence[int]) -> tuple[Floats, Floats, Floats]:
    """Return mean, low and high (95 % credible, equal tails) of each skill's rate, given all skills of the student."""
    import numpy
    from scipy.stats import beta

    a, b = prior(sum(missing), sum(exposed))
    more = a + numpy.asarray(missing, dtype=float)
    less = b + numpy.asarray(exposed, dtype=float) - numpy.asarray(missing, dtype=float)
    return more / (more + less), beta.ppf(TAIL, more, less), beta.ppf(1 - TAIL, more, less)
