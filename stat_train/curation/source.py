"""What recipes draw from, what they draw, and how draws fill a training set."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from random import Random
from typing import TYPE_CHECKING, NamedTuple, overload

from stat_train.errors import UserError
from stat_train.records import Dropped, Question

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy import bool_, integer
    from numpy.typing import NDArray

    Integers = NDArray[integer]
    Mask = NDArray[bool_]

OWN = -1
ROWS_AT_A_TIME = 1_000_000


class Source(NamedTuple):
    """The pool with its skill map (row by row), both memory-mapped; the rows to draw from, and those of each skill."""

    pool: Dataset
    skill_map: Dataset
    rows: Integers
    rows_by_skill: Mapping[str, Integers]

    def skills_at(self, rows: Sequence[int]) -> list[list[str]]:
        """Return the skills of some rows."""
        found: list[list[str]] = self.skill_map[list(rows)]["skills"]
        return found


class Draw(NamedTuple):
    """One pair drawn: a row of the pool, which of its answers (`OWN`, or the number of a rewrite), and for what."""

    row: int
    answer: int
    skill: str | None = None
    question_id: str | None = None


class Draws(Sequence[Draw]):
    """Draws as two columns, row and answer: as many as a large pool has would not fit in memory one by one."""

    def __init__(self, rows: Integers, answers: Integers) -> None:
        self.rows, self.answers = rows, answers

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> Draw: ...
    @overload
    def __getitem__(self, index: slice) -> Draws: ...
    def __getitem__(self, index: int | slice) -> Draw | Draws:
        if isinstance(index, slice):
            return Draws(self.rows[index], self.answers[index])
        return Draw(int(self.rows[index]), int(self.answers[index]))

    def without(self, left_out: Collection[int]) -> Draws:
        """Return the draws less those at some places."""
        import numpy

        keep = numpy.ones(len(self), bool)
        keep[list(left_out)] = False
        return Draws(self.rows[keep], self.answers[keep])


Pass = Sequence[Draw]


def make_source(
    pool: Dataset, skill_map: Dataset, left_out: Collection[int], needed: str = "solution", stage: str = "curate"
) -> tuple[Source, list[Dropped]]:
    """Return what may be drawn of a pool, less the rows that are `left_out`, and the rows that lack what is `needed`.

    Without a solution there is nothing to train on, and nothing to rewrite. `skill_map` has a column `skills`, row by
    row like the pool.
    """
    import numpy

    usable = numpy.ones(len(pool), bool)
    usable[list(left_out)] = False
    solved = with_text(pool, needed)
    unsolved = numpy.flatnonzero(usable & ~solved)
    ids = pool.select_columns(["id"])[unsolved.tolist()]["id"] if len(unsolved) else []
    dropped = [Dropped(stage=stage, id=id, reason=f"no {needed}", item="pool question") for id in ids]
    usable &= solved
    return Source(pool, skill_map, numpy.flatnonzero(usable), rows_by_skill(skill_map, usable)), dropped


def with_text(pool: Dataset, column: str) -> Mask:
    """Tell for each row whether a column holds text; lengths are read, texts are not."""
    import numpy
    from pyarrow import compute

    lengths = compute.fill_null(compute.binary_length(pool.data.column(column)), 0)
    return numpy.asarray(lengths.to_numpy()) > 0


def rows_asking(pool: Dataset, texts: Collection[str]) -> Mask:
    """Tell for each row of a pool whether its question is one of these texts."""
    import numpy
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import compute

    sought = pyarrow.array(sorted(texts), pyarrow.string())
    column = pool.data.column("question").cast(pyarrow.string())
    return numpy.array(compute.is_in(column, value_set=sought).to_numpy())


def rows_by_skill(skill_map: Dataset, usable: Mask) -> dict[str, Integers]:
    """Return the usable rows that carry each skill, in their order."""
    import numpy

    codes: list[Integers] = []
    rows: list[Integers] = []
    names: dict[str, int] = {}
    for start in range(0, len(skill_map), ROWS_AT_A_TIME):
        code, row = _coded(skill_map.data.column("skills").slice(start, ROWS_AT_A_TIME), names)
        keep = usable[row + start]
        codes.append(code[keep])
        rows.append((row[keep] + start).astype(numpy.int32))
    if not names:
        return {}
    every = numpy.concatenate(codes)
    order = numpy.argsort(every, kind="stable")
    ends = numpy.cumsum(numpy.bincount(every, minlength=len(names)))
    parts = numpy.split(numpy.concatenate(rows)[order], ends[:-1])
    return {name: part for name, part in zip(names, parts, strict=True) if len(part)}


def _coded(skills: object, names: dict[str, int]) -> tuple[Integers, Integers]:
    """Return the skills of some rows as numbers, each with its row; `names` numbers the skills and grows."""
    import numpy
    from pyarrow import compute

    lists = skills.combine_chunks()  # type: ignore[attr-defined]
    coded = compute.list_flatten(lists).dictionary_encode()
    numbers = [names.setdefault(name, len(names)) for name in coded.dictionary.to_pylist()]
    # Few skills: sorting numbers of 16 bits is ten times as fast.
    code = numpy.array(numbers, numpy.int16 if len(names) < 2**15 else numpy.int32)[coded.indices.to_numpy()]
    return code, compute.list_parent_indices(lists).to_numpy()


def questions_at(pool: Dataset, rows: Sequence[int]) -> list[Question]:
    """Return the pool's questions at these rows, read in one go."""
    columns = pool[list(rows)]
    return [
        Question.model_validate(dict(zip(columns, values, strict=True)))
        for values in zip(*columns.values(), strict=True)
    ]


def sample(random: Random, rows: Integers, count: int) -> list[int]:
    """Return different rows at random: `count` of them, or all there are."""
    return [int(rows[place]) for place in random.sample(range(len(rows)), min(count, len(rows)))]


def fill(passes: Iterator[Pass], pairs: int, random: Random) -> tuple[list[Draw], Iterator[Pass]]:
    """Return `pairs` draws, and the passes that are left: first what is left of the last one.

    Whole passes come first, then a random subset of the last one; fewer when passes end. So one pass keeps the weights
    of the profile exactly, and further passes only fill up.
    """
    chosen: list[Draw] = []
    for draws in passes:
        missing = pairs - len(chosen)
        if len(draws) >= missing:
            kept = set(random.sample(range(len(draws)), missing))
            chosen += [draws[place] for place in sorted(kept)]
            return chosen, chain(_rest(draws, kept), passes)
        chosen += draws
    return chosen, iter(())


def _rest(draws: Pass, kept: Collection[int]) -> Iterator[Pass]:
    """Yield what is left of a pass, when it is asked for: mostly it is not."""
    if len(draws) > len(kept):
        left = draws.without(kept) if isinstance(draws, Draws) else None
        yield left if left is not None else [draw for place, draw in enumerate(draws) if place not in kept]


def require_enough(
    made: int,
    pairs: int,
    allow_short: bool,
    source: Source,
    unusable: Sequence[Dropped],
    exhausted: bool,
    limit: str = "",
) -> None:
    """Refuse a training set that came out smaller than asked, unless that was allowed.

    `exhausted`: the recipe has no more to draw. `limit` says in words what else of the recipe narrows the pool.
    """
    if not made or (made < pairs and not allow_short):
        # Of an exhausted pool, what was left out explains it only when with it there would have been enough.
        if unusable and (not exhausted or made + len(unusable) >= pairs):
            different, example = len({row.id for row in unusable}), unusable[0]
            detail = " ".join(example.detail.split())
            raise UserError(
                f"data_recipe.pairs = {pairs}: only {made} could be made. {len(unusable)} draws, of {different} "
                f"questions, gave nothing to train on, such as {example.id}: {example.reason} ({detail}). Mend "
                "the teacher (its model, or teacher.prompts), train on the pool's own solutions with "
                "data_recipe.answers=own, lower data_recipe.pairs, or accept fewer with data_recipe.allow_short=true"
            )
        carrying = _how_many_carry_a_skill(source)
        first = f", such as {unusable[0].id}: {unusable[0].reason}" if unusable else ""
        why = f"; {len(unusable)} draws gave nothing{first}" if unusable else ""
        raise UserError(
            f"data_recipe.pairs = {pairs}: the pool gives only {made} pairs. Of its {len(source.pool)} "
            f"questions {len(source.rows)} can be trained on (they have a solution, and equal no "
            f"held-out question), and {carrying} of those carry a skill label{limit}{why}. Lower data_recipe.pairs, "
            "enlarge or label task.pool, or accept fewer with data_recipe.allow_short=true"
        )


def _how_many_carry_a_skill(source: Source) -> int:
    import numpy

    carrying = numpy.zeros(len(source.pool), bool)
    for rows in source.rows_by_skill.values():
        carrying[rows] = True
    return int(carrying.sum())
