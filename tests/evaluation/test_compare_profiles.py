"""Two profiles side by side, from run folders written by the test and from simulated students."""

from __future__ import annotations

import json
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import numpy
import pytest
from profile_folders import diagnoses_of, write_run
from rich.console import Console
from scipy.stats import fisher_exact

from stat_train.cli import main
from stat_train.diagnosis.profile import exposed_skills, skill_profile
from stat_train.errors import UserError
from stat_train.evaluation.compare_profiles import (
    ProfileComparison,
    Profiled,
    SkillChange,
    as_json,
    compare_profiles,
    load_profile,
    print_profiles,
)

HOSTILE = "[bold]a[/bold] <script>\x1b[31m\nb"


def compared(first: Path, second: Path) -> ProfileComparison:
    """Return the comparison of two run folders."""
    return compare_profiles(load_profile(first), load_profile(second))


def of(found: ProfileComparison, skill: str) -> SkillChange:
    """Return the change of one skill."""
    return next(change for change in found.skills if change.skill == skill)


def printed(found: ProfileComparison, width: int = 80) -> str:
    """Return what is printed on a terminal of a width."""
    print_profiles(found, Console(file=(output := StringIO()), width=width, color_system=None))
    return output.getvalue()


def ids(first: int, last: int) -> list[str]:
    """Return the names of questions, the last one included."""
    return [f"q{index}" for index in range(first, last + 1)]


REQUIRED = {id: ["add"] for id in ids(1, 8)} | {id: ["cut"] for id in ids(9, 11)}


# -- paired and not ---------------------------------------------------------------------------------------------------


def test_the_same_questions_are_compared_pair_by_pair(tmp_path: Path) -> None:
    """A misses add in q1 to q4, B in q4 alone: three of eight better, p = 2 (1/2)^3 - (1/2)^3 = 1/8 (mid-p)."""
    first = write_run(tmp_path / "a", REQUIRED, {id: ["add"] for id in ids(1, 4)})
    second = write_run(tmp_path / "b", REQUIRED, {"q4": ["add"]})
    found = compared(first, second)
    add = of(found, "add")
    assert (found.paired, found.questions) == (True, 11)
    assert (add.first, add.second, add.difference) == ((4, 8), (1, 8), -3 / 8)
    assert add.p == pytest.approx(1 / 8)
    assert add.low is not None and add.high is not None and -1 < add.low < -3 / 8 < 0 < add.high


def test_pairs_are_the_questions_judged_in_both_that_expose_the_skill_in_either(tmp_path: Path) -> None:
    """Skill cut is required by q9 to q11. A also misses it in q1 and q2, B in q2 and q3; B did not judge q11.

    So the pairs are q1, q2, q3, q9, q10: missing in two of five both times.
    """
    first = write_run(tmp_path / "a", REQUIRED, {"q1": ["cut"], "q2": ["cut"]})
    second = write_run(tmp_path / "b", REQUIRED, {"q2": ["cut"], "q3": ["cut"]}, judged=ids(1, 10))
    found = compared(first, second)
    cut = of(found, "cut")
    assert (found.questions, cut.first, cut.second, cut.difference, cut.too_few) == (10, (2, 5), (2, 5), 0, False)


def test_a_skill_that_one_run_never_exposed_was_not_missing_there_if_its_teacher_knew_it(tmp_path: Path) -> None:
    missed = {id: ["carry"] for id in ids(1, 6)}
    first = write_run(tmp_path / "a", REQUIRED, missed)
    knows = write_run(tmp_path / "knows", REQUIRED, {}, listed=["add", "cut", "carry"])
    unaware = write_run(tmp_path / "unaware", REQUIRED, {}, listed=["add", "cut"])
    carry = of(compared(first, knows), "carry")
    assert (carry.first, carry.second, carry.difference) == ((6, 6), (0, 6), -1)
    assert compared(first, unaware).left_out == {"carry": "only in A"}
    assert compared(unaware, first).left_out == {"carry": "only in B"}


def test_other_questions_are_compared_rate_by_rate(tmp_path: Path) -> None:
    """The same ids with other texts are other questions. 4 of 8 against 1 of 8."""
    first = write_run(tmp_path / "a", REQUIRED, {id: ["add"] for id in ids(1, 4)})
    second = write_run(tmp_path / "b", REQUIRED, {"q4": ["add"]}, task="gsm8k")
    found = compared(first, second)
    add = of(found, "add")
    assert (found.paired, found.questions) == (False, 0)
    assert add.p == pytest.approx(fisher_exact([[4, 4], [1, 7]]).pvalue)
    # Newcombe: Wilson's intervals of 4/8 and 1/8 are 0.2152 to 0.7848 and 0.0224 to 0.4709.
    assert (add.low, add.high) == (
        pytest.approx(-0.375 - ((0.125 - 0.0224) ** 2 + (0.7848 - 0.5) ** 2) ** 0.5, abs=1e-3),
        pytest.approx(-0.375 + ((0.4709 - 0.125) ** 2 + (0.5 - 0.2152) ** 2) ** 0.5, abs=1e-3),
    )
    assert "Not paired, as the tasks differ" in printed(found, 200)


def test_skills_of_one_profile_alone_are_left_out_and_named(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", REQUIRED, {}, listed=["only in the list"])
    second = write_run(tmp_path / "b", {"q1": ["add"], "q2": ["new"]}, {"q2": ["new"]})
    found = compared(first, second)
    assert [change.skill for change in found.skills] == ["add"]
    assert found.left_out == {"cut": "only in A", "new": "only in B"}
    text = printed(found, 200)
    assert "Left out, only in A: 1 skills (cut)." in text and "Left out, only in B: 1 skills (new)." in text


def test_profiles_without_a_common_skill_say_so(tmp_path: Path) -> None:
    found = compared(
        write_run(tmp_path / "a", {"q1": ["a"]}, {}), write_run(tmp_path / "b", {"q1": ["b"]}, {}, task="other")
    )
    assert found.skills == []
    text = printed(found)
    assert "no skill in common" in text and "only in A" in text


# -- what is clear --------------------------------------------------------------------------------------------------


def test_a_change_is_clear_only_after_the_adjustment_for_the_number_of_skills(tmp_path: Path) -> None:
    """Six questions each, all six better: mid-p (1/2)^6 = 0.0156. Alone it is clear.

    With seven skills that did not change (p = 1) Benjamini-Hochberg multiplies it by 8: 0.125.
    """
    alone = {f"x{index}": ["x"] for index in range(6)}
    beside = {f"{skill}{index}": [skill] for skill in "abcdefg" for index in range(6)}
    for name, required, adjusted in (("one", alone, 1 / 64), ("eight", alone | beside, 8 / 64)):
        first = write_run(tmp_path / name / "a", required, alone)
        second = write_run(tmp_path / name / "b", required, {})
        change = of(compared(first, second), "x")
        assert change.p_adjusted == pytest.approx(adjusted)
        assert change.clear == (adjusted <= 0.05)


@pytest.mark.parametrize("task", ["math", "gsm8k"], ids=["paired", "not paired"])
def test_too_few_exposures_are_shown_and_never_clear(tmp_path: Path, task: str) -> None:
    """Four of four against none of four is p = 1/16 (mid-p) or 1/35 (Fisher); it is not even tested."""
    required = {id: ["few"] for id in ids(1, 4)} | {id: ["many"] for id in ids(5, 30)}
    first = write_run(tmp_path / "a", required, {id: ["few"] for id in ids(1, 4)})
    second = write_run(tmp_path / "b", required, {id: ["many"] for id in ids(5, 20)}, task=task)
    many, few = compared(first, second).skills
    assert (many.skill, many.clear, few.skill, few.clear, few.p_adjusted) == ("many", True, "few", False, None)
    assert few.too_few and few.difference == -1
    lines = [line.split() for line in printed(compared(first, second)).splitlines()]
    assert any(line[:1] == ["few"] and line[-2:] == ["too", "few"] for line in lines)
    assert any(line[:1] == ["many"] and line[-1] == "clear" for line in lines)


def test_the_largest_change_comes_first_whatever_its_sign(tmp_path: Path) -> None:
    required = {f"{skill}{index}": [skill] for skill in "abcd" for index in range(10)}
    first = write_run(tmp_path / "a", required, {f"b{index}": ["b"] for index in range(9)} | {"d0": ["d"]})
    second = write_run(tmp_path / "b", required, {f"c{index}": ["c"] for index in range(4)} | {"a0": ["a"]})
    found = compared(first, second)
    assert [change.skill for change in found.skills] == ["b", "c", "a", "d"]
    assert compared(first, second).skills == found.skills


# -- simulated students: with no difference, nothing is clear ---------------------------------------------------------

RATES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.2)
EXPOSURES = (60, 30, 12, 40, 20, 30, 8, 5)


def _required() -> dict[str, list[str]]:
    """Return 60 questions; skill s is in EXPOSURES[s] of them, spread out (7 and 60 have no common divisor)."""
    return {
        f"q{index}": [f"s{s}" for s, count in enumerate(EXPOSURES) if (7 * index + 11 * s) % 60 < count]
        for index in range(60)
    }


def _student(
    required: dict[str, list[str]], rates: Mapping[str, float], generator: numpy.random.Generator, text: str
) -> Profiled:
    missed = {id: {skill for skill in skills if generator.random() < rates[skill]} for id, skills in required.items()}
    found = diagnoses_of({id: sorted(skills) for id, skills in missed.items()})
    profile = skill_profile("s", "t", required, found, {row.question_id for row in found}, {})
    return Profiled(
        "run", profile, {(id, text) for id in required}, missed, exposed_skills(required, found), set(rates), {}
    )


def _share_with_a_clear_skill(paired: bool, repetitions: int, change: float = 0.0) -> float:
    """Return how often some skill is called clear; the second student misses s5 less often by `change`."""
    required, generator = _required(), numpy.random.default_rng(3)
    before = {f"s{s}": rate for s, rate in enumerate(RATES)}
    after = before | {"s5": before["s5"] - change}
    clear = 0
    for _ in range(repetitions):
        first = _student(required, before, generator, "a")
        second = _student(required, after, generator, "a" if paired else "b")
        clear += any(change.clear for change in compare_profiles(first, second).skills)
    return clear / repetitions


@pytest.mark.parametrize(("paired", "repetitions"), [(True, 200), (False, 500)], ids=["paired", "not paired"])
def test_equal_students_are_hardly_ever_told_apart(paired: bool, repetitions: int) -> None:
    assert _share_with_a_clear_skill(paired, repetitions) <= 0.05


@pytest.mark.parametrize("paired", [True, False], ids=["paired", "not paired"])
def test_a_large_change_is_found(paired: bool) -> None:
    """70 % down to 10 % of 30 questions: without this the test above would pass for one who never says clear."""
    assert _share_with_a_clear_skill(paired, 20, change=0.6) >= 0.9


# -- what is shown ----------------------------------------------------------------------------------------------------


def test_the_table_fits_80_columns_and_cuts_names_only(tmp_path: Path) -> None:
    name = "a_skill_with_a_name_that_is_far_too_long_for_any_terminal"
    required = {f"q{index}": [name, HOSTILE] for index in range(1000)}
    first = write_run(tmp_path / "a", required, {id: [name] for id in required})
    second = write_run(tmp_path / "b", required, {id: [HOSTILE] for id in required}, task="other")
    lines = printed(compared(first, second)).splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert any("a_skill" in line and "…" in line and line.rstrip().endswith("clear") for line in lines)
    assert any("1000" in line and "100 [100, 100]" in line and "−100.0 [−100, −99]" in line for line in lines)


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    required = {id: [HOSTILE] for id in ids(1, 9)}
    runs = [write_run(tmp_path / name, required, {"q1": [HOSTILE]}) for name in "ab"]
    text = printed(compared(*runs), 120)
    assert "[bold]a[/bold] <script>?[31m b" in text
    assert "\x1b" not in text
    other = write_run(tmp_path / "c", {"q1": ["x"]}, {})
    assert "[bold]a[/bold] <script>?[31m b" in printed(compared(runs[0], other), 120)


def test_the_text_says_how_the_runs_were_compared(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, REQUIRED, {}) for name in "ab"]
    text = printed(compared(*runs), 200)
    assert "Paired: 11 questions were judged in both runs" in text
    assert "Clear: 0 of 1 skills" in text
    assert "Too few to tell: 1 skills with fewer than 5 exposures." in text


def test_a_comparison_is_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_run(tmp_path / "a", REQUIRED, {id: ["add"] for id in ids(1, 4)})
    second = write_run(tmp_path / "b", REQUIRED, {"q4": ["add"]})
    assert main(["profiles", str(first), str(second), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == as_json(compared(first, second))
    assert found["first"] == {"run": str(first), "student": "tiny", "task": "math", "questions": 11, "difficult": 4}
    add = found["skills"][0]
    # Clopper-Pearson for 4 of 8 is symmetrical about 1/2.
    assert add["first"]["rate"] == 0.5
    assert add["first"]["low"] + add["first"]["high"] == pytest.approx(1, abs=1e-6)
    assert (add["skill"], add["difference"], add["p"], add["clear"]) == ("add", -0.375, 0.125, False)


# -- what is refused --------------------------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], *folders: Path) -> str:
    """Return the one message with which the command refuses two folders."""
    assert main(["profiles", *map(str, folders)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    return said.err


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "small", REQUIRED, {})
    said = refused(capsys, run, tmp_path / "smal")
    assert "no run folder" in said and 'Did you mean "small"?' in said


def test_runs_that_measured_otherwise_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_run(tmp_path / "a", REQUIRED, {})
    second = write_run(tmp_path / "b", REQUIRED, {}, difficulty="length")
    assert main(["profiles", str(first), str(second)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Not the same difficulty, so a difference may be of that: gold in A, length in B." in said
    assert as_json(compared(first, second))["measured_otherwise"] == {"difficulty": ("gold", "length")}
    assert main(["profiles", str(first), str(first)]) == 0
    assert "Not the same difficulty" not in capsys.readouterr().out


def test_a_run_without_a_profile_is_refused_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "a", REQUIRED, {})
    (run / "profile.json").unlink()
    assert "until=profile" in refused(capsys, run, run)


def test_a_profile_of_an_older_version_is_refused_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "a", REQUIRED, {})
    old = {"student": "s", "task": "t", "questions": 1, "difficult": 0, "skills": []}
    (run / "profile.json").write_text(json.dumps(old))
    said = refused(capsys, run, run)
    assert "cannot be read" in said and "until=profile" in said


@pytest.mark.parametrize("name", ["difficulty.jsonl", "skill_map.jsonl", "skills.json", "questions/validation.jsonl"])
@pytest.mark.parametrize("text", [None, "{\n", "[]\n"], ids=["absent", "cut off", "other"])
def test_a_damaged_run_is_refused(tmp_path: Path, name: str, text: str | None) -> None:
    run = write_run(tmp_path / "a", REQUIRED, {})
    (run / name).unlink() if text is None else (run / name).write_text(text)
    with pytest.raises(UserError, match=r"cannot be read.*until=profile"):
        load_profile(run)


def test_a_profile_and_difficulties_of_different_runs_are_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", REQUIRED, {})
    lines = (run / "difficulty.jsonl").read_text().splitlines(keepends=True)
    (run / "difficulty.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(UserError, match=r"11 questions.*10"):
        load_profile(run)
