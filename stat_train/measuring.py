"""What else is measured of a model with weights, as artifacts: log-probabilities, and tasks of others."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

from stat_train import stage
from stat_train.benchmarks import Benchmark
from stat_train.config import LocalStudent
from stat_train.counts import Count, Counts
from stat_train.evaluation.harness import RESULTS, HarnessJob, local_data, read_aggregates, require_tasks
from stat_train.evaluation.log_probabilities import FILE, LogProbability, LogProbabilityJob, left_out
from stat_train.models.places import Weights
from stat_train.records import Question
from stat_train.run import Run, Summary
from stat_train.store import Artifact, file_hash, read_records, write_records


def reference_log_probabilities(run: Run, arm: str, asked: Benchmark, weights: Weights) -> Artifact:
    """Return how likely one arm finds the reference answers to all questions of a benchmark.

    Known by the questions' content and by how they are asked, like the answers, which do not depend on it.
    """
    student = run.config.student
    assert isinstance(student, LocalStudent)
    job = LogProbabilityJob(
        folder=Path(),
        questions=asked.place,
        model=weights.place,
        revision=weights.revision,
        prompt=run.prompt,
        batch_size=run.config.evaluate.batch_size or student.batch_size,
    )
    known_by = job.model_dump(exclude={"folder", "questions", "model", "batch_size"})
    known_by |= {"model": weights.known_by, "questions": file_hash(asked.place, run.cache_dir)}

    def build(folder: Path) -> Counts:
        run.free_gpus()
        stage.likelihood(job.model_copy(update={"folder": folder}), student.processes)
        questions, rows = read_records(asked.place, Question), read_records(folder / FILE, LogProbability)
        dropped = left_out(questions, rows, "likelihood")
        write_records(folder / "dropped.jsonl", dropped)
        return {"question": Count(len(questions), len(questions) - len(dropped))}

    before = len(run.folder.made)
    made = run.make("likelihood", 1, [], known_by, build)
    # Benchmarks that ask the same file share it.
    if len(run.folder.made) > before:
        run.say(f"{arm} on {asked.name}: log-probability of the reference answers")
    return made


# -- lm-evaluation-harness --------------------------------------------------------------------------------------------


def require_harness(run: Run) -> None:
    """Refuse tasks of lm-evaluation-harness that would run a model's text, or that are not there, nor their files."""
    settings = run.config.evaluate
    if settings.harness and run.config.reaches("evaluate"):
        require_tasks(settings.harness, _own_tasks(run))
        for task in settings.harness:
            local_data(task, _own_tasks(run))


def harness_results(run: Run, arm: str, task: str, weights: Weights) -> Artifact:
    """Return what one arm gets right in a task of lm-evaluation-harness.

    An artifact for each arm and task, so that one more task does not run the others again. Known by the version of the
    harness, the folder of the user's tasks and the files and folders that their questions are in; what lies on the hub
    is known by its name. The answers of a task that samples depend on the batch size too, which is not counted.
    """
    student, folder = run.config.student, _own_tasks(run)
    assert isinstance(student, LocalStudent)
    job = HarnessJob(
        folder=Path(),
        task=task,
        tasks=folder,
        limit=run.config.evaluate.harness_limit,
        model=weights.place,
        revision=weights.revision,
        chat_template_arguments=student.prompt.chat_template_arguments,
        batch_size=run.config.evaluate.batch_size or student.batch_size,
    )
    known_by: Summary = job.model_dump(exclude={"folder", "tasks", "model", "batch_size"})
    known_by |= {"model": weights.known_by, "lm_eval": version("lm_eval")}
    data = [file_hash(path, run.cache_dir) for path in local_data(task, folder)]
    if folder:
        known_by |= {"tasks": file_hash(folder, run.cache_dir)}
    if folder or data:
        known_by |= {"data": data}

    def build(folder: Path) -> Counts:
        run.free_gpus()
        stage.harness(job.model_copy(update={"folder": folder}))
        asked = json.loads((folder / RESULTS).read_text(encoding="utf-8"))["n-samples"].values()
        done = sum(each["effective"] for each in asked)
        return {"question": Count(done, done)}

    made = run.make("harness", 1, [], known_by, build)
    run.say(f"{arm} on {task}, by lm-evaluation-harness")
    without = {name: about["reason"] for name, about in read_aggregates(made.folder).items() if "reason" in about}
    run.say_all(f"{name}: kept as a whole, not question by question: {reason}" for name, reason in without.items())
    return made


def _own_tasks(run: Run) -> Path | None:
    """Return the folder of the user's own task files, where there is one."""
    given = run.config.evaluate.harness_tasks
    return Path(given).expanduser().absolute() if given else None
