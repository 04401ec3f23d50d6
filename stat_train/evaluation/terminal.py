"""What a user reads in the terminal: the missing-skill profile, and the summary at the end of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stat_train.evaluation.report import percent, points, probability, verdict
from stat_train.records import SkillProfile

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# With the headline and the closing lines this keeps the summary within 25 lines.
SKILLS_SHOWN = 8
BAR_WIDTH = 20


def print_profile(profile: SkillProfile, console: Console) -> None:
    """Print the skills that the student misses, most often missing first, with how sure each rate is."""
    table = _table(f"{profile.difficult} of {profile.questions} questions were difficult for {profile.student}")
    table.add_column("missing skill", overflow="ellipsis", no_wrap=True)
    table.add_column("times", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("rate, 95 % interval", justify="right", no_wrap=True)
    ranked = sorted(profile.skills, key=lambda gap: (-gap.missing, gap.skill))
    most = max((gap.missing for gap in ranked), default=0)
    for gap in ranked:
        rate = f"{percent(gap.rate)} [{_bounds(gap.low, gap.high)}]"
        _add_row(table, gap.skill, str(gap.missing), _bar(gap.missing, most), rate)
    console.print(table)


def print_summary(numbers: Mapping[str, Any], run_dir: Path, console: Console) -> None:
    """Print a run's result in at most 25 lines: the gain, the skills that were missing most, where to read on."""
    _line(console, headline(numbers), "bold")
    shown = [row for row in numbers["skills"] if row["before"] or row["rate"] is not None][:SKILLS_SHOWN]
    if shown:
        console.print(_skill_table(shown))
    _line(console, f"left out: {_dropped(numbers['dropped'])}")
    if numbers["benchmarks"]:
        _line(console, f"unscored: {_unscored(numbers['benchmarks'])}")
    for name in ("report.html", "report.json"):
        console.print(str(run_dir / name), soft_wrap=True, markup=False, highlight=False)


def headline(numbers: Mapping[str, Any]) -> str:
    """Return the result of a run: the gain on one line, what it was measured from on the next."""
    best = numbers["headline"]
    if best is None:
        return f"{numbers['title']}: no gain to report, the run did not train and evaluate a model"
    change, before, after = best["change"], best["before"], best["after"]
    interval = f" [{points(change['low'])}, {points(change['high'])}]" if change["low"] is not None else ""
    return (
        f"{verdict(change)}: {points(change['difference'])} points{interval} on {best['benchmark']}\n"
        f"{percent(before['accuracy'])} -> {percent(after['accuracy'])} right on the same {change['n']} questions, "
        f"{probability(change['p'])}"
    )


def _skill_table(rows: list[Mapping[str, Any]]) -> Table:
    table = _table(None)
    table.add_column("most often missing", overflow="ellipsis", no_wrap=True)
    for name in ("times", "rows", "before", "after", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        accuracies = (percent(row[when] and row[when]["accuracy"]) for when in ("before", "after"))
        change = points(row["change"] and row["change"]["difference"])
        _add_row(table, row["skill"], str(row["missing"]), str(row["rows"]), *accuracies, change)
    return table


def _table(title: str | None) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    return Table(title=Text(title) if title else None, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)


def _add_row(table: Table, *cells: str) -> None:
    # A skill's name may hold square brackets, which rich would take for markup.
    from rich.text import Text

    table.add_row(*(Text(cell) for cell in cells))


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(text, style=style, markup=False, highlight=False)


def _bar(count: int, most: int) -> str:
    return "█" * round(BAR_WIDTH * count / most) if most else ""


def _bounds(low: float, high: float) -> str:
    return f"{100 * low:.0f}, {100 * high:.0f}"


def _dropped(dropped: Mapping[str, Mapping[str, int]]) -> str:
    stages = [f"{stage} {sum(reasons.values())}" for stage, reasons in dropped.items() if sum(reasons.values())]
    return ", ".join(stages) or "nothing"


def _unscored(benchmarks: list[Mapping[str, Any]]) -> str:
    counts = {
        row["benchmark"]: [row[when]["unscored"] for when in ("before", "after") if row[when]] for row in benchmarks
    }
    return ", ".join(f"{name} {' -> '.join(map(str, found))}" for name, found in counts.items() if any(found)) or "none"
