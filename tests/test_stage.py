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
from stat_train.errors import StatTrainError

REPOSITORY = Path(__file__).parents[1]


class Job(BaseModel):
    """A job that no stage can read, for stages that do not get that far."""


def _sleeper(path: Path) -> Path:
    """Write a program that does nothing for a minute, in the place of the stage's."""
    path.write_text("#!/bin/sh\nexec sleep 60\n")
    path.chmod(0o755)
    return path


def test_stage_is_ended_when_another_process_took_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noticed at the next look, long before the stage would end by itself."""
    monkeypatch.setattr(store, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(stage.sys, "executable", str(_sleeper(tmp_path / "sleeper")))
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
