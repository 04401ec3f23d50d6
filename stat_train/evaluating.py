"""The benchmarks as artifacts: what each arm answers, what it gets right, and the report of the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stat_train.counts import Count, Counts, dropped_counts
from stat_train.curation.inputs import read_profile
from stat_train.evaluation.model_card import model_card
from stat_train.evaluation.report import Findings, report_numbers
from stat_train.evaluation.results import write_evaluation, write_report
from stat_train.evaluation.summary import BASE
from stat_train.evaluation.terminal import print_summary
from stat_train.prompting import prompted_answers
from stat_train.records import Answer, Question
from stat_train.run import Run
from stat_train.store import Artifact, read_records, write_text
from stat_train.student import benchmark_answers
from stat_train.tasks.graders import grade
from stat_train.tuning import Weights

MODEL_CARD = "model_card.md"


def evaluation_of(
    run: Run, questions: Artifact, skill_map: Artifact, overlapping: Artifact, arms: Mapping[str, Weights]
) -> Artifact:
    """Return what the arms got right: the student as it was, each training, and examples in the prompt."""
    benchmarks = sorted((questions.folder / "benchmarks").iterdir())
    made = {
        (arm, place): benchmark_answers(run, arm, place, weights.place, weights.known_by)
        for arm, weights in arms.items()
        for place in benchmarks
    }
    if run.config.evaluate.prompting == "adaptmi":
        base = {place: made[BASE, place] for place in benchmarks}
        prompted = prompted_answers(run, questions, skill_map, overlapping, base)
        made |= {("adaptmi", place): answers for place, answers in prompted.items()}

    def build(folder: Path) -> Counts:
        graded: dict[str, dict[str, Any]] = {arm: {} for arm, _ in made}
        for (arm, place), answers in made.items():
            asked = read_records(place, Question)
            known = {question.id: question for question in asked}
            given = answers.records("answers.jsonl", Answer)
            graded[arm][place.stem] = (asked, grade(known, given, run.grader))
        write_evaluation(folder, graded)
        every = sum(len(grades) for found in graded.values() for _, grades in found.values())
        return {"answer": Count(sum(len(a.records("answers.jsonl", Answer)) for a in made.values()), every)}

    identity = {"arms": [[arm, place.stem] for arm, place in made], "grader": run.grader_identity()}
    inputs = [questions, *made.values()]
    return run.make("evaluate", 3, inputs, identity, build, "evaluation.json", "benchmark_grades.jsonl")


def report_of(run: Run, profiled: Artifact, trained_on: Artifact, evaluation: Artifact | None) -> Artifact:
    """Return the result for people: a page, the same as numbers, and a card of the model that was trained."""
    made = list(run.folder.made)
    # Who was told of the run is no part of its result.
    settings = run.config.model_dump(exclude={"track"})
    stages = [{"name": a.stage, "hash": a.hash, "seconds": a.seconds} for a in made]

    def build(folder: Path) -> Counts:
        curation = json.loads((trained_on.folder / "curation.json").read_text())
        scores = json.loads((evaluation.folder / "evaluation.json").read_text()) if evaluation else None
        found = {name: _found_in(made, f"{name}.json") for name in ("difficulty_quality", "audit", "choice")}
        numbers = report_numbers(
            config=settings,
            profile=read_profile(profiled),
            curation=curation,
            evaluation=scores,
            dropped={a.stage: dropped_counts(a.dropped()) for a in made if a.dropped()},
            stages=stages,
            findings=Findings(found["difficulty_quality"], found["audit"], found["choice"]),
        )
        write_report(folder, numbers)
        with (trained_on.folder / "training_set.jsonl").open("rb") as rows:
            data = hashlib.file_digest(rows, "sha256").hexdigest()
        if card := model_card(numbers, scores, data):
            write_text(folder / MODEL_CARD, card)
        return {}

    identity = {"settings": settings, "stages": stages}
    artifact = run.make("report", 5, [], identity, build, "report.json", "report.html")
    if (artifact.folder / MODEL_CARD).exists():
        run.link(MODEL_CARD, artifact.folder / MODEL_CARD)
    print_summary(json.loads((artifact.folder / "report.json").read_text()), run.folder.folder, run.console)
    return artifact


def _found_in(made: Sequence[Artifact], name: str) -> Any:
    """Return the content of a JSON file that a stage of the run left, or None when none did."""
    place = next((artifact.folder / name for artifact in made if (artifact.folder / name).is_file()), None)
    return json.loads(place.read_text(encoding="utf-8")) if place else None
