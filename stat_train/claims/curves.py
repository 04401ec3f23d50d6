"""Settings that take several numbers in a sweep, along which its trainings lie."""

from __future__ import annotations

from collections.abc import Sequence

from stat_train.claims.measures import Training


def numeric_keys(every: Sequence[Training]) -> list[str]:
    """Return the settings that all trainings have, of which some recipe was trained with three different numbers."""
    keys = dict.fromkeys(key for each in every for key in each.first.varies if key != "train.learning_rate")
    return [key for key in keys if all(number(each, key) is not None for each in every) and _is_line(every, key)]


def number(training: Training, key: str) -> float | None:
    """Return the number that a training has of a setting; None for what is no number or not set."""
    try:
        return float(training.first.varies[key])
    except (KeyError, ValueError):
        return None


def _is_line(every: Sequence[Training], key: str) -> bool:
    recipes = {each.recipe for each in every}
    return any(len({number(each, key) for each in every if each.recipe == recipe}) >= 3 for recipe in recipes)
