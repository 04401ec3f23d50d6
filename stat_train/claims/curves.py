"""Settings that take several numbers in a sweep, along which its trainings lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from stat_train.claims.measures import Training


def curve_settings(every: Sequence[Training]) -> list[list[str]]:
    """Return the settings along which all trainings lie: a recipe has three numbers of it, and none has one twice.

    Settings that grow together, as two thresholds do, are one line.
    """
    keys = dict.fromkeys(key for each in every for key in each.first.varies if key != "train.learning_rate")
    found: dict[tuple[str, ...], list[str]] = {}
    for key in keys:
        if along := _along(every, key):
            found.setdefault(along, []).append(key)
    return list(found.values())


def number(training: Training, key: str) -> float | None:
    """Return the number that a training has of a setting; None for what is no number or not set."""
    try:
        return float(training.first.varies[key])
    except (KeyError, ValueError):
        return None


def _along(every: Sequence[Training], key: str) -> tuple[str, ...]:
    """Return the trainings' names along a setting, recipe by recipe; nothing where they lie on no line."""
    places = sorted((each.recipe, found, each.name) for each in every if (found := number(each, key)) is not None)
    different = {(recipe, found) for recipe, found, _ in places}
    most = max(Counter(recipe for recipe, _, _ in places).values(), default=0)
    return tuple(name for _, _, name in places) if len(different) == len(every) and most >= 3 else ()
