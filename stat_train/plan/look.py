"""A run that is only looked at: what was made before is found, and what was not is not made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from rich.console import Console

from stat_train import store
from stat_train.compose import Settings
from stat_train.config import RecordedStudent
from stat_train.models.ledger import Ledger
from stat_train.run import Build, Run, Summary
from stat_train.store import Artifact


class NotMade(Exception):
    """A stage has no result yet."""


class Look(Run):
    """Finds the results of stages; the run folder stays as it is.

    What costs nothing and takes a moment is made all the same: the questions, which are read as the run will read them,
    those of the pool that must not be trained on, and the answers of a recorded student. Unless `reads` is False, when
    nothing is. `apart` is a folder that takes the place of `cache_dir` for all but the calls that were paid for.
    """

    def __init__(self, settings: Settings, reads: bool = True, apart: Path | None = None) -> None:
        super().__init__(settings, [], Console(quiet=True))
        self.calls_in, self.cache_dir = self.cache_dir, apart or self.cache_dir
        quick = {"questions", "benchmark_questions", "decontaminate"}
        quick |= {"answer"} if isinstance(self.config.student, RecordedStudent) else set()
        self.quick = quick if reads else set[str]()

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger of calls, which is the run's own."""
        return self.opened.enter_context(Ledger(self.calls_in))

    def make(
        self, name: str, version: int, inputs: Sequence[Artifact], identity: Summary, build: Build, *links: str
    ) -> Artifact:
        """Return a stage's result; raises NotMade when it has none."""
        if name in self.quick:
            return store.make(self.cache_dir, name, version, inputs, identity, build)
        if found := store.find(self.cache_dir, name, version, inputs, identity):
            return found
        raise NotMade(name)

    def link(self, name: str, target: Path) -> None:
        """Show nothing in the run folder."""

    def made(self, stage: Callable[..., Artifact], *inputs: Artifact | None) -> Artifact | None:
        """Return the result of a stage if it has one, and if all that it is made from has."""
        if None in inputs:
            return None
        try:
            return stage(self, *inputs)
        except NotMade:
            return None
