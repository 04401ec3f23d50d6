"""Sweeps of the real command line: what is run, what is kept when one is interrupted, and how jobs fail alone."""

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
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
# Nothing is trained, and all runs are scored alike, so that all but the first take little time.
SCORED = ["task.pool=120", "task.validation=10", "task.benchmark=10", "student.max_new_tokens=8", "train=none"]
SCORED += ["evaluate.prompting=adaptmi", "evaluate.log_probabilities=false", "until=evaluate"]
SIX = ["data_recipe=pool,random,stat_sel", "data_recipe.pairs=8,12"]
LABELLED = ["task.pool=40", "task.validation=5", "task.benchmark=5", "until=label"]

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Command:
    """A sweep's command in a working folder, where its runs and their cache are."""

    place: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(REPOSITORY), str(self.place)])
        environment = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        return subprocess.Popen(
            [sys.executable, "-m", "stat_train.cli", "-m", *arguments, "cache_dir=cache"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.place,
            env=os.environ | environment,
        )

    def finish(self, *arguments: str) -> tuple[int, str]:
        return finished(self.start(*arguments))

    def outcome(self, sweep: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.place / sweep / "jobs" / f"{name}.json").read_text())
        return found


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    words, _ = process.communicate(timeout=240)
    return process.returncode, words


def read_until(process: subprocess.Popen[str], pattern: str, times: int = 1) -> str:
    """Read what a command says until a pattern was in so many of its lines."""
    assert process.stdout
    read = list[str]()
    while sum(bool(re.search(pattern, line)) for line in read) < times:
        line = process.stdout.readline()
        assert line, "".join(read)
        read.append(line)
    return "".join(read)


def statuses(words: str) -> dict[str, str]:
    """Return the last table's status of each job."""
    table = words[words.rindex(" status ") :]
    rows = re.findall(r"^ (\S+) +(done before|done|failed|stopped|not started) +\S", table, re.MULTILINE)
    return dict(rows)


def comparison(words: str) -> str:
    return words[words.index("standard: accuracy in %") :]


def names(recipes: Sequence[str]) -> list[str]:
    return [f"{recipe}-pairs{pairs}" for recipe in recipes for pairs in (8, 12)]


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    return Command(tmp_path_factory.mktemp("sweep"))


def test_an_interrupted_sweep_goes_on_and_its_table_is_that_of_one_that_was_not(command: Command) -> None:
    """Six runs: Ctrl-C after three, SIGTERM as the fourth has started, then the rest; and six anew, by joblib."""
    given = [*SCORED, *SIX, "sweep.folder=interrupted"]
    process = command.start(*given)
    read_until(process, r"  done after ", 3)
    process.send_signal(signal.SIGINT)
    code, words = finished(process)
    assert (code, list(statuses(words).values())[:3]) == (130, ["done"] * 3)
    assert "the same command goes on from here" in words

    process = command.start(*given)
    assert "6 jobs in interrupted, 3 done before, 3 to run" in read_until(process, "  started; ")
    process.terminate()
    assert finished(process)[0] == 143

    code, words = command.finish(*given)
    assert code == 0
    expected = dict.fromkeys(names(["pool"]) + names(["random"])[:1], "done before")
    assert statuses(words) == expected | dict.fromkeys(names(["random"])[1:] + names(["stat_sel"]), "done")
    assert words.count("  started; ") == 3

    code, whole = command.finish(*given[:-1], "sweep.folder=whole", "hydra/launcher=joblib")
    assert (code, statuses(whole)) == (0, dict.fromkeys(names(["pool", "random", "stat_sel"]), "done"))
    # Two at once: a second one starts before the first has ended.
    assert re.search(r"started; .*\n\S+  started; ", whole)
    assert comparison(whole) == comparison(words)
    assert [line.split()[0] for line in comparison(words).splitlines() if "-pairs" in line][:6] == list(statuses(words))


def test_a_job_that_fails_or_exits_leaves_the_others_running(command: Command) -> None:
    """One finds a foreign file in its folder, one is ended by SystemExit(0), one has nothing in its way."""
    (command.place / "ends_all.py").write_text("raise SystemExit(0)\n")
    (command.place / "failing" / "gradernumeric").mkdir(parents=True)
    (command.place / "failing" / "gradernumeric" / "notes.txt").touch()
    given = [*questions_of_files(command.place), "sweep.folder=failing"]
    graders = "task.grader=ends_all:grade,numeric,exact"
    code, words = command.finish(*given, graders, "hydra/launcher=submitit_local", "hydra.launcher.cpus_per_task=1")
    assert code == 1
    assert statuses(words) == {"graderends_all_grade": "failed", "gradernumeric": "failed", "graderexact": "done"}
    why = words[words.rindex(" status ") :]
    assert re.search(r"^gradernumeric  failed: .*holds notes.txt and is no run's folder", why, re.MULTILINE)
    assert re.search(r"^graderends_all_grade  failed: ended with exit code 0 before it was done", why, re.MULTILINE)
    assert "not compared: any run" in words
    assert command.outcome("failing", "gradernumeric")["exit_code"] == 2
    manifest = json.loads((command.place / "failing" / "graderexact" / "manifest.json").read_text())
    # What a run of a sweep writes down is the command that does the same alone.
    alone = [*given[:-1], "cache_dir=cache", "task.grader=exact", "run_dir=failing/graderexact"]
    assert manifest["command"] == ["stat-train", *alone]


def questions_of_files(place: Path) -> list[str]:
    """Return the settings of runs that only label a few questions, after writing these."""
    row = {"question": "1 + 1?", "answer": "2", "solution": "2", "skills": ["addition"]}
    for name in ("pool", "benchmark"):
        rows = [row | {"id": f"{name}{index}", "question": f"{index} + {len(name)}?"} for index in range(6)]
        (place / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    given = ["task=jsonl", "task.pool=pool.jsonl", "task.benchmark=benchmark.jsonl", "task.validation=2"]
    return [*given, "teacher=labels", "difficulty=gold", "until=label"]


def test_a_sweep_that_is_killed_leaves_nothing_running_and_until_then_no_other_begins(command: Command) -> None:
    """Its first run would take ten minutes."""
    (command.place / "sleeps.py").write_text("import time\n\ntime.sleep(600)\n")
    given = [*questions_of_files(command.place), "task.grader=sleeps:grade,exact", "sweep.folder=killed"]
    first = command.start(*given)
    read_until(first, "^gradersleeps_grade  started; ")
    second = command.start(*given)
    assert f"waiting for process {first.pid}" in read_until(second, "waiting for process .*, which makes sweep")
    second.kill()
    first.kill()
    assert not finished(second)[1]
    finished(first)
    end = time.monotonic() + 60
    while (state := command.outcome("killed", "gradersleeps_grade")["state"]) == "running" and time.monotonic() < end:
        time.sleep(0.2)
    assert state == "stopped"
    assert not (command.place / "killed" / "jobs" / "graderexact.json").exists()


def test_a_stop_file_stops_all_runs_and_the_next_start_takes_it_away(command: Command) -> None:
    given = [*LABELLED, "seed=0,1", "sweep.folder=stopped"]
    process = command.start(*given)
    read_until(process, "^seed0  started; ")
    (command.place / "stopped" / "STOP").touch()
    code, words = finished(process)
    assert (code, statuses(words)["seed1"]) == (75, "stopped")
    assert not (command.place / "stopped" / "seed1").exists()
    code, words = command.finish(*given)
    assert (code, statuses(words)["seed1"]) == (0, "done")
    assert "removed stopped/STOP" in words
