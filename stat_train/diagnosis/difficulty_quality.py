"""How good a strategy for difficult questions is, where gold answers tell (arXiv 2510.10023, Table 8)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from stat_train.config import ConsistencyDifficulty, GoldDifficulty, StepRewardDifficulty
from stat_train.diagnosis.difficulty import Settings, StepRewards, by_consistency, by_gold, by_length, by_rewards
from stat_train.intervals import binomial_interval
from stat_train.records import Answer, Difficulty, Grade, Question
from stat_train.tasks.graders import Grader

Attempts = Literal["first", "any", "majority"]
# By question id: whether it is difficult.
Flags = Mapping[str, bool]

# What the paper uses; a run's own settings take their place for its own strategy.
TAU1, TAU2, MIN_WORDS = 0.85, 0.7, 800
CONSISTENCY = ConsistencyDifficulty(name="consistency", samples=5, temperature=1.0, min_agreement=2)
GRID = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


class Evidence(NamedTuple):
    """What the strategies judge by: all answers of the student with their grades, and step rewards where there are."""

    questions: Mapping[str, Question]
    answers: Sequence[Answer]
    grades: Sequence[Grade]
    step_rewards: StepRewards | None

    @property
    def several(self) -> bool:
        """Tell whether a question has more than one answer."""
        return any(answer.attempt > 0 for answer in self.answers)


class Judged(NamedTuple):
    """A strategy and what it says; `attempts` is the rule by which the truth is told for it."""

    strategy: str
    attempts: Attempts
    found: list[Difficulty]


def difficulty_quality(
    settings: Settings, found: list[Difficulty], evidence: Evidence, grader: Grader, comparing_is_free: bool
) -> dict[str, Any]:
    """Return how good the run's strategy is, beside all others that can be had without asking any model.

    `found` is what the run's strategy says; it comes first. Comparing answers with each other is free unless the grader
    is a paid model; then consistency is shown only where it is the run's strategy.
    """
    own = Judged(_name(settings), _attempts(settings) or "majority", found)
    others = [each for each in _others(settings, evidence, grader, comparing_is_free) if each.strategy != own.strategy]
    rows = [
        {"strategy": each.strategy, "used": each is own} | _counts(each.found, _truth(evidence.grades, each.attempts))
        for each in [own, *others]
    ]
    swept = None
    if isinstance(settings, StepRewardDifficulty) and evidence.step_rewards is not None:
        swept = sweep(settings, evidence.step_rewards, evidence.grades)
    return {"strategies": rows, "sweep": swept}


def sweep(settings: StepRewardDifficulty, rewards: StepRewards, grades: Iterable[Grade]) -> dict[str, Any]:
    """Return what other thresholds would give on the step rewards that are there; the run's own are among them."""
    truth = _truth(grades, settings.attempts)
    grid1, grid2 = sorted({*GRID, settings.tau1}), sorted({*GRID, settings.tau2})
    cells = []
    for tau1, tau2 in ((tau1, tau2) for tau1 in grid1 for tau2 in grid2):
        found = _flags(by_rewards(rewards, settings.attempts, tau1, tau2))
        scores = agreement(found, truth)
        measures = {name: scores[name] for name in ("accuracy", "precision", "recall", "f1")}
        cells.append({"tau1": tau1, "tau2": tau2, "difficult": _share(sum(found.values()), len(found))} | measures)
    return {"tau1": grid1, "tau2": grid2, "used": [settings.tau1, settings.tau2], "cells": cells}


def agreement(found: Flags, truth: Flags) -> dict[str, int | float | None]:
    """Return how well decisions agree with the truth, over the `n` questions that have both; "difficult" is positive.

    A measure is None where it is undefined: precision when nothing is called difficult, recall when nothing is, F1 when
    both hold, and accuracy with its exact 95 % interval without a question.
    """
    pairs = [(difficult, truth[id]) for id, difficult in found.items() if id in truth]
    called, wrong = sum(difficult for difficult, _ in pairs), sum(is_wrong for _, is_wrong in pairs)
    hits = sum(difficult and is_wrong for difficult, is_wrong in pairs)
    interval = binomial_interval(sum(difficult == is_wrong for difficult, is_wrong in pairs), len(pairs))
    accuracy, low, high = (None if bound is None else round(bound, 6) for bound in interval)
    return {
        "n": len(pairs),
        "accuracy": accuracy,
        "low": low,
        "high": high,
        "precision": _share(hits, called),
        "recall": _share(hits, wrong),
        "f1": _share(2 * hits, called + wrong),
    }


def _others(settings: Settings, evidence: Evidence, grader: Grader, comparing_is_free: bool) -> Iterator[Judged]:
    """Yield what each strategy says that costs nothing; of step rewards those that are there."""
    every: tuple[Attempts, ...] = ("first", "any", "majority") if evidence.several else ("first",)
    for rule in every:
        found, _ = by_gold(evidence.grades, GoldDifficulty(name="gold", attempts=rule))
        if found:
            yield Judged(f"gold/{rule}", rule, found)
    if evidence.step_rewards is not None and not isinstance(settings, StepRewardDifficulty):
        rule = _attempts(settings) or every[-1]
        yield Judged(f"step_rewards/{rule}", rule, by_rewards(evidence.step_rewards, rule, TAU1, TAU2))
    if comparing_is_free and evidence.several:
        found, _ = by_consistency(evidence.questions, evidence.answers, CONSISTENCY, grader)
        yield Judged("consistency", "majority", found)
    yield Judged("length", "majority", by_length(evidence.answers, MIN_WORDS)[0])


def _counts(found: list[Difficulty], truth: Flags) -> dict[str, int | float | None]:
    flags = _flags(found)
    return {"judged": len(flags), "difficult": sum(flags.values())} | agreement(flags, truth)


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
