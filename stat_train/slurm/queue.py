"""The cluster's queue: giving it jobs, looking at them, taking them away."""

from __future__ import annotations

import getpass
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from stat_train.errors import StatTrainError, UserError

# What a job knows of itself would pass for what another one asks for that is submitted from it.
OF_A_JOB = ("SLURM_", "SRUN_")
KEPT = ("SLURM_CONF", "SLURM_CLUSTERS")


def sbatch(script: Path, options: Sequence[str], arguments: Sequence[str] = (), **variables: str) -> str:
    """Submit a script with arguments and return the job's id; `variables` are set in the job's environment.

    Raises UserError with sbatch's own words when it refuses, or is not there.
    """
    command = ["sbatch", "--parsable", *options, str(script), *arguments]
    # A cluster's name may follow the id.
    return _output(command, _environment() | variables).strip().partition(";")[0]


def release(ids: Iterable[str]) -> None:
    """Let jobs start that were submitted with `--hold`; raises StatTrainError when the cluster does not."""
    if each := list(ids):
        _output(["scontrol", "release", ",".join(each)], os.environ)


def scancel(ids: Iterable[str]) -> None:
    """Take jobs out of the queue; those that have ended are left alone."""
    if each := list(ids):
        subprocess.run(["scancel", "--quiet", *each], capture_output=True)


def in_queue() -> dict[str, str]:
    """Return the user's jobs that wait or run, by id, with their states; of an array each task, `ID_TASK`.

    Raises StatTrainError when the cluster does not answer: then nothing is known of the jobs.
    """
    command = ["squeue", "--noheader", "--array", f"--user={getpass.getuser()}", "--format=%i %T"]
    lines = _output(command, os.environ).splitlines()
    return dict(line.split(maxsplit=1) for line in lines if line.strip())


def alive(ids: Iterable[str]) -> list[str]:
    """Return which of these jobs wait or run; of an array any task counts."""
    known = {id.partition("_")[0] for id in in_queue()}
    return [id for id in ids if id in known]


def exit_codes(job_id: str) -> set[int]:
    """Return the exit codes of a job, or of an array's tasks, that has ended; as long as the cluster knows it."""
    done = subprocess.run(["scontrol", "show", "job", "--oneliner", job_id], capture_output=True, text=True)
    return {int(code) for code in re.findall(r"\bExitCode=(\d+):", done.stdout)}


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in KEPT or not name.startswith(OF_A_JOB)}


def _output(command: Sequence[str], environment: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=dict(environment))
    except FileNotFoundError as error:
        raise UserError(
            f"{command[0]}: not found; expected Slurm's commands on the PATH of this machine, such as a login node's. "
            "Without a cluster, leave out `launch slurm`; with --dry-run the jobs are only shown"
        ) from error
    if done.returncode:
        words = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        kind = UserError if command[0] == "sbatch" else StatTrainError
        raise kind(f"{command[0]}: {words.removeprefix(f'{command[0]}: error: ')}")
    return done.stdout
