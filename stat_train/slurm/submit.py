"""Give the jobs of a run or a sweep to the cluster: their scripts, who comes after whom, and what became of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from stat_train.errors import UserError
from stat_train.run import STOP
from stat_train.run_folder import RunFolder
from stat_train.slurm.graph import TABLE, Graph, Job, NamedRun
from stat_train.slurm.queue import alive, release, sbatch, scancel
from stat_train.slurm.render import job_script, shard_script, table_script
from stat_train.slurm.table import SweepTable, write_table
from stat_train.slurm.work import COMMAND_FILE, FOLDER, JOBS_FILE, SETTINGS_FILE, noted_jobs
from stat_train.store import make_folder, write_json, write_text

WORK, PRINT_TABLE = ["-m", "stat_train.slurm.work"], ["-m", "stat_train.slurm.table"]


class Submission(NamedTuple):
    """What is to be submitted: the jobs, the command that asked for them, and of a sweep its folder and its table."""

    graph: Graph
    command: Sequence[str]
    sweep_folder: Path | None = None
    table: SweepTable | None = None


def show(submission: Submission, console: Console) -> None:
    """Print the script of every job with its name and what it comes after; nothing is submitted or written."""
    for job in submission.graph.jobs:
        for name, script in _scripts(job, submission):
            after = f"after {', '.join(job.after)}" if job.after else "at once"
            console.rule(f"{job.name}: {after}" if name == job.label else f"{job.name}: its array", align="left")
            print(script)
    for job in submission.graph.jobs:
        if job.network:
            console.print(f"{job.name} needs the network: {', '.join(job.network)}", highlight=False, markup=False)


def submit(submission: Submission, console: Console) -> None:
    """Submit every job after those that it needs, and print them as a table.

    Raises UserError when jobs of these runs are still in the queue, or when the cluster refuses one: then none is left,
    nor a folder that was not there before. What a folder shows of an earlier run stays until the first job opens it.
    """
    _refuse_twice(submission)
    ids = _submit_all(submission)
    try:
        _note(submission, ids)
        release([ids[job.name] for job in submission.graph.jobs if not job.after])
    except BaseException:
        scancel(ids.values())
        raise
    console.print(_table(submission.graph.jobs, ids))
    console.print("logs")
    for job in submission.graph.jobs:
        # In one line each, however long: they are there to be copied.
        log = _folder(job, submission) / f"{job.label}-{ids[job.name]}.log"
        console.print(f"  {log}", markup=False, highlight=False, soft_wrap=True)


def _submit_all(submission: Submission) -> dict[str, str]:
    """Submit the jobs, none of which can start yet, and return their ids by name."""
    places = [folder.parent for folder in _folders(submission)]
    fresh = [place for place in places if not place.exists()]
    ids: dict[str, str] = {}
    try:
        for run in submission.graph.runs:
            RunFolder(run.folder).claim(run.settings.yaml)
        for job in submission.graph.jobs:
            ids[job.name] = _submit(job, submission, ids)
    except BaseException:
        scancel(ids.values())
        for place in fresh:
            shutil.rmtree(place, ignore_errors=True)
        raise
    return ids


def _refuse_twice(submission: Submission) -> None:
    known = [row for folder in _folders(submission) for row in noted_jobs(folder)]
    if running := alive(dict.fromkeys(row["job_id"] for row in known)):
        raise UserError(
            f"these runs have jobs in the queue: {', '.join(running)}; wait for them (squeue), or cancel them: "
            f"scancel {' '.join(running)}"
        )


def _folders(submission: Submission) -> Iterator[Path]:
    yield from (run.folder / FOLDER for run in submission.graph.runs)
    if submission.sweep_folder:
        yield submission.sweep_folder / FOLDER


def _prepare(run: NamedRun, command: Sequence[str]) -> None:
    """Write down the settings of a run where its jobs find them; what asked an earlier run to stop is taken away."""
    (run.folder / STOP).unlink(missing_ok=True)
    folder = run.folder / FOLDER
    write_text(folder / SETTINGS_FILE, run.settings.yaml)
    write_json(folder / COMMAND_FILE, list(command))


def _submit(job: Job, submission: Submission, ids: Mapping[str, str]) -> str:
    folder = _folder(job, submission)
    make_folder(folder, "sweep.folder")
    for name, script in _scripts(job, submission):
        write_text(folder / f"{name}.sbatch", script)
    condition = "afterany" if job.stage == TABLE else "afterok"
    after = f"--dependency={condition}:{':'.join(ids[name] for name in job.after)}"
    # A job that started before all are noted would note its array in a file that is then written over.
    options = [after, "--kill-on-invalid-dep=yes"] if job.after else ["--hold"]
    try:
        return sbatch(folder / f"{job.label}.sbatch", options)
    except UserError as error:
        before = f"; the {len(ids)} jobs submitted before were cancelled" if ids else ""
        raise UserError(f"job {job.name} ({job.resources.words()}): {error}{before}") from error


def _scripts(job: Job, submission: Submission) -> Iterator[tuple[str, str]]:
    """Yield the name and text of each script of a job: its own, and that of the array that does its work."""
    folder = _folder(job, submission)
    if job.run is None:
        yield job.label, table_script(job, folder, [*PRINT_TABLE, str(submission.sweep_folder)])
        return
    yield job.label, job_script(job, folder, [*WORK, str(job.run.folder), job.label, job.until, str(job.round)])
    if job.shard:
        yield f"{job.label}-shard", shard_script(job, folder)


def _folder(job: Job, submission: Submission) -> Path:
    place = job.run.folder if job.run else submission.sweep_folder
    assert place
    return place / FOLDER


def _note(submission: Submission, ids: Mapping[str, str]) -> None:
    """Write down the settings and jobs of each run: also jobs that another run has, which it shares."""
    by_name = {job.name: job for job in submission.graph.jobs}
    rows = {name: _row(job, ids[name], submission) for name, job in by_name.items()}
    for run in submission.graph.runs:
        _prepare(run, submission.command)
        write_json(run.folder / FOLDER / JOBS_FILE, [rows[name] for name in submission.graph.needed[run.name]])
    if submission.sweep_folder and submission.table:
        write_table(submission.sweep_folder, submission.table)
        write_json(submission.sweep_folder / FOLDER / JOBS_FILE, [rows[n] for n, job in by_name.items() if not job.run])


def _row(job: Job, job_id: str, submission: Submission) -> dict[str, Any]:
    log = _folder(job, submission).absolute() / f"{job.label}-{job_id}.log"
    return {"stage": job.stage, "job_id": job_id, "array": None, "log": str(log)}


def _table(jobs: Sequence[Job], ids: Mapping[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("job", "id", "after", "asks for"):
        table.add_column(heading, overflow="fold")
    for job in jobs:
        words = job.resources.words() + (f"; array of {job.shard.words()}" if job.shard else "")
        table.add_row(job.name, ids[job.name], " ".join(ids[name] for name in job.after) or "-", words)
    return table
