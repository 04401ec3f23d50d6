"""How good a strategy for difficult questions is, where gold answers tell (arXiv 2510.10023, Table 8)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Literal, NamedTuple

from stat_train.config import ConsistencyDifficulty, GoldDifficulty, StepRewardDifficulty
from stat_train.diagnosis.difficulty import (
    Rewards,
    Settings,
    by_consistency,
    by_gold,
    by_length,
    by_rewards,
    decide,
    low_rewards,
)
from stat_train.intervals import binomial_interval
from stat_train.records import Answer, Difficulty, Grade, Question
from stat_train.tasks.graders import Grader

Attempts = Literal["first", "any", "majority"]
# By question id: whether it is difficult.
Flags = Mapping[str, bool]

# What the paper uses; a run's own settings take their place for its own strategy.
TAU1, TAU2, MIN_WORDS = 0.85, 0.7, 800
CONSISTENCY = ConsistencyDifficulty(name="consistency", samples=5, temperature=1.0, min_agreement=2)
MEASURES = ("accuracy", "precision", "recall", "f1")
GRID = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


class Evidence(NamedTuple):
    """What the strategies judge by: all answers of the student with their grades, and step rewards where there are."""

    questions: Mapping[str, Question]
    answers: Sequence[Answer]
    grades: Sequence[Grade]
    step_rewards: Rewards | None

    @property
    def several(self) -> bool:
        """Tell whether a question has more than one answer."""
        return any(answer.attempt > 0 for answer in self.answers)


class Judged(NamedTuple):
    """A strategy and what it says."""

    strategy: str
    found: list[Difficulty]


class Agreement(NamedTuple):
    """How well decisions agree with the truth on `n` questions, of which `right` are decided right.

    A measure is None where it is undefined: precision when no question is called difficult, recall when none is, F1
    when both hold, accuracy without a question.
    """

    n: int
    right: int
    accuracy: float | None
    precision: float | None
    recall: float | None
    f1: float | None


def difficulty_quality(
    settings: Settings, found: list[Difficulty], evidence: Evidence, grader: Grader, comparing_is_free: bool
) -> dict[str, Any]:
    """Return how good the run's strategy is, beside all others that can be had without asking any model.

    `found` is what the run's strategy says; it comes first. Comparing answers with each other is free unless the grader
    is a paid model; then consistency is shown only where it is the run's strategy.
    """
    rule = _attempts(settings) or ("majority" if evidence.several else "first")
    own = Judged(_name(settings), found)
    others = _others(settings, evidence, grader, comparing_is_free, rule)
    truth = _truth(evidence.grades, rule)
    rows = [
        {"strategy": each.strategy, "used": each is own} | _scores(each.found, truth)
        for each in [own, *(each for each in others if each.strategy != own.strategy)]
    ]
    swept = None
    if isinstance(settings, StepRewardDifficulty) and evidence.step_rewards is not None:
        swept = sweep(settings, evidence.step_rewards, evidence.grades)
    return {"truth": f"gold/{rule}", "strategies": rows, "sweep": swept}


def sweep(settings: StepRewardDifficulty, rewards: Rewards, grades: Iterable[Grade]) -> dict[str, Any]:
    """Return what other thresholds would give on the step rewards that are there; the run's own are among them."""
    truth = _truth(grades, settings.attempts)
    grid1, grid2 = sorted({*GRID, settings.tau1}), sorted({*GRID, settings.tau2})
    cells = []
    for tau1, tau2 in product(grid1, grid2):
        low = {id: {n: low_rewards(values, tau1, tau2) for n, values in given.items()} for id, given in rewards.items()}
        found = {id: decide(flags, settings.attempts) for id, flags in low.items()}
        scores = agreement(found, truth)
        cell = {"tau1": tau1, "tau2": tau2, "difficult": _share(sum(found.values()), len(found))}
        cells.append(cell | {name: getattr(scores, name) for name in MEASURES})
    return {"tau1": grid1, "tau2": grid2, "used": [settings.tau1, settings.tau2], "cells": cells}


def agreement(found: Flags, truth: Flags) -> Agreement:
    """Return how well decisions agree with the truth, over the questions that have both; "difficult" is positive."""
    pairs = [(difficult, truth[id]) for id, difficult in found.items() if id in truth]
    called, wrong = sum(difficult for difficult, _ in pairs), sum(is_wrong for _, is_wrong in pairs)
    hits = sum(difficult and is_wrong for difficult, is_wrong in pairs)
    right = sum(difficult == is_wrong for difficult, is_wrong in pairs)
    precision, recall = _share(hits, called), _share(hits, wrong)
    return Agreement(len(pairs), right, _share(right, len(pairs)), precision, recall, _share(2 * hits, called + wrong))


def _others(
    settings: Settings, evidence: Evidence, grader: Grader, comparing_is_free: bool, rule: Attempts
) -> Iterator[Judged]:
    """Yield what each strategy says that costs nothing; of step rewards those that are there."""
    every: tuple[Attempts, ...] = ("first", "any", "majority") if evidence.several else ("first",)
    for attempts in every:
        found, _ = by_gold(evidence.grades, GoldDifficulty(name="gold", attempts=attempts))
        if found:
            yield Judged(f"gold/{attempts}", found)
    if evidence.step_rewards is not None and not isinstance(settings, StepRewardDifficulty):
        yield Judged(f"step_rewards/{rule}", by_rewards(evidence.step_rewards, rule, TAU1, TAU2))
    if comparing_is_free and evidence.several and not isinstance(settings, ConsistencyDifficulty):
        found, _ = by_consistency(evidence.questions, evidence.answers, CONSISTENCY, grader)
        yield Judged("consistency", found)
    yield Judged("length", by_length(evidence.answers, MIN_WORDS)[0])


def _scores(found: list[Difficulty], truth: Flags) -> dict[str, int | float | None]:
    flags = _flags(found)
    scores = agreement(flags, truth)
    interval = binomial_interval(scores.right, scores.n)
    low, high = (None if bound is None else round(bound, 6) for bound in (interval.low, interval.high))
    counts = {"judged": len(flags), "difficult": sum(flags.values()), "n": scores.n, "accuracy": scores.accuracy}
    return counts | {"low": low, "high": high} | {name: getattr(scores, name) for name in MEASURES[1:]}


def _truth(grades: Iterable[Grade], attempts: Attempts) -> dict[str, bool]:
    """Return which questions are answered wrong, of those with an answer that was scored."""
    return _flags(by_gold(grades, GoldDifficulty(name="gold", attempts=attempts))[0])


def _attempts(settings: Settings) -> Attempts | None:
    return settings.attempts if isinstance(settings, GoldDifficulty | StepRewardDifficulty) else None


def _name(settings: Settings) -> str:
    attempts = _attempts(settings)
    return f"{settings.name}/{attempts}" if attempts else settings.name


def _flags(found: Iterable[Difficulty]) -> dict[str, bool]:
    return {row.question_id: row.difficult for row in found}


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None
