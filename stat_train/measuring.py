"""What else is measured of a model with weights, as artifacts: how likely it finds the reference answers."""

from __future__ import annotations

from pathlib import Path

from stat_train import stage
from stat_train.config import LocalStudent
from stat_train.counts import Count, Counts
from stat_train.evaluation.log_probabilities import FILE, LogProbability, LogProbabilityJob, left_out
from stat_train.records import Question
from stat_train.run import Run
from stat_train.store import Artifact, file_hash, read_records, write_records


def reference_log_probabilities(run: Run, arm: str, place: Path, weights: str, fingerprint: str) -> Artifact:
    """Return how likely one arm (weights, known by their fingerprint) finds the reference answers to a benchmark.

    Known by the questions' content and by how they are asked, like the answers, which do not depend on it.
    """
    student = run.config.student
    assert isinstance(student, LocalStudent)
    job = LogProbabilityJob(
        folder=Path(),
        questions=place,
        model=weights,
        revision=student.revision if weights == student.model else None,
        prompt=run.prompt,
        batch_size=run.config.evaluate.batch_size or student.batch_size,
    )
    known_by = job.model_dump(exclude={"folder", "questions", "model", "batch_size"})
    known_by |= {"model": fingerprint, "questions": file_hash(place, run.cache_dir)}

    def build(folder: Path) -> Counts:
        stage.likelihood(job.model_copy(update={"folder": folder}), student.processes)
        asked, rows = read_records(place, Question), read_records(folder / FILE, LogProbability)
        dropped = left_out(asked, rows, "likelihood")
        write_records(folder / "dropped.jsonl", dropped)
        return {"question": Count(len(asked), len(asked) - len(dropped))}

    made = run.make("likelihood", 1, [], known_by, build)
    run.say(f"{arm} on {place.stem}: log-probability of the reference answers")
    return made
