"""What is checked before any weight is loaded; the numbers are worked out by hand from a published model's settings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest

pytest.importorskip("torch")

from sft_jobs import character_tokenizer, examples, make_job, make_student, row
from transformers import LlamaConfig

from stat_train.compose import read_settings
from stat_train.errors import StatTrainError, UserError
from stat_train.models.transformers import load_tokenizer
from stat_train.records import TrainingExample
from stat_train.tasks.prompts import PromptRenderer
from stat_train.training.memory import (
    BYTES_IN_4BIT,
    Memory,
    activation_bytes,
    count_parameters,
    disk_bytes,
    memory_per_process,
)
from stat_train.training.preflight import Preflight, check_before, require_disk, require_memory
from stat_train.training.rows import tokenized
from stat_train.training.weights import Kernels, choose_kernels

# Llama-3.2-1B, as its config.json says; its card gives 1.23 billion parameters.
LLAMA_1B = LlamaConfig(
    vocab_size=128_256,
    hidden_size=2048,
    intermediate_size=8192,
    num_hidden_layers=16,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=64,
    tie_word_embeddings=True,
)
# A layer: queries and output 2048 x 2048, keys and values 2048 x 512, three of 2048 x 8192 in the MLP.
LINEAR = 16 * (2 * 2048 * 2048 + 2 * 2048 * 512 + 3 * 2048 * 8192)
BASE = LINEAR + 128_256 * 2048 + (2 * 16 + 1) * 2048
# Of rank 16, an adapter on a projection from i to o numbers has 16 x (i + o).
ADAPTERS = 16 * 16 * (2 * (2048 + 2048) + 2 * (2048 + 512) + 3 * (2048 + 8192))
BF16 = Kernels("bf16", "sdpa", liger=False, gradient_checkpointing=True)
FP32 = BF16._replace(precision="fp32")


# -- memory -----------------------------------------------------------------------------------------------------------


def settings(*given: str) -> tuple:
    config = read_settings([*given]).config
    return config.train, config.deepspeed


def test_parameters_are_counted_without_weights() -> None:
    full, lora = settings("train=sft")[0], settings("train=sft_lora")[0]
    assert BASE == 1_235_814_400
    assert count_parameters(LLAMA_1B, full) == (BASE, LINEAR, BASE)
    assert count_parameters(LLAMA_1B, lora) == (BASE, LINEAR, ADAPTERS)


class Case(NamedTuple):
    """Settings over a number of processes, and what one of them holds: weights, gradients, optimizer state."""

    given: list[str]
    processes: int
    weights: float
    gradients: float
    optimizer: float


CASES = {
    "AdamW: fp32 weights and gradients, two moments": Case(["train=sft"], 2, 4 * BASE, 4 * BASE, 8 * BASE),
    "ZeRO-2: bf16 weights whole, 14 bytes shared": Case(
        ["train=sft", "deepspeed=zero2"], 4, 2 * BASE, 2 * BASE / 4, 12 * BASE / 4
    ),
    "ZeRO-3: 16 bytes shared": Case(
        ["train=sft", "deepspeed=zero3"], 8, 2 * BASE / 8, 2 * BASE / 8, 12 * BASE / 8
    ),
    "FSDP: 16 bytes shared": Case(["train=sft", "deepspeed=fsdp2"], 8, 4 * BASE / 8, 4 * BASE / 8, 8 * BASE / 8),
    "ZeRO-2 with the optimizer elsewhere": Case(
        ["train=sft", "deepspeed=zero2_offload"], 2, 2 * BASE, 2 * BASE / 2, 0
    ),
    "ZeRO-3 with weights and optimizer elsewhere": Case(
        ["train=sft", "deepspeed=zero3_offload"], 2, 0, 2 * BASE / 2, 0
    ),
    "LoRA: bf16 weights, 16 bytes an adapter's": Case(
        ["train=sft_lora"], 2, 2 * BASE + 4 * ADAPTERS, 4 * ADAPTERS, 8 * ADAPTERS
    ),
    "QLoRA: 4 bits in linear layers, adapters in bf16, moments in 8 bits": Case(
        ["train=sft_qlora"], 1, BYTES_IN_4BIT * LINEAR + 2 * (BASE - LINEAR) + 2 * ADAPTERS, 2 * ADAPTERS, 2 * ADAPTERS
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_a_process_holds(name: str) -> None:
    case = CASES[name]
    train, strategy = settings(*case.given)
    found = memory_per_process(count_parameters(LLAMA_1B, train), train, strategy, BF16, case.processes, 0)
    assert found[:3] == pytest.approx((case.weights, case.gradients, case.optimizer))


def test_full_fine_tuning_of_one_billion_parameters_holds_18_gib() -> None:
    """16 x 1.236e9 = 19.8e9 bytes; and bf16 copies of the weights, 2 bytes each, while it computes."""
    train, strategy = settings("train=sft")
    found = memory_per_process(count_parameters(LLAMA_1B, train), train, strategy, BF16, 1, 0)
    assert found.held == 16 * BASE
    assert found.activations == 2 * BASE
    assert memory_per_process(count_parameters(LLAMA_1B, train), train, strategy, FP32, 1, 0).activations == 0


TOKENS = 3 * 100  # the longer of the rows decides what padded rows take
LAYER = TOKENS * (8 * 2048 + 4 * 8192) * 2
TILE = TOKENS * 32_768 * 8


def test_activations_of_a_padded_and_of_a_packed_batch() -> None:
    """Checkpointing keeps one vector of 2048 bf16 numbers a layer and token, and all of one layer."""
    padded = activation_bytes(LLAMA_1B, BF16, [40, 70, 100], packing=False)
    assert padded == 16 * TOKENS * 2048 * 2 + LAYER + TILE
    packed = activation_bytes(LLAMA_1B, BF16, [40, 70, 100], packing=True)
    assert packed == pytest.approx(padded * 210 / 300)


def test_activations_without_checkpointing_and_with_scores() -> None:
    """Without checkpointing all layers keep all; eager attention keeps 32 heads of 100 x 100 scores and shares."""
    kept = BF16._replace(gradient_checkpointing=False)
    assert activation_bytes(LLAMA_1B, kept, [40, 70, 100], packing=False) == 16 * LAYER + TILE
    scores = 3 * 32 * 100 * 100 * (2 + 4)
    eager = activation_bytes(LLAMA_1B, kept._replace(attention="eager"), [40, 70, 100], packing=False)
    assert eager == 16 * (LAYER + scores) + TILE


def test_disk_for_states_and_checkpoints() -> None:
    """Three states of weights and moments (12 bytes), and each kept checkpoint in fp32; merged ones are whole."""
    train, strategy = settings("train=sft", "train.keep_checkpoints=4")
    assert disk_bytes(count_parameters(LLAMA_1B, train), train, strategy, BF16) == (3 * 12 + 4 * 4) * BASE
    for merge, kept in (("true", 2 * BASE), ("false", 4 * ADAPTERS)):
        train, strategy = settings("train=sft_lora", "train.keep_checkpoints=2", f"train.lora.merge={merge}")
        found = disk_bytes(count_parameters(LLAMA_1B, train), train, strategy, BF16)
        assert found == 3 * 12 * ADAPTERS + 2 * kept


# -- refused ----------------------------------------------------------------------------------------------------------


def test_what_is_held_must_fit_the_device() -> None:
    gib = 2**30
    require_memory(Memory(10 * gib, 10 * gib, 20 * gib, 999 * gib), 40 * gib)
    with pytest.raises(UserError, match=r"need 41\.0 GiB a process, and the GPU has 40\.0 GiB; use deepspeed=zero3"):
        require_memory(Memory(11 * gib, 10 * gib, 20 * gib, 0), 40 * gib)


def test_checkpoints_must_fit_the_disk(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    require_disk(free / 2, tmp_path)
    with pytest.raises(
        UserError, match=r"take up to 1,024,000\.0 GiB, and [\d,.]+ [GM]iB are free; .*keep_checkpoints"
    ):
        require_disk(1_024_000 * 2**30, tmp_path)


def test_states_that_are_there_need_no_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100 bytes that a training takes, 60 are written and 40 are free."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=40))
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "optimizer.pt").write_bytes(bytes(60))
    require_disk(100, tmp_path)
    with pytest.raises(UserError, match="cache_dir: the checkpoints of this training"):
        require_disk(101, tmp_path)


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """Return a student without weights: nothing here may need them."""
    folder = make_student(tmp_path / "student")
    (folder / "model.safetensors").unlink()
    return folder


def check(folder: Path, student: Path, rows: list[TrainingExample], *given: str) -> Preflight:
    job = make_job(folder / "job", student, rows, "train=sft", *given)
    renderer = PromptRenderer(load_tokenizer(str(student), None), job.prompt)
    return check_before(job, tokenized(job, renderer), renderer, choose_kernels(job.settings, False))


def test_figures_need_no_weights(student: Path, tmp_path: Path) -> None:
    """User, question, assistant, answer, end: 1 + 2 + 1 + 3 + 1 and 1 + 2 + 1 + 5 + 1 tokens; then 9 at most."""
    rows = [row("a", "1 2", "3 4 5"), row("b", "1 2", "3 4 5 6 7")]
    found = check(tmp_path, student, rows)
    assert (found.rows, found.tokens, found.supervised_tokens, found.longest_row_tokens) == (2, 18, 10, 10)
    assert (found.too_long_rows, found.warnings) == (0, [])
    assert found.first_row == "[<|user|>1 2<|assistant|>] 3 4 5<|end|>"
    opening = "56% of the tokens count in the loss; first row, the rest of it in brackets: "
    assert found.sample().startswith(opening + "[<|user|>1 2<|assistant|>] 3 4 5")
    assert json.loads(json.dumps(found.as_json()))["memory"]["optimizer"] == 8 * found.parameters.base
    assert check(tmp_path / "cut", student, rows, "train.max_length=9").too_long_rows == 1


def test_rows_of_which_next_to_nothing_is_trained_on_are_refused(student: Path, tmp_path: Path) -> None:
    """One end token of 303."""
    with pytest.raises(StatTrainError, match=r"only 0\.33% of the tokens count in the loss"):
        check(tmp_path, student, [row("a", " ".join("1" * 300), "")])


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(student: Path, tmp_path: Path) -> None:
    config = json.loads((student / "config.json").read_text())
    (student / "config.json").write_text(json.dumps(config | {"vocab_size": 1}))
    with pytest.raises(UserError, match=r"eos_token has token 1, and the model knows 1 \(0 to 0\)"):
        check(tmp_path, student, examples(2))
    (student / "config.json").write_text(json.dumps(config | {"vocab_size": 6}))
    with pytest.raises(UserError, match=r"a training row has token \d+, and the model knows 6"):
        check(tmp_path, student, examples(2))


TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'] }}{{ end }}{% endfor %}"


def test_a_template_of_another_model_is_told(tmp_path: Path) -> None:
    tokenizer = character_tokenizer(["<end>"], TEMPLATE, eos_token="<end>", pad_token="<end>")
    student = make_student(tmp_path / "other", tokenizer)
    (warning,) = check(tmp_path, student, examples(2)).warnings
    assert "writes <|im_start|>, which the tokenizer has no token for" in warning


def test_an_answer_without_an_end_is_refused(tmp_path: Path) -> None:
    student = make_student(tmp_path / "endless", character_tokenizer(["<pad>"], TEMPLATE, pad_token="<pad>"))
    with pytest.raises(UserError, match="would learn never to stop; give its tokenizer an eos_token"):
        check(tmp_path, student, examples(2))


def test_rows_longer_than_the_student_takes_are_told(student: Path, tmp_path: Path) -> None:
    """It takes 512; the row has 600 + 97 words, and user, assistant and end."""
    found = check(tmp_path, student, [row("a", " ".join("1" * 600), " ".join("2" * 97))], "train.max_length=1000")
    assert found.warnings == ["rows of up to 700 tokens, and the student takes 512; lower train.max_length"]
