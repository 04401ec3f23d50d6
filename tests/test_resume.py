"""What is done is not done twice: runs of the real command line, repeated, changed, and side by side."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from stat_train.run_state import STATE_FILE

REPOSITORY = Path(__file__).parents[1]
SETTINGS = [
    *("task.pool=600", "task.validation=60", "task.benchmark=80"),
    *("student=tiny", "student.max_new_tokens=48"),
    *("data_recipe.pairs=96", "train.epochs=1", "train.effective_batch_size=16"),
]
RESULTS = ["training_set.jsonl", "profile.json", "evaluation.json", "checkpoint/model.safetensors"]
AFTER_CURATION = Counter(["curate", "train", "benchmark", "likelihood", "evaluate", "report"])
# The benchmark is answered twice, and its reference answers are read twice: before the training and after it.
DIAGNOSIS = Counter(["questions", "label", "answer", "grade", "diagnose", "profile", "decontaminate", "benchmark"])
DIAGNOSIS += Counter(["likelihood"])
EVERY_STAGE = DIAGNOSIS + AFTER_CURATION


@dataclass(frozen=True)
class Run:
    """A run folder and a cache folder, and the command that fills them."""

    folder: Path
    cache: Path

    def start(self, *more: str) -> subprocess.Popen[str]:
        places = [f"run_dir={self.folder}", f"cache_dir={self.cache}"]
        environment = {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", "stat_train.cli", *SETTINGS, *places, *more],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | environment,
        )

    def finish(self, *more: str) -> str:
        return words_of(self.start(*more))

    def artifacts(self) -> set[str]:
        return {path.name for path in (self.cache / "artifacts").iterdir()}

    def results(self) -> dict[str, bytes]:
        return {name: (self.folder / name).read_bytes() for name in RESULTS}


def words_of(process: subprocess.Popen[str]) -> str:
    words, _ = process.communicate(timeout=240)
    assert process.returncode == 0, words
    return words


def stages(artifacts: set[str]) -> Counter[str]:
    return Counter(name.partition("-")[0] for name in artifacts)


def fresh(words: str) -> int:
    """Return how many stages a run says that it ran."""
    found = re.search(r"Done: (\d+) stages? w", words)
    return int(found[1]) if found else 0


def states(folder: Path) -> dict[str, tuple[int, int]]:
    """Return which file each name is and when it was last written, folders included."""
    found = {str(path.relative_to(folder)): path.lstat() for path in folder.rglob("*")}
    return {name: (state.st_ino, state.st_mtime_ns) for name, state in found.items()}


def contents(folder: Path) -> dict[str, bytes | str]:
    """Return what each file holds and where each link points; `state.json` tells of the process, not of the results."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if (path.is_symlink() or path.is_file()) and path.name != STATE_FILE
    }


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run that was made once, in a cache of its own."""
    folder = tmp_path_factory.mktemp("finished")
    run = Run(folder / "run", folder / "cache")
    assert fresh(run.finish()) == EVERY_STAGE.total()
    assert stages(run.artifacts()) == EVERY_STAGE
    return run


class Repeated(NamedTuple):
    """What a run said when it was given again, how long it took, and which of its files are not what they were."""

    words: str
    seconds: float
    changed: set[str]


def repeat(run: Run, *more: str) -> Repeated:
    made, shown, started = states(run.cache), contents(run.folder), time.monotonic()
    words = run.finish(*more)
    seconds = time.monotonic() - started
    changed = made.items() ^ states(run.cache).items() | shown.items() ^ contents(run.folder).items()
    return Repeated(words, seconds, {name for name, _ in changed})


def test_run_until_a_stage_repeated_does_nothing(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", tmp_path / "cache")
    assert fresh(run.finish("until=label")) == 2
    assert stages(run.artifacts()) == Counter(["questions", "label"])
    again = repeat(run, "until=label")
    assert "all stages were done before" in again.words and not again.changed
    assert again.seconds < 5


@pytest.mark.slow
def test_finished_run_repeated_does_nothing(finished: Run) -> None:
    again = repeat(finished)
    assert "all stages were done before" in again.words and not again.changed
    assert again.seconds < 5


@pytest.mark.slow
def test_counts_add_up_over_a_full_run(finished: Run) -> None:
    """From the questions to the answers after training; what the report says was checked is the whole pool."""
    stages = json.loads((finished.folder / "manifest.json").read_text())["stages"]
    counts = {(stage["stage"], item): found for stage in stages for item, found in stage["counts"].items()}
    assert {name for name, _ in counts} == set(EVERY_STAGE) - {"report"}
    assert all(found["total"] == found["kept"] + sum(found["dropped"].values()) for found in counts.values())
    left_out = sum(sum(found["dropped"].values()) for found in counts.values())
    assert left_out == len((finished.folder / "dropped.jsonl").read_text().splitlines())
    assert counts["decontaminate", "pool question"]["kept"] == counts["curate", "pool question"]["total"]
    assert counts["curate", "pair"]["kept"] == counts["train", "training row"]["total"] == 96
    certificate = json.loads((finished.folder / "report.json").read_text())["decontamination"]
    assert certificate["pool_questions_checked"] == counts["decontaminate", "pool question"]["total"] == 600
    assert "What must not be trained on" in (finished.folder / "report.html").read_text()


@pytest.mark.slow
def test_another_recipe_runs_curation_and_what_depends_on_it_only(finished: Run) -> None:
    """So the second arm also shares the first one's answers, and its base scores."""
    before, made = finished.artifacts(), states(finished.cache / "artifacts")
    arm = Run(finished.folder.with_name("pool"), finished.cache)
    arm.finish("data_recipe=pool")
    assert stages(arm.artifacts() - before) == AFTER_CURATION
    assert before <= arm.artifacts()
    assert {name: state for name, state in states(finished.cache / "artifacts").items() if name in made} == made
    for shared in ("answers.jsonl", "profile.json"):
        assert (arm.folder / shared).resolve() == (finished.folder / shared).resolve()
    assert (arm.folder / "training_set.jsonl").read_bytes() != finished.results()["training_set.jsonl"]


@pytest.mark.slow
def test_settings_that_are_operational_run_nothing_again(finished: Run) -> None:
    """Only the report shows them, so it alone is written again."""
    before = finished.artifacts()
    again = Run(finished.folder.with_name("again"), finished.cache)
    again.finish("train.checkpoints=2", "evaluate.batch_size=7", "train.device_batch_size=8", "student.processes=2")
    assert stages(again.artifacts() - before) == Counter(["report"])


@pytest.mark.slow
def test_sampled_answers_of_another_batch_size_are_others(finished: Run) -> None:
    """Random numbers are drawn batch by batch, so the answers may not be taken for those of the first run."""
    before = finished.artifacts()
    again = Run(finished.folder.with_name("batches"), finished.cache)
    again.finish("student.batch_size=7", "until=answer")
    assert stages(again.artifacts() - before) == Counter(["answer"])


@pytest.mark.slow
def test_two_runs_at_the_same_moment_share_every_stage_and_give_the_same_bytes_in_another_cache(
    finished: Run, tmp_path: Path
) -> None:
    """Each stage is run by one of the two and found by the other, except the reports, which name their run."""
    runs = [Run(tmp_path / name, tmp_path / "cache") for name in ("first", "second")]
    processes = [run.start() for run in runs]
    counts = [fresh(words_of(process)) for process in processes]
    assert stages(runs[0].artifacts()) == EVERY_STAGE + Counter(["report"])
    assert sum(counts) == EVERY_STAGE.total() + 1
    assert stages(runs[0].artifacts() & finished.artifacts()) == EVERY_STAGE - Counter(["report"])
    for run in runs:
        assert run.results() == finished.results()
