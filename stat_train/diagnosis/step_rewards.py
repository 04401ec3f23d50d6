"""How good each step of an answer is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stat_train.records import Question
from stat_train.tasks.arithmetic.checker import score_steps


class StepRewarder(Protocol):
    """Scores the steps of an answer."""

    def score(self, question: Question, steps: Sequence[str]) -> list[float]:
        """Return one reward in [0, 1] for each step."""
        ...


class ExactChecker:
    """The checker of the embedded task: 1 for a step that reaches the right number, else 0."""

    def score(self, question: Question, steps: Sequence[str]) -> list[float]:
        """Return one reward for each step."""
        return score_steps(question, list(steps))
