"""What `stat-train plan` says of trainings: rows, steps, answers, processes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stat_train.cli import main
from stat_train.compose import read_settings
from stat_train.plan.training import training_of


def planned(*settings: str) -> dict[str, dict[str, Any]]:
    return {each.stage: each.numbers for each in training_of(read_settings(settings).config)}


def test_rows_and_steps_of_fine_tuning() -> None:
    """900 pairs and 100 replay rows (10 %) in steps of 32 are 32 steps an epoch, the last one filled up."""
    given = ["data_recipe.pairs=900", "train.replay_fraction=0.1", "train.epochs=3", "train.processes=2"]
    (found,) = planned(*given, "train.learning_rates=[0.001,0.0001]", "train.keep_checkpoints=3").values()
    assert (found["rows"], found["replay_rows"], found["steps"]) == (1000, 100, 96)
    assert (found["trainings"], found["candidates"]) == (2, 6)
    assert (found["largest_world_size"], found["processes"], found["nodes"]) == (32, 2, 1)


def test_answers_of_reinforcement_learning() -> None:
    """2,000 questions are 7 whole batches of 256 an epoch: 6 x 7 x 256 questions with 4 answers each."""
    (found,) = planned("train=none", "rl=paper", "rl.questions=2000").values()
    assert found["completions"] == 6 * 7 * 256 * 4
    assert found["completion_tokens_at_most"] == 6 * 7 * 256 * 4 * 2048
    assert (found["steps"], found["largest_world_size"]) == (6 * 7 * 4, 64 * 4)


@pytest.mark.parametrize(
    ("settings", "stages"),
    [
        (["rl=grpo"], ["train", "rl"]),
        (["rl=grpo", "until=train"], ["train"]),
        (["rl=grpo", "until=curate"], []),
        (["train=none"], []),
        (["train=external", "train.checkpoint=owner/name"], []),
    ],
)
def test_only_what_the_run_trains_is_planned(settings: list[str], stages: list[str]) -> None:
    assert list(planned(*settings)) == stages


def test_the_plan_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["rl=grpo", "rl.questions=2000", "rl.max_new_tokens=96", "train.processes=4", "train.nodes=2"]
    assert main(["plan", *asked]) == 0
    lines = capsys.readouterr().out.splitlines()
    (train,) = (line for line in lines if line.startswith("train: "))
    (rl,) = (line for line in lines if line.startswith("rl: "))
    assert "4,000 rows, 375 steps; 4 processes on each of 2 nodes" in train
    assert "up to 32 (train.effective_batch_size)" in train
    # 41 batches of 48 questions with 8 answers each.
    assert "15,744 answers of at most 96 tokens, 41 steps" in rl
    assert main(["plan", *asked, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["training"]["rl"]["completions"] == 15744
