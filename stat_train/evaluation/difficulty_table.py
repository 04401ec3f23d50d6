"""What a user reads in the terminal of the strategies for difficult questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stat_train.evaluation.tables import add_columns, add_row, fit_names, new_table, say

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]
MEASURES = ("accuracy, 95 %", "precision", "recall", "F1")


def print_difficulty(quality: Mapping[str, Any], console: Console) -> None:
    """Print how many questions each strategy calls difficult and how far that agrees with the gold answers.

    `quality` is the content of `difficulty_quality.json`.
    """
    rows: Sequence[Row] = quality["strategies"]
    scored = any(row["n"] for row in rows)
    say(
        console,
        "Difficult questions by each strategy" + (f"; agreement with {quality['truth']} in %" if scored else ""),
    )
    table = new_table()
    add_columns(table, "strategy", "difficult", *(MEASURES if scored else ()))
    for row in rows:
        name = f"{'*' if row['used'] else ' '} {row['strategy']}"
        add_row(table, name, f"{row['difficult']}/{row['judged']}", *(_measures(row) if scored else ()))
    console.print(fit_names(table, console.width))
    for note in _notes(rows, scored):
        say(console, note)


def _measures(row: Row) -> list[str]:
    # Gold agrees with itself, which tells nothing.
    if row["strategy"].startswith("gold/"):
        return [""] * len(MEASURES)
    low, high = (_percent(row[bound], 0) for bound in ("low", "high"))
    accuracy = f"{_percent(row['accuracy'])} [{low}, {high}]" if row["n"] else "–"
    return [accuracy, *(_percent(row[name]) for name in ("precision", "recall", "f1"))]


def _notes(rows: Sequence[Row], scored: bool) -> list[str]:
    if not scored:
        return ["* the strategy of this run", "No answer was scored by gold, so nothing tells how good each one is."]
    unscored = max(row["judged"] - row["n"] for row in rows)
    left_out = (
        f"{unscored} {'question' if unscored == 1 else 'questions'} without a scored answer: not in the agreement"
    )
    return ["* the strategy of this run", *([left_out] if unscored else [])]


def _percent(share: float | None, digits: int = 1) -> str:
    if share is None:
        return "–"
    return "100" if share == 1 else f"{100 * share:.{digits}f}"
