"""Which GPUs this process may use, found out without loading a model library."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from itertools import takewhile

SECONDS_TO_ANSWER = 60


def visible_gpus() -> list[str]:
    """Return each GPU as it would be named in CUDA_VISIBLE_DEVICES: its entries, or all that nvidia-smi lists."""
    count, given = _listed(), os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return [str(index) for index in range(count or 0)]
    # As CUDA does, the list is taken up to the first entry that names none: -1, a number too high, nothing.
    return list(takewhile(lambda entry: _may_exist(entry, count), (entry.strip() for entry in given.split(","))))


def _may_exist(entry: str, count: int | None) -> bool:
    """Tell whether an entry can name a GPU; a name like GPU-1b2c is taken as it is."""
    if entry.isdecimal():
        return count is None or int(entry) < count
    return entry[:1].isalpha() and count != 0


def _listed() -> int | None:
    """Return how many GPUs this machine has; None when nothing here can tell."""
    with suppress(OSError, subprocess.TimeoutExpired):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=SECONDS_TO_ANSWER)
        # Parts of a GPU (MIG) are listed below it, indented.
        return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return None
