"""TRL's GRPO trainer with our prompts, our order of questions, our reward, and rows of similar length together."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from trl import GRPOTrainer
from trl.trainer.utils import RepeatSampler

from stat_train.records import Question
from stat_train.store import chunk_seed
from stat_train.tasks.graders import Grader
from stat_train.tasks.prompts import PromptRenderer
from stat_train.training.distributed import any_process
from stat_train.training.drift import Drift
from stat_train.training.resume import ResumableTrainer
from stat_train.training.rewards import batch_numbers, mean, reply_text, rewards
from stat_train.training.stopping import StopRequests

# Marks a pass that nothing is learned from, because all answers to each of its questions got the same reward.
IDLE = "idle"


class Asked(NamedTuple):
    """The questions that are trained on, the rendered text of each, and what ends an answer to it."""

    questions: list[Question]
    texts: list[str]
    renderer: PromptRenderer
    stops: set[int]


class Trainer(ResumableTrainer, GRPOTrainer):  # type: ignore[misc]
    """The library's trainer, with our prompts, our order of questions, and our numbers of each batch of answers."""

    group = "rl"

    def __init__(self, asked: Asked, grader: Grader, drift: Drift, at_a_time: int, **arguments: Any) -> None:
        self.asked, self.grader, self.drift, self.generated_at_a_time = asked, grader, drift, at_a_time
        self.batch_numbers: dict[str, float | None] = {}
        self._buffered_inputs: list[dict[str, Any]] | None = None
        rows = Dataset.from_dict({"prompt": asked.texts, "row": range(len(asked.texts))})
        super().__init__(reward_funcs=self._reward, train_dataset=rows, **arguments)

    def _get_train_sampler(self, dataset: Dataset | None = None) -> Order:
        self.order = order = Order(
            data_source=self.train_dataset if dataset is None else dataset,
            mini_repeat_count=self.num_generations,
            batch_size=self.args.generation_batch_size // self.num_generations,
            repeat_count=self.args.steps_per_generation,
            seed=self.args.data_seed,
        )
        return order

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """Return the token ids that the student is asked with elsewhere: the library would add special tokens again."""
        return [self.asked.renderer.token_ids(text) for text in prompts], None, {}

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: None, fields: dict[str, Any], rollouts: int, **_: Any
    ) -> tuple[list[list[int]], Any]:
        """Return the answers; transformers makes those to questions of similar length at a time."""
        if self.use_vllm:
            made: tuple[list[list[int]], Any] = super()._generate_single_turn(prompt_ids, images, fields, rollouts)
            return made
        order = sorted(range(len(prompt_ids)), key=lambda index: len(prompt_ids[index]))
        found: dict[int, list[int]] = {}
        for start in range(0, len(order), self.generated_at_a_time):
            part = order[start : start + self.generated_at_a_time]
            answers, _ = super()._generate_single_turn([prompt_ids[index] for index in part], images, fields, rollouts)
            found |= zip(part, answers, strict=True)
        return [found[index] for index in range(len(prompt_ids))], None

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """Return the rows of a forward pass without the padding that only longer rows of other passes need."""
        before = self._buffered_inputs
        inputs: dict[str, Any] = super()._prepare_inputs(generation_batch)
        if self._buffered_inputs and self._buffered_inputs is not before:
            self._buffered_inputs = self._arranged(self._buffered_inputs)
            inputs = self._buffered_inputs[0]
        return without_padding(inputs)

    def _arranged(self, passes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the passes of a batch of answers by length; of those that nothing is learned from, one row is left."""
        # The mean of a pass' tokens, not of an update's, is the loss there: which rows meet would count.
        if self.loss_type != "bnpo":
            passes = by_length(passes, self.args.gradient_accumulation_steps)
        # The processes gather numbers of each pass, so their passes must be of one size.
        learned = [self.beta != 0.0 or any_process(bool(one["advantages"].any())) for one in passes]
        return [one if taught else first_row(one) | {IDLE: True} for one, taught in zip(passes, learned, strict=True)]

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """Return the loss of a pass; the library's numbers of one that nothing is learned from are forgotten."""
        told = {name: len(values) for name, values in self._metrics["train"].items()}
        loss: torch.Tensor = super()._compute_loss(model, inputs)
        if IDLE in inputs:
            for name, values in self._metrics["train"].items():
                del values[told.get(name, 0) :]
        return loss

    def _reward(self, completion_ids: list[list[int]], row: list[int], **_: Any) -> list[float | None]:
        texts = [reply_text(ids, self.asked.stops, self.processing_class) for ids in completion_ids]
        return rewards([self.asked.questions[index] for index in row], texts, self.grader)

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: list[str], completions: list[str], ids: list[list[int]]
    ) -> torch.Tensor:
        """Return the rewards of all processes' answers; keep what is told of this batch."""
        found: torch.Tensor = super()._calculate_rewards(inputs, prompts, completions, ids)
        own = [
            [row["row"], len(tokens), int(tokens[-1] not in self.asked.stops)]
            for row, tokens in zip(inputs, ids, strict=True)
        ]
        every = self.accelerator.gather(torch.tensor(own, device=self.accelerator.device)).tolist()
        skills = [self.asked.questions[row].skills or [] for row, _, _ in every]
        given = [None if math.isnan(reward) else reward for reward in found[:, 0].tolist()]
        self.batch_numbers = batch_numbers(given, skills, self.num_generations) | {
            "answer_tokens": mean([float(length) for _, length, _ in every]),
            "cut_off_share": mean([float(cut) for _, _, cut in every]),
        }
        return found

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
        self.drift.remember(self, batch)
        return batch

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log an update: the library's numbers of it, and ours of the batch of answers that it learns from."""
        if "loss" in logs:
            numbers = self.batch_numbers | {"kl_to_start": self.drift.measure(self)}
            for name, value in numbers.items():
                self._metrics["train"][name] = [math.nan if value is None else value]
        super().log(logs, start_time)


def by_length(passes: list[dict[str, Any]], accumulated: int) -> list[dict[str, Any]]:
    """Return the forward passes of a batch of answers with rows of similar length together, each in its own update.

    An update's gradient is of the same rows as before, `accumulated` passes of them. Rows that nothing is learned from
    come last: passes of them alone take no time.
    """
    sorted_passes = []
    for start in range(0, len(passes), accumulated):
        update = passes[start : start + accumulated]
        rows = {
            name: torch.cat([one[name] for one in update]) if _has_rows(value) else value
            for name, value in update[0].items()
        }
        lengths = rows["prompt_mask"].sum(1) + rows["completion_mask"].sum(1)
        order = (lengths + (rows["advantages"] == 0) * (lengths.max() + 1)).argsort(stable=True)
        for part in order.chunk(len(update)):
            sorted_passes.append({name: value[part] if _has_rows(value) else value for name, value in rows.items()})
    return sorted_passes


def without_padding(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the rows of a pass without columns of padding alone, left of prompts and right of answers."""
    prompt, answer = (_width(inputs[f"{part}_mask"]) for part in ("prompt", "completion"))
    length = inputs["completion_mask"].size(1)
    trimmed = {name: inputs[name][:, -prompt:] for name in ("prompt_ids", "prompt_mask")}
    for name, value in inputs.items():
        if name not in trimmed and isinstance(value, torch.Tensor) and value.dim() == 2 and value.size(1) == length:
            trimmed[name] = value[:, :answer]
    return inputs | trimmed


def first_row(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the first row of a pass."""
    return {name: value[:1] if _has_rows(value) else value for name, value in inputs.items()}


def _has_rows(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() > 0


def _width(mask: torch.Tensor) -> int:
    """Return the length of the longest row, at least 1."""
    return max(1, int(mask.sum(1).max()))


class Order(RepeatSampler):  # type: ignore[misc]
    """The library's order of questions, decided by seed and epoch alone, so that a resumed training finds its place."""

    def set_epoch(self, epoch: int) -> None:
        """Take the order of another epoch."""
        self.generator.manual_seed(chunk_seed(self.seed, "rl", epoch))


class StopsBetweenBatches(StopRequests):
    """Stops where a batch of answers is used up: they are not part of the state."""

    def __init__(self, stop_file: Path | None, updates: int) -> None:
        super().__init__(stop_file)
        self.updates = updates

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Look for a wish to stop when the last update from a batch of answers is done."""
        if state.global_step % self.updates == 0:
            super().on_step_end(args, state, control)
