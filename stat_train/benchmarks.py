"""The benchmarks of a run: where their questions are, how they are answered, and what is measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from stat_train.config import BenchmarkSettings, LocalStudent
from stat_train.counts import Counts, seen
from stat_train.errors import InputError
from stat_train.models.generator import Sampling
from stat_train.records import Dropped, Question
from stat_train.run import Run
from stat_train.store import Artifact, read_records, write_records
from stat_train.tasks.load import validation_files
from stat_train.tasks.text import normalised, read_questions

FOLDER = "benchmarks"
STAGE = "benchmark_questions"


class Benchmark(NamedTuple):
    """Questions that tell what a model can do: a file of them, and how each is answered and scored.

    Of `samples` answers to a question the share of right ones counts, or with `pass_at` the chance that one of so many
    is right. `grader` says when an answer is right. `only_difficult`: all questions are asked, and only those count
    that the untrained student finds difficult: `part` is the file of them, once they are known.
    """

    name: str
    place: Path
    samples: int
    pass_at: int | None
    sampling: Sampling
    grader: str
    only_difficult: bool = False
    part: Path | None = None

    @property
    def counted(self) -> Path:
        """Return the file of the questions that count."""
        return self.part or self.place


def benchmark_questions(run: Run, questions: Artifact) -> Artifact | None:
    """Return the questions of the benchmarks beside the task's own, `benchmarks/NAME.jsonl`; None without any.

    Questions of the validation set leave them, which the student was diagnosed on; so do rows that cannot be read.
    Raises InputError when too many cannot, or when a benchmark has no question that could be graded.
    """
    given = {name: each for name, each in run.config.benchmark.items() if each.path is not None}
    if not given:
        return None

    def build(folder: Path) -> Counts:
        (folder / FOLDER).mkdir(exist_ok=True)
        validation = validation_files(questions.folder)
        taken = {normalised(each.question) for place in validation for each in read_records(place, Question)}
        dropped, kept = list[Dropped](), 0
        for name, settings in given.items():
            read = list(_read(name, settings, dropped))
            left = [question for question in read if normalised(question.question) not in taken]
            dropped += _of_validation(question for question in read if normalised(question.question) in taken)
            _require_some(name, settings, read, left)
            write_records(folder / FOLDER / f"{name}.jsonl", left)
            kept += len(left)
        write_records(folder / "dropped.jsonl", (row.model_copy(update={"stage": STAGE}) for row in dropped))
        return {"question": seen(kept, dropped, "question")}

    read_by = {"path", "fields", "max_bad_rows"}
    identity = {
        name: each.model_dump(include=read_by) | {"path": run.fingerprint(each.path or "")}
        for name, each in given.items()
    }
    return run.make(STAGE, 1, [questions], identity, build)


def _read(name: str, settings: BenchmarkSettings, dropped: list[Dropped]) -> Iterator[Question]:
    place, key = settings.path or "", f"benchmark.{name}.path"
    return read_questions(place, "test", settings.fields, dropped, settings.max_bad_rows, key)


def _of_validation(questions: Iterable[Question]) -> list[Dropped]:
    return [Dropped(stage=STAGE, id=each.id, reason="is in the validation set too") for each in questions]


def _require_some(name: str, settings: BenchmarkSettings, read: list[Question], left: list[Question]) -> None:
    given = f"benchmark.{name}.path = {settings.path}"
    if not read:
        raise InputError(f"{given}: holds no questions")
    if not left:
        raise InputError(
            f"{given}: all of its {len(read)} questions are in the validation set (task.validation), where the student "
            "is diagnosed; expected others, which measure the gain"
        )


def require_answers(run: Run, asked: Artifact) -> None:
    """Refuse benchmarks that are to be scored and have no question with a gold answer, where the grader needs one."""
    if not run.config.reaches("evaluate"):
        return
    for name, settings in run.config.benchmark.items():
        place = asked.folder / FOLDER / f"{name}.jsonl"
        grader = settings.grader or run.config.task.grader
        if settings.path is None or not run.grader_named(grader).needs_gold:
            continue
        asked_of = read_records(place, Question)
        if not any(question.answer for question in asked_of):
            raise InputError(
                f"benchmark.{name}.path = {settings.path}: none of its {len(asked_of)} questions has a gold answer to "
                f"grade by; name the column of answers with benchmark.{name}.fields.answer=COLUMN, or of solutions "
                f"that end in one with benchmark.{name}.fields.solution=COLUMN"
            )


def benchmarks_of(run: Run, questions: Artifact) -> list[Benchmark]:
    """Return the benchmarks of a run: those of its task, and then those chosen beside it."""
    places = sorted((questions.folder / FOLDER).iterdir())
    more = benchmark_questions(run, questions)
    found = [benchmark_at(run, place) for place in places]
    for name, settings in run.config.benchmark.items():
        own = questions.folder / FOLDER / f"{run.config.task_benchmarks()[0]}.jsonl"
        place = more.folder / FOLDER / f"{name}.jsonl" if more and settings.path is not None else own
        found.append(_chosen(run, name, settings, place))
    return found


def benchmark_at(run: Run, place: Path) -> Benchmark:
    """Return the questions of a file as a benchmark that is answered and graded as the task's own."""
    settings = run.config.evaluate
    sampling = Sampling(settings.temperature, _student(run).max_new_tokens, settings.top_p)
    return Benchmark(place.stem, place, settings.samples, settings.pass_at, sampling, run.config.task.grader)


def _chosen(run: Run, name: str, settings: BenchmarkSettings, place: Path) -> Benchmark:
    most = settings.max_new_tokens or _student(run).max_new_tokens
    sampling = Sampling(settings.temperature, most, settings.top_p)
    grader = settings.grader or run.config.task.grader
    return Benchmark(name, place, settings.samples, settings.pass_at, sampling, grader, settings.only_difficult)


def _student(run: Run) -> LocalStudent:
    student = run.config.student
    assert isinstance(student, LocalStudent)
    return student
