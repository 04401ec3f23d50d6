"""From draws to training rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from stat_train.config import Prompt
from stat_train.curation.recipes import passes, shortfalls
from stat_train.curation.source import OWN, Draw, Source, fill, questions_at, require_enough
from stat_train.recipe_settings import AnswerSource, PoolRecipe, StatSelRecipe, UntargetedRecipe
from stat_train.records import Diagnosed, Dropped, Origin, Question, TrainingExample
from stat_train.tasks.answers import extract_final
from stat_train.tasks.graders import Grader, given_answer
from stat_train.tasks.graders import Pair as Ends
from stat_train.tasks.prompts import messages
from stat_train.teacher.contract import RewriteRequest, Teacher, Written

# When so many rewrites, one after the other, cannot be used, the teacher cannot rewrite these solutions at all.
MOST_DRAWN_IN_VAIN = 100

Recipe = PoolRecipe | UntargetedRecipe | StatSelRecipe


class TrainingSet(NamedTuple):
    """The rows, what there is to say of them (`curation.json`), and the rewrites that were left out."""

    examples: list[TrainingExample]
    summary: dict[str, Any]
    dropped: list[Dropped]


class Pair(NamedTuple):
    """A pair that was drawn, with its text and the calls that the text came from."""

    draw: Draw
    question: Question
    text: str
    call_ids: list[str]


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
    grader: Grader,
) -> TrainingSet:
    """Return the recipe's training rows; the same arguments and the same rewrites give the same rows.

    Pairs are drawn first, and only the rewrites that were drawn are asked of the teacher. A rewrite that cannot be used
    is left out, and another pair is drawn in its place.
    """
    random, left = draws(source, diagnosed, recipe, answer_source(recipe, teacher), seed)
    pairs, dropped, in_vain = list[Pair](), list[Dropped](), 0
    while len(pairs) < recipe.pairs and in_vain < MOST_DRAWN_IN_VAIN:
        chosen, left = fill(left, recipe.pairs - len(pairs), random)
        if not chosen:
            break
        written = _written(chosen, source, teacher, grader, dropped)
        pairs += written
        in_vain = 0 if written else in_vain + len(chosen)
    require_enough(len(pairs), recipe.pairs, recipe.allow_short, source, dropped)
    random.shuffle(pairs)
    examples = [_example(index, pair, skill_map, recipe, prompt) for index, pair in enumerate(pairs)]
    return TrainingSet(examples, _summary(recipe, source, diagnosed, teacher, pairs, examples), dropped)


def draws(
    source: Source, diagnosed: Diagnosed, recipe: Recipe, answers: AnswerSource, seed: int
) -> tuple[Random, Iterator[list[Draw]]]:
    """Return the recipe's passes of draws, and the random numbers that they and what is filled from them take."""
    random = Random(f"{seed}/curate/{recipe.name}")
    return random, passes(recipe, source, diagnosed, _answer_numbers(recipe, answers), random)


def _example(
    index: int, pair: Pair, skill_map: Mapping[str, Sequence[str]], recipe: Recipe, prompt: Prompt
) -> TrainingExample:
    draw, question, text, call_ids = pair
    origin = Origin(question_id=draw.question_id, skill=draw.skill, seed_ids=[question.id], call_ids=call_ids)
    return TrainingExample(
        id=f"{recipe.name}-{index:05d}",
        messages=messages(prompt, question.question, text),
        question=question.question,
        answer=text,
        skills=list(skill_map.get(question.id, ())),
        recipe=recipe.name,
        origin=origin,
    )


def _answer_numbers(recipe: Recipe, answers: AnswerSource) -> list[int]:
    rewrites = [] if isinstance(recipe, PoolRecipe) else list(range(recipe.answers_per_question))
    return {"own": [OWN], "rewrites": rewrites, "both": [OWN, *rewrites]}[answers]


def _written(
    chosen: Sequence[Draw], source: Source, teacher: Teacher, grader: Grader, dropped: list[Dropped]
) -> list[Pair]:
    """Return the pairs that were drawn, with their texts; those whose rewrite cannot be used go to `dropped`."""
    drawn = list(zip(chosen, questions_at(source.pool, [draw.row for draw in chosen]), strict=True))
    wanted = [RewriteRequest(question, draw.answer) for draw, question in drawn if draw.answer != OWN]
    rewrites = _rewritten(wanted, teacher, grader) if wanted else iter(())
    pairs = []
    for draw, question in drawn:
        written = Written(question.solution or "", []) if draw.answer == OWN else next(rewrites)
        if isinstance(written, Dropped):
            dropped.append(written)
        else:
            pairs.append(Pair(draw, question, written.text or "", written.call_ids))
    return pairs


def _rewritten(wanted: Sequence[RewriteRequest], teacher: Teacher, grader: Grader) -> Iterator[Written | Dropped]:
    """Yield each rewrite, or why it cannot be trained on: there is none, or it ends in another answer."""
    written = list(teacher.rewrite(wanted))
    ends = [_ends(question, each.text or "", grader) for (question, _), each in zip(wanted, written, strict=True)]
    for (question, _), text, end, found in zip(wanted, written, ends, grader.compare(ends), strict=True):
        if text.text is None:
            yield Dropped(stage="curate", id=question.id, reason="no usable rewrite", detail=text.error or "")
        elif question.answer is not None and found.verdict == "wrong":
            detail = f"{end.given}, not {end.gold}"
            yield Dropped(stage="curate", id=question.id, reason="rewrite ends in another answer", detail=detail)
        else:
            yield text


def _ends(question: Question, text: str, grader: Grader) -> Ends:
    return Ends(question.question, question.answer, given_answer(extract_final(text), text, grader))


def _summary(
    recipe: Recipe,
    source: Source,
    diagnosed: Diagnosed,
    teacher: Teacher,
    pairs: Sequence[Pair],
    examples: Sequence[TrainingExample],
) -> dict[str, Any]:
    drawn_for = Counter(pair.draw.skill for pair in pairs if pair.draw.skill)
    carried = Counter(skill for example in examples for skill in example.skills)
    return {
        "recipe": recipe.name,
        "pairs": len(pairs),
        "answers": answer_source(recipe, teacher),
        "unique_questions": len({pair.draw.row for pair in pairs}),
        "usable_pool_questions": len(source.rows),
        "pairs_drawn_for_skill": dict(drawn_for.most_common()),
        "pairs_carrying_skill": dict(carried.most_common()),
        "shortfalls": shortfalls(source, diagnosed, recipe) if isinstance(recipe, StatSelRecipe) else {},
    }


def told(summary: Mapping[str, Any]) -> list[str]:
    """Return in words how many pairs there are, and which missing skills have too few questions in the pool."""
    said = [f"{summary['pairs']} pairs from {summary['unique_questions']} questions, answers: {summary['answers']}"]
    for skill, count in summary["shortfalls"].items():
        has = f"only {count} pool questions carry it" if count else "no pool question carries it, so none is selected"
        said.append(f"missing skill {skill}: {has}")
    return said
