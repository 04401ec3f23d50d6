"""The files that evaluation leaves: `evaluation.json`, scores, answers with their verdicts, and the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stat_train.evaluation.report import report_html
from stat_train.evaluation.scores import Scored
from stat_train.evaluation.summary import Arms, evaluation
from stat_train.records import Answer, Grade, Record, Verdict
from stat_train.store import write_json, write_records, write_text

SCORES_FILE, ANSWERS_FILE = "benchmark_scores.jsonl", "benchmark_answers.jsonl"
# The questions that count, NAME.jsonl for each benchmark.
QUESTIONS_FOLDER = "benchmark_questions"
EVALUATION_FILES = ("evaluation.json", SCORES_FILE, ANSWERS_FILE, QUESTIONS_FOLDER)


class BenchmarkScore(Record):
    """What one arm scored on one benchmark question, kept so that any two runs can be compared pair by pair.

    `score` lies in 0 to 1, and is absent when the question is unscored; `log_probability` is nats per token of the
    reference answer, absent when it is not known.
    """

    arm: str
    benchmark: str
    question_id: str
    score: float | None = None
    log_probability: float | None = None


class BenchmarkAnswer(Record):
    """One answer of one arm to a benchmark question, and the verdict on it."""

    arm: str
    benchmark: str
    question_id: str
    attempt: int
    verdict: Verdict
    reason: str | None = None
    finish_reason: str
    output_tokens: int
    final: str | None = None
    text: str


class Graded(NamedTuple):
    """The answers of one arm to a benchmark, with their grades in the same order."""

    arm: str
    benchmark: str
    answers: Sequence[Answer]
    grades: Sequence[Grade]


def write_evaluation(folder: Path, arms: Arms, graded: Iterable[Graded], harness: Mapping[str, Any]) -> None:
    """Write what the arms scored (arm -> benchmark -> scores), and the verdict on each answer behind it.

    `harness` has what lm-evaluation-harness says of whole tasks, which is not all in scores of single questions.
    """
    write_records(folder / ANSWERS_FILE, (row for each in graded for row in _answers(each)))
    write_records(folder / SCORES_FILE, _scores(arms))
    (folder / QUESTIONS_FOLDER).mkdir(exist_ok=True)
    for name, found in {name: found for each in arms.values() for name, found in each.items()}.items():
        # Of the harness's questions only ids are known.
        if questions := [question for question in found.questions if question.question]:
            write_records(folder / QUESTIONS_FOLDER / f"{name}.jsonl", questions)
    write_json(folder / "evaluation.json", evaluation(arms) | ({"harness": harness} if harness else {}))


def _answers(graded: Graded) -> Iterator[BenchmarkAnswer]:
    for answer, grade in zip(graded.answers, graded.grades, strict=True):
        yield BenchmarkAnswer(
            arm=graded.arm,
            benchmark=graded.benchmark,
            question_id=grade.question_id,
            attempt=grade.attempt,
            verdict=grade.verdict,
            reason=grade.reason,
            finish_reason=answer.finish_reason,
            output_tokens=answer.output_tokens,
            final=answer.final,
            text=answer.text,
        )


def _scores(arms: Mapping[str, Mapping[str, Scored]]) -> Iterator[BenchmarkScore]:
    for arm, benchmarks in arms.items():
        for name, found in benchmarks.items():
            for id, score in found.scores.items():
                known = found.log_probabilities.get(id)
                yield BenchmarkScore(arm=arm, benchmark=name, question_id=id, score=score, log_probability=known)


def write_report(folder: Path, numbers: dict[str, Any]) -> None:
    """Write the report as numbers and as a page."""
    write_json(folder / "report.json", numbers)
    write_text(folder / "report.html", report_html(numbers))
