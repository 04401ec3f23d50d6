"""The files that evaluation leaves: `evaluation.json`, `benchmark_grades.jsonl`, `report.json`, `report.html`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stat_train.evaluation.report import report_html
from stat_train.evaluation.summary import Graded, evaluation
from stat_train.records import Record, Verdict
from stat_train.store import write_json, write_records, write_text

Arms = Mapping[str, Mapping[str, Graded]]


class BenchmarkGrade(Record):
    """The verdict on one benchmark question of one arm, kept so that any two runs can be compared pair by pair."""

    arm: str
    benchmark: str
    question_id: str
    verdict: Verdict


def write_evaluation(folder: Path, arms: Arms) -> None:
    """Write the evaluation of the arms (arm -> benchmark -> questions and grades)."""
    write_records(folder / "benchmark_grades.jsonl", _rows(arms))
    write_json(folder / "evaluation.json", evaluation(arms))


def _rows(arms: Arms) -> list[BenchmarkGrade]:
    return [
        BenchmarkGrade(arm=arm, benchmark=name, question_id=grade.question_id, verdict=grade.verdict)
        for arm, benchmarks in arms.items()
        for name, (_, grades) in benchmarks.items()
        for grade in grades
        if grade.attempt == 0
    ]


def write_report(folder: Path, numbers: dict[str, Any]) -> None:
    """Write the report as numbers and as a page."""
    write_json(folder / "report.json", numbers)
    write_text(folder / "report.html", report_html(numbers))
