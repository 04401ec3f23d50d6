"""Which questions are difficult for the student (method stage 1)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from stat_train.config import ConsistencyDifficulty, GoldDifficulty, StepRewardDifficulty
from stat_train.diagnosis.step_rewards import ExactChecker, step_rewards
from stat_train.records import Answer, Difficulty, Dropped, Grade, Question, StepRewards
from stat_train.tasks.graders import Grader, agreements

T = TypeVar("T", Answer, Grade, StepRewards)


Settings = GoldDifficulty | StepRewardDifficulty | ConsistencyDifficulty


def find_difficult(
    settings: Settings,
    questions: Mapping[str, Question],
    answers: Sequence[Answer],
    grades: Sequence[Grade],
    grader: Grader,
    scored: Sequence[StepRewards] = (),
) -> tuple[list[Difficulty], list[Dropped]]:
    """Return the difficulty of each question by the strategy of the settings, and the questions it cannot judge.

    `scored` are the step rewards of the answers, where a model gave them.
    """
    if isinstance(settings, GoldDifficulty):
        return by_gold(grades, settings)
    if isinstance(settings, ConsistencyDifficulty):
        return _with_enough_samples(questions, answers, settings, grader)
    if settings.step_rewarder == "checker":
        scored = step_rewards(ExactChecker(), questions, answers)
    return by_step_rewards(scored, settings)


def by_gold(grades: Iterable[Grade], settings: GoldDifficulty) -> tuple[list[Difficulty], list[Dropped]]:
    """Return the difficulty of each question by its grades; a question with no scored attempt is left out."""
    found, dropped = [], []
    for question_id, given in _by_question(grades).items():
        scored = [grade for grade in given if grade.verdict != "unscored"]
        if not scored:
            reason = given[0].reason or "unscored"
            dropped.append(Dropped(stage="diagnose", id=question_id, reason="unscored", detail=reason))
            continue
        flags = {grade.attempt: grade.verdict == "wrong" for grade in scored}
        found.append(_decide(question_id, flags, settings.attempts, "gold"))
    return found, dropped


def by_step_rewards(
    scored: Iterable[StepRewards], settings: StepRewardDifficulty
) -> tuple[list[Difficulty], list[Dropped]]:
    """Return the difficulty of each question by the step rewards of its answers, and the answers that have none.

    No gold answer is used. A question without a scored answer is left out: it counts neither as difficult nor as easy.
    """
    found, dropped = [], []
    for question_id, given in _by_question(scored).items():
        dropped += [_too_long(row) for row in given if row.rewards is None]
        rewards = {row.attempt: row.rewards for row in given if row.rewards is not None}
        if not rewards:
            continue
        flags = {attempt: low_rewards(values, settings.tau1, settings.tau2) for attempt, values in rewards.items()}
        decided = _decide(question_id, flags, settings.attempts, "step_rewards")
        found.append(decided.model_copy(update={"step_rewards": rewards[decided.attempt]}))
    return found, dropped


def _too_long(row: StepRewards) -> Dropped:
    detail = f"attempt {row.attempt}: {row.error}"
    return Dropped(stage="diagnose", id=row.question_id, reason="too long for the reward model", detail=detail)


def low_rewards(rewards: Sequence[float], tau1: float, tau2: float) -> bool:
    """Tell whether an answer's step rewards are low: the last or the mean at most tau1, or an earlier one at most tau2.

    An answer without a step is low. This is the paper's rule (arXiv 2510.10023, section 3, stage 1).
    """
    if not rewards:
        return True
    mean = sum(rewards) / len(rewards)
    return rewards[-1] <= tau1 or mean <= tau1 or any(reward <= tau2 for reward in rewards[:-1])


def by_consistency(
    questions: Mapping[str, Question], answers: Iterable[Answer], settings: ConsistencyDifficulty, grader: Grader
) -> list[Difficulty]:
    """Return the difficulty of each question by how often its samples agree on a final answer."""
    finals = {
        question_id: [answer.final for answer in given if answer.final is not None]
        for question_id, given in _by_question(answers).items()
    }
    return [
        Difficulty(question_id=id, difficult=count < settings.min_agreement, rule="consistency", attempt=0)
        for id, count in agreements(questions, finals, grader).items()
    ]


def _with_enough_samples(
    questions: Mapping[str, Question], answers: Sequence[Answer], settings: ConsistencyDifficulty, grader: Grader
) -> tuple[list[Difficulty], list[Dropped]]:
    """Judge the questions with enough samples to agree at all; the others would all count as difficult."""
    counts = Counter(answer.question_id for answer in answers)
    few = {question_id: count for question_id, count in counts.items() if count < settings.min_agreement}
    dropped = [
        Dropped(stage="diagnose", id=question_id, reason="too few samples to agree", detail=f"{count} samples")
        for question_id, count in few.items()
    ]
    enough = (answer for answer in answers if answer.question_id not in few)
    return by_consistency(questions, enough, settings, grader), dropped


def _by_question(rows: Iterable[T]) -> dict[str, list[T]]:
    grouped: dict[str, list[T]] = defaultdict(list)
    for row in rows:
        grouped[row.question_id].append(row)
    return grouped


def _decide(question_id: str, flags: Mapping[int, bool], attempts: str, rule: str) -> Difficulty:
    """Combine a flag per attempt; the attempt to diagnose is the first that is flagged."""
    count = sum(flags.values())
    decisions = {"first": flags[min(flags)], "any": count > 0, "majority": 2 * count > len(flags)}
    flagged = [attempt for attempt, flag in flags.items() if flag]
    attempt = min(flagged) if decisions[attempts] else min(flags)
    return Difficulty(
        question_id=question_id, difficult=decisions[attempts], rule=f"{rule}/{attempts}", attempt=attempt
    )
