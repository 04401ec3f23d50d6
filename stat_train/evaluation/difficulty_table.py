"""What a user reads in the terminal of the strategies for difficult questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]


def print_difficulty(quality: Mapping[str, Any], console: Console) -> None:
    """Print how many questions each strategy calls difficult and how far that agrees with the gold answers.

    `quality` is the content of `difficulty_quality.json`.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows: Sequence[Row] = quality["strategies"]
    title = Text("Difficult questions by each strategy, and how that agrees with gold, in %")
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    table.add_column("strategy", no_wrap=True)
    for name in ("difficult", "accuracy, 95 %", "precision", "recall", "F1"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        mark = "* " if row["used"] else "  "
        table.add_row(f"{mark}{row['strategy']}", f"{row['difficult']} of {row['judged']}", *_measures(row))
    console.print(table)
    for note in _notes(rows):
        console.print(note, markup=False, highlight=False)


def _measures(row: Row) -> list[str]:
    # Gold agrees with itself, which tells nothing.
    if row["strategy"].startswith("gold/"):
        return ["", "", "", ""]
    low, high = (_percent(row[bound], 0) for bound in ("low", "high"))
    accuracy = f"{_percent(row['accuracy'])} [{low}, {high}]" if row["n"] else "–"
    return [accuracy, *(_percent(row[name]) for name in ("precision", "recall", "f1"))]


def _notes(rows: Sequence[Row]) -> list[str]:
    if not any(row["n"] for row in rows):
        return ["* the strategy of this run; no answer could be compared with a gold answer"]
    notes = ["* the strategy of this run"]
    if unscored := max(row["judged"] - row["n"] for row in rows):
        notes.append(f"{unscored} questions have no answer that was scored against gold; they count as difficult only")
    return notes


def _percent(share: float | None, digits: int = 1) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f}"
