"""Rows of the pool for skills that the student misses least, trained on beside the training set to protect them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from random import Random
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from stat_train.config import Prompt
from stat_train.curation.source import Source, questions_at, rows_asking
from stat_train.errors import UserError
from stat_train.records import Origin, SkillProfile, TrainingExample
from stat_train.tasks.prompts import messages

if TYPE_CHECKING:
    from stat_train.curation.source import Integers

RECIPE = "replay"


class Replay(NamedTuple):
    """The rows, and what to say of them (`replay.json`)."""

    examples: list[TrainingExample]
    summary: dict[str, Any]


def replay_rows(trained_on: int, share: float) -> int:
    """Return how many rows beside those of the training set are this share of them all."""
    return round(trained_on * share / (1 - share))


def make_replay(
    source: Source,
    profile: SkillProfile,
    training_set: Sequence[TrainingExample],
    share: float,
    prompt: Prompt,
    seed: int,
) -> Replay:
    """Return pool questions with their own solutions, as many for one skill that is protected as for another.

    Protected are the skills that are missing no more often than half of all are; where most are never missing, those
    that never are. A question that needs another skill, or that is trained on already, is none of them. Where there are
    fewer than the share asks for, all are taken; raises UserError where there is none.
    """
    asked = replay_rows(len(training_set), share)
    missing = _missing_most(profile, source)
    by_skill = _protected(source, missing, {example.question for example in training_set})
    if asked and not by_skill:
        raise UserError(
            f"train.replay_fraction = {share}: no pool question is left that needs only skills which the student "
            f"misses least (it misses {len(missing)} more often) and is not trained on already; use "
            "train.replay_fraction=0.0, or a larger task.pool"
        )
    drawn = evenly(by_skill, asked, Random(f"{seed}/replay"))
    different = len({row for rows in by_skill.values() for row in rows.tolist()})
    summary: dict[str, Any] = {"asked": asked, "rows": len(drawn), "usable_pool_questions": different}
    summary |= {"rows_drawn_for_skill": dict(Counter(drawn.values()).most_common())}
    return Replay(_examples(source, drawn, prompt), summary)


def _missing_most(profile: SkillProfile, source: Source) -> set[str]:
    """Return the skills that are missing more often than half of the pool's are."""
    missing = {gap.skill: gap.rate for gap in profile.skills if gap.missing}
    rates = {skill: missing.get(skill, 0.0) for skill in source.rows_by_skill}
    half = median(rates.values()) if rates else 0.0
    return {skill for skill, rate in rates.items() if rate > half}


def _protected(source: Source, missing: Collection[str], trained_on: Collection[str]) -> dict[str, Integers]:
    """Return for each other skill its rows that need none of those missing and are not trained on."""
    usable = ~rows_asking(source.pool, trained_on)
    for skill in missing:
        usable[source.rows_by_skill.get(skill, source.rows[:0])] = False
    kept = {skill: rows[usable[rows]] for skill, rows in source.rows_by_skill.items() if skill not in missing}
    return {skill: rows for skill, rows in sorted(kept.items()) if len(rows)}


def evenly(by_skill: Mapping[str, Integers], count: int, random: Random) -> dict[int, str]:
    """Return different rows, each with the skill it was drawn for: one a skill in turn, until there are so many.

    A skill whose rows are used up is passed over, so that the others fill up.
    """
    left = {skill: random.sample(rows.tolist(), len(rows)) for skill, rows in by_skill.items()}
    drawn: dict[int, str] = {}
    while left and len(drawn) < count:
        for skill in list(left):
            while left[skill] and left[skill][-1] in drawn:
                left[skill].pop()
            if not left[skill]:
                del left[skill]
            elif len(drawn) < count:
                drawn[left[skill].pop()] = skill
    return drawn


def _examples(source: Source, drawn: Mapping[int, str], prompt: Prompt) -> list[TrainingExample]:
    rows = list(drawn)
    if not rows:
        return []
    questions, skills = questions_at(source.pool, rows), source.skills_at(rows)
    return [
        TrainingExample(
            id=f"{RECIPE}-{index:05d}",
            messages=messages(prompt, question.question, question.solution or ""),
            question=question.question,
            answer=question.solution or "",
            skills=needed,
            recipe=RECIPE,
            origin=Origin(skill=drawn[row], seed_ids=[question.id]),
        )
        for index, (row, question, needed) in enumerate(zip(rows, questions, skills, strict=True))
    ]


def told(summary: Mapping[str, Any]) -> str:
    """Return in one line how many rows there are, and that they are too few when they are."""
    skills, rows = len(summary["rows_drawn_for_skill"]), summary["rows"]
    words = f"{rows:,} rows of the pool for {skills} skills that the student misses least"
    return words if rows == summary["asked"] else f"{words}: all there are, {summary['asked']:,} were asked for"
