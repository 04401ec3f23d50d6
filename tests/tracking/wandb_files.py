"""Read the file that W&B leaves of an offline run; its layout is that of LevelDB's log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from struct import unpack_from
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK_BYTES, HEADER_BYTES, FULL, LAST = 32_768, 7, 1, 4


def records(file: Path) -> Iterator[Record]:
    """Yield what was recorded, in order."""
    data, at, parts = file.read_bytes(), HEADER_BYTES, b""
    assert data[:4] == b":W&B"
    while at + HEADER_BYTES <= len(data):
        if BLOCK_BYTES - at % BLOCK_BYTES < HEADER_BYTES:
            at += BLOCK_BYTES - at % BLOCK_BYTES
            continue
        _, length, kind = unpack_from("<IHB", data, at)
        parts += data[at + HEADER_BYTES : at + HEADER_BYTES + length]
        at += HEADER_BYTES + length
        if kind in (FULL, LAST):
            yield Record.FromString(parts)
            parts = b""


class WandbFile:
    """What one start of a run told W&B."""

    def __init__(self, file: Path) -> None:
        self.records = list(records(file))
        (self.run,) = (record.run for record in self.records if record.HasField("run"))
        self.config = {item.key: json.loads(item.value_json) for item in self.run.config.update}
        self.exit_codes = [record.exit.exit_code for record in self.records if record.HasField("exit")]
        self.axes = {
            record.metric.glob_name: record.metric.step_metric
            for record in self.records
            if record.HasField("metric") and record.metric.glob_name
        }

    def history(self) -> list[dict[str, Any]]:
        """Return the rows that were logged."""
        found = (record.history.item for record in self.records if record.HasField("history"))
        return [{_name(item): json.loads(item.value_json) for item in items} for items in found]

    def summary(self) -> dict[str, Any]:
        """Return the summary as it was at the end."""
        found = (record.summary.update for record in self.records if record.HasField("summary"))
        return {_name(item): json.loads(item.value_json) for items in found for item in items}

    def artifacts(self) -> dict[str, set[str]]:
        """Return the names of the files of each artifact."""
        found = [record.request.log_artifact.artifact for record in self.records if record.HasField("request")]
        found += [record.artifact for record in self.records if record.HasField("artifact")]
        return {each.name: {entry.path for entry in each.manifest.contents} for each in found if each.name}


def _name(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


def wandb_files(run_dir: Path) -> list[WandbFile]:
    """Return what each start of the run left, the first one first."""
    return [WandbFile(file) for file in sorted((run_dir / "wandb").glob("offline-run-*/*.wandb"))]
