"""The requests of one call of `generate` that are under way, and how it ends when some of them cannot be answered."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from concurrent.futures import Future

from stat_train.errors import BudgetReached, StatTrainError
from stat_train.models.generator import Completion


class Work:
    """The requests of one `generate` that are under way, those that are done, and why others are not."""

    def __init__(self) -> None:
        self.pending = set[Future[Completion]]()
        self.done = queue.SimpleQueue[Future[Completion]]()
        self.failures = list[BaseException]()

    def add(self, future: Future[Completion]) -> None:
        """Take in a request that is under way."""
        self.pending.add(future)
        future.add_done_callback(self.done.put)


class Stopped(StatTrainError):
    """A request was not sent because another one has ended the work."""


def ending(failures: Sequence[BaseException]) -> BaseException:
    """Return the error that ends the work; for a budget, with what is missing and how to go on."""
    first = next((error for error in failures if not isinstance(error, Stopped)), failures[0])
    if not isinstance(first, BudgetReached):
        return first
    missing = "1 request has" if len(failures) == 1 else f"{len(failures):,} requests have"
    return BudgetReached(
        f"{first}; {missing} no reply yet. What was paid for is kept: raise the cap, and the same command goes on"
    )
