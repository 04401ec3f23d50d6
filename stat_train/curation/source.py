"""What recipes draw from, what they draw, and how draws fill a training set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from stat_train.errors import UserError
from stat_train.records import Dropped, Question
from stat_train.tasks.text import normalised

if TYPE_CHECKING:
    from datasets import Dataset

OWN = -1


class Source(NamedTuple):
    """The pool with the rows that may be trained on: all of them, and those that carry each skill."""

    pool: Dataset
    rows: list[int]
    rows_by_skill: dict[str, list[int]]


class Draw(NamedTuple):
    """One pair drawn: a row of the pool, which of its answers (`OWN`, or the number of a rewrite), and for what."""

    row: int
    answer: int
    skill: str | None = None
    question_id: str | None = None


def make_source(
    pool: Dataset, skill_map: Mapping[str, Sequence[str]], held_out: Iterable[str]
) -> tuple[Source, list[Dropped]]:
    """Return what may be drawn, and the rows that may not: those that equal a held-out question, whatever the recipe.

    `held_out` are the questions of benchmark and validation set. Equality is that of the text, white space and case
    aside. Rows without a solution are left out too: there is nothing to train on, and nothing to rewrite.
    """
    forbidden = {normalised(question) for question in held_out}
    rows, rows_by_skill, dropped = [], defaultdict(list), []
    batches = pool.select_columns(["id", "question", "solution"]).iter(batch_size=1000)
    columns = (zip(batch["id"], batch["question"], batch["solution"], strict=True) for batch in batches)
    for row, (identifier, question, solution) in enumerate(chain.from_iterable(columns)):
        reason = _reason_against(question, solution, forbidden)
        if reason:
            dropped.append(Dropped(stage="curate", id=identifier, reason=reason))
            continue
        rows.append(row)
        for skill in skill_map.get(identifier, ()):
            rows_by_skill[skill].append(row)
    return Source(pool, rows, dict(rows_by_skill)), dropped


def _reason_against(question: str, solution: str | None, forbidden: set[str]) -> str | None:
    if normalised(question) in forbidden:
        return "equals a held-out question"
    return None if solution else "no solution"


def questions_at(pool: Dataset, rows: Sequence[int]) -> list[Question]:
    """Return the pool's questions at these rows, read in one go."""
    columns = pool[list(rows)]
    return [
        Question.model_validate(dict(zip(columns, values, strict=True)))
        for values in zip(*columns.values(), strict=True)
    ]


def fill(passes: Iterator[list[Draw]], pairs: int, random: Random) -> tuple[list[Draw], Iterator[list[Draw]]]:
    """Return `pairs` draws, and the passes that are left: first what is left of the last one.

    Whole passes come first, then a random subset of the last one; fewer when passes end. So one pass keeps the weights
    of the profile exactly, and further passes only fill up.
    """
    chosen: list[Draw] = []
    for draws in passes:
        missing = pairs - len(chosen)
        if len(draws) >= missing:
            kept = set(random.sample(range(len(draws)), missing))
            chosen += [draw for index, draw in enumerate(draws) if index in kept]
            left = [draw for index, draw in enumerate(draws) if index not in kept]
            return chosen, chain([left] if left else [], passes)
        chosen += draws
    return chosen, iter(())


def require_enough(made: int, pairs: int, allow_short: bool, source: Source, unusable: Sequence[Dropped]) -> None:
    """Refuse a training set that came out smaller than asked, unless that was allowed."""
    if not made or (made < pairs and not allow_short):
        carrying = len({row for rows in source.rows_by_skill.values() for row in rows})
        if unusable:
            different, example = len({row.id for row in unusable}), unusable[0]
            raise UserError(
                f"data_recipe.pairs = {pairs}: only {made} could be made. {len(unusable)} draws, of {different} "
                f"questions, gave nothing to train on, such as {example.id}: {example.reason} ({example.detail}). Mend "
                "the teacher (its model, or teacher.prompts), train on the pool's own solutions with "
                "data_recipe.answers=own, lower data_recipe.pairs, or accept fewer with data_recipe.allow_short=true"
            )
        raise UserError(
            f"data_recipe.pairs = {pairs}: the pool gives only {made} pairs. Of its {len(source.pool)} "
            f"questions {len(source.rows)} can be trained on (they have a solution, and equal no "
            f"held-out question), and {carrying} of those carry a skill label. Lower data_recipe.pairs, "
            "enlarge or label task.pool, or accept fewer with data_recipe.allow_short=true"
        )
