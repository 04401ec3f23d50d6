"""The Slurm jobs of a run, and what the cluster says of them where it can be asked."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stat_train.run_state import STOPS

FILE = "slurm/jobs.json"
GONE = "gone"
SECONDS = 10.0
# What scontrol says of a job that the cluster no longer remembers.
UNKNOWN = "Invalid job id"
# The cluster has no more to do for a job in these.
ENDED = (
    "COMPLETED",
    "FAILED",
    "CANCELLED",
    "TIMEOUT",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "BOOT_FAIL",
    "DEADLINE",
    GONE,
    "ended",
)
FAILED = ("FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")
# A job in these has been put back, and comes again.
AGAIN = ("PENDING", "REQUEUE")
# Why a job waits without end, and what it takes.
STUCK = {
    "TimeLimit": "it asks for more time than it may have there; cancel it and give a smaller slurm.time",
    "MaxWall": "it asks for more time than it may have there; cancel it and give a smaller slurm.time",
    "PartitionNodeLimit": "it asks for more nodes than the partition gives; cancel it and give other numbers",
    "BadConstraints": "no node is as it asks; cancel it and give another slurm.constraint, gpus_per_node or memory_gb",
    "DependencyNeverSatisfied": "a job before it failed; cancel it and give the same command again",
    "JobHeld": "it is held; scontrol release lets it start",
    "InvalidAccount": "the cluster does not know its account; cancel it and give another slurm.account",
    "InvalidQOS": "the cluster does not know its QOS; cancel it and give another slurm.qos",
}


class Job(NamedTuple):
    """A job of a stage; `array` is how many tasks it has, if it is an array; `state` is None where nobody can tell.

    `exit_code` is what its script ended with, where it came to its end.
    """

    stage: str
    job_id: str
    array: int | None
    log: str | None
    state: str | None
    exit_code: int | None = None


def jobs_of(run_dir: Path) -> list[Job]:
    """Return the jobs that were submitted for a run; none when it was not started by Slurm."""
    try:
        rows = json.loads((run_dir / FILE).read_text(encoding="utf-8"))
        return [_job(row) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _job(row: dict[str, Any]) -> Job:
    job_id, log = str(row["job_id"]), row.get("log")
    code = _exit_code(Path(log).with_suffix(".exit")) if log and not row.get("array") else None
    state = "COMPLETED" if code == 0 else job_state(job_id)
    if code and state in (None, GONE):
        state = "ended" if code in STOPS else "FAILED"
    return Job(row["stage"], job_id, row.get("array"), log, state, code)


def _exit_code(file: Path) -> int | None:
    text = file.read_text().strip() if file.is_file() else ""
    return int(text) if text.isdecimal() else None


def failed_job(jobs: Sequence[Job]) -> Job | None:
    """Return the first job that failed and does not come again; what tasks of an array left is given out again."""
    ended = (job for job in jobs if not job.array and job.exit_code not in STOPS)
    return next((job for job in ended if job.state and job.state.startswith(FAILED)), None)


def how_ended(job: Job) -> str:
    """Return in words how a job ended: the last line of its log, if it says something, and where it is."""
    code = f", exit code {job.exit_code}" if job.exit_code else ""
    log = Path(job.log) if job.log else None
    said = log.read_text(errors="replace").split("\n") if log and log.is_file() else []
    last = next((f": {line.strip()}" for line in reversed(said) if line.strip()), "")
    return f"job {job.job_id} ({job.stage}), {job.state}{code}{last} (log {job.log})"


def stuck(job: Job) -> str:
    """Return what it takes where a job waits for what does not come by itself; else nothing."""
    if not (job.state and "PENDING" in job.state):
        return ""
    return next((f"; {words}" for reason, words in STUCK.items() if reason in job.state), "")


def job_to_come(jobs: Sequence[Job], own: str | None) -> Job | None:
    """Return a job that the cluster has yet to do; the `own` one of a run that has ended is not, unless put back."""
    known = ((job, job.state) for job in jobs if job.state and not job.state.startswith(ENDED))
    return next((job for job, state in known if job.job_id != own or state.startswith(AGAIN)), None)


def job_state(job_id: str) -> str | None:
    """Return what the cluster says of a job, such as `RUNNING` or `PENDING (Resources)`; None where it is not there."""
    if shutil.which("squeue") is None:
        return None
    if (queued := _asked("squeue", "-h", "-r", "-j", job_id, "-o", "%T (%r)")) and queued.stdout:
        states = Counter(line.strip().removesuffix(" (None)") for line in queued.stdout.splitlines())
        (first, count), *others = states.most_common()
        if not others and count == 1:
            return first
        return ", ".join(f"{count} x {state}" for state, count in states.most_common())
    told = _asked("scontrol", "show", "job", job_id)
    if told and (shown := re.search(r"JobState=(\w+)", told.stdout)):
        return shown[1]
    # A cluster that does not answer at the moment has not forgotten the job.
    return GONE if told and UNKNOWN in told.stderr else None


def _asked(*command: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
