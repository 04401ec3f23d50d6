"""Whether a round was worth it, from profiles that the test writes; p values are worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from profile_folders import write_run

from stat_train.evaluation.round_gain import RoundGain, not_worth_it, round_gain, why_to_end

IDS = [f"q{index}" for index in range(24)]
ADDING, SQUARING = IDS[:12], IDS[12:]
REQUIRED = {id: ["add"] for id in ADDING} | {id: ["square"] for id in SQUARING}


def missing(add: int, square: int) -> dict[str, list[str]]:
    """Return so many questions of each skill that miss it, the first ones."""
    return {id: ["add"] for id in ADDING[:add]} | {id: ["square"] for id in SQUARING[:square]}


def profile(folder: Path, add: int, square: int, task: str = "math") -> Path:
    return write_run(folder, REQUIRED, missing(add, square), ["add", "square"], task=task)


def test_a_skill_that_is_clearly_rarer_is_a_gain(tmp_path: Path) -> None:
    """10 questions fewer miss `add` and none more: mid-p 2 * 0.5^10 - 0.5^10 = 0.001; of two skills q = 0.002."""
    gain = round_gain(profile(tmp_path / "a", 10, 4), profile(tmp_path / "b", 0, 4))
    assert (gain.rarer, gain.oftener, gain.paired) == (["add"], [], True)
    assert (gain.before, gain.after, gain.p) == ((14, 24), (4, 24), pytest.approx(0.5**10))
    assert not_worth_it(gain) is None


def test_what_two_skills_gain_together_is_a_gain_where_neither_is_clear(tmp_path: Path) -> None:
    """4 questions each: mid-p 0.5^4 = 0.0625 for a skill alone, 0.5^8 = 0.004 for the questions of both."""
    gain = round_gain(profile(tmp_path / "a", 4, 4), profile(tmp_path / "b", 0, 0))
    assert (gain.rarer, gain.p) == ([], pytest.approx(0.5**8))
    assert not_worth_it(gain) is None


def test_no_clear_change_is_no_gain(tmp_path: Path) -> None:
    """Two questions fewer: mid-p 0.5^2 = 0.25."""
    now = profile(tmp_path / "b", 2, 3)
    found = why_to_end(3, profile(tmp_path / "a", 4, 3), now)
    assert found and found.result == 1
    assert found.reason == (
        "round 2 had no credible gain: no skill is clearly less often missing, and not clearly fewer validation "
        "questions are difficult (7 of 24 before, 5 of 24 after it; p = 0.250)"
    )


def test_more_difficult_questions_are_no_gain_whatever_one_skill_gained() -> None:
    gain = RoundGain(["add"], ["square"], True, (10, 100), (25, 100), 0.001)
    assert not_worth_it(gain) == (
        "clearly more validation questions are difficult (10 of 100 before, 25 of 100 after it; p = 0.001)"
    )
    assert not_worth_it(gain._replace(p=0.2)) is None


def test_other_validation_questions_are_compared_by_rates(tmp_path: Path) -> None:
    """12 of 12 against 0 of 12 of each skill: Fisher's p = 2 / C(24, 12) for one, far below 5 %."""
    gain = round_gain(profile(tmp_path / "a", 12, 12), profile(tmp_path / "b", 0, 0, task="new"))
    assert (gain.rarer, gain.paired, gain.before, gain.after) == (["add", "square"], False, (24, 24), (0, 24))
    assert not_worth_it(gain) is None


def test_the_rounds_end_when_nothing_is_missing_and_keep_the_last_model(tmp_path: Path) -> None:
    """One question fewer is no clear gain, and yet there is nothing left to train for."""
    found = why_to_end(3, profile(tmp_path / "a", 1, 0), profile(tmp_path / "b", 0, 0))
    assert found == ("no skill is missing any more: 0 of 24 validation questions are difficult", 2)


def test_rounds_go_on_after_a_gain(tmp_path: Path) -> None:
    assert why_to_end(2, profile(tmp_path / "a", 10, 4), profile(tmp_path / "b", 0, 4)) is None
