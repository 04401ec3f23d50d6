"""The student: its weights, and its answers as artifacts, to validation questions and to benchmarks."""

from __future__ import annotations

from pathlib import Path

from stat_train import stage
from stat_train.benchmarks import Benchmark
from stat_train.config import EndpointStudent, LocalStudent, RecordedStudent
from stat_train.counts import Count, Counts
from stat_train.diagnosis.answering import (
    EXEMPLARS_FILE,
    PROMPTS_FILE,
    AnswerJob,
    answer_with_endpoint,
    how_asked,
    recorded_answers,
)
from stat_train.models.generator import Sampling
from stat_train.models.places import Weights, model_place
from stat_train.models.recorded import read_recording
from stat_train.records import Answer, Question
from stat_train.run import Run
from stat_train.store import Artifact, file_hash, read_records, write_records


def student_weights(run: Run) -> Weights:
    """Return the student as it is: in a later round, the model of the round before."""
    if run.round.student:
        return run.round.student
    student = run.config.student
    assert isinstance(student, LocalStudent)
    place = model_place(student.model)
    return Weights(place, student.revision, run.fingerprint(place))


def weights_to_train(run: Run) -> Weights:
    """Return the model that training starts from: the student, unless the round starts from an earlier one."""
    return run.round.start or student_weights(run)


def validation_answers(run: Run, questions: Artifact) -> Artifact:
    """Return the student's own answers to the validation questions."""
    student = run.config.student
    validation = questions.folder / "validation.jsonl"
    if isinstance(student, RecordedStudent):
        recording = Path(student.path).expanduser()

        def build(folder: Path) -> Counts:
            asked = read_records(validation, Question)
            given = recorded_answers(asked, read_recording(recording))
            write_records(folder / "answers.jsonl", given)
            return {"answer": Count(len(given), len(given))}

        known_by = {"recording": run.fingerprint(str(recording))}
        return run.make("answer", 1, [questions], known_by, build, "answers.jsonl")
    sampling, attempts = how_asked(student, run.config.difficulty)
    if isinstance(student, EndpointStudent):
        return _ask_served(run, questions, student, sampling, attempts)
    weights = student_weights(run)
    job = _job(run, validation, weights, sampling, attempts, student.batch_size)
    return _answer(run, "answer", job, weights.known_by, "answers.jsonl")


def benchmark_answers(
    run: Run, arm: str, asked: Benchmark, weights: Weights, exemplars: Path | None = None, name: str = "benchmark"
) -> Artifact:
    """Return the answers of one arm to the questions of a benchmark.

    `exemplars` is the folder that says which worked examples stand before each question, where some do. `name` is that
    of the stage.
    """
    settings, student = run.config.evaluate, run.config.student
    assert isinstance(student, LocalStudent)
    batch_size = settings.batch_size or student.batch_size
    job = _job(run, asked.place, weights, asked.sampling, asked.samples, batch_size)
    before = len(run.folder.made)
    made = _answer(run, name, job.model_copy(update={"exemplars": exemplars}), weights.known_by)
    if len(run.folder.made) > before:
        run.say(f"{arm} on {asked.name}")
    return made


def _ask_served(run: Run, questions: Artifact, student: EndpointStudent, sampling: Sampling, attempts: int) -> Artifact:
    def build(folder: Path) -> Counts:
        asked = questions.records("validation.jsonl", Question)
        served = run.served("student", student)
        given = answer_with_endpoint(asked, student, sampling, attempts, run.ledger, run.budget, served)
        write_records(folder / "answers.jsonl", given)
        return {"answer": Count(len(asked) * attempts, len(given))}

    identity = student.identity() | {"sampling": [*sampling.identity().values()], "attempts": attempts}
    return run.make("answer", 1, [questions], identity, build, "answers.jsonl")


def _job(run: Run, questions: Path, weights: Weights, sampling: Sampling, attempts: int, batch_size: int) -> AnswerJob:
    return AnswerJob(
        folder=Path(),
        questions=questions,
        model=weights.place,
        revision=weights.revision,
        prompt=run.prompt,
        attempts=attempts,
        sampling=sampling,
        batch_size=batch_size,
        seed=run.config.seed if sampling.temperature else 0,
    )


def _answer(run: Run, name: str, job: AnswerJob, fingerprint: str, *links: str) -> Artifact:
    """Let a model answer questions in processes of its own; known by the questions' content, not by where they are."""
    student = run.config.student
    assert isinstance(student, LocalStudent)
    known_by = job.model_dump(exclude={"folder", "questions", "model", "batch_size", "exemplars"})
    known_by |= {"sampling": [*job.sampling.identity().values()]}
    # Greedy answers are the same in any batch; sampled ones take their random numbers batch by batch.
    known_by |= {"batch_size": job.batch_size} if job.sampling.temperature else {}
    known_by |= {"model": fingerprint, "questions": file_hash(job.questions, run.cache_dir)}
    if job.exemplars:
        known_by |= {file: file_hash(job.exemplars / file, run.cache_dir) for file in (PROMPTS_FILE, EXEMPLARS_FILE)}

    def build(folder: Path) -> Counts:
        run.free_gpus()
        stage.answer(job.model_copy(update={"folder": folder}), student.processes)
        asked, given = (len(read_records(job.questions, Question)), len(read_records(folder / "answers.jsonl", Answer)))
        return {"answer": Count(asked * job.attempts, given)}

    return run.make(name, 1, [], known_by, build, *links)
