"""What the report shows of a run beside its scores: the course of trainings, examples, what it took, versions."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from glob import escape
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stat_train.costs import costs_of
from stat_train.device_seconds import in_all
from stat_train.evaluation.curves import Training, curves
from stat_train.evaluation.report import Findings
from stat_train.evaluation.report_samples import Shown, chosen, diagnosed, samples
from stat_train.evaluation.results import ANSWERS_FILE
from stat_train.evaluation.summary import BASE, headline_benchmark, trained_arm
from stat_train.records import Answer, Diagnosis, Question, TrainingExample, Verdict
from stat_train.run import Run
from stat_train.store import Artifact, read_records

Numbers = dict[str, Any]
# What a training's result can depend on.
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "deepspeed", "math-verify")


def findings_of(run: Run, made: Sequence[Artifact], evaluation: Numbers | None) -> Findings:
    """Return all that the stages left for the report, beside the profile, the training set and the scores."""
    found = {name: _json_in(made, f"{name}.json") for name in ("difficulty_quality", "audit", "choice")}
    return Findings(
        difficulty=found["difficulty_quality"],
        audit=found["audit"],
        choice=found["choice"],
        curves=curves(list(_trainings(made, found["choice"]))),
        samples=_samples(run, made, evaluation) if evaluation else None,
        diagnosed=_diagnosed(made),
        costs=_costs(run, made),
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """Return the versions of what the results can depend on; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def stage_numbers(artifact: Artifact) -> Numbers:
    """Return what the report says of one stage: how long it took, where that is known on how much, and its counts."""
    counts = {item: {"total": one["total"], "kept": one["kept"]} for item, one in artifact.counts().items()}
    how = _json_in([artifact], "throughput.json") or {}
    about = {"name": artifact.stage, "hash": artifact.hash, "seconds": artifact.seconds, "counts": counts}
    return about | {name: how.get(name) for name in ("processes", "device")}


def _json_in(made: Sequence[Artifact], name: str) -> Any:
    """Return the content of a JSON file that a stage of the run left, or None when none did."""
    place = _file_in(made, name)
    return json.loads(place.read_text(encoding="utf-8")) if place else None


def _file_in(made: Sequence[Artifact], name: str) -> Path | None:
    return next((artifact.folder / name for artifact in made if (artifact.folder / name).is_file()), None)


# -- training ---------------------------------------------------------------------------------------------------------


def _trainings(made: Sequence[Artifact], choice: Numbers | None) -> Iterator[Training]:
    taken = {row["learning_rate"] for row in (choice or {"candidates": []})["candidates"] if row["chosen"]}
    for artifact in _each(made, "train"):
        rate = _identity(artifact)["train"]["learning_rate"]
        yield Training("fine-tuning", f"rate {rate:g}", not taken or rate in taken, _logged(artifact))
    for artifact in _each(made, "rl"):
        yield Training("reinforcement learning", "rl", True, _logged(artifact))


def _each(made: Sequence[Artifact], stage: str) -> list[Artifact]:
    return [artifact for artifact in made if artifact.stage == stage]


def _identity(artifact: Artifact) -> Numbers:
    found: Numbers = json.loads((artifact.folder / "manifest.json").read_text())["identity"]
    return found


def _logged(artifact: Artifact) -> list[Numbers]:
    return [json.loads(line) for line in (artifact.folder / "metrics.jsonl").read_text().splitlines()]


def _costs(run: Run, made: Sequence[Artifact]) -> Numbers:
    """Return what the manifest says of the costs, how long the stages took, and how much of that was training."""
    costs, how = costs_of(run), _json_in(_each(made, "train"), "throughput.json") or {}
    return costs | {
        "device_seconds_in_all": in_all(costs["device_seconds"]),
        "seconds": round(sum(artifact.seconds for artifact in made), 2),
        "training_seconds": round(sum(a.seconds for a in made if a.stage in ("train", "rl")), 2),
        "processes": how.get("processes"),
        "device": how.get("device"),
    }


# -- examples ---------------------------------------------------------------------------------------------------------


def _samples(run: Run, made: Sequence[Artifact], evaluation: Numbers) -> Numbers | None:
    """Return benchmark questions with the first answer before and after; None without a training, or its answers."""
    arms, answers = evaluation["arms"], _file_in(_each(made, "evaluate"), ANSWERS_FILE)
    trained = trained_arm(arms)
    if not trained or BASE not in arms or not answers:
        return None
    benchmark = headline_benchmark(run.config.model_dump(), list(arms[BASE]))
    place = benchmark and _questions_of(made, benchmark)
    if not benchmark or not place:
        return None
    verdicts: dict[str, dict[str, Verdict]] = {BASE: {}, trained: {}}
    for row in _answers(answers, benchmark, verdicts):
        verdicts[row["arm"]][row["question_id"]] = row["verdict"]
    groups = chosen(verdicts[BASE], verdicts[trained])
    wanted = {id for _, ids in groups.values() for id in ids}
    shown: dict[str, dict[str, Shown]] = {BASE: {}, trained: {}}
    for row in _answers(answers, benchmark, verdicts):
        if row["question_id"] in wanted:
            shown[row["arm"]][row["question_id"]] = Shown(row["verdict"], row["text"], row.get("final"))
    questions = {question.id: question for question in read_records(place, Question)}
    return samples(benchmark, groups, questions, shown[BASE], shown[trained])


def _answers(place: Path, benchmark: str, arms: Mapping[str, Any]) -> Iterator[Numbers]:
    """Yield the first answer of these arms to each question of a benchmark, line by line: there can be 64 for each."""
    with place.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["benchmark"] == benchmark and row["arm"] in arms and row["attempt"] == 0:
                yield row


def _questions_of(made: Sequence[Artifact], benchmark: str) -> Path | None:
    """Return the file with the questions of a benchmark, wherever the stage that loaded them put it."""
    loaded = (artifact.folder for artifact in made if artifact.stage.endswith("questions"))
    return next((path for folder in loaded for path in folder.rglob(f"{escape(benchmark)}.jsonl")), None)


def _diagnosed(made: Sequence[Artifact]) -> Numbers | None:
    """Return validation questions with their diagnosis, and the training rows that it led to."""
    names = ("answers.jsonl", "diagnoses.jsonl", "training_set.jsonl", "validation.jsonl")
    # The first stage that has answers is the one that asked the validation questions.
    answers, diagnoses, rows, questions = (_file_in(made, name) for name in names)
    if not (answers and diagnoses and rows and questions):
        return None
    return diagnosed(
        {question.id: question for question in read_records(questions, Question)},
        {(answer.question_id, answer.attempt): answer for answer in read_records(answers, Answer)},
        read_records(diagnoses, Diagnosis),
        read_records(rows, TrainingExample),
    )
