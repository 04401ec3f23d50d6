"""Intervals of many rates at once, against scipy's one at a time and against simulated students."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from time import perf_counter
from typing import NamedTuple

import numpy
import pytest
from scipy.stats import binom, binomtest

from stat_train.diagnosis.profile import skill_profile
from stat_train.diagnosis.rates import posterior
from stat_train.intervals import exact_bounds, rate_prior
from stat_train.records import Diagnosis, SkillGap, SkillProfile

# Skill number -> how often it is missing where it is required, and how many of 100 questions require it.
RATES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
EXPOSURES = (100, 5, 60, 20, 8, 100, 12, 40, 5, 30, 80, 15)
TRUE_RATES = {f"skill{index}": rate for index, rate in enumerate(RATES)}
STUDENTS = 1000


def test_bounds_are_those_of_scipys_exact_interval() -> None:
    """Every count of up to 30 exposures, and large ones."""
    counts = [(few, all_) for all_ in range(1, 31) for few in range(all_ + 1)] + [(0, 5000), (1234, 5000), (5000, 5000)]
    lows, highs = exact_bounds(*zip(*counts, strict=True))
    for (few, all_), low, high in zip(counts, lows, highs, strict=True):
        expected = binomtest(few, all_).proportion_ci(0.95, method="exact")
        assert (low, high) == (pytest.approx(expected.low, abs=1e-9), pytest.approx(expected.high, abs=1e-9))


def test_known_bounds() -> None:
    """5 of 10: published tables give 18.7 % to 81.3 %; 1 of 20: 0.13 % to 24.9 %."""
    lows, highs = exact_bounds([5, 1], [10, 20])
    assert [round(float(low), 4) for low in lows] == [0.1871, 0.0013]
    assert [round(float(high), 4) for high in highs] == [0.8129, 0.2487]


def test_the_prior_is_worth_two_exposures_of_the_usual_rate() -> None:
    """(30 + 1/2) / 101, times two; with nothing missing, or all, it stays inside."""
    assert rate_prior(30, 100) == (pytest.approx(61 / 101), pytest.approx(141 / 101))
    assert rate_prior(0, 100) == (pytest.approx(1 / 101), pytest.approx(201 / 101))
    assert rate_prior(7, 7) == (pytest.approx(15 / 8), pytest.approx(1 / 8))


def test_a_student_without_a_gap_looks_no_worse_than_one_with_some() -> None:
    """A skill that was missed in 0 of 6, of a student who missed 0, 3 and 8 of 50."""
    means = [posterior([0, missing], [6, 44])[0][0] for missing in (0, 3, 8)]
    assert means == sorted(means) and means[0] < 0.01


def test_the_posterior_of_counts_that_have_a_closed_form() -> None:
    """Usual rate 1/2, so a uniform prior; 3 of 3 gives Beta(4, 1), distribution function p^4; 0 of 3 its mirror."""
    means, lows, highs = posterior([3, 0], [3, 3])
    assert list(means) == pytest.approx([4 / 5, 1 / 5])
    assert list(lows) == pytest.approx([0.025**0.25, 1 - 0.975**0.25])
    assert list(highs) == pytest.approx([0.975**0.25, 1 - 0.025**0.25])


# -- simulated students -----------------------------------------------------------------------------------------------


class Coverage(NamedTuple):
    """Per skill, in how many of the simulated profiles each interval held the true rate."""

    exact: Mapping[str, int]
    credible: Mapping[str, int]
    normal: Mapping[str, int]


def _required() -> dict[str, list[str]]:
    """Return 100 questions; 7 and 100 have no common divisor, so skill s is in EXPOSURES[s] of them, spread out."""
    return {
        f"q{index}": [f"skill{s}" for s, count in enumerate(EXPOSURES) if (7 * index + 13 * s) % 100 < count]
        for index in range(100)
    }


def _simulated(required: Mapping[str, list[str]], generator: numpy.random.Generator) -> SkillProfile:
    """Return the profile of a student that misses each required skill with its own probability."""
    missed = {
        question: [
            skill for skill, draw in zip(skills, generator.random(len(skills)), strict=True) if draw < TRUE_RATES[skill]
        ]
        for question, skills in required.items()
    }
    found = [
        Diagnosis(question_id=question, attempt=0, judgement="wrong", missing_skills=skills, explanation="")
        for question, skills in missed.items()
        if skills
    ]
    return skill_profile("s", "t", required, found, [row.question_id for row in found], {})


@pytest.fixture(scope="module")
def coverage() -> Coverage:
    """Return how often the intervals of 1,000 simulated students hold the true rates."""
    required, generator = _required(), numpy.random.default_rng(0)
    assert sum(len(skills) > 1 for skills in required.values()) > 90, "questions must require several skills"
    profiles = [_simulated(required, generator) for _ in range(STUDENTS)]
    held = {name: dict.fromkeys(TRUE_RATES, 0) for name in Coverage._fields}
    for gap in (gap for profile in profiles for gap in profile.skills):
        true = TRUE_RATES[gap.skill]
        held["exact"][gap.skill] += gap.low <= true <= gap.high
        held["credible"][gap.skill] += gap.posterior_low <= true <= gap.posterior_high
        held["normal"][gap.skill] += abs(gap.rate - true) <= _normal_half_width(gap)
    return Coverage(**held)


def _normal_half_width(gap: SkillGap) -> float:
    return 1.96 * sqrt(gap.rate * (1 - gap.rate) / gap.exposed)


def _least() -> int:
    """Return the fewest successes of 1,000 that are in line with 93 %, for 12 skills looked at together (0.1 %)."""
    return int(binom.ppf(0.001 / len(RATES), STUDENTS, 0.93))


def test_the_exact_intervals_hold_the_true_rates(coverage: Coverage) -> None:
    """In at least 93 % of all, and of each skill as far as 1,000 students can tell."""
    assert sum(coverage.exact.values()) >= 0.93 * STUDENTS * len(RATES)
    assert min(coverage.exact.values()) >= _least()


def test_the_credible_intervals_hold_the_true_rates_nearly_as_often(coverage: Coverage) -> None:
    """They promise 95 % on average over students like the prior, not for each skill; here the rates differ widely."""
    assert sum(coverage.credible.values()) >= 0.93 * STUDENTS * len(RATES)


def test_the_usual_normal_interval_would_not_pass(coverage: Coverage) -> None:
    """Rate -+ 1.96 standard errors; the test above can tell a bad interval from a good one."""
    assert min(coverage.normal.values()) < _least()


def test_many_skills_take_no_time() -> None:
    """118 skills as of MATH, 5,000 questions, half of them diagnosed; scipy is loaded by now."""
    required = {f"q{index}": [f"s{(index * step) % 118}" for step in (1, 7, 11)] for index in range(5000)}
    found = [
        Diagnosis(question_id=id, attempt=0, judgement="wrong", missing_skills=skills, explanation="")
        for id, skills in list(required.items())[::2]
    ]
    start = perf_counter()
    profile = skill_profile("s", "t", required, found, [row.question_id for row in found], {})
    assert perf_counter() - start < 1
    assert len(profile.skills) == 118 and len(profile.together) > 100
