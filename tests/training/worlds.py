"""A tiny training, and the means to run it in a world of processes as the pipeline does."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from stat_train import stage
from stat_train.compose import config_dir, read_settings
from stat_train.records import Origin, TrainingExample
from stat_train.store import lease, write_records
from stat_train.tasks.prompts import messages
from stat_train.train_settings import SftTraining, Strategy
from stat_train.training.job import TrainJob
from stat_train.training.world import World

ROWS = 24


def strategy(name: str) -> Strategy:
    """Return a strategy as its file has it."""
    return Strategy.model_validate(yaml.safe_load((config_dir() / "deepspeed" / f"{name}.yaml").read_text()))


def sft_settings(**changed: Any) -> SftTraining:
    """Return the settings of fine-tuning: three steps of eight rows, but for what is changed."""
    settings = read_settings([]).config.train
    assert isinstance(settings, SftTraining)
    few = {"epochs": 1, "effective_batch_size": 8, "device_batch_size": 8, "checkpoints": 1}
    return settings.model_copy(update=few | changed)


def make_job(folder: Path, settings: SftTraining, name: str = "none", rows: int = ROWS) -> TrainJob:
    """Write rows whose answers differ in length, and return the job that trains the shipped student on them."""
    folder.mkdir(parents=True)
    prompt = read_settings([]).config.student.prompt  # type: ignore[union-attr]
    examples = []
    for index in range(rows):
        question, answer = f"What is {index} + {index}?", " ".join(["2 + 3 = 5."] * (1 + index % 5))
        asked, origin = messages(prompt, question, answer), Origin(seed_ids=[])
        examples.append(
            TrainingExample(
                id=str(index), messages=asked, question=question, answer=answer, skills=[], recipe="pool", origin=origin
            )
        )
    write_records(folder / "training_set.jsonl", examples)
    return TrainJob(
        folder=folder / "train",
        training_set=folder / "training_set.jsonl",
        model="tiny",
        revision=None,
        prompt=prompt,
        settings=settings,
        strategy=strategy(name),
        seed=0,
        stop_file=folder / "STOP",
    )


def run(job: TrainJob, processes: int, output: Path | None = None) -> list[float]:
    """Train in this many processes, as the pipeline does; return the loss of each step."""
    job.folder.mkdir(exist_ok=True)
    # More threads than cores wait for each other most of the time.
    with lease(job.folder.with_suffix(".lease")), (output or Path(os.devnull)).open("w+b") as words, one_thread_each():
        stage.train("train", job, job.folder, World(1, processes), job.strategy, words)
    return losses(job)


def run_here(job: TrainJob) -> list[float]:
    """Train in this very process, which has the libraries loaded; return the loss of each step."""
    from stat_train.training import sft

    job.folder.mkdir(exist_ok=True)
    sft.train(job)
    return losses(job)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Start processes of one thread each meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


def losses(job: TrainJob) -> list[float]:
    """Return the loss of each step of a finished training."""
    return [json.loads(line)["loss"] for line in (job.folder / "metrics.jsonl").read_text().splitlines()]


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Fail when what is inside takes longer."""
    started = time.monotonic()
    yield
    taken = time.monotonic() - started
    assert taken < seconds, f"took {taken:.0f} s"


def pid_of_rank(rank: int, job: TrainJob) -> int | None:
    """Return the process of one rank of a running training."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (process / "cmdline").read_text(), (process / "environ").read_text()
        except OSError:
            continue
        if str(job.folder) in command and "stat_train.stage" in command and f"\0RANK={rank}\0" in f"\0{environment}":
            return int(process.name)
    return None
