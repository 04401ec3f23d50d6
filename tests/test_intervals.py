"""Exact intervals against values worked out by hand."""

from __future__ import annotations

from math import comb

import pytest

from stat_train.intervals import binomial_interval


def test_interval_of_no_success_in_ten() -> None:
    """0 of 10: the upper bound p solves (1 - p)^10 = 0.025, so p = 1 - 0.025^(1/10) = 0.3085."""
    interval = binomial_interval(0, 10)
    assert interval.value == interval.low == 0
    assert interval.high == pytest.approx(1 - 0.025**0.1, abs=1e-9)


def test_interval_of_five_in_ten() -> None:
    """5 of 10: at each bound, five or more (five or fewer) successes have a probability of exactly 0.025."""
    interval = binomial_interval(5, 10)
    assert interval.low is not None and interval.high is not None
    at_least_five = sum(comb(10, k) * interval.low**k * (1 - interval.low) ** (10 - k) for k in range(5, 11))
    assert at_least_five == pytest.approx(0.025, abs=1e-6)
    assert interval.low + interval.high == pytest.approx(1, abs=1e-9)
    assert interval.value == 0.5


def test_interval_of_nothing_is_unknown() -> None:
    assert binomial_interval(0, 0) == (None, None, None)
