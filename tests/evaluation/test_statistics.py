"""Paired differences and p values against values worked out by hand."""

from __future__ import annotations

from math import sqrt

import pytest

from stat_train.evaluation.statistics import mcnemar_mid_p, paired_difference, unpaired_difference


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


def test_bootstrap_bounds_agree_with_the_normal_approximation() -> None:
    """600 gained and 400 lost of 5,000: mean 0.04, variance (600 + 400) / 5000 - 0.04^2 = 0.1984.

    So the bounds are near 0.04 -+ 1.96 * sqrt(0.1984 / 5000) = 0.04 -+ 0.01235; 4,000 resamples find each to 0.0003.
    """
    result = paired_difference(*changes(600, 400, right=2000, wrong=2000))
    half_width = 1.96 * sqrt(0.1984 / 5000)
    assert (result.n, result.difference) == (5000, 0.04)
    assert result.low == pytest.approx(0.04 - half_width, abs=1e-3)
    assert result.high == pytest.approx(0.04 + half_width, abs=1e-3)


def test_questions_that_stay_do_not_change_p_but_dilute_the_difference() -> None:
    few, many = paired_difference(*changes(8, 2)), paired_difference(*changes(8, 2, right=90))
    assert few.p == many.p == pytest.approx(67 / 1024)
    assert (few.difference, many.difference) == (0.6, 0.06)


def test_the_same_seed_gives_the_same_bounds_and_another_seed_others() -> None:
    before, after = changes(37, 21, right=50)
    assert paired_difference(before, after) == paired_difference(before, after)
    assert paired_difference(before, after, seed=1)[2:4] != paired_difference(before, after, seed=5)[2:4]


def test_questions_that_all_changed_alike_have_no_interval() -> None:
    gained = paired_difference(*changes(3, 0))
    assert gained[:4] == (3, 1.0, None, None)
    assert gained.p == pytest.approx(1 / 8)
    assert paired_difference(*changes(0, 0, right=4)) == (4, 0.0, None, None, 1.0)


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
