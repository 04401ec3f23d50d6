"""Training adapters: what moves, what the checkpoint is, how it goes on, and every settings file run for two steps."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from safetensors.torch import load_file
from sft_jobs import contents, ending_after, examples, make_job, make_student, metrics
from transformers import AutoModelForCausalLM, AutoTokenizer

from stat_train.compose import choices, read_settings
from stat_train.errors import UserError
from stat_train.models.places import SHIPPED
from stat_train.train_settings import SftTraining
from stat_train.training import sft
from stat_train.training.callbacks import ShowProgress
from stat_train.training.resume import Start, find_start
from stat_train.training.weights import choose_kernels, require_trainable, student_to_train

ROWS = examples(48)
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
QLORA = find_spec("bitsandbytes") is not None
TRAINED = [
    name
    for name in choices()["train"]
    if name not in ("external", "none") and isinstance(read_settings([f"train={name}"]).config.train, SftTraining)
]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_student(tmp_path_factory.mktemp("student") / "tiny-llama")


def trained(folder: Path, student: Path | str, *settings: str) -> Path:
    sft.train(make_job(folder, student, ROWS, *settings))
    return folder


@pytest.fixture(scope="module")
def merged(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of six steps whose adapter was added to the weights; the state was saved at every step."""
    return trained(tmp_path_factory.mktemp("merged") / "job", student, "train=sft_lora", "train.keep_checkpoints=2")


@pytest.fixture(scope="module")
def unmerged(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the same training, whose checkpoint is the adapter."""
    return trained(tmp_path_factory.mktemp("unmerged") / "job", student, "train=sft_lora", "train.lora.merge=false")


def logits(checkpoint: Path) -> Any:
    """Return what a model makes of a question."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    with torch.inference_mode():
        return model(**tokenizer("<|user|>Add 2 to 3.<|assistant|>", return_tensors="pt")).logits


# -- LoRA -------------------------------------------------------------------------------------------------------------


def test_the_adapted_projections_alone_move(student: Path, merged: Path) -> None:
    before, after = (load_file(folder / "model.safetensors") for folder in (student, merged / "checkpoint"))
    assert set(before) == set(after)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if any(part in name for part in PROJECTIONS)}
    assert len(moved) == 2 * len(PROJECTIONS)


def test_the_merged_model_answers_as_the_adapter_on_its_base(merged: Path, unmerged: Path, student: Path) -> None:
    assert metrics(merged) == metrics(unmerged)
    found, expected = logits(merged / "checkpoint"), logits(unmerged / "checkpoint")
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(found, logits(student), atol=1e-2)


def test_a_merged_checkpoint_is_a_whole_model(merged: Path) -> None:
    for folder in (merged / "checkpoint", merged / "checkpoints" / "step-000003"):
        names = {path.name for path in folder.iterdir()}
        assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", "README.md"} <= names
        assert not any("adapter" in name for name in names)
        assert logits(folder).isfinite().all()
    assert {path.name for path in merged.iterdir()} == {
        "checkpoint", "checkpoints", "dropped.jsonl", "metrics.jsonl", "preflight.json", "throughput.json",
        "training.json", "training_set.jsonl",
    }  # fmt: skip


def test_an_adapter_names_its_base_from_the_root_and_is_small(unmerged: Path, student: Path) -> None:
    checkpoint = unmerged / "checkpoint"
    names = {path.name for path in checkpoint.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "README.md"} <= names
    settings = json.loads((checkpoint / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(student.absolute())
    assert settings["target_modules"] == sorted(PROJECTIONS)
    assert "library_name: peft" in (checkpoint / "README.md").read_text()


def test_an_adapter_on_the_shipped_student_loads(tmp_path: Path) -> None:
    settings = ["train=sft_lora", "train.lora.merge=false", "train.effective_batch_size=24"]
    checkpoint = trained(tmp_path / "job", "tiny", *settings) / "checkpoint"
    named = json.loads((checkpoint / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert named == str(SHIPPED["tiny"].absolute())
    assert not torch.equal(logits(checkpoint), logits(SHIPPED["tiny"]))
    assert "| base model | tiny |" in (checkpoint / "README.md").read_text()


# -- going on ---------------------------------------------------------------------------------------------------------


def interrupted(folder: Path, student: Path, step: int) -> Any:
    """Return a training that ended after `step`."""
    job = make_job(folder, student, ROWS, "train=sft_lora", "train.keep_checkpoints=2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShowProgress, "on_step_begin", ending_after(step))
        with pytest.raises(KeyboardInterrupt):
            sft.train(job)
    return job


def test_an_interrupted_training_of_adapters_ends_with_the_same_bytes(
    merged: Path, student: Path, tmp_path: Path
) -> None:
    """With dropout, so the random state goes on too; and the merged checkpoint on the way does not disturb it."""
    job = interrupted(tmp_path / "job", student, 4)
    sft.train(job)
    found, expected = contents(tmp_path / "job"), contents(merged)
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if found[name] != expected[name]] == []


def test_a_kept_checkpoint_changes_nothing_that_follows(merged: Path, unmerged: Path) -> None:
    """The second training kept none on the way, and its losses are the same."""
    assert metrics(unmerged, "grad_norm") == metrics(merged, "grad_norm")


def test_adapters_of_other_processes_are_gone_on_from_by_their_weights(
    merged: Path, student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new optimizer takes the rates of the steps that are left."""
    job = interrupted(tmp_path / "job", student, 4)
    states = tmp_path / "job" / "trainer"
    (states / "whole").rename(states / "zero3-2")
    start = find_start(job.folder, job.strategy)
    assert start == Start(states / "zero3-2" / "checkpoint-4", weights_only=True)
    made = student_to_train(job, start, choose_kernels(job.settings, False))
    assert made.adapter is None
    saved = load_file(states / "zero3-2" / "checkpoint-4" / "adapter_model.safetensors")
    held = {name.replace(".default", ""): weight for name, weight in made.model.named_parameters() if "lora" in name}
    assert set(held) == set(saved)
    assert all(weight.requires_grad and torch.equal(weight, saved[name]) for name, weight in held.items())
    rates: list[float] = []

    def note(self: ShowProgress, *_: Any, optimizer: Any, **__: Any) -> None:
        rates.append(optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(ShowProgress, "on_step_begin", note)
    sft.train(job)
    assert len(metrics(job.folder)) == 6
    assert rates == pytest.approx(metrics(merged, "learning_rate")[4:])
    assert logits(job.folder / "checkpoint").isfinite().all()


# -- every settings file ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRAINED)
def test_every_way_of_training_trains(name: str, student: Path, tmp_path: Path) -> None:
    """Two steps of 24 rows with the file's own settings."""
    job = make_job(tmp_path / "job", student, ROWS, f"train={name}", "train.effective_batch_size=24")
    if name == "sft_qlora" and not QLORA:
        with pytest.raises(UserError, match=r"needs bitsandbytes, .*pip install 'stat-train\[qlora\]'"):
            sft.train(job)
        return
    sft.train(job)
    assert len(metrics(job.folder)) == 2
    assert not torch.equal(logits(job.folder / "checkpoint"), logits(student))


@pytest.mark.skipif(not QLORA, reason="bitsandbytes: pip install 'stat-train[qlora]'")
def test_a_4_bit_base_is_merged_as_it_was_before(student: Path, tmp_path: Path) -> None:
    """What the adapter does not touch is the base's own, not what 4 bits left of it."""
    folder = trained(tmp_path / "job", student, "train=sft_qlora", "train.lora.target_modules=[q_proj]")
    before, after = (load_file(place / "model.safetensors") for place in (student, folder / "checkpoint"))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {name for name in before if "q_proj" not in name}


# -- refused ----------------------------------------------------------------------------------------------------------

REFUSED = {
    "4 bits without adapters": (["train=sft", "train.load_in_4bit=true"], "use train=sft_qlora"),
    "head": (["train=sft_lora", "train.lora.target_modules=[lm_head]"], "lm_head cannot have an adapter"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_do_not_go_together(name: str, student: Path, tmp_path: Path) -> None:
    settings, said = REFUSED[name]
    with pytest.raises(UserError, match=said):
        sft.train(make_job(tmp_path / "job", student, ROWS, *settings))


def test_an_adapter_cannot_name_the_revision_of_its_base(tmp_path: Path) -> None:
    job = make_job(tmp_path / "job", "org/model", ROWS, "train=sft_lora", "train.lora.merge=false")
    with pytest.raises(UserError, match=r"train\.lora\.merge = false: .*student\.revision = abc"):
        require_trainable(job.model_copy(update={"revision": "abc"}))
    require_trainable(job)


def test_projections_that_the_student_has_not(student: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.lora\.target_modules = \['c_attn'\]: do not fit the student"):
        sft.train(make_job(tmp_path / "job", student, ROWS, "train=sft_lora", "train.lora.target_modules=[c_attn]"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="what a machine without a GPU cannot do")
@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("train.attention=flash_attention_2", r"train\.attention = flash_attention_2: needs a GPU"),
        ("train.attention=flash_attention_3", r"train\.attention = flash_attention_3: needs a GPU"),
        ("train.liger=true", r"train\.liger = true: needs a GPU"),
    ],
)
def test_what_this_machine_cannot_do(setting: str, said: str, student: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        sft.train(make_job(tmp_path / "job", student, ROWS, "train=sft", setting))
