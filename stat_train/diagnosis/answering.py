"""The student's own answers to a set of questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel

from stat_train.chunks import Chunked, write_chunks
from stat_train.config import (
    ConsistencyDifficulty,
    Difficulty,
    EndpointStudent,
    LengthDifficulty,
    LocalStudent,
    Prompt,
)
from stat_train.models.budget import Budget
from stat_train.models.generator import Completion, Request, Sampling
from stat_train.models.ledger import Ledger
from stat_train.models.tally import show
from stat_train.progress import Progress
from stat_train.records import Answer, ExemplarPrompt, Question
from stat_train.store import chunk_seed, content_hash, read_records
from stat_train.tasks.answers import extract_final
from stat_train.tasks.prompts import messages

if TYPE_CHECKING:
    # The client that is behind it takes long to import.
    from stat_train.models.servers import OwnServer

CHUNK_SIZE = 500
# Two files beside each other: which examples stand before which question, and the examples themselves.
PROMPTS_FILE, EXEMPLARS_FILE = "adaptmi_prompts.jsonl", "exemplars.jsonl"


class AnswerJob(BaseModel):
    """What the answering process is told: which model answers which questions, and how.

    `exemplars` is the folder of PROMPTS_FILE and EXEMPLARS_FILE, for questions that come after worked examples.
    """

    folder: Path
    questions: Path
    model: str
    revision: str | None
    prompt: Prompt
    attempts: int
    sampling: Sampling
    batch_size: int
    seed: int
    exemplars: Path | None = None


def answers_file(job: AnswerJob) -> Chunked:
    """Return the file that the answers of a job go to, and in which chunks it is made."""
    return Chunked(job.folder / "answers.jsonl", len(_all_asked(job)), CHUNK_SIZE)


def answer_with_weights(job: AnswerJob, launch: str) -> None:
    """Let the model answer chunks of the job's questions until other processes of this launch have the rest."""
    from torch import manual_seed

    from stat_train.models.transformers import TransformersGenerator

    every, chunked = _all_asked(job), answers_file(job)
    generator = TransformersGenerator(job.model, job.revision, job.prompt, job.batch_size)
    prompt_hash, examples = generator.renderer.hash(), _exemplars_before(job.exemplars)
    with Progress(f"Answering ({job.questions.stem})", len(every)) as progress:

        def work(chunk: Sequence[_Asked], index: int) -> list[Answer]:
            manual_seed(chunk_seed(job.seed, "answer", index))
            requests = [_request(job, asked, examples.get(asked.question.id, ())) for asked in chunk]
            completions = list(generator.generate(requests))
            # What the other processes have answered counts too; the chunk at hand is not yet written.
            answered = len(every) - (chunked.left() - 1) * CHUNK_SIZE
            progress.advance(max(answered - progress.done, 0))
            return in_order(completions, prompt_hash)

        write_chunks(chunked, every, launch, work)


def answer_with_endpoint(
    questions: Sequence[Question],
    student: EndpointStudent,
    sampling: Sampling,
    attempts: int,
    ledger: Ledger,
    budget: Budget,
    served: OwnServer | None = None,
) -> list[Answer]:
    """Return the answers of a model that is served; those that are in the ledger are not asked for again.

    An answer that is cut off or refused is the student's answer all the same; one that never came has no text.
    """
    from stat_train.models.endpoint import EndpointGenerator

    prompt = student.prompt
    requests = answer_requests(questions, prompt, sampling, attempts)
    with EndpointGenerator(as_asked(student), ledger, budget, "student", served=served) as generator:
        completions = list(show(generator, requests, "Answering", len(requests)))
    return in_order(completions, content_hash(prompt.model_dump()))


def answer_requests(questions: Iterable[Question], prompt: Prompt, sampling: Sampling, attempts: int) -> list[Request]:
    """Return what a served student is asked."""
    return [
        Request(question.id, messages(prompt, question.question), sampling, attempt)
        for question in questions
        for attempt in range(attempts)
    ]


def how_asked(student: LocalStudent | EndpointStudent, difficulty: Difficulty) -> tuple[Sampling, int]:
    """Return how validation answers are sampled and how many there are: by the student's settings or the strategy's."""
    attempts, temperature = student.attempts, student.temperature
    if isinstance(difficulty, ConsistencyDifficulty | LengthDifficulty):
        attempts, temperature = difficulty.samples, difficulty.temperature
    return Sampling(temperature, student.max_new_tokens), attempts


def as_asked(student: EndpointStudent) -> EndpointStudent:
    """Return a served student whose request bodies carry the arguments of its chat template too."""
    arguments = student.prompt.chat_template_arguments
    overrides = student.request_overrides | ({"chat_template_kwargs": arguments} if arguments else {})
    return student.model_copy(update={"request_overrides": overrides})


class _Asked(NamedTuple):
    question: Question
    attempt: int


def _all_asked(job: AnswerJob) -> list[_Asked]:
    questions = read_records(job.questions, Question)
    return [_Asked(question, attempt) for question in questions for attempt in range(job.attempts)]


def _request(job: AnswerJob, asked: _Asked, exemplars: Iterable[tuple[str, str]]) -> Request:
    conversation = messages(job.prompt, asked.question.question, exemplars=exemplars)
    return Request(asked.question.id, conversation, job.sampling, asked.attempt)


def _exemplars_before(folder: Path | None) -> dict[str, list[tuple[str, str]]]:
    """Return the worked examples before each question, as pairs of question and solution; by the question's id."""
    if folder is None:
        return {}
    known = {row.id: worked_example(row) for row in read_records(folder / EXEMPLARS_FILE, Question)}
    rows = read_records(folder / PROMPTS_FILE, ExemplarPrompt)
    return {row.question_id: [known[id] for id in row.exemplar_ids] for row in rows}


def worked_example(question: Question) -> tuple[str, str]:
    """Return a question and its solution, as they are shown before another question."""
    return question.question, question.solution or ""


def in_order(completions: Iterable[Completion], prompt_hash: str) -> list[Answer]:
    """Return completions as answers, by question id and attempt."""
    return [
        Answer(
            question_id=completion.id,
            attempt=completion.sample,
            text=completion.text,
            final=extract_final(completion.text),
            finish_reason=completion.finish_reason,
            output_tokens=completion.output_tokens,
            prompt_hash=prompt_hash,
            call_id=completion.call_id,
        )
        for completion in sorted(completions, key=lambda completion: (completion.id, completion.sample))
    ]


def unfinished(answers: Sequence[Answer]) -> list[str]:
    """Return in words how many answers were cut off and how many state no final answer; nothing when there are none.

    Many of them tell of the prompt or of student.max_new_tokens, not of missing skills.
    """
    cut_off = sum(answer.finish_reason == "length" for answer in answers)
    without = sum(answer.final is None for answer in answers)
    said = [f"{cut_off} of {len(answers)} answers were cut off at student.max_new_tokens"] if cut_off else []
    return said + ([f"{without} of {len(answers)} answers state no final answer"] if without else [])


def recorded_answers(questions: Iterable[Question], recording: Mapping[str, Sequence[str]]) -> list[Answer]:
    """Return the recorded answers to the questions; their lengths in tokens are not known and given as 0."""
    completions = [
        Completion(question.id, attempt, text, "stop", 0, 0)
        for question in questions
        for attempt, text in enumerate(recording[question.id])
    ]
    return in_order(completions, "recorded")
