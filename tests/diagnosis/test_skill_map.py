"""The skill map: which labels are kept, asked for, or left out with a reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from stat_train.diagnosis.skill_map import MOST_SKILLS, find_list, label
from stat_train.errors import StatTrainError, UserError
from stat_train.records import Dropped, Question, QuestionSkills
from stat_train.teacher.contract import Discovery
from stat_train.teacher.labels import LabelReader
from stat_train.teacher.skill_list import SkillList


class _Names(LabelReader):
    """A teacher that names the same skills for each question, and counts how often it is asked."""

    def __init__(self, *skills: str) -> None:
        self.skills, self.asked = list(skills), list[str]()

    def required_skills(self, questions: Iterable[Question], known: SkillList) -> Iterator[QuestionSkills]:
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


class _Fails(LabelReader):
    """A teacher whose replies cannot be used for some questions."""

    def required_skills(self, questions: Iterable[Question], known: SkillList) -> Iterator[QuestionSkills]:
        for question in questions:
            good = QuestionSkills(id=question.id, skills=["a"], reason="why", call_ids=["1"])
            yield good if question.id != "q" else QuestionSkills(id="q", skills=[], call_ids=["2"], error="cut off")


def test_a_question_without_a_usable_reply_is_left_out_and_others_keep_their_reason() -> None:
    labelled, dropped = label([_question("q"), _question("r")], _Fails(), {})
    assert [(row.id, row.reason, row.call_ids) for row in labelled] == [("r", "why", ["1"])]
    assert [(row.id, row.reason, row.detail) for row in dropped] == [
        ("q", "no label: no usable reply of the teacher", "cut off")
    ]


def test_what_is_outside_the_list_does_not_use_up_the_five() -> None:
    labelled, dropped = label([_question("q")], _Names(*"xabcdef"), {"": list("abcdef")})
    assert labelled[0].skills == list("abcde")
    assert [(row.reason, row.detail) for row in dropped] == [
        ("skill outside the list", "x"),
        ("more than 5 skills", "f"),
    ]


# -- a list of skills -------------------------------------------------------------------------------------------------


class _Discovers(LabelReader):
    """A teacher that keeps which questions it was shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def discover_skills(self, questions: Iterable[Question]) -> Discovery:
        self.shown = [question.id for question in questions]
        return Discovery({"": ["found"]}, {}, [])


def test_the_labels_of_questions_are_a_list() -> None:
    teacher = _Discovers()
    questions = [_question("q", ["b"], "s"), _question("r", subject="s"), _question("t", ["a"], "s")]
    assert find_list(lambda: questions, teacher, 2).skills == {"s": ["a", "b"]}
    assert teacher.shown == []


def test_a_list_that_is_not_found_ends_the_stage_before_a_label_is_paid_for() -> None:
    class _Finds(_Discovers):
        def discover_skills(self, questions: Iterable[Question]) -> Discovery:
            why = Dropped(stage="label", id="q", reason="no names", detail="the model refused")
            return Discovery({}, {}, [why, why.model_copy(update={"id": "r"})])

    said = r"found no list of skills; 2 x no names, such as: the model refused. Give one as task.skills"
    with pytest.raises(StatTrainError, match=said):
        find_list(lambda: [_question("q"), _question("r")], _Finds(), 2)


def test_when_no_reply_is_of_use_the_error_says_why() -> None:
    with pytest.raises(UserError, match=r"1 x no label: no usable reply of the teacher, such as: cut off"):
        label([_question("q")], _Fails(), {})


def test_without_labels_the_teacher_is_shown_a_sample_that_depends_on_nothing_else() -> None:
    teacher = _Discovers()
    questions = [_question(str(number)) for number in range(50)]
    assert find_list(lambda: questions, teacher, 10).skills == {"": ["found"]}
    first = teacher.shown
    find_list(lambda: reversed(questions), teacher, 10)
    assert len(first) == 10 and teacher.shown == first
