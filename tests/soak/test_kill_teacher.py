"""The labelling stage is killed at seeded moments and started again: the same labels, and no call paid for twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_server import ChatServer
from killing import TIMEOUT_SECONDS, kill_at_moments

POOL, VALIDATION, CONCURRENCY = 300, 20, 8


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ChatServer]:
    started = ChatServer(tmp_path / "server", {"words": "teacher", "latency_seconds": 0.05})
    yield started
    started.stop()


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Return a folder with questions without labels, and a list of skills."""
    for name, first, count in (("pool", 0, POOL), ("test", 1000, VALIDATION + 5)):
        rows = [
            {"id": f"{name}{n}", "question": f"What is {n} + 1?", "answer": str(n + 1)}
            for n in range(first, first + count)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "skills.json").write_text(json.dumps([f"skill_{n}" for n in range(12)]))
    recorded = [json.dumps({"id": f"test{n}", "responses": ["0"]}) for n in range(1000, 1000 + VALIDATION)]
    (tmp_path / "student.jsonl").write_text("\n".join(recorded))
    return tmp_path


def start(questions: Path, server: ChatServer, run: str) -> subprocess.Popen[bytes]:
    """Start a run that ends with the labels, with results and ledger of its own."""
    task = [
        "task=jsonl",
        "task.pool=pool.jsonl",
        "task.benchmark=test.jsonl",
        "task.skills=skills.json",
        "difficulty=gold",
    ]
    teacher = ["teacher=openai", "teacher.model=m", f"teacher.base_url={server.url}", "teacher.api_key_env=null"]
    rest = ["student=recorded", "student.path=student.jsonl", "until=label", f"run_dir={run}", f"cache_dir={run}-cache"]
    command = [sys.executable, "-m", "stat_train.cli", *task, *teacher, *rest, f"teacher.max_concurrency={CONCURRENCY}"]
    with (questions / "log").open("ab") as log:
        return subprocess.Popen(command, cwd=questions, stdout=log, stderr=log)


def finish(process: subprocess.Popen[bytes], questions: Path) -> None:
    assert process.wait(TIMEOUT_SECONDS) == 0, (questions / "log").read_text()[-2000:]


def kill_again_and_again(questions: Path, server: ChatServer, kills: int) -> None:
    most = POOL + VALIDATION - 2 * CONCURRENCY
    kill_at_moments(lambda: start(questions, server, "killed"), server, kills, most)
    finish(start(questions, server, "killed"), questions)
    served = server.served()
    assert len(served) == POOL + VALIDATION
    assert sum(served.values()) <= POOL + VALIDATION + kills * CONCURRENCY
    finish(start(questions, server, "whole"), questions)
    killed, whole = ((questions / run / "skill_map.jsonl").read_bytes() for run in ("killed", "whole"))
    assert killed == whole and whole.count(b"\n") == POOL + VALIDATION


@pytest.mark.slow
def test_five_kills(questions: Path, server: ChatServer) -> None:
    kill_again_and_again(questions, server, 5)


@pytest.mark.soak
def test_twenty_kills(questions: Path, server: ChatServer) -> None:
    kill_again_and_again(questions, server, 20)
