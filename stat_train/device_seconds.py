"""How long a stage kept devices busy, over its processes and restarts: kept beside its results, never part of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stat_train.gpus import visible_gpus
from stat_train.store import write_json

DEVICE_SECONDS_FILE = "device_seconds.json"


@contextmanager
def counted_on_devices(folder: Path, processes: int, nodes: int = 1) -> Iterator[None]:
    """Add the seconds that something takes, once for each GPU at work (without GPUs: each process), to a folder's file.

    There are so many `processes` on each of the `nodes`. However it ends: an interrupted training is paid for in parts.
    Not counted are a process that is killed outright, and the GPUs of a server that is asked.
    """
    gpus = len(visible_gpus())
    device, at_work = ("gpu", min(processes, gpus) * nodes) if gpus else ("cpu", processes * nodes)
    started = time.monotonic()
    try:
        yield
    finally:
        known = device_seconds(folder) or {}
        known[device] = round(known.get(device, 0.0) + at_work * (time.monotonic() - started), 2)
        write_json(folder / DEVICE_SECONDS_FILE, known)


def device_seconds(folder: Path) -> dict[str, float] | None:
    """Return the seconds on each kind of device, "gpu" or "cpu"; None when they were not counted."""
    place = folder / DEVICE_SECONDS_FILE
    return dict(json.loads(place.read_text(encoding="utf-8"))) if place.is_file() else None
