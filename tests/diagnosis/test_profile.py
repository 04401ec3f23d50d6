"""The missing-skill profile: counts, rates, intervals."""

from __future__ import annotations

import pytest

from stat_train.diagnosis.profile import skill_profile
from stat_train.records import Diagnosis


def _diagnosis(question: str, *skills: str) -> Diagnosis:
    return Diagnosis(question_id=question, attempt=0, judgement="wrong", missing_skills=list(skills), explanation="")


REQUIRED = {"q1": ["a", "b"], "q2": ["a"], "q3": ["b"], "q4": ["a", "c"], "q5": []}


def test_counts_and_rates() -> None:
    """Skill d is required nowhere; q1 exposes it because it was missing there. q5 needs nothing."""
    found = [_diagnosis("q1", "a", "d", "a"), _diagnosis("q2", "a")]
    profile = skill_profile("s", "t", REQUIRED, found, difficult=2)
    assert (profile.student, profile.task, profile.questions, profile.difficult) == ("s", "t", 5, 2)
    assert [(gap.skill, gap.missing, gap.exposed, gap.rate) for gap in profile.skills] == [
        ("a", 2, 3, 0.666667),
        ("d", 1, 1, 1.0),
        ("b", 0, 2, 0.0),
        ("c", 0, 1, 0.0),
    ]


def test_order_is_by_count_then_rate_then_name() -> None:
    """All three are missing twice; c in 2 of 2, a and b in 2 of 3."""
    required = {"q1": ["a", "b", "c"], "q2": ["a", "b", "c"], "q3": ["a", "b"]}
    found = [_diagnosis("q1", "b", "a", "c"), _diagnosis("q2", "c", "b", "a")]
    assert [gap.skill for gap in skill_profile("s", "t", required, found, 2).skills] == ["c", "a", "b"]


@pytest.mark.parametrize("exposed", [1, 7, 40])
def test_the_interval_is_the_exact_binomial_one(exposed: int) -> None:
    """Clopper-Pearson at its ends has a closed form.

    None of n missing: low 0, and high is the p with (1 - p)^n = 0.025. All of n missing is its mirror image.
    """
    required = {f"q{index}": ["a", "b"] for index in range(exposed)}
    profile = skill_profile("s", "t", required, [_diagnosis(question, "a") for question in required], exposed)
    edge = 0.025 ** (1 / exposed)
    always, never = profile.skills
    assert (always.low, always.high) == (pytest.approx(edge, abs=1e-6), 1)
    assert (never.low, never.high) == (0, pytest.approx(1 - edge, abs=1e-6))


def test_an_interval_between_the_ends() -> None:
    """1 of 2: P(X >= 1) = 1 - (1 - p)^2 = 0.025 at the lower end, P(X <= 1) = 1 - p^2 = 0.025 at the upper."""
    gap, *_ = skill_profile("s", "t", {"q1": ["a"], "q2": ["a"]}, [_diagnosis("q1", "a")], 1).skills
    assert (gap.rate, gap.low, gap.high) == (0.5, round(1 - 0.975**0.5, 6), round(0.975**0.5, 6))


def test_nothing_difficult() -> None:
    profile = skill_profile("s", "t", REQUIRED, [], difficult=0)
    assert {gap.missing for gap in profile.skills} == {0}
    assert skill_profile("s", "t", {}, [], difficult=0).skills == []
