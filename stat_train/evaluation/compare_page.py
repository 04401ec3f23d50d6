"""The comparison of runs as one page of HTML that needs no network and no JavaScript."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stat_train import __version__
from stat_train.errors import UserError
from stat_train.evaluation.compare import CHOSEN, Comparison, Row, made_by
from stat_train.evaluation.compare_table import (
    cost_notes,
    dollars,
    nats,
    per_million,
    q_words,
    seconds,
    seeds_words,
    tokens,
)
from stat_train.evaluation.pages import page_template
from stat_train.evaluation.report import percent, points, probability
from stat_train.evaluation.report_charts import nice_ticks
from stat_train.evaluation.statistics import PairedDifference
from stat_train.store import write_text

# Of the width of a chart, what is left free on each side: the labels of its ends are centred on them.
MARGIN = 5.0
TICKS = 5
# Where nothing changed, a scale reaches a point to both sides.
NO_CHANGE = (-0.01, 0.01)
# As many letters as a phone has room for beside the numbers.
SHORT_NAME = 24
ROW_HEIGHT = 46


class Scale(NamedTuple):
    """Where values lie across a chart, in percent of its width, and which of them are marked; all in shares."""

    low: float
    high: float
    ticks: list[float]

    def x(self, value: float) -> float:
        """Return the place of a value."""
        return round(MARGIN + (100 - 2 * MARGIN) * (value - self.low) / (self.high - self.low), 3)


def write_page(place: Path, found: Comparison, command: Sequence[str]) -> None:
    """Write the page; raises UserError when the file cannot be written."""
    try:
        write_text(place, compare_html(found, command))
    except OSError as error:
        raise UserError(
            f"--html {place}: cannot be written ({error.strerror}); give a file in a folder that is there"
        ) from error


def compare_html(found: Comparison, command: Sequence[str] = ()) -> str:
    """Return the comparison as a page; `command` is the one that made it."""
    filters = {"percent": percent, "points": points, "probability": probability, "nats": nats, "q": q_words}
    filters |= {"tokens": tokens, "dollars": dollars, "seconds": seconds, "per_million": per_million}
    page = page_template("compare.html.j2", filters | {"made_by": made_by, "seeds": seeds_words})
    benchmarks = dict.fromkeys(row.benchmark for row in found.rows)
    blocks = [_block([row for row in found.rows if row.benchmark == name]) for name in benchmarks]
    return page.render(
        title=" and ".join(found.names) if len(found.names) < 3 else f"{len(found.names)} trainings",
        blocks=blocks,
        settings=found.settings,
        names=found.names,
        chosen=CHOSEN,
        over_seeds=any(len(row.seeds) > 1 for row in found.rows),
        notes=[*cost_notes(blocks[0]["rows"]), *found.notes],
        command=shlex.join(command),
        version=__version__,
    )


def scale(values: Sequence[float | None]) -> Scale:
    """Return a scale that holds 0 and the values, with about as many round marks as TICKS."""
    known = [0.0, *(value for value in values if value is not None)]
    low, high = (min(known), max(known)) if any(known) else NO_CHANGE
    ticks = nice_ticks(low, high, TICKS)
    return Scale(ticks[0], ticks[-1], ticks)


def _block(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what the page shows of one benchmark."""
    best = max(rows, key=lambda row: row.trained.value if row.trained.value is not None else -1.0)
    judged = [row for row in rows if row.skills]
    of_skills = [bound for row in judged for each in row.skills or [] for bound in each.change[1:4]]
    return {
        "rows": rows,
        "best": best,
        "plot": _plot(rows),
        "judged": judged,
        "skill_scale": scale(of_skills),
        "has_log_probability": any(row.log_probability for row in rows),
    }


def _plot(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the forest plot of the gains: a mark and a line for each row, on one scale."""
    found = scale([bound for row in rows for bound in row.gain[1:4]])
    told = "; ".join(f"{_label(row, rows)} {_in_words(row.gain)}" for row in rows)
    return {
        "scale": found,
        # Marks closer than a point have a digit after the point.
        "digits": 0 if found.ticks[1] - found.ticks[0] > 0.0099 else 1,
        "height": ROW_HEIGHT * len(rows),
        "row_height": ROW_HEIGHT,
        "labels": [_shortened(_label(row, rows)) for row in rows],
        "alternative": f"Gain over the own base on {rows[0].benchmark}, in points with 95 % intervals: {told}.",
    }


def _label(row: Row, rows: Sequence[Row]) -> str:
    return row.name if sum(other.name == row.name for other in rows) == 1 else f"{row.name}, {row.arm}"


def _shortened(name: str) -> str:
    """Return a name of which both ends are kept: runs often differ in the last letters."""
    half = (SHORT_NAME - 1) // 2
    return name if len(name) <= SHORT_NAME else f"{name[:half]}…{name[-half:]}"


def _in_words(change: PairedDifference) -> str:
    if change.difference is None:
        return "unknown"
    bounds = f" ({points(change.low)} to {points(change.high)})" if change.low is not None else ""
    return f"{points(change.difference)}{bounds}"
