"""How likely a model finds the reference answers: the continuous companion of accuracy.

Exact match needs every token of an answer, so at first a gain per token hardly shows in it. The mean log-probability
of the reference answer moves with the tokens (Schaeffer et al. 2023, arXiv 2304.15004).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from stat_train.chunks import Chunked, write_chunks
from stat_train.config import Prompt
from stat_train.progress import Progress
from stat_train.records import Dropped, Question, Record
from stat_train.store import read_records
from stat_train.tasks.prompts import IGNORED, PromptRenderer, messages

FILE = "log_probabilities.jsonl"
CHUNK_SIZE = 500
DIGITS = 6
# Logits are made for every token of a batch: 8,192 tokens of a vocabulary of 150,000 take 2.5 GB in bfloat16.
TOKENS_AT_A_TIME = 8192


class LogProbability(Record):
    """How likely the reference answer to a question is: nats per token, over so many tokens, its end included.

    Without a value, `error` says why it has none.
    """

    question_id: str
    mean_log_probability: float | None = None
    tokens: int
    error: str | None = None


class LogProbabilityJob(BaseModel):
    """What the process is told: which model looks at the reference answers to which questions, and how it is asked."""

    folder: Path
    questions: Path
    model: str
    revision: str | None
    prompt: Prompt
    batch_size: int


def reference(question: Question) -> str | None:
    """Return the text that the student should write: the solution, or where there is none the answer."""
    return next((text for text in (question.solution, question.answer) if text and text.strip()), None)


def log_probabilities_file(job: LogProbabilityJob) -> Chunked:
    """Return the file that the rows of a job go to, and in which chunks it is made."""
    return Chunked(job.folder / FILE, len(_with_reference(job)), CHUNK_SIZE)


def left_out(questions: Iterable[Question], rows: Iterable[LogProbability], stage: str) -> list[Dropped]:
    """Return the questions that have no log-probability, each with the reason."""
    without = [question.id for question in questions if reference(question) is None]
    failed = [(row.question_id, row.error.partition(": ")) for row in rows if row.error]
    return [
        *(Dropped(stage=stage, id=id, reason="no reference answer") for id in without),
        *(Dropped(stage=stage, id=id, reason=reason, detail=detail) for id, (reason, _, detail) in failed),
    ]


def read_log_probabilities(folder: Path) -> dict[str, float]:
    """Return the mean log-probability of each question that has one, in nats per token."""
    rows = read_records(folder / FILE, LogProbability)
    return {row.question_id: row.mean_log_probability for row in rows if row.mean_log_probability is not None}


def rate_with_weights(job: LogProbabilityJob, launch: str) -> None:
    """Let the model look at chunks of the reference answers until other processes of this launch have the rest."""
    from stat_train.models.transformers import context_tokens, load_model, load_tokenizer

    asked, chunked = _with_reference(job), log_probabilities_file(job)
    tokenizer, model = load_tokenizer(job.model, job.revision), load_model(job.model, job.revision).eval()
    renderer, most = PromptRenderer(tokenizer, job.prompt), context_tokens(job.model, job.revision, tokenizer)
    with Progress(f"Reading reference answers ({job.questions.stem})", len(asked)) as progress:

        def work(chunk: Sequence[Question], _: int) -> list[LogProbability]:
            shown = [_shown(renderer, question) for question in chunk]
            found = _rated([each for each in shown if not _too_long(each, most)], model, job.batch_size)
            rated = len(asked) - (chunked.left() - 1) * CHUNK_SIZE
            progress.advance(max(rated - progress.done, 0))
            return [_row(each, found.get(each.question_id), most) for each in shown]

        write_chunks(chunked, asked, launch, work)


class _Shown(NamedTuple):
    """The tokens of a question with its reference answer, the last `answer_tokens` of which are the answer's."""

    question_id: str
    token_ids: list[int]
    answer_tokens: int


def _with_reference(job: LogProbabilityJob) -> list[Question]:
    return [question for question in read_records(job.questions, Question) if reference(question) is not None]


def _shown(renderer: PromptRenderer, question: Question) -> _Shown:
    token_ids, labels = renderer.training_tokens(messages(renderer.prompt, question.question, reference(question)))
    return _Shown(question.id, token_ids, sum(label != IGNORED for label in labels))


def _too_long(shown: _Shown, most: int | None) -> bool:
    return most is not None and len(shown.token_ids) > most


def _row(shown: _Shown, value: float | None, most: int | None) -> LogProbability:
    """Return the row of a question; a model whose weights are damaged gives no number."""
    error = None
    if _too_long(shown, most):
        error = f"too long for the context: {len(shown.token_ids):,} tokens, and the model takes {most:,}"
    elif value is None or not math.isfinite(value):
        value, error = None, f"log-probability is not finite: {value}"
    rounded = None if value is None else round(value, DIGITS)
    return LogProbability(
        question_id=shown.question_id, mean_log_probability=rounded, tokens=shown.answer_tokens, error=error
    )


def _rated(every: Sequence[_Shown], model: Any, batch_size: int) -> dict[str, float]:
    """Return the mean log-probability of each answer, by the question's id."""
    batches = _batches(every, batch_size)
    return {
        each.question_id: value for batch in batches for each, value in zip(batch, _means(model, batch), strict=True)
    }


def _batches(every: Sequence[_Shown], batch_size: int) -> Iterator[list[_Shown]]:
    """Yield batches of similar length, the longest first: if memory does not do for them, that is known at once."""
    batch: list[_Shown] = []
    for each in sorted(every, key=lambda shown: len(shown.token_ids), reverse=True):
        if batch and (len(batch) == batch_size or (len(batch) + 1) * len(batch[0].token_ids) > TOKENS_AT_A_TIME):
            yield batch
            batch = []
        batch.append(each)
    if batch:
        yield batch


def _means(model: Any, batch: Sequence[_Shown]) -> list[float]:
    """Return the mean log-probability of each answer of a batch.

    Padded on the right, where a causal model's earlier tokens do not see it. What is said of a token is at the place
    before it, and the numbers of a softmax over a vocabulary are added in single precision whatever the weights have.
    """
    from torch import inference_mode, ones_like, tensor
    from torch.nn.utils.rnn import pad_sequence

    rows = [tensor(each.token_ids) for each in batch]
    first = min(len(each.token_ids) - each.answer_tokens for each in batch) - 1
    with inference_mode():
        inputs = pad_sequence(rows, batch_first=True).to(model.device)
        seen = pad_sequence([ones_like(row) for row in rows], batch_first=True).to(model.device)
        logits = model(
            input_ids=inputs, attention_mask=seen, use_cache=False, logits_to_keep=inputs.shape[1] - first
        ).logits
        means = []
        for each, ids, scores in zip(batch, inputs, logits, strict=True):
            end = len(each.token_ids)
            start = end - each.answer_tokens
            said = scores[start - 1 - first : end - 1 - first].float().log_softmax(dim=-1)
            means.append(float(said.gather(1, ids[start:end, None]).double().mean()))
    return means
