"""How far a stage is: by the chunks and the steps that lie in its folder, at the rate of the launch at hand."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from stat_train.config import Prompt
from stat_train.diagnosis.answering import CHUNK_SIZE, AnswerJob, answers_file
from stat_train.models.generator import Sampling
from stat_train.records import Question
from stat_train.status.progress import Progress, progress_of
from stat_train.store import write_records


def touch(path: Path, seconds_ago: float, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (time.time() - seconds_ago,) * 2)


@pytest.fixture
def answering(tmp_path: Path) -> Path:
    """Return the folder of an answering of four chunks, launched 100 seconds ago."""
    questions = tmp_path / "questions.jsonl"
    write_records(questions, [Question(id=str(i), question="?") for i in range(2 * CHUNK_SIZE - 3)])
    job = AnswerJob(
        folder=tmp_path / "answer",
        questions=questions,
        model="m",
        revision=None,
        prompt=Prompt(system=None, template="{question}", chat_template_arguments={}),
        attempts=2,
        sampling=Sampling(0.0, 8),
        batch_size=4,
        seed=0,
    )
    assert len(answers_file(job).paths()) == 4
    touch(job.folder / "job.json", 100, job.model_dump_json())
    (job.folder / "answers.jsonl.chunks").mkdir()
    return job.folder


def test_chunks_are_counted_and_timed(answering: Path) -> None:
    """Two chunks in the 80 seconds from 100 ago to 20 ago, so 40 each: the two left take 80, less the 20 since."""
    assert progress_of(answering) == Progress(0, 4, "chunks", None)
    touch(answering / "answers.jsonl.chunks" / "000000", 60)
    touch(answering / "answers.jsonl.chunks" / "000001", 20)
    found = progress_of(answering)
    assert found and found[:3] == (2, 4, "chunks")
    assert found.seconds_left == pytest.approx(60, abs=2)


def test_chunks_of_an_earlier_launch_say_nothing_of_the_rate(answering: Path) -> None:
    """Three are there, one made by this launch, in 90 seconds: the last takes as long, less the 10 since."""
    for index, seconds_ago in enumerate((500, 400, 10)):
        touch(answering / "answers.jsonl.chunks" / f"{index:06d}", seconds_ago)
    found = progress_of(answering)
    assert found and found[:2] == (3, 4)
    assert found.seconds_left == pytest.approx(80, abs=2)


def training(folder: Path, steps: int, epochs: int, steps_per_epoch: int, seconds_ago: float) -> None:
    """Write what a training has written that was launched 200 seconds ago and did its last step so long ago."""
    touch(folder / "job.json", 200, json.dumps({"settings": {"epochs": epochs}}))
    rows = [json.dumps({"step": n, "epoch": n / steps_per_epoch, "loss": 1.0}) for n in range(1, steps + 1)]
    touch(folder / "metrics.jsonl", seconds_ago, "".join(f"{row}\n" for row in rows) + '{"step": ')


def test_steps_are_counted_and_timed(tmp_path: Path) -> None:
    """40 steps in 200 seconds of 3 epochs of 30: the 50 that are left take 250."""
    training(tmp_path, 40, 3, 30, 0)
    found = progress_of(tmp_path)
    assert found and found[:3] == (40, 90, "steps")
    assert found.seconds_left == pytest.approx(250, abs=3)


@pytest.mark.parametrize(
    ("step", "seconds_ago", "per_step"), [(0, 80, 80 / 40), (20, 100, 100 / 20), (30, 900, 200 / 40)]
)
def test_a_training_is_timed_from_where_its_process_began(
    step: int, seconds_ago: float, per_step: float, tmp_path: Path
) -> None:
    """Not from its launch, which is followed by the loading of the model; what an earlier process left says nothing."""
    training(tmp_path, 40, 3, 30, 0)
    touch(tmp_path / "trainer" / "begun.json", seconds_ago, json.dumps({"step": step}))
    found = progress_of(tmp_path)
    assert found and found.seconds_left == pytest.approx(50 * per_step, rel=0.05)


def test_nothing_left_takes_no_time(answering: Path) -> None:
    for index in range(4):
        touch(answering / "answers.jsonl.chunks" / f"{index:06d}", 20 + index)
    assert progress_of(answering) == Progress(4, 4, "chunks", None)


def test_a_stage_that_tells_nothing_has_no_progress(tmp_path: Path) -> None:
    assert progress_of(tmp_path / "gone.partial") is None
    touch(tmp_path / "job.json", 5, "{}")
    assert progress_of(tmp_path) is None
    touch(tmp_path / "metrics.jsonl", 5, "half a ro")
    assert progress_of(tmp_path) is None
    touch(tmp_path / "job.json", 5, json.dumps({"settings": {"epochs": 3}}))
    touch(tmp_path / "metrics.jsonl", 5, '{"step": 1, "epoch": 0.0, "loss": 1.0}\n')
    assert progress_of(tmp_path) is None
