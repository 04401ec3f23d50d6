"""What a user reads in the terminal of the teacher audit, below the profile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stat_train.evaluation.report import percent

if TYPE_CHECKING:
    from rich.console import Console

SKILLS_SHOWN = 12


def print_audit(numbers: Mapping[str, Any], console: Console) -> None:
    """Print how far two diagnoses of the same answers agree, skill by skill, in 80 columns."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    _line(console, f"{numbers['compared']} of {numbers['sample']} diagnoses compared with a second one:")
    _line(console, numbers["asked"])
    if not numbers["compared"]:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("missing skill", overflow="ellipsis", no_wrap=True)
    for name in ("first", "second", "agreement", "alpha"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in numbers["skills"][:SKILLS_SHOWN]:
        named = str(row["named_first"]), str(row["named_second"])
        cells = (row["skill"], *named, percent(row["agreement"]), in_words(row["alpha"]))
        table.add_row(*map(Text, cells))
    console.print(table)
    for text in _summary(numbers):
        _line(console, text)
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


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False)
