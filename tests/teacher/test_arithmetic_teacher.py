"""The exact teacher: what it names, and how often it is wrong when it is told to be."""

from __future__ import annotations

from collections import Counter
from math import sqrt

import pytest

from stat_train.config import ArithmeticTeacher, LabelsTeacher
from stat_train.records import Answer, Diagnosis, Question
from stat_train.tasks.answers import extract_final
from stat_train.tasks.arithmetic.skills import SKILL_NAMES
from stat_train.tasks.arithmetic.world import Family, questions
from stat_train.teacher.arithmetic import ExactTeacher
from stat_train.teacher.contract import QuestionRequest, RewriteRequest, exact_teacher
from stat_train.teacher.labels import LabelReader

QUESTION = Question(id="q", question="?", answer="72", source="addition(34; 58) subtraction(20)")  # 34 -> 92 -> 72
RATE = 0.3


def _settings(error_rate: float, seed: int) -> ArithmeticTeacher:
    return ArithmeticTeacher(
        name="arithmetic", error_rate=error_rate, wrong_solution_rate=0.0, same_error_rate=0.1, sampling_seed=seed
    )


def _teacher(error_rate: float = 0.0, seed: int = 0) -> ExactTeacher:
    return ExactTeacher(_settings(error_rate, seed))


def _answer(question: Question, text: str, attempt: int = 0) -> Answer:
    return Answer(
        question_id=question.id,
        attempt=attempt,
        text=text,
        final=extract_final(text),
        finish_reason="stop",
        output_tokens=0,
        prompt_hash="",
    )


def _diagnose(text: str) -> Diagnosis:
    (found,) = _teacher().missing_skills([(QUESTION, _answer(QUESTION, text))], {})
    return found


@pytest.mark.parametrize(
    ("text", "judgement", "missing"),
    [
        ("34 + 58 = 92\n\n92 - 20 = 72\n\nThe answer is 72.", "correct", []),
        ("34 + 58 = 82\n\n82 - 20 = 62\n\nThe answer is 62.", "wrong", ["addition"]),
        ("34 + 58 = 92\n\n92 - 20 = 71\n\nThe answer is 71.", "wrong", ["subtraction"]),
        ("34 + 58 = 91\n\n91 - 20 = 72\n\nThe answer is 72.", "wrong", ["addition", "subtraction"]),
        # Every step is right, and the answer is copied wrong: the answer is wrong, and no skill of the list is missing.
        ("34 + 58 = 92\n\n92 - 20 = 72\n\nThe answer is 27.", "wrong", []),
        ("34 + 58 = 92\n\n92 - 20 = 72", "wrong", []),
        ("", "wrong", ["addition", "subtraction"]),
    ],
)
def test_the_exact_teacher_by_hand(text: str, judgement: str, missing: list[str]) -> None:
    found = _diagnose(text)
    assert (found.judgement, found.missing_skills) == (judgement, missing)


def test_required_skills_are_those_of_the_chain() -> None:
    (found,) = _teacher().required_skills([QUESTION], {})
    assert found.skills == ["addition", "subtraction"]


def test_a_question_of_another_task_requires_no_skill_that_is_known() -> None:
    (row,) = _teacher().required_skills([Question(id="amc", question="How far apart are they?")], {})
    assert row.skills == []


def test_rewrites_come_in_the_order_asked() -> None:
    requests = [RewriteRequest(QUESTION, sample) for sample in (2, 0, 1, 2)]
    texts = [written.text or "" for written in _teacher().rewrite(requests)]
    assert texts[0] == texts[3]
    assert len(set(texts)) == 3
    assert all(_diagnose(text).judgement == "correct" for text in texts)
    assert texts != [written.text for written in _teacher(seed=1).rewrite(requests)]


# -- wrong diagnoses --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def failures() -> list[tuple[Question, Answer]]:
    """Return 1,500 single-skill questions, each with an answer that failed its skill."""
    asked = questions("0", "validation", "failures", 1500, Family(steps=(1, 1)))
    return [(question, _answer(question, "I do not know")) for question in asked]


def _named(failures: list[tuple[Question, Answer]], rate: float, seed: int = 0) -> list[str]:
    return [found.missing_skills[0] for found in _teacher(rate, seed).missing_skills(failures, {})]


def _wrong(failures: list[tuple[Question, Answer]], named: list[str]) -> list[str]:
    return [name for name, (question, _) in zip(named, failures, strict=True) if [name] != question.skills]


def test_the_share_of_wrong_names(failures: list[tuple[Question, Answer]]) -> None:
    """Binomial: 450 of 1,500 with a standard deviation of 17.7; 4 of them allow for 379 to 521."""
    expected, deviation = RATE * 1500, sqrt(1500 * RATE * (1 - RATE))
    wrong = _wrong(failures, _named(failures, RATE))
    assert abs(len(wrong) - expected) < 4 * deviation
    assert set(Counter(wrong)) == set(SKILL_NAMES)


def test_rates_at_the_ends(failures: list[tuple[Question, Answer]]) -> None:
    assert _wrong(failures, _named(failures, 0.0)) == []
    assert len(_wrong(failures, _named(failures, 1.0))) == 1500


def test_errors_depend_on_the_teacher_s_seed_alone(failures: list[tuple[Question, Answer]]) -> None:
    """Not on what else is asked, and another attempt is misread on its own."""
    named = _named(failures, RATE)
    assert _named(failures, RATE) == named
    assert _named(failures[::-1], RATE) == named[::-1]
    assert _named(failures[700:], RATE) == named[700:]
    assert _named(failures, RATE, seed=1) != named
    again = [(question, _answer(question, "I do not know", attempt=1)) for question, _ in failures]
    assert _named(again, RATE) != named


def test_a_higher_rate_misreads_what_a_lower_one_did_and_more(failures: list[tuple[Question, Answer]]) -> None:
    """So runs with different rates differ by the rate alone."""
    right = [(question.skills or [""])[0] for question, _ in failures]
    few, many = (_named(failures, rate) for rate in (0.1, 0.5))
    misread = [(less, more) for less, more, name in zip(few, many, right, strict=True) if less != name]
    assert all(less == more for less, more in misread)
    assert 0 < len(misread) < len(_wrong(failures, many))


def test_the_settings_name_the_teacher() -> None:
    assert isinstance(exact_teacher(LabelsTeacher(name="labels")), LabelReader)
    teacher = exact_teacher(_settings(1.0, 3))
    assert isinstance(teacher, ExactTeacher)
    assert teacher.settings.error_rate == 1.0


# -- new questions ----------------------------------------------------------------------------------------------------

EXAMPLES = [
    Question(id="both", question="?", skills=["addition", "subtraction"]),
    Question(id="one", question="?", skills=["division"]),
]


def _needed(skill: str | None, examples: list[Question]) -> set[tuple[str, ...]]:
    """Return which skills 40 new questions need."""
    teacher = _teacher()
    requests = [QuestionRequest("q", skill, examples, sample) for sample in range(20)]
    written = [text for found in teacher.new_question(requests) for text in found.questions]
    assert len(written) == 40
    return {tuple(sorted(name for name, _ in teacher.chains[text].steps)) for text in written}


def test_new_questions_need_what_one_of_the_examples_needs() -> None:
    assert _needed(None, EXAMPLES) == {("addition", "subtraction"), ("division",)}


def test_new_questions_for_a_skill_always_need_it() -> None:
    """Where the example that is drawn does not, the skill alone."""
    assert _needed("subtraction", EXAMPLES) == {("addition", "subtraction"), ("subtraction",)}
    assert _needed("rounding", EXAMPLES) == _needed("rounding", []) == {("rounding",)}
