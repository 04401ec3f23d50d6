"""What to believe of the rate of a skill that was seen a few times only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from stat_train.intervals import TAIL, rate_prior

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Floats = NDArray[float64]

# EvalTree (arXiv 2503.08893) leaves a node of its tree undefined below this number too: the interval of any rate is
# then wider than half of the scale.
MIN_EXPOSED = 5


def posterior(missing: Sequence[int], exposed: Sequence[int]) -> tuple[Floats, Floats, Floats]:
    """Return mean, low and high (95 % credible, equal tails) of each skill's rate, given all skills of the student."""
    import numpy
    from scipy.stats import beta

    a, b = rate_prior(sum(missing), sum(exposed))
    more = a + numpy.asarray(missing, dtype=float)
    less = b + numpy.asarray(exposed, dtype=float) - numpy.asarray(missing, dtype=float)
    return more / (more + less), beta.ppf(TAIL, more, less), beta.ppf(1 - TAIL, more, less)
