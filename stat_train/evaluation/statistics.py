"""How sure a score and a gain are: intervals and tests over questions, in shares 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from stat_train.errors import StatTrainError
from stat_train.intervals import CONFIDENCE, TAIL, Interval, binomial_interval

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

    Floats = NDArray[float64]

SkillVerdict = Literal["improved", "unchanged", "regressed", "too few"]
# The smallest p value that so many can give, 2e-4, stays clear when it is adjusted for 200 skills.
RESAMPLES = 9999
# Nearer than this to the end of the scale is at the end.
ROUNDING = 1e-12
# Below this many questions none is a verdict: of four that all changed alike, no test at 5 % can tell.
MIN_QUESTIONS = 5
# A skill is called unchanged only when its interval rules out a change of this size, up or down: 10 points.
TOLERATED_CHANGE = 0.1


class PairedDifference(NamedTuple):
    """How much the mean score changed on the same `n` questions, with 95 % bounds and a p value.

    All but `n` are None without questions. The bounds are None too for a bootstrap of values that are all the same (see
    `unbounded_difference`): it has no width, which would pass for certainty.
    """

    n: int
    difference: float | None
    low: float | None
    high: float | None
    p: float | None


class UnpairedDifference(NamedTuple):
    """How much a share differs between two groups of different questions, with 95 % bounds and a p value."""

    difference: float
    low: float
    high: float
    p: float


def paired_difference(
    before: Sequence[float], after: Sequence[float], seed: int = 0, resamples: int = RESAMPLES
) -> PairedDifference:
    """Return the change from `before` to `after`, scores of 0 to 1, entry by entry the same question.

    Right or wrong: the bounds are Tango's score interval, p is McNemar's in its mid-p form. Scores in between, as the
    average of 64 samples: the bounds are an empirical likelihood (`likelihood_bounds`), p a sign-flip permutation test,
    exact when there are no more ways to flip than `resamples`. Raises StatTrainError on other scores.
    """
    require_shares([*before, *after])
    changes = [float(new) - float(old) for old, new in zip(before, after, strict=True)]
    if not changes:
        return PairedDifference(0, None, None, None, None)
    difference = math.fsum(changes) / len(changes)
    if _is_binary(before) and _is_binary(after):
        gained, lost = changes.count(1), changes.count(-1)
        low, high = _score_bounds(gained, lost, len(changes))
        return PairedDifference(len(changes), difference, low, high, mcnemar_mid_p(gained, lost))
    low, high = likelihood_bounds(changes, -1, 1)
    return PairedDifference(len(changes), difference, low, high, sign_flip_p(changes, seed, resamples))


def unbounded_difference(
    before: Sequence[float], after: Sequence[float], seed: int = 0, resamples: int = RESAMPLES
) -> PairedDifference:
    """Return the change from `before` to `after`, numbers of any size such as log-probabilities, one a question each.

    The bounds are an expanded percentile bootstrap over questions, p a sign-flip permutation test.
    """
    changes = [float(new) - float(old) for old, new in zip(before, after, strict=True)]
    if not changes:
        return PairedDifference(0, None, None, None, None)
    low, high = bootstrap_bounds(changes, seed, resamples)
    p = sign_flip_p(changes, seed, resamples)
    return PairedDifference(len(changes), math.fsum(changes) / len(changes), low, high, p)


def bootstrap_of_difference(
    before: Sequence[float], after: Sequence[float], seed: int = 0, resamples: int = RESAMPLES
) -> tuple[float | None, float | None]:
    """Return 95 % bounds of the mean change by a paired bootstrap over questions, which supposes nothing of the scores.

    It stands beside those of `paired_difference`, which hold where few questions changed and a bootstrap is too sure.
    None and None without questions, or when all changed alike.
    """
    changes = [float(new) - float(old) for old, new in zip(before, after, strict=True)]
    return bootstrap_bounds(changes, seed, resamples) if changes else (None, None)


def unpaired_difference(first: tuple[int, int], second: tuple[int, int]) -> UnpairedDifference:
    """Return the second share less the first, each given as (count, of how many), the latter at least 1.

    The bounds are Newcombe's, from two Wilson intervals (Newcombe 1998, method 10); p is Fisher's exact test.
    """
    from scipy.stats import binomtest, fisher_exact

    (a, m), (b, n) = first, second
    wilson = [binomtest(count, of).proportion_ci(CONFIDENCE, method="wilson") for count, of in (first, second)]
    before, after, difference = a / m, b / n, b / n - a / m
    low = difference - math.hypot(after - wilson[1].low, wilson[0].high - before)
    high = difference + math.hypot(wilson[1].high - after, before - wilson[0].low)
    return UnpairedDifference(difference, low, high, float(fisher_exact([[a, m - a], [b, n - b]]).pvalue))


def mean_interval(scores: Sequence[float]) -> Interval:
    """Return the mean of scores of 0 to 1 with its 95 % interval over questions; raises StatTrainError on others.

    Right or wrong: the exact binomial interval. Scores in between: an empirical likelihood (`likelihood_bounds`).
    """
    require_shares(scores)
    if _is_binary(scores):
        return binomial_interval(round(math.fsum(scores)), len(scores))
    return Interval(math.fsum(scores) / len(scores), *likelihood_bounds(scores, 0, 1))


def unbounded_mean(values: Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Return the mean of numbers of any size with its 95 % interval, an expanded percentile bootstrap over questions.

    All three are None without numbers; the bounds are None when all numbers are the same.
    """
    if not len(values):
        return Interval(None, None, None)
    return Interval(math.fsum(values) / len(values), *bootstrap_bounds(values, seed, resamples))


def mcnemar_mid_p(gained: int, lost: int) -> float:
    """Return how likely a split at least this uneven of the changed questions is, when nothing changed in truth.

    The exact test is too cautious on few changes; mid-p counts the observed split by half (Fagerland et al. 2013).
    """
    from scipy.stats import binom

    fewer, changed = min(gained, lost), gained + lost
    # An even split is exactly 1, give or take the last digit.
    return min(1.0, float(2 * binom.cdf(fewer, changed, 0.5) - binom.pmf(fewer, changed, 0.5)))


def sign_flip_p(changes: Sequence[float], seed: int = 0, resamples: int = RESAMPLES) -> float:
    """Return how likely a mean change at least this far from 0 is, if each change could as well have its other sign."""
    import numpy
    from scipy.stats import permutation_test

    # Sorted, so that the order of the questions does not matter. No change has no sign, and one is as far either way.
    moved = numpy.array(sorted(change for change in changes if change))
    if len(moved) < 2:
        return 1.0
    # A resample is drawn as the list itself and its signs; 200 at a time keep 5,000 questions within 20 MB.
    found: Any = permutation_test(
        (moved,),
        numpy.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=200,
        rng=numpy.random.default_rng(seed),
    )
    return float(found.pvalue)


def adjusted(p_values: Sequence[float | None]) -> list[float | None]:
    """Return the p values adjusted for how many there are (Benjamini-Hochberg); None stays None and is not counted."""
    from scipy.stats import false_discovery_control

    known = [p for p in p_values if p is not None]
    found = iter(false_discovery_control(known) if known else [])
    return [None if p is None else float(next(found)) for p in p_values]


def is_clear(q: float | None) -> bool:
    """Return whether an adjusted p value calls a difference clear: at most 5 % of those so called are wrong."""
    return q is not None and q <= 1 - CONFIDENCE


def verdict(change: PairedDifference, q: float | None) -> SkillVerdict:
    """Return in words what became of a skill, given its change and its p value adjusted for the number of skills.

    "too few": not clear, and its questions cannot tell, as they are fewer than MIN_QUESTIONS or the 95 % interval
    reaches further than TOLERATED_CHANGE from 0. "unchanged": not clear, and any larger change is ruled out.
    """
    if change.difference is None or change.n < MIN_QUESTIONS:
        return "too few"
    if is_clear(q):
        return "improved" if change.difference > 0 else "regressed"
    if change.low is None or change.high is None or max(-change.low, change.high) > TOLERATED_CHANGE:
        return "too few"
    return "unchanged"


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """Return the chance that at least one of `k` answers, drawn from `samples` of which `correct` are right, is right.

    The unbiased estimator 1 - C(samples - correct, k) / C(samples, k) of Chen et al. 2021, from whole numbers.
    """
    if not (1 <= k <= samples and 0 <= correct <= samples):
        raise StatTrainError(
            f"pass@{k} of {samples} samples, {correct} of them correct: expected k from 1 to {samples} and as many "
            "correct at most; draw at least k samples a question"
        )
    every = math.comb(samples, k)
    return (every - math.comb(samples - correct, k)) / every


def likelihood_bounds(values: Sequence[float], least: float, most: float) -> tuple[float, float]:
    """Return 95 % bounds of the mean of what `values` are a sample of, all of them from `least` to `most`.

    They are of Owen's empirical likelihood ("Empirical Likelihood", 2001), with Student's t for few values, to which
    the extremes belong that were not seen: 30 questions say little of a change that one in 30 makes. A bootstrap knows
    nothing of those, and its 95 % are 70 % when few questions change.
    """
    mirrored = [least + most - value for value in values]
    return least + most - _upper_likelihood_bound(mirrored, most), _upper_likelihood_bound(values, most)


def bootstrap_bounds(values: Sequence[float], seed: int, resamples: int) -> tuple[float | None, float | None]:
    """Return 95 % bounds of the mean of what questions are a sample of; None and None when all values are the same.

    An expanded percentile bootstrap (Hesterberg 2014): percentiles so far out that the bounds of few values are as wide
    as Student's; plain percentiles are too narrow by sqrt((n - 1) / n) and by the normal's quantile in place of t's.
    """
    import numpy
    from scipy.stats import bootstrap

    if len(set(values)) == 1:
        return None, None
    # Sorted, so that the order of the questions does not matter; 200 at a time keep 5,000 questions within 20 MB.
    result: Any = bootstrap(
        (numpy.array(sorted(values), dtype=numpy.float64),),
        numpy.mean,
        n_resamples=resamples,
        batch=200,
        vectorized=True,
        confidence_level=1 - 2 * expanded_tail(len(values)),
        method="percentile",
        rng=numpy.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def expanded_tail(n: int) -> float:
    """Return which share to leave out at each end of a bootstrap of `n` values (at least 2) for 95 % bounds."""
    from scipy.special import ndtr, stdtrit

    return float(ndtr(math.sqrt(n / (n - 1)) * stdtrit(n - 1, TAIL)))


def require_shares(scores: Sequence[float]) -> None:
    """Raise StatTrainError unless all scores are from 0 to 1."""
    if strange := [score for score in scores if not 0 <= score <= 1]:
        raise StatTrainError(
            f"{len(strange)} of {len(scores)} scores are not shares (the first: {strange[0]}); expected 0 to 1; "
            "unbounded_difference and unbounded_mean take numbers of any size"
        )


def _is_binary(scores: Sequence[float]) -> bool:
    return all(score in (0, 1) for score in scores)


def _score_bounds(gained: int, lost: int, n: int) -> tuple[float, float]:
    return -_upper_score_bound(lost, gained, n), _upper_score_bound(gained, lost, n)


def _upper_score_bound(gained: int, lost: int, n: int) -> float:
    """Return the largest change that the score test does not refuse at 5 % (Tango 1998, equation 8)."""
    from scipy.optimize import brentq
    from scipy.special import ndtri

    observed, z = (gained - lost) / n, float(ndtri(1 - TAIL))
    if gained == n:
        return 1.0

    def surplus(change: float) -> float:
        # The likeliest share of lost questions if the change were `change`: the larger root of a quadratic.
        b = -gained - lost + (2 * n - gained + lost) * change
        # Rounding takes a zero below 0.
        losing = (math.sqrt(max(0.0, b * b + 8 * n * lost * change * (1 - change))) - b) / (4 * n)
        return n * (observed - change) ** 2 - z * z * (2 * losing + change * (1 - change))

    return float(brentq(surplus, observed + 1e-9, 1.0))


def _upper_likelihood_bound(values: Sequence[float], most: float) -> float:
    """Return the largest mean that weights of the values, and of `most` unseen, give before they are too unlikely.

    The weights that raise the mean at the least cost are in proportion to 1 / (most - value + slack) (Owen 2001,
    chapter 2). With no slack what is left of the allowed cost goes to `most` itself.
    """
    import numpy
    from scipy.optimize import brentq
    from scipy.special import stdtrit

    n, gaps = len(values), numpy.maximum(most - numpy.asarray(values, dtype=float), 0)
    allowed = float(stdtrit(n - 1, TAIL)) ** 2 if n > 1 else math.inf

    def weights_at(slack: float) -> Floats:
        raw = 1 / (gaps + slack)
        weights: Floats = raw / raw.sum()
        return weights

    def cost(slack: float) -> float:
        return -2 * float(numpy.log(n * weights_at(slack)).sum())

    seen_at_most = gaps.min() < ROUNDING
    if gaps.max() < ROUNDING:
        return most
    if not seen_at_most and (spent := cost(0)) <= allowed:
        return most - math.exp((spent - allowed) / (2 * n)) * float(weights_at(0) @ gaps)
    # From next to nothing, where the value nearest to `most` has all the weight, to so much that all have the same.
    slack = math.exp(brentq(lambda exponent: cost(math.exp(exponent)) - allowed, -600, 30))
    return most - float(weights_at(slack) @ gaps)
