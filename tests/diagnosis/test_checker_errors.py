"""A step checker of the embedded task that errs, as a reward model does."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from stat_train.compose import read_settings
from stat_train.diagnosis.step_rewards import with_errors
from stat_train.records import Answer, Question, StepRewards
from stat_train.run import Run
from stat_train.scoring import difficult_among, step_rewards_of
from stat_train.store import Artifact

CHAIN = "addition(34; 58) subtraction(20)"  # 34 -> 92 -> 72
RIGHT = "34 + 58 = 92\n\n92 - 20 = 72\n\nThe answer is 72."
ANSWERS, STEPS = 400, 10


def scored(rewards: list[float] | None, id: str = "q", attempt: int = 0) -> StepRewards:
    return StepRewards(question_id=id, attempt=attempt, rewards=rewards, error=None if rewards else "why")


def turned(rate: float, attempt: int = 0) -> list[list[bool]]:
    """Return of each step of many right answers whether it is taken for a wrong one."""
    right = [scored([1.0] * STEPS, f"q{n}", attempt) for n in range(ANSWERS)]
    return [[reward == 0 for reward in row.rewards or []] for row in with_errors(right, rate)]


def test_no_step_is_turned_round_or_all_are_and_what_has_no_step_stays() -> None:
    rows = [scored([1.0, 0.0, 1.0]), scored([]), scored(None)]
    assert with_errors(rows, 0.0) == rows
    assert with_errors(rows, 1.0) == [scored([0.0, 1.0, 0.0]), scored([]), scored(None)]


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_steps_are_turned_round_at_the_rate_and_each_by_a_draw_of_its_own(rate: float) -> None:
    """Of n steps n * rate, within five standard deviations; of two beside each other both with the rate's square.

    So it is with the same step of another attempt. Of right answers of three steps (1 - rate) ** 3 stay easy.
    """

    def near(flags: list[bool], share: float) -> bool:
        return abs(sum(flags) - len(flags) * share) < 5 * math.sqrt(len(flags) * share * (1 - share))

    first, second = turned(rate), turned(rate, attempt=1)
    flat = [flag for row in first for flag in row]
    assert len(flat) == 4000 and near(flat, rate)
    assert near([a and b for row in first for a, b in pairwise(row)], rate**2)
    assert near(
        [a and b for one, two in zip(first, second, strict=True) for a, b in zip(one, two, strict=True)], rate**2
    )
    assert near([not any(row[:3]) for row in first], (1 - rate) ** 3)


def test_a_rerun_errs_alike_and_a_lower_rate_only_where_a_higher_does() -> None:
    low, high = turned(0.1), turned(0.3)
    assert low == turned(0.1)
    assert all(b for one, two in zip(low, high, strict=True) for a, b in zip(one, two, strict=True) if a)


def test_an_unsure_checker_s_rewards_deviate_by_the_spread_and_stay_within_0_and_1() -> None:
    """Of right steps half would be above 1 and are 1; of the others the mean deviation is 0.2 * sqrt(2 / pi).

    Wrong steps are the mirror image, and which steps are turned round is as it was.
    """
    rows = [scored([1.0, 0.0] * 5, f"q{n}") for n in range(ANSWERS)]
    unsure = with_errors(rows, 0.0, 0.2)
    right = [reward for row in unsure for reward in (row.rewards or [])[::2]]
    wrong = [reward for row in unsure for reward in (row.rewards or [])[1::2]]
    for rewards, end in ((right, 1.0), (wrong, 0.0)):
        moved = [abs(end - reward) for reward in rewards if reward != end]
        assert abs(len(moved) / len(rewards) - 0.5) < 5 * 0.5 / math.sqrt(len(rewards))
        assert abs(sum(moved) / len(moved) - 0.2 * math.sqrt(2 / math.pi)) < 0.01
        assert all(0 <= reward <= 1 for reward in rewards)
    assert unsure == with_errors(rows, 0.0, 0.2)
    both = with_errors(rows, 0.3, 0.01)
    assert [[reward > 0.5 for reward in row.rewards or []] for row in both] == [
        [reward > 0.5 for reward in row.rewards or []] for row in with_errors(rows, 0.3)
    ]
    assert with_errors([scored(None)], 0.0, 0.2) == [scored(None)]


@pytest.mark.parametrize(
    ("rule", "rewards", "difficult"),
    [
        (["difficulty.checker_error_rate=0.0"], [1.0, 1.0, 1.0], False),
        (["difficulty.checker_error_rate=1.0"], [0.0, 0.0, 0.0], True),
        # Of the three draws for this answer two are above 0, and the last is -0.15 standard deviations.
        (["difficulty.checker_spread=0.2"], [1.0, 1.0, 0.97017], False),
        # Shown beside the answer key: the checker of a run that does not judge by it is exact.
        (["difficulty=gold"], [1.0, 1.0, 1.0], None),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_rule_of_a_run_errs_wherever_it_judges(
    rule: list[str], rewards: list[float], difficult: bool | None, seed: int, tmp_path: Path
) -> None:
    """The rewards that `diagnose` and `plan` judge by, and what is difficult among benchmark questions."""
    question = Question(id="q", question="?", source=CHAIN)
    answer = Answer(
        question_id="q", attempt=0, text=RIGHT, final="72", finish_reason="stop", output_tokens=9, prompt_hash=""
    )
    for name, row in {"asked.jsonl": question, "answers.jsonl": answer}.items():
        (tmp_path / name).write_text(json.dumps(row.model_dump()) + "\n")
    settings = [f"run_dir={tmp_path}/run", f"cache_dir={tmp_path}/cache", f"seed={seed}", *rule]
    with Run(read_settings(settings), [], Console(quiet=True)) as run:
        assert [row.rewards for row in step_rewards_of(run, {"q": question}, [answer], None)] == [rewards]
        if difficult is not None:
            found, dropped = difficult_among(
                run, tmp_path / "asked.jsonl", Artifact("answer", "", tmp_path, 0, True), None
            )
            assert ([row.difficult for row in found], dropped) == ([difficult], [])
