"""What the doctor looks at because a run trains: packages, a checkpoint from elsewhere, the step that is tried."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stat_train.compose import read_settings
from stat_train.doctor.machine import packages_used
from stat_train.doctor.student import adapter_base, find_checkpoint, what_is_wrong_with
from stat_train.models.places import SHIPPED

TRAINING = {"accelerate", "trl", "peft", "bitsandbytes", "deepspeed", "liger-kernel", "vllm"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([], {"accelerate", "trl"}),
        (["until=curate"], set()),
        (["train=sft_lora"], {"accelerate", "trl", "peft"}),
        (["train=sft_qlora"], {"accelerate", "trl", "peft", "bitsandbytes"}),
        (["train.optimizer=paged_adamw_8bit"], {"accelerate", "trl", "bitsandbytes"}),
        (["deepspeed=zero3"], {"accelerate", "trl", "deepspeed"}),
        (["deepspeed=fsdp2"], {"accelerate", "trl"}),
        (["deepspeed=zero3", "train=none"], set()),
        (["train=none", "rl=grpo", "rl.engine=vllm"], {"accelerate", "trl", "vllm"}),
        (["train=none", "rl=grpo", "until=train"], set()),
        (["train=external", "train.checkpoint=owner/name", "rl=grpo"], {"accelerate", "trl"}),
    ],
)
def test_the_packages_of_a_training(settings: list[str], expected: set[str]) -> None:
    assert packages_used(read_settings(settings).config) & TRAINING == expected


def test_the_harness_is_looked_for_where_its_tasks_are_asked() -> None:
    asked = ["evaluate.harness=[ifeval]", "until=evaluate"]
    assert "lm-eval" in packages_used(read_settings(asked).config)
    assert "lm-eval" not in packages_used(read_settings([]).config)
    assert "lm-eval" not in packages_used(read_settings([*asked, "until=train"]).config)


def adapter(folder: Path, about: dict[str, str], *files: str) -> Path:
    """Write an adapter with these files beside what it says of itself."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(about))
    for name in files:
        (folder / name).touch()
    return folder


def test_an_adapter_is_whole_when_it_has_weights_a_tokenizer_and_names_its_base(tmp_path: Path) -> None:
    base = {"base_model_name_or_path": str(SHIPPED["tiny"])}
    files = ("adapter_model.safetensors", "tokenizer.json")
    whole = adapter(tmp_path / "whole", base, *files)
    assert (what_is_wrong_with(whole), adapter_base(whole)) == (None, str(SHIPPED["tiny"]))
    lacking = {
        "without its weights": adapter(tmp_path / "a", base, files[1]),
        "there is no tokenizer": adapter(tmp_path / "b", base, files[0]),
        "does not name its base": adapter(tmp_path / "c", {}, *files),
    }
    assert all(problem in (what_is_wrong_with(folder) or "") for problem, folder in lacking.items())
    assert adapter_base(SHIPPED["tiny"]) is None and what_is_wrong_with(SHIPPED["tiny"]) is None


def test_a_checkpoint_from_elsewhere_is_looked_at_when_the_run_takes_one(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    places = {"failed": tmp_path / "empty", "ok": SHIPPED["tiny"]}
    for state, place in places.items():
        config = read_settings(["train=external", f"train.checkpoint={place}"]).config
        assert find_checkpoint(config).state == state
    (failed,) = (find_checkpoint(read_settings(["train=external", f"train.checkpoint={tmp_path}"]).config),)
    assert "there is no config.json" in failed.seen and failed.remedy.startswith("give train.checkpoint=FOLDER")
    assert find_checkpoint(read_settings([]).config).state == "skipped"
