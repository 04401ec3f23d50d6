"""Which skills the student missed in its answers to difficult questions, as the teacher sees it (method stage 2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from stat_train.counts import Count, Counts, seen
from stat_train.records import Answer, Diagnosis, Difficulty, Dropped, Question
from stat_train.teacher.contract import Teacher
from stat_train.teacher.skill_list import SkillList, names_for

# What is left out beside diagnoses without a skill.
NAME = "missing skill"
WITHOUT_SKILLS = {
    "unscored": "diagnosis unscored: no usable reply of the teacher",
    "correct": "difficult, judged correct by the teacher",
    "wrong": "difficult, no missing skill named",
}


def find_missing(
    pairs: Iterable[tuple[Question, Answer]], teacher: Teacher, known: SkillList
) -> tuple[list[Diagnosis], list[Dropped]]:
    """Return the diagnosis of each answer, and what was left out: names outside the subject's list of `known`.

    A diagnosis without a skill says nothing of what to train; it is there, and counted as left out with its reason.
    """
    asked = list(pairs)
    subjects = {question.id: question.subject for question, _ in asked}
    diagnoses, dropped = [], list[Dropped]()
    for found in teacher.missing_skills(asked, known):
        allowed = set(names_for(known, subjects[found.question_id]))
        outside = [name for name in found.missing_skills if allowed and name not in allowed]
        inside = [name for name in found.missing_skills if name not in outside]
        dropped += [_dropped(found, "missing skill outside the list", name, NAME) for name in outside]
        if not inside:
            dropped.append(_dropped(found, WITHOUT_SKILLS[found.judgement], found.explanation))
        diagnoses.append(found.model_copy(update={"missing_skills": inside}))
    return diagnoses, dropped


def diagnosed_counts(
    judged: Sequence[Difficulty],
    scored: int,
    without_difficulty: Sequence[Dropped],
    diagnoses: Sequence[Diagnosis],
    without: Sequence[Dropped],
) -> Counts:
    """Return how many questions and answers could be judged, how many diagnoses have a skill, and skills were named."""
    counts = {
        "question": seen(len(judged), without_difficulty, "question"),
        "answer": seen(scored, without_difficulty, "answer"),
    }
    with_skills = sum(bool(each.missing_skills) for each in diagnoses)
    return counts | {"diagnosis": Count(len(diagnoses), with_skills), NAME: named(diagnoses, without)}


def named(diagnoses: Iterable[Diagnosis], without: Iterable[Dropped]) -> Count:
    """Return how many skills were named, and how many of them are of the list."""
    return seen(sum(len(each.missing_skills) for each in diagnoses), without, NAME)


def _dropped(found: Diagnosis, reason: str, detail: str, item: str = "diagnosis") -> Dropped:
    return Dropped(stage="diagnose", id=found.question_id, reason=reason, detail=detail, item=item)
