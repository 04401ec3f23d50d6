"""A stage's own process: when it ends, and what its orchestrator says then."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import BaseModel

from stat_train import stage, store
from stat_train.config import Prompt
from stat_train.diagnosis.answering import AnswerJob
from stat_train.errors import StatTrainError, UserError
from stat_train.models.generator import Sampling
from stat_train.records import Question

REPOSITORY = Path(__file__).parents[1]


class Job(BaseModel):
    """A job that no stage can read, for stages that do not get that far."""


def _program(path: Path, text: str = "exec sleep 60") -> Path:
    """Write a shell program in the place of the stage's; this one does nothing for a minute."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_stage_is_ended_when_another_process_took_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noticed at the next look, long before the stage would end by itself."""
    monkeypatch.setattr(store, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(stage.sys, "executable", str(_program(tmp_path / "sleeper")))
    started = time.monotonic()

    def build(folder: Path) -> None:
        other = {"host": "another-host", "pid": os.getpid(), "job": None, "id": "0" * 32}
        folder.with_suffix(".lease").write_text(json.dumps(other))
        stage.launch("train", Job(), folder)

    with pytest.raises(StatTrainError, match="another process took over train-"):
        store.make(tmp_path, "train", 1, [], {}, build)
    assert time.monotonic() - started < 20


def _start_waiting(tmp_path: Path, environment: dict[str, str], stdin: int) -> tuple[subprocess.Popen[bytes], int]:
    """Start a stage that waits for its job; return it, and where its job is to be written."""
    job = tmp_path / "job.json"
    os.mkfifo(job)
    writer = os.open(job, os.O_RDWR)
    command = [sys.executable, "-m", "stat_train.stage", "nothing", str(job)]
    return subprocess.Popen(command, stdin=stdin, env=environment | {"PYTHONPATH": str(REPOSITORY)}), writer


def test_stage_without_an_orchestrator_is_not_ended_by_an_empty_stdin(tmp_path: Path) -> None:
    """As under sbatch and nohup; it goes on as far as its job, which names no stage: exit code 2."""
    process, writer = _start_waiting(tmp_path, dict(os.environ), subprocess.DEVNULL)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(5)
    os.write(writer, b"{}")
    os.close(writer)
    assert process.wait(30) == 2


def test_stage_ends_with_its_orchestrator(tmp_path: Path) -> None:
    process, writer = _start_waiting(tmp_path, stage._environment(), subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    assert process.stdin
    process.stdin.close()
    assert process.wait(30) == 1
    os.close(writer)


# -- several processes ------------------------------------------------------------------------------------------------


def _answer_job(folder: Path, questions: int) -> AnswerJob:
    store.write_records(folder / "asked.jsonl", [Question(id=str(i), question=f"{i} + 1?") for i in range(questions)])
    prompt = Prompt(system=None, template="{question}", chat_template_arguments={})
    return AnswerJob(
        folder=folder,
        questions=folder / "asked.jsonl",
        model="tiny",
        revision=None,
        prompt=prompt,
        attempts=1,
        sampling=Sampling(0, 1),
        batch_size=1,
        seed=0,
    )


# Says on what it runs, and makes the first chunk that is missing.
MAKES_A_CHUNK = """
echo "$CUDA_VISIBLE_DEVICES/$OMP_NUM_THREADS" > "{folder}/seen.$$"
mkdir -p "{folder}/answers.jsonl.chunks"
for i in 0 1 2 3; do (set -C; : > "{folder}/answers.jsonl.chunks/00000$i") 2> /dev/null && exit 0; done
"""


@pytest.mark.parametrize(
    ("questions", "processes", "gpus", "expected"),
    [
        # 2,000 questions are 4 chunks of 500. One process for each GPU, each with one; more share them evenly.
        (2000, 4, ["0", "1", "2", "3"], ["0", "1", "2", "3"]),
        (2000, None, ["2", "5", "6", "7"], ["2", "5", "6", "7"]),
        (2000, 4, ["GPU-aa", "GPU-bb"], ["GPU-aa", "GPU-aa", "GPU-bb", "GPU-bb"]),
        # Never more than there are chunks.
        (1500, 8, [str(i) for i in range(8)], ["0", "1", "2"]),
        (501, None, [str(i) for i in range(8)], ["0", "1"]),
        (500, 8, [str(i) for i in range(8)], ["as given"]),
        (0, 8, ["0"], []),
        # Without a GPU one, which sees what the user lets it; others only when asked for.
        (500, None, [], ["as given"]),
        (1500, 3, [], ["as given"] * 3),
    ],
)
def test_each_process_has_one_gpu_and_there_are_no_more_than_chunks(
    questions: int,
    processes: int | None,
    gpus: list[str],
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "as given,more")
    monkeypatch.setattr(stage, "visible_gpus", lambda: gpus)
    program = MAKES_A_CHUNK.format(folder=tmp_path)
    monkeypatch.setattr(stage.sys, "executable", str(_program(tmp_path / "program", program)))
    monkeypatch.setattr(stage.os, "sched_getaffinity", lambda pid: set(range(12)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    stage.answer(_answer_job(tmp_path, questions), processes)
    seen = sorted(path.read_text().strip().rpartition("/") for path in tmp_path.glob("seen.*"))
    # One alone takes the threads that it likes; several have an even part of the 12 cores each.
    threads = str(12 // len(expected)) if len(expected) > 1 else ""
    assert [(gpu, count) for gpu, _, count in seen] == [(gpu, threads) for gpu in expected]
    assert (tmp_path / "answers.jsonl").exists()


def test_the_users_number_of_threads_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert [each["OMP_NUM_THREADS"] for each in stage._environments(2, [])] == ["5", "5"]


def test_chunks_that_are_done_need_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was killed before it joined them only joins them."""
    monkeypatch.setattr(stage, "launch", lambda *arguments: pytest.fail("started"))
    job = _answer_job(tmp_path, 1000)
    (tmp_path / "answers.jsonl.chunks").mkdir()
    (tmp_path / "job.json").write_text("of the run that was killed")
    for index, text in enumerate("ab"):
        (tmp_path / "answers.jsonl.chunks" / f"00000{index}").write_text(text)
    stage.answer(job, 2)
    assert (tmp_path / "answers.jsonl").read_text() == "ab"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl", "asked.jsonl"]


def _fails(code: int, words: str, others: str = "exec sleep 60") -> str:
    return f'[ "$WHO" = 1 ] && {{ echo "{words}" >&2; exit {code}; }}\n{others}'


@pytest.mark.parametrize(("code", "error"), [(1, StatTrainError), (2, UserError)])
def test_one_that_fails_ends_the_others_and_its_words_are_shown_once(
    code: int,
    error: type[StatTrainError],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The second of three says why and ends; the others would run for a minute."""
    monkeypatch.setattr(stage, "SECONDS_TO_FAIL_ALIKE", 0.1)
    monkeypatch.setattr(stage.sys, "executable", str(_program(tmp_path / "program", _fails(code, "out of memory"))))
    started = time.monotonic()
    with pytest.raises(error, match="stage answer"):
        stage.launch("answer", Job(), tmp_path, [os.environ | {"WHO": str(who)} for who in range(3)])
    assert time.monotonic() - started < 20
    assert capfd.readouterr().err == "out of memory\n"


def test_a_mistake_that_all_meet_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The one that is shown says it a little later than another."""
    program = _fails(2, "no such model", others='sleep 0.3; echo "no such model" >&2; exit 2')
    monkeypatch.setattr(stage.sys, "executable", str(_program(tmp_path / "program", program)))
    with pytest.raises(UserError, match="stage answer was refused"):
        stage.launch("answer", Job(), tmp_path, [os.environ | {"WHO": str(who)} for who in range(3)])
    assert capfd.readouterr().err == "no such model\n"


def test_one_that_has_ended_well_does_not_end_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = f'[ "$WHO" = 1 ] && exit 0; sleep 0.5; touch "{tmp_path}/late.$WHO"'
    monkeypatch.setattr(stage.sys, "executable", str(_program(tmp_path / "program", program)))
    stage.launch("answer", Job(), tmp_path, [os.environ | {"WHO": str(who)} for who in range(3)])
    assert sorted(path.name for path in tmp_path.glob("late.*")) == ["late.0", "late.2"]
