"""Where an interrupted training goes on: at its last whole state, or at the weights of one of other processes."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import Trainer

from stat_train.errors import StatTrainError
from stat_train.train_settings import Strategy
from stat_train.training.distributed import is_deepspeed, rank, world_size


class Start(NamedTuple):
    """Where a training starts: at a saved state, or without one at the model's own weights.

    `weights_only`: the state is of other processes, whose shards of the optimizer's state do not fit these.
    """

    state: Path | None
    weights_only: bool


def state_folder(folder: Path, strategy: Strategy) -> Path:
    """Return where this training's states are: sharded ones are kept apart by the processes that they belong to."""
    sharded = is_deepspeed(strategy) or strategy.name == "fsdp2"
    return folder / "trainer" / (f"{strategy.name}-{world_size()}" if sharded else "whole")


def find_start(folder: Path, strategy: Strategy) -> Start:
    """Return where to start: at the newest whole state of all that are there; every process finds the same."""
    own = state_folder(folder, strategy)
    found = [state for place in sorted((folder / "trainer").glob("*")) if (state := _last_whole(place))]
    newest = max(found, key=lambda state: (_step(state), state.parent == own), default=None)
    return Start(newest, weights_only=newest is not None and newest.parent != own)


def say_start(start: Start) -> None:
    """Say where the training goes on, unless it starts anew."""
    if start.state is None or rank() != 0:
        return
    step = _step(start.state)
    if start.weights_only:
        print(
            f"the saved state is of other processes ({start.state.parent.name}), which these cannot use: going on at "
            f"step {step} with its weights and a new optimizer",
            flush=True,
        )
    else:
        print(f"going on at step {step}", flush=True)


def _last_whole(place: Path) -> Path | None:
    """Return the newest state that was written to its end.

    The trainer writes `trainer_state.json` last, so a state without a readable one is not whole. The first process
    takes it away; the others only pass it over.
    """
    for state in sorted(place.glob("checkpoint-*"), key=_step, reverse=True):
        try:
            json.loads((state / "trainer_state.json").read_text())
            return state
        except (FileNotFoundError, json.JSONDecodeError):
            if rank() == 0:
                shutil.rmtree(state, ignore_errors=True)
    return None


def _step(state: Path) -> int:
    return int(state.name.rpartition("-")[2])


class ResumableTrainer(Trainer):  # type: ignore[misc]
    """A trainer that goes on exactly where it was, or from the weights of a state whose optimizer it cannot use.

    It ends when the loss or a gradient is no number. `group` is where its settings are: train or rl.
    """

    group = "train"
    weights_only = False
    # The order of the rows, where it is ours. It is told each epoch here, because the library reaches it in one process
    # only when batches are skipped.
    order: Any = None

    def resume(self, start: Start) -> Any:
        """Train from where it starts to the end; return what the library's trainer does."""
        self.weights_only = start.weights_only
        return self.train(resume_from_checkpoint=str(start.state) if start.state else None)

    def _run_epoch(self, *, epoch: int, **rest: Any) -> None:
        if self.order is not None:
            self.order.set_epoch(epoch)
        super()._run_epoch(epoch=epoch, **rest)

    def _prepare_for_training(self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: str | None) -> Any:
        if not (self.weights_only and resume_from_checkpoint):
            return super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        prepared = super()._prepare_for_training(max_steps, train_dataloader, None)
        schedule = torch.load(Path(resume_from_checkpoint) / "scheduler.pt", weights_only=True)
        self.lr_scheduler.load_state_dict(schedule)
        # The optimizer is new and has the rate of the first step until the schedule moves it: 0, with a warmup.
        for group, rate in zip(self.optimizer.param_groups, self.lr_scheduler.get_last_lr(), strict=True):
            group["lr"] = rate
        return prepared

    def training_step(self, *given: Any, **named: Any) -> torch.Tensor:
        """Return the loss of a forward and backward pass; raises StatTrainError when it is no number."""
        loss: torch.Tensor = super().training_step(*given, **named)
        self._require_finite("loss", float(loss))
        return loss

    def _get_grad_norm(self, *given: Any, **named: Any) -> Any:
        norm = super()._get_grad_norm(*given, **named)
        if norm is not None:
            self._require_finite("norm of the gradient", float(norm))
        return norm

    def _require_finite(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            raise StatTrainError(
                f"the {name} is {value} at step {self.state.global_step + 1}: the training has diverged; lower "
                f"{self.group}.learning_rate (now {self.args.learning_rate}) or {self.group}.gradient_clip, or use "
                f"{self.group}.precision=fp32"
            )
