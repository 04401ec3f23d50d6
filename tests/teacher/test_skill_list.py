"""Which words of a teacher are names of the list."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from stat_train.records import Question
from stat_train.teacher.skill_list import describe, labels, matched, names_for, normal, using_every_list

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


def test_which_list_it_is(tmp_path: Path) -> None:
    """The hash is the one that `sha256sum` gives; `""` is no subject, and a name in two lists is one name."""
    place = tmp_path / "skills.json"
    place.write_text('{"": ["x"], "a": ["x", "y"]}')
    digest = subprocess.run(["sha256sum", place], capture_output=True, text=True, check=True).stdout.split()[0]
    assert describe(place) == {"sha256": digest, "names": 2, "subjects": 1}


def test_subjects_without_a_list_are_said_once_the_commonest_first() -> None:
    counts = {"a": 5, "b": 1, "c": 2000, "": 3}
    lines = list(using_every_list({"a": ["x"]}, counts))
    assert lines[0].startswith("2,004 questions choose from the names of every list")
    assert lines[1] == "c (2,000), no subject (3), b (1)"
    many = {f"s{n}": 1 for n in range(8)}
    assert list(using_every_list({"a": ["x"]}, many))[1] == "s0 (1), s1 (1), s2 (1), s3 (1), s4 (1) and 3 more"


@pytest.mark.parametrize("known", [{}, {"": ["x"]}, {"": ["x"], "a": ["y"]}, {"a": ["y"], "b": ["z"]}])
def test_nothing_is_said_when_each_question_has_a_list(known: dict[str, list[str]]) -> None:
    assert list(using_every_list(known, {"a": 1, "b": 2})) == []
