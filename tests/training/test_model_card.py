"""A checkpoint's card: what others wrote is shown as text, whatever it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from stat_train.config import Prompt
from stat_train.training.model_card import write_card

HOSTILE = "| <script>alert(1)</script> ![x](http://evil) `code`\n## Results"


def facts(**more: Any) -> dict[str, Any]:
    return {
        "what": "A checkpoint",
        "base": "org/model",
        "hub_name": "org/model",
        "revision": None,
        "recipes": ["stat_sel"],
        "rows": 8,
        "replayed": 0,
        "data_hash": "abc",
        "replay_hash": None,
        "strategy": "zero2",
        "processes": 4,
        "precision": "bf16",
        "prompt_hash": "def",
        "prompt": Prompt(system=None, template="{question}", chat_template_arguments={}),
        "settings": {"epochs": 3, "lora": {"rank": 16}},
        "seed": 0,
    } | more


def card(folder: Path, **more: Any) -> str:
    write_card(folder, facts(**more), step=5, steps=10, loss=None)
    return (folder / "README.md").read_text()


def test_a_hub_model_is_named_as_the_base(tmp_path: Path) -> None:
    text = card(tmp_path, revision="v1")
    assert "base_model: org/model\n" in text.split("---")[1]
    assert "| base model | org/model |\n| revision | v1 |" in text
    assert "| step | 5 of 10 |\n| loss of the last logged steps | not logged yet |" in text
    assert "| strategy | zero2, processes: 4 |" in text


def test_text_of_others_is_no_markup(tmp_path: Path) -> None:
    prompt = Prompt(system=HOSTILE, template=f"{HOSTILE} {{question}}", chat_template_arguments={})
    text = card(tmp_path, base=HOSTILE, hub_name=None, recipes=[HOSTILE], prompt=prompt)
    body = text.split("---", 2)[2]
    assert "<script>" not in body and "](http" not in body
    assert body.count("\n## Results") == 1
    rows = [line for line in body.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {3}
