"""Append-only files of JSON rows, each written by one process and read by all.

A process that is killed leaves at most one torn line, the last of its own segment, which readers pass over.
"""

from __future__ import annotations

import json
import math
import os
import re
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from stat_train.store import HEARTBEAT_SECONDS, LEASE_EXPIRES_SECONDS, may_run, this_host

Row = dict[str, Any]


class SegmentWriter:
    """The segment of this process; its name says who writes it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        host = re.sub(r"[^\w.-]", "_", socket.gethostname())
        self.path = folder / f"{host}-{os.getpid()}-{uuid4().hex[:8]}.jsonl"
        self.file = self.path.open("xb")
        self.torn, self.shown_seconds = False, -math.inf
        self.append([{"kind": "open", "host": this_host(), "pid": os.getpid(), "time": time.time()}])

    def append(self, rows: Iterable[Row]) -> None:
        """Write rows; when it returns they are on the disk. Raises OSError when the disk does not take them."""
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        # After a write that failed half-way, the next row must not become part of the torn line.
        data, self.torn = b"\n" + data if self.torn else data, True
        self.file.write(data)
        self.file.flush()
        os.fsync(self.file.fileno())
        self.torn, self.shown_seconds = False, time.monotonic()

    def show_life(self) -> None:
        """Show now and then that the writer is alive, also while it has nothing to write."""
        if time.monotonic() - self.shown_seconds >= HEARTBEAT_SECONDS:
            os.utime(self.path)
            self.shown_seconds = time.monotonic()

    def close(self) -> None:
        """Say that nothing will follow."""
        self.append([{"kind": "closed"}])
        self.file.close()


class Segment:
    """A segment as its readers see it: the rows that are new since the last look, and whether its writer lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = self.touched = self.pid = 0
        self.seen_seconds = 0.0
        self.host, self.closed = "", False

    def new_rows(self) -> Iterator[Row]:
        """Yield the whole rows that were added since the last call."""
        # Opened each time, because that is when a network file system asks its server for what is new.
        with self.path.open("rb") as file:
            touched = os.fstat(file.fileno()).st_mtime_ns
            if touched != self.touched:
                self.touched, self.seen_seconds = touched, time.monotonic()
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.offset += len(line)
                if row := row_of(line):
                    self._note(row)
                    yield row

    def _note(self, row: Row) -> None:
        if row.get("kind") == "open":
            self.host, self.pid = row["host"], row["pid"]
        self.closed = self.closed or row.get("kind") == "closed"

    def is_alive(self) -> bool:
        """Tell whether its writer may still add rows: not closed, not gone, heard of within a minute of our clock."""
        heard = time.monotonic() - self.seen_seconds < LEASE_EXPIRES_SECONDS
        return heard and not self.closed and (not self.pid or may_run(self.host, self.pid))


def row_of(line: bytes) -> Row | None:
    """Return the row of a line; None for one that was torn, or that a failing disk has spoilt."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
