"""The one who follows a run and tells W&B or TensorBoard of it, without ever holding it up."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console

from stat_train.config import Config
from stat_train.errors import StatTrainError
from stat_train.store import content_hash
from stat_train.track_settings import NoTracking, TensorboardTracking, Tracking, WandbTracking
from stat_train.tracking.follow import Follower
from stat_train.tracking.memory import Memory
from stat_train.tracking.results import read_results
from stat_train.tracking.tensorboard import TensorBoard
from stat_train.tracking.weights_and_biases import WeightsAndBiases, leave_behind

Told = WeightsAndBiases | TensorBoard
SECONDS_BETWEEN_LOOKS = 1.0
# For the library itself at the end, beside the waits that the settings allow it.
SECONDS_BESIDE = 1.0


class Tracker:
    """Forwards the curves of trainings as they grow, and the results at the end of the run; a context manager.

    All of it is done by a thread: the run itself never waits for a library or a network but at its end, within limits.
    """

    def __init__(self, config: Config, run_dir: Path, console: Console) -> None:
        self.config, self.run_dir, self.console = config, run_dir, console
        self.curves: dict[str, Path] = {}
        # By artifact: a training that is still being made, and the same when it is whole, are one.
        self.followers: dict[str, Follower] = {}
        self.ended = threading.Event()
        self.connected, self.given_up, self.exit_code = threading.Event(), False, 0
        self.thread: threading.Thread | None = None

    def follow(self, curve: str, file: Path) -> None:
        """Forward what is in this `metrics.jsonl`, and what will be; it takes the place of the curve's earlier file."""
        self.curves[curve] = file

    def __enter__(self) -> Self:
        settings = self.config.track
        if isinstance(settings, WandbTracking) and os.environ.get("WANDB_MODE") == "disabled":
            self._say("track=wandb: WANDB_MODE=disabled in the environment, so nothing is tracked")
        elif not isinstance(settings, NoTracking):
            self.thread = threading.Thread(target=self._work, args=(settings,), daemon=True)
            self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.thread is None:
            return
        self.exit_code = exit_code_of(error)
        self.ended.set()
        settings, limit = self.config.track, SECONDS_BESIDE
        if isinstance(settings, WandbTracking):
            limit += settings.finish_timeout_seconds
            limit += 0 if self.connected.is_set() else settings.connect_timeout_seconds
        self.thread.join(limit)
        if self.thread.is_alive():
            left = f"what it has not sent is in {self.run_dir}"
            self._say(f"track={settings.name}: not done after {limit:g} s, and not waited for any longer; {left}")
            self.given_up = True
            self._leave(settings)

    def _work(self, settings: WandbTracking | TensorboardTracking) -> None:
        try:
            self._track(settings, Memory(self.run_dir, self.config))
        except Exception as error:
            # Whatever is wrong there, it is not the run that fails.
            reason = " ".join(str(error).split()) or type(error).__name__
            self._say(f"track={settings.name}: {reason}; the run goes on without it")
            self._leave(settings)

    def _track(self, settings: WandbTracking | TensorboardTracking, memory: Memory) -> None:
        told = self._connect(settings, memory)
        while not self.ended.wait(SECONDS_BETWEEN_LOOKS):
            told = self._same_run(told, settings, memory)
            self._forward(told, memory)
        told = self._same_run(told, settings, memory)
        self._forward(told, memory)
        try:
            if self.exit_code == 0:
                self._forward_results(told, memory)
        finally:
            self._say(*told.finish(self.exit_code))

    def _connect(self, settings: WandbTracking | TensorboardTracking, memory: Memory) -> Told:
        self.connected.clear()
        told: Told
        if isinstance(settings, WandbTracking):
            told = WeightsAndBiases(settings, self.config, memory)
        else:
            told = TensorBoard(settings, self.config, memory)
        self.connected.set()
        self._say(*told.opening)
        return told

    def _same_run(self, told: Told, settings: WandbTracking | TensorboardTracking, memory: Memory) -> Told:
        """Return whom to tell of this run: another, with all curves, when one turns out to be of changed data."""
        artifacts = {curve: artifact_of(file) for curve, file in list(self.curves.items())}
        if not memory.told_otherwise(artifacts):
            return told
        self._say(f"track={settings.name}: the data have changed since the last start, so this is another run")
        self._say(*told.finish(0))
        self._close_followers()
        memory.begin_anew()
        return self._connect(settings, memory)

    def _forward(self, told: Told, memory: Memory) -> None:
        for curve, file in list(self.curves.items()):
            artifact = artifact_of(file)
            if artifact not in self.followers:
                self.followers[artifact] = Follower(memory.sent(told.place, artifact) or 0)
            if rows := self.followers[artifact].new_rows(file):
                told.log(curve, rows)
                memory.remember_curve(told.place, curve, artifact, self.followers[artifact].step)

    def _close_followers(self) -> None:
        for follower in self.followers.values():
            follower.close()
        self.followers.clear()

    def _forward_results(self, told: Told, memory: Memory) -> None:
        results = read_results(self.run_dir)
        known_by = content_hash([results.numbers, results.skills, [str(file.resolve()) for file in results.files]])
        if memory.sent(told.place, "results") != known_by:
            told.results(results)
            memory.remember(told.place, "results", known_by)

    def _leave(self, settings: Tracking) -> None:
        if isinstance(settings, WandbTracking):
            leave_behind()

    def _say(self, *lines: str) -> None:
        for line in () if self.given_up else lines:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def artifact_of(file: Path) -> str:
    """Return the name of the artifact that a file is in, made or still being made."""
    return file.parent.name.removesuffix(".partial")


def exit_code_of(error: BaseException | None) -> int:
    """Return what the command will exit with after this error."""
    if error is None:
        return 0
    if isinstance(error, StatTrainError):
        return error.exit_code
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    return 130 if isinstance(error, KeyboardInterrupt) else 1
