"""Supervised fine-tuning with TRL: loss on the answer only, exact resume from the last whole checkpoint."""

from __future__ import annotations

import json
import math
import os
import shutil
import warnings
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

from stat_train.errors import StatTrainError, UserError
from stat_train.models.transformers import load_model, load_tokenizer
from stat_train.progress import Progress
from stat_train.records import Dropped, TrainingExample
from stat_train.store import chunk_seed, read_records, write_json, write_records, write_text
from stat_train.tasks.prompts import IGNORED, PromptRenderer, messages
from stat_train.training.job import TrainJob

LEAST_SUPERVISED_SHARE = 0.01
LOGS = 50


def train(job: TrainJob) -> None:
    """Fine-tune the student; write `checkpoint/`, `metrics.jsonl` and `training.json` to the job's folder."""
    if (job.folder / "checkpoint").exists():
        # It is written last: an interrupted process had only the trainer's own files left to remove.
        shutil.rmtree(job.folder / "trainer", ignore_errors=True)
        return
    _quiet()
    tokenizer = load_tokenizer(job.model, job.revision)
    renderer = PromptRenderer(tokenizer, job.prompt)
    dataset, dropped = tokenized(job, renderer)
    write_records(job.folder / "dropped.jsonl", dropped)
    sample = check_supervision(dataset, tokenizer)
    trainer = _Trainer(
        model=load_model(job.model, job.revision, dtype=torch.float32),
        args=sft_config(job, len(dataset)),
        train_dataset=dataset,
        processing_class=tokenizer,
        callbacks=[_ShowProgress(sample)],
    )
    trainer.remove_callback(PrinterCallback)
    steps = trainer.train(resume_from_checkpoint=last_whole_checkpoint(job.folder / "trainer")).global_step
    if steps < 1:
        raise StatTrainError("training ended without a single step; is the training set empty?")
    _write_results(job, trainer, dataset, renderer)


def _quiet() -> None:
    """Keep the libraries' own bars and notes off the terminal; ours say the same."""
    disable_progress_bars()
    logging.set_verbosity_error()
    # TRL reads this argument under its old name only, which transformers 5.23 announces to be renamed.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated")


def tokenized(job: TrainJob, renderer: PromptRenderer) -> tuple[Dataset, list[Dropped]]:
    """Return token ids and labels of the training rows, and the rows that are too long to train on whole."""
    rows, dropped = [], []
    for example in read_records(job.training_set, TrainingExample):
        ids, labels = renderer.training_tokens(messages(job.prompt, example.question, example.answer))
        if len(ids) > job.settings.max_length:
            detail = f"{len(ids)} tokens, train.max_length = {job.settings.max_length}"
            dropped.append(Dropped(stage="train", id=example.id, reason="too long", detail=detail, item="training row"))
        else:
            rows.append({"input_ids": ids, "labels": labels})
    if not rows:
        raise UserError(
            f"train.max_length = {job.settings.max_length}: all {len(dropped)} training rows are longer; raise it"
        )
    return Dataset.from_list(rows), dropped


def check_supervision(dataset: Dataset, tokenizer: Any) -> str:
    """Return one decoded row, its ignored part in brackets; refuse rows of which next to nothing is trained on."""
    labels = [label for row in dataset["labels"] for label in row]
    share = sum(label != IGNORED for label in labels) / len(labels)
    if share < LEAST_SUPERVISED_SHARE:
        raise StatTrainError(f"only {share:.2%} of the tokens count in the loss; look at the chat template")
    first = dataset[0]
    answer = tokenizer.decode([label for label in first["labels"] if label != IGNORED])
    question = tokenizer.decode(first["input_ids"][: first["labels"].count(IGNORED)])
    return f"{share:.0%} of the tokens count in the loss; first row: [{question}] {answer}"


def sft_config(job: TrainJob, rows: int) -> SFTConfig:
    """Return the trainer's settings."""
    settings = job.settings
    device_batch = min(settings.device_batch_size, settings.effective_batch_size)
    steps = math.ceil(rows / settings.effective_batch_size) * settings.epochs
    # Saved at a multiple of the logged steps, so that a resumed training logs losses over the same steps.
    logging_steps = max(1, steps // LOGS)
    save_steps = math.ceil(steps / (settings.checkpoints + 1) / logging_steps) * logging_steps
    on_gpu = torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(job.folder / "trainer"),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup_share,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.gradient_clip,
        per_device_train_batch_size=device_batch,
        gradient_accumulation_steps=settings.effective_batch_size // device_batch,
        max_length=None,
        save_strategy="steps",
        save_steps=save_steps,
        save_total_limit=2,
        logging_steps=logging_steps,
        # The library would write the mean of the steps before in the place of a loss that is no number.
        logging_nan_inf_filter=False,
        bf16=on_gpu,
        fp16=False,
        use_cpu=not on_gpu,
        gradient_checkpointing=on_gpu,
        dataloader_pin_memory=on_gpu,
        seed=job.seed,
        data_seed=job.seed,
        report_to="none",
        disable_tqdm=True,
    )


def last_whole_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint that was written to its end; an interrupted one is removed.

    The trainer writes `trainer_state.json` last, so a checkpoint without a readable one is not whole.
    """
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for checkpoint in found:
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())
            return str(checkpoint)
        except (FileNotFoundError, json.JSONDecodeError):
            shutil.rmtree(checkpoint)
    return None


class _ByLength(LengthGroupedSampler):  # type: ignore[misc]
    """Puts rows of similar length into a batch and shuffles the batches, in an order that seed and epoch alone decide.

    The library's own order is drawn from the process' random state, which a resumed training has not at that point, and
    goes from long batches to short ones again and again.
    """

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self.seed = seed

    def set_epoch(self, epoch: int) -> None:
        self.generator.manual_seed(chunk_seed(self.seed, "train", epoch))

    def __iter__(self) -> Iterator[int]:
        order = list(super().__iter__())
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        # A batch that is not full stays the last one, or every batch after it would be cut elsewhere.
        last = [batches.pop()] if len(batches[-1]) < self.batch_size else []
        shuffled = torch.randperm(len(batches), generator=self.generator).tolist()
        return chain.from_iterable([*(batches[index] for index in shuffled), *last])


class _Trainer(SFTTrainer):  # type: ignore[misc]
    """The library's trainer, with our order of the rows."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> _ByLength:
        rows = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(ids) for ids in rows["input_ids"]]
        batch_size = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return _ByLength(batch_size, lengths, self.args.data_seed)


def _write_results(job: TrainJob, trainer: SFTTrainer, dataset: Dataset, renderer: PromptRenderer) -> None:
    history = [_without_process(row) for row in trainer.state.log_history if "loss" in row]
    write_text(job.folder / "metrics.jsonl", "".join(json.dumps(row, sort_keys=True) + "\n" for row in history))
    tokens = sum(len(ids) for ids in dataset["input_ids"]) * job.settings.epochs
    write_json(
        job.folder / "training.json",
        {
            "rows": len(dataset),
            "steps": trainer.state.global_step,
            "trained_tokens": tokens,
            "prompt_hash": renderer.hash(),
            "final_loss": history[-1]["loss"],
        },
    )
    temporary = job.folder / "checkpoint.new"
    shutil.rmtree(temporary, ignore_errors=True)
    trainer.save_model(str(temporary))
    (temporary / "training_args.bin").unlink(missing_ok=True)
    os.replace(temporary, job.folder / "checkpoint")
    shutil.rmtree(job.folder / "trainer")


def _without_process(row: dict[str, Any]) -> dict[str, Any]:
    """Return a logged row without what the trainer counts from the start of its own process, not of the training."""
    return {key: value for key, value in row.items() if key != "num_tokens"}


class _ShowProgress(TrainerCallback):  # type: ignore[misc]
    """Shows one row as it is trained on, then the steps and the loss."""

    def __init__(self, sample: str) -> None:
        self.sample = sample
        self.progress: Progress | None = None
        self.loss = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        print(self.sample, flush=True)
        self.progress = Progress("Training", state.max_steps, done=state.global_step)
        self.progress.__enter__()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.progress:
            self.progress.advance(note=self.loss)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self.loss = f"loss {float(logs['loss']):.4f}" if logs and "loss" in logs else self.loss

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.progress:
            self.progress.__exit__(None, None, None)
