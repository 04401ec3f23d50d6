"""The missing-skill profile: counts, rates, intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pytest

from stat_train.diagnosis import profile as profile_room
from stat_train.records import Diagnosis, SkillProfile


def skill_profile(
    required: Mapping[str, Sequence[str]],
    found: Iterable[Diagnosis],
    subjects: Mapping[str, str | None] | None = None,
) -> SkillProfile:
    """Return the profile of a student to whom just the diagnosed questions were difficult."""
    diagnoses = list(found)
    difficult = {diagnosis.question_id for diagnosis in diagnoses}
    return profile_room.skill_profile("s", "t", required, diagnoses, difficult, subjects or {})


def _diagnosis(question: str, *skills: str) -> Diagnosis:
    return Diagnosis(question_id=question, attempt=0, judgement="wrong", missing_skills=list(skills), explanation="")


REQUIRED = {"q1": ["a", "b"], "q2": ["a"], "q3": ["b"], "q4": ["a", "c"], "q5": []}


def test_counts_and_rates() -> None:
    """Skill d is required nowhere; q1 exposes it because it was missing there. q5 needs nothing."""
    found = [_diagnosis("q1", "a", "d", "a"), _diagnosis("q2", "a")]
    profile = skill_profile(REQUIRED, found)
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
    assert [gap.skill for gap in skill_profile(required, found).skills] == ["c", "a", "b"]


@pytest.mark.parametrize("exposed", [1, 7, 40])
def test_the_interval_is_the_exact_binomial_one(exposed: int) -> None:
    """Clopper-Pearson at its ends has a closed form.

    None of n missing: low 0, and high is the p with (1 - p)^n = 0.025. All of n missing is its mirror image.
    """
    required = {f"q{index}": ["a", "b"] for index in range(exposed)}
    profile = skill_profile(required, [_diagnosis(question, "a") for question in required])
    edge = 0.025 ** (1 / exposed)
    always, never = profile.skills
    assert (always.low, always.high) == (pytest.approx(edge, abs=1e-6), 1)
    assert (never.low, never.high) == (0, pytest.approx(1 - edge, abs=1e-6))


def test_an_interval_between_the_ends() -> None:
    """1 of 2: P(X >= 1) = 1 - (1 - p)^2 = 0.025 at the lower end, P(X <= 1) = 1 - p^2 = 0.025 at the upper."""
    gap, *_ = skill_profile({"q1": ["a"], "q2": ["a"]}, [_diagnosis("q1", "a")]).skills
    assert (gap.rate, gap.low, gap.high) == (0.5, round(1 - 0.975**0.5, 6), round(0.975**0.5, 6))


def test_nothing_difficult() -> None:
    profile = skill_profile(REQUIRED, [])
    assert {gap.missing for gap in profile.skills} == {0}
    assert (profile.difficult, profile.together) == (0, [])
    empty = skill_profile({}, [])
    assert (empty.skills, empty.subjects, empty.together) == ([], [], [])


def test_a_question_that_is_diagnosed_twice_counts_once() -> None:
    """Two answers to q1 miss skill a; the rate is of questions."""
    (gap,) = skill_profile({"q1": ["a"]}, [_diagnosis("q1", "a"), _diagnosis("q1", "a")]).skills
    assert (gap.missing, gap.exposed) == (1, 1)


def test_few_exposures_are_too_few_to_tell() -> None:
    required = {f"q{index}": ["five", *(["four"] if index else [])] for index in range(5)}
    gaps = skill_profile(required, [_diagnosis("q1", "five", "four")]).skills
    assert {gap.skill: (gap.exposed, gap.too_few) for gap in gaps} == {"five": (5, False), "four": (4, True)}


def test_the_posterior_is_drawn_to_the_students_usual_rate() -> None:
    """1 of 1 and 0 of 1 are missing, so the usual rate is 1/2 and the prior Beta(1, 1), which is uniform.

    Skill a: Beta(2, 1), mean 2/3, distribution function p^2, so its bounds are the roots of 0.025 and 0.975.
    Skill b is its mirror image, Beta(1, 2).
    """
    a, b = skill_profile({"q1": ["a"], "q2": ["b"]}, [_diagnosis("q1", "a")]).skills
    low, high = 0.025**0.5, 0.975**0.5
    assert (a.posterior_mean, a.posterior_low, a.posterior_high) == (0.666667, round(low, 6), round(high, 6))
    assert b.posterior_mean == 0.333333
    assert (b.posterior_low, b.posterior_high) == (round(1 - high, 6), round(1 - low, 6))


def test_a_skill_that_was_seen_often_keeps_its_own_rate() -> None:
    """Usual rate (12 + 1/2) / (102 + 1) = 25/206, worth two exposures.

    Seen twice: (2 + 25/103) / 4 = 0.56068, half of the way. Seen 100 times: (10 + 25/103) / 102 = 0.100419.
    """
    required = {"r1": ["rare"], "r2": ["rare"]} | {f"q{index}": ["usual"] for index in range(100)}
    found = [_diagnosis(id, "rare") for id in ("r1", "r2")] + [_diagnosis(f"q{index}", "usual") for index in range(10)]
    means = {gap.skill: gap.posterior_mean for gap in skill_profile(required, found).skills}
    assert means == {"rare": 0.56068, "usual": 0.100419}


@pytest.mark.parametrize(("missing", "mean"), [([], 1 / 12), (["q1", "q2"], 11 / 12)], ids=["none", "all"])
def test_none_or_all_missing_is_not_certain(missing: list[str], mean: float) -> None:
    """0 of 2: the usual rate is 1/2 of 3, the prior Beta(1/3, 5/3), the mean (1/3) / 4; 2 of 2 is its mirror."""
    (gap,) = skill_profile({"q1": ["a"], "q2": ["a"]}, [_diagnosis(question, "a") for question in missing]).skills
    assert gap.posterior_mean == round(mean, 6)
    assert gap.posterior_high - gap.posterior_low > 0.4
    assert gap.posterior_low > 0 and gap.posterior_high < 1


def test_subjects_have_their_own_rates_and_skills() -> None:
    """q5 has no subject. Geometry: 1 of 1 difficult; 1 of 1 has the bounds 0.025 and 1. Algebra: 1 of 3."""
    subjects = {"q1": "algebra", "q2": "algebra", "q3": "algebra", "q4": "geometry", "q5": None}
    none, algebra, geometry = sorted(
        skill_profile(REQUIRED, [_diagnosis("q1", "a"), _diagnosis("q4", "c")], subjects).subjects,
        key=lambda gap: gap.subject,
    )
    assert (algebra.questions, algebra.difficult, algebra.rate) == (3, 1, 0.333333)
    assert [(count.skill, count.missing, count.exposed) for count in algebra.skills] == [("a", 1, 2), ("b", 0, 2)]
    assert (none.subject, none.questions, none.difficult) == ("", 1, 0)
    assert (geometry.questions, geometry.difficult, geometry.low, geometry.high) == (1, 1, 0.025, 1.0)


def test_subjects_come_with_most_difficult_questions_first() -> None:
    """Two of two against two of three, then one of one, and two alike by name."""
    questions = {"a": 3, "b": 2, "d": 1, "c": 1}
    required = {f"{subject}{index}": ["x"] for subject, count in questions.items() for index in range(count)}
    found = [_diagnosis(id, "x") for id in ("a0", "a1", "b0", "b1", "c0", "d0")]
    gaps = skill_profile(required, found, {id: id[0] for id in required}).subjects
    assert [gap.subject for gap in gaps] == ["b", "a", "c", "d"]


@pytest.mark.parametrize("subject", ["", None])
def test_questions_without_subject_make_no_list(subject: str | None) -> None:
    assert skill_profile(REQUIRED, [], dict.fromkeys(REQUIRED, subject)).subjects == []


def test_skills_that_go_missing_together() -> None:
    """Four diagnosed questions; a and b are missing in the same two of them.

    By chance 2 * 2 / 4 = 1; both of both with probability 1 / C(4, 2) = 1/6. a and c met once, which is no pair.
    """
    required = {f"q{index}": ["a", "b", "c"] for index in range(1, 6)}
    missed = {"q1": ["a", "b"], "q2": ["b", "a", "c"], "q3": ["c"], "q4": ["c"]}
    (pair,) = skill_profile(required, [_diagnosis(id, *skills) for id, skills in missed.items()]).together
    assert (pair.first, pair.second, pair.together, pair.expected) == ("a", "b", 2, 1.0)
    assert pair.p == pytest.approx(1 / 6, abs=1e-6)


def test_a_diagnosis_without_verdict_is_not_evidence_against_a_pair() -> None:
    """With the fifth question unscored, the four others decide as before."""
    required = {f"q{index}": ["a", "b"] for index in range(1, 6)}
    missed = {"q1": ["a", "b"], "q2": ["a", "b"], "q3": [], "q4": []}
    unscored = _diagnosis("q5").model_copy(update={"judgement": "unscored"})
    (pair,) = skill_profile(required, [*(_diagnosis(id, *skills) for id, skills in missed.items()), unscored]).together
    assert pair.p == pytest.approx(1 / 6, abs=1e-6)


def test_pairs_come_most_often_first_then_the_least_likely() -> None:
    """b and c meet three times; a and b twice, and so do d and e, which are missing nowhere else."""
    missed = [["a", "b", "c"], ["a", "b", "c"], ["b", "c", "a2"], ["d", "e"], ["e", "d"], ["a"], ["a", "f"]]
    required = {f"q{index}": list[str]() for index in range(len(missed))}
    found = [_diagnosis(f"q{index}", *skills) for index, skills in enumerate(missed)]
    pairs = skill_profile(required, found).together
    assert [(pair.first + pair.second, pair.together) for pair in pairs] == [("bc", 3), ("de", 2), ("ab", 2), ("ac", 2)]


def test_the_profile_is_the_same_in_any_order_of_its_inputs() -> None:
    required = {f"q{index}": ["a", "b", f"s{index % 7}"] for index in range(40)}
    subjects = {id: f"subject{id[-1]}" for id in required}
    found = [_diagnosis(id, *skills[: 1 + int(id[1:]) % 3]) for id, skills in list(required.items())[:25]]
    backwards = {id: required[id][::-1] for id in reversed(required)}
    assert skill_profile(required, found, subjects) == skill_profile(backwards, found[::-1], subjects)


def test_a_question_without_a_usable_diagnosis_is_in_no_rate() -> None:
    """Five questions need a; three miss it, of two nothing could be read: 3 of 3, not 3 of 5."""
    required = {f"q{n}": ["a"] for n in range(5)}
    found = [_diagnosis(f"q{n}", "a") for n in range(3)]
    found += [_diagnosis(f"q{n}").model_copy(update={"judgement": "unscored"}) for n in (3, 4)]
    profile = skill_profile(required, found)
    (gap,) = profile.skills
    assert (gap.missing, gap.exposed, profile.questions, profile.undiagnosed) == (3, 3, 5, 2)
