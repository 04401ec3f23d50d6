"""What a generator has done so far, and how that is shown while it works."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from stat_train.models.budget import in_dollars
from stat_train.models.generator import Completion, Request
from stat_train.progress import Progress


@dataclass
class Tally:
    """Counts of calls: those paid for, those answered from the ledger, and faults after which one was sent again."""

    paid: int = 0
    cached: int = 0
    retries: int = 0
    unusable: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = 0.0
    concurrency: int = 0
    started_seconds: float = field(default_factory=time.monotonic)

    def add(self, completion: Completion, usd: float | None) -> None:
        """Count a completion and what it cost; None when the price is unknown."""
        self.unusable += completion.error is not None
        if completion.cached:
            self.cached += 1
            return
        self.paid += 1
        self.input_tokens += completion.input_tokens
        self.output_tokens += completion.output_tokens
        self.usd = None if self.usd is None or usd is None else self.usd + usd

    def words(self, done: int, total: int) -> str:
        """Return the counts in words, with the cost of all if every further item is a call like those so far."""
        seconds = max(time.monotonic() - self.started_seconds, 0.001)
        parts = [f"{self.paid / seconds:.1f} calls/s", f"{self.input_tokens:,} + {self.output_tokens:,} tokens"]
        if self.usd is None:
            parts.append("price unknown")
        elif self.usd:
            projected = self.usd + self.usd / max(self.paid, 1) * (total - done)
            parts.append(f"{in_dollars(self.usd)} of about {in_dollars(projected)}")
        parts += [f"{self.cached:,} cached", f"{self.retries:,} retries", f"{self.concurrency} at a time"]
        return "  ".join([*parts, f"{self.unusable:,} unusable"] if self.unusable else parts)


class Tallied(Protocol):
    """A generator that counts what it does."""

    tally: Tally

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield a completion for each request, in any order."""
        ...


def show(generator: Tallied, requests: Iterable[Request], what: str, total: int) -> Iterator[Completion]:
    """Yield the completions of the requests, and show live how far they are and what they cost."""
    generator.tally = Tally(concurrency=generator.tally.concurrency)
    with Progress(what, total) as progress:
        for completion in generator.generate(requests):
            yield completion
            progress.advance(note=generator.tally.words(progress.done + 1, total))
