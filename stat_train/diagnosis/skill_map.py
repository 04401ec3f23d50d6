"""The skill map: which skills each question of the pool and of the validation set requires (method stage 0)."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from stat_train.errors import StatTrainError, UserError
from stat_train.records import Dropped, Question, QuestionSkills
from stat_train.teacher.contract import Discovery, Teacher
from stat_train.teacher.skill_list import SkillList, labels, names_for

MOST_SKILLS = 5
# What is left out beside questions.
NAME = "skill name"


class _About(NamedTuple):
    """What is kept of a question while a teacher is asked: its own labels, when it has some."""

    id: str
    subject: str | None
    labels: list[str] | None


def label(
    questions: Iterable[Question], teacher: Teacher, known: SkillList
) -> tuple[list[QuestionSkills], list[Dropped]]:
    """Return each question's skills, as `required_skills` does; raises UserError when no question has any."""
    labelled, dropped = required_skills(questions, teacher, known)
    if not labelled:
        raise UserError(
            f"task: no question has a skill label, so no gap can be named{reasons(dropped)}. Give rows with skills (a "
            "list of names) and say which column holds them with task.fields.skills=COLUMN, or use teacher=openai"
        )
    return labelled, dropped


def required_skills(
    questions: Iterable[Question], teacher: Teacher, known: SkillList
) -> tuple[list[QuestionSkills], list[Dropped]]:
    """Return each question's skills, and the questions that have none.

    Labels that a question already has are kept, however many; the others are asked of the teacher, of whose names five
    at most count. `known` gives the names of each subject's list ("" for the list of all subjects; a subject without a
    list may use every name); a name outside it is left out, with the reason.
    """
    labelled, dropped = [], list[Dropped]()
    for about, named in _with_labels(questions, teacher, known):
        if named.error:
            dropped.append(_dropped(about, "no label: no usable reply of the teacher", named.error))
            continue
        allowed = set(names_for(known, about.subject))
        names = list(dict.fromkeys(named.skills))
        dropped += [_dropped(about, "skill outside the list", n, NAME) for n in names if allowed and n not in allowed]
        skills = [name for name in names if not allowed or name in allowed]
        if about.labels is None:
            dropped += [_dropped(about, f"more than {MOST_SKILLS} skills", name, NAME) for name in skills[MOST_SKILLS:]]
            skills = skills[:MOST_SKILLS]
        if skills:
            labelled.append(named.model_copy(update={"skills": skills}))
        else:
            dropped.append(_dropped(about, "no skill label", about.subject or ""))
    return labelled, dropped


def with_skills(questions: Iterable[Question], labelled: Iterable[QuestionSkills]) -> dict[str, Question]:
    """Return the questions by id, each with the skills of the skill map in the place of its file's."""
    skills = {row.id: row.skills for row in labelled}
    return {question.id: question.model_copy(update={"skills": skills.get(question.id)}) for question in questions}


def find_list(questions: Callable[[], Iterable[Question]], teacher: Teacher, count: int) -> Discovery:
    """Return a list of skills for a task that has none: the names of its labels, else what the teacher discovers.

    The teacher is shown a sample of `count` questions. Raises StatTrainError when it finds no skill in them.
    """
    if found := labels(questions()):
        return Discovery(found, {}, [])
    discovery = teacher.discover_skills(sample_of(questions(), count))
    if not discovery.skills:
        raise StatTrainError(f"teacher: found no list of skills{reasons(discovery.left_out)}. Give one as task.skills")
    return discovery


def reasons(dropped: Iterable[Dropped]) -> str:
    """Return the commonest reason why something was left out, with an example, as the end of a sentence."""
    every = list(dropped)
    reason = Counter(row.reason for row in every).most_common(1)
    if not reason:
        return ""
    example = next(row.detail for row in every if row.reason == reason[0][0])
    return f"; {reason[0][1]:,} x {reason[0][0]}" + (f", such as: {example}" if example else "")


def sample_of(questions: Iterable[Question], count: int) -> list[Question]:
    """Return some questions, chosen by the hash of their id: the same for every run, so that runs share the calls."""
    return heapq.nsmallest(count, questions, key=lambda question: hashlib.sha256(question.id.encode()).digest())


def _with_labels(
    questions: Iterable[Question], teacher: Teacher, known: SkillList
) -> Iterator[tuple[_About, QuestionSkills]]:
    """Yield each question with its own labels, or with the teacher's, who is asked for all others at once."""
    every: list[_About] = []

    def unlabelled() -> Iterator[Question]:
        for question in questions:
            every.append(_About(question.id, question.subject, question.skills or None))
            if not question.skills:
                yield question

    named = {row.id: row for row in teacher.required_skills(unlabelled(), known)}
    for about in every:
        yield about, QuestionSkills(id=about.id, skills=about.labels) if about.labels else named[about.id]


def _dropped(about: _About, reason: str, detail: str, item: str = "question") -> Dropped:
    return Dropped(stage="label", id=about.id, reason=reason, detail=detail, item=item)
