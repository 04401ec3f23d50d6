"""How fast a training was: kept apart from its results, which are the same whenever and wherever they are made."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from stat_train.store import write_json
from stat_train.training.distributed import world_size
from stat_train.training.weights import Kernels


class Stopwatch(TrainerCallback):  # type: ignore[misc]
    """Takes the time of the steps of this process; an interrupted training had others before it."""

    first_step = 0
    seconds = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start, at the step that the training goes on from."""
        self.first_step, self.seconds = state.global_step, time.monotonic()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop."""
        self.seconds = time.monotonic() - self.seconds


def write_throughput(folder: Path, taken: Stopwatch, step_tokens: list[int], kernels: Kernels) -> None:
    """Write `throughput.json`; `step_tokens` are the tokens of each step of the whole training, over all processes."""
    tokens, on_gpu = sum(step_tokens[taken.first_step :]), torch.cuda.is_available()
    write_json(
        folder / "throughput.json",
        {
            "steps": len(step_tokens) - taken.first_step,
            "seconds": round(taken.seconds, 3),
            "tokens": tokens,
            "tokens_per_second": round(tokens / taken.seconds, 1),
            "processes": world_size(),
            "device": torch.cuda.get_device_name() if on_gpu else "cpu",
            "peak_memory_bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
            **kernels._asdict(),
        },
    )
