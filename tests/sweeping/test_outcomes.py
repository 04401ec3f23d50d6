"""When a job counts as done, and what the end of a sweep says of its jobs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from stat_train.cli import main
from stat_train.compose import changed, read_settings
from stat_train.sweeping.expand import SweepJob
from stat_train.sweeping.files import Outcome, is_complete
from stat_train.sweeping.table import JobRow, exit_code, job_row, print_rows

ROW = '{"id": "%s", "question": "1 + %s?", "answer": "2", "solution": "2", "skills": ["addition"]}\n'


def write_questions(file: Path, name: str) -> str:
    file.write_text("".join(ROW % (f"{name}{index}", f"{name} {index}") for index in range(4)))
    return str(file)


def test_a_run_is_complete_while_settings_and_files_are_those_it_was_made_with(tmp_path: Path) -> None:
    pool, benchmark = (write_questions(tmp_path / f"{name}.jsonl", name) for name in ("pool", "benchmark"))
    given = ["task=jsonl", f"task.pool={pool}", f"task.benchmark={benchmark}", "task.validation=2", "task.grader=exact"]
    given += ["teacher=labels", "difficulty=gold", "until=label"]
    given += [f"run_dir={tmp_path / 'run'}", f"cache_dir={tmp_path / 'cache'}"]
    settings = read_settings(given)
    assert not is_complete(settings)
    assert main(given) == 0
    assert is_complete(settings)
    assert is_complete(read_settings([*given, "budget.max_usd=1", "slurm.partition=other"]))
    assert not is_complete(changed(settings, seed=1))
    assert not is_complete(changed(settings, until="curate"))

    manifest = tmp_path / "run" / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace('"stat_train": "', '"stat_train": "0.'))
    assert not is_complete(settings), "another version"
    manifest.write_text(text)
    os.utime(pool, (manifest.stat().st_mtime + 1,) * 2)
    assert not is_complete(settings), "a newer pool"
    os.utime(pool, (manifest.stat().st_mtime - 1,) * 2)
    assert is_complete(settings)
    shutil.rmtree(tmp_path / "cache")
    assert not is_complete(settings), "results that are gone"


def row(outcome: Outcome | None, was_complete: bool = False) -> JobRow:
    return job_row(SweepJob("pool", read_settings([]), []), outcome, was_complete)


def ended(state: str, code: int, error: str | None = None) -> Outcome:
    return Outcome(state, code, 75.0, error, "node")  # type: ignore[arg-type]


DONE, FAILED = ended("done", 0), ended("failed", 2, "[red] is no such setting")
STOPPED, SPENT = ended("stopped", 75, "as asked"), ended("budget spent", 3, "budget.max_usd = 1 is reached")


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([DONE, DONE], 0),
        ([DONE, SPENT], 3),
        ([SPENT, STOPPED], 75),
        ([FAILED, SPENT, STOPPED], 1),
        # A launcher that ended without them, or a machine that is gone.
        ([DONE, None], 1),
        ([DONE, Outcome("running", None, 0.0, None, "node")], 1),
    ],
)
def test_a_sweep_ends_with_the_worst_that_became_of_a_job(outcomes: Sequence[Outcome | None], expected: int) -> None:
    assert exit_code([row(outcome) for outcome in outcomes]) == expected
    assert exit_code([row(None, was_complete=True)]) == 0


def test_the_table_shows_which_failed_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([row(DONE, was_complete=True), row(FAILED), row(None)], Console(width=80))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [" ".join(line.split()) for line in lines if line.startswith("pool ")] == [
        "pool done before 1 min 15 s",
        "pool failed 1 min 15 s",
        "pool not started –",
        "pool failed: [red] is no such setting",
    ]
