"""The rows of fine-tuning: their tokens and labels, and the order in which they come."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import torch
from datasets import Dataset
from transformers.trainer_pt_utils import LengthGroupedSampler

from stat_train.errors import UserError
from stat_train.records import Dropped, TrainingExample
from stat_train.store import chunk_seed, read_records
from stat_train.tasks.prompts import IGNORED, PromptRenderer, messages
from stat_train.train_settings import SftTraining
from stat_train.training.job import TrainJob


class Rows(NamedTuple):
    """What is trained on: token ids and labels, how many rows were cut off, how many are replay, and what is left out.

    `recipes` are the names that the training set's rows carry.
    """

    dataset: Dataset
    dropped: list[Dropped]
    truncated: int
    replayed: int
    recipes: list[str]

    def lengths(self) -> list[int]:
        """Return the tokens of each row."""
        return [len(ids) for ids in self.dataset["input_ids"]]

    def supervised(self) -> list[int]:
        """Return the tokens of each row that count in the loss."""
        return [sum(label != IGNORED for label in labels) for labels in self.dataset["labels"]]


class _Tokens(NamedTuple):
    input_ids: list[int]
    labels: list[int]


def tokenized(job: TrainJob, renderer: PromptRenderer) -> Rows:
    """Return the rows of the training set and then those of the replay set; raises UserError when none is left."""
    own, dropped, truncated = _fitting(job.training_set, job, renderer)
    replay, more_dropped, more_truncated = _fitting(job.replay, job, renderer) if job.replay else ([], [], 0)
    kept, left_out = [*own, *replay], [*dropped, *more_dropped]
    if not kept:
        most = job.settings.max_length
        raise UserError(f"train.max_length = {most}: all {len(left_out)} training rows are longer; raise it")
    dataset = Dataset.from_list([row._asdict() for row in kept])
    recipes = sorted({example.recipe for example in read_records(job.training_set, TrainingExample)})
    return Rows(dataset, left_out, truncated + more_truncated, len(replay), recipes)


def _fitting(path: Path, job: TrainJob, renderer: PromptRenderer) -> tuple[list[_Tokens], list[Dropped], int]:
    """Return the rows that fit, or that were made to; those that were not, with the reason; how many were cut off."""
    rows, dropped, truncated = [], [], 0
    for example in read_records(path, TrainingExample):
        whole = _Tokens(*renderer.training_tokens(messages(job.prompt, example.question, example.answer)))
        row, reason = _shortened(whole, job.settings)
        if row is None:
            detail = f"{len(whole.input_ids)} tokens, train.max_length = {job.settings.max_length}"
            dropped.append(Dropped(stage="train", id=example.id, reason=reason, detail=detail, item="training row"))
        else:
            rows.append(row)
            truncated += len(row.input_ids) < len(whole.input_ids)
    return rows, dropped, truncated


def _shortened(row: _Tokens, settings: SftTraining) -> tuple[_Tokens | None, str]:
    """Return a row of at most `max_length` tokens, or None and why there is none."""
    if len(row.input_ids) <= settings.max_length:
        return row, ""
    if settings.long_rows == "drop":
        return None, "too long"
    cut = _Tokens(row.input_ids[: settings.max_length], row.labels[: settings.max_length])
    answered = any(label != IGNORED for label in cut.labels)
    return (cut, "") if answered else (None, "no answer token left")


class ByLength(LengthGroupedSampler):  # type: ignore[misc]
    """Puts rows of similar length into a step and shuffles the steps, in an order that seed and epoch alone decide.

    The library's own order is drawn from the process' random state, which a resumed training has not at that point, and
    goes from long steps to short ones again and again. `step_rows` is the effective batch size. The last step of an
    epoch is filled up with rows of its start: with fewer rows, some of several processes would have none.
    """

    def __init__(self, step_rows: int, lengths: list[int], seed: int) -> None:
        super().__init__(step_rows, lengths=lengths, generator=torch.Generator())
        self.seed = seed

    def __len__(self) -> int:
        rows, step = len(self.lengths), int(self.batch_size)
        return math.ceil(rows / step) * step

    def set_epoch(self, epoch: int) -> None:
        """Take the order of another epoch."""
        self.generator.manual_seed(chunk_seed(self.seed, "train", epoch))

    def __iter__(self) -> Iterator[int]:
        order = list(super().__iter__())
        steps = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        # A step that is not full stays the last one, or every step after it would be cut elsewhere.
        last = steps.pop() if len(steps[-1]) < self.batch_size else []
        shuffled = [steps[index] for index in torch.randperm(len(steps), generator=self.generator).tolist()]
        ordered = [*chain.from_iterable(shuffled), *last]
        missing = len(self) - len(ordered)
        return iter(ordered + [ordered[index % len(ordered)] for index in range(missing)])

    def sums_per_step(self, counts: list[int], epochs: int) -> list[int]:
        """Return what each step of a training has in all, where `counts` says what each row has."""
        sums = []
        for epoch in range(epochs):
            self.set_epoch(epoch)
            order = list(self)
            steps = range(0, len(order), self.batch_size)
            sums += [sum(counts[row] for row in order[start : start + self.batch_size]) for start in steps]
        return sums
