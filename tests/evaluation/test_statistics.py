"""Paired differences and p values against values worked out by hand."""

from __future__ import annotations

from math import sqrt

import pytest

from stat_train.evaluation.statistics import mcnemar_mid_p, paired_difference


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
