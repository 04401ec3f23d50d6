"""A training row before it is one: what every recipe gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from stat_train.counts import Counts
from stat_train.curation.decontamination import Hit
from stat_train.records import Dropped, Origin

# Tells for questions which held-out one each is a copy or a twin of.
Check = Callable[[Sequence[str]], list[Hit | None]]


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
