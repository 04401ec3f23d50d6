"""From pairs that were drawn to rows with a text: the pool's own solution, or the teacher's rewrite of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import Any, NamedTuple

from stat_train.counts import Count
from stat_train.curation.rows import Made, Row, Tools
from stat_train.curation.selection import answer_numbers, passes, shortfalls
from stat_train.curation.source import OWN, Draw, Pass, Source, fill, questions_at, require_enough
from stat_train.recipe_settings import (
    AnswerSource,
    AugmentRecipe,
    EmbedSelRecipe,
    HardRecipe,
    PoolRecipe,
    SelectionRecipe,
    StatSelRecipe,
)
from stat_train.records import Diagnosed, Dropped, Origin, Question
from stat_train.tasks.answers import extract_final
from stat_train.tasks.graders import Grader, Pair, given_answer
from stat_train.teacher.contract import RewriteRequest, Teacher, Written

# When so many rewrites, one after the other, cannot be used, the teacher cannot rewrite these solutions at all.
MOST_DRAWN_IN_VAIN = 100


class Text(NamedTuple):
    """A pair that was drawn, with its text and the calls that the text came from."""

    draw: Draw
    question: Question
    text: str
    call_ids: list[str]


def answer_source(recipe: SelectionRecipe, teacher: Teacher) -> AnswerSource:
    """Return whose answers are trained on; without a choice, rewrites when the teacher can write them."""
    if isinstance(recipe, PoolRecipe):
        return "own"
    if isinstance(recipe, AugmentRecipe):
        return "rewrites"
    return recipe.answers or ("rewrites" if teacher.can_rewrite else "own")


def draws(
    source: Source, diagnosed: Diagnosed, recipe: SelectionRecipe, answers: AnswerSource, seed: int
) -> tuple[Random, Iterator[Pass]]:
    """Return the recipe's passes of draws, and the random numbers that they and what is filled from them take."""
    random = Random(f"{seed}/curate/{recipe.name}")
    return random, passes(recipe, source, diagnosed, answer_numbers(recipe, answers), random)


def select(source: Source, diagnosed: Diagnosed, recipe: SelectionRecipe, tools: Tools, seed: int) -> Made:
    """Return rows drawn from the pool.

    Pairs are drawn first, and only the rewrites that were drawn are asked of the teacher. A rewrite that cannot be used
    is left out, and another pair is drawn in its place.
    """
    answers = answer_source(recipe, tools.teacher)
    random, left = draws(source, diagnosed, recipe, answers, seed)
    texts, dropped, drawn, in_vain, exhausted = list[Text](), list[Dropped](), 0, 0, False
    while len(texts) < recipe.pairs and in_vain < MOST_DRAWN_IN_VAIN:
        chosen, left = fill(left, recipe.pairs - len(texts), random)
        if exhausted := not chosen:
            break
        written = _written(chosen, source, tools, dropped, first=not texts)
        texts, drawn = texts + written, drawn + len(chosen)
        in_vain = 0 if written else in_vain + len(chosen)
    limit = f"; data_recipe.levels = {recipe.levels} leaves fewer" if isinstance(recipe, HardRecipe) else ""
    require_enough(len(texts), recipe.pairs, recipe.allow_short, source, dropped, exhausted, limit)
    random.shuffle(texts)
    skills = source.skills_at([text.draw.row for text in texts])
    rows = [_row(text, needed) for text, needed in zip(texts, skills, strict=True)]
    summary: dict[str, Any] = {"answers": answers, "unique_questions": len({text.draw.row for text in texts})}
    if isinstance(recipe, StatSelRecipe):
        summary |= {"shortfalls": shortfalls(source, diagnosed, recipe.questions_per_skill)}
    if isinstance(recipe, EmbedSelRecipe):
        summary |= {"embedder": recipe.embedder}
    return Made(rows, dropped, {"pair": Count(drawn, len(rows))}, summary)


def _row(text: Text, skills: list[str]) -> Row:
    draw, question, answer, call_ids = text
    origin = Origin(question_id=draw.question_id, skill=draw.skill, seed_ids=[question.id], call_ids=call_ids)
    return Row(question.question, answer, skills, origin)


def _written(chosen: Sequence[Draw], source: Source, tools: Tools, dropped: list[Dropped], first: bool) -> list[Text]:
    """Return the pairs that were drawn, with their texts; those whose rewrite cannot be used go to `dropped`.

    Of the `first` ones some are tried before the others, so that a teacher that cannot do this is found out early.
    """
    if first and len(chosen) > MOST_DRAWN_IN_VAIN:
        texts = _written(chosen[:MOST_DRAWN_IN_VAIN], source, tools, dropped, first=False)
        return texts and texts + _written(chosen[MOST_DRAWN_IN_VAIN:], source, tools, dropped, first=False)
    drawn = list(zip(chosen, questions_at(source.pool, [draw.row for draw in chosen]), strict=True))
    wanted = [RewriteRequest(question, draw.answer) for draw, question in drawn if draw.answer != OWN]
    rewrites = _rewritten(wanted, tools) if wanted else iter(())
    texts = []
    for draw, question in drawn:
        written = Written(question.solution or "", []) if draw.answer == OWN else next(rewrites)
        if isinstance(written, Dropped):
            dropped.append(written)
        else:
            texts.append(Text(draw, question, written.text or "", written.call_ids))
    return texts


def _rewritten(wanted: Sequence[RewriteRequest], tools: Tools) -> Iterator[Written | Dropped]:
    """Yield each rewrite, or why it cannot be trained on: there is none, or it ends in another answer."""
    written = list(tools.teacher.rewrite(wanted))
    ends = [
        _ends(question, each.text, tools.grader) if each.text and question.answer is not None else None
        for (question, _), each in zip(wanted, written, strict=True)
    ]
    verdicts = iter(tools.grader.compare([end for end in ends if end]))
    for (question, _), text, end in zip(wanted, written, ends, strict=True):
        if text.text is None:
            yield _dropped(question.id, "no usable rewrite", text.error or "")
        elif end and next(verdicts).verdict == "wrong":
            yield _dropped(question.id, "rewrite ends in another answer", f"{end.given}, not {end.gold}")
        else:
            yield text


def _ends(question: Question, text: str, grader: Grader) -> Pair:
    return Pair(question.question, question.answer, given_answer(extract_final(text), text, grader))


def _dropped(id: str, reason: str, detail: str) -> Dropped:
    return Dropped(stage="curate", id=id, reason=reason, detail=detail, item="pair")
