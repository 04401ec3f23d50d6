"""The skill map: which labels are kept, asked for, or left out with a reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from stat_train.diagnosis.skill_map import MOST_SKILLS, label
from stat_train.records import Question, QuestionSkills
from stat_train.teacher.labels import LabelReader


class _Names(LabelReader):
    """A teacher that names the same skills for each question, and counts how often it is asked."""

    def __init__(self, *skills: str) -> None:
        self.skills, self.asked = list(skills), list[str]()

    def required_skills(self, questions: Iterable[Question]) -> Iterator[QuestionSkills]:
        for question in questions:
            self.asked.append(question.id)
            yield QuestionSkills(id=question.id, skills=self.skills)


def _question(id: str, skills: list[str] | None = None, subject: str | None = None) -> Question:
    return Question(id=id, question="?", skills=skills, subject=subject)


def test_labels_that_a_question_has_are_kept_once_each_however_many() -> None:
    """Cut off, a skill could still be missing, and would then count as exposed only where it failed."""
    labelled, dropped = label([_question("q", list("abbcdaefg"))], LabelReader(), {})
    assert (labelled[0].skills, dropped) == (list("abcdefg"), [])


def test_of_a_teacher_s_names_five_count() -> None:
    labelled, dropped = label([_question("q")], _Names(*"abcdefg"), {})
    assert labelled[0].skills == list("abcde")
    assert [(row.id, row.reason, row.detail) for row in dropped] == [
        ("q", "more than 5 skills", "f"),
        ("q", "more than 5 skills", "g"),
    ]
    assert MOST_SKILLS == 5


def test_names_outside_the_list_are_dropped_and_counted() -> None:
    questions = [_question("q", list("xabcydef")), _question("r", ["x"])]
    labelled, dropped = label(questions, LabelReader(), {"": list("abcdef")})
    assert [(row.id, row.skills) for row in labelled] == [("q", list("abcdef"))]
    assert [(row.id, row.reason, row.detail) for row in dropped] == [
        ("q", "skill outside the list", "x"),
        ("q", "skill outside the list", "y"),
        ("r", "skill outside the list", "x"),
        ("r", "no skill label", ""),
    ]


@pytest.mark.parametrize("subject", ["geometry", None])
def test_a_subject_without_a_list_may_use_every_list(subject: str | None) -> None:
    known = {"algebra": ["a"], "counting": ["b"]}
    labelled, dropped = label([_question("q", ["a", "b", "x"], subject)], LabelReader(), known)
    assert labelled[0].skills == ["a", "b"]
    assert [row.detail for row in dropped] == ["x"]


def test_the_list_is_that_of_the_subject() -> None:
    questions = [_question("q", ["a", "b"], "algebra"), _question("r", ["a", "b"], "geometry")]
    labelled, dropped = label(questions, LabelReader(), {"algebra": ["a"], "geometry": ["b"]})
    assert [row.skills for row in labelled] == [["a"], ["b"]]
    assert [row.detail for row in dropped] == ["b", "a"]


def test_only_questions_without_labels_are_asked_of_the_teacher() -> None:
    teacher = _Names("b", "x")
    labelled, dropped = label([_question("q", ["a"]), _question("r"), _question("s", [])], teacher, {"": ["a", "b"]})
    assert teacher.asked == ["r", "s"]
    assert [(row.id, row.skills) for row in labelled] == [("q", ["a"]), ("r", ["b"]), ("s", ["b"])]
    assert [row.id for row in dropped] == ["r", "s"]


def test_unlabelled_questions_are_reported() -> None:
    labelled, dropped = label([_question("q", subject="algebra"), _question("r", ["a"])], LabelReader(), {})
    assert [row.id for row in labelled] == ["r"]
    assert [(row.stage, row.id, row.reason, row.detail) for row in dropped] == [
        ("label", "q", "no skill label", "algebra")
    ]
