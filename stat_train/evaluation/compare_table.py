"""The comparison of runs as it is read on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from stat_train.evaluation.compare import Comparison, Row, made_by
from stat_train.evaluation.compare_costs import Costs
from stat_train.evaluation.report import percent, points, probability
from stat_train.evaluation.statistics import PairedDifference
from stat_train.evaluation.tables import ROWS_SHOWN, add_columns, add_row, fit_names, new_table, plain, say
from stat_train.intervals import Interval
from stat_train.models.budget import in_dollars

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

DASH = "–"
COLUMNS = ("before", "after", "gain", "against first")


def print_comparison(found: Comparison, console: Console, skills: bool = False) -> None:
    """Print a block an arm: scores in percent before and after, its gain, the difference to the first run; then costs.

    With `skills` a table of them for each run that has some. One for every benchmark; what they cost comes once.
    """
    for benchmark in dict.fromkeys(row.benchmark for row in found.rows):
        rows = [row for row in found.rows if row.benchmark == benchmark]
        console.print(_scores(rows))
        if any(row.log_probability for row in rows):
            console.print(_log_probabilities(rows))
        for row in rows if skills else []:
            if row.skills:
                _print_skills(row, console)
    headline = [row for row in found.rows if row.benchmark == found.rows[0].benchmark]
    console.print(_costs(headline))
    for note in [*cost_notes(headline), *found.notes, *_settings_note(found)]:
        say(console, plain(note), "dim")


def cost_notes(rows: Sequence[Row]) -> list[str]:
    """Return what the columns of costs count, as far as these runs have them."""
    costs = [row.costs for row in rows]
    notes = []
    if any(each.trained_tokens is not None for each in costs):
        notes.append("tokens trained: prompts and answers over all epochs, without padding; with rl also its rollouts")
    if any(each.teacher_usd for each in costs):
        notes.append("teacher: what each run paid itself; a reply that another run had paid for cost it nothing")
    if any(each.device_seconds is not None for each in costs):
        notes.append(f"device seconds: all stages that load weights, evaluation too, times {_devices(costs)}")
    if shared := sorted({round(each.shared_seconds) for each in costs if each.shared_seconds}):
        count = " to ".join(f"{seconds:,}" for seconds in dict.fromkeys((shared[0], shared[-1])))
        notes.append(f"{count} of them are of stages that runs share, counted in full in each")
    if any(None in (each.trained_tokens, each.teacher_usd, each.device_seconds) for each in costs):
        notes.append(f"{DASH} not written down by the run, or a price that is not known")
    return notes


def tokens(count: float | None) -> str:
    """Return a count of tokens for reading."""
    return DASH if count is None else f"{count:,.0f}"


def dollars(costs: Costs) -> str:
    """Return what replies cost for reading: a dash where that is not known, never 0."""
    if costs.teacher_usd is None:
        return DASH
    return ("at most " if costs.usd_at_most else "") + in_dollars(costs.teacher_usd)


def seconds(costs: Costs) -> str:
    """Return seconds on devices for reading, and which devices they were."""
    return (
        DASH if costs.device_seconds is None else f"{costs.device_seconds:,.0f} {(costs.device or '').upper()}".strip()
    )


def per_million(costs: Costs) -> str:
    """Return points gained per million training tokens for reading; a dash where nothing was trained."""
    gained = costs.points_per_million_tokens
    if gained is None:
        return DASH
    # A large training gains hundredths of a point for a million tokens.
    return points(gained / 100) if abs(gained) >= 1 or not gained else f"{gained:+.2g}".replace("-", "−")


def change_words(change: PairedDifference | None, show: Callable[[float | None], str] = points) -> list[str]:
    """Return a change, its bounds and its p value for reading, each on a line of its own; nothing for no change.

    Why a change is not tested is too long for a column: the notes below the table say it.
    """
    if change is None:
        return []
    if change.difference is None:
        return ["no question", "in common"]
    if change.p is None:
        return [show(change.difference), "not tested"]
    bounds = f"{show(change.low)} to {show(change.high)}" if change.low is not None else "interval unknown"
    return [show(change.difference), bounds, probability(change.p)]


def seeds_words(row: Row) -> str:
    """Return which seeds a row is the mean of; nothing for one run."""
    return f"{len(row.seeds)} seeds: {', '.join(map(str, row.seeds))}" if len(row.seeds) > 1 else ""


def nats(value: float | None) -> str:
    """Return a change of log-probability for reading."""
    return DASH if value is None else f"{value:+.3f}".replace("-", "−")


def q_words(q: float | None) -> str:
    """Return an adjusted p value for reading."""
    return DASH if q is None else "< 0.001" if q < 0.001 else f"{q:.3f}"


def _scores(rows: Sequence[Row]) -> Table:
    measure = "accuracy" if rows[0].measure == "accuracy" else rows[0].measure
    table = _blocks(f"{rows[0].benchmark}: {measure} in %, with 95 % intervals", ("n", *COLUMNS))
    table.caption = "gain and difference in points, on the same questions"
    for row in rows:
        cells = (_lines(row.base), _lines(row.trained), change_words(row.gain), change_words(row.to_first))
        _add_block(table, row, [str(row.n)], *cells)
    return table


def _log_probabilities(rows: Sequence[Row]) -> Table:
    title = f"{rows[0].benchmark}: log-probability of the reference answers, nats per token"
    table = _blocks(title, COLUMNS)
    for row in rows:
        if known := row.log_probability:
            changes = (change_words(known.gain, nats), change_words(known.to_first, nats))
            _add_block(table, row, [nats(known.base.value)], [nats(known.trained.value)], *changes)
    return table


def _costs(rows: Sequence[Row]) -> Table:
    """Return what each model cost; dollars and seconds are the whole run's, so they stand at its first model alone."""
    table = new_table(
        "What it cost" + (", each the mean of its seeds" if any(len(row.seeds) > 1 for row in rows) else "")
    )
    table.title_justify = "left"
    table.add_column("run", overflow="fold")
    for heading in ("tokens\ntrained", "points per\nmillion", "teacher\n", "device\nseconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    told = set[str]()
    for row in rows:
        of_run = ("", "") if row.name in told else (dollars(row.costs), seconds(row.costs))
        name = f"{row.name}, {row.arm}" if row.name in told else row.name
        add_row(table, name, tokens(row.costs.trained_tokens), per_million(row.costs), *of_run)
        told.add(row.name)
    return table


def _print_skills(row: Row, console: Console) -> None:
    against = row.against or "its own base"
    table = new_table(f"{row.benchmark}: skills of {row.name} against {against}, in points")
    add_columns(table, "skill", "n", "change", "95 %", "q", "verdict")
    table.columns[-1].justify = "left"
    for each in (row.skills or [])[:ROWS_SHOWN]:
        change = each.change
        bounds = DASH if change.low is None else f"{points(change.low)} to {points(change.high)}"
        add_row(table, each.skill, str(change.n), points(change.difference), bounds, q_words(each.q), each.verdict)
    console.print(fit_names(table, console.width))
    if (more := len(row.skills or []) - ROWS_SHOWN) > 0:
        say(console, f"… and {more} more skills: --json or --html")


def _settings_note(found: Comparison) -> list[str]:
    # A benchmark that one run has and another has not differs in all of its settings.
    parts = [setting.key.split(".") for setting in found.settings]
    names = dict.fromkeys(".".join(each[:2] if each[0] == "benchmark" else each) for each in parts)
    return [f"settings that differ: {', '.join(names)}"] if names else []


def _devices(costs: Sequence[Costs]) -> str:
    known = {each.device for each in costs if each.device}
    return {frozenset({"cpu"}): "processes on the CPU", frozenset({"gpu"}): "GPUs"}.get(
        frozenset(known), "GPUs, or processes on the CPU"
    )


def _blocks(title: str, columns: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, caption_justify="left")
    table.title, table.title_justify = Text(plain(title)), "left"
    table.add_column("run", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _add_block(table: Table, row: Row, *cells: Sequence[str]) -> None:
    from rich.text import Text

    run = [line for line in (row.name, made_by(row), seeds_words(row)) if line]
    table.add_row(*(Text("\n".join(map(plain, lines))) for lines in (run, *cells)), end_section=True)


def _lines(interval: Interval) -> list[str]:
    if interval.value is None:
        return [percent(None)]
    if interval.low is None or interval.high is None:
        return [f"{100 * interval.value:.1f}", "interval unknown"]
    return [f"{100 * interval.value:.1f}", f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"]
