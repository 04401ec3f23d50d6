"""Students that are made from scratch: their sizes, and what their card says of how they were made."""

from __future__ import annotations

from pathlib import Path

import pytest

from stat_train.models.places import SHIPPED
from stat_train.tasks.arithmetic.skills import SKILL_NAMES

pytest.importorskip("torch")

from transformers import AutoTokenizer, LlamaForCausalLM

from stat_train.training.pretrain import make_model, model_card, parse_arguments


@pytest.fixture(scope="module")
def tokenizer() -> object:
    return AutoTokenizer.from_pretrained(SHIPPED["tiny"])


def test_without_a_size_a_student_is_as_large_as_those_that_are_shipped(tokenizer: object) -> None:
    shipped = LlamaForCausalLM.from_pretrained(SHIPPED["tiny"])
    made = make_model(tokenizer)  # type: ignore[arg-type]
    assert made.num_parameters() == shipped.num_parameters()
    assert 600_000 < made.num_parameters() < 800_000


def test_a_larger_student_has_more_heads_of_the_same_size(tokenizer: object) -> None:
    """Per layer 4 h*h of attention, 3 h*3h of the network and 2 h of norms; one norm more, and tied embeddings."""
    hidden, layers = 192, 2
    made = make_model(tokenizer, hidden, layers)  # type: ignore[arg-type]
    words = len(tokenizer)  # type: ignore[arg-type]
    expected = layers * (4 * hidden**2 + 9 * hidden**2 + 2 * hidden) + hidden + words * hidden
    assert (made.num_parameters(), made.config.num_attention_heads, made.config.head_dim) == (expected, 6, 32)


def test_the_card_says_which_command_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    options = "--mix b --seed 5 --examples 100 --batch-size 4 --learning-rate 0.001 --hidden-size 64 --layers 1"
    monkeypatch.setattr("sys.argv", ["pretrain", "--output", "DIR", *options.split()])
    curve = [{"step": 0, "loss": 2.5, "accuracy": 1.0, "seconds": 7.2}]
    card = model_card(parse_arguments(), 123_456, dict.fromkeys(SKILL_NAMES, 50.0), curve)
    assert f"stat_train.training.pretrain {options} --output DIR" in card
    assert "of 123,456 parameters" in card and "in 7 seconds" in card


@pytest.mark.parametrize("size", ["100", "0", "16"])
def test_a_size_that_is_no_multiple_of_a_head_is_refused(
    size: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["pretrain", "--output", str(tmp_path / "student"), "--hidden-size", size])
    with pytest.raises(SystemExit) as ended:
        parse_arguments()
    assert ended.value.code == 2
    assert f"--hidden-size {size}: expected a multiple of 32" in capsys.readouterr().err
