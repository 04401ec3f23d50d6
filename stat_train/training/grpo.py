"""Reinforcement learning with TRL's GRPO: the student is rewarded for answers that the task's grader finds right."""

from __future__ import annotations

import logging
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import PrinterCallback
from trl import GRPOConfig

from stat_train.batches import split_batch
from stat_train.errors import StatTrainError, UserError
from stat_train.models.places import model_place
from stat_train.models.transformers import context_tokens, load_model, load_tokenizer
from stat_train.records import Dropped, Question
from stat_train.store import read_records, write_json, write_records
from stat_train.tasks.graders import Grader
from stat_train.tasks.prompts import PromptRenderer, messages
from stat_train.train_settings import GrpoTraining
from stat_train.training.callbacks import ShowProgress, WriteMetrics, write_metrics
from stat_train.training.distributed import join_processes, leave_processes, rank, strategy_arguments, world_size
from stat_train.training.drift import Drift
from stat_train.training.grpo_trainer import Asked, StopsBetweenBatches, Trainer
from stat_train.training.job import RlJob
from stat_train.training.model_card import write_rl_card
from stat_train.training.quiet import quiet_libraries
from stat_train.training.resume import Start, find_start, say_start, state_folder
from stat_train.training.rewards import open_grader
from stat_train.training.rollouts import engine_arguments, limited_handshake, require_server, uses_vllm
from stat_train.training.saving import TRAINERS_OWN, let_be_read
from stat_train.training.weights import choose_kernels

# What is kept of what the library logs, and under which name.
LOGGED = {
    **{name: name for name in ("step", "epoch", "loss", "grad_norm", "learning_rate", "entropy", "kl")},
    "clip_ratio/region_mean": "clip_share",
    "sampling/importance_sampling_ratio/mean": "importance_ratio",
}


def train(job: RlJob) -> None:
    """Train the student on its own answers; write `checkpoint/`, `metrics.jsonl` and `training.json` to the folder."""
    if (job.folder / "checkpoint").exists():
        # It is written last: an interrupted process had only the trainer's own files left to remove.
        shutil.rmtree(job.folder / "trainer", ignore_errors=True)
        return
    quiet_libraries()
    # It would print each answer that cannot be scored; their share is logged.
    logging.getLogger("trl.trainer.grpo_trainer").addFilter(_is_not_of_unscored)
    with open_grader(job.grader, job.grader_timeout_seconds) as grader:
        join_processes(job.strategy)
        _train(job, grader)
    leave_processes()


def _train(job: RlJob, grader: Grader) -> None:
    asked, dropped = ask(job)
    require_answers(asked.questions, grader)
    start = find_start(job.folder, job.strategy)
    vllm = uses_vllm(job.settings)
    engine = _engine(job.settings, vllm)
    # The arguments come before the model: ZeRO-3 shards it while it is loaded.
    arguments = grpo_config(job, asked, vllm)
    stops = StopsBetweenBatches(job.stop_file, updates_per_batch(job.settings))
    shown = ShowProgress(opening(job.settings, len(asked.questions), engine), "reward")
    trainer = make_trainer(job, asked, grader, arguments, student(job, start, asked.stops))
    trainer.add_callback(shown)
    trainer.add_callback(WriteMetrics(job.folder / "metrics.jsonl", metrics))
    trainer.add_callback(stops)
    say_start(start)
    steps = trainer.resume(start).global_step
    stops.raise_if_stopped(steps, trainer.state.max_steps)
    if steps < 1:
        raise StatTrainError("reinforcement learning ended without a single step")
    if rank() == 0:
        write_records(job.folder / "dropped.jsonl", dropped)
    _write_results(job, trainer, asked, engine)


def _is_not_of_unscored(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith("All reward functions returned None")


# -- questions --------------------------------------------------------------------------------------------------------


def ask(job: RlJob) -> tuple[Asked, list[Dropped]]:
    """Return the rendered questions, and those that leave no room for an answer."""
    tokenizer = load_tokenizer(job.model, job.revision)
    renderer = PromptRenderer(tokenizer, job.prompt)
    room = context_tokens(job.model, job.revision, tokenizer)
    questions, texts, dropped = [], [], []
    for question in read_records(job.questions, Question):
        text = renderer.question_text(messages(job.prompt, question.question))
        needed = len(renderer.token_ids(text)) + job.settings.max_new_tokens
        if room is not None and needed > room:
            detail = f"{needed} tokens with rl.max_new_tokens = {job.settings.max_new_tokens}; the student takes {room}"
            dropped.append(Dropped(stage="rl", id=question.id, reason="too long", detail=detail))
        else:
            questions.append(question)
            texts.append(text)
    least = job.settings.questions_per_batch
    if len(questions) < least:
        raise UserError(
            f"rl.questions_per_batch = {least}: there are {len(questions)} questions ({len(dropped)} more are too long "
            "for the student's context), which do not make a batch; expected at most as many as there are"
        )
    return Asked(questions, texts, renderer, renderer.end_token_ids()), dropped


def require_answers(questions: Sequence[Question], grader: Grader) -> None:
    """Raise UserError when no question has the answer that the grader compares with: nothing would be learned."""
    if grader.needs_gold and not any(question.answer for question in questions):
        raise UserError(
            f"rl.prompts: none of the {len(questions)} questions has a gold answer, and the reward is a right answer; "
            "expected questions with answers, or task.grader=package.module:function, which judges answers by itself"
        )


# -- settings ---------------------------------------------------------------------------------------------------------


def updates_per_batch(settings: GrpoTraining) -> int:
    """Return how many optimizer steps learn from one batch of answers; a whole number, as the settings were checked."""
    return settings.questions_per_batch // settings.questions_per_update


def _engine(settings: GrpoTraining, vllm: bool) -> str:
    """Return in words what makes the answers, once it is known to be there."""
    if not vllm:
        return "transformers"
    if settings.vllm.mode == "colocate":
        return "vLLM in the training processes"
    return f"vLLM as a server ({require_server(settings.vllm) if rank() == 0 else ''})"


def opening(settings: GrpoTraining, questions: int, engine: str) -> str:
    """Return what is said when the training begins."""
    batches, left = divmod(questions, settings.questions_per_batch)
    words = (
        f"{questions:,} questions, {batches * updates_per_batch(settings)} updates an epoch of "
        f"{settings.questions_per_update} x {settings.rollouts} answers, made by {engine}"
    )
    return words + (f"; each epoch leaves out {left} that do not fill a batch, not the same ones" if left else "")


def grpo_config(job: RlJob, asked: Asked, vllm: bool) -> GRPOConfig:
    """Return the trainer's settings."""
    settings, updates = job.settings, updates_per_batch(job.settings)
    kernels = choose_kernels(settings, packing=False)
    answers = settings.questions_per_update * settings.rollouts
    device_batch, accumulation = split_batch(
        answers, world_size(), settings.device_batch_size, "rl.questions_per_update x rl.rollouts"
    )
    batches = len(asked.questions) // settings.questions_per_batch * settings.epochs
    longest = max(len(asked.renderer.token_ids(text)) for text in asked.texts) if vllm else 0
    return GRPOConfig(
        output_dir=str(state_folder(job.folder, job.strategy)),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup" if settings.warmup_share else "constant",
        warmup_steps=settings.warmup_share,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.gradient_clip,
        per_device_train_batch_size=device_batch,
        gradient_accumulation_steps=accumulation,
        steps_per_generation=accumulation * updates,
        num_generations=settings.rollouts,
        max_completion_length=settings.max_new_tokens,
        temperature=settings.temperature,
        top_p=1.0,
        top_k=0,
        beta=settings.kl_coefficient,
        epsilon=settings.clip,
        loss_type=settings.loss,
        scale_rewards=settings.scale_rewards,
        mask_truncated_completions=settings.mask_truncated,
        save_strategy="steps",
        # Answers are not part of the state, so it is saved where a batch of them is used up.
        save_steps=math.ceil(batches / (settings.checkpoints + 1)) * updates,
        save_total_limit=2,
        logging_steps=1,
        logging_nan_inf_filter=False,
        seed=job.seed,
        data_seed=job.seed,
        report_to="none",
        disable_tqdm=True,
        bf16=kernels.bf16,
        fp16=False,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        # FSDP has its own (conf/deepspeed/fsdp2.yaml).
        gradient_checkpointing=kernels.gradient_checkpointing and job.strategy.name != "fsdp2",
        use_liger_kernel=kernels.liger,
        **(engine_arguments(settings, asked.stops, longest) if vllm else {}),
        **strategy_arguments(job.strategy),
    )


def student(job: RlJob, start: Start, stops: set[int]) -> Any:
    """Return the model to train, with the weights that it starts from; a state that fits is loaded by the trainer."""
    place, revision = (str(start.state), None) if start.weights_only else (job.model, job.revision)
    model = load_model(place, revision, dtype=torch.float32)
    model.set_attn_implementation(choose_kernels(job.settings, packing=False).attention)
    # The second model, if there is one, is loaded from here: it is the start's, not the state's.
    model.config._name_or_path = _where_it_is(job)
    given = model.generation_config.eos_token_id
    stops |= set(given) if isinstance(given, list) else set() if given is None else {given}
    model.generation_config.eos_token_id = sorted(stops)
    return model


def _where_it_is(job: RlJob) -> str:
    """Return where the student lies, as a name that says its revision too: a folder, or its snapshot of the hub."""
    place = model_place(job.model)
    if job.revision is None or Path(place).is_dir():
        return place
    return snapshot_download(place, revision=job.revision, local_files_only=True)


def make_trainer(job: RlJob, asked: Asked, grader: Grader, arguments: GRPOConfig, model: Any) -> Trainer:
    """Return the trainer of a model; with vLLM as a server, it shakes hands with it first."""
    with limited_handshake(job.settings.vllm.base_url):
        trainer = Trainer(
            asked,
            grader,
            Drift(job.folder / "trainer" / "start.json"),
            job.settings.generation_batch_size,
            model=model,
            args=arguments,
            processing_class=asked.renderer.tokenizer,
        )
    trainer.remove_callback(PrinterCallback)
    return trainer


# -- results ----------------------------------------------------------------------------------------------------------


def _write_results(job: RlJob, trainer: Trainer, asked: Asked, engine: str) -> None:
    temporary = job.folder / "checkpoint.new"
    if rank() == 0:
        shutil.rmtree(temporary, ignore_errors=True)
    # Every process has a part in it where the weights are spread over them.
    trainer.save_model(str(temporary))
    if rank() != 0:
        return
    history = write_metrics(job.folder / "metrics.jsonl", trainer.state.log_history, metrics)
    told = {
        "questions": len(asked.questions),
        "steps": trainer.state.global_step,
        "answers_per_step": job.settings.questions_per_update * job.settings.rollouts,
        "tokens": trainer.state.num_input_tokens_seen,
        "engine": engine,
        "prompt_hash": asked.renderer.hash(),
        "first_reward": history[0].get("reward"),
        "final_reward": history[-1].get("reward"),
    }
    write_json(job.folder / "training.json", told)
    write_rl_card(temporary, job, told)
    (temporary / TRAINERS_OWN).unlink(missing_ok=True)
    let_be_read(temporary)
    os.replace(temporary, job.folder / "checkpoint")
    shutil.rmtree(job.folder / "trainer")


def metrics(row: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a logged row; numbers that there were none of (no answer was scored) are left out."""
    own = ("reward", "unscored_share", "same_reward_share", "answer_tokens", "cut_off_share", "kl_to_start")
    kept = {LOGGED[name]: value for name, value in row.items() if name in LOGGED}
    kept |= {name: value for name, value in row.items() if name in own or name.startswith("reward/skill/")}
    return {name: value for name, value in kept.items() if value is not None}
