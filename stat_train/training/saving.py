"""Checkpoints that can be loaded and answer: at the end of a training, and at steps of it that are kept."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from transformers import Trainer, TrainerCallback
from transformers.integrations.deepspeed import set_hf_deepspeed_config, unset_hf_deepspeed_config

from stat_train.training.distributed import rank
from stat_train.training.job import TrainJob
from stat_train.training.model_card import write_card
from stat_train.training.weights import Kernels, base_place, frozen_dtype, load_weights

# What the trainer writes beside a checkpoint and nobody who loads one needs.
TRAINERS_OWN = "training_args.bin"


class Made(NamedTuple):
    """What the checkpoints of a training have in common; `facts` are for their cards."""

    job: TrainJob
    kernels: Kernels
    facts: dict[str, Any]


def write_checkpoint(trainer: Trainer, made: Made, folder: Path) -> None:
    """Write weights, tokenizer, chat template and card to a folder, which is there whole or not at all.

    Every process must call it, for each may hold a part of the weights.
    """
    new = folder.with_name(f"{folder.name}.new")
    if rank() == 0:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
    trainer.save_model(str(new))
    if rank() != 0:
        return
    (new / TRAINERS_OWN).unlink(missing_ok=True)
    if lora := made.job.settings.lora:
        _merge(trainer, made, new) if lora.merge else _sort_adapter(new)
    state = trainer.state
    losses = [row["loss"] for row in state.log_history if "loss" in row]
    write_card(new, made.facts, state.global_step, state.max_steps, losses[-1] if losses else None)
    let_be_read(new)
    os.replace(new, folder)


def let_be_read(folder: Path) -> None:
    """Give a checkpoint's files the rights of others that the user makes: weights are written for their owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    for path in folder.iterdir():
        path.chmod(0o666 & ~mask)


def _merge(trainer: Trainer, made: Made, folder: Path) -> None:
    """Put the weights with the adapter added in the adapter's place.

    They are loaded once more: the ones trained on may be in 4 bits or spread over processes, and what is added there
    and taken off again is not exactly what it was.
    """
    adapter = folder.with_name(f"{folder.name}.adapter")
    shutil.rmtree(adapter, ignore_errors=True)
    os.replace(folder, adapter)
    job, dtype = made.job, frozen_dtype(made.job, made.kernels)
    with _loaded_whole(trainer), torch.random.fork_rng():
        base = load_weights(base_place(job), job.revision, dtype=dtype)
        PeftModel.from_pretrained(base, str(adapter)).merge_and_unload().save_pretrained(str(folder))
    trainer.processing_class.save_pretrained(str(folder))
    shutil.rmtree(adapter)


@contextmanager
def _loaded_whole(trainer: Trainer) -> Iterator[None]:
    """Load weights whole: while DeepSpeed's settings stand, ZeRO-3 spreads whatever is loaded over the processes."""
    settings = getattr(trainer.args, "hf_deepspeed_config", None)
    unset_hf_deepspeed_config()
    try:
        yield
    finally:
        if settings is not None:
            set_hf_deepspeed_config(settings)


def _sort_adapter(folder: Path) -> None:
    """Write an adapter's settings in an order that does not change from process to process."""
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    ordered = {name: sorted(value) if name == "target_modules" else value for name, value in settings.items()}
    path.write_text(json.dumps(ordered, indent=2, sort_keys=True) + "\n", encoding="utf-8")


class KeepCheckpoints(TrainerCallback):  # type: ignore[misc]
    """Writes `checkpoints/step-000123/` at evenly spaced steps; the last of the `count` is the training's own end.

    It comes before the trainer saves its state at the same step. So a training that goes on from a state has all
    earlier ones, and makes those after it again.
    """

    def __init__(self, write: Callable[[Path], None], folder: Path, count: int) -> None:
        self.write, self.folder, self.count = write, folder, count

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take away what comes after the state that the training goes on from."""
        if rank() != 0:
            return
        for kept in self.folder.glob("step-*"):
            if _step(kept) > state.global_step:
                shutil.rmtree(kept)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the checkpoint of a step that is kept."""
        if state.global_step in kept_steps(state.max_steps, self.count):
            if rank() == 0:
                self.folder.mkdir(exist_ok=True)
            self.write(self.folder / f"step-{state.global_step:06d}")


def kept_steps(steps: int, count: int) -> set[int]:
    """Return at which steps a checkpoint is kept, less the last one of the training."""
    return {round(steps * kept / count) for kept in range(1, count)} - {0, steps}


def _step(kept: Path) -> int:
    return int(kept.name.removeprefix("step-").partition(".")[0])
