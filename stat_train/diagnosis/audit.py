"""How far two diagnoses of the same answers agree: a profile deserves as much trust as its labels (method stage 2)."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from stat_train.diagnosis.missing_skills import WITHOUT_SKILLS, find_missing
from stat_train.records import Answer, Diagnosis, Dropped, Question
from stat_train.teacher.contract import Teacher
from stat_train.teacher.skill_list import SkillList

Pair = tuple[Diagnosis, Diagnosis]


def sampled(diagnoses: Iterable[Diagnosis], count: int) -> list[Diagnosis]:
    """Return some diagnoses that can be compared, chosen by the hash of the question's id: the same for every run."""
    scored = (each for each in diagnoses if each.judgement != "unscored")
    return heapq.nsmallest(count, scored, key=lambda each: hashlib.sha256(each.question_id.encode()).digest())


def to_ask_again(
    first: Iterable[Diagnosis], questions: Mapping[str, Question], answers: Iterable[Answer]
) -> list[tuple[Question, Answer]]:
    """Return the questions and answers of the diagnoses."""
    by_attempt = {(answer.question_id, answer.attempt): answer for answer in answers}
    return [(questions[each.question_id], by_attempt[each.question_id, each.attempt]) for each in first]


def ask_again(
    pairs: Iterable[tuple[Question, Answer]], teacher: Teacher, known: SkillList
) -> tuple[list[Diagnosis], list[Dropped]]:
    """Return the second diagnosis of each answer, and what is not compared, with the reason."""
    again, without = find_missing(pairs, teacher, known)
    outside = [
        row.model_copy(update={"stage": "audit"}) for row in without if row.reason not in WITHOUT_SKILLS.values()
    ]
    unscored = [_unscored(each) for each in again if each.judgement == "unscored"]
    return again, [*unscored, *outside]


def agreement(
    first: Iterable[Diagnosis], second: Iterable[Diagnosis], choices: Mapping[str, Collection[str]]
) -> dict[str, Any]:
    """Return how far two lists of diagnoses agree, where both have one of the same answer that is scored.

    `choices` are the skills that could be named of each question; a question without any may have every one. A unit is
    an answer and a skill of its choices that either list names somewhere: with a skill of another subject, which nobody
    could name, two teachers who guess would seem to agree. Its value is whether the skill is named. `alpha`
    is Krippendorff's for nominal values: 1 is full agreement, 0 what chance gives; None where it is not defined,
    because one value alone occurs. `agreement` is the share of units with the same value; `identical` and `jaccard`
    (mean overlap) compare sets of skills, two empty ones being the same.
    """
    by_answer = {(each.question_id, each.attempt): each for each in second}
    found = ((each, by_answer.get((each.question_id, each.attempt))) for each in first)
    pairs = [(one, two) for one, two in found if two and "unscored" not in (one.judgement, two.judgement)]
    sets = [(set(one.missing_skills), set(two.missing_skills)) for one, two in pairs]
    units_of = {skill: _units(skill, pairs, choices) for skill in _skills(pairs)}
    units = list(chain.from_iterable(units_of.values()))
    return {
        "compared": len(pairs),
        "alpha": alpha(units),
        "agreement": _mean(one == two for one, two in units),
        "identical": _mean(one == two for one, two in sets),
        "jaccard": _mean(len(one & two) / len(one | two) if one | two else 1.0 for one, two in sets),
        "judgement_agreement": _mean(one.judgement == two.judgement for one, two in pairs),
        "skills": [_skill_row(skill, found) for skill, found in units_of.items()],
    }


def _units(skill: str, pairs: Iterable[Pair], choices: Mapping[str, Collection[str]]) -> list[tuple[bool, bool]]:
    return [
        (skill in one.missing_skills, skill in two.missing_skills)
        for one, two in pairs
        if not (allowed := choices.get(one.question_id)) or skill in allowed
    ]


def alpha(units: Sequence[tuple[bool, bool]]) -> float | None:
    """Return Krippendorff's alpha of two raters; None when the same value occurs everywhere."""
    if len({value for unit in units for value in unit}) < 2:
        return None
    import krippendorff

    ratings = [[int(unit[rater]) for unit in units] for rater in (0, 1)]
    return round(float(krippendorff.alpha(reliability_data=ratings, level_of_measurement="nominal")), 6)


def _skills(pairs: Iterable[Pair]) -> list[str]:
    """Return the skills that either list names, the most often named first."""
    counts = Counter(skill for pair in pairs for each in pair for skill in set(each.missing_skills))
    return sorted(counts, key=lambda skill: (-counts[skill], skill))


def _skill_row(skill: str, units: Sequence[tuple[bool, bool]]) -> dict[str, Any]:
    return {
        "skill": skill,
        "n": len(units),
        "named_first": sum(one for one, _ in units),
        "named_second": sum(two for _, two in units),
        "alpha": alpha(units),
        "agreement": _mean(one == two for one, two in units),
    }


def _mean(values: Iterable[float]) -> float | None:
    every = list(values)
    return round(sum(every) / len(every), 6) if every else None


def _unscored(each: Diagnosis) -> Dropped:
    reason = "not compared: the second diagnosis is unscored"
    return Dropped(stage="audit", id=each.question_id, reason=reason, detail=each.explanation, item="diagnosis")
