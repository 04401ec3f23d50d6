"""The work of a stage by an array of tasks: each makes chunks until none is left; what a lost one left is given out.

A task begins chunks that no other of its array has begun, so a slow one keeps nobody waiting but for its last chunk.
When all tasks have ended and chunks are left, because a task was killed or its node failed, another array shares them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from uuid import uuid4

from pydantic import BaseModel

from stat_train.chunks import LAUNCH, Chunked
from stat_train.device_seconds import add_device_seconds
from stat_train.errors import BudgetReached, StatTrainError, UserError
from stat_train.progress import Progress
from stat_train.slurm.queue import exit_codes, in_queue, sbatch, scancel
from stat_train.store import require_lease, write_json

# Set in a batch job whose work in chunks is given to an array: `Shards` as JSON.
SHARDS = "STAT_TRAIN_SHARDS"
# Beside the chunks: which array makes them, so that a job that is started again waits for it.
ARRAY_FILE = "array.json"
# How long to wait between two looks at the queue: a little longer each time.
FIRST_SECONDS, MOST_SECONDS, LONGER = 0.5, 15.0, 1.5


class Shards(BaseModel):
    """How an array is started: the script of its tasks, how many there are, and how often what is left is given out.

    `jobs` is the file in which the jobs of a run are noted. `device` is what the seconds of the tasks are counted on,
    where they are; `options` are more of sbatch's.
    """

    script: Path
    tasks: int
    resubmits: int
    device: Literal["gpu", "cpu"] | None
    options: list[str] = []
    jobs: Path


class Array(BaseModel):
    """An array that was submitted: its id, and how many tasks it has."""

    job_id: str
    tasks: int


def shards_of_this_job() -> Shards | None:
    """Return how arrays are started from the batch job that this process is in; None where none are."""
    text = os.environ.get(SHARDS)
    return Shards.model_validate_json(text) if text else None


def make_by_array(shards: Shards, stage: str, job_file: Path, chunked: Chunked) -> None:
    """Let arrays make the chunks of a stage's job, until all are there.

    Raises StatTrainError naming what is left when there were as many arrays as may be, UserError when a task
    refused its work, as another would too, and BudgetReached when one may not spend more.
    """
    place = job_file.with_name(ARRAY_FILE)
    for _ in range(shards.resubmits + 1):
        array = _running(place) or _submit(shards, stage, job_file, chunked)
        _wait(array, shards, chunked)
        place.unlink()
        if not chunked.left():
            return
        codes = exit_codes(array.job_id)
        if BudgetReached.exit_code in codes:
            raise BudgetReached(f"stage {stage}: a task has spent its share; see {_logs(shards, array.job_id)}")
        if UserError.exit_code in codes:
            raise UserError(f"stage {stage} was refused; the reason is in {_logs(shards, array.job_id)}")
    raise StatTrainError(
        f"stage {stage}: {chunked.left()} of {len(chunked.paths())} chunks are not made after {shards.resubmits + 1} "
        f"arrays (slurm.resubmits = {shards.resubmits}); the last words of their tasks are in "
        f"{_logs(shards, array.job_id)}; the same command goes on from there"
    )


def _running(place: Path) -> Array | None:
    """Return the array that an earlier process of this job has submitted, if it may still be at work."""
    return Array.model_validate_json(place.read_text()) if place.is_file() else None


def _submit(shards: Shards, stage: str, job_file: Path, chunked: Chunked) -> Array:
    """Submit as many tasks as there are chunks left, up to the number of shards."""
    tasks = min(shards.tasks, chunked.left())
    launch = {LAUNCH: uuid4().hex}
    job_id = sbatch(shards.script, [f"--array=0-{tasks - 1}", *shards.options], [stage, str(job_file)], **launch)
    array = Array(job_id=job_id, tasks=tasks)
    write_json(job_file.with_name(ARRAY_FILE), array.model_dump())
    known = json.loads(shards.jobs.read_text())
    row = {"stage": stage, "job_id": job_id, "array": tasks, "log": str(_logs(shards, job_id))}
    write_json(shards.jobs, [*known, row])
    return array


def _logs(shards: Shards, job_id: str) -> Path:
    return shards.script.absolute().with_name(f"{shards.script.stem}-{job_id}_*.log")


def _wait(array: Array, shards: Shards, chunked: Chunked) -> None:
    """Return when all chunks are there, or no task is left to make them."""
    folder, total = chunked.file.parent, len(chunked.paths())
    at_work, looked = 0, time.monotonic()
    with Progress(f"Chunks, array {array.job_id}", total, total - chunked.left()) as progress:
        for states in _looks(array):
            if shards.device:
                add_device_seconds(folder, shards.device, at_work * (time.monotonic() - looked))
            at_work, looked = sum(state == "RUNNING" for state in states), time.monotonic()
            require_lease(folder)
            progress.advance(total - chunked.left() - progress.done, f"{at_work} of {array.tasks} tasks at work")
            if not chunked.left():
                # Those that wait for their turn would find nothing to do.
                scancel([array.job_id])
                return


def _looks(array: Array) -> Iterator[list[str]]:
    """Yield the states of an array's tasks, now and then, until none is in the queue any more."""
    seconds = FIRST_SECONDS
    while True:
        try:
            states = [state for id, state in in_queue().items() if id.partition("_")[0] == array.job_id]
        except StatTrainError:
            # The controller does not answer now and then, which says nothing about the tasks.
            states = ["UNKNOWN"]
        yield states
        if not states:
            return
        time.sleep(seconds)
        seconds = min(seconds * LONGER, MOST_SECONDS)
