"""Seconds on devices: what they add up to, and that they survive an interruption."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from stat_train import device_seconds
from stat_train.device_seconds import counted_on_devices


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
    gpus: int, processes: int, nodes: int, expected: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set(monkeypatch, gpus, step=10.0)
    with counted_on_devices(tmp_path, processes, nodes):
        pass
    assert device_seconds.device_seconds(tmp_path) == expected


def test_an_interrupted_stage_counts_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, 0, step=10.0)
    with pytest.raises(KeyboardInterrupt), counted_on_devices(tmp_path, 1):
        raise KeyboardInterrupt
    _set(monkeypatch, 2, step=5.0)
    for _ in range(2):
        with counted_on_devices(tmp_path, 2):
            pass
    assert device_seconds.device_seconds(tmp_path) == {"cpu": 10.0, "gpu": 20.0}


def test_what_was_not_counted_is_not_known(tmp_path: Path) -> None:
    assert device_seconds.device_seconds(tmp_path) is None


def _set(monkeypatch: pytest.MonkeyPatch, gpus: int, step: float) -> None:
    """Let there be so many GPUs, and a clock that goes on by `step` seconds whenever it is looked at."""
    monkeypatch.setattr(device_seconds, "visible_gpus", lambda: [str(index) for index in range(gpus)])
    clock = itertools.count(0.0, step)
    monkeypatch.setattr(device_seconds.time, "monotonic", lambda: next(clock))
