"""What the training processes are told."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from stat_train.config import Config, LocalStudent, Prompt
from stat_train.train_settings import GrpoTraining, SftTraining, Strategy


class TrainJob(BaseModel):
    """One fine-tuning: which student on which rows, with which settings, into which folder.

    `replay` has rows that are trained on beside the training set. A file at `stop_file` asks the training to save its
    state and end.
    """

    folder: Path
    training_set: Path
    replay: Path | None = None
    model: str
    revision: str | None
    prompt: Prompt
    settings: SftTraining
    strategy: Strategy
    seed: int
    stop_file: Path | None = None


class RlJob(BaseModel):
    """One reinforcement learning: which student on which questions (JSONL of `Question`), graded by which grader."""

    folder: Path
    questions: Path
    model: str
    revision: str | None
    prompt: Prompt
    settings: GrpoTraining
    strategy: Strategy
    grader: str
    grader_timeout_seconds: float
    seed: int
    stop_file: Path | None = None


def rl_job(
    config: Config,
    folder: Path,
    questions: Path,
    model: str,
    revision: str | None = None,
    stop_file: Path | None = None,
) -> RlJob:
    """Return the reinforcement learning that a run's settings ask for, from this model and on these questions."""
    assert isinstance(config.rl, GrpoTraining)
    assert isinstance(config.student, LocalStudent)
    return RlJob(
        folder=folder,
        questions=questions,
        model=model,
        revision=revision,
        prompt=config.student.prompt,
        settings=config.rl,
        strategy=config.deepspeed,
        grader=config.task.grader,
        grader_timeout_seconds=config.task.grader_timeout_seconds,
        seed=config.seed,
        stop_file=stop_file,
    )
