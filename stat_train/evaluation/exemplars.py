"""Worked examples for prompts, chosen by what a question needs (AdaptMI, arXiv 2505.00147): pure, seeded choices.

A question that is difficult for the student comes after examples that carry its skills, in turn; all others come after
one fixed set. The examples are rows of the pool that may be trained on, so none is a copy of a held-out question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from random import Random
from typing import NamedTuple

from stat_train.curation.source import Source, questions_at, sample
from stat_train.errors import UserError
from stat_train.records import Dropped, ExemplarPrompt, Question

NO_SKILL, NO_EXAMPLE = "no skill of it is known", "no example carries its skills"
EXAMPLE = "worked example"
TOO_LONG = "does not fit the student's context"


class Judged(NamedTuple):
    """What is known of the questions, by their id: which are difficult, why some are not judged, what they require."""

    difficult: Mapping[str, bool]
    unjudged: Mapping[str, str]
    skills: Mapping[str, Sequence[str]]


class Exemplars(NamedTuple):
    """Which examples stand before each question, and the examples by their id."""

    prompts: list[ExemplarPrompt]
    examples: dict[str, Question]


def choose_exemplars(questions: Sequence[Question], judged: Judged, source: Source, count: int, seed: int) -> Exemplars:
    """Return `count` examples for each question; fewer where the pool has no more with its skills.

    Raises UserError when the pool has no example at all.
    """
    if not len(source.rows):
        raise UserError(
            "evaluate.prompting = adaptmi: no pool question can be an example; expected some with a solution that "
            "are no copies of held-out questions. Give such a task.pool, or use evaluate.prompting=plain"
        )
    drawn: dict[str, list[int]] = {}
    for question in questions:
        skills = judged.skills.get(question.id, ()) if judged.difficult.get(question.id) else ()
        drawn[question.id] = rows_in_turn(source, skills, count, Random(f"{seed}/adaptmi/{question.id}"))
    fixed = fixed_rows(source, count, seed)
    wanted = sorted({*fixed, *chain.from_iterable(drawn.values())})
    by_row = dict(zip(wanted, questions_at(source.pool, wanted), strict=True))

    def prompt(question: Question) -> ExemplarPrompt:
        rows = drawn[question.id]
        return ExemplarPrompt(
            question_id=question.id,
            difficult=judged.difficult.get(question.id),
            skills=list(judged.skills[question.id]) if rows else [],
            exemplar_ids=[by_row[row].id for row in rows or fixed],
            reason=None if rows else _why_fixed(question, judged),
        )

    return Exemplars(list(map(prompt, questions)), {question.id: question for question in by_row.values()})


def fixed_rows(source: Source, count: int, seed: int) -> list[int]:
    """Return the rows of the fixed set: drawn once from all that may be used, whatever their skills."""
    return sample(Random(f"{seed}/adaptmi/fixed"), source.rows, count)


def rows_in_turn(source: Source, skills: Sequence[str], count: int, random: Random) -> list[int]:
    """Return up to `count` different rows: one for each skill in turn, until there are enough or no more of any."""
    carrying = [source.rows_by_skill[skill] for skill in skills if skill in source.rows_by_skill]
    # A row may carry several of the skills, so each skill draws as many as are wanted in all.
    drawn = [sample(random, rows, count) for rows in carrying]
    in_turn = (row for row in chain.from_iterable(zip_longest(*drawn)) if row is not None)
    return list(dict.fromkeys(in_turn))[:count]


def _why_fixed(question: Question, judged: Judged) -> str | None:
    if question.id not in judged.difficult:
        return f"not judged: {judged.unjudged.get(question.id, 'unknown')}"
    if not judged.difficult[question.id]:
        return None
    return NO_EXAMPLE if judged.skills.get(question.id) else NO_SKILL


def shortened(
    prompts: Iterable[ExemplarPrompt], fits: Callable[[ExemplarPrompt], bool]
) -> tuple[list[ExemplarPrompt], list[Dropped]]:
    """Return the prompts less the examples, farthest from the question first, without which each fits; and those.

    A prompt without an example is kept whether it fits or not: it is the question as it is always asked.
    """
    kept, dropped = [], []
    for prompt in prompts:
        ids = prompt.exemplar_ids
        sizes = (prompt.model_copy(update={"exemplar_ids": ids[start:]}) for start in range(len(ids)))
        short = next(filter(fits, sizes), prompt.model_copy(update={"exemplar_ids": []}))
        kept.append(short)
        dropped += [
            Dropped(stage="prompts", id=prompt.question_id, reason=TOO_LONG, detail=id, item=EXAMPLE)
            for id in ids[: len(ids) - len(short.exemplar_ids)]
        ]
    return kept, dropped


def told(prompts: Sequence[ExemplarPrompt], dropped: Iterable[Dropped], count: int) -> list[str]:
    """Return in words how many questions have `count` examples of their skills, and what stood in the way of others."""
    total, difficult = len(prompts), sum(prompt.difficult is True for prompt in prompts)
    by_skill = sum(bool(prompt.skills) for prompt in prompts)
    said = [f"{difficult} of {total} benchmark questions are difficult; {by_skill} have examples of their skills"]
    reasons = Counter(prompt.reason for prompt in prompts if prompt.reason)
    said += [f"{number} have the fixed examples: {why}" for why, number in reasons.most_common()]
    too_long = {row.id for row in dropped if row.reason == TOO_LONG}
    if too_long:
        without = sum(not prompt.exemplar_ids for prompt in prompts)
        said.append(f"{len(too_long)} prompts were too long and lost their first examples; {without} have none left")
    few = sum(len(prompt.exemplar_ids) < count and prompt.question_id not in too_long for prompt in prompts)
    return said + ([f"{few} have fewer than {count} examples: the pool has no more for them"] if few else [])
