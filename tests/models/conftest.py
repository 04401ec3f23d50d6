"""A chat server for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from chat_server import ChatServer


@pytest.fixture
def chat_server(tmp_path: Path) -> Iterator[Callable[..., ChatServer]]:
    """Return a function that starts a server with a plan."""
    started: list[ChatServer] = []

    def start(**plan: Any) -> ChatServer:
        started.append(ChatServer(tmp_path / f"server{len(started)}", plan))
        return started[-1]

    yield start
    for server in started:
        server.stop()
