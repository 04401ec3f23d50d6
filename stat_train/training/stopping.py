"""Ending a training before its time without losing a step: on SIGTERM, or when its stop file appears."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import Any

from transformers import TrainerCallback

from stat_train.errors import stopped
from stat_train.training.distributed import any_process, rank


class StopRequests(TrainerCallback):  # type: ignore[misc]
    """Looks for a wish to stop after each step; the processes agree, the state is saved, and the training ends."""

    def __init__(self, stop_file: Path | None) -> None:
        self.stop_file = stop_file
        self.asked = self.stopped = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take SIGTERM as a wish to stop, from now on: before, there is nothing to save."""
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Save the state and end the training when any process is asked to, unless this was the last step."""
        file_is_there = rank() == 0 and self.stop_file is not None and self.stop_file.exists()
        if state.global_step < state.max_steps and any_process(self.asked or file_is_there):
            self.stopped = control.should_save = control.should_training_stop = True

    def raise_if_stopped(self, step: int, steps: int) -> None:
        """Raise StatTrainError with the exit code of a stopped run when the training ended because of a wish to."""
        if self.stopped:
            raise stopped(f"stopped at step {step} of {steps}, as asked; the same command goes on from there")
