"""Runs that train: which checkpoint goes on, what protects, what follows, what was trained elsewhere, how to stop."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb_files import wandb_files

from stat_train.cli import main
from stat_train.compose import read_settings
from stat_train.records import Question, TrainingExample
from stat_train.run import Run
from stat_train.store import read_records

REPOSITORY = Path(__file__).parents[1]
SETTINGS = [
    *("task.pool=600", "task.validation=30", "task.benchmark=30", "student.max_new_tokens=32"),
    *("data_recipe.pairs=96", "train.epochs=1", "train.effective_batch_size=16", "train.replay_fraction=0.25"),
]
RATES = ["train.learning_rates=[0.001,0.0001]", "train.keep_checkpoints=2"]
RL = ["rl=grpo", "rl.questions=16", "rl.questions_per_batch=16", "rl.questions_per_update=16", "rl.rollouts=2"]
RL += ["rl.max_new_tokens=24"]
PAIRS, REPLAYED, STEPS = 96, 32, 8


@dataclass(frozen=True)
class Place:
    """The cache that the runs of this file share, and where their folders are."""

    folder: Path

    def command(self, name: str, *settings: str) -> list[str]:
        return [*SETTINGS, *settings, f"run_dir={self.folder / name}", f"cache_dir={self.folder / 'cache'}"]

    def run(self, name: str, *settings: str) -> Path:
        assert main(self.command(name, *settings)) == 0
        return self.folder / name

    def start(self, name: str, *settings: str) -> subprocess.Popen[str]:
        environment = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        environment |= {"WANDB_MODE": "offline"}
        return subprocess.Popen(
            [sys.executable, "-m", "stat_train.cli", *self.command(name, *settings)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | environment,
        )

    def artifacts(self, stage: str) -> set[str]:
        return {path.name for path in (self.folder / "cache" / "artifacts").glob(f"{stage}-*")}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def whole(place: Place) -> Path:
    """Return a run with all that training can have: two rates, two checkpoints of each, replay, and GRPO after it."""
    return place.run("whole", *RATES, *RL, "track=tensorboard")


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.mark.slow
def test_the_checkpoint_that_goes_on_is_the_best_on_the_validation_questions(place: Place, whole: Path) -> None:
    rows = read(whole / "choice.json")["candidates"]
    assert [(row["learning_rate"], row["step"]) for row in rows] == [
        (rate, step) for rate in (0.0001, 0.001) for step in (STEPS // 2, STEPS)
    ]
    assert all(row["n"] == 30 for row in rows)
    most = max(row["correct"] for row in rows)
    (chosen,) = (row for row in rows if row["chosen"])
    # The first of those with the most: rates and steps rise.
    assert chosen == next(row for row in rows if row["correct"] == most)
    assert len(place.artifacts("train")) == 2 and len(place.artifacts("validate")) == 5
    checkpoint = (whole / "checkpoint").resolve()
    trained = (whole / "training.json").resolve().parent
    assert checkpoint == trained / chosen["checkpoint"]
    assert read(trained / "manifest.json")["identity"]["train"]["learning_rate"] == chosen["learning_rate"]
    assert (checkpoint / "model.safetensors").is_file()
    assert read(whole / "report.json")["choice"] == read(whole / "choice.json")


@pytest.mark.slow
def test_one_rate_shares_the_training_of_a_list_and_has_nothing_to_choose_but_its_checkpoints(
    place: Place, whole: Path
) -> None:
    made = {stage: place.artifacts(stage) for stage in ("train", "validate", "replay")}
    alone = place.run("alone", "train.learning_rate=0.001", "train.keep_checkpoints=2", "until=train")
    assert {stage: place.artifacts(stage) for stage in made} == made
    assert {row["learning_rate"] for row in read(alone / "choice.json")["candidates"]} == {0.001}


@pytest.mark.slow
def test_what_protects_is_trained_on_and_can_be_traced(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """32 rows are a quarter of 96 + 32, none of them for a skill that is missing."""
    rows = read_records(whole / "replay.jsonl", TrainingExample)
    missing = {gap["skill"] for gap in read(whole / "profile.json")["skills"] if gap["missing"]}
    assert len(rows) == REPLAYED and not any(missing & set(row.skills) for row in rows)
    training = read(whole / "training.json")
    assert (training["rows"], training["replay_rows"]) == (PAIRS + REPLAYED, REPLAYED)
    capsys.readouterr()
    assert main(["trace", str(whole), "replay-00003"]) == 0
    assert "to protect the skill" in capsys.readouterr().out


@pytest.mark.slow
def test_reinforcement_learning_goes_on_from_the_chosen_checkpoint(
    place: Place, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = read_records(whole / "rl_questions.jsonl", Question)
    missing = {gap["skill"] for gap in read(whole / "profile.json")["skills"] if gap["missing"]}
    assert len(asked) == 16 and all(each.answer and missing & set(each.skills or []) for each in asked)
    held_out = {row["id"] for row in map(json.loads, (whole / "overlaps.jsonl").read_text().splitlines())}
    leaks = {
        row["id"]
        for row in map(json.loads, (whole / "overlaps.jsonl").read_text().splitlines())
        if row["kind"] == "leak"
    }
    assert not leaks & {each.id for each in asked} and leaks <= held_out
    (rl,) = place.artifacts("rl")
    start = read(place.folder / "cache" / "artifacts" / rl / "manifest.json")["identity"]["model"]
    checkpoint = (whole / "checkpoint").resolve()
    assert start.partition("/")[0] == (whole / "training.json").resolve().parent.name
    assert start.endswith(checkpoint.name) or checkpoint.name == "checkpoint"
    assert (whole / "rl_checkpoint" / "model.safetensors").is_file()
    assert (whole / "rl_metrics.jsonl").is_file() and read(whole / "rl_training.json")["questions"] == 16
    assert list(read(whole / "evaluation.json")["arms"]) == ["base", "sft", "rl"]
    assert set(read(whole / "evaluation.json")["differences"]) == {"sft - base", "rl - base", "rl - sft"}
    capsys.readouterr()
    assert main(["compare", str(whole)]) == 0
    assert "96 pairs" not in (said := capsys.readouterr().out) and "128 pairs, then rl" in said
    card = (whole / "model_card.md").read_text()
    assert "| benchmark | measure | questions | before | fine-tuned | after | change, points |" in card


@pytest.mark.slow
def test_the_report_shows_how_trainings_went_and_what_they_took(whole: Path) -> None:
    """A curve has a line for each rate, and the run goes on from one of them; the manifest says the same of costs."""
    report, logged = (
        read(whole / "report.json"),
        [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()],
    )
    assert [curve["title"] for curve in report["curves"]][:3] == ["Loss", "Learning rate", "Reward"]
    loss = report["curves"][0]["lines"]
    assert [line["name"] for line in loss] == ["rate 0.0001", "rate 0.001"]
    (taken,) = (line for line in loss if line["chosen"])
    assert taken["first"] == pytest.approx(logged[0]["loss"], rel=1e-5) and taken["steps"] == STEPS
    tokens = read(whole / "training.json")["trained_tokens"]
    told = {"fine_tuning_tokens": tokens, "all_fine_tuning_tokens": 2 * tokens}
    told |= {"reinforcement_tokens": read(whole / "rl_training.json")["tokens"]}
    assert tokens > 0 and told.items() <= report["costs"].items()
    costs = read(whole / "manifest.json")["costs"]
    assert costs.items() <= report["costs"].items() and told.items() <= costs.items()
    seconds = sum(found["cpu"] for found in costs["device_seconds"].values())
    assert report["costs"]["device_seconds_in_all"] == {"cpu": pytest.approx(seconds)}
    page = (whole / "report.html").read_text()
    assert f"{tokens:,} tokens of fine-tuning, {2 * tokens:,} with the rates that were not taken" in page
    assert report["costs"]["paid"]["calls"] == 0 and "torch" in report["versions"]


@pytest.mark.slow
def test_the_report_shows_questions_with_the_answers_that_were_given(whole: Path) -> None:
    report = read(whole / "report.json")
    rows = [json.loads(line) for line in (whole / "benchmark_answers.jsonl").read_text().splitlines()]
    given = {(row["arm"], row["question_id"]): row for row in rows}
    shown = [question for group in report["samples"]["groups"] for question in group["questions"]]
    assert shown
    for question in shown:
        for when, arm in (("before", "base"), ("after", "rl")):
            row = given[arm, question["id"]]
            assert (question[when]["verdict"], question[when]["text"]) == (row["verdict"], row["text"])
    drawn = read_records(whole / "training_set.jsonl", TrainingExample)
    for question in report["diagnosed"]["questions"]:
        assert question["rows"] == sum(row.origin.question_id == question["id"] for row in drawn)


@pytest.mark.slow
def test_each_rate_and_reinforcement_learning_have_a_curve_of_their_own(place: Place, whole: Path) -> None:
    (folder,) = (whole / "tensorboard").iterdir()
    (events := EventAccumulator(str(folder))).Reload()
    (rl,) = place.artifacts("rl")
    files = {"rl": place.folder / "cache" / "artifacts" / rl / "metrics.jsonl"}
    for name in place.artifacts("train"):
        artifact = place.folder / "cache" / "artifacts" / name
        rate = read(artifact / "manifest.json")["identity"]["train"]["learning_rate"]
        files[{0.001: "train/rate_0_001", 0.0001: "train/rate_0_0001"}[rate]] = artifact / "metrics.jsonl"
    assert len(files) == 3
    for curve, file in files.items():
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        told = [(event.step, event.value) for event in events.Scalars(f"{curve}/loss")]
        assert rows and told == [(row["step"], pytest.approx(row["loss"])) for row in rows]
    assert "rl/reward" in events.Tags()["scalars"]


@pytest.mark.slow
def test_the_stages_come_in_the_order_of_the_method(whole: Path) -> None:
    stages = [row["stage"] for row in read(whole / "manifest.json")["stages"]]
    diagnosis = ["questions", "label", "answer", "grade", "diagnose", "profile", "decontaminate", "curate"]
    # The student as it was answers too, to compare with.
    training = ["rl_questions", "replay"] + ["train"] * 2 + ["validate"] * 5 + ["choose", "rl"]
    assert stages == [*diagnosis, *training, *["benchmark"] * 3, *["likelihood"] * 3, "evaluate", "report"]
    costs = read(whole / "manifest.json")["costs"]
    counted = Counter(name.rpartition("-")[0] for name in costs["device_seconds"])
    assert counted == {"answer": 1, "train": 2, "validate": 5, "rl": 1, "benchmark": 3, "likelihood": 3}
    assert all(set(found) == {"cpu"} and found["cpu"] > 0 for found in costs["device_seconds"].values())


@pytest.mark.slow
def test_a_checkpoint_from_elsewhere_takes_the_place_of_training(
    place: Place, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = place.folder / "elsewhere"
    shutil.copytree(whole / "checkpoint", elsewhere)
    given = ["train=external", f"train.checkpoint={elsewhere}"]
    # What is said of a training belongs to train=sft alone.
    settings = [text for text in SETTINGS if not text.startswith("train.")]
    folder = place.folder / "external"
    assert main([*settings, *given, f"run_dir={folder}", f"cache_dir={place.folder / 'cache'}"]) == 0
    arms, ours = read(folder / "evaluation.json")["arms"], read(whole / "evaluation.json")["arms"]
    assert arms == {name: ours[name] for name in ("base", "sft")}
    assert (folder / "checkpoint").resolve() == elsewhere and not (folder / "training.json").exists()
    assert len(place.artifacts("train")) == 2
    capsys.readouterr()
    assert main(["compare", str(folder)]) == 0
    assert "trained elsewhere" in capsys.readouterr().out
    costs = read(folder / "manifest.json")["costs"]
    assert (costs["fine_tuning_tokens"], costs["all_fine_tuning_tokens"], costs["reinforcement_tokens"]) == (
        None,
        None,
        0,
    )
    assert (
        "an unknown number of tokens of fine-tuning, which was done elsewhere" in (folder / "report.html").read_text()
    )


@pytest.mark.slow
def test_a_run_that_is_asked_to_stop_saves_its_state_and_goes_on_when_started_again(place: Place, whole: Path) -> None:
    """A training of 160 steps is asked in its midst; the second process says where it goes on, and ends.

    W&B is told of one run that was preempted and went on, and of each step once.
    """
    many = ["train.epochs=20", "train.learning_rate=0.00001", "until=train", "track=wandb"]
    process = place.start("stopped", *many)
    stop = place.folder / "stopped" / "STOP"
    end = time.monotonic() + 120
    while not list((place.folder / "cache" / "artifacts").glob("train-*.partial/trainer/*/checkpoint-*")):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    stop.touch()
    words, _ = process.communicate(timeout=120)
    assert process.returncode == 75, words
    assert (found := re.search(r"stopped at step (\d+) of 160, as asked", words)), words
    assert 0 < int(found[1]) < 160
    again = place.start("stopped", *many)
    words, _ = again.communicate(timeout=120)
    assert again.returncode == 0, words
    assert "removed" in words and not stop.exists()
    assert read(place.folder / "stopped" / "training.json")["steps"] == 160
    before, after = wandb_files(place.folder / "stopped")
    assert before.run.run_id == after.run.run_id and (before.exit_codes, after.exit_codes) == ([75], [0])
    assert any(record.HasField("preempting") for record in before.records)
    told = [[row["train/step"] for row in file.history() if "train/step" in row] for file in (before, after)]
    assert told[0] and told[1] and [*told[0], *told[1]] == list(range(1, 161))


# -- without training -------------------------------------------------------------------------------------------------


def test_a_stage_is_not_begun_when_the_run_is_asked_to_stop(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file appears while the second stage runs: the third is not begun, and a later run takes the file away."""
    command = ["task.pool=30", "task.validation=5", "task.benchmark=5", "until=label"]
    command += [f"run_dir={tmp_path / 'run'}", f"cache_dir={tmp_path / 'cache'}"]
    make = Run.make

    def asked_meanwhile(run: Run, name: str, *rest: Any) -> Any:
        made = make(run, name, *rest)
        run.stop_file.touch()
        return made

    monkeypatch.setattr(Run, "make", asked_meanwhile)
    assert main(command) == 75
    said = capsys.readouterr()
    assert "stat-train: stopped before stage label, as asked" in said.err
    assert "the same command goes on from there" in said.err
    assert not list((tmp_path / "cache" / "artifacts").glob("label-*"))
    monkeypatch.undo()
    assert main(command) == 0
    assert "removed" in capsys.readouterr().out and not (tmp_path / "run" / "STOP").exists()


@pytest.mark.parametrize(
    ("settings", "gpus", "problem"),
    [
        ([], "0,1,2", "train.effective_batch_size = 32: cannot be split equally over 3 processes"),
        (["train=none", "rl=grpo"], "0,1,2,3,4", "384 answers an update, which cannot be split equally over 5"),
    ],
)
def test_a_batch_that_the_gpus_cannot_share_is_refused_before_anything_is_made(
    settings: list[str],
    gpus: str,
    problem: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without nvidia-smi, the user's own list of GPUs is believed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    assert main([*settings, f"run_dir={tmp_path / 'run'}", f"cache_dir={tmp_path / 'cache'}"]) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "run").exists() and not list((tmp_path / "cache").iterdir())


def checkpoint(folder: Path, adapter: dict[str, Any] | None = None) -> Path:
    """Write a folder that lacks a model's weights, or an adapter."""
    folder.mkdir()
    (folder / "tokenizer.json").touch()
    if adapter is not None:
        (folder / "adapter_config.json").write_text(json.dumps(adapter))
        (folder / "adapter_model.safetensors").touch()
    else:
        (folder / "config.json").touch()
    return folder


@pytest.mark.parametrize(
    ("adapter", "more", "problem"),
    [
        (None, [], "there are no weights"),
        ({}, [], "an adapter that does not name its base"),
        ({"base_model_name_or_path": "/nowhere/base"}, [], "an adapter whose base is absent: /nowhere/base"),
        ({"base_model_name_or_path": "owner/name"}, ["rl=grpo"], "is an adapter, and rl starts from whole weights"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_refused_before_anything_is_made(
    adapter: dict[str, Any] | None,
    more: list[str],
    problem: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = checkpoint(tmp_path / "checkpoint", adapter)
    given = ["train=external", f"train.checkpoint={folder}", *more]
    assert main([*given, f"run_dir={tmp_path / 'run'}", f"cache_dir={tmp_path / 'cache'}"]) == 2
    said = capsys.readouterr().err
    assert f"train.checkpoint = {folder}: {problem}" in said
    assert not (tmp_path / "run").exists()


def test_a_file_is_no_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file := tmp_path / "weights.safetensors").touch()
    given = ["train=external", f"train.checkpoint={file}", f"run_dir={tmp_path / 'run'}"]
    assert main([*given, f"cache_dir={tmp_path / 'cache'}"]) == 2
    assert f"train.checkpoint = {file}: is a file; expected a checkpoint folder" in capsys.readouterr().err


def test_a_link_that_the_run_itself_would_take_away_is_no_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, run_dir = checkpoint(tmp_path / "elsewhere"), tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "checkpoint").symlink_to(folder)
    given = ["train=external", f"train.checkpoint={run_dir / 'checkpoint'}", f"cache_dir={tmp_path / 'cache'}"]
    assert main([*given, f"run_dir={run_dir}"]) == 2
    assert f"give where it leads, {folder}, or another run_dir" in capsys.readouterr().err
    assert (run_dir / "checkpoint").exists()


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (["train.learning_rates=[0.001,0.0001]"], "train.learning_rates: the best checkpoint is chosen on the"),
        (["train.keep_checkpoints=2"], "train.keep_checkpoints: the best checkpoint is chosen on the"),
        (["train=none", "rl=grpo", "rl.prompts=pool"], "none of the 60 pool questions has a gold answer"),
        (["train=none", "rl=grpo", "rl.prompts={file}"], "none of 60 questions has a gold answer to reward by"),
    ],
)
def test_where_gold_answers_are_needed_and_absent_the_run_ends_before_a_stage_is_made(
    settings: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": str(n), "question": f"What is the {n}th letter?", "skills": ["s"]} for n in range(90)]
    pool, test = write(tmp_path / "pool.jsonl", rows[:60]), write(tmp_path / "test.jsonl", rows[60:])
    task = ["task=jsonl", f"task.pool={pool}", f"task.benchmark={test}", "task.validation=10", "teacher=labels"]
    task += ["difficulty=consistency", f"run_dir={tmp_path / 'run'}", f"cache_dir={tmp_path / 'cache'}"]
    assert main([*task, *(text.format(file=pool) for text in settings)]) == 2
    assert problem in capsys.readouterr().err
    assert {path.name.partition("-")[0] for path in (tmp_path / "cache" / "artifacts").iterdir()} == {"questions"}
    assert read_settings([*task, *(text.format(file=pool) for text in settings)]).config.task.name == "jsonl"
