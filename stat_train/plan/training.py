"""What training a run will do: rows, steps and answers, and over how many processes they can be spread."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from stat_train.config import Config, LocalStudent
from stat_train.curation.replay import replay_rows
from stat_train.gpus import visible_gpus
from stat_train.train_settings import GrpoTraining, SftTraining
from stat_train.training.world import world_of


class TrainingPlan(NamedTuple):
    """One kind of training: the numbers that are known before, and the same in words."""

    stage: str
    numbers: dict[str, Any]
    words: str


def training_of(config: Config) -> list[TrainingPlan]:
    """Return what the run trains, as far as it goes; rows are those that are asked for, before any is left out."""
    if not isinstance(config.student, LocalStudent):
        return []
    plans = []
    if isinstance(config.train, SftTraining) and config.reaches("train"):
        plans.append(_fine_tuning(config.train, config.data_recipe.pairs))
    if isinstance(config.rl, GrpoTraining) and config.reaches("rl"):
        plans.append(_reinforcement(config.rl, config.plan.pool_questions))
    if config.rounds.count > 1:
        words = f"up to {config.rounds.count}; this is the plan of the first, and each further one is about as large"
        plans.append(TrainingPlan("rounds", {"count": config.rounds.count}, words))
    return plans


def _fine_tuning(settings: SftTraining, pairs: int) -> TrainingPlan:
    replay = replay_rows(pairs, settings.replay_fraction)
    steps = math.ceil((pairs + replay) / settings.effective_batch_size) * settings.epochs
    times, world = len(settings.learning_rates or [settings.learning_rate]), world_of(settings)
    numbers = {
        "trainings": times,
        "rows": pairs + replay,
        "replay_rows": replay,
        "steps": steps,
        "candidates": times * settings.keep_checkpoints,
        "largest_world_size": settings.effective_batch_size,
        "nodes": world.nodes,
        "processes": world.processes,
        "devices": _devices(),
    }
    words = f"{pairs + replay:,} rows{f' ({replay:,} of them replay)' if replay else ''}, {steps:,} steps"
    words = f"{times} x {words}" if times > 1 else words
    candidates = numbers["candidates"]
    chosen = f"; the best of {candidates} checkpoints is chosen on the validation questions" if candidates != 1 else ""
    most = f"up to {settings.effective_batch_size} (train.effective_batch_size)"
    return TrainingPlan("train", numbers, f"{words}{chosen}; {_spread(numbers)}, {most}")


def _reinforcement(settings: GrpoTraining, pool: int | None) -> TrainingPlan:
    """Return the plan of reinforcement learning; where all questions are asked, their number is that of the pool.

    That is None where it is not known, and so is what depends on it.
    """
    world, most = world_of(settings), settings.questions_per_update * settings.rollouts
    questions = settings.questions or (pool if settings.prompts == "pool" else None)
    batches = questions // settings.questions_per_batch * settings.epochs if questions else None
    completions = batches * settings.questions_per_batch * settings.rollouts if batches else None
    updates = batches * (settings.questions_per_batch // settings.questions_per_update) if batches else None
    numbers = {
        "questions": questions,
        "completions": completions,
        "completion_tokens_at_most": completions and completions * settings.max_new_tokens,
        "steps": updates,
        "largest_world_size": most,
        "nodes": world.nodes,
        "processes": world.processes,
        "devices": _devices(),
    }
    if completions is None:
        words = (
            f"all questions of rl.prompts={settings.prompts}, {settings.rollouts} answers to each, "
            f"{settings.epochs} epochs"
        )
    else:
        words = f"{completions:,} answers of at most {settings.max_new_tokens:,} tokens, {updates:,} steps"
    limit = f"up to {most} (rl.questions_per_update x rl.rollouts)"
    return TrainingPlan("rl", numbers, f"{words}; {_spread(numbers)}, {limit}")


def _devices() -> str:
    gpus = len(visible_gpus())
    return f"{gpus} GPU{'s' * (gpus > 1)}" if gpus else "CPU"


def _spread(numbers: dict[str, Any]) -> str:
    size = numbers["nodes"] * numbers["processes"]
    nodes = f" on each of {numbers['nodes']} nodes" if numbers["nodes"] > 1 else ""
    each = numbers["processes"]
    return f"{each} process{'es' * (each > 1)}{nodes} ({numbers['devices']} here{f', {size} in all' if nodes else ''})"
