"""What tracing reads of a finished run: its rows, what they were drawn for, and where the rest is to be found."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

from stat_train.errors import UserError
from stat_train.evaluation.compare_runs import require_run
from stat_train.records import (
    Answer,
    Diagnosis,
    Difficulty,
    Grade,
    Question,
    QuestionSkills,
    StepRewards,
    TrainingExample,
)
from stat_train.store import read_records

A = TypeVar("A", Answer, Grade, StepRewards)
NEEDED = ("training_set", "skill_map", "answers", "grades", "difficulty", "diagnoses")

# What is trained on; a run may have no rows that protect what the student can do.
ROWS = ("training_set.jsonl", "replay.jsonl")


class TracedRun(NamedTuple):
    """A run that has a training set: rows by their id, all else by the id of the validation question.

    `answers` and `grades` are of the attempt that was diagnosed; pool and labels, which can be large, stay on the disk.
    """

    folder: Path
    cache_dir: Path
    rows: dict[str, TrainingExample]
    questions: dict[str, Question]
    difficulty: dict[str, Difficulty]
    answers: dict[str, Answer]
    grades: dict[str, Grade]
    step_rewards: dict[str, StepRewards]
    diagnoses: dict[str, Diagnosis]


def read_run(run_dir: Path) -> TracedRun:
    """Read a run; raises UserError when the folder is none, or the run has no training set yet."""
    require_run(run_dir)
    if absent := [f"{name}.jsonl" for name in NEEDED if not (run_dir / f"{name}.jsonl").is_file()]:
        raise UserError(f"{run_dir}: has no {absent[0]}, so there is nothing to trace yet; run it with until=curate")
    try:
        return _read(run_dir)
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{run_dir}: its results cannot be read ({reason}); run it again with until=curate") from error


def _read(run_dir: Path) -> TracedRun:
    difficulty = {row.question_id: row for row in read_records(run_dir / "difficulty.jsonl", Difficulty)}
    judged = {(row.question_id, row.attempt) for row in difficulty.values()}
    rewards = run_dir / "step_rewards.jsonl"
    scored = read_records(rewards, StepRewards) if rewards.exists() else []
    return TracedRun(
        folder=run_dir,
        # A run's files are links to cache_dir/artifacts/STAGE-HASH/NAME, wherever the run was started.
        cache_dir=(run_dir / "training_set.jsonl").resolve().parent.parent.parent,
        rows={row.id: row for name in ROWS for row in _rows(run_dir / name)},
        questions={row.id: row for row in read_records(run_dir / "questions" / "validation.jsonl", Question)},
        difficulty=difficulty,
        answers=_of_attempts(read_records(run_dir / "answers.jsonl", Answer), judged),
        grades=_of_attempts(read_records(run_dir / "grades.jsonl", Grade), judged),
        step_rewards=_of_attempts(scored, judged),
        diagnoses={row.question_id: row for row in read_records(run_dir / "diagnoses.jsonl", Diagnosis)},
    )


def _rows(path: Path) -> list[TrainingExample]:
    return read_records(path, TrainingExample) if path.exists() else []


def _of_attempts(rows: Iterable[A], judged: Collection[tuple[str, int]]) -> dict[str, A]:
    return {row.question_id: row for row in rows if (row.question_id, row.attempt) in judged}


def labels_of(run: TracedRun, ids: Collection[str]) -> dict[str, QuestionSkills]:
    """Return the labels of questions of pool and validation set, by id."""
    return {row.id: row for row in _labels_with(run, ids) if row.id in ids}


def labelled_by(run: TracedRun, call_id: str) -> list[str]:
    """Return the questions whose labels a call gave."""
    return [row.id for row in _labels_with(run, [call_id]) if call_id in row.call_ids]


def _labels_with(run: TracedRun, words: Collection[str]) -> Iterable[QuestionSkills]:
    """Yield the labels whose line holds one of the words: of a large pool's few are worth reading as records."""
    sought = [json.dumps(word, ensure_ascii=False).encode() for word in words]
    path = run.folder / "skill_map.jsonl"
    with path.open("rb") as lines:
        for line in lines:
            if any(word in line for word in sought):
                yield QuestionSkills.from_line(line.decode())


def pool_questions_of(run: TracedRun, ids: Collection[str]) -> dict[str, Question]:
    """Return questions of the pool by id, found in its memory-mapped column of ids."""
    if not ids:
        return {}
    import pyarrow
    from pyarrow import compute

    from stat_train.curation.source import questions_at
    from stat_train.tasks.load import open_pool

    pool = open_pool(run.folder / "questions")
    found = compute.is_in(pool.data.column("id"), value_set=pyarrow.array(list(ids)))
    rows = compute.indices_nonzero(found).to_pylist()
    return {question.id: question for question in questions_at(pool, rows)} if rows else {}
