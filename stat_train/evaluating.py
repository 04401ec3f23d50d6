"""The benchmarks as artifacts: what each arm answers, what it gets right, and the report of the run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stat_train.benchmarks import Benchmark, benchmarks_of
from stat_train.costs import paid
from stat_train.counts import Count, Counts, dropped_counts
from stat_train.curation.inputs import read_profile
from stat_train.difficult_parts import narrowed
from stat_train.evaluation.harness import read_aggregates, read_scores
from stat_train.evaluation.log_probabilities import read_log_probabilities
from stat_train.evaluation.model_card import model_card
from stat_train.evaluation.report import report_numbers
from stat_train.evaluation.results import EVALUATION_FILES, Graded, write_evaluation, write_report
from stat_train.evaluation.scores import Scored, by_number, often_cut_off, scored
from stat_train.evaluation.summary import BASE, PROMPTED
from stat_train.evaluation.terminal import print_summary
from stat_train.measuring import harness_results, reference_log_probabilities
from stat_train.models.places import Weights
from stat_train.prompting import prompted_answers
from stat_train.records import Answer, Question
from stat_train.reporting import findings_of, stage_numbers, versions
from stat_train.run import Run
from stat_train.store import Artifact, file_hash, read_records, write_text
from stat_train.student import benchmark_answers
from stat_train.tasks.graders import grade

MODEL_CARD = "model_card.md"


def evaluation_of(
    run: Run, questions: Artifact, skill_map: Artifact, overlapping: Artifact, arms: Mapping[str, Weights]
) -> Artifact:
    """Return what the arms got right: the student as it was, each training, and examples in the prompt."""
    benchmarks = narrowed(run, benchmarks_of(run, questions), (BASE, arms[BASE]))
    made = {(arm, each): benchmark_answers(run, arm, each, arms[arm]) for arm in arms for each in benchmarks}
    if run.config.evaluate.prompting == "adaptmi":
        base = {each: made[BASE, each] for each in benchmarks}
        prompted = prompted_answers(run, questions, skill_map, overlapping, base)
        made |= {(PROMPTED, each): answers for each, answers in prompted.items()}
    likelihoods = _likelihoods(run, arms, benchmarks)
    tasks = [(arm, task) for task in run.config.evaluate.harness for arm in arms]
    harness = {each: harness_results(run, *each, arms[each[0]]) for each in tasks}

    def build(folder: Path) -> Counts:
        graded = {key: _graded(run, *key, answers) for key, answers in made.items()}
        found: dict[str, dict[str, Scored]] = {arm: {} for arm, _ in made}
        for (arm, each), rows in graded.items():
            asked = read_records(each.counted, Question)
            known = read_log_probabilities(likelihoods[arm, each].folder) if (arm, each) in likelihoods else {}
            one = scored(asked, rows.grades, rows.answers, each.pass_at, known)
            found[arm][each.name] = one._replace(only_difficult=each.only_difficult)
        for (arm, _), results in harness.items():
            found[arm] |= {name: by_number(name, scores) for name, scores in read_scores(results.folder).items()}
        wholes = {f"{arm} on {task}": read_aggregates(each.folder) for (arm, task), each in harness.items()}
        write_evaluation(folder, found, graded.values(), wholes)
        answered = sum(len(rows.answers) for rows in graded.values())
        return {"answer": Count(answered, sum(len(rows.grades) for rows in graded.values()))}

    identity: dict[str, Any] = {"arms": [[arm, each.name, each.pass_at] for arm, each in made]}
    identity |= {"graders": {each.name: run.grader_identity(each.grader) for each in benchmarks}}
    parts = {each.name: file_hash(each.part, run.cache_dir) for each in benchmarks if each.part}
    identity |= {"parts": parts} if parts else {}
    inputs = [questions, *made.values(), *likelihoods.values(), *harness.values()]
    artifact = run.make("evaluate", 5, inputs, identity, build, *EVALUATION_FILES)
    run.say_all(often_cut_off(json.loads((artifact.folder / "evaluation.json").read_text())))
    return artifact


def _likelihoods(
    run: Run, arms: Mapping[str, Weights], benchmarks: Sequence[Benchmark]
) -> dict[tuple[str, Benchmark], Artifact]:
    """Return how likely each arm, asked plainly, finds the reference answers; nothing where that is not wanted."""
    if not run.config.evaluate.log_probabilities:
        return {}
    return {
        (arm, each): reference_log_probabilities(run, arm, each, weights)
        for arm, weights in arms.items()
        for each in benchmarks
    }


def _graded(run: Run, arm: str, benchmark: Benchmark, answers: Artifact) -> Graded:
    known = {question.id: question for question in read_records(benchmark.counted, Question)}
    given = [each for each in answers.records("answers.jsonl", Answer) if each.question_id in known]
    return Graded(arm, benchmark.name, given, grade(known, given, run.grader_named(benchmark.grader)))


def report_of(
    run: Run, profiled: Artifact, curated: Artifact, trained_on: Artifact, evaluation: Artifact | None
) -> Artifact:
    """Return the result for people: a page, the same as numbers, and a card of the model that was trained."""
    made = list(run.folder.made)
    # Who was told of the run, and where it ran, is no part of its result.
    settings = run.config.model_dump(exclude={"track", "sweep", "slurm"})
    stages = [stage_numbers(artifact) for artifact in made]

    def build(folder: Path) -> Counts:
        curation = json.loads((curated.folder / "curation.json").read_text())
        scores = json.loads((evaluation.folder / "evaluation.json").read_text()) if evaluation else None
        numbers = report_numbers(
            config=settings,
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

    identity = {"settings": settings, "stages": stages, "paid": paid(run), "versions": versions()}
    artifact = run.make("report", 7, [], identity, build, "report.json", "report.html")
    if (artifact.folder / MODEL_CARD).exists():
        run.link(MODEL_CARD, artifact.folder / MODEL_CARD)
    print_summary(json.loads((artifact.folder / "report.json").read_text()), run.folder.folder, run.console)
    return artifact
