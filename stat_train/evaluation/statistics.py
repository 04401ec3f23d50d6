"""How sure a gain is: a paired bootstrap and a paired test, in shares 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from stat_train.intervals import CONFIDENCE

RESAMPLES = 4000


class PairedDifference(NamedTuple):
    """How much the share of right answers changed on the same `n` questions, with 95 % bounds and a p value.

    All but `n` are None without questions. The bounds are None too when every question changed alike (all stayed, or
    all were gained): a bootstrap of identical values has no width, which would pass for certainty.
    """

    n: int
    difference: float | None
    low: float | None
    high: float | None
    p: float | None


def paired_difference(before: Sequence[bool], after: Sequence[bool], seed: int = 0) -> PairedDifference:
    """Return the change from `before` to `after`, entry by entry the same question.

    The bounds are a percentile bootstrap over questions; p is McNemar's, in its mid-p form.
    """
    changes = [int(right) - int(was_right) for was_right, right in zip(before, after, strict=True)]
    if not changes:
        return PairedDifference(0, None, None, None, None)
    low, high = _bootstrap_bounds(changes, seed)
    p = mcnemar_mid_p(changes.count(1), changes.count(-1))
    return PairedDifference(len(changes), sum(changes) / len(changes), low, high, p)


def mcnemar_mid_p(gained: int, lost: int) -> float:
    """Return how likely a split at least this uneven of the changed questions is, when nothing changed in truth.

    The exact test is too cautious on few changes; mid-p counts the observed split by half (Fagerland et al. 2013).
    """
    from scipy.stats import binom

    fewer, changed = min(gained, lost), gained + lost
    return float(2 * binom.cdf(fewer, changed, 0.5) - binom.pmf(fewer, changed, 0.5))


def _bootstrap_bounds(changes: list[int], seed: int) -> tuple[float | None, float | None]:
    import numpy
    from scipy.stats import bootstrap

    if len(set(changes)) == 1:
        return None, None
    # Sorted, so that the order of the questions does not matter. Small integers and batches keep 5,000 questions
    # within 200 MB and a fifth of a second.
    result: Any = bootstrap(
        (numpy.array(sorted(changes), dtype=numpy.int8),),
        numpy.mean,
        n_resamples=RESAMPLES,
        batch=200,
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=numpy.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
