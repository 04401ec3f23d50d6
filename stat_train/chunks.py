"""A file of records that several processes make together, chunk by chunk.

Chunks are cut from the full list of items, and each is a file of its own, written whole or not at all. So whoever makes
which chunk, and whatever is interrupted, the file that is joined from them has the same bytes.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from stat_train.records import Record
from stat_train.store import write_records, write_text

T = TypeVar("T")
# The environment variable that is the same for all processes that were started together to share a stage's work.
LAUNCH = "STAT_TRAIN_LAUNCH"


class Chunked(NamedTuple):
    """A file that is made from `total` items in chunks of `size` items."""

    file: Path
    total: int
    size: int

    @property
    def folder(self) -> Path:
        """Return where the chunks are until they are joined."""
        return self.file.with_name(f"{self.file.name}.chunks")

    def paths(self) -> list[Path]:
        """Return the file of each chunk."""
        return [self.folder / f"{index:06d}" for index in range((self.total + self.size - 1) // self.size)]

    def left(self) -> int:
        """Return how many chunks are still to be made."""
        return 0 if self.file.exists() else sum(not path.exists() for path in self.paths())


def write_chunks(
    chunked: Chunked, items: Sequence[T], launch: str, work: Callable[[Sequence[T], int], Iterable[Record]]
) -> None:
    """Make chunks until none is left that no other process of the same `launch` has begun.

    `work(chunk, index)` gives a chunk's records. `launch` is a UUID as hex, another one each time that processes are
    started together: what earlier ones began and did not end is begun again.
    """
    chunked.folder.mkdir(exist_ok=True)
    for index, path in enumerate(chunked.paths()):
        if not path.exists() and _claim(path, launch):
            write_records(path, work(items[index * chunked.size : (index + 1) * chunked.size], index))


def _claim(path: Path, launch: str) -> bool:
    """Tell whether this process is the first of its launch to begin a chunk.

    The mark that it leaves is named like a half-written file, so it is cleared away like one. It says who begins.
    """
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    try:
        with path.with_name(f".{path.name}.{launch}").open("x", encoding="utf-8") as mark:
            mark.write(f"process {os.getpid()} on {socket.gethostname()}{f', task {task}' if task else ''}\n")
    except FileExistsError:
        return False
    return True


def join_chunks(chunked: Chunked) -> None:
    """Put the chunks together, which must all be there, and clear them away."""
    if not chunked.file.exists():
        write_text(chunked.file, "".join(path.read_text(encoding="utf-8") for path in chunked.paths()))
    shutil.rmtree(chunked.folder, ignore_errors=True)
