"""Which words of a teacher are names of the list."""

from __future__ import annotations

import pytest

from stat_train.records import Question
from stat_train.teacher.skill_list import labels, matched, names_for, normal

NAMES = ["solving_equations", "Long Division", "area, and perimeter"]


@pytest.mark.parametrize(
    "word",
    [
        "solving_equations",
        "Solving Equations",
        "`solving_equations`",
        '"solving-equations".',
        " SOLVING  equations ",
        "**solving_equations**",
    ],
)
def test_a_name_is_known_however_it_is_spelled(word: str) -> None:
    assert matched([word], NAMES) == (["solving_equations"], [])


def test_a_line_may_hold_several_names_and_a_name_a_comma() -> None:
    assert matched(["long division, solving_equations", "area, and perimeter"], NAMES).inside == [
        "Long Division",
        "solving_equations",
        "area, and perimeter",
    ]


def test_what_is_no_name_is_kept_apart_once_each() -> None:
    assert matched(["algebra", "long_division", "algebra", "", "x; y"], NAMES) == (
        ["Long Division"],
        ["algebra", "x", "y"],
    )


def test_the_list_of_a_subject() -> None:
    known = {"algebra": ["a", "b"], "geometry": ["b", "c"]}
    assert names_for(known, "algebra") == ["a", "b"]
    assert names_for(known, "counting") == names_for(known, None) == ["a", "b", "c"]
    assert names_for({"": ["z"]} | known, "counting") == ["z"]
    assert names_for({}, "algebra") == []


def test_the_names_that_questions_are_labelled_with() -> None:
    rows = [("2", "b", ["y", "x"]), ("1", "a", ["x"]), ("3", None, ["z"]), ("4", "b", ["x"]), ("5", "c", None)]
    questions = [Question(id=id, question="?", subject=subject, skills=skills) for id, subject, skills in rows]
    assert list(labels(questions).items()) == [("", ["z"]), ("a", ["x"]), ("b", ["x", "y"])]


def test_normal_names() -> None:
    assert [normal(name) for name in ("Long  division", "x-y_z", " - ", "<b>")] == ["long_division", "x_y_z", "", "b"]
