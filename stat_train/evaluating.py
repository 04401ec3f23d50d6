"""The benchmarks as artifacts: what each arm answers, what it gets right, and the report of the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stat_train.benchmarks import Benchmark, benchmarks_of
from stat_train.counts import Count, Counts, dropped_counts
from stat_train.curation.inputs import read_profile
from stat_train.evaluation.model_card import model_card
from stat_train.evaluation.report import report_numbers
from stat_train.evaluation.results import ANSWERS_FILE, SCORES_FILE, Graded, write_evaluation, write_report
from stat_train.evaluation.scores import Scored, scored
from stat_train.evaluation.summary import BASE, PROMPTED
from stat_train.evaluation.terminal import print_summary
from stat_train.prompting import prompted_answers
from stat_train.records import Answer, Question
from stat_train.reporting import findings_of, paid, stage_numbers, versions
from stat_train.run import Run
from stat_train.store import Artifact, read_records, write_text
from stat_train.student import Weights, benchmark_answers
from stat_train.tasks.graders import grade

MODEL_CARD = "model_card.md"


def evaluation_of(
    run: Run, questions: Artifact, skill_map: Artifact, overlapping: Artifact, arms: Mapping[str, Weights]
) -> Artifact:
    """Return what the arms got right: the student as it was, each training, and examples in the prompt."""
    benchmarks = benchmarks_of(run, questions)
    made = {(arm, each): benchmark_answers(run, arm, each, arms[arm]) for arm in arms for each in benchmarks}
    if run.config.evaluate.prompting == "adaptmi":
        base = {each: made[BASE, each] for each in benchmarks}
        prompted = prompted_answers(run, questions, skill_map, overlapping, base)
        made |= {(PROMPTED, each): answers for each, answers in prompted.items()}

    def build(folder: Path) -> Counts:
        graded = {key: _graded(run, *key, answers) for key, answers in made.items()}
        found: dict[str, dict[str, Scored]] = {arm: {} for arm, _ in made}
        for (arm, each), rows in graded.items():
            asked = read_records(each.place, Question)
            found[arm][each.name] = scored(asked, rows.grades, rows.answers, each.pass_at)
        write_evaluation(folder, found, graded.values())
        answered = sum(len(rows.answers) for rows in graded.values())
        return {"answer": Count(answered, sum(len(rows.grades) for rows in graded.values()))}

    identity: dict[str, Any] = {"arms": [[arm, each.name, each.pass_at] for arm, each in made]}
    identity |= {"graders": {each.name: run.grader_identity(each.grader) for each in benchmarks}}
    inputs = [questions, *made.values()]
    return run.make("evaluate", 4, inputs, identity, build, "evaluation.json", SCORES_FILE, ANSWERS_FILE)


def _graded(run: Run, arm: str, benchmark: Benchmark, answers: Artifact) -> Graded:
    known = {question.id: question for question in read_records(benchmark.place, Question)}
    given = answers.records("answers.jsonl", Answer)
    return Graded(arm, benchmark.name, given, grade(known, given, run.grader_named(benchmark.grader)))


def report_of(run: Run, profiled: Artifact, trained_on: Artifact, evaluation: Artifact | None) -> Artifact:
    """Return the result for people: a page, the same as numbers, and a card of the model that was trained."""
    made = list(run.folder.made)
    stages = [stage_numbers(artifact) for artifact in made]

    def build(folder: Path) -> Counts:
        curation = json.loads((trained_on.folder / "curation.json").read_text())
        scores = json.loads((evaluation.folder / "evaluation.json").read_text()) if evaluation else None
        numbers = report_numbers(
            config=run.config.model_dump(),
            profile=read_profile(profiled),
            curation=curation,
            evaluation=scores,
            dropped={a.stage: dropped_counts(a.dropped()) for a in made if a.dropped()},
            stages=stages,
            findings=findings_of(run, made, scores),
        )
        write_report(folder, numbers)
        with (trained_on.folder / "training_set.jsonl").open("rb") as rows:
            data = hashlib.file_digest(rows, "sha256").hexdigest()
        if card := model_card(numbers, scores, data):
            write_text(folder / MODEL_CARD, card)
        return {}

    identity = {"settings": run.config.model_dump(), "stages": stages, "paid": paid(run), "versions": versions()}
    artifact = run.make("report", 6, [], identity, build, "report.json", "report.html")
    if (artifact.folder / MODEL_CARD).exists():
        run.link(MODEL_CARD, artifact.folder / MODEL_CARD)
    print_summary(json.loads((artifact.folder / "report.json").read_text()), run.folder.folder, run.console)
    return artifact
