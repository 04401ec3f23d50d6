"""Whom a run tells of itself, and how that is decided; without a run."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stat_train.cli import main
from stat_train.compose import read_settings
from stat_train.errors import BudgetReached, StatTrainError, UserError, stopped
from stat_train.tracking.tracker import Tracker, exit_code_of
from stat_train.tracking.weights_and_biases import find_mode, has_overrides, without_overrides

KEY = "5ecre7" + "0" * 34


def track(folder: Path, *settings: str) -> str:
    """Track a run that does nothing; return what was said."""
    said = io.StringIO()
    with Tracker(read_settings([*settings, f"run_dir={folder}"]).config, folder, Console(file=said, width=200)):
        pass
    return said.getvalue()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (StatTrainError("x"), 1),
        (UserError("x"), 2),
        (BudgetReached("x"), 3),
        (stopped("x"), 75),
        (KeyboardInterrupt(), 130),
        (SystemExit(143), 143),
        (ValueError("x"), 1),
    ],
)
def test_the_tracked_run_ends_as_the_command_does(error: BaseException | None, code: int) -> None:
    assert exit_code_of(error) == code


@pytest.mark.parametrize(
    ("wanted", "environment", "mode", "words"),
    [
        ("auto", {}, "offline", ""),
        ("auto", {"WANDB_API_KEY": KEY}, "online", ""),
        ("auto", {"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "offline", ""),
        ("offline", {"WANDB_API_KEY": KEY}, "offline", ""),
        ("online", {"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "online", ""),
        ("online", {}, "offline", "no key for https://"),
        ("auto", {"WANDB_API_KEY": "5hort"}, "offline", "the key cannot be used"),
    ],
)
def test_a_run_is_online_where_a_key_is_known_and_nobody_is_asked_for_one(
    wanted: str,
    environment: dict[str, str],
    mode: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found, said = find_mode(wanted)
    assert (found, bool(said)) == (mode, bool(words))
    assert words in " ".join(said) and environment.get("WANDB_API_KEY", KEY) not in " ".join(said)


def test_a_key_that_wandb_login_left_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    host = wandb.setup().settings.base_url.removeprefix("https://")
    (tmp_path / "netrc").write_text(f"machine {host}\n  login user\n  password {KEY}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert find_mode("auto") == ("online", [])


def test_wandb_that_is_disabled_in_the_environment_is_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert "WANDB_MODE=disabled in the environment, so nothing is tracked" in track(tmp_path, "track=wandb")
    assert list(tmp_path.iterdir()) == []


def test_whatever_is_wrong_there_is_said_in_a_line_and_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("a file in the place of the folder")
    said = track(tmp_path, "track=tensorboard")
    assert said.startswith("track=tensorboard: ") and said.endswith("the run goes on without it\n")
    assert len(said.splitlines()) == 1


def test_the_steps_of_changed_data_are_all_told_under_another_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same command with another pool: its training has another hash, and as many steps as that of before."""
    monkeypatch.setattr("stat_train.tracking.tracker.SECONDS_BESIDE", 60.0)
    run_dir = tmp_path / "run"
    run_dir.mkdir()

    def told(artifact: str, losses: list[float]) -> tuple[list[list[float]], str]:
        file = tmp_path / artifact / "metrics.jsonl"
        file.parent.mkdir(exist_ok=True)
        file.write_text("".join(json.dumps({"step": n, "loss": loss}) + "\n" for n, loss in enumerate(losses, 1)))
        said = io.StringIO()
        config = read_settings(["track=tensorboard", f"run_dir={run_dir}"]).config
        tracker = Tracker(config, run_dir, Console(file=said, width=200))
        tracker.follow("train", file)
        with tracker:
            pass
        runs = [EventAccumulator(str(folder)) for folder in (run_dir / "tensorboard").iterdir()]
        curves = [
            run.Reload() and run.Scalars("train/loss") for run in runs if "train/loss" in run.Reload().Tags()["scalars"]
        ]
        return sorted([event.value for event in curve] for curve in curves), said.getvalue()

    assert told("train-1.partial", [9.0])[0] == [[9.0]]
    assert told("train-1", [9.0, 8.0])[0] == [[9.0, 8.0]]
    found, said = told("train-2", [7.0, 6.0])
    assert found == [[7.0, 6.0], [9.0, 8.0]] and "the data have changed" in said
    found, said = told("train-2", [7.0, 6.0])
    assert found == [[7.0, 6.0], [9.0, 8.0]] and "the data have changed" not in said


def test_what_a_user_adds_to_requests_is_not_sent() -> None:
    shown = read_settings(
        ["teacher=openai", "teacher.model=m", "+teacher.request_overrides.user=5ecre7"]
    ).config.model_dump()
    sent = without_overrides(shown)
    assert "5ecre7" in json.dumps(shown) and "5ecre7" not in json.dumps(sent)
    assert sent == shown | {"teacher": sent["teacher"]}
    assert set(shown["teacher"]) - set(sent["teacher"]) == {"request_overrides"}
    assert has_overrides(shown) and not has_overrides(
        read_settings(["teacher=openai", "teacher.model=m"]).config.model_dump()
    )


def test_without_its_package_tensorboard_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stat_train.packages.find_spec", lambda name: None)
    assert main(["track=tensorboard", f"run_dir={tmp_path / 'run'}", f"cache_dir={tmp_path / 'cache'}"]) == 2
    said = capsys.readouterr().err
    assert "track = tensorboard: needs tensorboard; pip install 'stat-train[tensorboard]'" in said
    assert list(tmp_path.iterdir()) == []
