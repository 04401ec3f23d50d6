"""The reward of an answer: 1 where the task's grader finds it right, 0 where wrong, none where it cannot tell."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from statistics import fmean
from typing import Any, cast

from stat_train.errors import UserError
from stat_train.records import Answer, Question, Verdict
from stat_train.tasks.answer_pool import PooledGrader, grader_function, is_function
from stat_train.tasks.answers import BuiltInGrader, extract_final
from stat_train.tasks.graders import Grader, PlainGrader, answer_pair

REWARDS: dict[Verdict, float | None] = {"correct": 1.0, "wrong": 0.0, "unscored": None}


def open_grader(name: str, timeout_seconds: float) -> AbstractContextManager[Grader]:
    """Return the task's grader; what may take long is compared in worker processes, the cores shared with other ranks.

    Raises UserError for `judge`, which would ask a teacher about every answer.
    """
    if name == "judge":
        raise UserError(
            "task.grader = judge: would ask the teacher about each of the student's answers during rl; expected math, "
            "exact, numeric, choice or a function of yours (package.module:function), or rl=none"
        )
    if is_function(name):
        grader_function(name)
    if name == "math" or is_function(name):
        beside = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        return PooledGrader(name, timeout_seconds, max(1, len(os.sched_getaffinity(0)) // beside))
    return nullcontext(PlainGrader(cast(BuiltInGrader, name)))


def rewards(questions: Sequence[Question], texts: Sequence[str], grader: Grader) -> list[float | None]:
    """Return the reward of each answer `texts[i]` to `questions[i]`, by the same comparison as in grading."""
    pairs = [
        answer_pair(question, _answer(question, text), grader) for question, text in zip(questions, texts, strict=True)
    ]
    return [REWARDS[found.verdict] for found in grader.compare(pairs)]


def _answer(question: Question, text: str) -> Answer:
    return Answer(
        question_id=question.id,
        attempt=0,
        text=text,
        final=extract_final(text),
        finish_reason="stop",
        output_tokens=0,
        prompt_hash="",
    )


def reply_text(token_ids: Sequence[int], stops: set[int], tokenizer: Any) -> str:
    """Return the text of a reply up to the first token that ends it, as it is read when the student answers."""
    length = next((index for index, token in enumerate(token_ids) if token in stops), len(token_ids))
    text: str = tokenizer.decode(list(token_ids[:length]), skip_special_tokens=True)
    return text


def batch_numbers(
    found: Sequence[float | None], skills: Sequence[Sequence[str]], rollouts: int
) -> dict[str, float | None]:
    """Return what is told of the answers to a batch of questions, `rollouts` answers to each, one after the other.

    The mean reward, also of each skill's questions (`reward/skill/NAME`; None where no answer was scored); the share of
    answers that are `unscored`; and of questions with a scored answer, the share whose answers all got the same reward,
    so that nothing is learned from them. `skills[i]` are those of the question that answer i is to.
    """
    of_skill: dict[str, list[float]] = {}
    for reward, names in zip(found, skills, strict=True):
        for name in names:
            of_skill.setdefault(name, []).extend([] if reward is None else [reward])
    scored = [reward for reward in found if reward is not None]
    groups = [{*found[start : start + rollouts]} - {None} for start in range(0, len(found), rollouts)]
    kinds = [len(group) for group in groups if group]
    return {
        "reward": mean(scored),
        "unscored_share": 1 - len(scored) / len(found),
        "same_reward_share": mean([float(count == 1) for count in kinds]),
        **{f"reward/skill/{name}": mean(values) for name, values in sorted(of_skill.items())},
    }


def mean(values: Sequence[float]) -> float | None:
    """Return the mean, None of nothing."""
    return fmean(values) if values else None
