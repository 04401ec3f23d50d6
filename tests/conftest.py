"""What tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from chat_server import ChatServer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have slow tests: started last, one of them would keep the other cores waiting."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of public data sets that STAT_TRAIN_DATA names; skips the test when there is none."""
    folder = os.environ.get("STAT_TRAIN_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"real data: set STAT_TRAIN_DATA to its folder (now {folder!r})")
    return Path(folder)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ChatServer]:
    """Start a served model that plays the teacher."""
    started = ChatServer(tmp_path / "server", {"words": "teacher", "latency_seconds": 0.001})
    yield started
    started.stop()
