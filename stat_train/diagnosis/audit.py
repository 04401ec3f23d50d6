"""How far two diagnoses of the same answers agree: a profile deserves as much trust as its labels (method stage 2)."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stat_train.diagnosis.missing_skills import WITHOUT_SKILLS, find_missing
from stat_train.records import Answer, Diagnosis, Dropped, Question
from stat_train.teacher.contract import Teacher
from stat_train.teacher.skill_list import SkillList

Pair = tuple[Diagnosis, Diagnosis]


def sampled(diagnoses: Iterable[Diagnosis], count: int) -> list[Diagnosis]:
    """Return some diagnoses, chosen by the hash of the question's id: the same for every run."""
    return heapq.nsmallest(count, diagnoses, key=lambda each: hashlib.sha256(each.question_id.encode()).digest())


def to_ask_again(
    first: Iterable[Diagnosis], questions: Mapping[str, Question], answers: Iterable[Answer]
) -> list[tuple[Question, Answer]]:
    """Return the questions and answers of the diagnoses that can be compared: those that are not unscored."""
    by_attempt = {(answer.question_id, answer.attempt): answer for answer in answers}
    scored = (each for each in first if each.judgement != "unscored")
    return [(questions[each.question_id], by_attempt[each.question_id, each.attempt]) for each in scored]


def ask_again(
    first: Sequence[Diagnosis], pairs: Iterable[tuple[Question, Answer]], teacher: Teacher, known: SkillList
) -> tuple[list[Diagnosis], list[Dropped]]:
    """Return the second diagnosis of each answer, and what is not compared, with the reason."""
    again, without = find_missing(pairs, teacher, known)
    outside = [
        row.model_copy(update={"stage": "audit"}) for row in without if row.reason not in WITHOUT_SKILLS.values()
    ]
    unscored = [_unscored(each, "first") for each in first if each.judgement == "unscored"]
    unscored += [_unscored(each, "second") for each in again if each.judgement == "unscored"]
    return again, [*unscored, *outside]


def agreement(first: Iterable[Diagnosis], second: Iterable[Diagnosis]) -> dict[str, Any]:
    """Return how far two lists of diagnoses agree, where both have one of the same answer that is scored.

    A unit is an answer and a skill that either list names somewhere; its value is whether the skill is named. `alpha`
    is Krippendorff's for nominal values: 1 is full agreement, 0 what chance gives; None where it is not defined,
    because one value alone occurs. `agreement` is the share of units with the same value; `identical` and `jaccard`
    (mean overlap) compare sets of skills, two empty ones being the same.
    """
    by_answer = {(each.question_id, each.attempt): each for each in second}
    found = ((each, by_answer.get((each.question_id, each.attempt))) for each in first)
    pairs = [(one, two) for one, two in found if two and "unscored" not in (one.judgement, two.judgement)]
    sets = [(set(one.missing_skills), set(two.missing_skills)) for one, two in pairs]
    skills = _skills(pairs)
    units = [(skill in one, skill in two) for skill in skills for one, two in sets]
    return {
        "compared": len(pairs),
        "alpha": alpha(units),
        "agreement": _mean(one == two for one, two in units),
        "identical": _mean(one == two for one, two in sets),
        "jaccard": _mean(len(one & two) / len(one | two) if one | two else 1.0 for one, two in sets),
        "judgement_agreement": _mean(one.judgement == two.judgement for one, two in pairs),
        "skills": [_skill_row(skill, [(skill in one, skill in two) for one, two in sets]) for skill in skills],
    }


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


def _unscored(each: Diagnosis, which: str) -> Dropped:
    reason = f"not compared: the {which} diagnosis is unscored"
    return Dropped(stage="audit", id=each.question_id, reason=reason, detail=each.explanation)
