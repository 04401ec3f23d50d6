"""Which questions are difficult for the student (method stage 1)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from stat_train.config import ConsistencyDifficulty, GoldDifficulty, LengthDifficulty, StepRewardDifficulty
from stat_train.diagnosis.skill_map import reasons
from stat_train.errors import UserError
from stat_train.records import Answer, Difficulty, Dropped, Grade, Question, StepRewards
from stat_train.tasks.graders import Grader, agreements, given_answer

T = TypeVar("T", Answer, Grade, StepRewards)
Settings = GoldDifficulty | StepRewardDifficulty | ConsistencyDifficulty | LengthDifficulty
# What is left out where answers are judged one by one.
ANSWER = "answer"
# By question id and attempt: the reward of each step of that answer.
Rewards = Mapping[str, Mapping[int, Sequence[float]]]


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
        return by_consistency(questions, answers, settings, grader)
    if isinstance(settings, LengthDifficulty):
        return by_length(answers, settings.min_words)
    return by_step_rewards(scored, settings)


def require_gold(settings: Settings, questions: Iterable[Question], grader: Grader) -> None:
    """Refuse to judge by gold answers where no question has one, before anything is asked."""
    if not isinstance(settings, GoldDifficulty) or not grader.needs_gold:
        return
    asked = list(questions)
    if not any(question.answer for question in asked):
        raise UserError(
            f"difficulty = gold: none of the {len(asked)} validation questions has a gold answer to grade by. Give "
            "them (task.fields.answer), use task.grader=judge with teacher=openai, which judges each answer on its "
            "own, or choose a difficulty that needs none: prm, consistency, length"
        )


def require_judged(settings: Settings, found: Sequence[Difficulty], dropped: Sequence[Dropped]) -> None:
    """Refuse a run in which no question could be judged: its profile would be empty."""
    if not found:
        raise UserError(
            f"difficulty = {settings.name}: no question could be judged{reasons(dropped)}. Give what it judges by "
            "(gold answers, more answers of the student, a grader that can decide), or choose another difficulty"
        )


def by_gold(grades: Iterable[Grade], settings: GoldDifficulty) -> tuple[list[Difficulty], list[Dropped]]:
    """Return the difficulty of each question by its grades; a question with no scored attempt is left out."""
    found, dropped = [], []
    for question_id, given in _by_question(grades).items():
        counted = _first(given) if settings.attempts == "first" else given
        scored = [grade for grade in counted if grade.verdict != "unscored"]
        if not scored:
            reason = counted[0].reason or "unscored"
            dropped.append(Dropped(stage="diagnose", id=question_id, reason="unscored", detail=reason))
            continue
        flags = {grade.attempt: grade.verdict == "wrong" for grade in scored}
        found.append(_decide(question_id, flags, settings.attempts, "gold"))
    return found, dropped


def by_step_rewards(
    scored: Sequence[StepRewards], settings: StepRewardDifficulty
) -> tuple[list[Difficulty], list[Dropped]]:
    """Return the difficulty of each question by the step rewards of its answers, and the answers that have none.

    No gold answer is used. A question without a scored answer is left out: it counts neither as difficult nor as easy.
    """
    first = settings.attempts == "first"
    counted = [row for given in _by_question(scored).values() for row in (_first(given) if first else given)]
    dropped = [_without_rewards(row) for row in counted if row.rewards is None]
    return by_rewards(rewards_of(counted), settings.attempts, settings.tau1, settings.tau2), dropped


def rewards_of(scored: Iterable[StepRewards]) -> dict[str, dict[int, list[float]]]:
    """Return step rewards by question id and attempt, of the answers that have some."""
    found: dict[str, dict[int, list[float]]] = defaultdict(dict)
    for row in scored:
        if row.rewards is not None:
            found[row.question_id][row.attempt] = row.rewards
    return dict(found)


def by_rewards(rewards: Rewards, attempts: str, tau1: float, tau2: float) -> list[Difficulty]:
    """Return the difficulty of each question by step rewards that are known."""
    found = []
    for question_id, given in rewards.items():
        flags = {attempt: low_rewards(values, tau1, tau2) for attempt, values in given.items()}
        decided = _decide(question_id, flags, attempts, "step_rewards")
        found.append(decided.model_copy(update={"step_rewards": given[decided.attempt]}))
    return found


def _without_rewards(row: StepRewards) -> Dropped:
    reason, _, more = (row.error or "no step rewards").partition(": ")
    detail = f"attempt {row.attempt}{': ' if more else ''}{more}"
    return Dropped(stage="diagnose", id=row.question_id, reason=reason, detail=detail, item=ANSWER)


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
) -> tuple[list[Difficulty], list[Dropped]]:
    """Return the difficulty of each question by how often its samples agree on a final answer.

    A question with fewer samples than have to agree is left out: it would be difficult whatever they say.
    """
    came = _that_came(answers)
    dropped = [
        Dropped(stage="diagnose", id=id, reason="too few samples to agree", detail=f"{len(given)} samples")
        for id, given in came.items()
        if len(given) < settings.min_agreement
    ]
    finals = {
        id: [text for answer in given if (text := given_answer(answer.final, answer.text, grader)) and text.strip()]
        for id, given in came.items()
        if len(given) >= settings.min_agreement
    }
    found = [
        Difficulty(
            question_id=id, difficult=count < settings.min_agreement, rule="consistency", attempt=came[id][0].attempt
        )
        for id, count in agreements(questions, finals, grader, settings.min_agreement).items()
    ]
    return found, dropped


def by_length(answers: Iterable[Answer], min_words: int) -> tuple[list[Difficulty], list[Dropped]]:
    """Return the difficulty of each question by the mean length of its answers (arXiv 2510.10023).

    A question without an answer is left out: nothing that was said is not a short answer.
    """
    found, dropped = [], []
    for id, given in _that_came(answers).items():
        if not given:
            dropped.append(Dropped(stage="diagnose", id=id, reason="no answer came"))
            continue
        words = sum(len(answer.text.split()) for answer in given)
        difficult = words >= min_words * len(given)
        found.append(Difficulty(question_id=id, difficult=difficult, rule="length", attempt=given[0].attempt))
    return found, dropped


def _that_came(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    """Return the answers to each question, less those that a server never gave."""
    grouped = _by_question(answers).items()
    return {id: [answer for answer in given if answer.finish_reason != "error"] for id, given in grouped}


def _by_question(rows: Iterable[T]) -> dict[str, list[T]]:
    grouped: dict[str, list[T]] = defaultdict(list)
    for row in rows:
        grouped[row.question_id].append(row)
    return grouped


def _first(given: Sequence[T]) -> list[T]:
    """Return the first attempt alone: another in its place would favour what is easy to judge."""
    return [min(given, key=lambda row: row.attempt)]


def _decide(question_id: str, flags: Mapping[int, bool], attempts: str, rule: str) -> Difficulty:
    """Combine a flag per attempt; the attempt to diagnose is the first that is flagged."""
    difficult = decide(flags, attempts)
    flagged = [attempt for attempt, flag in flags.items() if flag]
    attempt = min(flagged) if difficult else min(flags)
    return Difficulty(question_id=question_id, difficult=difficult, rule=f"{rule}/{attempts}", attempt=attempt)


def decide(flags: Mapping[int, bool], attempts: str) -> bool:
    """Tell whether a question is difficult, given which attempts are flagged."""
    count = sum(flags.values())
    return {"first": flags[min(flags)], "any": count > 0, "majority": 2 * count > len(flags)}[attempts]
