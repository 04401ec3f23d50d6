"""Runs that W&B and TensorBoard are told of, with the real libraries; and with a W&B that cannot be reached."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb_files import WandbFile, wandb_files
from wandb_server import WandbServer

from stat_train.compose import read_settings

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]
SETTINGS = ["task.pool=300", "task.validation=12", "task.benchmark=12", "student.max_new_tokens=24"]
SETTINGS += ["data_recipe.pairs=48", "train.epochs=2", "train.effective_batch_size=16", "rl=none"]
SETTINGS += ["evaluate.log_probabilities=false"]
STEPS = 6
KEY = "5ecre7" + "0" * 34
COMMAND = [sys.executable, "-m", "stat_train.cli"]


@dataclass(frozen=True)
class Done:
    """A run that has ended: its folder, its exit code, what it printed, and how long it took."""

    folder: Path
    code: int
    out: str
    err: str
    seconds: float

    @property
    def said(self) -> list[str]:
        """Return the lines that were said of the tracking."""
        return [line for line in self.out.splitlines() if line.startswith("track=")]


@dataclass(frozen=True)
class Place:
    """Where the runs of this file are; they share their cache."""

    folder: Path

    def command(self, name: str, *settings: str) -> list[str]:
        return [*COMMAND, *SETTINGS, *settings, f"run_dir={self.folder / name}", f"cache_dir={self.folder / 'cache'}"]

    def run(self, name: str, *settings: str, **environment: str) -> Done:
        # A home without a key, where nothing may be written either.
        usual = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "HOME": str(self.folder / "home")}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        started = time.monotonic()
        done = subprocess.run(
            self.command(name, *settings), env=inherited | usual | environment, capture_output=True, text=True
        )
        return Done(self.folder / name, done.returncode, done.stdout, done.stderr, time.monotonic() - started)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("arms"))


@pytest.fixture(scope="module")
def tracked(place: Place) -> Done:
    """Return a run that made all of its stages, offline, with a key in its environment."""
    settings = ["track=wandb", "track.mode=offline", "track.tags=[tiny,short]"]
    return place.run("tracked", *settings, WANDB_API_KEY=KEY, STAT_TRAIN_SECRET="5ecre7-too")


@pytest.fixture(scope="module")
def told(tracked: Done) -> WandbFile:
    """Return what that run told W&B."""
    assert (tracked.code, tracked.err) == (0, ""), tracked.err
    (found,) = wandb_files(tracked.folder)
    return found


def read(file: Path) -> Any:
    return json.loads(file.read_text())


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def curve(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """Return the rows of a curve as a training wrote them."""
    own = [{key.removeprefix(name): value for key, value in row.items() if key.startswith(name)} for row in rows]
    return [row for row in own if row]


# -- W&B --------------------------------------------------------------------------------------------------------------


def test_every_step_is_told_once_as_the_training_wrote_it(tracked: Done, told: WandbFile) -> None:
    written = metrics(tracked.folder)
    assert [row["step"] for row in written] == list(range(1, STEPS + 1))
    assert curve(told.history(), "train/") == [pytest.approx(row) for row in written]
    assert told.axes == {"train/*": "train/step"}


def test_the_run_is_named_and_grouped_by_its_folders_and_has_all_settings(place: Place, told: WandbFile) -> None:
    assert (told.run.display_name, told.run.run_group, told.run.project) == (
        "tracked",
        place.folder.name,
        "stat-train",
    )
    assert list(told.run.tags) == ["tiny", "short"] and told.exit_codes == [0]
    given = place.command("tracked", "track=wandb", "track.mode=offline", "track.tags=[tiny,short]")
    config = read_settings(given[len(COMMAND) :]).config
    assert {name: value for name, value in told.config.items() if name != "_wandb"} == config.model_dump()


def test_the_summary_has_the_headline_numbers_and_the_change_of_each_skill(tracked: Done, told: WandbFile) -> None:
    evaluation, summary = read(tracked.folder / "evaluation.json"), told.summary()
    assert summary["evaluation/sft/standard/accuracy"] == evaluation["arms"]["sft"]["standard"]["accuracy"]
    change = evaluation["differences"]["sft - base"]["standard"]
    assert summary["evaluation/sft - base/standard/difference"] == change["difference"]
    skills = {name: found["difference"] for name, found in change["per_skill"].items()}
    prefix = "evaluation/sft - base/standard/skill/"
    assert skills and {name: summary.get(prefix + name) for name in skills} == skills
    rates = {gap["skill"]: gap["rate"] for gap in read(tracked.folder / "profile.json")["skills"]}
    assert rates and {name: summary.get(f"profile/missing/{name}") for name in rates} == rates
    assert summary["train/final_loss"] == read(tracked.folder / "training.json")["final_loss"]


def test_the_files_are_one_artifact_and_the_skills_a_table(tracked: Done, told: WandbFile) -> None:
    own = {name: files for name, files in told.artifacts().items() if name.startswith("results-")}
    assert set(own) == {f"results-{told.run.run_id}"}
    expected = {"profile.json", "evaluation.json", "report.json", "report.html", "model_card.md"}
    assert set().union(*own.values()) == expected | {"benchmark_scores.jsonl"}
    (table,) = (tracked.folder / "wandb").glob("offline-run-*/files/media/table/*.json")
    skills = read(tracked.folder / "evaluation.json")["differences"]["sft - base"]["standard"]["per_skill"]
    rows = [dict(zip(read(table)["columns"], row, strict=True)) for row in read(table)["data"]]
    assert {row["skill"]: row["difference"] for row in rows} == {
        name: found["difference"] for name, found in skills.items()
    }


def test_nothing_of_the_environment_is_in_any_file(place: Place, tracked: Done, told: WandbFile) -> None:
    files = [path for path in place.folder.rglob("*") if path.is_file()]
    assert len(files) > 50
    assert [str(path) for path in files if b"5ecre7" in path.read_bytes()] == []
    assert "5ecre7" not in tracked.out
    assert not (place.folder / "home").exists(), "what is to be sent must lie with the run"


def test_the_end_says_how_to_send_what_was_kept(tracked: Done, told: WandbFile) -> None:
    (line,) = tracked.said
    assert line.endswith(f"to send it: wandb sync {tracked.folder}/wandb/offline-run-*-{told.run.run_id}")


def test_another_start_is_the_same_run_and_tells_nothing_again(place: Place, tracked: Done, told: WandbFile) -> None:
    again = place.run("tracked", "track=wandb", "track.mode=offline", "track.tags=[tiny,short]")
    assert again.code == 0 and "all stages were done before" in again.out
    _, second = wandb_files(again.folder)
    assert (second.run.run_id, second.history(), second.artifacts()) == (told.run.run_id, [], {})


# -- W&B, online ------------------------------------------------------------------------------------------------------


def test_stages_that_were_done_before_are_told_to_a_run_that_has_not_got_them(place: Place, tracked: Done) -> None:
    with WandbServer() as server:
        done = place.run("online", "track=wandb", WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
    run_id = next(iter(read(done.folder / "tracking.json").values()))["id"]
    assert (done.code, done.err) == (0, "")
    assert done.said == [f"track=wandb: {server.url}/me/stat-train/runs/{run_id}"]
    assert server.started[0]["name"] == run_id and server.exit_code == 0
    assert curve(server.history, "train/") == [pytest.approx(row) for row in metrics(tracked.folder)]
    assert f"results-{run_id}" in server.artifacts


@pytest.fixture
def deaf() -> Iterator[str]:
    """Return the address of a server that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("where", ["closed", "deaf"])
def test_a_run_does_not_wait_for_who_does_not_answer(place: Place, tracked: Done, deaf: str, where: str) -> None:
    address = {"closed": "http://127.0.0.1:9", "deaf": deaf}[where]
    online = {"WANDB_MODE": "online", "WANDB_API_KEY": KEY, "WANDB_BASE_URL": address}
    done = place.run(where, "track=wandb", "track.connect_timeout_seconds=1.5", **online)
    assert (done.code, done.err) == (0, "")
    warning, hint = done.said
    assert "cannot be reached, so data are kept offline" in warning and "wandb sync" in hint
    (kept,) = wandb_files(done.folder)
    assert len(curve(kept.history(), "train/")) == STEPS
    # A minute is what hanging would take, on whatever machine.
    assert done.seconds < 60


def test_a_run_ends_though_the_server_falls_silent_meanwhile(place: Place, tracked: Done) -> None:
    with WandbServer(silent_after=2) as server:
        limits = ["track.finish_timeout_seconds=1.5", "track.connect_timeout_seconds=1.5"]
        done = place.run("silent", "track=wandb", *limits, WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url)
        assert server.started
    assert (done.code, done.err) == (0, "") and "Done: " in done.out
    assert len(done.said) == 2 and done.seconds < 60


# -- TensorBoard ------------------------------------------------------------------------------------------------------


def test_tensorboard_is_told_the_same(place: Place, tracked: Done) -> None:
    shared = place.folder / "events"
    done = place.run("board", "track=tensorboard", f"track.folder={shared}")
    assert (done.code, done.err, done.said) == (0, "", [f"track=tensorboard: tensorboard --logdir {shared}"])
    (folder,) = shared.glob("board-*")
    events = EventAccumulator(str(folder))
    events.Reload()
    losses = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert losses == [(row["step"], pytest.approx(row["loss"])) for row in metrics(tracked.folder)]
    accuracy = read(done.folder / "evaluation.json")["arms"]["sft"]["standard"]["accuracy"]
    assert [event.value for event in events.Scalars("evaluation/sft/standard/accuracy")] == [pytest.approx(accuracy)]
    assert set(events.Tags()["tensors"]) == {"config", "skills"}
