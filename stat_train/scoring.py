"""The step rewards of the student's answers as an artifact, where a process reward model gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from stat_train import stage
from stat_train.config import StepRewardDifficulty
from stat_train.counts import Count, Counts
from stat_train.diagnosis.difficulty import find_difficult
from stat_train.diagnosis.step_rewards import ExactChecker, ScoreJob, step_rewards, with_errors
from stat_train.models.places import model_place
from stat_train.records import Answer, Difficulty, Dropped, Question, StepRewards
from stat_train.run import Run, Summary
from stat_train.store import Artifact, file_hash, read_records
from stat_train.task_settings import ArithmeticTask


def step_scores(run: Run, questions: Path, answers: Artifact, *links: str) -> Artifact | None:
    """Let the reward model score the answers to a file of questions, in processes; None where the run has no model.

    Known by the model, how it is shown an answer, and the content of questions and answers: not by the thresholds.
    Where the first attempts alone count, the others are not scored.
    """
    difficulty = run.config.difficulty
    if not isinstance(difficulty, StepRewardDifficulty) or difficulty.step_rewarder == "checker":
        return None
    assert difficulty.prm
    weights = model_place(difficulty.prm.model)
    job = ScoreJob(
        folder=Path(),
        questions=questions,
        answers=answers.folder / "answers.jsonl",
        step_rewarder=difficulty.step_rewarder,
        settings=difficulty.prm.model_copy(update={"model": weights}),
        first_only=difficulty.attempts == "first",
    )
    identity: Summary = difficulty.prm.identity() | {"step_rewarder": job.step_rewarder, "first_only": job.first_only}
    identity |= {"model": run.fingerprint(weights)}
    identity |= {"questions": file_hash(job.questions, run.cache_dir), "answers": file_hash(job.answers, run.cache_dir)}

    def build(folder: Path) -> Counts:
        run.free_gpus()
        stage.score(job.model_copy(update={"folder": folder}), job.settings.processes)
        scored = len(read_records(folder / "step_rewards.jsonl", StepRewards))
        return {"answer": Count(scored, scored)}

    return run.make("score", 2, [], identity, build, *links)


def difficult_among(
    run: Run, place: Path, answers: Artifact, scores: Artifact | None
) -> tuple[list[Difficulty], list[Dropped]]:
    """Return which questions of a file are difficult by these answers, and those that cannot be judged.

    No gold answer is used. `scores` are the step scores of the answers, where a model gave them.
    """
    asked = {question.id: question for question in read_records(place, Question)}
    given = answers.records("answers.jsonl", Answer)
    scored = step_rewards_of(run, asked, given, scores)
    return find_difficult(run.config.difficulty, asked, given, [], run.grader, scored)


def step_rewards_of(
    run: Run, questions: Mapping[str, Question], answers: Sequence[Answer], scores: Artifact | None
) -> list[StepRewards]:
    """Return the step rewards of the answers: a model's, or on the embedded task the exact checker's; else none.

    The checker errs as often, and is as unsure, as the difficulty rule says, where it judges by the checker.
    """
    if scores:
        return scores.records("step_rewards.jsonl", StepRewards)
    if not isinstance(run.config.task, ArithmeticTask):
        return []
    rule, exact = run.config.difficulty, step_rewards(ExactChecker(), questions, answers)
    if not isinstance(rule, StepRewardDifficulty):
        return exact
    return with_errors(exact, rule.checker_error_rate, rule.checker_spread)
