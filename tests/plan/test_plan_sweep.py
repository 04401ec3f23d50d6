"""The plan of a sweep: a row for each run, and what they share once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stat_train.cli import main
from stat_train.compose import read_settings
from stat_train.plan.estimate import NOTHING, StageEstimate
from stat_train.plan.show import Plan
from stat_train.plan.sweep import plan_sweep
from stat_train.sweeping.expand import SweepJob

HUB = ["task=math", "student=local", "student.model=o/m", "teacher=openai", "teacher.model=t", "difficulty=gold"]
HUB += ["teacher.usd_per_million_input_tokens=1.0", "teacher.usd_per_million_output_tokens=2.0", "until=curate"]
SIZES = ["plan.pool_questions=50", "plan.benchmark_questions=60", "task.validation=20", "data_recipe.pairs=90"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["plan", "--json", *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def of_sweep(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, tuple[int, int]]:
    """Return the calls that each run adds, and those that runs before it pay for."""
    made = planned(capsys, "-m", *HUB, *SIZES, *arguments)
    rows = {job["name"]: (job["total"]["calls"], job["shared_calls"]) for job in made["jobs"]}
    assert made["total"]["calls"] == sum(calls for calls, _ in rows.values())
    return rows


def calls_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, int]:
    return {stage["stage"]: stage["calls"] for stage in planned(capsys, *HUB, *SIZES, *arguments)["stages"]}


def label_stage(calls: int, in_ledger: int) -> StageEstimate:
    return StageEstimate("label", "teacher", calls, in_ledger, NOTHING, NOTHING, NOTHING, 0.0, "")


def test_labels_and_diagnoses_are_paid_for_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Both runs label 70 questions and diagnose 12; 150 rewrites exist, of which each draws 90."""
    own = calls_of(capsys, "data_recipe=stat_sel")
    assert own == {"discover": 51, "label": 70, "diagnose": 12, "curate": 90} | {"discover": own["discover"]}
    shared = own["discover"] + 70 + 12
    rows = of_sweep(capsys, "data_recipe=stat_sel,random")
    assert rows == {"stat_sel": (shared + 90, 0), "random": (150 - 90, shared + 30)}


def test_what_one_run_writes_is_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """90 / 0.6 = 150 solutions; 150 / 3 = 50 questions, two a reply: 25."""
    rows = of_sweep(capsys, "data_recipe=stat_syn,embed_syn,pool")
    first, shared = rows["stat_syn"]
    assert shared == 0 and rows["embed_syn"] == (25 + 150, first - 175) and rows["pool"] == (0, first - 175)


def test_another_student_shares_the_labels_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Its 12 diagnoses are its own; of the rewrites 150 - 90 are left."""
    first, second = of_sweep(capsys, "student.model=o/m,o/n").values()
    assert (second[0], sum(second)) == (12 + 60, sum(first))


def test_seeds_share_the_labels_and_trainings_share_all(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = of_sweep(capsys, "seed=0,1", "data_recipe=stat_syn").values()
    assert second[0] == 12 + 175 and sum(second) == first[0]
    first, second = of_sweep(capsys, "train.epochs=1,2", "data_recipe=stat_syn").values()
    assert second == (0, first[0])


def test_what_is_trained_on_the_way_to_reinforcement_is_counted_once(capsys: pytest.CaptureFixture[str]) -> None:
    """With and without it the fine-tuning is one; with another seed it is another: 90 rows in steps of 32, 3 epochs."""
    settings = [*HUB, *SIZES, "until=report", "train.effective_batch_size=32", "train.epochs=3", "data_recipe=pool"]
    assert main(["plan", "-m", *settings, "rl=none,grpo", "seed=0,1"]) == 0
    shown = capsys.readouterr().out
    assert "train: 2 trainings, 18 steps in all" in shown
    made = planned(capsys, "-m", *settings, "rl=none,grpo", "seed=0,1")
    assert [list(job["training"]) for job in made["jobs"]] == [["train"], ["train"], ["rl"], ["rl"]]


def test_dollars_are_those_of_the_new_calls(capsys: pytest.CaptureFixture[str]) -> None:
    made = planned(capsys, "-m", *HUB, *SIZES, "train.epochs=1,2")
    alone = planned(capsys, *HUB, *SIZES)["total"]["usd"]
    assert made["total"]["usd"] == alone and made["jobs"][1]["total"]["usd"] == {"low": 0, "expected": 0, "high": 0}


def test_what_the_ledger_has_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan({}, [stage := label_stage(calls=20, in_ledger=50)], stage, [], [], None, [])
    jobs = [SweepJob(name, read_settings([*HUB, *SIZES]), []) for name in ("a", "b")]
    monkeypatch.setattr("stat_train.plan.sweep.make_plan", lambda settings: plan)
    found = plan_sweep(jobs)
    assert [(each.total.calls, each.total.in_ledger, each.shared) for each in found] == [(20, 50, 0), (0, 0, 20)]


def test_it_is_shown_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-m", *HUB, *SIZES, "data_recipe=stat_sel,pool", "until=report"]) == 0
    shown = capsys.readouterr().out
    lines = {line.split()[0]: line.split() for line in shown.splitlines() if line.strip()}
    assert lines["stat_sel"][2] == "0" and lines["pool"][1] == "0" and lines["pool"][-3:] == ["$0.00", "to", "$0.00"]
    assert shown.count("the questions were not read") == 1 and "train: 2 trainings" in shown
    assert "No call was made." in shown
