"""Read a file of metrics while another process writes it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

Row = dict[str, Any]


class Follower:
    """Gives the rows of a `metrics.jsonl` once each, though the file grows, moves, and is replaced by a longer one.

    A row is known by its step, so a training that goes on from an earlier state tells no step twice.
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self.rows: IO[bytes] | None = None

    def new_rows(self, file: Path) -> list[Row]:
        """Return the whole rows behind the last step that was given; none while there is no such file."""
        try:
            if self.rows is None or not os.path.samestat(os.fstat(self.rows.fileno()), file.stat()):
                self.close()
                self.rows = file.open("rb")
            text = self.rows.read()
        except OSError:
            # Not there yet, between two names, or on shared storage that fails now and then: the next look tells.
            self.close()
            return []
        whole, _, half = text.rpartition(b"\n")
        self.rows.seek(-len(half), os.SEEK_CUR)
        rows: list[Row] = [row for row in map(json.loads, whole.splitlines()) if row["step"] > self.step]
        self.step = max((row["step"] for row in rows), default=self.step)
        return rows

    def close(self) -> None:
        """Close the file; the next look opens it again."""
        if self.rows:
            self.rows.close()
        self.rows = None
