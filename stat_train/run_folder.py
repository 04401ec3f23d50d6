"""A run's folder: its results under plain names, its settings and its manifest; the only file that writes one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from stat_train import __version__
from stat_train.errors import UserError
from stat_train.run_state import STATE_FILE, RunState
from stat_train.store import TEMPORARY, Artifact, make_folder, write_json, write_records, write_text

# What a run writes of its results itself, beside links to them.
WRITTEN = ("manifest.json", "dropped.jsonl", "rounds.json", "rounds.html")
RUN_MARK = "# The settings of the stat-train run whose results this folder shows.\n"


@dataclass
class RunFolder:
    """One run's results under plain names: links to its artifacts, its settings and its manifest."""

    folder: Path
    made: list[Artifact] = field(default_factory=list)

    def open(self, settings_yaml: str) -> None:
        """Create the folder and write the run's settings; what earlier settings led to is no longer shown in it.

        Raises UserError when the folder cannot be made, or when it is no run's: its files could be overwritten.
        """
        present = self._make()
        for half_written in self.folder.glob(f".{STATE_FILE}.*"):
            half_written.unlink(missing_ok=True)
        for name, path in present.items():
            if path.is_symlink() or name in WRITTEN:
                path.unlink()
        write_text(self.folder / "config.yaml", RUN_MARK + settings_yaml)

    def claim(self, settings_yaml: str) -> None:
        """Create the folder as that of a run to come; of one that is there, what it shows stays.

        Raises UserError as `open` does.
        """
        self._make()
        if not is_run(self.folder / "config.yaml"):
            write_text(self.folder / "config.yaml", RUN_MARK + settings_yaml)

    def _make(self) -> dict[str, Path]:
        """Create the folder, if it is not there, and return what it holds."""
        make_folder(self.folder, "run_dir")
        present = {path.name: path for path in self.folder.iterdir() if not TEMPORARY.fullmatch(path.name)}
        if present and not is_run(self.folder / "config.yaml"):
            raise UserError(
                f"run_dir = {self.folder}: holds {min(present)} and is no run's folder; expected an empty folder, a "
                "run's, or a name that is free"
            )
        return present

    def add(self, artifact: Artifact, names: Iterable[str]) -> None:
        """Count an artifact in, link its files of these names, and gather what was left out so far."""
        self.made.append(artifact)
        for name in names:
            self.link(name, artifact.folder / name)
        dropped = [row for artifact in self.made for row in artifact.dropped()]
        write_records(self.folder / "dropped.jsonl", dropped)

    def close(self, command: Sequence[str], **about: Any) -> None:
        """Write the manifest: which artifacts the run consists of, and what else is to be known of it."""
        stages = [{"stage": a.stage, "artifact": a.name, "seconds": a.seconds, "counts": a.counts()} for a in self.made]
        manifest = {"stat_train": __version__, "command": list(command), **about, "stages": stages}
        write_json(self.folder / "manifest.json", manifest)

    def tell(self, state: RunState) -> None:
        """Write down what the run is doing."""
        # Another process that opens the folder takes half-written ones away; it tells of itself then.
        with suppress(FileNotFoundError):
            write_json(self.folder / STATE_FILE, state.model_dump())

    def show(self, other: Path | None) -> None:
        """Link what another run's folder shows, in place of all that is linked here."""
        shown = {path.name: path for path in other.iterdir() if path.is_symlink()} if other else {}
        for path in self.folder.iterdir():
            if path.is_symlink() and path.name not in shown:
                path.unlink()
        for name, path in shown.items():
            self.link(name, path)

    def link(self, name: str, target: Path) -> None:
        """Show a file or folder of an artifact under a plain name."""
        place = self.folder / name
        if place.exists() and not place.is_symlink():
            raise UserError(f"{place} is in the way: it is no link of a run; move it away or choose another run_dir")
        temporary = self.folder / f".{name}.{uuid4().hex}"
        temporary.symlink_to(os.path.relpath(target.resolve(), self.folder.resolve()))
        os.replace(temporary, place)


def is_run(settings: Path) -> bool:
    """Tell whether these are a run's settings, and not another program's that are called alike."""
    return settings.is_file() and settings.read_bytes().startswith(RUN_MARK.encode())
