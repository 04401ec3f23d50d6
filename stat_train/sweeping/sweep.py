"""Many runs with one command: all are checked, those that are not done are started, and all are compared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from stat_train.errors import StatTrainError
from stat_train.packages import require_packages_of
from stat_train.store import lease, make_folder
from stat_train.sweeping.expand import Plan, SweepJob, jobs_of
from stat_train.sweeping.files import (
    JOBS,
    STOP,
    is_complete,
    launcher_log,
    read_outcome,
    write_job,
)
from stat_train.sweeping.job import last_words
from stat_train.sweeping.launcher import SLURM, Launcher, launched, take_launcher
from stat_train.sweeping.results import keep_result, require_results_of, write_results
from stat_train.sweeping.table import (
    DONE_BEFORE,
    NOT_STARTED,
    JobRow,
    exit_code,
    job_row,
    print_comparison_of,
    print_listing,
    print_rows,
    say_caps,
    say_line,
)
from stat_train.sweeping.watch import Watch

ON_SLURM = "jobs that Slurm has go on"


def sweep(arguments: Sequence[str], console: Console) -> int:
    """Carry out the runs of `stat-train -m` that are not done yet, and say what came of all; return the exit code.

    One that is given again while it is at work waits for it. Raises ConfigError when a job's settings are wrong, before
    any is started, and whatever ends the sweep early, after the jobs on this machine have ended.
    """
    launcher, settings = take_launcher(arguments)
    plan = jobs_of(settings)
    require_results_of(plan)
    if launcher.name != SLURM:
        require_packages_of(*(job.settings.config for job in plan.jobs))
    make_folder(_place(plan) / JOBS, "sweep.folder")
    # Another sweep in this folder would take what this one's jobs write down for its own.
    with lease(_place(plan) / "sweep.lease"):
        waiting = [job for job in plan.jobs if not is_complete(job.settings)]
        _say_start(plan, waiting, launcher, console)
        if waiting:
            _launch(plan, waiting, launcher, console)
        rows = _rows(plan, waiting)
    print_rows(rows, console)
    print_comparison_of(plan, rows, console)
    write_results(plan, rows, console)
    return exit_code(rows)


def print_jobs(arguments: Sequence[str], console: Console) -> int:
    """List the runs of `stat-train -m`, and which are done; nothing is started or written."""
    plan = jobs_of(take_launcher(arguments)[1])
    print_listing(plan, [job.name for job in plan.jobs if is_complete(job.settings)], console)
    return 0


def print_settings(arguments: Sequence[str], console: Console) -> int:
    """Print the settings of each run of `stat-train -m`, one YAML document after the other."""
    for job in jobs_of(take_launcher(arguments)[1]).jobs:
        print(f"--- # {job.name}\n{job.settings.yaml}", end="")
    return 0


def _launch(plan: Plan, waiting: Sequence[SweepJob], launcher: Launcher, console: Console) -> None:
    folder = _place(plan)
    for job in waiting:
        command = ["stat-train", *plan.fixed, *job.overrides, f"run_dir={job.settings.config.run_dir}"]
        write_job(folder, job.name, job.settings, command)
    watch = Watch(folder, waiting, console, partial(keep_result, plan, console))
    with launched(launcher, folder, [job.name for job in waiting]) as process:
        try:
            watch.until_ended(process)
        except BaseException:
            if launcher.name == SLURM:
                say_line(console, f"{ON_SLURM}; scancel --name=stat-train-sweep ends them")
            else:
                watch.end(process)
            print_rows(_rows(plan, waiting), console)
            raise
    if process.returncode:
        _say_failure(plan, waiting, launcher, console)


def _say_failure(plan: Plan, waiting: Sequence[SweepJob], launcher: Launcher, console: Console) -> None:
    """Say why the launcher itself failed; raises StatTrainError when it started no job, so that all is said."""
    log = launcher_log(_place(plan))
    last = last_words(log)
    if all(row.status in (NOT_STARTED, DONE_BEFORE) for row in _rows(plan, waiting)):
        raise StatTrainError(f"hydra/launcher={launcher.name} started nothing: {last} (all it said: {log})")
    more = f"; {ON_SLURM}, and the same command then says what came of them" if launcher.name == SLURM else ""
    say_line(console, f"hydra/launcher={launcher.name} ended early: {last} (all it said: {log}){more}")


def _rows(plan: Plan, waiting: Sequence[SweepJob]) -> list[JobRow]:
    folder = _place(plan)
    return [job_row(job, read_outcome(folder, job.name), job not in waiting) for job in plan.jobs]


def _say_start(plan: Plan, waiting: Sequence[SweepJob], launcher: Launcher, console: Console) -> None:
    stop = _place(plan) / STOP
    if stop.exists():
        stop.unlink()
        say_line(console, f"removed {stop}, which had asked an earlier sweep to stop")
    done = len(plan.jobs) - len(waiting)
    before = f", {done} done before" if done else ""
    say_line(
        console,
        f"{len(plan.jobs)} jobs in {plan.folder}{before}, {len(waiting)} to run (hydra/launcher={launcher.name})",
    )
    say_caps(plan, len(waiting), console)


def _place(plan: Plan) -> Path:
    return plan.folder.expanduser()
