"""Where the lines, ticks and labels of the report's charts stand: plain numbers, which the templates turn into SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Numbers = Mapping[str, Any]
# In the units of the drawing, which are pixels on a phone, and a third larger on a wide screen.
WIDTH, HEIGHT = 340.0, 190.0
TOP, BOTTOM, RIGHT = 26.0, 34.0, 12.0
CHARACTER = 6.6
X_TICKS, Y_TICKS = 4, 4


class Tick(NamedTuple):
    """A tick of an axis: where it stands, and what is written there."""

    at: float
    label: str


class LineChart(NamedTuple):
    """A chart of lines, ready to be drawn; `lines` are the points of each as SVG takes them, in the chart's order."""

    left: float
    right: float
    bottom: float
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[str]


def line_chart(curve: Numbers) -> LineChart:
    """Return where all of a chart stands; `curve` is one of `curves`, with at least one line of one point."""
    points = [point for line in curve["lines"] for point in line["points"]]
    x_low, x_high = _range([x for x, _ in points])
    y_values = nice_ticks(*_range([y for _, y in points]), Y_TICKS)
    labels = tick_labels(y_values)
    left = 8 + CHARACTER * max(map(len, labels))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(step: float) -> float:
        return round(left + (right - left) * (step - x_low) / (x_high - x_low), 1)

    def y(value: float) -> float:
        return round(bottom - (bottom - TOP) * (value - y_values[0]) / (y_values[-1] - y_values[0]), 1)

    steps = [step for step in nice_ticks(x_low, x_high, X_TICKS) if x_low <= step <= x_high and step == int(step)]
    return LineChart(
        left=round(left, 1),
        right=right,
        bottom=bottom,
        x_ticks=[Tick(x(step), f"{int(step):,}") for step in steps],
        y_ticks=[Tick(y(value), label) for value, label in zip(y_values, labels, strict=True)],
        lines=[" ".join(f"{x(a)},{y(b)}" for a, b in line["points"]) for line in curve["lines"]],
    )


def nice_ticks(low: float, high: float, about: int) -> list[float]:
    """Return round numbers that reach from below `low` to above `high`: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.10g}") for index in range(first, last + 1)]


def tick_labels(values: Sequence[float]) -> list[str]:
    """Return ticks as they are written, all with the same number of decimals; very small ones by their power."""
    if max(map(abs, values)) < 0.001:
        return [_with_power(value) for value in values]
    step = values[1] - values[0]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{value:,.{decimals}f}".replace("-", "−") for value in values]


def _with_power(value: float) -> str:
    digits, _, power = f"{value:.1e}".partition("e")
    return "0" if not value else f"{float(digits):g}e{int(power)}".replace("-", "−")


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return the lowest and the highest value; a little around it where they are the same."""
    low, high = min(values), max(values)
    if high > low:
        return low, high
    around = abs(low) / 2 or 0.5
    return low - around, high + around


def change_bound(rows: Sequence[Numbers]) -> float:
    """Return how far an axis of changes reaches to both sides of 0: a round share that no interval exceeds."""
    changes = [row["change"] for row in rows if row["change"] and row["change"]["difference"] is not None]
    reach = [abs(change[name]) for change in changes for name in ("difference", "low", "high") if change[name]]
    most = max(reach, default=0.0)
    return next((bound for bound in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5) if most <= bound), 1.0)
