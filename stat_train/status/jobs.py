"""The Slurm jobs of a run, and what the cluster says of them where it can be asked."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

FILE = "slurm/jobs.json"
GONE = "gone"
SECONDS = 10.0
# What scontrol says of a job that the cluster no longer remembers.
UNKNOWN = "Invalid job id"
# The cluster has no more to do for a job in these.
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", GONE)


# A job in these has been put back, and comes again.
AGAIN = ("PENDING", "REQUEUE")


class Job(NamedTuple):
    """A job of a stage; `array` is how many tasks it has, if it is an array; `state` is None where nobody can tell."""

    stage: str
    job_id: str
    array: int | None
    log: str | None
    state: str | None


def jobs_of(run_dir: Path) -> list[Job]:
    """Return the jobs that were submitted for a run; none when it was not started by Slurm."""
    try:
        rows = json.loads((run_dir / FILE).read_text(encoding="utf-8"))
        return [
            Job(row["stage"], str(row["job_id"]), row.get("array"), row.get("log"), job_state(str(row["job_id"])))
            for row in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


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
