"""Fine-tuning, run for real: against the library's own trainer, against itself, interrupted, and gone wrong."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

pytest.importorskip("torch")

import torch
from datasets import Dataset
from safetensors.torch import load_file
from sft_jobs import contents, ending_after, examples, make_job, make_student, metrics, result
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from stat_train.errors import StatTrainError
from stat_train.models.transformers import load_tokenizer
from stat_train.records import TrainingExample
from stat_train.store import write_records
from stat_train.tasks.prompts import PromptRenderer
from stat_train.training import sft
from stat_train.training.callbacks import ShowProgress
from stat_train.training.rows import ByLength, tokenized
from stat_train.training.saving import kept_steps

ROWS = examples(80)
STEPS = 10
TOLERANCE = 1e-4


class Finished(NamedTuple):
    """A training that was left alone: 10 steps of 8 rows, every one of them logged, with two checkpoints kept."""

    folder: Path
    student: Path
    said: str

    def weights(self, name: str = "checkpoint") -> dict[str, torch.Tensor]:
        return dict(load_file(self.folder / name / "model.safetensors"))


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_student(tmp_path_factory.mktemp("student") / "tiny-llama")


@pytest.fixture(scope="module")
def finished(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("finished") / "job"
    said = io.StringIO()
    with redirect_stdout(said):
        sft.train(make_job(folder, student, ROWS, "train=sft", "train.keep_checkpoints=2"))
    return Finished(folder, student, said.getvalue())


@pytest.fixture
def losses(student: Path, tmp_path: Path) -> Callable[..., list[float]]:
    """Return what trains with other settings and gives the losses."""

    def run(*settings: str) -> list[float]:
        folder = tmp_path / "job"
        sft.train(make_job(folder, student, ROWS, "train=sft", *settings))
        return metrics(folder)

    return run


def interrupted(folder: Path, student: Path, step: int, *settings: str) -> None:
    """Leave a training that ended after a step as a failing machine would have left it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShowProgress, "on_step_begin", ending_after(step))
        with pytest.raises(KeyboardInterrupt):
            sft.train(make_job(folder, student, ROWS, *settings))


def go_on(folder: Path, student: Path, *settings: str) -> None:
    """Start the training of a folder again."""
    sft.train(make_job(folder, student, ROWS, *settings))


# -- what it learns ---------------------------------------------------------------------------------------------------


def test_every_parameter_moves(finished: Finished) -> None:
    before, after = load_file(finished.student / "model.safetensors"), finished.weights()
    assert set(before) == set(after)
    assert [name for name in before if torch.equal(before[name], after[name])] == []


def test_the_losses_are_those_of_the_librarys_own_trainer(finished: Finished, tmp_path: Path) -> None:
    """TRL is given questions and answers as conversations, in our order, and tokenizes and masks them itself."""
    lengths = tokens_of(ROWS, finished.student)
    order = ByLength(8, lengths, seed=0)
    order.set_epoch(0)
    pairs = [
        {
            "prompt": [{"role": "user", "content": ROWS[index].question}],
            "completion": [{"role": "assistant", "content": ROWS[index].answer}],
        }
        for index in order
    ]
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(finished.student, dtype=torch.float32),
        args=SFTConfig(
            output_dir=str(tmp_path),
            num_train_epochs=1,
            per_device_train_batch_size=8,
            learning_rate=4e-4,
            lr_scheduler_type="cosine",
            warmup_steps=0.03,
            weight_decay=0.1,
            max_grad_norm=0.3,
            train_sampling_strategy="sequential",
            gradient_checkpointing=False,
            logging_steps=1,
            save_strategy="no",
            bf16=False,
            use_cpu=True,
            seed=0,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(pairs),
        processing_class=AutoTokenizer.from_pretrained(finished.student),
    )
    trainer.train()
    theirs = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert len(theirs) == STEPS
    assert theirs[0] - theirs[-1] > 0.1, "nothing was learned, so nothing was compared"
    assert metrics(finished.folder) == pytest.approx(theirs, abs=1e-5)


def tokens_of(rows: Sequence[TrainingExample], student: Path) -> list[int]:
    """Return how many tokens each row has: question and answer, the marks of user and assistant, and the end."""
    tokenizer = AutoTokenizer.from_pretrained(student)
    texts = [f"<|user|>{row.question}<|assistant|>{row.answer}<|end|>" for row in rows]
    return [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def test_rows_one_by_one_and_activations_computed_twice_give_the_same_steps(
    finished: Finished, losses: Callable[..., list[float]]
) -> None:
    found = losses("train.device_batch_size=1", "train.gradient_checkpointing=true")
    assert found == pytest.approx(metrics(finished.folder), abs=TOLERANCE)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_rows_do_not_see_each_other(
    finished: Finished, losses: Callable[..., list[float]], attention: str
) -> None:
    """Four rows end to end are one row to the model; were one seen from the next, its loss would be another."""
    packed = losses("train.packing=true", f"train.attention={attention}", "train.device_batch_size=4")
    assert packed == pytest.approx(metrics(finished.folder), abs=TOLERANCE)


def test_bf16_is_near_and_not_the_same(finished: Finished, losses: Callable[..., list[float]]) -> None:
    """A bf16 number has 8 bits, so products are off by up to 2^-8."""
    found, exact = losses("train.precision=bf16"), metrics(finished.folder)
    assert found != exact
    assert found == pytest.approx(exact, rel=2**-6)


# -- what it writes ---------------------------------------------------------------------------------------------------


def test_results_count_rows_and_tokens(finished: Finished) -> None:
    found, tokens = result(finished.folder), sum(tokens_of(ROWS, finished.student))
    job = make_job(finished.folder.with_name("count"), finished.student, ROWS, "train=sft")
    rows = tokenized(job, PromptRenderer(load_tokenizer(job.model, None), job.prompt))
    assert {name: found[name] for name in ("rows", "replay_rows", "truncated", "steps")} == {
        "rows": 80, "replay_rows": 0, "truncated": 0, "steps": STEPS,
    }  # fmt: skip
    assert (found["trained_tokens"], found["supervised_tokens"]) == (tokens, sum(rows.supervised()))
    assert found["final_loss"] == metrics(finished.folder)[-1]
    assert "seconds" not in found


def test_speed_is_kept_apart(finished: Finished) -> None:
    found = json.loads((finished.folder / "throughput.json").read_text())
    assert (found["steps"], found["processes"], found["device"]) == (STEPS, 1, "cpu")
    assert (found["attention"], found["precision"], found["liger"]) == ("sdpa", "fp32", False)
    assert found["tokens"] == result(finished.folder)["trained_tokens"]
    assert found["tokens_per_second"] == pytest.approx(found["tokens"] / found["seconds"], rel=0.01)


def test_it_says_what_it_is_about_to_do_before_it_does(finished: Finished) -> None:
    found = json.loads((finished.folder / "preflight.json").read_text())
    assert found["rows"] == 80
    assert found["longest_row_tokens"] == max(tokens_of(ROWS, finished.student))
    lines = finished.said.splitlines()
    assert lines[0].startswith(f"80 rows with {found['tokens']:,} tokens, the longest with")
    assert "parameters" in lines[1] and "of memory a process" in lines[1] and "of disk" in lines[1]
    assert "tokens count in the loss; first row, the rest of it in brackets: [<|user|>" in finished.said


def test_the_card_says_what_the_checkpoint_is(finished: Finished) -> None:
    card = (finished.folder / "checkpoint" / "README.md").read_text()
    digest = hashlib.sha256((finished.folder / "training_set.jsonl").read_bytes()).hexdigest()
    facts = {
        "base model": "tiny-llama", "data recipe": "stat_sel", "rows trained on": "80", "step": "10 of 10",
        "SHA-256 of training_set.jsonl": digest, "strategy": "none, processes: 1", "precision": "fp32",
        "loss of the last logged steps": f"{metrics(finished.folder)[-1]:.4f}",
    }  # fmt: skip
    for name, value in facts.items():
        assert f"| {name} | {value} |" in card, name
    assert card.startswith("---\n") and "library_name: transformers" in card and "base_model" not in card
    assert "report.html" in card.partition("## Results")[2]
    assert str(finished.folder) not in card and str(finished.student.parent) not in card


def test_checkpoints_on_the_way_are_kept_and_answer(finished: Finished) -> None:
    """Of 10 steps two are kept: the fifth, and the last as checkpoint/."""
    kept = finished.folder / "checkpoints"
    assert [path.name for path in kept.iterdir()] == ["step-000005"]
    names = {path.name for path in (kept / "step-000005").iterdir()}
    assert names == {path.name for path in (finished.folder / "checkpoint").iterdir()}
    assert "| step | 5 of 10 |" in (kept / "step-000005" / "README.md").read_text()
    model = AutoModelForCausalLM.from_pretrained(kept / "step-000005")
    tokenizer = AutoTokenizer.from_pretrained(kept / "step-000005")
    assert model(**tokenizer("<|user|>1", return_tensors="pt")).logits.isfinite().all()
    early, late = finished.weights("checkpoints/step-000005"), finished.weights()
    assert not any(torch.equal(early[name], late[name]) for name in late)


def test_kept_steps_are_evenly_spaced_and_the_last_is_the_end() -> None:
    assert kept_steps(90, 3) == {30, 60}
    assert kept_steps(10, 4) == {2, 5, 8}
    assert kept_steps(10, 1) == set()
    assert kept_steps(2, 5) == {1}


def test_replay_rows_are_trained_on_beside_the_training_set(student: Path, tmp_path: Path) -> None:
    job = make_job(tmp_path / "job", student, ROWS[:8], "train=sft")
    write_records(tmp_path / "replay.jsonl", examples(8, seed=1))
    sft.train(job.model_copy(update={"replay": tmp_path / "replay.jsonl"}))
    found = result(job.folder)
    assert (found["rows"], found["replay_rows"], found["steps"]) == (16, 8, 2)
    assert "| rows trained on | 16 (8 of them replay) |" in (job.folder / "checkpoint" / "README.md").read_text()


# -- interrupted ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [5, 7])
def test_an_interrupted_training_ends_with_the_same_bytes(finished: Finished, step: int, tmp_path: Path) -> None:
    """States are saved every second step, so it goes on at step 4 or 6: before the kept checkpoint, and after it.

    One that is kept from after the state is not trusted: it is made again.
    """
    settings = ["train=sft", "train.keep_checkpoints=2"]
    interrupted(tmp_path / "job", finished.student, step, *settings)
    kept = tmp_path / "job" / "checkpoints" / "step-000005"
    assert kept.exists() and not (tmp_path / "job" / "checkpoint").exists()
    if step == 5:
        (kept / "model.safetensors").write_text("another training's")
        kept.with_name("step-000005.new").mkdir()
    go_on(tmp_path / "job", finished.student, *settings)
    found, expected = contents(tmp_path / "job"), contents(finished.folder)
    assert sorted(found) == sorted(expected)
    assert [name for name in expected if found[name] != expected[name]] == []
    assert json.loads((tmp_path / "job" / "throughput.json").read_text())["steps"] == STEPS - step // 2 * 2


def test_a_finished_training_trains_nothing_and_says_so(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(finished.folder)
    go_on(finished.folder, finished.student, "train=sft", "train.keep_checkpoints=2")
    assert "nothing is trained" in capsys.readouterr().out
    assert contents(finished.folder) == before


# -- gone wrong -------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_no_number_ends_the_training(student: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(student, tmp_path / "broken")
    model = AutoModelForCausalLM.from_pretrained(broken)
    model.model.norm.weight.data[0] = float("nan")
    model.save_pretrained(broken)
    job = make_job(tmp_path / "job", broken, ROWS, "train=sft")
    with pytest.raises(StatTrainError, match=r"the loss is nan at step 1: .*train\.learning_rate \(now 0\.0004\)"):
        sft.train(job)
    assert not (job.folder / "checkpoint").exists()


def test_a_rate_that_is_far_too_high_ends_the_training(student: Path, tmp_path: Path) -> None:
    """A step of 1e30 in every weight makes products past 3e38, the largest number in fp32."""
    job = make_job(tmp_path / "job", student, ROWS, "train=sft", "train.learning_rate=1e30")
    with pytest.raises(StatTrainError, match=r"the (loss|norm of the gradient) is (nan|inf) at step [23]: .*diverged"):
        sft.train(job)
    assert not (job.folder / "training.json").exists()
