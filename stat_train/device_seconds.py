"""How long a stage kept devices busy, over its processes and restarts: kept beside its results, never part of them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from stat_train.errors import StatTrainError
from stat_train.gpus import visible_gpus
from stat_train.store import require_lease, write_json

logger = logging.getLogger(__name__)
DEVICE_SECONDS_FILE = "device_seconds.json"


@contextmanager
def counted_on_devices(folder: Path, processes: int, nodes: int = 1) -> Iterator[None]:
    """Add the seconds that something takes, once for each GPU at work (without GPUs: each process), to a folder's file.

    There are so many `processes` on each of the `nodes`. However it ends: an interrupted training is paid for in parts.
    Not counted are a process that is killed outright, one that lost the lease of the folder, which is another's then,
    and the GPUs of a server that is asked.
    """
    gpus = len(visible_gpus())
    device, at_work = ("gpu", min(processes, gpus) * nodes) if gpus else ("cpu", processes * nodes)
    started = time.monotonic()
    try:
        yield
    finally:
        add_device_seconds(folder, device, at_work * (time.monotonic() - started))


def add_device_seconds(folder: Path, device: str, seconds: float) -> None:
    """Add seconds to a folder's file; raises nothing, which would take the place of what ended the stage."""
    try:
        require_lease(folder)
        known = device_seconds(folder) or {}
        known[device] = round(known.get(device, 0.0) + seconds, 2)
        write_json(folder / DEVICE_SECONDS_FILE, known)
    except StatTrainError:
        # Whoever makes the artifact is told so in any case.
        return
    except OSError as error:
        logger.warning("%.0f seconds on %s are not counted in %s: %s", seconds, device, folder, error)


def device_seconds(folder: Path) -> dict[str, float] | None:
    """Return the seconds on each kind of device, "gpu" or "cpu"; None when they were not counted."""
    place = folder / DEVICE_SECONDS_FILE
    return dict(json.loads(place.read_text(encoding="utf-8"))) if place.is_file() else None


def in_all(stages: Mapping[str, dict[str, float] | None]) -> dict[str, float] | None:
    """Return the seconds of all stages on each kind of device; None when one was not counted, or there is none.

    A sum that lacks some of them would pass for the whole.
    """
    counted = [seconds for seconds in stages.values() if seconds is not None]
    if not counted or len(counted) < len(stages):
        return None
    devices = sorted({device for seconds in counted for device in seconds})
    return {device: round(sum(seconds.get(device, 0.0) for seconds in counted), 2) for device in devices}
