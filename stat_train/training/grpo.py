"""Reinforcement learning with TRL's GRPO."""

from __future__ import annotations

from stat_train.training.job import RlJob


def train(job: RlJob) -> None:
    """Train the student on its own answers."""
    raise NotImplementedError(job.settings.name)
