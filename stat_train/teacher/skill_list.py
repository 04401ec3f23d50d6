"""The list of skills that a teacher chooses from, by subject, and which of its words are names of that list."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stat_train.errors import InputError
from stat_train.records import Question
from stat_train.tasks.skill_files import normal

# Subject -> names; `""` stands for all subjects.
SkillList = Mapping[str, Sequence[str]]
SUBJECTS_SHOWN = 5


class Matched(NamedTuple):
    """Names of the list, as they are spelled there, and what is no name of it."""

    inside: list[str]
    outside: list[str]


def read_skill_list(place: Path) -> dict[str, list[str]]:
    """Return the list that a stage has kept in a file; empty when the task has none."""
    found: dict[str, list[str]] = json.loads(place.read_text(encoding="utf-8"))
    return found


def describe(place: Path) -> dict[str, Any]:
    """Return which list a file holds: its SHA-256, and how many names and subjects it has."""
    known = read_skill_list(place)
    names = {name for each in known.values() for name in each}
    digest = hashlib.sha256(place.read_bytes()).hexdigest()
    return {"sha256": digest, "names": len(names), "subjects": sum(bool(subject) for subject in known)}


def found_in_words(known: SkillList) -> str:
    """Return how many skills a list has, and some of them."""
    names = names_for({subject: names for subject, names in known.items() if subject}, None) or names_for(known, None)
    return f"{len(names)} skills: {_some(names)}"


def require_lists(known: SkillList, subjects: Iterable[str]) -> None:
    """Refuse lists by subject of which none is of a subject that the questions have."""
    asked, listed = {each for each in subjects if each}, {each for each in known if each}
    if asked and listed and not asked & listed and "" not in known:
        raise InputError(
            f"task.skills: none of its subjects ({_some(listed)}) is one of the questions' ({_some(asked)}); name them "
            "alike, or give one list for all"
        )


def _some(names: Iterable[str]) -> str:
    every = sorted(names)
    return ", ".join(every[:5]) + (", ..." if len(every) > 5 else "")


def using_every_list(known: SkillList, questions: Mapping[str, int]) -> Iterator[str]:
    """Yield, in words, for which subjects the names of every list are used, because they have none of their own.

    `questions` tells how many questions each subject has, `""` those without a subject.
    """
    without = {subject: count for subject, count in questions.items() if subject not in known}
    if not known or "" in known or not without:
        return
    ranked = sorted(without.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{subject or 'no subject'} ({count:,})" for subject, count in ranked[:SUBJECTS_SHOWN]]
    more = f" and {len(ranked) - SUBJECTS_SHOWN} more" if len(ranked) > SUBJECTS_SHOWN else ""
    total = sum(without.values())
    yield f"{total:,} questions choose from the names of every list, as their subject has none:"
    yield f"{', '.join(named)}{more}"


def names_for(known: SkillList, subject: str | None) -> list[str]:
    """Return the names for a subject: its own list, else that of all subjects, else the names of every list."""
    own = known.get(subject or "") or known.get("")
    return list(own or dict.fromkeys(name for names in known.values() for name in names))


def matched(words: Iterable[str], names: Sequence[str]) -> Matched:
    """Return which words are names of the list, however they are spelled; a line may hold several with commas."""
    spelled = {normal(name): name for name in names}
    given: list[str] = []
    for line in words:
        given += [line] if normal(line) in spelled else re.split(r"[,;]", line)
    given = list(dict.fromkeys(word.strip() for word in given if normal(word)))
    inside = [spelled[normal(word)] for word in given if normal(word) in spelled]
    outside = [word for word in given if normal(word) not in spelled]
    return Matched(list(dict.fromkeys(inside)), outside)


def labels(questions: Iterable[Question]) -> dict[str, list[str]]:
    """Return the names that questions are labelled with, by subject, in the order of the alphabet."""
    found: dict[str, set[str]] = {}
    for question in questions:
        if question.skills:
            found.setdefault(question.subject or "", set()).update(question.skills)
    return {subject: sorted(found[subject]) for subject in sorted(found)}
