"""Processes that ask a teacher are killed at seeded moments and started again: nothing is lost or paid for twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asking
import pytest
from chat_server import ChatServer, reply_to
from killing import TIMEOUT_SECONDS, kill_at_moments, kill_when_served

REQUESTS, CONCURRENCY = 300, 16


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ChatServer]:
    started = ChatServer(tmp_path / "server", {"latency_seconds": 0.02})
    yield started
    started.stop()


def start(folder: Path, server: ChatServer, out: str, numbers: tuple[int, int] = (0, REQUESTS), **more: Any) -> Any:
    """Start a process that asks for the replies to some numbers and writes them to a file."""
    settings = {"max_concurrency": CONCURRENCY} | more.pop("settings", {})
    job = {"cache": str(folder), "url": server.url, "out": str(folder / out), "numbers": numbers, "settings": settings}
    with (folder / "log").open("ab") as log:
        command = [sys.executable, asking.__file__, json.dumps(job | more)]
        return subprocess.Popen(command, stdout=log, stderr=log)


def end(process: Any, folder: Path, code: int = 0) -> None:
    assert process.wait(TIMEOUT_SECONDS) == code, (folder / "log").read_text()[-2000:]


def expected(numbers: range) -> list[list[Any]]:
    return [[number, reply_to(f"question {number}")] for number in numbers]


def kill_again_and_again(folder: Path, server: ChatServer, kills: int) -> None:
    # Less than all replies less those in flight, so that each process has something left to do when it is killed.
    kill_at_moments(lambda: start(folder, server, "out.json"), server, kills, REQUESTS - 2 * CONCURRENCY)
    end(start(folder, server, "out.json"), folder)
    assert json.loads((folder / "out.json").read_text()) == expected(range(REQUESTS))
    served = server.served()
    assert len(served) == REQUESTS
    assert sum(served.values()) <= REQUESTS + kills * CONCURRENCY


@pytest.mark.slow
def test_five_kills(tmp_path: Path, server: ChatServer) -> None:
    kill_again_and_again(tmp_path, server, 5)


@pytest.mark.soak
def test_twenty_kills(tmp_path: Path, server: ChatServer) -> None:
    kill_again_and_again(tmp_path, server, 20)


@pytest.mark.slow
@pytest.mark.parametrize(
    "halves", [((0, REQUESTS // 2), (REQUESTS // 2, REQUESTS)), ((0, REQUESTS), (0, REQUESTS))], ids=["apart", "same"]
)
def test_two_processes_on_one_ledger_pay_once(
    halves: tuple[tuple[int, int], tuple[int, int]], tmp_path: Path, server: ChatServer
) -> None:
    processes = [start(tmp_path, server, f"out{n}.json", numbers) for n, numbers in enumerate(halves)]
    for process in processes:
        end(process, tmp_path)
    for n, numbers in enumerate(halves):
        assert json.loads((tmp_path / f"out{n}.json").read_text()) == expected(range(*numbers))
    assert set(server.served().values()) == {1}
    assert len(server.served()) == REQUESTS


@pytest.mark.slow
def test_one_of_two_processes_is_killed(tmp_path: Path, server: ChatServer) -> None:
    victim, other = (start(tmp_path, server, f"out{n}.json") for n in range(2))
    kill_when_served(victim, server, REQUESTS // 3)
    end(other, tmp_path)
    assert json.loads((tmp_path / "out1.json").read_text()) == expected(range(REQUESTS))
    assert sum(server.served().values()) <= REQUESTS + CONCURRENCY


# What a call costs: 2 tokens in and 5 out at 1,000 and 2,000 dollars a million; at worst 14 in (12 characters at 2 a
# token, and 8 for the message) and 100 out.
COST_USD, WORST_USD = 0.012, 0.214


@pytest.mark.slow
def test_a_cap_in_dollars_holds_over_a_kill(tmp_path: Path, server: ChatServer) -> None:
    given: dict[str, Any] = {"caps": {"max_usd": 6.0}, "settings": {"max_concurrency": 4}, "numbers": (0, 1000)}
    kill_when_served(start(tmp_path, server, "out.json", **given), server, 150)
    end(start(tmp_path, server, "out.json", **given), tmp_path, code=3)
    paid = sum(server.served().values())
    # Four in flight and five ahead were charged at their worst when the process was killed, and no call more fitted.
    assert 6.0 - (9 + 1) * WORST_USD <= paid * COST_USD <= 6.0
    assert "budget.max_usd = 6.0 is reached" in (tmp_path / "log").read_text()
    end(start(tmp_path, server, "out.json", **given | {"caps": {"max_usd": 20.0}}), tmp_path)
    assert sum(server.served().values()) <= 1000 + 4
