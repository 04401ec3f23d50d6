"""Killing a process that asks a chat server, at moments counted in the replies that the server has sent."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from random import Random

from chat_server import ChatServer

TIMEOUT_SECONDS = 120


def kill_when_served(process: subprocess.Popen[bytes], server: ChatServer, count: int) -> None:
    """Kill a process once the server has sent that many replies in all."""
    limit = time.monotonic() + TIMEOUT_SECONDS
    while sum(server.served().values()) < count:
        assert process.poll() is None and time.monotonic() < limit
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def kill_at_moments(start: Callable[[], subprocess.Popen[bytes]], server: ChatServer, kills: int, most: int) -> None:
    """Start a process and kill it, again and again, at seeded numbers of replies below `most`."""
    done = 0
    for moment in sorted(Random(kills).sample(range(1, most), kills)):
        process = start()
        done = max(done + 1, moment)
        kill_when_served(process, server, done)
        done = sum(server.served().values())
