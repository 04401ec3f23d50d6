"""What is seen of a training while it runs."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from stat_train.progress import Progress
from stat_train.training.distributed import rank


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
