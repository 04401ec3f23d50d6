"""What a user reads in the terminal of the teacher audit, below the profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stat_train.evaluation.report import percent
from stat_train.evaluation.tables import add_columns, add_row, fit_names, new_table, say

if TYPE_CHECKING:
    from rich.console import Console

SKILLS_SHOWN = 12


def print_audit(numbers: Mapping[str, Any], console: Console) -> None:
    """Print how far two diagnoses of the same answers agree, skill by skill, in 80 columns."""
    say(console, f"{numbers['compared']} of {numbers['sample']} diagnoses compared with a second one:")
    say(console, numbers["asked"])
    if not numbers["compared"]:
        return
    table = new_table()
    add_columns(table, "missing skill", "answers", "first", "second", "agreement", "alpha")
    for row in numbers["skills"][:SKILLS_SHOWN]:
        counts = (str(row[name]) for name in ("n", "named_first", "named_second"))
        add_row(table, row["skill"], *counts, percent(row["agreement"]), in_words(row["alpha"]))
    console.print(fit_names(table, console.width))
    for text in _summary(numbers):
        say(console, text)
    console.print()


def in_words(alpha: float | None) -> str:
    """Return an alpha with two digits, or a dash where it is not defined."""
    return "–" if alpha is None else f"{alpha:.2f}".replace("-", "−")


def _summary(numbers: Mapping[str, Any]) -> list[str]:
    skills, more = numbers["skills"], len(numbers["skills"]) - SKILLS_SHOWN
    lines = [f"and {more} skills more, in audit.json"] if more > 0 else []
    lines += [
        f"the same skills {percent(numbers['identical'])}, overlap of the skills (Jaccard) {numbers['jaccard']:.2f}",
        f"the same judgement {percent(numbers['judgement_agreement'])}, alpha over all {in_words(numbers['alpha'])}",
        "alpha: 1 is full agreement, 0 what chance gives",
    ]
    if None in (numbers["alpha"], *(row["alpha"] for row in skills)):
        lines[-1] += "; – not defined, both said the same throughout"
    return lines
