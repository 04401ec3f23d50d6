"""The data recipes that select from the pool: pure functions of a random source that give passes of draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING

from stat_train.curation.embedding import nearest_rows
from stat_train.curation.source import OWN, Draw, Draws, Pass, Source, sample
from stat_train.curation.weights import Slots, missing_pairs, shares, skill_weights, spread
from stat_train.errors import UserError
from stat_train.recipe_settings import (
    AnswerSource,
    DifficultyTuningRecipe,
    EmbedSelRecipe,
    HardRecipe,
    PoolRecipe,
    SelectionRecipe,
    StatSelRecipe,
)
from stat_train.records import Diagnosed

if TYPE_CHECKING:
    from datasets import Dataset

    from stat_train.curation.source import Integers


def passes(
    recipe: SelectionRecipe, source: Source, diagnosed: Diagnosed, answers: Sequence[int], random: Random
) -> Iterator[Pass]:
    """Return the passes of the recipe that the settings name; `answers` are those of a question (`Draw.answer`)."""
    if isinstance(recipe, StatSelRecipe):
        return stat_sel(source, diagnosed, recipe, answers, random)
    if isinstance(recipe, EmbedSelRecipe):
        return embed_sel(source, diagnosed, recipe, answers)
    if isinstance(recipe, DifficultyTuningRecipe):
        return difficulty_tuning(source, diagnosed, answers)
    if isinstance(recipe, HardRecipe):
        return hard(source, recipe, answers)
    if recipe.name == "uniform_skill":
        return uniform_skill(source, recipe.pairs, answers, random)
    return uniform_question(source.rows, answers)


def stat_sel(
    source: Source, diagnosed: Diagnosed, recipe: StatSelRecipe, answers: Sequence[int], random: Random
) -> Iterator[Pass]:
    """Yield passes over the profile: pool questions for each missing skill of each difficult question.

    A skill's weight is its count in the profile (method stage 3, STAT-Sel), or what `weight` says. A skill with fewer
    pool questions than asked gives all it has; a pass that can draw nothing ends the passes.
    """
    missing = missing_pairs(diagnosed, recipe.name)
    while True:
        draws = []
        for question_id, skill, count in _slots(source, missing, diagnosed, recipe, random):
            chosen = sample(random, source.rows_by_skill.get(skill, source.rows[:0]), count)
            draws += [Draw(row, answer, skill, question_id) for row in chosen for answer in answers]
        if not draws:
            return
        yield draws


def _slots(
    source: Source,
    missing: Sequence[tuple[str, str]],
    diagnosed: Diagnosed,
    recipe: StatSelRecipe,
    random: Random,
) -> list[Slots]:
    """Return how many questions a pass draws for each (difficult question, missing skill).

    By count, a skill with fewer pool questions than asked gives all it has; weights of other kinds are kept exactly, by
    drawing for it several times.
    """
    if recipe.weight == "count":
        return [Slots(question_id, skill, recipe.questions_per_skill) for question_id, skill in missing]
    weights = skill_weights(diagnosed.profile, recipe.weight, random)
    counts = shares(weights, recipe.questions_per_skill * len(missing), random)
    most = {skill: min(recipe.questions_per_skill, len(source.rows_by_skill.get(skill, ()))) for skill in counts}
    return spread(counts, missing, most)


def uniform_skill(source: Source, pairs: int, answers: Sequence[int], random: Random) -> Iterator[Pass]:
    """Yield passes with as many questions of one skill of the pool as of another, enough to fill the set in one pass.

    A pass holds every answer of a question, as those of `stat_sel` do, and the set is a random subset of it: so the
    recipes differ in which skills they draw for, not in how many different questions they show.
    """
    while source.rows_by_skill:
        share = -(-pairs // len(source.rows_by_skill))
        yield [
            Draw(int(rows[place]), answer, skill)
            for skill, rows in sorted(source.rows_by_skill.items())
            for place in random.choices(range(len(rows)), k=share)
            for answer in answers
        ]


def uniform_question(rows: Integers, answers: Sequence[int]) -> Iterator[Pass]:
    """Yield one pass with every answer of every row; the training set is a random subset of it."""
    import numpy

    yield Draws(numpy.repeat(rows, len(answers)), numpy.tile(numpy.array(answers, numpy.int32), len(rows)))


def hard(source: Source, recipe: HardRecipe, answers: Sequence[int]) -> Iterator[Pass]:
    """Yield one pass with every answer of every question of the wanted levels (the paper's MATH-Hard)."""
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import compute

    wanted = compute.is_in(source.pool.data.column("level"), value_set=pyarrow.array(recipe.levels, pyarrow.int64()))
    yield from uniform_question(source.rows[wanted.to_numpy()[source.rows]], answers)


def require_levels(pool: Dataset, levels: Sequence[int]) -> None:
    """Refuse `hard` where the pool's questions have no level, or none of those wanted."""
    from pyarrow import compute

    found = compute.value_counts(pool.data.column("level")).to_pylist()
    there = {row["values"]: row["counts"] for row in found if row["values"] is not None}
    if not there:
        raise UserError(
            "data_recipe = hard: the pool's questions have no level, so none is known to be hard; say which column "
            "holds it with task.fields.level=COLUMN, or use another recipe"
        )
    if not there.keys() & set(levels):
        shown = ", ".join(f"{level} ({count:,} questions)" for level, count in sorted(there.items()))
        raise UserError(f"data_recipe.levels = {list(levels)}: the pool has none of them; expected some of {shown}")


def embed_sel(source: Source, diagnosed: Diagnosed, recipe: EmbedSelRecipe, answers: Sequence[int]) -> Iterator[Pass]:
    """Yield passes of the pool questions nearest to each difficult one: first the nearest, then the next ones.

    A question that is near to several difficult ones counts as often (method stage 3, Embed-Sel). Passes end with the
    pool.
    """
    for block in nearest_rows(source, diagnosed.difficult, recipe.nearest, recipe.embedder):
        yield [
            Draw(int(row), answer, None, question.id)
            for question, rows in zip(diagnosed.difficult, block, strict=True)
            for row in rows
            for answer in answers
        ]


def difficulty_tuning(source: Source, diagnosed: Diagnosed, answers: Sequence[int]) -> Iterator[Pass]:
    """Yield one pass with answers of each labelled question in proportion to how often the student fails its skills.

    The question with the highest rate has them all, every other one in proportion, at least one (DART-Math,
    arXiv 2407.13690, Prop2Diff, with the fail rate of the question's skills for its own).
    """
    import numpy

    missing_pairs(diagnosed, "difficulty_tuning")
    rates = _fail_rates(source, diagnosed)
    rows = numpy.flatnonzero(rates >= 0)
    highest = max(rates[rows], default=0.0) or 1.0
    counts = numpy.maximum(1, numpy.round(len(answers) * rates[rows] / highest).astype(int))
    places = numpy.arange(counts.sum()) - numpy.repeat(numpy.cumsum(counts) - counts, counts)
    yield Draws(numpy.repeat(rows, counts), numpy.array(answers, numpy.int32)[places])


def _fail_rates(source: Source, diagnosed: Diagnosed) -> Integers:
    """Return the mean fail rate of each pool row's skills; -1 where nothing is known of them."""
    import numpy

    total, known = numpy.zeros(len(source.pool)), numpy.zeros(len(source.pool))
    for gap in diagnosed.profile.skills:
        rows = source.rows_by_skill.get(gap.skill, source.rows[:0])
        total[rows] += gap.rate
        known[rows] += 1
    return numpy.where(known > 0, total / numpy.maximum(known, 1), -1.0)


def shortfalls(source: Source, diagnosed: Diagnosed, questions_per_skill: int) -> dict[str, int]:
    """Return the missing skills that have fewer pool questions than one draw asks for, and how many they have."""
    missing = [gap.skill for gap in diagnosed.profile.skills if gap.missing]
    available: Mapping[str, int] = {skill: len(source.rows_by_skill.get(skill, ())) for skill in missing}
    return {skill: count for skill, count in available.items() if count < questions_per_skill}


def answer_numbers(recipe: SelectionRecipe, answers: AnswerSource) -> list[int]:
    """Return the answers of a question that are drawn from: its own, rewrites by their number, or both."""
    rewrites = [] if isinstance(recipe, PoolRecipe) else list(range(recipe.answers_per_question))
    # An own answer is one, which this recipe repeats as often as it would draw different ones.
    own = [OWN] * (len(rewrites) if isinstance(recipe, DifficultyTuningRecipe) else 1)
    return {"own": own, "rewrites": rewrites, "both": [OWN, *rewrites]}[answers]
