"""Pictures of a sweep's results, drawn by matplotlib from the raw results."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from stat_train.claims.curves import curve_settings, number
from stat_train.claims.measures import Training, gain, trainings
from stat_train.claims.results import read_results
from stat_train.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MISSING = "figures need matplotlib; pip install 'stat-train[figures]'"
TARGETED_COLOUR, OTHER_COLOUR = "#0b6e99", "#9aa5ad"
# Colours that stay apart for the colour-blind (Okabe and Ito).
LINE_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")


def can_draw() -> bool:
    """Tell whether the library that draws is installed."""
    return find_spec("matplotlib") is not None


def draw(folder: Path, places: Path) -> list[Path]:
    """Draw what the raw results in a folder show to files beside `places`; return those files.

    Where a setting takes several numbers, and is set in all trainings, the gain is drawn against it, one line a recipe;
    else there is a bar for each training.
    Raises UserError without matplotlib.
    """
    if not can_draw():
        raise UserError(MISSING)
    every = trainings(read_results(folder))
    return [_save(places, every, keys) for keys in curve_settings(every) or [[]]]


def _save(places: Path, every: Sequence[Training], keys: Sequence[str]) -> Path:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    # The same drawing from the same numbers, whoever makes it.
    pyplot.rcParams.update({"svg.hashsalt": "stat_train", "svg.fonttype": "none", "font.size": 9})
    height = 3.4 if keys else 1.0 + 0.28 * len(every)
    figure, axes = pyplot.subplots(figsize=(6.4, height), layout="constrained")
    if keys:
        _lines(axes, every, keys)
    else:
        _bars(axes, every)
    axes.spines[["top", "right"]].set_visible(False)
    name = "_".join([places.name, *(key.rpartition(".")[2] for key in keys[:1])])
    place = places.with_name(f"{name}.svg")
    figure.savefig(place, metadata={"Date": None})
    pyplot.close(figure)
    return place


def _bars(axes: Axes, every: Sequence[Training]) -> None:
    headline = every[0].first.headline
    ordered = sorted(every, key=lambda each: gain(each, headline).points)
    changes = [gain(each, headline) for each in ordered]
    colours = [TARGETED_COLOUR if each.is_targeted else OTHER_COLOUR for each in ordered]
    reach = [[c.points - (c.points if c.low is None else c.low) for c in changes]]
    reach += [[(c.points if c.high is None else c.high) - c.points for c in changes]]
    axes.barh([each.name for each in ordered], [c.points for c in changes], xerr=reach, color=colours, capsize=2)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel(f"points gained on {headline} (95 % intervals)")


def _lines(axes: Axes, every: Sequence[Training], keys: Sequence[str]) -> None:
    key, headline = keys[0], every[0].first.headline
    for colour, recipe in zip(
        itertools.cycle(LINE_COLOURS), dict.fromkeys(each.recipe for each in every), strict=False
    ):
        points = [(x, each) for each in every if each.recipe == recipe and (x := number(each, key)) is not None]
        _line(axes, sorted(points, key=lambda point: point[0]), headline, colour)
    if key.endswith("pairs"):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted({x for each in every if (x := number(each, key))}), minor=False)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xlabel(key + "".join(f", {other} with it" for other in keys[1:]))
    axes.set_ylabel(f"points gained on {headline}\n(thin: each seed)")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _line(axes: Axes, points: Sequence[tuple[float, Training]], headline: str, colour: str) -> None:
    """Draw a recipe's mean gains and, thin, each seed's: an interval over three seeds would hide how they differ."""
    changes = [(x, each, gain(each, headline)) for x, each in points]
    means = [change.points for *_, change in changes]
    axes.plot([x for x, *_ in changes], means, marker="o", markersize=4, color=colour, label=points[0][1].recipe)
    seeds: dict[int, list[tuple[float, float]]] = {}
    for x, each, change in changes:
        for seed, gained in zip(each.runs, change.per_seed, strict=True):
            seeds.setdefault(seed, []).append((x, gained))
    for one in seeds.values():
        axes.plot(*zip(*one, strict=True), color=colour, linewidth=0.6, alpha=0.5)
