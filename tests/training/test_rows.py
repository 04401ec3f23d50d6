"""What fine-tuning sees: which tokens count in the loss, which rows are left out, and in which order they come."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from sft_jobs import TEMPLATES, character_tokenizer, make_job, make_student, row
from transformers import AutoTokenizer

from stat_train.errors import UserError
from stat_train.models.places import SHIPPED
from stat_train.models.transformers import load_tokenizer
from stat_train.store import write_records
from stat_train.tasks.prompts import IGNORED, PromptRenderer
from stat_train.training.resume import Start
from stat_train.training.rows import ByLength, Rows, tokenized
from stat_train.training.saving import Made
from stat_train.training.sft import make_trainer
from stat_train.training.weights import choose_kernels

BATCH = 8
LENGTHS = [10 + (37 * row) % 50 for row in range(100)]  # 12 full batches and 4 rows
LLAMA3 = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|pad|>"]
QWEN25 = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
# Tokenizer, and what stands before a question, between it and its answer, and after the answer.
FORMS = {
    "llama3": (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
        "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        "<|eot_id|>",
    ),
    "qwen2.5": (
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>",
    ),
    "embedded": ("<|user|>", "<|assistant|>", "<|end|>"),
}
PAIRS = [("Add 2 to 3.", "The answer is 5."), ("Double 21, then halve it.", "21"), ("Which is 7?", "It is 7.\n\nYes.")]


# -- the order --------------------------------------------------------------------------------------------------------


def order(seed: int = 0, epoch: int = 0) -> list[int]:
    sampler = ByLength(BATCH, LENGTHS, seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def batch_lengths(rows: list[int]) -> list[list[int]]:
    return [[LENGTHS[row] for row in rows[start : start + BATCH]] for start in range(0, len(rows), BATCH)]


def test_every_row_comes_once_and_the_first_ones_fill_the_last_step_up() -> None:
    rows = order()
    assert sorted(rows[:100]) == list(range(100))
    assert rows[100:] == rows[:4]
    assert len(rows) == len(ByLength(BATCH, LENGTHS, 0)) == 13 * BATCH


def test_seed_and_epoch_decide_the_order() -> None:
    assert order() == order()
    assert order() != order(epoch=1) != order(seed=1) != order()


def test_rows_of_a_batch_are_alike_and_batches_are_not_sorted() -> None:
    """Of 100 lengths over a range of 50, eight neighbours in order span about 4; eight at random span about 40."""
    full = batch_lengths(order())[:-1]
    spans = [max(lengths) - min(lengths) for lengths in full]
    assert sum(spans) / len(spans) < 15
    means = [sum(lengths) / BATCH for lengths in full]
    assert means not in (sorted(means), sorted(means, reverse=True))


def test_sums_per_step_count_the_rows_that_fill_up() -> None:
    """Two epochs of 13 steps; each row counts once an epoch, and the four that fill up once more."""
    sums = ByLength(BATCH, LENGTHS, 0).sums_per_step(LENGTHS, 2)
    fill = sum(LENGTHS[row] for epoch in (0, 1) for row in order(epoch=epoch)[100:])
    assert len(sums) == 26
    assert sum(sums) == 2 * sum(LENGTHS) + fill
    assert sums[0] == sum(LENGTHS[row] for row in order()[:BATCH])


# -- what counts in the loss ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def students(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a student for each chat template."""
    folder = tmp_path_factory.mktemp("students")
    llama3, qwen25 = ((TEMPLATES / f"{name}.jinja").read_text() for name in ("llama3", "qwen2.5"))
    tokens = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>", "pad_token": "<|pad|>"}
    made = {
        "llama3": character_tokenizer(LLAMA3, llama3, **tokens),
        "qwen2.5": character_tokenizer(QWEN25, qwen25, eos_token="<|im_end|>", pad_token="<|endoftext|>"),
        "embedded": AutoTokenizer.from_pretrained(SHIPPED["tiny"]),
    }
    return {name: make_student(folder / name, tokenizer) for name, tokenizer in made.items()}


def collated(folder: Path, student: Path, packing: bool) -> tuple[dict[str, Any], Any]:
    """Return the first batch as the trainer hands it to the model, and the tokenizer."""
    rows = [row(str(index), *pair) for index, pair in enumerate(PAIRS)]
    steps = ["train.effective_batch_size=3", "train.device_batch_size=3"]
    job = make_job(folder / "job", student, rows, "train=sft", f"train.packing={str(packing).lower()}", *steps)
    tokenizer, kernels = load_tokenizer(str(student), None), choose_kernels(job.settings, packing)
    made = tokenized(job, PromptRenderer(tokenizer, job.prompt))
    trainer = make_trainer(Made(job, kernels, {}), made, tokenizer, Start(None, False), [])
    (batch,) = trainer.get_train_dataloader()
    return batch, tokenizer


@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("form", FORMS)
def test_the_answer_and_its_end_token_alone_carry_labels(
    students: dict[str, Path], form: str, packing: bool, tmp_path: Path
) -> None:
    """What a batch holds is cut into rows again by their texts, which are written here from the templates' terms."""
    batch, tokenizer = collated(tmp_path, students[form], packing)
    before, between, after = FORMS[form]
    expected = {}
    for question, answer in PAIRS:
        asked = tokenizer(before + question + between, add_special_tokens=False)["input_ids"]
        said = tokenizer(answer + after, add_special_tokens=False)["input_ids"]
        expected[tuple(asked + said)] = [IGNORED] * len(asked) + said
    assert {tuple(ids): labels for ids, labels in rows_of(batch)} == expected


def rows_of(batch: dict[str, Any]) -> list[tuple[list[int], list[int]]]:
    """Return token ids and labels of each row of a batch; padding must carry no label."""
    ids, labels = batch["input_ids"], batch["labels"]
    if "attention_mask" in batch:
        masks = batch["attention_mask"].bool()
        assert (labels[~masks] == IGNORED).all()
        return [(ids[i][mask].tolist(), labels[i][mask].tolist()) for i, mask in enumerate(masks)]
    starts = [*(batch["position_ids"][0] == 0).nonzero().flatten().tolist(), ids.shape[1]]
    return [(ids[0, start:end].tolist(), labels[0, start:end].tolist()) for start, end in pairwise(starts)]


# -- rows that are too long, and rows beside the training set ---------------------------------------------------------


def rows_with(students: dict[str, Path], folder: Path, *settings: str, replay: int = 0) -> Rows:
    """Return rows of 6 to 11 tokens: user, two words, assistant, one to six words, end."""
    words = ["1", "2", "3", "4", "5", "6"]
    texts = [row(f"r{count}", "1 2", " ".join(words[:count])) for count in range(1, 7)]
    job = make_job(folder / "job", students["embedded"], texts, "train=sft", *settings)
    if replay:
        write_records(folder / "replay.jsonl", texts[:replay])
        job = job.model_copy(update={"replay": folder / "replay.jsonl"})
    return tokenized(job, PromptRenderer(load_tokenizer(job.model, None), job.prompt))


def test_rows_that_are_too_long_are_left_out_with_the_reason(students: dict[str, Path], tmp_path: Path) -> None:
    """A row has 1 + 2 + 1 + answer + 1 tokens: 6 to 11, of which 8 are allowed."""
    rows = rows_with(students, tmp_path, "train.max_length=8")
    assert rows.lengths() == [6, 7, 8]
    assert (rows.truncated, [dropped.id for dropped in rows.dropped]) == (0, ["r4", "r5", "r6"])
    first = rows.dropped[0]
    assert (first.reason, first.item, first.detail) == ("too long", "training row", "9 tokens, train.max_length = 8")


def test_rows_that_are_too_long_are_cut_off_at_the_end(students: dict[str, Path], tmp_path: Path) -> None:
    """The answer begins at the fifth token, so of 8 tokens 4 are supervised, and a shorter answer has its own."""
    rows = rows_with(students, tmp_path, "train.max_length=8", "train.long_rows=truncate")
    assert rows.lengths() == [6, 7, 8, 8, 8, 8]
    assert rows.supervised() == [2, 3, 4, 4, 4, 4]
    assert (rows.truncated, rows.dropped) == (3, [])


def test_a_row_whose_answer_would_be_cut_off_whole_is_left_out(students: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.max_length = 4: all 6 training rows"):
        rows_with(students, tmp_path, "train.max_length=4", "train.long_rows=truncate")
    texts = [row("long", "1 2 3 4 5 6", "1"), row("short", "1", "2")]
    cut = ["train.max_length=8", "train.long_rows=truncate"]
    job = make_job(tmp_path / "one", students["embedded"], texts, *cut)
    rows = tokenized(job, PromptRenderer(load_tokenizer(job.model, None), job.prompt))
    assert [(dropped.id, dropped.reason) for dropped in rows.dropped] == [("long", "no answer token left")]


def test_replay_rows_come_after_the_training_set_and_are_counted(students: dict[str, Path], tmp_path: Path) -> None:
    rows = rows_with(students, tmp_path, replay=2)
    assert rows.lengths() == [6, 7, 8, 9, 10, 11, 6, 7]
    assert rows.replayed == 2
