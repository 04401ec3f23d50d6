"""One run: its settings, its folder, and where it speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from stat_train.compose import Settings
from stat_train.config import Config, EndpointStudent, LocalStudent, Prompt, is_local, local_path
from stat_train.models.budget import Budget
from stat_train.models.ledger import Ledger
from stat_train.store import Artifact, RunFolder, dropped_counts, file_hash, make, make_folder

Build = Callable[[Path], None]
Summary = dict[str, Any]


@dataclass
class Run:
    """What every stage is given: the settings, the run folder, the way to make an artifact."""

    settings: Settings
    command: Sequence[str]
    console: Console

    def __post_init__(self) -> None:
        self.config: Config = self.settings.config
        self.cache_dir = Path(self.config.cache_dir).expanduser()
        make_folder(self.cache_dir, "cache_dir")
        self.folder = RunFolder(Path(self.config.run_dir).expanduser())

    def make(
        self, name: str, version: int, inputs: Sequence[Artifact], identity: Summary, build: Build, *links: str
    ) -> Artifact:
        """Make a stage's artifact, or find it made; link its files into the run folder and say so."""
        artifact = make(self.cache_dir, name, version, inputs, identity, build)
        self.folder.add(artifact, links)
        state = "done before" if artifact.reused else f"{artifact.seconds:.1f} s"
        left_out = ", ".join(f"{count:,} x {reason}" for reason, count in dropped_counts(artifact.dropped()).items())
        self.console.print(f"{name:<10} {state:>11}{'  left out: ' + left_out if left_out else ''}", highlight=False)
        return artifact

    def say(self, text: str) -> None:
        """Print a line under the stage's own."""
        self.console.print(f"{'':<22}  {text}", highlight=False, markup=False)

    def say_all(self, texts: Iterable[str]) -> None:
        """Print lines under the stage's own."""
        for text in texts:
            self.say(text)

    @contextmanager
    def calls(self) -> Iterator[tuple[Ledger, Budget]]:
        """Open the ledger of calls, and the budget of this run."""
        with Ledger(self.cache_dir) as ledger:
            yield ledger, Budget(self.config.budget, str(self.folder.folder.absolute()), ledger)

    def fingerprint(self, place: str) -> str:
        """Return what identifies a file, a folder or a hub name: the content of what is local, else the name."""
        local = local_path(place)
        if not (local.exists() or is_local(place)):
            return place
        # `FOLDER:CONFIG` is another set of questions than the folder alone.
        part = Path(place).name.removeprefix(local.name)
        return file_hash(local, self.cache_dir) + part

    @property
    def prompt(self) -> Prompt:
        """How the student is asked; a recorded one is taken to have been asked plainly."""
        if isinstance(self.config.student, LocalStudent | EndpointStudent):
            return self.config.student.prompt
        return Prompt(system=None, template="{question}", chat_template_arguments={})
