"""What a sweep's folder holds beside the folders of its runs.

jobs/NAME.yaml    the settings of a run, as run folders hold them; its first line is the command that runs it alone
jobs/NAME.json    what became of it: an `Outcome`
jobs/NAME.log     what it said
launcher/         what Hydra's launcher said and keeps: log.txt, and submitit's files
sweep.lease       held by the sweep that is at work
STOP              put there by whoever wants the sweep to stop; each run saves its state first
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from stat_train import __version__
from stat_train.compose import Settings, leaves, saved_settings
from stat_train.config import NOT_OF_A_RUN, local_path
from stat_train.errors import UserError
from stat_train.store import write_json, write_text

JOBS, LAUNCHER, STOP = "jobs", "launcher", "STOP"
State = Literal["running", "done", "failed", "stopped", "budget spent"]


class Outcome(NamedTuple):
    """What became of a job: `error` is the last line in which it said what went wrong."""

    state: State
    exit_code: int | None
    seconds: float
    error: str | None
    host: str


def settings_file(folder: Path, name: str) -> Path:
    """Return the file with the settings of a job."""
    return folder / JOBS / f"{name}.yaml"


def log_file(folder: Path, name: str) -> Path:
    """Return the file that a job's words go to."""
    return folder / JOBS / f"{name}.log"


def launcher_log(folder: Path) -> Path:
    """Return the file that the launcher's words go to."""
    return folder / LAUNCHER / "log.txt"


def write_job(folder: Path, name: str, settings: Settings, command: Sequence[str]) -> None:
    """Write down a job that is to be run, and forget what became of it before."""
    write_text(settings_file(folder, name), f"# {shlex.join(command)}\n{settings.yaml}")
    _outcome_file(folder, name).unlink(missing_ok=True)


def read_job(file: Path) -> tuple[Settings, list[str]]:
    """Return the settings of a job, and the command that runs it alone."""
    command, _, settings = file.read_text(encoding="utf-8").partition("\n")
    return saved_settings(settings), shlex.split(command.removeprefix("# "))


def write_outcome(folder: Path, name: str, outcome: Outcome) -> None:
    """Write down what became of a job so far."""
    write_json(_outcome_file(folder, name), outcome._asdict())


def read_outcome(folder: Path, name: str) -> Outcome | None:
    """Return what became of a job; None when it was not started."""
    file = _outcome_file(folder, name)
    return Outcome(**json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


def is_complete(settings: Settings) -> bool:
    """Tell whether a run was finished with these settings and this version, and its files are as they were then."""
    folder = Path(settings.config.run_dir).expanduser()
    manifest = folder / "manifest.json"
    try:
        version = json.loads(manifest.read_text(encoding="utf-8"))["stat_train"]
        shown = saved_settings((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, UserError):
        return False
    same = version == __version__ and _of_the_run(shown) == _of_the_run(settings)
    return same and all(link.exists() for link in folder.iterdir()) and not _changed_since(manifest, settings)


def _of_the_run(settings: Settings) -> dict[str, object]:
    # How it was started, what it might have cost and what was thought of that make no difference to a finished run.
    return settings.config.model_dump(exclude={"sweep", "slurm", "budget", "plan"})


def _changed_since(manifest: Path, settings: Settings) -> bool:
    """Tell whether a file that the settings name is newer than the results."""
    finished = manifest.stat().st_mtime
    own = settings.config.model_dump(exclude=set(NOT_OF_A_RUN))
    places = [local_path(value) for _, value in leaves(own) if isinstance(value, str) and "\n" not in value]
    return any(path.is_file() and path.stat().st_mtime > finished for place in places for path in _files(place))


def _files(place: Path) -> list[Path]:
    return [*place.iterdir()] if place.is_dir() else [place]


def _outcome_file(folder: Path, name: str) -> Path:
    return folder / JOBS / f"{name}.json"
