"""The rows of fine-tuning: their tokens and labels, and the order in which they come."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from datasets import Dataset
from transformers.trainer_pt_utils import LengthGroupedSampler

from stat_train.errors import StatTrainError, UserError
from stat_train.records import Dropped, TrainingExample
from stat_train.store import chunk_seed, read_records
from stat_train.tasks.prompts import IGNORED, PromptRenderer, messages
from stat_train.training.job import TrainJob

LEAST_SUPERVISED_SHARE = 0.01


def tokenized(job: TrainJob, renderer: PromptRenderer) -> tuple[Dataset, list[Dropped]]:
    """Return token ids and labels of the training rows, and the rows that are too long to train on whole."""
    rows, dropped = [], []
    for example in read_records(job.training_set, TrainingExample):
        ids, labels = renderer.training_tokens(messages(job.prompt, example.question, example.answer))
        if len(ids) > job.settings.max_length:
            detail = f"{len(ids)} tokens, train.max_length = {job.settings.max_length}"
            dropped.append(Dropped(stage="train", id=example.id, reason="too long", detail=detail, item="training row"))
        else:
            rows.append({"input_ids": ids, "labels": labels})
    if not rows:
        raise UserError(
            f"train.max_length = {job.settings.max_length}: all {len(dropped)} training rows are longer; raise it"
        )
    return Dataset.from_list(rows), dropped


def check_supervision(dataset: Dataset, tokenizer: Any) -> str:
    """Return one decoded row, its ignored part in brackets; refuse rows of which next to nothing is trained on."""
    labels = [label for row in dataset["labels"] for label in row]
    share = sum(label != IGNORED for label in labels) / len(labels)
    if share < LEAST_SUPERVISED_SHARE:
        raise StatTrainError(f"only {share:.2%} of the tokens count in the loss; look at the chat template")
    first = dataset[0]
    answer = tokenizer.decode([label for label in first["labels"] if label != IGNORED])
    question = tokenizer.decode(first["input_ids"][: first["labels"].count(IGNORED)])
    return f"{share:.0%} of the tokens count in the loss; first row: [{question}] {answer}"


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
