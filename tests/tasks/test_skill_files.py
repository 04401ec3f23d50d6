"""Lists of skills that a user gives: as one file or a folder, and what is said about those that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stat_train.errors import InputError
from stat_train.records import Dropped
from stat_train.tasks.load import skills_fingerprint
from stat_train.tasks.skill_files import EXPECTED, skill_list


def _folder(place: Path, files: dict[str, str]) -> str:
    place.mkdir()
    for name, text in files.items():
        (place / name).write_text(text, encoding="utf-8")
    return str(place)


def _read(path: str) -> dict[str, list[str]]:
    dropped: list[Dropped] = []
    found = skill_list(path, dropped)
    assert dropped == []
    return found


@pytest.mark.parametrize(
    ("held", "skills"),
    [
        ({"geometry": ["z", "y"], "algebra": ["a", "b"]}, {"algebra": ["a", "b"], "geometry": ["z", "y"]}),
        (["b", "a"], {"": ["b", "a"]}),
    ],
)
def test_one_file(tmp_path: Path, held: object, skills: dict[str, list[str]]) -> None:
    """Subjects are ordered, because a question without one is shown the names of all in this order; names are not."""
    path = tmp_path / "skills.json"
    path.write_text(json.dumps(held))
    assert list(_read(str(path)).items()) == list(skills.items())


def test_a_file_of_lines(tmp_path: Path) -> None:
    (tmp_path / "skills.txt").write_text("\ufeffLong division\r\n\r\n  fractions \n", encoding="utf-8")
    assert _read(str(tmp_path / "skills.txt")) == {"": ["Long division", "fractions"]}


def test_a_folder_has_a_file_for_each_subject(tmp_path: Path) -> None:
    files = {"Number Theory.json": '["primes"]', "algebra.txt": "b\na\n", ".DS_Store": "\x01"}
    assert _read(_folder(tmp_path / "skills", files)) == {"Number Theory": ["primes"], "algebra": ["b", "a"]}


def test_no_list_is_given() -> None:
    assert skill_list(None, []) == {}


def test_a_name_that_stands_twice_is_read_once_and_said(tmp_path: Path) -> None:
    dropped: list[Dropped] = []
    place = _folder(tmp_path / "skills", {"algebra.txt": "a\nb\na\na\n", "geometry.txt": "a\n"})
    assert skill_list(place, dropped) == {"algebra": ["a", "b"], "geometry": ["a"]}
    assert [(row.stage, row.reason, row.detail) for row in dropped] == [
        ("questions", "skill named twice in its list", "algebra: a")
    ]


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ("3", "skills.json is no list of names"),
        ("{}", "skills.json is no list of names"),
        ("[]", "the list is empty"),
        ('["a", 3]', "the list holds 3, which is no name"),
        ('["a", " "]', 'the list holds " ", which is no name'),
        ('{"algebra": "a"}', 'the list of "algebra" is no list of names'),
        ('{"algebra": []}', 'the list of "algebra" is empty'),
        ("{", "skills.json cannot be read"),
        ("[" * 100_000, "skills.json cannot be read"),
    ],
)
def test_a_file_that_is_no_list(tmp_path: Path, held: str, said: str) -> None:
    (tmp_path / "skills.json").write_text(held)
    _refused(str(tmp_path / "skills.json"), said)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "the folder is empty"),
        ({".hidden": ""}, "the folder is empty"),
        ({"algebra.txt": "\n \n"}, 'the list of "algebra" is empty'),
        ({"algebra.json": '{"algebra": ["a"]}'}, 'the list of "algebra" is no list of names'),
        ({"algebra.json": '["a"', "b.txt": "b"}, "algebra.json cannot be read"),
        ({"algebra.txt": "a", "notes.md": "b"}, "it holds notes.md, which is no list of a subject"),
        ({"algebra.txt": "a", "algebra.json": '["a"]'}, '"algebra" has two lists, algebra.json and algebra.txt'),
    ],
)
def test_a_folder_that_is_no_list(tmp_path: Path, files: dict[str, str], said: str) -> None:
    _refused(_folder(tmp_path / "skills", files), said)


def _refused(path: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        skill_list(path, [])
    text = str(refused.value)
    assert text.startswith(f"task.skills = {path}: {said}") and text.endswith(EXPECTED) and len(text) < 600


def test_a_list_is_known_by_what_it_says(tmp_path: Path) -> None:
    """The order of names is part of a prompt; the order of subjects, the place and the form of the files are not."""
    same = {"a": ["x", "y"], "b": ["z"]}
    (tmp_path / "one.json").write_text(json.dumps(same))
    (tmp_path / "two.json").write_text(json.dumps(dict(reversed(same.items())), indent=4))
    folder = _folder(tmp_path / "three", {"a.txt": "x\ny\n", "b.json": '["z"]'})
    (tmp_path / "other.json").write_text(json.dumps(same | {"a": ["y", "x"]}))
    places = [str(tmp_path / "one.json"), str(tmp_path / "two.json"), folder, str(tmp_path / "other.json")]
    one, two, three, other = map(skills_fingerprint, places)
    assert one == two == three != other


def test_real_list(shared_data: Path) -> None:
    skills = _read(str(shared_data / "math" / "skills.json"))
    assert (len(skills), sum(map(len, skills.values()))) == (7, 118)
