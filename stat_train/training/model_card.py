"""The card of a checkpoint: which model it was, what it was trained on, and how."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from stat_train import __version__
from stat_train.curation.publish import as_cell
from stat_train.models.places import model_name
from stat_train.store import write_text
from stat_train.tasks.prompts import PromptRenderer
from stat_train.training.distributed import world_size
from stat_train.training.job import RlJob, TrainJob
from stat_train.training.rows import Rows
from stat_train.training.weights import Kernels, base_place

HASHED_AT_ONCE = 2**20


def card_facts(job: TrainJob, rows: Rows, renderer: PromptRenderer, kernels: Kernels) -> dict[str, Any]:
    """Return what the cards of a training's checkpoints have in common."""
    whole = job.settings.lora is None or job.settings.lora.merge
    return {
        "what": "A checkpoint" if whole else "An adapter (LoRA)",
        "base": base_name(job),
        "hub_name": None if Path(base_place(job)).is_absolute() else base_place(job),
        "revision": job.revision,
        "recipes": rows.recipes,
        "rows": len(rows.dataset),
        "replayed": rows.replayed,
        "data_hash": _sha256(job.training_set),
        "replay_hash": _sha256(job.replay) if job.replay else None,
        "strategy": job.strategy.name,
        "processes": world_size(),
        "precision": kernels.precision,
        "prompt_hash": renderer.hash(),
        "prompt": job.prompt,
        "settings": {name: "none" if value is None else value for name, value in job.settings.identity().items()},
        "seed": job.seed,
    }


def write_card(folder: Path, facts: dict[str, Any], step: int, steps: int, loss: float | None) -> None:
    """Write a fine-tuned checkpoint's README.md."""
    told = facts | {"step": step, "steps": steps, "loss": loss}
    _write(folder, "model_card.md.j2", ["sft", *facts["recipes"]], told)


def write_rl_card(folder: Path, job: RlJob, told: dict[str, Any]) -> None:
    """Write the README.md of a checkpoint after reinforcement learning; `told` is the content of its training.json."""
    facts = {
        "base": base_name(job),
        "hub_name": None if Path(base_place(job)).is_absolute() else base_place(job),
        "revision": job.revision,
        "data_hash": _sha256(job.questions),
        "grader": job.grader,
        "strategy": job.strategy.name,
        "processes": world_size(),
        "prompt": job.prompt,
        "settings": {name: "none" if value is None else value for name, value in job.settings.identity().items()},
        "seed": job.seed,
    }
    _write(folder, "rl_card.md.j2", ["grpo"], facts | told)


def _write(folder: Path, template: str, tags: list[str], facts: dict[str, Any]) -> None:
    """Write a card with the front matter that the hub reads."""
    from huggingface_hub import ModelCardData
    from jinja2 import Environment, PackageLoader, StrictUndefined

    front = ModelCardData(
        base_model=facts["hub_name"],
        library_name="peft" if (folder / "adapter_config.json").exists() else "transformers",
        pipeline_tag="text-generation",
        tags=["stat-train", *tags],
    )
    page = Environment(loader=PackageLoader("stat_train", "training"), undefined=StrictUndefined, trim_blocks=True)
    page.filters["cell"] = as_cell
    text = page.get_template(template).render(facts, front=f"---\n{front.to_yaml()}\n---", version=__version__)
    write_text(folder / "README.md", text + "\n")


def base_name(job: TrainJob | RlJob) -> str:
    """Return the name of the model that was trained."""
    return model_name(base_place(job))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASHED_AT_ONCE):
            digest.update(block)
    return digest.hexdigest()
