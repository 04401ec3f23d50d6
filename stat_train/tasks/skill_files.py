"""The list of skills that a user gives: one file for all subjects, or a folder with a file for each."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from stat_train.errors import InputError
from stat_train.records import Dropped

EXPECTED = (
    "expected a JSON file of {subject: [names]} or [names], or a folder of SUBJECT.json ([names]) and SUBJECT.txt (one "
    "name a line), none of them empty"
)


def skill_list(path: str | None, dropped: list[Dropped]) -> dict[str, list[str]]:
    """Read the skills a teacher chooses from: by subject in the order of the alphabet, or all under `""` for one list.

    A name that stands twice in a list is read once, and appended to `dropped`. Raises InputError for what is no list.
    """
    if path is None:
        return {}
    place = Path(path).expanduser()
    found = _folder(path, place) if place.is_dir() else _content(path, place)
    by_subject = {"": found} if isinstance(found, list) else found
    if not isinstance(by_subject, dict) or not by_subject:
        _refuse(path, f"{place.name} is no list of names")
    for subject, names in by_subject.items():
        _check(path, subject, names)
    for subject, names in sorted(by_subject.items()):
        twice = [name for name, count in Counter[str](names).items() if count > 1]
        dropped += [_repeat(f"{subject}: {name}" if subject else name) for name in twice]
    return {subject: list(dict.fromkeys(by_subject[subject])) for subject in sorted(by_subject)}


def normal(name: str) -> str:
    """Return a name in lower case with underscores, without quotes or marks around it."""
    return re.sub(r"[\s_\-]+", "_", name).strip("_\"'`*.,;:<>()[]").casefold()


def _folder(path: str, folder: Path) -> dict[str, Any]:
    """Return what the files of a folder hold, by subject; every file in it must be one of a subject."""
    by_subject: dict[str, Any] = {}
    for file in sorted(file for file in folder.iterdir() if not file.name.startswith(".")):
        if file.suffix not in (".json", ".txt") or not file.is_file():
            _refuse(path, f"it holds {file.name}, which is no list of a subject")
        if file.stem in by_subject:
            _refuse(path, f'"{file.stem}" has two lists, {file.stem}.json and {file.name}')
        by_subject[file.stem] = _content(path, file)
    if not by_subject:
        _refuse(path, "the folder is empty")
    return by_subject


def _content(path: str, file: Path) -> Any:
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix == ".txt":
            return [line.strip() for line in text.splitlines() if line.strip()]
        return json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        _refuse(path, f"{file.name} cannot be read: {error}")


def _check(path: str, subject: str, names: Any) -> None:
    whose = f'the list of "{subject}"' if subject else "the list"
    if not isinstance(names, list):
        _refuse(path, f"{whose} is no list of names")
    if not names:
        _refuse(path, f"{whose} is empty")
    if wrong := [name for name in names if not isinstance(name, str) or not normal(name) or not name.isprintable()]:
        _refuse(path, f"{whose} holds {json.dumps(wrong[0])[:80]}, which is no name")
    spelled: dict[str, str] = {}
    for name in names:
        if spelled.setdefault(normal(name), name) != name:
            _refuse(path, f'{whose} holds "{spelled[normal(name)]}" and "{name}", which a teacher cannot tell apart')


def _repeat(name: str) -> Dropped:
    return Dropped(
        stage="questions", id="task.skills", reason="skill named twice in its list", detail=name, item="skill name"
    )


def _refuse(path: str, problem: str) -> NoReturn:
    raise InputError(f"task.skills = {path}: {problem}; {EXPECTED}")
