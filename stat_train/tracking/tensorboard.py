"""TensorBoard: event files, written without torch."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stat_train.config import Config
from stat_train.track_settings import TensorboardTracking
from stat_train.tracking.follow import Row
from stat_train.tracking.memory import Memory
from stat_train.tracking.results import COLUMNS, Results


class TensorBoard:
    """Writes a run to event files in a folder of its own."""

    def __init__(self, settings: TensorboardTracking, config: Config, memory: Memory) -> None:
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        run_dir = Path(config.run_dir).expanduser().absolute()
        parent = Path(settings.folder).expanduser().absolute() if settings.folder else run_dir / "tensorboard"
        folder = parent / f"{run_dir.name}-{memory.id}"
        self.place = f"tensorboard {folder}"
        self.opening = [f"track=tensorboard: tensorboard --logdir {shlex.quote(str(parent))}"]
        known = folder.is_dir()
        if not known:
            # Somebody took it away.
            memory.forget(self.place)
        self.writer = EventFileWriter(str(folder))
        if not known:
            self._text("config", f"```json\n{json.dumps(config.model_dump(), indent=2)}\n```")

    def log(self, curve: str, rows: Sequence[Row]) -> None:
        """Write the numbers of each step."""
        for row in rows:
            self._scalars(row["step"], {f"{curve}/{name}": value for name, value in row.items() if name != "step"})
        self.writer.flush()

    def results(self, results: Results) -> None:
        """Write what the run came to."""
        self._scalars(0, results.numbers)
        if results.skills:
            lines = [COLUMNS, ("---",) * len(COLUMNS), *results.skills]
            self._text("skills", "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))

    def finish(self, exit_code: int) -> list[str]:
        """Write what is not written yet; return what there is to say."""
        self.writer.close()
        return []

    def _scalars(self, step: int, values: dict[str, Any]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        shown = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(Summary(value=shown), step)

    def _text(self, name: str, text: str) -> None:
        from tensorboard.plugins.text.summary_v2 import text_pb

        self._write(text_pb(name, text), 0)

    def _write(self, summary: Any, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
