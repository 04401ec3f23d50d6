"""The data recipes that select from the pool: pure functions of a random source that give passes of draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from stat_train.curation.source import Draw, Source
from stat_train.errors import UserError
from stat_train.recipe_settings import PoolRecipe, StatSelRecipe, UntargetedRecipe
from stat_train.records import Diagnosed


def stat_sel(
    source: Source, diagnosed: Diagnosed, recipe: StatSelRecipe, answers: Sequence[int], random: Random
) -> Iterator[list[Draw]]:
    """Yield passes over the profile: pool questions for each missing skill of each difficult question.

    A skill's weight is its count in the profile (method stage 3, STAT-Sel). A skill with fewer pool questions than
    asked gives all it has; a pass that can draw nothing ends the passes.
    """
    missing = [(d.question_id, skill) for d in diagnosed.diagnoses for skill in d.missing_skills]
    if not missing:
        raise UserError(
            f"data_recipe = stat_sel: {diagnosed.profile.difficult} of {diagnosed.profile.questions} validation "
            "questions are difficult for the student and no skill is missing, so there is nothing to select for. Use "
            "harder validation questions, another difficulty, or data_recipe=random"
        )
    while True:
        draws = []
        for question_id, skill in missing:
            rows = source.rows_by_skill.get(skill, [])
            chosen = random.sample(rows, min(recipe.questions_per_skill, len(rows)))
            draws += [Draw(row, answer, skill, question_id) for row in chosen for answer in answers]
        if not draws:
            return
        yield draws


def uniform_skill(source: Source, pairs: int, answers: Sequence[int], random: Random) -> Iterator[list[Draw]]:
    """Yield passes with as many questions of one skill of the pool as of another, enough to fill the set in one pass.

    A pass holds every answer of a question, as those of `stat_sel` do, and the set is a random subset of it: so the
    recipes differ in which skills they draw for, not in how many different questions they show.
    """
    while source.rows_by_skill:
        share = -(-pairs // len(source.rows_by_skill))
        yield [
            Draw(row, answer, skill)
            for skill, rows in sorted(source.rows_by_skill.items())
            for row in random.choices(rows, k=share)
            for answer in answers
        ]


def uniform_question(source: Source, answers: Sequence[int]) -> Iterator[list[Draw]]:
    """Yield one pass with every answer of every question of the pool; the training set is a random subset of it."""
    yield [Draw(row, answer) for row in source.rows for answer in answers]


def passes(
    recipe: PoolRecipe | UntargetedRecipe | StatSelRecipe,
    source: Source,
    diagnosed: Diagnosed,
    answers: Sequence[int],
    random: Random,
) -> Iterator[list[Draw]]:
    """Return the passes of the recipe that the settings name."""
    if isinstance(recipe, StatSelRecipe):
        return stat_sel(source, diagnosed, recipe, answers, random)
    if recipe.name == "uniform_skill":
        return uniform_skill(source, recipe.pairs, answers, random)
    return uniform_question(source, answers)


def shortfalls(source: Source, diagnosed: Diagnosed, recipe: StatSelRecipe) -> dict[str, int]:
    """Return the missing skills that have fewer pool questions than one draw asks for, and how many they have."""
    available = {
        gap.skill: len(source.rows_by_skill.get(gap.skill, [])) for gap in diagnosed.profile.skills if gap.missing
    }
    return {skill: count for skill, count in available.items() if count < recipe.questions_per_skill}
