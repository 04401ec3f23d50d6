"""The benchmarks of a run: where their questions are, how they are answered, and what is measured."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stat_train.config import LocalStudent
from stat_train.models.generator import Sampling
from stat_train.run import Run
from stat_train.store import Artifact


class Benchmark(NamedTuple):
    """Questions that tell what a model can do: a file of them, and how each is answered and scored.

    Of `samples` answers to a question the share of right ones counts, or with `pass_at` the chance that one of so many
    is right. `grader` says when an answer is right. `only_difficult`: only what the untrained student finds difficult.
    """

    name: str
    place: Path
    samples: int
    pass_at: int | None
    sampling: Sampling
    grader: str
    only_difficult: bool = False


def benchmarks_of(run: Run, questions: Artifact) -> list[Benchmark]:
    """Return the benchmarks of a run: those of its task."""
    return [benchmark_at(run, place) for place in sorted((questions.folder / "benchmarks").iterdir())]


def benchmark_at(run: Run, place: Path) -> Benchmark:
    """Return the questions of a file as a benchmark that is answered and graded as the task's own."""
    student = run.config.student
    assert isinstance(student, LocalStudent)
    sampling = Sampling(run.config.evaluate.temperature, student.max_new_tokens)
    return Benchmark(place.stem, place, 1, None, sampling, run.config.task.grader)
