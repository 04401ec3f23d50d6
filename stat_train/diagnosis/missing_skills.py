"""Which skills the student missed in its answers to difficult questions, as the teacher sees it (method stage 2)."""

from __future__ import annotations

from collections.abc import Iterable

from stat_train.records import Answer, Diagnosis, Dropped, Question
from stat_train.teacher.contract import Teacher
from stat_train.teacher.skill_list import SkillList, names_for

WITHOUT_SKILLS = {
    "unscored": "diagnosis unscored: no usable reply of the teacher",
    "correct": "difficult, judged correct by the teacher",
    "wrong": "difficult, no missing skill named",
}


def find_missing(
    pairs: Iterable[tuple[Question, Answer]], teacher: Teacher, known: SkillList
) -> tuple[list[Diagnosis], list[Dropped]]:
    """Return the diagnosis of each answer, and what was left out: names outside the subject's list of `known`.

    A diagnosis without a skill says nothing of what to train; it is kept, and counted as left out with its reason.
    """
    asked = list(pairs)
    subjects = {question.id: question.subject for question, _ in asked}
    diagnoses, dropped = [], list[Dropped]()
    for found in teacher.missing_skills(asked, known):
        allowed = set(names_for(known, subjects[found.question_id]))
        outside = [name for name in found.missing_skills if allowed and name not in allowed]
        inside = [name for name in found.missing_skills if name not in outside]
        dropped += [_dropped(found, "missing skill outside the list", name) for name in outside]
        if not inside:
            dropped.append(_dropped(found, WITHOUT_SKILLS[found.judgement], found.explanation))
        diagnoses.append(found.model_copy(update={"missing_skills": inside}))
    return diagnoses, dropped


def _dropped(found: Diagnosis, reason: str, detail: str) -> Dropped:
    return Dropped(stage="diagnose", id=found.question_id, reason=reason, detail=detail)
