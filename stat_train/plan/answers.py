"""How many answers a run lets its models give, which no one pays for: to be known before a GPU is rented."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from stat_train import pipeline
from stat_train.benchmarks import benchmarks_of
from stat_train.config import Config, LocalStudent
from stat_train.diagnosis.answering import how_asked
from stat_train.plan.look import Look
from stat_train.plan.stand_in import benchmark_size
from stat_train.records import Question
from stat_train.store import read_records
from stat_train.task_settings import ArithmeticTask
from stat_train.train_settings import SftTraining


class AnswersPlan(NamedTuple):
    """The numbers of answers, and the same in words."""

    numbers: dict[str, Any]
    words: str


class Sizes(NamedTuple):
    """How many questions there are: of the validation set, and of each benchmark by name."""

    validation: int
    benchmarks: Mapping[str, int]


def sizes_of(look: Look) -> Sizes | None:
    """Return the numbers of questions of a run that is looked at; None where the student has no weights here."""
    if not isinstance(look.config.student, LocalStudent):
        return None
    questions = pipeline.load(look)
    benchmarks = {each.name: len(read_records(each.place, Question)) for each in benchmarks_of(look, questions)}
    return Sizes(len(questions.records("validation.jsonl", Question)), benchmarks)


def sizes_in(config: Config) -> Sizes | None:
    """Return the numbers of questions that the settings themselves tell; None where one is missing."""
    task = config.task
    if not isinstance(task, ArithmeticTask):
        return None
    sizes: dict[str, int | None] = {name: task.benchmark_size(name) for name in task.benchmarks}
    for name, each in config.benchmark.items():
        sizes[name] = benchmark_size(config, name) if each.path else task.benchmark_size(task.benchmarks[0])
    known = {name: size for name, size in sizes.items() if size is not None}
    return Sizes(task.validation, known) if len(known) == len(sizes) else None


def answers_of(config: Config, sizes: Sizes | None) -> AnswersPlan | None:
    """Return how many answers a local student gives, before training and after; None where that is not known."""
    student = config.student
    if sizes is None or not isinstance(student, LocalStudent):
        return None
    numbers = {"validation": how_asked(student, config.difficulty)[1] * sizes.validation}
    numbers |= {"choosing": _candidates(config) * sizes.validation}
    per_model = sum(sizes.benchmarks[name] * samples for name, samples in _asked(config))
    models = 1 + (config.train.name != "none") + (config.rl.name != "none") + (config.evaluate.prompting == "adaptmi")
    numbers |= {"benchmarks": per_model * models if config.reaches("evaluate") else 0}
    parts = {
        "to the validation questions": numbers["validation"],
        "to choose a checkpoint": numbers["choosing"],
        f"to the benchmarks ({models} x {per_model:,})": numbers["benchmarks"],
    }
    told = ", ".join(f"{count:,} {what}" for what, count in parts.items() if count)
    return AnswersPlan(numbers | {"models": models, "per_model": per_model}, f"{told}")


def _candidates(config: Config) -> int:
    """Return how many models answer the validation questions so that one is chosen, the untrained one with them."""
    train = config.train
    if not isinstance(train, SftTraining) or not config.reaches("train"):
        return 0
    candidates = len(train.learning_rates or [train.learning_rate]) * train.keep_checkpoints
    return candidates + 1 if candidates > 1 else 0


def _asked(config: Config) -> Iterator[tuple[str, int]]:
    """Yield the benchmarks that each model answers, and how often; a part of the task's own is not answered again."""
    own = config.evaluate
    yield from ((name, own.samples) for name in config.task_benchmarks())
    for name, each in config.benchmark.items():
        again = (each.samples, each.temperature, each.top_p) != (own.samples, own.temperature, own.top_p)
        if each.path is not None or again or each.max_new_tokens:
            yield name, each.samples
