"""The skill map: which skills each question of the pool and of the validation set requires (method stage 0)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from stat_train.errors import UserError
from stat_train.records import Dropped, Question, QuestionSkills
from stat_train.teacher.contract import Teacher

MOST_SKILLS = 5


def label(
    questions: Iterable[Question], teacher: Teacher, known: Mapping[str, Sequence[str]]
) -> tuple[list[QuestionSkills], list[Dropped]]:
    """Return each question's skills, and the questions that have none.

    Labels that a question already has are kept, however many; the others are asked of the teacher, of whose names five
    at most count. `known` gives the names of each subject's list ("" for the list of all subjects; a subject without a
    list may use every name); a name outside it is left out, with the reason.
    """
    labelled, dropped = [], list[Dropped]()
    every = {name for names in known.values() for name in names}
    for question, given in _with_labels(questions, teacher, dropped):
        allowed = known.get(question.subject or "") or known.get("") or every
        names = list(dict.fromkeys(given))
        skills = [name for name in names if not allowed or name in allowed]
        dropped += [_dropped(question, "skill outside the list", name) for name in names if name not in skills]
        if skills:
            labelled.append(QuestionSkills(id=question.id, skills=skills))
        else:
            dropped.append(_dropped(question, "no skill label", question.subject or ""))
    if not labelled:
        raise UserError(
            "task: no question has a skill label, so no gap can be named; give rows with skills (a list of names) and "
            "say which column holds them with task.fields.skills=COLUMN"
        )
    return labelled, dropped


def with_skills(questions: Iterable[Question], labelled: Iterable[QuestionSkills]) -> dict[str, Question]:
    """Return the questions by id, each with the skills of the skill map in the place of its file's."""
    skills = {row.id: row.skills for row in labelled}
    return {question.id: question.model_copy(update={"skills": skills.get(question.id)}) for question in questions}


def _with_labels(
    questions: Iterable[Question], teacher: Teacher, dropped: list[Dropped]
) -> Iterable[tuple[Question, list[str]]]:
    for question in questions:
        if question.skills:
            yield question, question.skills
        else:
            named = next(teacher.required_skills([question])).skills
            dropped += [_dropped(question, f"more than {MOST_SKILLS} skills", name) for name in named[MOST_SKILLS:]]
            yield question, named[:MOST_SKILLS]


def _dropped(question: Question, reason: str, detail: str) -> Dropped:
    return Dropped(stage="label", id=question.id, reason=reason, detail=detail)
