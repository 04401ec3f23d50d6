"""What is known of a run: what it has behind it, what it is at, what is to come, and how it ended."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml
from pydantic import ValidationError

from stat_train.errors import UserError, did_you_mean
from stat_train.launch_settings import STAGES
from stat_train.run_folder import is_run
from stat_train.run_state import STATE_FILE, RunState
from stat_train.status.jobs import ENDED, FILE, Job, failed_job, how_ended, job_state, job_to_come, jobs_of, stuck
from stat_train.status.progress import Progress, progress_of
from stat_train.store import LEASE_EXPIRES_SECONDS, may_run, this_host

State = Literal["running", "waiting", "done", "failed", "stopped", "lost", "not begun"]
StageState = Literal["done", "done before", "running", "waiting", "failed", "stopped", "lost"]
LOST = "ended without a word (killed?); the same command goes on"
# Where a sweep keeps the settings of its jobs, and what became of each.
JOBS = "jobs"
# What a run was submitted with, where jobs carry it out.
SUBMITTED = "slurm/settings.yaml"
ENDS: dict[str, State] = {"failed": "failed", "stopped": "stopped", "budget spent": "stopped"}
WITHOUT_WEIGHTS = ("recorded", "endpoint", "served")


class Stage(NamedTuple):
    """A stage of the run: how often it was made or found, and in how many seconds in all."""

    name: str
    state: StageState
    seconds: float | None
    times: int


class RunStatus(NamedTuple):
    """What is known of a run; `about` says in words what the state alone does not, and `since` when its stage began.

    `round` is the current one of `rounds`, in a run of several. `paid` is what the manifest of an ended run tells.
    """

    folder: Path
    state: State
    about: str
    until: str
    stages: list[Stage]
    progress: Progress | None
    state_file: RunState | None
    jobs: list[Job]
    round: int | None
    rounds: int
    rounds_file: dict[str, Any] | None
    paid: dict[str, Any] | None


def read_status(run_dir: Path) -> RunStatus:
    """Read how far a run is; in several rounds, how far the one is that was begun last."""
    settings, jobs = _settings(run_dir), jobs_of(run_dir)
    count = _rounds(settings)
    # Those of an earlier run in this folder that had more of them are no part of this one.
    rounds = [each for each in run_dir.glob("round_*") if count > 1 and _number(each) <= count and is_begun(each)]
    folder = max(rounds, key=lambda each: (_began(each), _number(each)), default=run_dir)
    state = _state(folder)
    manifest = _json(run_dir / "manifest.json")
    how, about = _how_it_is(state, manifest is not None)
    if rounds and how == "done" and manifest is None:
        how, about = _between_rounds(state)
    if state is None and how == "not begun":
        how, about = _outcome(run_dir) or (how, about)
    if jobs and how != "running" and not _is_later(state, jobs, run_dir / SUBMITTED):
        whole = _yaml(run_dir / SUBMITTED) or settings
        how, about = _between_jobs(how, about, state, jobs, _end(settings) == _end(whole))
        settings = whole if how in ("waiting", "failed", "lost") or _is_of(state, jobs) else settings
    partial = Path(state.partial) if state and state.partial and how == "running" else None
    costs = (manifest or {}).get("costs") or {}
    return RunStatus(
        folder=run_dir,
        state=how,
        about=about,
        until=str(settings.get("until", STAGES[-1])),
        stages=_stages(settings, state, how),
        progress=progress_of(partial) if partial else None,
        state_file=state,
        jobs=jobs,
        round=_number(folder) if rounds else None,
        rounds=count,
        rounds_file=_json(run_dir / "rounds.json") if count > 1 else None,
        paid=costs.get("paid"),
    )


def runs_in(folder: Path) -> list[Path]:
    """Return the run that a folder is, or the runs of the sweep in it; raises UserError when it holds none."""
    if is_begun(folder) or any(map(is_begun, folder.glob("round_*"))):
        return [folder]
    begun = {path for path in folder.glob("*") if path.is_dir() and is_begun(path)}
    if begun and not ((folder / JOBS).is_dir() or (folder / FILE).is_file()):
        names = sorted(str(path) for path in begun)
        more = f", ... ({len(names)} in all)" if len(names) > 5 else ""
        raise UserError(f"{folder}: no run folder, but holds some; give one or more of {', '.join(names[:5])}{more}")
    if inside := begun | {folder / path.stem for path in (folder / JOBS).glob("*.yaml")}:
        return sorted(inside)
    if (folder / FILE).is_file():
        return [folder]
    siblings = [path.name for path in folder.absolute().parent.glob("*") if path.is_dir() and is_begun(path)]
    near = did_you_mean(folder.absolute().name, siblings)
    raise UserError(f"{folder}: no run folder, nor one of a sweep; give the run_dir of a run.{near}")


def is_begun(folder: Path) -> bool:
    """Tell whether a run was started in a folder, or its settings were put there for a job."""
    return is_run(folder / "config.yaml") or (folder / STATE_FILE).is_file()


def _began(round_dir: Path) -> str:
    state = _state(round_dir)
    return state.started if state else ""


def _between_rounds(state: RunState | None) -> tuple[State, str]:
    """Return how a run is of which a round is done and whose rounds have not come to their end."""
    if state and may_run(state.host, state.pid):
        return "running", "is between two rounds"
    return "lost", LOST


def _between_jobs(how: State, about: str, state: RunState | None, jobs: Sequence[Job], last: bool) -> tuple[State, str]:
    """Return how a run is that no process is at work on, where jobs carry it out; `last`: that was to go to the end."""
    if how == "failed" and _is_of(state, jobs):
        return how, about
    if job := failed_job(jobs):
        return "failed", f"failed at {how_ended(job)}; the same command goes on"
    if job := job_to_come(jobs, state.job if state else None):
        return "waiting", f"waits for job {job.job_id} ({job.stage}), which is {job.state}{stuck(job)}"
    if (state is None or not _is_of(state, jobs)) and (ended := [job for job in jobs if _is_over(job)]):
        return "stopped", f"ended before it was done: {how_ended(ended[0])}; the same command goes on"
    if how == "done" and not last and _is_of(state, jobs):
        if any(job.state is None for job in jobs):
            return "waiting", "is between two of its jobs, or they are gone: no Slurm here tells"
        return "lost", "has jobs that were to come and are gone; the same command goes on"
    return how, about


def _is_of(state: RunState | None, jobs: Sequence[Job]) -> bool:
    """Tell whether the process of a state is one of these jobs."""
    return state is not None and state.job in {job.job_id for job in jobs}


def _is_over(job: Job) -> bool:
    return bool(job.state and job.state.startswith(ENDED) and job.state != "COMPLETED" and not job.array)


def _is_later(state: RunState | None, jobs: Sequence[Job], submitted: Path) -> bool:
    """Tell whether a run was started without these jobs after they were submitted."""
    if state is None or _is_of(state, jobs) or not submitted.is_file():
        return False
    return datetime.fromisoformat(state.started).timestamp() > submitted.stat().st_mtime


def _rounds(settings: dict[str, Any]) -> int:
    return int((settings.get("rounds") or {}).get("count", 1))


def _end(settings: dict[str, Any]) -> tuple[int, Any]:
    """Return how far a run goes: a job of it has settings of its own, which go as far as that job does."""
    return _rounds(settings), settings.get("until")


def _outcome(run_dir: Path) -> tuple[State, str] | None:
    """Return what became of a job of a sweep that came to its end before its run began."""
    told = _json(run_dir.parent / JOBS / f"{run_dir.name}.json")
    if not isinstance(told, dict) or told.get("state") not in ENDS:
        return None
    return ENDS[told["state"]], str(told.get("error") or "")


def _number(folder: Path) -> int:
    found = re.fullmatch(r"round_(\d+)", folder.name)
    return int(found[1]) if found else 0


# -- its files --------------------------------------------------------------------------------------------------------


def _state(folder: Path) -> RunState | None:
    try:
        return RunState.model_validate_json((folder / STATE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def _settings(folder: Path) -> dict[str, Any]:
    """Return the settings as they were written down, whichever version did; for a run, or for its job in a sweep."""
    return _yaml(folder / "config.yaml") or _yaml(folder.parent / JOBS / f"{folder.name}.yaml") or {}


def _yaml(file: Path) -> dict[str, Any] | None:
    with suppress(OSError, yaml.YAMLError):
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    return None


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


# -- how it is --------------------------------------------------------------------------------------------------------


def _how_it_is(state: RunState | None, whole: bool) -> tuple[State, str]:
    """Return the state of a run, and what is to be said of it."""
    if state is None:
        return ("done", "") if whole else ("not begun", "no process has begun it yet")
    if state.status != "running":
        return state.status, state.error or ""
    return _of_running(state)


def _of_running(state: RunState) -> tuple[State, str]:
    """Return whether a run that has not said how it ended is at work: by its process, its job or its heartbeat."""
    holder, silent_seconds = _heartbeat(state)
    if not may_run(state.host, state.pid):
        return "lost", LOST
    if holder and holder != (state.host, state.pid):
        return "running", f"waits for process {holder[1]} on {_host(holder[0])}, which makes the same"
    if state.host == this_host():
        return "running", _silence(silent_seconds)
    if state.job and (queued := job_state(state.job)):
        return ("lost", LOST) if queued.startswith(ENDED) else ("running", "")
    if silent_seconds is not None and silent_seconds > LEASE_EXPIRES_SECONDS:
        return "lost", f"{LOST}. Its last sign of life on {_host(state.host)} was {in_words(silent_seconds)} ago"
    return "running", ""


def _heartbeat(state: RunState) -> tuple[tuple[str, int] | None, float | None]:
    """Return who holds the right to make the stage at hand, and for how long the holder was silent."""
    if not state.partial:
        return None, None
    lease = Path(state.partial).with_suffix(".lease")
    try:
        holder = json.loads(lease.read_text(encoding="utf-8"))
        return (holder["host"], holder["pid"]), max(0.0, time.time() - lease.stat().st_mtime)
    except (OSError, ValueError, KeyError):
        return None, None


def _silence(seconds: float | None) -> str:
    if seconds is None or seconds < LEASE_EXPIRES_SECONDS:
        return ""
    return f"its process is there, but was silent for {in_words(seconds)} (suspended?)"


def _host(name: str) -> str:
    """Return a host's name without the part that tells containers apart."""
    return name.partition(" ")[0]


def in_words(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


# -- its stages -------------------------------------------------------------------------------------------------------


def _stages(settings: dict[str, Any], state: RunState | None, how: State) -> list[Stage]:
    """Return the stages that are done, the one at hand, and unless the run is done those to come."""
    done = state.done if state else []
    stages = []
    for name in dict.fromkeys(row.stage for row in done):
        rows = [row for row in done if row.stage == name]
        fresh = [row.seconds for row in rows if not row.reused]
        stages.append(Stage(name, "done" if fresh else "done before", sum(fresh) if fresh else None, len(rows)))
    if state and state.stage and how in ("running", "failed", "stopped", "lost"):
        stages.append(Stage(state.stage, how, None, 1))
    if how != "done":
        named = {stage.name for stage in stages}
        stages += [Stage(name, "waiting", None, 0) for name in expected_stages(settings) if name not in named]
    return stages


def expected_stages(settings: dict[str, Any]) -> list[str]:
    """Return the stages that a run with these settings has, the smaller ones between them left out."""
    if not settings:
        return []
    chosen = {group: (settings.get(group) or {}).get("name") for group in ("student", "train", "rl")}
    weights = chosen["student"] not in WITHOUT_WEIGHTS
    needs = {
        "score": bool((settings.get("difficulty") or {}).get("prm")),
        "train": weights and chosen["train"] not in ("none", "external"),
        "rl": weights and chosen["rl"] != "none",
        "evaluate": weights,
    }
    until = settings.get("until")
    reached = STAGES[: STAGES.index(until) + 1] if until in STAGES else STAGES
    return [name for name in reached if needs.get(name, True)]
