"""Settings that take several numbers in a sweep, along which its trainings lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from stat_train.claims.measures import Training


def numeric_keys(every: Sequence[Training]) -> list[str]:
    """Return the settings along which all trainings lie: a recipe has three numbers of it, and none has one twice.

    Of settings that grow together, as two thresholds do, the first is returned.
    """
    keys = dict.fromkeys(key for each in every for key in each.first.varies if key != "train.learning_rate")
    lines: dict[tuple[str, ...], str] = {}
    for key in keys:
        if _is_line(every, key):
            lines.setdefault(_order(every, key), key)
    return list(lines.values())


def number(training: Training, key: str) -> float | None:
    """Return the number that a training has of a setting; None for what is no number or not set."""
    try:
        return float(training.first.varies[key])
    except (KeyError, ValueError):
        return None


def _is_line(every: Sequence[Training], key: str) -> bool:
    places = [(each.recipe, number(each, key)) for each in every]
    most = max(Counter(recipe for recipe, _ in places).values())
    return all(place is not None for _, place in places) and len(set(places)) == len(places) and most >= 3


def _order(every: Sequence[Training], key: str) -> tuple[str, ...]:
    """Return the names of the trainings, of each recipe from the lowest number of the setting to the highest."""
    places = sorted((each.recipe, number(each, key) or 0.0, each.name) for each in every)
    return tuple(name for _, _, name in places)
