"""Supervised fine-tuning with TRL: loss on the answer only, exact resume, one process or many."""

from __future__ import annotations

import json
import math
import os
import shutil
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from transformers import PrinterCallback
from transformers.utils import logging
from trl import SFTConfig, SFTTrainer

from stat_train.batches import split_batch
from stat_train.errors import StatTrainError
from stat_train.models.transformers import load_model, load_tokenizer
from stat_train.store import write_json, write_records, write_text
from stat_train.tasks.prompts import PromptRenderer
from stat_train.training.callbacks import ShowProgress
from stat_train.training.distributed import join_processes, leave_processes, rank, strategy_arguments, world_size
from stat_train.training.job import TrainJob
from stat_train.training.resume import ResumableTrainer, Start, find_start, say_start, state_folder
from stat_train.training.rows import ByLength, check_supervision, tokenized
from stat_train.training.stopping import StopRequests

LAST_STEPS = 50


def train(job: TrainJob) -> None:
    """Fine-tune the student; write `checkpoint/`, `metrics.jsonl` and `training.json` to the job's folder."""
    if (job.folder / "checkpoint").exists():
        # It is written last: an interrupted process had only the trainer's own files left to remove.
        shutil.rmtree(job.folder / "trainer", ignore_errors=True)
        return
    _quiet()
    join_processes(job.strategy)
    tokenizer = load_tokenizer(job.model, job.revision)
    renderer = PromptRenderer(tokenizer, job.prompt)
    dataset, dropped = tokenized(job, renderer)
    sample = check_supervision(dataset, tokenizer)
    start = find_start(job.folder, job.strategy)
    # The arguments come before the model: ZeRO-3 shards it while it is loaded.
    arguments = sft_config(job, len(dataset))
    stops = StopRequests(job.stop_file)
    trainer = _Trainer(
        model=_student(job, start),
        args=arguments,
        train_dataset=dataset,
        processing_class=tokenizer,
        callbacks=[ShowProgress(sample), stops],
    )
    trainer.remove_callback(PrinterCallback)
    say_start(start)
    steps = trainer.resume(start).global_step
    stops.raise_if_stopped(steps, trainer.state.max_steps)
    if steps < 1:
        raise StatTrainError("training ended without a single step; is the training set empty?")
    if rank() == 0:
        write_records(job.folder / "dropped.jsonl", dropped)
    _write_results(job, trainer, dataset, renderer)
    leave_processes()


def _student(job: TrainJob, start: Start) -> Any:
    """Return the model to train, with the weights that it starts from; a state that fits is loaded by the trainer."""
    if start.weights_only:
        return load_model(str(start.state), None, dtype=torch.float32)
    return load_model(job.model, job.revision, dtype=torch.float32)


def _quiet() -> None:
    """Keep the libraries' own bars and notes off the terminal; ours say the same."""
    disable_progress_bars()
    logging.set_verbosity_error()
    # TRL reads this argument under its old name only, which transformers 5.23 announces to be renamed.
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated")
    # DeepSpeed calls collectives by their old names.
    warnings.filterwarnings("ignore", message=".*_tensor` is deprecated", category=FutureWarning)


def sft_config(job: TrainJob, rows: int) -> SFTConfig:
    """Return the trainer's settings."""
    settings = job.settings
    device_batch, accumulation = split_batch(settings.effective_batch_size, world_size(), settings.device_batch_size)
    steps = math.ceil(rows / settings.effective_batch_size) * settings.epochs
    on_gpu = torch.cuda.is_available()
    return SFTConfig(
        output_dir=str(state_folder(job.folder, job.strategy)),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.warmup_share,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.gradient_clip,
        per_device_train_batch_size=device_batch,
        gradient_accumulation_steps=accumulation,
        max_length=None,
        save_strategy="steps",
        save_steps=math.ceil(steps / (settings.checkpoints + 1)),
        save_total_limit=2,
        # A mean over several steps would be another one after a stop between them.
        logging_steps=1,
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
        **strategy_arguments(job.strategy),
    )


class _Trainer(ResumableTrainer, SFTTrainer):  # type: ignore[misc]
    """The library's trainer, with our order of the rows."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> ByLength:
        rows = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(ids) for ids in rows["input_ids"]]
        step_rows = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        self.order = ByLength(step_rows, lengths, self.args.data_seed)
        return self.order


def _write_results(job: TrainJob, trainer: SFTTrainer, dataset: Dataset, renderer: PromptRenderer) -> None:
    temporary = job.folder / "checkpoint.new"
    if rank() == 0:
        shutil.rmtree(temporary, ignore_errors=True)
    # Every process has a part in it where the weights are spread over them.
    trainer.save_model(str(temporary))
    if rank() != 0:
        return
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
            "final_loss": final_loss([row["loss"] for row in history]),
        },
    )
    (temporary / "training_args.bin").unlink(missing_ok=True)
    os.replace(temporary, job.folder / "checkpoint")
    shutil.rmtree(job.folder / "trainer")


def final_loss(losses: Sequence[float]) -> float:
    """Return the mean loss of the last steps, one in fifty: that of the last step alone says little."""
    last = losses[-max(1, len(losses) // LAST_STEPS) :]
    return sum(last) / len(last)


def _without_process(row: dict[str, Any]) -> dict[str, Any]:
    """Return a logged row without what the trainer counts from the start of its own process, not of the training."""
    return {key: value for key, value in row.items() if key != "num_tokens"}
