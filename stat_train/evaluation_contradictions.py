"""What is wrong between settings of the evaluation that are each right alone."""

from __future__ import annotations

from pathlib import Path

from stat_train.config import (
    BenchmarkSettings,
    Config,
    ConsistencyDifficulty,
    Evaluation,
    GoldDifficulty,
    LocalStudent,
    OpenAITeacher,
    StepRewardDifficulty,
    absent_file,
)
from stat_train.task_settings import ArithmeticTask

# Names that mean something else where benchmarks are named.
NOT_FOR_BENCHMARKS = {
    "all": "stat-train compare --benchmark all means every one",
    "pool": "the pool has this name",
    "validation": "the validation set has this name",
}


def check_evaluation(config: Config) -> list[str]:
    """Return what is wrong between the settings of benchmarks, and between them and the others."""
    problems = _check_samples("evaluate", config.evaluate) + _check_prompting(config)
    problems += _check_students(config) + _check_harness(config)
    for name, settings in config.benchmark.items():
        problems += _check_benchmark(config, name, settings)
    return problems


def _check_samples(group: str, settings: Evaluation | BenchmarkSettings) -> list[str]:
    problems, samples = [], f"{group}.samples = {settings.samples}"
    if settings.pass_at and settings.pass_at > settings.samples:
        problems.append(f"{group}.pass_at = {settings.pass_at}: expected at most {samples}")
    if settings.samples > 1 and settings.temperature == 0:
        given = f"{samples}: greedy answers are all alike ({group}.temperature = {settings.temperature})"
        problems.append(f"{given}; use {group}.temperature=0.6, or one sample")
    return problems


def _check_students(config: Config) -> list[str]:
    if not config.benchmark or not config.reaches("evaluate") or isinstance(config.student, LocalStudent):
        return []
    given = f"benchmark = {', '.join(config.benchmark)}"
    remedy = "use student=local, or decontaminate.against for files that are only not to be trained on"
    return [f"{given}: student={config.student.name} is not asked benchmarks; {remedy}"]


def _check_benchmark(config: Config, name: str, settings: BenchmarkSettings) -> list[str]:
    problems, group = _check_samples(f"benchmark.{name}", settings), f"benchmark.{name}"
    taken = dict.fromkeys(map(str.casefold, config.task_benchmarks()), "the task's own benchmark has this name")
    if reason := (taken | NOT_FOR_BENCHMARKS).get(name.casefold()):
        problems.append(f"benchmark = {name}: {reason}; expected another name")
    if settings.path and (problem := absent_file(f"{group}.path", settings.path)):
        problems.append(problem)
    if settings.grader == "judge" and not isinstance(config.teacher, OpenAITeacher):
        problems.append(f"{group}.grader = judge: asks the teacher, and needs teacher=openai")
    if settings.only_difficult and config.reaches("evaluate"):
        problems += _check_difficult_part(config, settings.path, f"{group}.only_difficult = true")
    return problems


def _check_difficult_part(config: Config, path: str | None, given: str) -> list[str]:
    """Return why a benchmark's difficult questions cannot be told from the rest by what the student answers there."""
    difficulty = config.difficulty
    if path is not None and isinstance(difficulty, StepRewardDifficulty) and difficulty.step_rewarder == "checker":
        why = "difficulty=step_rewards checks the steps of the embedded task's own questions, not those of a file"
        return [f"{given}: {why}; use difficulty=prm, token_prm or length"]
    if isinstance(difficulty, GoldDifficulty):
        # Chosen by one wrong answer, they are answered better by any other: regression to the mean.
        why = "difficulty=gold would choose what the untrained student has wrong, so that any other answer is a gain"
        return [f"{given}: {why}; use difficulty={_rules(config)} or length"]
    if isinstance(difficulty, ConsistencyDifficulty):
        counted = f"{difficulty.samples} samples of each answer, which a benchmark may not have"
        return [f"{given}: difficulty=consistency needs {counted}; use difficulty={_rules(config)} or length"]
    return []


def _rules(config: Config) -> str:
    return "step_rewards" if isinstance(config.task, ArithmeticTask) else "prm, token_prm"


def _check_prompting(config: Config) -> list[str]:
    """Return why prompts cannot be chosen by what the student finds difficult among the benchmark's questions."""
    if config.evaluate.prompting == "plain" or not config.reaches("evaluate"):
        return []
    given, difficulty = "evaluate.prompting = adaptmi", config.difficulty
    remedy = f"use difficulty={_rules(config)} or length, or evaluate.prompting=plain"
    if not isinstance(config.student, LocalStudent):
        name = config.student.name
        return [f"{given}: student={name} is not asked the benchmark; use student=local, or evaluate.prompting=plain"]
    if isinstance(difficulty, GoldDifficulty):
        return [f"{given}: difficulty=gold would choose the prompts by the benchmark's answer key; {remedy}"]
    if isinstance(difficulty, ConsistencyDifficulty):
        counted = f"{difficulty.samples} samples of each answer, and a benchmark question is answered once"
        return [f"{given}: difficulty=consistency needs {counted}; {remedy}"]
    return []


def _check_harness(config: Config) -> list[str]:
    names, folder = config.evaluate.harness, config.evaluate.harness_tasks
    problems = []
    if folder and not Path(folder).expanduser().is_dir():
        problems.append(f"evaluate.harness_tasks = {folder}: no such folder (looked in {Path.cwd()})")
    given = f"evaluate.harness = [{', '.join(names)}]"
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        problems.append(f"{given}: {twice[0]} is named twice")
    if not names or not config.reaches("evaluate"):
        return problems
    if not isinstance(config.student, LocalStudent):
        name = config.student.name
        problems.append(f"{given}: student={name} has no weights to ask; use student=local, or evaluate.harness=[]")
    return problems
