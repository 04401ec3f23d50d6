"""What every recipe works with and gives: whom it may ask, rows before they are training rows, and a tally of items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from stat_train.counts import Count, Counts
from stat_train.curation.decontamination import Hit
from stat_train.curation.near_copies import NearCopies
from stat_train.records import Dropped, Origin
from stat_train.tasks.graders import Grader
from stat_train.teacher.contract import Teacher

# Tells for questions which held-out one each is a copy or a twin of.
Check = Callable[[Sequence[str]], list[Hit | None]]


# When so many requests, one after the other, give next to nothing, the teacher cannot do what is asked of it.
MOST_IN_VAIN = 100
# Next to nothing: one row of so many requests.
LEAST_YIELD = 100
GROWTH = 10


def wave_limit(made: int, in_vain: int) -> int:
    """Return how many requests may be made at once: few at first, then more as they have shown to give something."""
    return max(MOST_IN_VAIN - in_vain, GROWTH * made)


def still_in_vain(in_vain: int, asked: int, made: int) -> int:
    """Return how many requests in a row gave next to nothing, after a wave of which so many rows came."""
    return 0 if LEAST_YIELD * made >= asked else in_vain + asked


class Tools(NamedTuple):
    """Whom a recipe may ask: the teacher, the grader, what tells copies of held-out questions and of one another."""

    teacher: Teacher
    grader: Grader
    check: Check
    near_copies: NearCopies


class Row(NamedTuple):
    """A question with an answer to train on, the skills it needs, and why it is there."""

    question: str
    answer: str
    skills: list[str]
    origin: Origin


class Made(NamedTuple):
    """The rows of a recipe, what was left out, the counts of each kind of item, and what to say of it all."""

    rows: list[Row]
    dropped: list[Dropped]
    counts: Counts
    summary: dict[str, Any]


class Tally:
    """What was looked at, by kind of item: how many there were, how many were kept, and why each other one was not."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()
        self.dropped: list[Dropped] = []

    def see(self, item: str, count: int = 1) -> None:
        """Count items that come in."""
        self.seen[item] += count

    def keep(self, item: str, count: int = 1) -> None:
        """Count items as kept."""
        self.kept[item] += count

    def drop(self, item: str, id: str, reason: str, detail: str = "") -> None:
        """Leave an item out."""
        self.dropped.append(Dropped(stage="curate", id=id, reason=reason, detail=detail, item=item))

    def held_out(self, item: str, id: str, hit: Hit) -> None:
        """Leave an item out that is a copy or a twin of a held-out question."""
        told = f"{hit.held_out.place} {hit.held_out.id}: {hit.held_out.question}"
        self.drop(item, id, f"{hit.kind}, {hit.how}", told)

    def counts(self) -> Counts:
        """Return how many items of each kind there were, and how many were kept."""
        return {item: Count(total, self.kept[item]) for item, total in self.seen.items()}
