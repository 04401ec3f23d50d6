"""Intervals, tests and verdicts against values worked out by hand, and against simulations whose truth is planted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import combinations
from math import exp, log, sqrt

import numpy
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit, stdtrit

from stat_train.errors import StatTrainError
from stat_train.evaluation.statistics import (
    PairedDifference,
    adjusted,
    is_clear,
    likelihood_bounds,
    mcnemar_mid_p,
    mean_interval,
    paired_difference,
    pass_at_k,
    sign_flip_p,
    unbounded_difference,
    unbounded_mean,
    unpaired_difference,
    verdict,
)
from stat_train.intervals import binomial_interval

# The square of the normal distribution's 97.5 % point.
Z2 = 1.959963985**2


def changes(gained: int, lost: int, right: int = 0, wrong: int = 0) -> tuple[list[bool], list[bool]]:
    """Return verdicts before and after with so many questions gained, lost, right both times and wrong both times."""
    before = [False] * gained + [True] * lost + [True] * right + [False] * wrong
    after = [True] * gained + [False] * lost + [True] * right + [False] * wrong
    return before, after


@pytest.mark.parametrize(
    ("gained", "lost", "expected"),
    [
        # 2 P(X <= 1) - P(X = 1) for X ~ Binomial(6, 1/2): (2 * (1 + 6) - 6) / 64
        (5, 1, 8 / 64),
        (1, 5, 8 / 64),
        # 2 P(X = 0) - P(X = 0) = 1 / 2^3
        (3, 0, 1 / 8),
        # 2 P(X <= 2) - P(X = 2) for Binomial(10, 1/2): (2 * (1 + 10 + 45) - 45) / 1024
        (8, 2, 67 / 1024),
        # An even split is what no change looks like.
        (4, 4, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mid_p_of_small_counts(gained: int, lost: int, expected: float) -> None:
    assert mcnemar_mid_p(gained, lost) == pytest.approx(expected)


def test_a_p_value_is_never_above_one() -> None:
    """An even split adds up to 1 only up to rounding, and what adjusts p values refuses more."""
    assert max(mcnemar_mid_p(count, count) for count in range(200)) == 1


def test_bounds_agree_with_the_normal_approximation() -> None:
    """600 gained and 400 lost of 5,000: mean 0.04, variance (600 + 400) / 5000 - 0.04^2 = 0.1984.

    So the bounds are near 0.04 -+ 1.96 * sqrt(0.1984 / 5000) = 0.04 -+ 0.01235.
    """
    result = paired_difference(*changes(600, 400, right=2000, wrong=2000))
    half_width = 1.96 * sqrt(0.1984 / 5000)
    assert (result.n, result.difference) == (5000, 0.04)
    assert result.low == pytest.approx(0.04 - half_width, abs=1e-4)
    assert result.high == pytest.approx(0.04 + half_width, abs=1e-4)


def test_bounds_are_those_that_tango_published() -> None:
    """Bentur et al. 2009, as in Fagerland et al. 2014: 7 of 21 gained, 1 lost; bounds 0.026 and 0.517, mid-p 0.039."""
    result = paired_difference(*changes(7, 1, right=1, wrong=12))
    assert (result.difference, result.low, result.high) == pytest.approx((6 / 21, 0.026, 0.517), abs=5e-4)
    assert result.p == pytest.approx(0.039, abs=5e-4)


@pytest.mark.parametrize("n", [1, 3, 30, 500])
def test_questions_that_all_changed_alike_still_have_bounds(n: int) -> None:
    """No change: n d^2 = z^2 d (1 - d), so d = z^2 / (n + z^2). All gained: the upper bound is 1."""
    none, every = paired_difference(*changes(0, 0, right=n)), paired_difference(*changes(n, 0))
    assert none == (n, 0.0, pytest.approx(-Z2 / (n + Z2)), pytest.approx(Z2 / (n + Z2)), 1.0)
    assert (every.difference, every.high) == (1.0, 1.0)
    lost = paired_difference(*changes(0, n))
    assert every.low is not None and (lost.low, lost.high) == (-1.0, pytest.approx(-every.low))


def test_bounds_leave_out_0_exactly_when_the_normal_form_of_mcnemar_does() -> None:
    """Tango's test of no change is (gained - lost)^2 / (gained + lost) against z^2."""
    for gained in range(15):
        for lost in range(15):
            result = paired_difference(*changes(gained, lost, right=3))
            assert result.low is not None and result.high is not None
            clear = (gained - lost) ** 2 > Z2 * (gained + lost)
            assert (result.low > 0 or result.high < 0) == clear, (gained, lost)


def test_questions_that_stay_do_not_change_p_but_dilute_the_difference() -> None:
    few, many = paired_difference(*changes(8, 2)), paired_difference(*changes(8, 2, right=90))
    assert few.p == many.p == pytest.approx(67 / 1024)
    assert (few.difference, many.difference) == (0.6, 0.06)


def test_no_questions_have_no_difference() -> None:
    assert paired_difference([], []) == (0, None, None, None, None)


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_difference([True, False], [True])


# -- two groups of different questions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        # The examples (a) to (h) of Newcombe 1998, Statistics in Medicine 17, table II, method 10.
        ((48, 80), (56, 70), (0.2, 0.0524, 0.3339)),
        ((3, 10), (9, 10), (0.6, 0.1705, 0.8090)),
        ((2, 7), (6, 7), (0.5714, 0.0582, 0.8062)),
        ((0, 29), (5, 56), (0.0893, -0.0381, 0.1926)),
        ((0, 20), (0, 10), (0.0, -0.1611, 0.2775)),
        ((0, 10), (0, 10), (0.0, -0.2775, 0.2775)),
        ((0, 20), (10, 10), (1.0, 0.6791, 1.0)),
        ((0, 10), (10, 10), (1.0, 0.6075, 1.0)),
    ],
)
def test_newcombes_examples(
    first: tuple[int, int], second: tuple[int, int], expected: tuple[float, float, float]
) -> None:
    result = unpaired_difference(first, second)
    assert result[:3] == pytest.approx(expected, abs=5e-5)


def test_p_of_two_groups_is_fishers() -> None:
    """0 of 3 against 3 of 3: of the C(6, 3) = 20 ways to place three, two are this uneven."""
    assert unpaired_difference((0, 3), (3, 3)).p == pytest.approx(2 / 20)
    assert unpaired_difference((2, 4), (1, 2)).p == pytest.approx(1)


def test_groups_change_places_with_the_sign() -> None:
    there, back = unpaired_difference((3, 17), (20, 50)), unpaired_difference((20, 50), (3, 17))
    assert (there.difference, there.low, there.high) == pytest.approx((-back.difference, -back.high, -back.low))
    assert there.p == pytest.approx(back.p)


# -- scores between 0 and 1 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 5, 30, 400])
def test_values_that_are_all_the_same_are_bounded_by_what_may_be_unseen(n: int) -> None:
    """A weight w for an unseen 1 costs -2 n log(1 - w), which is t^2 at w = 1 - exp(-t^2 / (2 n))."""
    unseen = 1 - exp(-(stdtrit(n - 1, 0.975) ** 2) / (2 * n))
    assert likelihood_bounds([0.25] * n, 0, 1) == pytest.approx((0.25 * (1 - unseen), 0.25 + 0.75 * unseen))
    same = paired_difference([0.25] * n, [0.25] * n, resamples=9)
    assert same == (n, 0.0, pytest.approx(-unseen), pytest.approx(unseen), 1.0)


@pytest.mark.parametrize(("right", "n"), [(1, 30), (7, 12), (39, 40), (120, 1000)])
def test_likelihood_bounds_of_zeros_and_ones_are_those_of_the_likelihood_ratio(right: int, n: int) -> None:
    """At a bound p: 2 right log((right / n) / p) + 2 wrong log((wrong / n) / (1 - p)) = t^2."""
    wrong, allowed = n - right, stdtrit(n - 1, 0.975) ** 2
    bounds = likelihood_bounds([1.0] * right + [0.0] * wrong, 0, 1)
    assert 0 < bounds[0] < right / n < bounds[1] < 1
    for p in bounds:
        assert 2 * right * log(right / n / p) + 2 * wrong * log(wrong / n / (1 - p)) == pytest.approx(allowed)


def test_bounds_of_many_questions_are_those_of_the_normal_distribution() -> None:
    values = numpy.random.default_rng(0).normal(0.1, 0.05, 4000)
    half_width = 1.96 * values.std() / sqrt(4000)
    assert likelihood_bounds(values, -1, 1) == pytest.approx(
        (values.mean() - half_width, values.mean() + half_width), abs=3e-4
    )


def test_a_single_question_says_nothing_of_others() -> None:
    assert likelihood_bounds([0.3], 0, 1) == (0, 1)
    assert mean_interval([0.3]) == (0.3, 0, 1)


def test_the_mean_of_right_and_wrong_has_the_exact_binomial_interval() -> None:
    assert mean_interval([True, False, True]) == mean_interval([1.0, 0.0, 1.0]) == binomial_interval(2, 3)
    assert mean_interval([]) == (None, None, None)


def test_flips_of_few_questions_are_counted_exactly() -> None:
    """Of the 2^4 sums -+0.4 -+0.3 -+0.2 -+0.1, those >= 0.8: 1.0 and 0.8, so 2 of 16 above and as many below."""
    before, after = [0.5, 0.5, 0.5, 0.5, 0.7], [0.9, 0.8, 0.7, 0.4, 0.7]
    assert sign_flip_p([0.4, 0.3, 0.2, -0.1, 0.0]) == pytest.approx(4 / 16)
    assert paired_difference(before, after).p == pytest.approx(4 / 16)
    assert paired_difference(after, before).p == pytest.approx(4 / 16)
    assert (sign_flip_p([0.0, 0.0]), sign_flip_p([0.0, 0.3])) == (1, 1)


def test_flips_of_many_questions_agree_with_the_normal_approximation() -> None:
    """60 changes of 0.1, 40 of -0.1: the sum 2 of sums with standard deviation 0.1 sqrt(100) = 1, so p = 0.057.

    That is with half a step of 0.2 between sums, as P(sum >= 2) is the normal's beyond 1.9; 9,999 flips find it to
    0.005.
    """
    values = [0.1] * 60 + [-0.1] * 40
    assert sign_flip_p(values) == pytest.approx(0.0574, abs=0.01)
    assert sign_flip_p(values) == sign_flip_p(values[::-1])
    assert sign_flip_p(values, seed=1) != sign_flip_p(values, seed=2)


def test_scores_that_are_no_shares_are_refused() -> None:
    with pytest.raises(StatTrainError, match=r"1 of 4 scores are not shares \(the first: -0.5\)"):
        paired_difference([1.0, 0.0], [1.0, -0.5])
    with pytest.raises(StatTrainError, match="not shares"):
        mean_interval([float("nan")])


def test_numbers_of_any_size_have_students_bounds_where_those_hold() -> None:
    """40 log-probabilities: the bounds are near mean -+ t s / sqrt(40), as far as 9,999 resamples tell."""
    random = numpy.random.default_rng(3)
    before, after = random.normal(-3, 1, 40), random.normal(-2.5, 1, 40)
    found, gain = unbounded_difference(before, after), after - before
    reach = stdtrit(39, 0.975) * gain.std(ddof=1) / sqrt(40)
    assert found.difference == pytest.approx(gain.mean())
    assert (found.low, found.high) == pytest.approx((gain.mean() - reach, gain.mean() + reach), abs=0.05)
    assert found.p == sign_flip_p(list(gain))
    assert unbounded_mean(after)[1:] != unbounded_mean(after, seed=1)[1:]
    assert unbounded_mean([-2.0, -2.0]) == (-2, None, None)
    assert unbounded_difference([-2.0, -3.0], [-1.0, -2.0]) == (2, 1.0, None, None, pytest.approx(2 / 4))
    assert (unbounded_mean([]), unbounded_difference([], [])) == ((None, None, None), (0, None, None, None, None))


# -- many skills at once ----------------------------------------------------------------------------------------------


def test_p_values_are_adjusted_for_how_many_are_known() -> None:
    """Benjamini-Hochberg: p n / rank, but no more than that of a larger p: 0.025 * 4 / 2 = 0.05 becomes 0.04."""
    known = pytest.approx(0.04)
    assert adjusted([0.04, None, 0.001, 0.03, None, 0.025]) == [known, None, pytest.approx(0.004), known, None, known]
    assert adjusted([None]) == [None] and adjusted([]) == []


@pytest.mark.parametrize(
    ("change", "q", "expected"),
    [
        (PairedDifference(40, 0.2, 0.05, 0.35, 0.01), 0.04, "improved"),
        (PairedDifference(40, -0.2, -0.35, -0.05, 0.01), 0.04, "regressed"),
        # Not clear, and a change of 10 points either way is ruled out, or is not.
        (PairedDifference(400, 0.02, -0.03, 0.07, 0.4), 0.6, "unchanged"),
        (PairedDifference(60, 0.02, -0.07, 0.11, 0.4), 0.6, "too few"),
        (PairedDifference(60, -0.02, -0.11, 0.07, 0.4), 0.6, "too few"),
        (PairedDifference(400, 0.02, -0.03, 0.07, 0.4), None, "unchanged"),
        (PairedDifference(4, 1.0, 0.1, 1.0, 0.01), 0.01, "too few"),
        (PairedDifference(9, 0.0, None, None, 1.0), 1.0, "too few"),
        (PairedDifference(0, None, None, None, None), None, "too few"),
    ],
)
def test_verdicts(change: PairedDifference, q: float | None, expected: str) -> None:
    assert verdict(change, q) == expected


def test_what_is_clear() -> None:
    assert [is_clear(q) for q in (0.0, 0.05, 0.0501, None)] == [True, True, False, False]


@pytest.mark.parametrize("samples", range(1, 8))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(samples: int) -> None:
    for correct in range(samples + 1):
        for k in range(1, samples + 1):
            subsets = list(combinations(range(samples), k))
            solved = sum(min(subset) < correct for subset in subsets)
            assert pass_at_k(samples, correct, k) == solved / len(subsets)


def test_pass_at_k_of_many_samples_is_exact() -> None:
    """One right of n: k / n. Two right of 4,000, k = 1,000: 1 - (3000 * 2999) / (4000 * 3999). None right: 0."""
    assert pass_at_k(10_000, 1, 64) == 64 / 10_000
    assert pass_at_k(4000, 2, 1000) == pytest.approx(1 - 3000 * 2999 / (4000 * 3999), abs=1e-15)
    assert (pass_at_k(4000, 0, 4000), pass_at_k(4000, 3001, 1000)) == (0, 1)


@pytest.mark.parametrize(("samples", "correct", "k"), [(4, 1, 5), (4, 5, 1), (4, 1, 0), (4, -1, 1), (0, 0, 1)])
def test_pass_at_k_refuses_what_cannot_be_drawn(samples: int, correct: int, k: int) -> None:
    with pytest.raises(StatTrainError, match=f"pass@{k} of {samples} samples"):
        pass_at_k(samples, correct, k)


# -- simulations with a planted truth ---------------------------------------------------------------------------------

Floats = NDArray[numpy.float64]


@cache
def of_counts(gained: int, lost: int, n: int) -> PairedDifference:
    """Return the paired difference of so many gained and lost questions of n."""
    return paired_difference(*changes(gained, lost, right=n - gained - lost))


def right_or_wrong(n: int, discordant: float, effect: float, runs: int) -> list[PairedDifference]:
    """Return what simulated runs give where questions are gained and lost so often that `effect` is the difference."""
    gaining, losing = (discordant + effect) / 2, (discordant - effect) / 2
    drawn = numpy.random.default_rng(n).multinomial(n, [gaining, losing, 1 - discordant], runs)
    return [of_counts(int(gained), int(lost), n) for gained, lost, _ in drawn]


def coverage(results: Sequence[PairedDifference], truth: float) -> float:
    """Return the share of results whose bounds hold the truth."""
    return float(numpy.mean([r.low is not None and r.high is not None and r.low <= truth <= r.high for r in results]))


def false_positives(results: Sequence[PairedDifference]) -> float:
    """Return the share of results with p at most 5 %."""
    return float(numpy.mean([r.p is not None and r.p <= 0.05 for r in results]))


@pytest.mark.parametrize(("n", "discordant"), [(30, 0.02), (30, 0.1), (40, 0.4), (100, 0.2), (500, 0.02), (500, 0.2)])
def test_right_and_wrong_without_a_change(n: int, discordant: float) -> None:
    """With 100 questions that changed the test is no longer too cautious: 500 at 20 %."""
    results = right_or_wrong(n, discordant, 0.0, 2000)
    assert coverage(results, 0.0) >= 0.93
    assert (0.03 if n * discordant >= 100 else 0) <= false_positives(results) <= 0.07


@pytest.mark.parametrize(
    ("n", "discordant", "effect"),
    [
        (30, 0.02, 0.02),
        (30, 0.05, 0.05),
        (30, 0.1, 0.02),
        (30, 0.4, 0.1),
        (100, 0.05, 0.02),
        (100, 0.1, 0.1),
        (500, 0.02, 0.02),
        (500, 0.1, 0.05),
        (500, 0.4, 0.1),
    ],
)
def test_right_and_wrong_with_a_planted_change(n: int, discordant: float, effect: float) -> None:
    assert coverage(right_or_wrong(n, discordant, effect, 1000), effect) >= 0.93


# How far question difficulty moves, in log-odds, as (mean, spread); "rare" turns one question in 25 around.
MOVES = {"null": (0.0, 0.0), "dense": (0.3, 0.5), "uneven": (0.7, 1.0)}


def averages(kind: str, n: int, runs: int, random: numpy.random.Generator) -> tuple[Floats, Floats, float]:
    """Return scores before and after, the average of 64 samples, a row a run, and the true difference."""

    def chances(rows: int) -> tuple[Floats, Floats]:
        before = numpy.clip(random.beta(0.2, 0.6, (rows, n)), 1e-9, 1 - 1e-9)
        if kind == "rare":
            return before, numpy.where(random.random((rows, n)) < 0.04, 1 - before, before)
        return before, expit(logit(before) + random.normal(*MOVES[kind], (rows, n)))

    many_before, many_after = chances(200_000 // n)
    before, after = (random.binomial(64, chance) / 64 for chance in chances(runs))
    return before, after, float((many_after - many_before).mean())


def test_averages_of_samples_without_a_change() -> None:
    before, after, _ = averages("null", 30, 2000, numpy.random.default_rng(0))
    results = [paired_difference(*pair, resamples=99) for pair in zip(before, after, strict=True)]
    assert coverage(results, 0.0) >= 0.93
    assert 0.03 <= false_positives(results) <= 0.07


@pytest.mark.parametrize(("kind", "n"), [("dense", 30), ("uneven", 30), ("rare", 30), ("uneven", 100), ("rare", 100)])
def test_averages_of_samples_with_a_planted_change(kind: str, n: int) -> None:
    before, after, truth = averages(kind, n, 500, numpy.random.default_rng(1))
    results = [paired_difference(*pair, resamples=1) for pair in zip(before, after, strict=True)]
    assert coverage(results, truth) >= 0.93


@pytest.mark.parametrize("n", [30, 100])
def test_the_mean_of_averages_is_covered(n: int) -> None:
    """Beta(0.2, 0.6) has the mean 0.25, and most questions near 0."""
    scores, _, _ = averages("null", n, 1000, numpy.random.default_rng(2))
    found = [mean_interval(row) for row in scores]
    assert numpy.mean([i.low is not None and i.high is not None and i.low <= 0.25 <= i.high for i in found]) >= 0.93
