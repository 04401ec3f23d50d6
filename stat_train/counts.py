"""How many items a stage looked at, kept and left out: the numbers add up, or the stage has lost something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from stat_train.errors import StatTrainError
from stat_train.records import Dropped


class Count(NamedTuple):
    """How many items of a kind a stage looked at, and how many of them are in what it made."""

    total: int
    kept: int


# By kind of item; the items that are left out are in `dropped.jsonl`, each with its kind and its reason.
Counts = dict[str, Count]


def seen(kept: int, dropped: Iterable[Dropped], item: str) -> Count:
    """Return the count of items that come one by one, so that nobody knows their number before."""
    return Count(kept + sum(row.item == item for row in dropped), kept)


def add_up(stage: str, counts: Counts, dropped: Sequence[Dropped]) -> dict[str, Any]:
    """Return the counts with the reasons of what was left out; raises StatTrainError when they do not add up."""
    reasons = {item: Counter(row.reason for row in dropped if row.item == item) for item in {r.item for r in dropped}}
    every = {item: counts.get(item, Count(0, 0)) for item in [*counts, *sorted(reasons.keys() - counts.keys())]}
    for item, (total, kept) in every.items():
        if total != kept + (left_out := sum(reasons.get(item, {}).values())):
            raise StatTrainError(
                f"{stage}: of {total:,} x {item}, {kept:,} were kept and {left_out:,} left out, which does not add up. "
                "This is a defect of stat-train: please report it"
            )
    return {
        item: {"total": count.total, "kept": count.kept, "dropped": dict(reasons.get(item, Counter()).most_common())}
        for item, count in every.items()
        if count.total
    }


def dropped_counts(dropped: Iterable[Dropped]) -> dict[str, int]:
    """Return how many items were left out for each reason, commonest first."""
    return dict(Counter(row.reason for row in dropped).most_common())
