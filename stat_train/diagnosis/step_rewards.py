"""How good each step of an answer is: by an exact checker, or by a model in processes of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple, Protocol

from pydantic import BaseModel

from stat_train.chunks import Chunked, write_chunks
from stat_train.config import RewardModel
from stat_train.progress import Progress
from stat_train.records import Answer, Question, StepRewards
from stat_train.store import read_records
from stat_train.tasks.arithmetic.checker import score_steps
from stat_train.tasks.steps import split_steps

CHUNK_SIZE = 100
DIGITS = 6


class Stepped(NamedTuple):
    """A question, and an answer to it as a list of steps."""

    question: Question
    steps: list[str]


class Scored(NamedTuple):
    """One reward in [0, 1] for each step, or why there are none: the reason, and after a colon more of this one."""

    rewards: list[float] | None
    error: str | None = None


NEVER_CAME = Scored(None, "no answer came")
ANOTHER_TASK = Scored(None, "not of the embedded task, whose checker knows its own questions only")


class StepRewarder(Protocol):
    """Scores the steps of answers."""

    def score(self, items: Sequence[Stepped]) -> list[Scored]:
        """Return what each answer's steps are worth, in the order of the items."""
        ...


class ExactChecker:
    """The checker of the embedded task: 1 for a step that reaches the right number, else 0."""

    def score(self, items: Sequence[Stepped]) -> list[Scored]:
        """Return what each answer's steps are worth."""
        return [Scored(score_steps(*each)) if each.question.source else ANOTHER_TASK for each in items]


def step_rewards(
    rewarder: StepRewarder, questions: Mapping[str, Question], answers: Sequence[Answer]
) -> list[StepRewards]:
    """Return the step rewards of each answer, rounded to six digits; an answer that never came has none."""
    came = [answer for answer in answers if answer.finish_reason != "error"]
    items = [Stepped(questions[answer.question_id], split_steps(answer.text)) for answer in came]
    found = {(a.question_id, a.attempt): scored for a, scored in zip(came, rewarder.score(items), strict=True)}
    every = ((answer, found.get((answer.question_id, answer.attempt), NEVER_CAME)) for answer in answers)
    return [
        StepRewards(
            question_id=answer.question_id,
            attempt=answer.attempt,
            rewards=None if scored.rewards is None else [round(reward, DIGITS) for reward in scored.rewards],
            error=scored.error,
        )
        for answer, scored in every
    ]


def with_errors(scored: Sequence[StepRewards], rate: float, spread: float = 0.0) -> list[StepRewards]:
    """Return step rewards of which a share, the rate, is turned round: a right step taken for a wrong one, or reversed.

    Then each has a normal deviation, `spread` its standard deviation, and is cut to 0 and 1. Each step has draws of its
    own, known by its answer and its place in it: the same in every run, and what is turned round at a low rate is so at
    any higher one.
    """
    return [
        row if row.rewards is None else row.model_copy(update={"rewards": _unsure(row, _misjudged(row, rate), spread)})
        for row in scored
    ]


def _misjudged(row: StepRewards, rate: float) -> list[float]:
    draws = Random(f"step_checker/{row.question_id}/{row.attempt}")
    return [1 - reward if draws.random() < rate else reward for reward in row.rewards or ()]


def _unsure(row: StepRewards, rewards: Sequence[float], spread: float) -> list[float]:
    if not spread:
        return list(rewards)
    draws = Random(f"step_checker_spread/{row.question_id}/{row.attempt}")
    return [round(min(1.0, max(0.0, reward + draws.gauss(0.0, spread))), DIGITS) for reward in rewards]


# -- by a model -------------------------------------------------------------------------------------------------------


class ScoreJob(BaseModel):
    """What the scoring process is told: which model scores which answers, and how."""

    folder: Path
    questions: Path
    answers: Path
    step_rewarder: Literal["prm", "token_prm"]
    settings: RewardModel
    first_only: bool


def rewards_file(job: ScoreJob) -> Chunked:
    """Return the file that the step rewards of a job go to, and in which chunks it is made."""
    return Chunked(job.folder / "step_rewards.jsonl", len(_to_score(job)), CHUNK_SIZE)


def _to_score(job: ScoreJob) -> list[Answer]:
    """Return the answers that count: of each question all, or the first."""
    answers = read_records(job.answers, Answer)
    first: dict[str, int] = {}
    for answer in answers:
        first[answer.question_id] = min(answer.attempt, first.get(answer.question_id, answer.attempt))
    return [each for each in answers if not job.first_only or each.attempt == first[each.question_id]]


def score_with_weights(job: ScoreJob, launch: str) -> None:
    """Let the model score chunks of the job's answers until other processes of this launch have the rest."""
    from stat_train.diagnosis.reward_models import CausalRewarder, TokenRewarder

    questions = {question.id: question for question in read_records(job.questions, Question)}
    answers, chunked = _to_score(job), rewards_file(job)
    causal = job.step_rewarder == "prm"
    rewarder: StepRewarder = CausalRewarder(job.settings) if causal else TokenRewarder(job.settings)
    with Progress("Scoring steps", len(answers)) as progress:

        def work(chunk: Sequence[Answer], _: int) -> list[StepRewards]:
            rows = step_rewards(rewarder, questions, chunk)
            # What the other processes have scored counts too; the chunk at hand is not yet written.
            scored = len(answers) - (chunked.left() - 1) * CHUNK_SIZE
            progress.advance(max(scored - progress.done, 0))
            return rows

        write_chunks(chunked, answers, launch, work)
