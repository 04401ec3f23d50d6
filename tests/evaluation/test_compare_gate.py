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
from stat_train.evaluation.compare import compare

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
    assert "second on standard, against first: carry −40.0 [" in line and line.endswith("over 20 questions, q 0.004")


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


# -- what cannot be judged --------------------------------------------------------------------------------------------


def test_a_gate_that_compared_nothing_ends_with_exit_code_2(tmp_path: Path) -> None:
    """Four questions each, none of them of both runs: eight that one alone was asked."""
    runs = [
        str(write_run(tmp_path / f"run{start}", standard("----", "++++"), first_question=start)) for start in (0, 4)
    ]
    done = compared(*runs, "--fail-if-regressed", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)[1]["left_out"] == {"unscored": 0, "unshared": 8}
    assert "run4 on standard, against run0: not judged, 0 questions scored both times" in done.stderr
    assert "(0 not scored both times, 8 asked of one alone)" in done.stderr and "Traceback" not in done.stderr


def test_a_model_of_which_no_answer_could_be_scored_does_not_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(write_run(tmp_path / "a", standard("+---", "????"))), "--fail-if-regressed"]) == 2
    assert "against its base: not judged, 0 questions scored both times (4 not scored" in capsys.readouterr().err


def test_a_regression_is_told_together_with_what_could_not_be_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All ten lost: Tango's interval of -1 is [-1, -(n - z^2) / (n + z^2)], below 0 as n = 10 > z^2 = 3.84."""
    arms = {"base": {"standard": "+" * 10, "longer": "+"}, "sft": {"standard": "-" * 10, "longer": "?"}}
    run = str(write_run(tmp_path / "a", arms))
    assert main(["compare", run, "--benchmark", "all", "--fail-if-regressed"]) == 4
    said = capsys.readouterr().err
    assert "as a whole −100.0 [" in said and "a on longer, against its base: not judged" in said


@pytest.mark.parametrize(("questions", "told"), [(20, True), (21, False)])
def test_from_one_in_twenty_on_questions_left_out_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], questions: int, told: bool
) -> None:
    marks = "-" * questions
    runs = [
        str(write_run(tmp_path / name, standard(marks, last + marks[1:]))) for name, last in (("a", "-"), ("b", "?"))
    ]
    assert main(["compare", runs[0], runs[1], "--json", "--fail-if-regressed"]) == 0
    line = f"b, sft on standard against a: 1 of {questions} questions left out (1 not scored both times, 0 asked of one"
    assert (line in capsys.readouterr().err) is told


def test_names_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "a\x1b[2J", standard("+" * 10, "-" * 10), skills=["\x1b[31mred\nnext"] * 10)
    assert main(["compare", str(run), "--fail-if-regressed"]) == 4
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "a?[2J on standard, against its base: ?[31mred next −100.0" in said.err


# -- questions chosen by the base's failures --------------------------------------------------------------------------


def difficult(folder: Path, trained: str) -> str:
    """Write a run on questions that its base failed, as evaluation leaves it: their gain has no interval and no p."""
    run = write_run(folder, standard("-" * len(trained), trained), skills=["add"] * len(trained))
    found = json.loads((run / "evaluation.json").read_text())
    for arm in found["arms"].values():
        arm["standard"]["only_difficult"] = True
    found["differences"]["sft - base"]["standard"] |= {"low": None, "high": None, "p": None, "per_skill": {}}
    (run / "evaluation.json").write_text(json.dumps(found))
    return str(run)


def test_a_gain_over_the_failures_that_chose_the_questions_is_shown_and_not_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, place = difficult(tmp_path / "a", HALF), tmp_path / "page.html"
    assert main(["compare", run, "--html", str(place), "--skills", "--fail-if-regressed"]) == 2
    said = capsys.readouterr()
    assert "+50.0" in said.out and "not tested" in said.out and "unknown" not in said.out
    assert "chosen by the untrained student's failures" in said.out and "another --benchmark" in said.err
    page = place.read_text(encoding="utf-8")
    # In the headline, in the table and below it.
    assert page.count("not tested: chosen by the untrained student&#39;s failures") == 3 and "unknown" not in page
    assert main(["compare", run]) == 0


def test_it_is_judged_against_the_trained_model_of_another_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 20 the first has 10 right, the second 2, a change of −40 with p = q = 1/256."""
    runs = [difficult(tmp_path / "a", HALF), difficult(tmp_path / "b", WORSE)]
    assert main(["compare", *runs, "--json", "--fail-if-regressed"]) == 4
    said = capsys.readouterr()
    row = json.loads(said.out)[1]
    assert (row["only_difficult"], row["gain"]["difference"], row["gain"]["low"]) == (True, 0.1, None)
    assert (row["to_first"]["difference"], row["to_first"]["p"]) == (-0.4, round(1 / 256, 6))
    assert "2 regressions" in said.err and "b on standard, against a: add −40.0 [" in said.err
    assert main(["compare", *reversed(runs), "--fail-if-regressed"]) == 0


def test_over_seeds_it_is_not_tested_either(tmp_path: Path) -> None:
    """Gains of 50 and 10 points: 30 on average."""
    runs = [Path(difficult(tmp_path / name, marks)) for name, marks in (("a", HALF), ("b", WORSE))]
    for seed, run in enumerate(runs):
        with (run / "config.yaml").open("a") as config:
            config.write(f"seed: {seed}\n")
    (row,) = compare(runs, over_seeds=True, with_skills=True).rows
    assert (row.gain.difference, row.gain.low, row.gain.p) == (pytest.approx(0.3), None, None)
    assert row.skills is None
