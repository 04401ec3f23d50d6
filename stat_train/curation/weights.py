"""What each skill weighs in a pass over the profile, and how that becomes whole numbers of questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import Literal, NamedTuple

from stat_train.errors import UserError
from stat_train.intervals import rate_prior
from stat_train.records import Diagnosed, SkillProfile


class Slots(NamedTuple):
    """How many questions to draw for a missing skill of a difficult question (None: for the skill alone)."""

    question_id: str | None
    skill: str
    questions: int


def missing_pairs(diagnosed: Diagnosed, recipe: str) -> list[tuple[str, str]]:
    """Return each (difficult question, missing skill); raises UserError when there is none."""
    missing = [(d.question_id, skill) for d in diagnosed.diagnoses for skill in d.missing_skills]
    if not missing:
        raise UserError(
            f"data_recipe = {recipe}: {diagnosed.profile.difficult} of {diagnosed.profile.questions} validation "
            "questions are difficult for the student and no skill is missing, so there is nothing to select for. Use "
            "harder validation questions, another difficulty, or data_recipe=random"
        )
    return missing


def skill_weights(profile: SkillProfile, weight: Literal["rate", "posterior"], random: Random) -> dict[str, float]:
    """Return the weight of each skill: its rate in the profile, or one drawn from what is to be believed of the rate.

    A rate that was seen on a few questions may be anything; drawn anew for each pass from its Beta posterior, it is
    high in some passes and low in others, so such a skill is neither ignored nor over-trained.
    """
    if weight == "rate":
        return {gap.skill: gap.rate for gap in profile.skills if gap.missing}
    a, b = rate_prior(sum(gap.missing for gap in profile.skills), sum(gap.exposed for gap in profile.skills))
    return {gap.skill: random.betavariate(a + gap.missing, b + gap.exposed - gap.missing) for gap in profile.skills}


def shares(weights: Mapping[str, float], total: int, random: Random) -> dict[str, int]:
    """Return whole numbers in proportion to the weights that sum to `total`: what is left over is given at random.

    So a skill gets its exact share on average, however small that is.
    """
    whole = sum(weights.values())
    exact = {skill: total * weight / whole for skill, weight in weights.items()}
    counts = {skill: int(share) for skill, share in exact.items()}
    point, reached = random.random(), 0.0
    for skill, share in exact.items():
        # Systematic sampling: one of the leftover units falls on each stretch of length one.
        before, reached = reached, reached + share - counts[skill]
        counts[skill] += int(reached + point) - int(before + point)
    return counts


def spread(counts: Mapping[str, int], missing: Iterable[tuple[str, str]], most: Mapping[str, int]) -> list[Slots]:
    """Return the draws of each skill spread evenly over the difficult questions that miss it.

    A slot has at most `most` questions of a skill (as many as there are, or are asked for at a time); where a skill has
    more draws than that, its difficult questions have several slots each. A skill without pool questions has none.
    """
    by_skill: dict[str, list[str | None]] = {}
    for question_id, skill in missing:
        by_skill.setdefault(skill, []).append(question_id)
    slots = []
    for skill, count in counts.items():
        if not most[skill]:
            continue
        asking: list[str | None] = by_skill.get(skill, [None])
        asking = asking * max(1, -(-count // (len(asking) * most[skill])))
        parts = [count // len(asking) + (place < count % len(asking)) for place in range(len(asking))]
        slots += [Slots(id, skill, part) for id, part in zip(asking, parts, strict=True) if part]
    return slots
