"""The course of a training as lines to draw: which logged numbers are shown, thinned to what a page can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Numbers = dict[str, Any]
# More points than this cannot be told apart on a page.
POINTS_SHOWN = 300


class Training(NamedTuple):
    """The logged steps of one training; `name` tells it from others of its kind, `chosen`: the run goes on from it."""

    kind: str
    name: str
    chosen: bool
    rows: Sequence[Mapping[str, Any]]


class Shown(NamedTuple):
    """A logged number, what it is called, and its unit."""

    key: str
    title: str
    unit: str


SHOWN = {
    "fine-tuning": (Shown("loss", "Loss", "nats per token"), Shown("learning_rate", "Learning rate", "size of a step")),
    "reinforcement learning": (
        Shown("reward", "Reward", "mean of 0 to 1 an answer"),
        Shown("kl_to_start", "Distance from the start (KL)", "nats per token"),
        Shown("answer_tokens", "Answer length", "tokens"),
        Shown("same_reward_share", "Questions that teach nothing", "share with equal rewards"),
    ),
}


def curves(trainings: Sequence[Training]) -> list[Numbers]:
    """Return what is to be drawn of trainings: one chart a logged number, with one line a training.

    A number that no training logged has no chart. A line has at most POINTS_SHOWN points, each the mean of so many
    steps one after the other; what it starts, ends and gets lowest and highest at is of the single steps.
    """
    charts = [
        {"training": kind, "title": shown.title, "unit": shown.unit, "lines": _lines(kind, shown.key, trainings)}
        for kind, every in SHOWN.items()
        for shown in every
    ]
    return [chart for chart in charts if chart["lines"]]


def _lines(kind: str, key: str, trainings: Sequence[Training]) -> list[Numbers]:
    found = ((each, _logged(each.rows, key)) for each in trainings if each.kind == kind)
    return [{"name": each.name, "chosen": each.chosen} | _line(points) for each, points in found if points]


def _logged(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[int, float]]:
    """Return the steps that logged a number, with it; what is not finite cannot be drawn."""
    known = ((int(row["step"]), row.get(key)) for row in rows)
    return [(step, float(value)) for step, value in known if value is not None and math.isfinite(value)]


def _line(points: Sequence[tuple[int, float]]) -> Numbers:
    together = math.ceil(len(points) / POINTS_SHOWN)
    parts = [points[start : start + together] for start in range(0, len(points), together)]
    lowest, highest = (best(points, key=lambda point: point[1]) for best in (min, max))
    return {
        "together": together,
        "points": [[_mean([step for step, _ in part]), _mean([value for _, value in part])] for part in parts],
        "first": _short(points[0][1]),
        "last": _short(points[-1][1]),
        "lowest": _short(lowest[1]),
        "lowest_step": lowest[0],
        "highest": _short(highest[1]),
        "highest_step": highest[0],
        "steps": points[-1][0],
    }


def _mean(values: Sequence[float]) -> float:
    return _short(math.fsum(values) / len(values))


def _short(value: float) -> float:
    """Return a number to 6 digits that count: a page and its numbers need no more."""
    return float(f"{value:.6g}")
