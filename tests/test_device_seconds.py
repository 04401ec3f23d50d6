"""Seconds on devices: what they add up to, and that they survive an interruption."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stat_train import device_seconds
from stat_train.device_seconds import counted_on_devices, in_all
from stat_train.errors import StatTrainError
from stat_train.store import lease


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Give the folder of an artifact that this process may make."""
    made = tmp_path / "train-1.partial"
    made.mkdir()
    with lease(tmp_path / "train-1.lease"):
        yield made


@pytest.mark.parametrize(
    ("gpus", "processes", "nodes", "expected"),
    [
        (0, 3, 1, {"cpu": 30.0}),
        (2, 2, 1, {"gpu": 20.0}),
        # Three processes share two GPUs, and one of them keeps one busy.
        (2, 3, 1, {"gpu": 20.0}),
        (8, 1, 1, {"gpu": 10.0}),
        (4, 4, 2, {"gpu": 80.0}),
    ],
)
def test_ten_seconds_count_once_for_each_device_at_work(
    gpus: int, processes: int, nodes: int, expected: dict[str, float], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(monkeypatch, gpus, step=10.0)
    with counted_on_devices(folder, processes, nodes):
        pass
    assert device_seconds.device_seconds(folder) == expected


def test_an_interrupted_stage_counts_its_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, 0, step=10.0)
    with pytest.raises(KeyboardInterrupt), counted_on_devices(folder, 1):
        raise KeyboardInterrupt
    _set(monkeypatch, 2, step=5.0)
    for _ in range(2):
        with counted_on_devices(folder, 2):
            pass
    assert device_seconds.device_seconds(folder) == {"cpu": 10.0, "gpu": 20.0}


@pytest.mark.parametrize("made_by_another", [True, False])
def test_a_lost_lease_is_told_and_nothing_is_written(made_by_another: bool, tmp_path: Path, folder: Path) -> None:
    """The other is making the artifact in the same folder, or has finished it: the folder is gone."""
    right = tmp_path / "train-1.lease"
    with pytest.raises(StatTrainError, match=r"^the lease is lost$"), counted_on_devices(folder, 1):
        if made_by_another:
            right.write_text(json.dumps({"host": "another", "pid": 1, "job": None, "id": "0" * 32}))
        else:
            right.unlink()
            folder.rename(tmp_path / "train-1")
        raise StatTrainError("the lease is lost")
    assert list(tmp_path.rglob("*.json")) == []


def test_a_disk_that_fails_is_said_and_ends_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / device_seconds.DEVICE_SECONDS_FILE).mkdir()
    with pytest.raises(KeyboardInterrupt), counted_on_devices(folder, 1):
        raise KeyboardInterrupt
    assert "are not counted in" in caplog.text


def test_the_sum_of_all_stages_is_known_where_each_was_counted() -> None:
    counted = {"answer-1": {"cpu": 10.0}, "train-2": {"cpu": 5.0, "gpu": 30.5}}
    assert in_all(counted) == {"cpu": 15.0, "gpu": 30.5}
    assert in_all(counted | {"rl-3": None}) is None and in_all({}) is None


def test_what_was_not_counted_is_not_known(tmp_path: Path) -> None:
    assert device_seconds.device_seconds(tmp_path) is None


def _set(monkeypatch: pytest.MonkeyPatch, gpus: int, step: float) -> None:
    """Let there be so many GPUs, and a clock that goes on by `step` seconds whenever it is looked at."""
    monkeypatch.setattr(device_seconds, "visible_gpus", lambda: [str(index) for index in range(gpus)])
    clock = itertools.count(0.0, step)
    monkeypatch.setattr(device_seconds.time, "monotonic", lambda: next(clock))
