"""How far a student in reinforcement learning has moved from where it started, without a second model in memory.

Some of its first answers are kept, with the probability that the student gave to each of their tokens then. The mean of
log p(start) - log p(now) over those tokens estimates the KL divergence of the student from its start, per token: they
are samples of the start. Only probabilities of given tokens are computed, so it works however the weights are spread.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import pad

from stat_train.store import write_json
from stat_train.training.distributed import rank, world_size

ANSWERS = 32


class Drift:
    """The first answers and their probabilities, in a file: an interrupted training compares with the same ones."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.start: dict[str, Any] | None = json.loads(file.read_text()) if file.exists() else None

    def remember(self, trainer: Any, batch: dict[str, torch.Tensor]) -> None:
        """Keep some answers of the first batch, spread over its questions, and their probabilities; every rank calls.

        `batch` holds the rank's own prompts and completions, padded, as the trainer makes them.
        """
        if trainer.state.global_step:
            return
        rows = len(batch["completion_ids"])
        count = min(rows, max(1, ANSWERS // world_size()))
        chosen = [index * rows // count for index in range(count)]
        own = [
            {"prompt": _kept(batch, "prompt", index), "completion": _kept(batch, "completion", index)}
            for index in chosen
        ]
        # Answers that were cut off are all masked where they do not count.
        if answers := [answer for answer in gather_object(own) if answer["completion"]]:
            self.start = {"answers": answers}
            self.start["mean"] = self._mean(trainer)
            if rank() == 0:
                write_json(self.file, self.start)

    def measure(self, trainer: Any) -> float | None:
        """Return the estimated divergence in nats per token, None before there is a start; every rank calls."""
        return self.start["mean"] - self._mean(trainer) if self.start else None

    def _mean(self, trainer: Any) -> float:
        """Return the mean log-probability of the kept answers' tokens."""
        assert self.start
        answers = self.start["answers"]
        # As many for each rank, or some would wait for the others' share of the weights.
        each = max(1, len(answers) // world_size())
        own = [answers[(rank() * each + index) % len(answers)] for index in range(each)]
        found, mask = _log_probabilities(trainer, own)
        sums = torch.stack([(found * mask).sum().double(), mask.sum().double()])
        total, tokens = trainer.accelerator.reduce(sums, reduction="sum").tolist()
        return float(total / tokens)


def _kept(batch: dict[str, torch.Tensor], part: str, index: int) -> list[int]:
    ids: list[int] = batch[f"{part}_ids"][index][batch[f"{part}_mask"][index].bool()].tolist()
    return ids


@torch.no_grad()
def _log_probabilities(trainer: Any, answers: list[dict[str, list[int]]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the log-probability of each answer's tokens, padded, and the mask of those that are tokens."""
    padding = trainer.processing_class.pad_token_id
    ids, masks = [], []
    for part, side in (("prompt", "left"), ("completion", "right")):
        rows = [torch.tensor(answer[part], dtype=torch.long) for answer in answers]
        ids.append(pad(rows, padding_value=padding, padding_side=side))
        masks.append(pad([torch.ones_like(row) for row in rows], padding_value=0, padding_side=side))
    device = trainer.accelerator.device
    with disable_gradient_checkpointing(trainer.model, trainer.args.gradient_checkpointing_kwargs):
        found, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model,
            torch.cat(ids, dim=1).to(device),
            torch.cat(masks, dim=1).to(device),
            ids[1].size(1),
            batch_size=trainer.args.per_device_train_batch_size,
        )
    return found, masks[1].to(device)
