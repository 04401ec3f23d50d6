"""What one check found, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Literal, NamedTuple

from rich.console import Console

State = Literal["ok", "failed", "skipped"]
STYLES: dict[State, str] = {"ok": "green", "failed": "bold red", "skipped": "dim"}
NAME_WIDTH = 15
INDENT = " " * 9


class Check(NamedTuple):
    """One line: what was looked at, whether the run can rely on it, what was seen, and what to do about it."""

    name: str
    state: State
    seen: str
    remedy: str = ""


def show(checks: Iterable[Check], console: Console) -> bool:
    """Print each check as soon as it is made, then what they come to; tell whether none failed."""
    failed = 0
    for check in checks:
        failed += check.state == "failed"
        console.print(f"{check.state:<7}", style=STYLES[check.state], markup=False, highlight=False, end="  ")
        _print(f"{check.name:<{NAME_WIDTH}}  {one_line(check.seen)}", console)
        if check.remedy:
            _print(f"{INDENT}-> {one_line(check.remedy)}", console)
    summary = f"{failed} check{'s' * (failed > 1)} failed" if failed else "Everything that this run needs works"
    _print(f"\n{summary}", console)
    return not failed


def as_json(checks: Iterable[Check]) -> tuple[str, bool]:
    """Return all checks as one JSON text, and whether none failed."""
    made = list(checks)
    works = not any(check.state == "failed" for check in made)
    return json.dumps({"works": works, "checks": [check._asdict() for check in made]}, indent=2), works


def one_line(text: str) -> str:
    """Return a text on one line, without characters that a terminal would take for commands."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def _print(text: str, console: Console) -> None:
    """Print a line as it is: words of a model or a server are no markup, and addresses are not broken up."""
    console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)
