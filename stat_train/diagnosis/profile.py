"""The student's missing-skill profile (method stage 2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from stat_train.records import Diagnosis, SkillGap, SkillProfile


def skill_profile(
    student: str, task: str, required: Mapping[str, Sequence[str]], diagnoses: Iterable[Diagnosis], difficult: int
) -> SkillProfile:
    """Return how often each skill was missing, most often first.

    `required` maps each validation question that was answered and judged to the skills it needs. A question exposes a
    skill that it requires or that was missing, so the rate is at most 1; its interval is the exact binomial one.
    """
    missing: Counter[str] = Counter()
    exposed = {question_id: set(skills) for question_id, skills in required.items()}
    for diagnosis in diagnoses:
        missing.update(set(diagnosis.missing_skills))
        exposed[diagnosis.question_id].update(diagnosis.missing_skills)
    exposures = Counter(skill for skills in exposed.values() for skill in skills)
    gaps = [_gap(skill, missing[skill], count) for skill, count in exposures.items()]
    gaps.sort(key=lambda gap: (-gap.missing, -gap.rate, gap.skill))
    return SkillProfile(student=student, task=task, questions=len(required), difficult=difficult, skills=gaps)


def _gap(skill: str, missing: int, exposed: int) -> SkillGap:
    from scipy.stats import binomtest

    interval = binomtest(missing, exposed).proportion_ci(confidence_level=0.95, method="exact")
    return SkillGap(
        skill=skill,
        missing=missing,
        exposed=exposed,
        rate=round(missing / exposed, 6),
        low=round(float(interval.low), 6),
        high=round(float(interval.high), 6),
    )
