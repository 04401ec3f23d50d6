"""From draws to training rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from stat_train.config import AnswerSource, PoolRecipe, Prompt, StatSelRecipe, UntargetedRecipe
from stat_train.curation.recipes import passes, shortfalls
from stat_train.curation.source import OWN, Draw, Source, fill, questions_at, require_enough
from stat_train.records import Diagnosed, Origin, Question, TrainingExample
from stat_train.tasks.prompts import messages
from stat_train.teacher.contract import RewriteRequest, Teacher

Recipe = PoolRecipe | UntargetedRecipe | StatSelRecipe


class TrainingSet(NamedTuple):
    """The rows, and what there is to say of them (`curation.json`)."""

    examples: list[TrainingExample]
    summary: dict[str, Any]


def answer_source(recipe: Recipe, teacher: Teacher) -> AnswerSource:
    """Return whose answers are trained on; without a choice, rewrites when the teacher can write them."""
    if isinstance(recipe, PoolRecipe):
        return "own"
    return recipe.answers or ("rewrites" if teacher.can_rewrite else "own")


def make_training_set(
    source: Source,
    skill_map: Mapping[str, Sequence[str]],
    diagnosed: Diagnosed,
    teacher: Teacher,
    recipe: Recipe,
    prompt: Prompt,
    seed: int,
) -> TrainingSet:
    """Return the recipe's training rows; the same arguments give the same rows.

    Pairs are drawn first, and only the rewrites that were drawn are asked of the teacher.
    """
    random = Random(f"{seed}/curate/{recipe.name}")
    answers = _answer_numbers(recipe, answer_source(recipe, teacher))
    chosen = fill(passes(recipe, source, diagnosed, answers, random), recipe.pairs, random)
    require_enough(chosen, recipe.pairs, recipe.allow_short, source)
    random.shuffle(chosen)
    rows = questions_at(source.pool, [draw.row for draw in chosen])
    texts = _answer_texts(chosen, rows, teacher)
    examples = [
        TrainingExample(
            id=f"{recipe.name}-{index:05d}",
            messages=messages(prompt, question.question, text),
            question=question.question,
            answer=text,
            skills=list(skill_map.get(question.id, ())),
            recipe=recipe.name,
            origin=Origin(question_id=draw.question_id, skill=draw.skill, seed_ids=[question.id]),
        )
        for index, (draw, question, text) in enumerate(zip(chosen, rows, texts, strict=True))
    ]
    return TrainingSet(examples, _summary(recipe, source, diagnosed, teacher, chosen, examples))


def _answer_numbers(recipe: Recipe, answers: AnswerSource) -> list[int]:
    rewrites = [] if isinstance(recipe, PoolRecipe) else list(range(recipe.answers_per_question))
    return {"own": [OWN], "rewrites": rewrites, "both": [OWN, *rewrites]}[answers]


def _answer_texts(chosen: Sequence[Draw], rows: Sequence[Question], teacher: Teacher) -> list[str]:
    wanted = [RewriteRequest(q, d.answer) for d, q in zip(chosen, rows, strict=True) if d.answer != OWN]
    rewrites = teacher.rewrite(wanted) if wanted else iter(())
    return [
        question.solution or "" if draw.answer == OWN else next(rewrites)
        for draw, question in zip(chosen, rows, strict=True)
    ]


def _summary(
    recipe: Recipe,
    source: Source,
    diagnosed: Diagnosed,
    teacher: Teacher,
    chosen: Sequence[Draw],
    examples: Sequence[TrainingExample],
) -> dict[str, Any]:
    drawn_for = Counter(draw.skill for draw in chosen if draw.skill)
    carried = Counter(skill for example in examples for skill in example.skills)
    return {
        "recipe": recipe.name,
        "pairs": len(chosen),
        "answers": answer_source(recipe, teacher),
        "unique_questions": len({draw.row for draw in chosen}),
        "usable_pool_questions": len(source.rows),
        "pairs_drawn_for_skill": dict(drawn_for.most_common()),
        "pairs_carrying_skill": dict(carried.most_common()),
        "shortfalls": shortfalls(source, diagnosed, recipe) if isinstance(recipe, StatSelRecipe) else {},
    }
