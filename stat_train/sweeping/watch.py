"""Look on while a launcher carries out the jobs of a sweep: a line for each start and end, and what ends it early."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from stat_train.evaluation.report import duration
from stat_train.sweeping.expand import SweepJob
from stat_train.sweeping.files import STOP, Outcome, log_file, read_outcome
from stat_train.sweeping.launcher import signal_all
from stat_train.sweeping.table import say_line

SECONDS_BETWEEN_LOOKS = 0.5
# On shared storage, what another machine wrote may be seen this much later.
SECONDS_TO_SEE_FILES = 30
# A training may take that long to finish its step and save its state.
SECONDS_TO_SAVE = 900


class Watch:
    """What is known of the jobs so far; each change is said once."""

    def __init__(
        self, folder: Path, jobs: Sequence[SweepJob], console: Console, when_done: Callable[[SweepJob], None]
    ) -> None:
        self.folder, self.jobs, self.console, self.when_done = folder, jobs, console, when_done
        self.seen: dict[str, Outcome] = {}

    def until_ended(self, launcher: subprocess.Popen[bytes]) -> None:
        """Return when the launcher has ended and all that its jobs wrote is seen."""
        while launcher.poll() is None:
            self.look()
            self._pass_on_stop()
            time.sleep(SECONDS_BETWEEN_LOOKS)
        deadline = time.monotonic() + (SECONDS_TO_SEE_FILES if launcher.returncode == 0 else 0)
        self.look()
        while self.running() and time.monotonic() < deadline:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            self.look()

    def end(self, launcher: subprocess.Popen[bytes]) -> None:
        """Ask the jobs on this machine to end, and wait until they have."""
        signal_all(launcher, signal.SIGTERM)
        deadline = time.monotonic() + SECONDS_TO_SAVE
        self.look()
        while self.running() and time.monotonic() < deadline:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            self.look()

    def look(self) -> None:
        """Read what became of the jobs, and say what is new."""
        for job in self.jobs:
            outcome = read_outcome(self.folder, job.name)
            if outcome and outcome != self.seen.get(job.name):
                self.seen[job.name] = outcome
                say_line(self.console, self._line(job.name, outcome))
                if outcome.state == "done":
                    self.when_done(job)

    def running(self) -> list[SweepJob]:
        """Return the jobs that were started and have not ended."""
        return [job for job in self.jobs if job.name in self.seen and self.seen[job.name].state == "running"]

    def _line(self, name: str, outcome: Outcome) -> str:
        if outcome.state == "running":
            return f"{name}  started; what it says: {log_file(self.folder, name)}"
        reason = f": {outcome.error}" if outcome.error else ""
        return f"{name}  {outcome.state} after {duration(outcome.seconds)}{reason}"

    def _pass_on_stop(self) -> None:
        """Ask each run to stop once the sweep was; again, because a run that starts takes that for an old request."""
        if not (self.folder / STOP).exists():
            return
        for job in self.running():
            run_dir = Path(job.settings.config.run_dir).expanduser()
            if run_dir.is_dir():
                (run_dir / STOP).touch()
