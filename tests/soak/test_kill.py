"""Runs that are killed with SIGKILL again and again end with the same bytes as a run that was left alone.

A sequence is one run: started, killed at its first moment, started again, killed at the next, ..., then left to end.
Two processes answer in it at a time, and one in the run that is left alone.
Each kill must land in the stage that it was meant for. OMP_NUM_THREADS chooses the threads (1 when it is not set).
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple
from uuid import uuid4

import pytest

REPOSITORY = Path(__file__).parents[2]
KILL = Path(__file__).parent / "kill"
MARK = "STAT_TRAIN_SOAK_RUN"
# 600 answers are two chunks of 500; twice 96 pairs in batches of 32 are 6 steps, each of which is saved.
SETTINGS = [
    *("task.pool=600", "task.validation=60", "task.benchmark=80"),
    *("student=tiny", "student.attempts=10", "student.max_new_tokens=48"),
    *("data_recipe.pairs=96", "train.epochs=2", "train.effective_batch_size=32"),
]
# Two checkpoints to choose from, rows that protect, and reinforcement learning after it.
TRAININGS = [
    *("train.keep_checkpoints=2", "train.replay_fraction=0.25", "rl=grpo", "rl.questions=24", "rl.max_new_tokens=24"),
    *("rl.questions_per_batch=8", "rl.questions_per_update=8", "rl.rollouts=2"),
]
# None of the short sequence's kills lands in their stages, which load the model twice more.
WITHOUT_LOG_PROBABILITIES = ["evaluate.log_probabilities=false"]
RESULTS = ["training_set.jsonl", "profile.json", "evaluation.json", "checkpoint/model.safetensors"]
TIMEOUT = 240
# How fast a training was is another number each time.
SPEED = "throughput.json"
CHILD_ENDS_WITHIN = 5
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


# -- moments ----------------------------------------------------------------------------------------------------------


class At(NamedTuple):
    """An exact moment: what happens for the `count`-th time to a file of the stage (see kill/sitecustomize.py)."""

    stage: str
    at: str
    file: str
    victims: str = "all"
    count: int = 1

    def __str__(self) -> str:
        return f"{self.stage}: {self.at} {self.file} x{self.count}, {self.victims}"

    def environment(self) -> dict[str, str]:
        return {
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(KILL)]),
            "STAT_TRAIN_KILL": json.dumps(self._asdict()),
        }


class Seen(NamedTuple):
    """A moment that is watched from outside: a seeded time, at most `within` seconds, after `file` is there."""

    stage: str
    file: str
    within: float
    victims: str = "all"

    def __str__(self) -> str:
        return f"{self.stage}: up to {self.within} s after {self.file}, {self.victims}"

    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(REPOSITORY)}


Moment = At | Seen

SHORT = [
    Seen("answer", "answers.jsonl.chunks/000000", 0.3, "orchestrator"),
    At("curate", "half", "training_set.jsonl"),
    # Goes on inside the second epoch, where the order of the rows must be the second's.
    At("train", "half", "optimizer.pt", count=5),
    At("train", "after", "checkpoint"),
    At("evaluate", "before", "evaluate-*"),
]
LONG = {
    "questions to grade": [
        Seen("questions", ".", 0.5),
        At("questions", "half", "standard.jsonl"),
        At("label", "half", "skill_map.jsonl"),
        At("label", "before", "label-*"),
        At("grade", "half", "grades.jsonl"),
        At("grade", "before", "grade-*"),
    ],
    "answer to curate": [
        At("answer", "half", "000000", "orchestrator"),
        At("answer", "removed", "000001"),
        At("diagnose", "half", "diagnoses.jsonl"),
        At("diagnose", "before", "dropped.jsonl"),
        At("profile", "half", "profile.json"),
        At("profile", "before", "profile-*"),
        At("decontaminate", "half", "overlaps.jsonl"),
        At("decontaminate", "before", "decontaminate-*"),
        At("curate", "after", "training_set.jsonl"),
        At("curate", "before", "curate-*"),
    ],
    "train": [
        Seen("train", "trainer/whole/checkpoint-1", 0.1, "orchestrator"),
        At("train", "half", "model.safetensors", "stage", count=2),
        At("train", "half", "trainer_state.json"),
        At("train", "removed", "optimizer.pt"),
        At("train", "after", "checkpoint"),
        At("train", "removed", "scheduler.pt"),
        At("train", "before", "train-*"),
    ],
    "trainings": [
        At("rl_questions", "half", "questions.jsonl"),
        At("rl_questions", "before", "rl_questions-*"),
        At("replay", "half", "replay.jsonl"),
        At("replay", "before", "replay-*"),
        At("train", "half", "optimizer.pt", count=3),
        Seen("validate", ".", 2, "orchestrator"),
        At("validate", "half", "answers.jsonl"),
        At("choose", "half", "choice.json"),
        At("choose", "before", "choose-*"),
        At("rl", "half", "optimizer.pt", count=2),
        At("rl", "before", "rl-*"),
    ],
    "benchmark to report": [
        # Loading the model alone takes longer, so it is the first of the two benchmarks that is hit.
        Seen("benchmark", ".", 2, "orchestrator"),
        At("benchmark", "half", "answers.jsonl"),
        At("benchmark", "before", "benchmark-*", count=2),
        At("likelihood", "half", "log_probabilities.jsonl"),
        At("likelihood", "before", "likelihood-*"),
        At("evaluate", "half", "benchmark_answers.jsonl"),
        At("evaluate", "after", "evaluation.json"),
        At("report", "half", "report.html"),
        At("report", "after", "report-*"),
    ],
}
STAGES = (
    "questions label answer grade diagnose profile decontaminate curate rl_questions replay train validate choose rl "
    "benchmark likelihood evaluate report"
)


def test_the_long_sequences_have_two_moments_in_every_stage_and_one_between_data_and_completion() -> None:
    moments = [moment for sequence in LONG.values() for moment in sequence]
    assert len(moments) >= 20
    assert all(sum(moment.stage == stage for moment in moments) >= 2 for stage in STAGES.split())
    assert any(isinstance(moment, At) and moment[1:3] == ("before", f"{moment.stage}-*") for moment in moments)
    assert len(SHORT) == 5


# -- the run ----------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """One run folder with a cache of its own, and the processes that work on it."""

    folder: Path
    processes: int = 1
    more: Sequence[str] = ()

    def start(self, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        places = [f"run_dir={self.folder / 'run'}", f"cache_dir={self.folder / 'cache'}"]
        processes = f"student.processes={self.processes}"
        command = [sys.executable, "-m", "stat_train.cli", *SETTINGS, *self.more, processes, *places]
        threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        self.mark = uuid4().hex
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=os.environ | threads | {"HF_HUB_OFFLINE": "1", MARK: self.mark} | environment,
            )

    def finish(self) -> None:
        process = self.start({"PYTHONPATH": str(REPOSITORY)})
        assert process.wait(TIMEOUT) == 0, self.last_words()

    def last_words(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-2000:]

    def alive(self) -> list[int]:
        """Return the processes that were started by the last start, however far down."""
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and self._started(entry)]

    def _started(self, entry: Path) -> bool:
        try:
            return f"{MARK}={self.mark}".encode() in (entry / "environ").read_bytes()
        except OSError:
            return False

    def result(self, name: str) -> bytes:
        return (self.folder / "run" / name).read_bytes()

    def artifacts(self, pattern: str) -> list[Path]:
        return sorted((self.folder / "cache" / "artifacts").glob(pattern))


def kill(run: Run, moment: Moment, random: Random) -> None:
    """Start the run and kill it at the moment; fails when it was not hit, or when a process of it survives."""
    finished = {path.name for path in run.artifacts(f"{moment.stage}-*")}
    process = run.start(moment.environment())
    if isinstance(moment, Seen):
        watch(run, moment, process, random)
    code = process.wait(TIMEOUT)
    # The orchestrator outlives a stage that is killed, and reports it: exit code 1.
    assert code == (1 if moment.victims == "stage" else -signal.SIGKILL), f"{moment}: exit {code}\n{run.last_words()}"
    end = time.monotonic() + CHILD_ENDS_WITHIN
    while (survivors := run.alive()) and time.monotonic() < end:
        time.sleep(0.01)
    assert not survivors, f"{moment}: a process survived"
    check_landing(run, moment, finished)


def watch(run: Run, moment: Seen, process: subprocess.Popen[bytes], random: Random) -> None:
    end = time.monotonic() + TIMEOUT
    while not run.artifacts(f"{moment.stage}-*.partial/{moment.file}".removesuffix("/.")):
        assert process.poll() is None, f"{moment}: the run ended before\n{run.last_words()}"
        assert time.monotonic() < end
        time.sleep(0.001)
    time.sleep(random.uniform(0, moment.within))
    for victim in [process.pid] if moment.victims == "orchestrator" else run.alive():
        os.kill(victim, signal.SIGKILL)


def check_landing(run: Run, moment: Moment, finished: set[str]) -> None:
    """Check that the stage was begun and not completed; after its own renaming, that its lease was left behind."""
    new = {path.name for path in run.artifacts(f"{moment.stage}-*")} - finished
    if isinstance(moment, At) and moment[1:3] == ("after", f"{moment.stage}-*"):
        (name,) = {name.removesuffix(".lease") for name in new}
        assert new | finished >= {name, f"{name}.lease"}, f"{moment}: hit {new}"
        return
    partial = [path.name for path in run.artifacts("*.partial")]
    assert [name.partition("-")[0] for name in partial] == [moment.stage], f"{moment}: hit {partial}"
    assert not run.artifacts(partial[0].removesuffix(".partial")), f"{moment}: had ended"


# -- what must be the same --------------------------------------------------------------------------------------------


def contents(run: Run) -> dict[str, bytes]:
    """Return the files of all artifacts, manifests without seconds.

    Less the report, which names folders and seconds, the speed of the training, and the seconds of devices.
    """
    files = [path for folder in run.artifacts("*") for path in folder.rglob("*") if path.is_file()]
    files = [path for path in files if path.name not in ("throughput.json", "device_seconds.json")]
    names = {str(path.relative_to(run.folder / "cache" / "artifacts")): path for path in files}
    compared = {name: path for name, path in names.items() if not name.startswith("report-") and SPEED not in name}
    return {name: _content(path) for name, path in compared.items()}


def _content(path: Path) -> bytes:
    if path.name != "manifest.json":
        return path.read_bytes()
    return json.dumps(json.loads(path.read_text()) | {"seconds": None}).encode()


def leftovers(run: Run) -> list[str]:
    unfinished = [*run.artifacts("*.partial"), *run.artifacts("*.lease")]
    return [
        str(path)
        for path in (*unfinished, *run.folder.rglob(".*"))
        if path in unfinished or TEMPORARY.fullmatch(path.name)
    ]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("uninterrupted"))
    run.finish()
    return run


@pytest.fixture(scope="module")
def uninterrupted_trainings(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = Run(tmp_path_factory.mktemp("uninterrupted_trainings"), more=TRAININGS)
    run.finish()
    return run


def killed_again_and_again(folder: Path, moments: Sequence[Moment], like: Run) -> Run:
    """Return a run that was killed at each of the moments and then left to end."""
    run, random = Run(folder, processes=2, more=like.more), Random(str(moments))
    for moment in moments:
        kill(run, moment, random)
    run.finish()
    return run


def differing(run: Run, uninterrupted: Run) -> list[str]:
    """Return the results and files of artifacts that are not the same, or are in one of the two runs alone."""
    results = [name for name in RESULTS if run.result(name) != uninterrupted.result(name)]
    found, expected = contents(run), contents(uninterrupted)
    return results + [name for name in sorted(found.keys() | expected) if found.get(name) != expected.get(name)]


@pytest.mark.slow
def test_five_kills(tmp_path: Path) -> None:
    uninterrupted = Run(tmp_path / "uninterrupted", more=WITHOUT_LOG_PROBABILITIES)
    killed = tmp_path / "killed"
    for folder in (uninterrupted.folder, killed):
        folder.mkdir()
    uninterrupted.finish()
    run = killed_again_and_again(killed, SHORT, uninterrupted)
    assert differing(run, uninterrupted) == [] and leftovers(run) == []


@pytest.mark.soak
@pytest.mark.parametrize("sequence", [name for name in LONG if name != "trainings"])
def test_many_kills(tmp_path: Path, uninterrupted: Run, sequence: str) -> None:
    run = killed_again_and_again(tmp_path, LONG[sequence], uninterrupted)
    assert differing(run, uninterrupted) == [] and leftovers(run) == []


@pytest.mark.soak
def test_many_kills_in_trainings_that_follow_each_other(tmp_path: Path, uninterrupted_trainings: Run) -> None:
    run = killed_again_and_again(tmp_path, LONG["trainings"], uninterrupted_trainings)
    assert differing(run, uninterrupted_trainings) == [] and leftovers(run) == []
