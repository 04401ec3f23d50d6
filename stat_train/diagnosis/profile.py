"""The student's missing-skill profile (method stage 2): per skill, per subject, and skills that go missing together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from itertools import combinations

from stat_train.diagnosis.rates import MIN_EXPOSED, posterior
from stat_train.intervals import exact_bounds
from stat_train.records import Diagnosis, SkillCount, SkillGap, SkillPair, SkillProfile, SubjectGap

# Two skills that met once may have met by chance, whatever a test says.
MIN_TOGETHER = 2
Names = Mapping[str, Set[str]]


def skill_profile(
    student: str,
    task: str,
    required: Mapping[str, Sequence[str]],
    diagnoses: Iterable[Diagnosis],
    difficult: Collection[str],
    subjects: Mapping[str, str | None],
) -> SkillProfile:
    """Return how often each skill was missing, most often first, how sure that is, and what went missing together.

    `required` maps each validation question that was answered and judged to the skills it needs, `difficult` names
    those that were difficult, `subjects` says of what subject they are. A question exposes a skill that it requires or
    that was missing, so the rate is at most 1; its interval is the exact binomial one. A difficult question without a
    usable diagnosis tells nothing of its skills: it counts in no rate of a skill.
    """
    found = list(diagnoses)
    missed, exposed = missed_skills(found), exposed_skills(required, found)
    return SkillProfile(
        student=student,
        task=task,
        questions=len(required),
        difficult=len(difficult),
        undiagnosed=len(required) - len(exposed),
        skills=_gaps(_counts(missed, exposed)),
        subjects=_subject_gaps(missed, exposed, required, set(difficult), subjects),
        together=_together(missed, len(missed)),
    )


def missed_skills(diagnoses: Iterable[Diagnosis]) -> dict[str, set[str]]:
    """Return the skills that were missing in each diagnosed question; one that is named twice counts once."""
    missed: dict[str, set[str]] = {}
    for diagnosis in diagnoses:
        if _usable(diagnosis):
            missed.setdefault(diagnosis.question_id, set()).update(diagnosis.missing_skills)
    return missed


def exposed_skills(required: Mapping[str, Iterable[str]], diagnoses: Iterable[Diagnosis]) -> dict[str, set[str]]:
    """Return the skills that each question exposes: those it requires and those that were missing in it.

    A question whose diagnosis cannot be used is not among them.
    """
    found = list(diagnoses)
    missed = missed_skills(found)
    without = {diagnosis.question_id for diagnosis in found} - missed.keys()
    return {id: {*skills, *missed.get(id, ())} for id, skills in required.items() if id not in without}


def _usable(diagnosis: Diagnosis) -> bool:
    return diagnosis.judgement != "unscored" or bool(diagnosis.missing_skills)


def _counts(missed: Names, exposed: Names) -> list[SkillCount]:
    """Return the counts of each exposed skill: most often missing first, then at the higher rate, then by name."""
    missing = Counter(skill for question in exposed for skill in missed.get(question, ()))
    exposures = Counter(skill for skills in exposed.values() for skill in skills)
    counts = [SkillCount(skill=skill, missing=missing[skill], exposed=count) for skill, count in exposures.items()]
    return sorted(counts, key=lambda count: (-count.missing, -count.missing / count.exposed, count.skill))


def _gaps(counts: list[SkillCount]) -> list[SkillGap]:
    if not counts:
        return []
    missing, exposed = [count.missing for count in counts], [count.exposed for count in counts]
    bounds, beliefs = exact_bounds(missing, exposed), posterior(missing, exposed)
    return [
        SkillGap(
            **count.model_dump(),
            rate=round(count.missing / count.exposed, 6),
            low=round(float(low), 6),
            high=round(float(high), 6),
            posterior_mean=round(float(mean), 6),
            posterior_low=round(float(posterior_low), 6),
            posterior_high=round(float(posterior_high), 6),
            too_few=count.exposed < MIN_EXPOSED,
        )
        for count, low, high, mean, posterior_low, posterior_high in zip(counts, *bounds, *beliefs, strict=True)
    ]


def _subject_gaps(
    missed: Names,
    exposed: Names,
    judged: Iterable[str],
    difficult: set[str],
    subjects: Mapping[str, str | None],
) -> list[SubjectGap]:
    """Return each subject (`""`: none) with its share of difficult questions, the one with most of them first."""
    questions: dict[str, list[str]] = {}
    for question in judged:
        questions.setdefault(subjects.get(question) or "", []).append(question)
    if not any(questions):
        return []
    totals = {subject: len(asked) for subject, asked in questions.items()}
    hard = {subject: len(difficult.intersection(asked)) for subject, asked in questions.items()}
    bounds = zip(*exact_bounds(list(hard.values()), list(totals.values())), strict=True)
    gaps = [
        SubjectGap(
            subject=subject,
            questions=totals[subject],
            difficult=hard[subject],
            rate=round(hard[subject] / totals[subject], 6),
            low=round(float(low), 6),
            high=round(float(high), 6),
            skills=_counts(missed, {question: exposed[question] for question in asked if question in exposed}),
        )
        for (subject, asked), (low, high) in zip(questions.items(), bounds, strict=True)
    ]
    return sorted(gaps, key=lambda gap: (-gap.difficult, -gap.rate, gap.subject))


def _together(missed: Names, diagnosed: int) -> list[SkillPair]:
    """Return the pairs that were missing together, most often first, and against chance among the diagnosed questions.

    A question that is diagnosed misses a skill of its own subject; so skills of one subject meet more often than
    chance for that reason alone.
    """
    from scipy.stats import hypergeom

    alone = Counter(skill for skills in missed.values() for skill in skills)
    met = Counter(pair for skills in missed.values() for pair in combinations(sorted(skills), 2))
    pairs = [(first, second, count) for (first, second), count in met.items() if count >= MIN_TOGETHER]
    if not pairs:
        return []
    firsts, seconds, counts = [alone[p[0]] for p in pairs], [alone[p[1]] for p in pairs], [p[2] for p in pairs]
    ps = hypergeom.sf([count - 1 for count in counts], diagnosed, firsts, seconds)
    found = [
        SkillPair(
            first=first,
            second=second,
            together=count,
            expected=round(alone[first] * alone[second] / diagnosed, 6),
            p=float(f"{p:.6g}"),
        )
        for (first, second, count), p in zip(pairs, ps, strict=True)
    ]
    return sorted(found, key=lambda pair: (-pair.together, pair.p, pair.first, pair.second))
