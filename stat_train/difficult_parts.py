"""The difficult part of a benchmark as an artifact: what the untrained student finds difficult there."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stat_train.benchmarks import Benchmark
from stat_train.counts import Count, Counts
from stat_train.models.places import Weights
from stat_train.records import Dropped, Question
from stat_train.run import Run, Summary
from stat_train.scoring import difficult_among, step_scores
from stat_train.store import Artifact, file_hash, read_records, write_records
from stat_train.student import benchmark_answers

QUESTIONS = "questions.jsonl"


def narrowed(run: Run, benchmarks: Iterable[Benchmark], base: tuple[str, Weights]) -> list[Benchmark]:
    """Return the benchmarks, with the part that counts of those of which only the difficult questions do.

    `base` is the untrained student, its name as an arm and its weights.
    """
    every = list(benchmarks)
    # The first benchmark that asks the same file: the task's own, where that is what it asks.
    first = {each.place: each for each in reversed(every)}
    return [_narrowed(run, each, first[each.place], base) if each.only_difficult else each for each in every]


def _narrowed(run: Run, benchmark: Benchmark, asked: Benchmark, base: tuple[str, Weights]) -> Benchmark:
    part = _difficult_part(run, asked, benchmark_answers(run, base[0], asked, base[1]))
    hard, every = len(part.records(QUESTIONS, Question)), len(read_records(asked.place, Question))
    run.say(f"{benchmark.name}: {hard:,} of {every:,} questions are difficult for the untrained student")
    return benchmark._replace(part=part.folder / QUESTIONS)


def _difficult_part(run: Run, asked: Benchmark, answers: Artifact) -> Artifact:
    """Return the questions that the run's rule finds difficult by these answers; no gold answer is used."""
    scores = step_scores(run, asked.place, answers)

    def build(folder: Path) -> Counts:
        found, unjudged = difficult_among(run, asked.place, answers, scores)
        difficult, reasons = {row.question_id: row.difficult for row in found}, {row.id: row.reason for row in unjudged}
        questions = read_records(asked.place, Question)
        left_out = [
            Dropped(stage="difficult", id=each.id, reason=f"not judged: {reasons.get(each.id, 'no answer')}")
            for each in questions
            if each.id not in difficult
        ]
        write_records(folder / QUESTIONS, (each for each in questions if difficult.get(each.id)))
        write_records(folder / "dropped.jsonl", left_out)
        return {"question": Count(len(questions), len(difficult))}

    rule = {name: value for name, value in run.config.difficulty.identity().items() if name != "prm"}
    identity: Summary = {"difficulty": rule, "questions": file_hash(asked.place, run.cache_dir)}
    return run.make("difficult", 1, [answers, *([scores] if scores else [])], identity, build)
