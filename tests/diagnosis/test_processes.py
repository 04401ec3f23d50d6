"""A student that answers in several processes: the same bytes, whatever their number and whichever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from stat_train import stage
from stat_train.config import Prompt
from stat_train.device_seconds import DEVICE_SECONDS_FILE
from stat_train.diagnosis.answering import AnswerJob
from stat_train.errors import StatTrainError
from stat_train.models.generator import Sampling
from stat_train.records import Question
from stat_train.store import lease, write_records

REPOSITORY = Path(__file__).parents[2]
CHUNKS = 6
# Answers a job that it reads from a file, as the orchestrator does.
ORCHESTRATOR = """
import sys
from pathlib import Path
from stat_train import stage
from stat_train.diagnosis.answering import AnswerJob
from stat_train.store import lease

job = AnswerJob.model_validate_json(Path(sys.argv[1]).read_text())
with lease(job.folder.with_suffix(".lease")):
    stage.answer(job, 2)
"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]


def answer_job(folder: Path) -> AnswerJob:
    """Return a job of 2,700 sampled answers, 6 chunks of 500, the last one short: time to be killed midway."""
    folder.mkdir()
    questions = folder.with_name("validation.jsonl")
    write_records(questions, [Question(id=f"q{i:03}", question=f"What is {i} + {i % 7}?") for i in range(270)])
    return AnswerJob(
        folder=folder,
        questions=questions,
        model="tiny",
        revision=None,
        prompt=Prompt(system=None, template="{question}", chat_template_arguments={}),
        attempts=10,
        sampling=Sampling(1, 12),
        batch_size=128,
        seed=3,
    )


def answer(job: AnswerJob, processes: int) -> bytes:
    with lease(job.folder.with_suffix(".lease")):
        stage.answer(job, processes)
    assert {path.name for path in job.folder.iterdir()} == {"answers.jsonl", DEVICE_SECONDS_FILE}
    return (job.folder / "answers.jsonl").read_bytes()


def chunk(job: AnswerJob, index: int) -> Path:
    return job.folder / "answers.jsonl.chunks" / f"{index:06d}"


def started_for(job: AnswerJob) -> Iterator[int]:
    """Yield the processes of a job that are alive."""
    for entry in Path("/proc").iterdir():
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
            alive = str(job.folder / "job.json").encode() in arguments
        except OSError:
            continue
        if alive:
            yield int(entry.name)


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the answers of one process."""
    written = answer(answer_job(tmp_path_factory.mktemp("one") / "answer.partial"), 1)
    assert written.count(b"\n") == 2700
    return written


@pytest.mark.parametrize("processes", [2, 3])
def test_several_processes_give_the_same_bytes(processes: int, by_one: bytes, tmp_path: Path) -> None:
    assert answer(answer_job(tmp_path / "answer.partial"), processes) == by_one


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_fails_the_stage_and_the_rest_is_done_by_another_number(
    victim: int, by_one: bytes, tmp_path: Path
) -> None:
    """Killed as soon as one chunk is there; it is kept, which shows in that its content was changed meanwhile."""
    job, failures = answer_job(tmp_path / "answer.partial"), []

    def fail() -> None:
        with pytest.raises(StatTrainError, match=r"stage answer was ended by SIGKILL"):
            answer(job, 2)
        failures.append(True)

    orchestrator = Thread(target=fail)
    orchestrator.start()
    wait_for(lambda: any(chunk(job, index).exists() for index in range(CHUNKS)))
    os.kill(sorted(started_for(job))[victim], signal.SIGKILL)
    orchestrator.join()
    assert failures and not list(started_for(job))
    kept = {index: chunk(job, index).read_bytes() for index in range(CHUNKS) if chunk(job, index).exists()}
    assert 0 < len(kept) < CHUNKS
    for index, text in kept.items():
        chunk(job, index).write_bytes(b"kept\n" + text)
    done = answer(job, 3)
    assert done.count(b"kept\n") == len(kept)
    assert done.replace(b"kept\n", b"") == by_one


def test_all_end_with_the_orchestrator_and_another_one_goes_on(by_one: bytes, tmp_path: Path) -> None:
    job = answer_job(tmp_path / "answer.partial")
    (tmp_path / "job").write_text(job.model_dump_json())
    command = [sys.executable, "-c", ORCHESTRATOR, str(tmp_path / "job")]
    orchestrator = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(REPOSITORY)})
    wait_for(lambda: any(chunk(job, index).exists() for index in range(CHUNKS)))
    assert len(list(started_for(job))) == 2
    orchestrator.kill()
    orchestrator.wait()
    wait_for(lambda: not list(started_for(job)), 5)
    assert not (job.folder / "answers.jsonl").exists()
    assert answer(job, 1) == by_one


def test_a_model_that_cannot_be_loaded_is_said_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    job = answer_job(tmp_path / "answer.partial").model_copy(update={"model": str(tmp_path)})
    with lease(tmp_path / "answer.lease"), pytest.raises(StatTrainError, match="stage answer was refused"):
        stage.answer(job, 3)
    assert capfd.readouterr().err.count("student.model") == 1
