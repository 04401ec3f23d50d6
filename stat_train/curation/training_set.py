"""From a recipe to training rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from stat_train.config import Prompt
from stat_train.counts import Counts
from stat_train.curation.rewriting import select
from stat_train.curation.rows import Made, Row, Tools
from stat_train.curation.skillmix import make_skillmix
from stat_train.curation.source import Source
from stat_train.curation.synthesis import synthesize
from stat_train.recipe_settings import SelectionRecipe, SkillMixRecipe, SynthesisRecipe
from stat_train.records import Diagnosed, Dropped, TrainingExample
from stat_train.tasks.prompts import messages

Recipe = SelectionRecipe | SynthesisRecipe | SkillMixRecipe


class TrainingSet(NamedTuple):
    """The rows, what was left out, the counts of each kind of item, and what to say of it all (`curation.json`)."""

    examples: list[TrainingExample]
    dropped: list[Dropped]
    counts: Counts
    summary: dict[str, Any]


def make_training_set(
    source: Source,
    diagnosed: Diagnosed,
    recipe: Recipe,
    tools: Tools,
    prompt: Prompt,
    seed: int,
    skills: Sequence[str] = (),
) -> TrainingSet:
    """Return the recipe's training rows; the same arguments and the same replies of the teacher give the same rows.

    `skills` are the names of the task's list, for a recipe that needs no question of the pool for them.
    Raises UserError when fewer can be made than asked, unless the recipe allows it.
    """
    made = (
        make_skillmix(recipe, skills, diagnosed, tools, seed)
        if isinstance(recipe, SkillMixRecipe)
        else _after_the_pool(source, diagnosed, recipe, tools, seed)
    )
    examples = [_example(index, row, recipe.name, prompt) for index, row in enumerate(made.rows)]
    different = len({(row.question, row.answer) for row in made.rows})
    about = {"recipe": recipe.name, "pairs": len(examples), "asked": recipe.pairs, "different_pairs": different}
    about |= {"usable_pool_questions": len(source.rows)}
    return TrainingSet(examples, made.dropped, made.counts, about | made.summary | _skill_counts(made.rows))


def _after_the_pool(
    source: Source, diagnosed: Diagnosed, recipe: SelectionRecipe | SynthesisRecipe, tools: Tools, seed: int
) -> Made:
    if isinstance(recipe, SynthesisRecipe):
        return synthesize(source, diagnosed, recipe, tools, seed)
    return select(source, diagnosed, recipe, tools, seed)


def _example(index: int, row: Row, recipe: str, prompt: Prompt) -> TrainingExample:
    return TrainingExample(
        id=f"{recipe}-{index:05d}",
        messages=messages(prompt, row.question, row.answer),
        question=row.question,
        answer=row.answer,
        skills=row.skills,
        recipe=recipe,
        origin=row.origin,
    )


def _skill_counts(rows: Sequence[Row]) -> dict[str, Any]:
    drawn_for = Counter(row.origin.skill for row in rows if row.origin.skill)
    carried = Counter(skill for row in rows for skill in row.skills)
    return {
        "pairs_drawn_for_skill": dict(drawn_for.most_common()),
        "pairs_carrying_skill": dict(carried.most_common()),
    }


def told(summary: Mapping[str, Any]) -> list[str]:
    """Return in words how many pairs there are, and which missing skills have too few questions in the pool."""
    pairs, asked, different = summary["pairs"], summary["asked"], summary["different_pairs"]
    short = f" (of {asked:,} asked)" if pairs < asked else ""
    said = [f"{pairs:,} pairs{short} from {summary['unique_questions']:,} questions, answers: {summary['answers']}"]
    if 2 * different < pairs:
        said.append(f"only {different:,} of the pairs are different: the same ones are drawn again and again")
    for skill, count in summary.get("shortfalls", {}).items():
        few = f"only {count} pool questions carry it, so all of them are drawn each time"
        none = "no pool question carries it, so none is selected; data_recipe=stat_syn writes new ones"
        said.append(f"missing skill {skill}: {few if count else none}")
    return said
