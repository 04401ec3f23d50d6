"""Progress of long work: a bar on a terminal, a plain line now and then without one."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import MofNCompleteColumn, TaskProgressColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10.0
LEAST_TOTAL = 2000


class Progress:
    """Shows how far a piece of work is; a context manager."""

    def __init__(self, what: str, total: int, done: int = 0) -> None:
        self.what, self.total, self.done = what, total, done
        self.console = Console()
        # What is known of every work comes first: a narrow terminal cuts off the note.
        columns = (
            "{task.description}",
            MofNCompleteColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            "{task.fields[note]}",
        )
        self.bars = Bars(*columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self.bar = self.bars.add_task(what, total=total, completed=done, note="")
        self.said_at = time.monotonic()

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bars.stop()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count work that was done; `note` is shown with it."""
        self.done += count
        self.bars.update(self.bar, completed=self.done, note=note)
        if not self.console.is_terminal and time.monotonic() - self.said_at > SECONDS_BETWEEN_LINES:
            self.said_at = time.monotonic()
            words = f"{self.what}: {self.done:,} of {self.total:,} {note}"
            self.console.print(words.rstrip(), highlight=False, markup=False, soft_wrap=True)


def track(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Yield the items and show how many have passed; work of a moment is not shown."""
    if total < LEAST_TOTAL:
        yield from items
        return
    with Progress(what, total) as progress:
        for item in items:
            yield item
            progress.advance()
