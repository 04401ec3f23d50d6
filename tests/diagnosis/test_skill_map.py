"""The skill map: which labels are kept, asked for, or left out with a reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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


def test_at_most_five_skills_and_none_twice() -> None:
    labelled, dropped = label([_question("q", list("abbcdaefg"))], LabelReader(), {})
    assert (labelled[0].skills, dropped) == (list("abcde"), [])
    assert MOST_SKILLS == 5


def test_names_outside_the_list_are_dropped_and_counted() -> None:
    """A name that is left out does not take the place of one of the five."""
    questions = [_question("q", list("xabcydef")), _question("r", ["x"])]
    labelled, dropped = label(questions, LabelReader(), {"": list("abcdef")})
    assert [(row.id, row.skills) for row in labelled] == [("q", list("abcde"))]
    assert [(row.id, row.reason, row.detail) for row in dropped] == [
        ("q", "skill outside the list", "x"),
        ("q", "skill outside the list", "y"),
        ("r", "skill outside the list", "x"),
        ("r", "no skill label", ""),
    ]


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
