"""Run folders as an evaluated run leaves them, written by a test, for all that reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from stat_train.evaluation.scores import Scored, scored
from stat_train.evaluation.summary import evaluation
from stat_train.records import Grade, Question, Verdict

CODES: dict[str, Verdict] = {"+": "correct", "-": "wrong", "?": "unscored"}
Marks = dict[str, str]


def write_run(
    run_dir: Path,
    arms: dict[str, Marks],
    recipe: str = "stat_sel",
    first_question: int = 0,
    skills: Sequence[str] = (),
    config: Mapping[str, Any] | None = None,
    **files: Any,
) -> Path:
    """Write a run folder; `arms` holds per arm and benchmark one mark a question: + right, - wrong, ? unscored.

    `skills` names one skill a question, which the run then shows; `files` are the contents of further JSON files, each
    under its name without the ending.
    """
    run_dir.mkdir(parents=True)
    settings = {"task": {"name": "arithmetic"}, "data_recipe": {"name": recipe, "pairs": 5000}} | dict(config or {})
    (run_dir / "config.yaml").write_text(yaml.safe_dump(settings))
    graded = {
        arm: {name: _graded(marks, first_question, skills) for name, marks in benchmarks.items()}
        for arm, benchmarks in arms.items()
    }
    (run_dir / "evaluation.json").write_text(json.dumps(evaluation(graded)))
    rows = [
        {"arm": arm, "benchmark": name, "question_id": id} | ({} if score is None else {"score": score})
        for arm, benchmarks in graded.items()
        for name, found in benchmarks.items()
        for id, score in found.scores.items()
    ]
    (run_dir / "benchmark_scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if skills:
        _show_questions(run_dir, graded["base"])
    for name, content in files.items():
        (run_dir / f"{name}.json").write_text(json.dumps(content))
    return run_dir


def standard(base: str, trained: str) -> dict[str, Marks]:
    """Return the arms of a run on the benchmark `standard` alone."""
    return {"base": {"standard": base}, "sft": {"standard": trained}}


def _graded(marks: str, first_question: int, skills: Sequence[str]) -> Scored:
    ids = [f"q{first_question + index}" for index in range(len(marks))]
    grades = [Grade(question_id=id, attempt=0, verdict=CODES[mark]) for id, mark in zip(ids, marks, strict=True)]
    needed = skills or ["add"] * len(marks)
    questions = [Question(id=id, question=id, skills=[skill]) for id, skill in zip(ids, needed, strict=True)]
    return scored(questions, grades)


def _show_questions(run_dir: Path, benchmarks: Mapping[str, Scored]) -> None:
    folder = run_dir / "questions" / "benchmarks"
    folder.mkdir(parents=True)
    for name, found in benchmarks.items():
        (folder / f"{name}.jsonl").write_text("".join(question.to_line() for question in found.questions))
