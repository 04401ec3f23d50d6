"""What is seen of a training while it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from stat_train.progress import Progress
from stat_train.store import write_text
from stat_train.training.distributed import rank

# Beside the states of a training.
BEGUN = "begun.json"


class ShowProgress(TrainerCallback):  # type: ignore[misc]
    """Says what is trained on, then shows the steps and `shown`, a logged number; the first process alone speaks."""

    def __init__(self, opening: str, shown: str = "loss") -> None:
        self.opening, self.shown = opening, shown
        self.progress: Progress | None = None
        self.note = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Say what is trained on, and start the bar."""
        if rank() != 0:
            return
        print(self.opening, flush=True)
        self.progress = Progress("Training", state.max_steps, done=state.global_step)
        self.progress.__enter__()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Move the bar."""
        if self.progress:
            self.progress.advance(note=self.note)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        """Take the number that is shown."""
        if logs and logs.get(self.shown) is not None:
            self.note = f"{self.shown} {float(logs[self.shown]):.4f}"

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take the bar away."""
        if self.progress:
            self.progress.__exit__(None, None, None)


class WriteMetrics(TrainerCallback):  # type: ignore[misc]
    """Adds what each step logs to `metrics.jsonl` at once, for whoever follows it; the first process alone writes."""

    def __init__(self, file: Path, kept: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.file, self.kept = file, kept

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start with the steps before the state that the training goes on from: those after it come again."""
        if rank() == 0:
            write_metrics(self.file, state.log_history, self.kept)
            # When this process began to make steps, after which: the rate is told by it.
            begun = self.file.parent / "trainer" / BEGUN
            begun.parent.mkdir(exist_ok=True)
            write_text(begun, json.dumps({"step": state.global_step}))

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Add a step."""
        if rank() == 0 and "loss" in (row := state.log_history[-1]):
            with self.file.open("a", encoding="utf-8") as rows:
                rows.write(_line(self.kept(row)))


def write_metrics(
    file: Path, history: list[dict[str, Any]], kept: Callable[[dict[str, Any]], dict[str, Any]]
) -> list[dict[str, Any]]:
    """Write `metrics.jsonl` whole: what is kept of each step that was logged; return the same."""
    rows = [kept(row) for row in history if "loss" in row]
    write_text(file, "".join(map(_line, rows)))
    return rows


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True) + "\n"
