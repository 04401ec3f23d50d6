"""What the training process is told."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from stat_train.config import Prompt, SftTraining


class TrainJob(BaseModel):
    """One training: which student on which rows, with which settings, into which folder."""

    folder: Path
    training_set: Path
    model: str
    revision: str | None
    prompt: Prompt
    settings: SftTraining
    seed: int
