"""Supervised fine-tuning with TRL: loss on the answer only, exact resume, one process or many."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from stat_train.batches import split_batch
from stat_train.errors import StatTrainError
from stat_train.models.transformers import load_tokenizer
from stat_train.store import write_json, write_records
from stat_train.tasks.prompts import PromptRenderer
from stat_train.training.callbacks import ShowProgress, WriteMetrics, write_metrics
from stat_train.training.distributed import join_processes, leave_processes, rank, strategy_arguments, world_size
from stat_train.training.job import TrainJob
from stat_train.training.model_card import card_facts
from stat_train.training.preflight import check_before, say_and_write
from stat_train.training.quiet import quiet_libraries
from stat_train.training.resume import ResumableTrainer, Start, find_start, say_start, state_folder
from stat_train.training.rows import ByLength, Rows, tokenized
from stat_train.training.saving import KeepCheckpoints, Made, write_checkpoint
from stat_train.training.stopping import StopRequests
from stat_train.training.throughput import Stopwatch, write_throughput
from stat_train.training.weights import Kernels, choose_kernels, require_trainable, student_to_train

LAST_STEPS = 50


def train(job: TrainJob) -> None:
    """Fine-tune the student.

    Writes to the job's folder: `checkpoint/` and, where more are kept, `checkpoints/`; `metrics.jsonl`,
    `training.json`, `throughput.json`, `preflight.json` and `dropped.jsonl`.
    """
    if (job.folder / "checkpoint").exists():
        # It is written last: an interrupted process had only the trainer's own files left to remove.
        shutil.rmtree(job.folder / "trainer", ignore_errors=True)
        if rank() == 0:
            print("this training had ended: its checkpoint is there, and nothing is trained", flush=True)
        return
    quiet_libraries()
    require_trainable(job)
    join_processes(job.strategy)
    kernels = choose_kernels(job.settings, job.settings.packing)
    renderer = PromptRenderer(load_tokenizer(job.model, job.revision), job.prompt)
    rows = tokenized(job, renderer)
    # Before the arguments: with those of ZeRO-3, a model cannot be drawn up without its weights.
    found = check_before(job, rows, renderer, kernels)
    say_and_write(found, job.folder)
    made = Made(job, kernels, card_facts(job, rows, renderer, kernels))
    start, stops, stopwatch = find_start(job.folder, job.strategy), StopRequests(job.stop_file), Stopwatch()
    trainer = make_trainer(made, rows, renderer.tokenizer, start, [ShowProgress(found.sample()), stops, stopwatch])
    say_start(start)
    steps = trainer.resume(start).global_step
    stops.raise_if_stopped(steps, trainer.state.max_steps)
    if steps < 1:
        raise StatTrainError("training ended without a single step; is the training set empty?")
    if rank() == 0:
        write_records(job.folder / "dropped.jsonl", rows.dropped)
        step_tokens = _write_results(trainer, job, rows, renderer)
        write_throughput(job.folder, stopwatch, step_tokens, kernels)
    write_checkpoint(trainer, made, job.folder / "checkpoint")
    if rank() == 0:
        shutil.rmtree(job.folder / "trainer")
    leave_processes()


def make_trainer(
    made: Made, rows: Rows, tokenizer: Any, start: Start, callbacks: Sequence[TrainerCallback]
) -> _Trainer:
    """Return the trainer with the student that it trains."""
    job = made.job
    # The arguments come before the model: ZeRO-3 shards it while it is loaded.
    arguments = sft_config(job, len(rows.dataset), made.kernels)
    student = student_to_train(job, start, made.kernels)
    trainer = _Trainer(
        model=student.model,
        args=arguments,
        train_dataset=rows.dataset,
        processing_class=tokenizer,
        peft_config=student.adapter,
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    write = partial(write_checkpoint, trainer, made)
    trainer.add_callback(WriteMetrics(job.folder / "metrics.jsonl", _without_process))
    trainer.add_callback(KeepCheckpoints(write, job.folder / "checkpoints", job.settings.keep_checkpoints))
    return trainer


def sft_config(job: TrainJob, rows: int, kernels: Kernels) -> SFTConfig:
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
        # Rows end to end, each with positions of its own, from which the attention tells them apart.
        padding_free=settings.packing,
        save_strategy="steps",
        save_steps=math.ceil(steps / (settings.checkpoints + 1)),
        save_total_limit=2,
        # A mean over several steps would be another one after a stop between them.
        logging_steps=1,
        # The library would write the mean of the steps before in the place of a loss that is no number.
        logging_nan_inf_filter=False,
        bf16=kernels.bf16,
        fp16=False,
        use_cpu=not on_gpu,
        # FSDP has its own (conf/deepspeed/fsdp2.yaml).
        gradient_checkpointing=kernels.gradient_checkpointing and job.strategy.name != "fsdp2",
        use_liger_kernel=kernels.liger,
        dataloader_pin_memory=on_gpu,
        seed=job.seed,
        data_seed=job.seed,
        report_to="none",
        disable_tqdm=True,
        **({"optim": "paged_adamw_8bit"} if settings.optimizer == "paged_adamw_8bit" else {}),
        **strategy_arguments(job.strategy),
    )


class _Trainer(ResumableTrainer, SFTTrainer):  # type: ignore[misc]
    """The library's trainer, with our order of the rows."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> ByLength:
        rows = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(ids) for ids in rows["input_ids"]]
        step_rows = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        self.order = order = ByLength(step_rows, lengths, self.args.data_seed)
        return order


def _write_results(trainer: SFTTrainer, job: TrainJob, rows: Rows, renderer: PromptRenderer) -> list[int]:
    """Write what is the same however often the training was interrupted; return the tokens of each step.

    That is `metrics.jsonl` and `training.json`, in which `rows` are all that were trained on, replay among them.
    """
    history = write_metrics(job.folder / "metrics.jsonl", trainer.state.log_history, _without_process)
    order, epochs = trainer._get_train_sampler(), job.settings.epochs
    step_tokens: list[int] = order.sums_per_step(rows.lengths(), epochs)
    write_json(
        job.folder / "training.json",
        {
            "rows": len(rows.dataset),
            "replay_rows": rows.replayed,
            "truncated": rows.truncated,
            "steps": trainer.state.global_step,
            "trained_tokens": sum(step_tokens),
            "supervised_tokens": sum(order.sums_per_step(rows.supervised(), epochs)),
            "prompt_hash": renderer.hash(),
            "final_loss": final_loss([row["loss"] for row in history]),
        },
    )
    return step_tokens


def final_loss(losses: Sequence[float]) -> float:
    """Return the mean loss of the last steps, one in fifty: that of the last step alone says little."""
    last = losses[-max(1, len(losses) // LAST_STEPS) :]
    return sum(last) / len(last)


def _without_process(row: dict[str, Any]) -> dict[str, Any]:
    """Return a logged row without what the trainer counts from the start of its own process, not of the training."""
    return {key: value for key, value in row.items() if key != "num_tokens"}
