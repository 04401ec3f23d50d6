"""Regressions: which skills they are, and the exit code that stops a release."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from run_folders import standard, write_run

from stat_train.cli import main

ROOT = Path(__file__).parents[2]
# Twenty questions of each skill; the first model has the first ten right.
SKILLS = ["carry"] * 20 + ["add"] * 20
HALF = "+" * 10 + "-" * 10
WORSE = "+" * 2 + "-" * 18
BETTER = "+" * 18 + "-" * 2


def pair(folder: Path, carry: str, add: str) -> list[str]:
    """Write a run, and one that has these marks on the two skills; the base of both is as the first."""
    both = [("first", HALF + HALF), ("second", carry + add)]
    return [str(write_run(folder / name, standard(HALF + HALF, marks), skills=SKILLS)) for name, marks in both]


def compared(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line itself."""
    command = [sys.executable, "-m", "stat_train.cli", "compare", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})


def skills_of(text: str) -> dict[str, Any]:
    """Return the skills of the last row of a comparison as JSON."""
    return {row["skill"]: row for row in json.loads(text)[-1]["skills"]}


def test_a_skill_that_regressed_ends_with_exit_code_4_and_whole_json(tmp_path: Path) -> None:
    """Carry lost 8 of 20, add gained 8: mid-p is 2 / 2^8 - 1 / 2^8 = 1/256 for both, and so is q (2/2 x 1/256)."""
    done = compared(*pair(tmp_path, WORSE, BETTER), "--fail-if-regressed", "--json")
    assert done.returncode == 4, done.stderr
    skills = skills_of(done.stdout)
    assert list(skills) == ["carry", "add"]
    assert [(row["difference"], row["verdict"]) for row in skills.values()] == [(-0.4, "regressed"), (0.4, "improved")]
    assert [row["q"] for row in skills.values()] == [round(1 / 256, 6)] * 2
    heading, line = done.stderr.splitlines()
    assert heading.startswith("stat-train: 1 regression")
    assert "second on standard, against first: carry −40.0 [" in line and line.endswith("over 20 questions, q = 0.004")


def test_a_loss_that_the_number_of_skills_explains_passes(tmp_path: Path) -> None:
    """Carry lost 5 of 20: p = 1/32 is below 0.05, q = 2/32 is not. In all, one gained and five lost: p = 8/64."""
    runs = pair(tmp_path, "+" * 5 + "-" * 15, HALF[:10] + "+" + HALF[11:])
    done = compared(*runs, "--fail-if-regressed", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    carry = skills_of(done.stdout)["carry"]
    assert (carry["p"], carry["q"], carry["verdict"]) == (1 / 32, 2 / 32, "too few")


def test_without_being_asked_a_regression_is_shown_and_passes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *pair(tmp_path, WORSE, BETTER), "--skills"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line.split()[:1] in (["carry"], ["add"])]
    assert [(row[0], row[2], row[-1]) for row in rows] == [
        ("carry", "−40.0", "regressed"),
        ("add", "+40.0", "improved"),
    ]


def test_a_benchmark_that_lost_as_a_whole_regressed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four of each skill: q = 1/8 tells of neither, and 8 of 40 in all do (p = 1/256)."""
    fewer = "+" * 6 + "-" * 14
    assert main(["compare", *pair(tmp_path, fewer, fewer), "--fail-if-regressed"]) == 4
    said = capsys.readouterr()
    assert "as a whole −20.0 [" in said.err and "1 regression" in said.err and "carry" not in said.err
    assert "What it cost" in said.out


def test_a_single_run_is_judged_against_its_own_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = pair(tmp_path, WORSE, BETTER)
    assert main(["compare", second, "--fail-if-regressed"]) == 4
    assert "against its base: carry −40.0" in capsys.readouterr().err
    assert main(["compare", first, "--fail-if-regressed"]) == 0


def test_runs_that_show_no_questions_say_that_skills_are_not_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [str(write_run(tmp_path / name, standard("+-", "++"))) for name in ("a", "b")]
    assert main(["compare", *runs, "--skills"]) == 0
    assert "standard: no run shows which skills its questions need" in capsys.readouterr().out
