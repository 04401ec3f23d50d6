"""What a run folder remembers of how the run is tracked."""

from __future__ import annotations

from pathlib import Path

from stat_train.compose import read_settings
from stat_train.tracking.memory import Memory


def memory(folder: Path, *settings: str) -> Memory:
    folder.mkdir(exist_ok=True)
    return Memory(folder, read_settings([*settings, f"run_dir={folder}"]).config)


def test_another_start_is_the_same_run_and_knows_what_was_sent(tmp_path: Path) -> None:
    first = memory(tmp_path / "a")
    first.remember("wandb", "train", 7)
    # How far it goes, who is told and where results are kept make no other run of it.
    again = memory(tmp_path / "a", "until=train", "track=wandb", f"cache_dir={tmp_path}", "train.checkpoints=2")
    assert (again.id, again.sent("wandb", "train")) == (first.id, 7)
    assert again.sent("tensorboard", "train") is None and again.sent("wandb", "rl") is None


def test_a_curve_of_another_artifact_is_another_run(tmp_path: Path) -> None:
    first = memory(tmp_path / "a")
    first.remember_curve("wandb", "train", "train-1", 7)
    again = memory(tmp_path / "a")
    assert not again.told_otherwise({"train": "train-1", "rl": "rl-1"}) and again.told_otherwise({"train": "train-2"})
    again.begin_anew()
    assert again.id != first.id and again.sent("wandb", "train-1") is None
    assert not again.told_otherwise({"train": "train-2"})
    # And it stays that run.
    assert memory(tmp_path / "a").id == again.id


def test_other_settings_and_other_folders_are_other_runs(tmp_path: Path) -> None:
    first = memory(tmp_path / "a")
    first.remember("wandb", "train", 7)
    other, elsewhere = memory(tmp_path / "a", "seed=1"), memory(tmp_path / "b")
    assert len({first.id, other.id, elsewhere.id}) == 3
    assert other.sent("wandb", "train") is None
    # Going back to the first settings is going back to the first run.
    assert memory(tmp_path / "a").id == first.id
