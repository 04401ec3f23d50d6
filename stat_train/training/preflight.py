"""What is checked and said before any weight is loaded: tokens, template, memory, disk."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch

from stat_train.batches import split_batch
from stat_train.errors import StatTrainError, UserError
from stat_train.models.transformers import context_tokens
from stat_train.store import write_json
from stat_train.tasks.prompts import IGNORED, PromptRenderer, messages
from stat_train.training.distributed import rank, world_size
from stat_train.training.job import TrainJob
from stat_train.training.memory import (
    Memory,
    Parameters,
    activation_bytes,
    count_parameters,
    disk_bytes,
    memory_per_process,
    read_config,
    size,
)
from stat_train.training.rows import Rows
from stat_train.training.weights import Kernels

LEAST_SUPERVISED_SHARE = 0.01
# Above this share of the device's memory, what an estimate leaves out may not fit any more.
FULL = 0.9
# How chat templates write the marks that are one token each in the tokenizer that they are made for.
MARKER = re.compile(r"<\|[^<>|\s]+\|>|<(?:start|end)_of_turn>")


class Preflight(NamedTuple):
    """What a training is about to do; `first_row` has its ignored part in brackets."""

    rows: int
    tokens: int
    supervised_tokens: int
    longest_row_tokens: int
    too_long_rows: int
    first_row: str
    warnings: list[str]
    parameters: Parameters
    memory: Memory
    device_bytes: int | None
    disk_bytes: float

    def lines(self) -> list[str]:
        """Return what is said of it on the terminal."""
        too_long = f"; {self.too_long_rows:,} rows over train.max_length" if self.too_long_rows else ""
        device = f" of {size(self.device_bytes)}" if self.device_bytes else ""
        return [
            f"{self.rows:,} rows with {self.tokens:,} tokens, the longest with {self.longest_row_tokens:,}{too_long}",
            f"{self.parameters.base:,} parameters{self._trained()}; about {size(self.memory.total)}{device} of "
            f"memory a process ({self._parts()}), {size(self.disk_bytes)} of disk",
            *self.warnings,
        ]

    def sample(self) -> str:
        """Return how much is trained on, shown on the first row."""
        share = self.supervised_tokens / self.tokens
        return f"{share:.0%} of the tokens count in the loss; first row, the rest of it in brackets: {self.first_row}"

    def _trained(self) -> str:
        """Return how many are trained, where it is not all."""
        base, _, trained = self.parameters
        return f", {trained:,} in adapters trained" if trained != base else ""

    def _parts(self) -> str:
        parts = self.memory._asdict().items()
        return ", ".join(f"{name} {size(held)}" for name, held in parts)

    def as_json(self) -> dict[str, Any]:
        """Return the content of `preflight.json`."""
        memory = {name: round(held) for name, held in self.memory._asdict().items()}
        return self._asdict() | {
            "supervised_share": self.supervised_tokens / self.tokens,
            "parameters": self.parameters._asdict(),
            "memory": memory | {"total": round(self.memory.total)},
            "disk_bytes": round(self.disk_bytes),
        }


def check_before(job: TrainJob, rows: Rows, renderer: PromptRenderer, kernels: Kernels) -> Preflight:
    """Check that a training can go well, and return what it will need.

    Raises UserError where weights or checkpoints cannot fit or the tokenizer is another model's; StatTrainError where
    next to nothing is trained on.
    """
    config = read_config(job)
    _require_template(renderer)
    _require_vocabulary(rows, renderer.tokenizer, config.get_text_config().vocab_size)
    parameters = count_parameters(config, job.settings)
    memory = _memory(job, rows, config, parameters, kernels)
    lengths, supervised = rows.lengths(), sum(rows.supervised())
    _require_supervision(supervised, sum(lengths))
    device_bytes = _device_bytes()
    require_memory(memory, device_bytes)
    disk = disk_bytes(parameters, job.settings, job.strategy, kernels)
    if rank() == 0:
        # It alone takes away what an interrupted process left half written.
        require_disk(disk, job.folder)
    return Preflight(
        rows=len(lengths),
        tokens=sum(lengths),
        supervised_tokens=supervised,
        longest_row_tokens=max(lengths),
        too_long_rows=len(rows.dropped) + rows.truncated,
        first_row=_shown(rows, renderer.tokenizer),
        warnings=_warnings(job, rows, renderer, memory, device_bytes),
        parameters=parameters,
        memory=memory,
        device_bytes=device_bytes,
        disk_bytes=disk,
    )


def say_and_write(found: Preflight, folder: Path) -> None:
    """Say what was found, and write `preflight.json`; the first process alone does."""
    if rank() == 0:
        print("\n".join(found.lines()), flush=True)
        write_json(folder / "preflight.json", found.as_json())


def _memory(job: TrainJob, rows: Rows, config: Any, parameters: Parameters, kernels: Kernels) -> Memory:
    settings, processes = job.settings, world_size()
    device_batch, _ = split_batch(settings.effective_batch_size, processes, settings.device_batch_size)
    # Rows of similar length come together, so the longest ones meet.
    batch = sorted(rows.lengths())[-device_batch:]
    working = activation_bytes(config, kernels, batch, settings.packing)
    return memory_per_process(parameters, settings, job.strategy, kernels, processes, working)


def _require_template(renderer: PromptRenderer) -> None:
    """Refuse a tokenizer that gives an answer no end, for such a student would never learn to stop."""
    asked = messages(renderer.prompt, "What is 1 + 1?", "2")
    if renderer.answer_text(asked).rstrip() == "2":
        raise UserError(
            "student.model: its chat template writes nothing after an answer, and its tokenizer has no eos_token, so "
            "the student would learn never to stop; give its tokenizer an eos_token"
        )


def _warnings(
    job: TrainJob, rows: Rows, renderer: PromptRenderer, memory: Memory, device_bytes: int | None
) -> list[str]:
    """Return what may go wrong, and what to do about it."""
    said, longest = [], max(rows.lengths())
    if device_bytes is not None and memory.total > FULL * device_bytes:
        said.append(
            f"this may not fit: about {memory.total / device_bytes:.0%} of the device's memory; lower "
            "train.device_batch_size or train.max_length, or set train.gradient_checkpointing=true"
        )
    if markers := _unknown_markers(renderer):
        said.append(
            f"the chat template writes {', '.join(markers)}, which the tokenizer has no token for; is the template "
            "another model's?"
        )
    taken = context_tokens(job.model, job.revision, renderer.tokenizer)
    if taken is not None and longest > taken:
        said.append(f"rows of up to {longest} tokens, and the student takes {taken}; lower train.max_length")
    if job.settings.optimizer == "paged_adamw_8bit" and device_bytes is None:
        said.append("train.optimizer = paged_adamw_8bit: nothing is paged without a GPU; the steps are the same")
    return said


def _unknown_markers(renderer: PromptRenderer) -> list[str]:
    """Return the marks that the chat template writes and the tokenizer has no token for."""
    asked = messages(renderer.prompt, "What is 1 + 1?", "2")
    text = renderer.question_text(asked[:-1]) + renderer.answer_text(asked)
    return sorted(set(MARKER.findall(text)) - set(renderer.tokenizer.get_vocab()))


def _require_vocabulary(rows: Rows, tokenizer: Any, words: int) -> None:
    """Refuse a tokenizer with tokens that the model has no embedding for."""
    own = {"eos_token": tokenizer.eos_token_id, "pad_token": tokenizer.pad_token_id}
    used = {"a training row": max(max(ids) for ids in rows.dataset["input_ids"])}
    for name, token in (own | used).items():
        if token is not None and token >= words:
            raise UserError(
                f"student.model: {name} has token {token}, and the model knows {words} (0 to {words - 1}); expected "
                "tokenizer and weights of the same model"
            )


def _require_supervision(supervised: int, tokens: int) -> None:
    share = supervised / tokens
    if share < LEAST_SUPERVISED_SHARE:
        raise StatTrainError(f"only {share:.2%} of the tokens count in the loss; look at the chat template")


def require_memory(memory: Memory, device_bytes: int | None) -> None:
    """Raise UserError when what is held all the time is more than the device has."""
    if device_bytes is not None and memory.held > device_bytes:
        raise UserError(
            f"weights, gradients and optimizer state need {size(memory.held)} a process, and the GPU has "
            f"{size(device_bytes)}; use deepspeed=zero3 over more processes, deepspeed=zero3_offload, "
            "train=sft_lora or train=sft_qlora"
        )


def require_disk(needed: float, folder: Path) -> None:
    """Raise UserError when checkpoints and states would not fit on the disk."""
    # Of a training that goes on, some are there already.
    held = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    free = shutil.disk_usage(folder).free + held
    if needed > free:
        raise UserError(
            f"cache_dir: the checkpoints of this training take up to {size(needed)}, and {size(free)} are "
            "free; make room, choose another cache_dir, or lower train.keep_checkpoints"
        )


def _device_bytes() -> int | None:
    if not torch.cuda.is_available():
        return None
    return int(torch.cuda.get_device_properties(int(os.environ.get("LOCAL_RANK", 0))).total_memory)


def _shown(rows: Rows, tokenizer: Any) -> str:
    """Return the first row decoded, what the loss ignores in brackets."""
    first = rows.dataset[0]
    ignored = first["labels"].count(IGNORED)
    return f"[{tokenizer.decode(first['input_ids'][:ignored])}] {tokenizer.decode(first['labels'][ignored:])}"
