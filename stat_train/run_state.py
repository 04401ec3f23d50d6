"""What a run is doing, for whoever looks at its folder: `state.json`, written whole at each stage and at the end."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from stat_train.errors import STOPPED, BudgetReached, StatTrainError
from stat_train.store import this_host

STATE_FILE = "state.json"
Status = Literal["running", "done", "failed", "stopped"]
INTERRUPTED, TERMINATED = 130, 143
# Nothing went wrong: the run was asked to end, or may not spend more.
STOPS = (STOPPED, BudgetReached.exit_code, INTERRUPTED, TERMINATED)
MOST_CHARACTERS = 2000


class DoneStage(BaseModel):
    """A stage that the run has behind it; `reused`: it had been made before."""

    model_config = ConfigDict(frozen=True)

    stage: str
    artifact: str
    seconds: float
    reused: bool


class RunState(BaseModel):
    """Where a run is, which process of which host is at work on it, and how it ended.

    `stage` is the one that is being made since `since`, in the folder `partial`. Times are UTC in ISO form.
    """

    model_config = ConfigDict(frozen=True)

    status: Status
    until: str
    host: str
    pid: int
    job: str | None
    started: str
    stage: str | None = None
    partial: str | None = None
    since: str | None = None
    done: list[DoneStage] = []
    ended: str | None = None
    exit_code: int | None = None
    error: str | None = None


class Ending(NamedTuple):
    """How a run ended: the exit code of the command, and the reason where it is not done."""

    status: Status
    exit_code: int
    error: str | None


def begun(until: str) -> RunState:
    """Return the state of a run that starts in this process now."""
    job = os.environ.get("SLURM_JOB_ID")
    return RunState(status="running", until=until, host=this_host(), pid=os.getpid(), job=job, started=now())


def ending(error: BaseException | None) -> Ending:
    """Return how a run ended that was left by this exception, or by none."""
    if error is None:
        return Ending("done", 0, None)
    if isinstance(error, StatTrainError):
        return _unfinished(error.exit_code, str(error))
    if isinstance(error, KeyboardInterrupt):
        return _unfinished(INTERRUPTED, "interrupted")
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else 1
        return _unfinished(code, "ended by SIGTERM" if code == TERMINATED else f"ended with exit code {code}")
    return _unfinished(1, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")


def now() -> str:
    """Return the time, in UTC and whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _unfinished(exit_code: int, reason: str) -> Ending:
    return Ending("stopped" if exit_code in STOPS else "failed", exit_code, reason[:MOST_CHARACTERS])
