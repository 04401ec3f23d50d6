"""The schema of the tasks: where questions come from; the defaults and their meaning are in `conf/task/`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from stat_train.setting_types import OPERATIONAL, Count, GraderName, Node, Positive, Share, Text

ArithmeticBenchmark = Literal["standard", "unseen_phrasings", "larger_numbers", "longer_chains", "retention"]


class ArithmeticTask(Node):
    """The embedded task; pool, validation and benchmark are numbers of questions to make."""

    name: Literal["arithmetic"]
    mix: Literal["a", "b", "c"]
    pool_evenness: Share
    min_steps: Annotated[int, Field(ge=1, le=6)]
    max_steps: Annotated[int, Field(ge=1, le=6)]
    pool: Positive
    validation: Positive
    benchmark: Positive | dict[ArithmeticBenchmark, Positive]
    benchmarks: Annotated[list[ArithmeticBenchmark], Field(min_length=1)]
    grader: Literal["exact", "numeric", "math"]
    grader_timeout_seconds: Annotated[float, Field(gt=0), OPERATIONAL]

    def identity(self) -> dict[str, Any]:
        """Return the settings that a stage's hash covers; a pool of the mix itself is known as it always was."""
        known_by = super().identity()
        return known_by if self.pool_evenness else {k: v for k, v in known_by.items() if k != "pool_evenness"}

    def benchmark_size(self, name: ArithmeticBenchmark) -> int:
        """Return how many questions a benchmark has."""
        return self.benchmark if isinstance(self.benchmark, int) else self.benchmark[name]


class FieldNames(Node):
    """Which column of a row holds what; None for a column that the rows do not have."""

    id: Text | None
    question: Text
    answer: Text | None
    solution: Text | None
    subject: Text | None
    level: Text | None
    skills: Text | None
    licence: Text | None


class TextTask(Node):
    """Questions from files or the hub: `pool` and `benchmark` are a path (JSONL, Parquet) or a hub name."""

    name: Literal["math", "gsm8k", "jsonl"]
    pool: Text
    benchmark: Text
    validation: Positive | Text
    skills: Text | None
    grader: GraderName
    grader_timeout_seconds: Annotated[float, Field(gt=0), OPERATIONAL]
    fields: FieldNames
    max_bad_rows: Count
