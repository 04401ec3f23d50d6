"""Runs that differ in their seed become one row; what cannot be joined is refused."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from run_folders import standard, write_run

from stat_train.compose import read_settings
from stat_train.errors import UserError
from stat_train.evaluation.compare import as_json, compare
from stat_train.evaluation.compare_runs import settings_of
from stat_train.evaluation.compare_table import print_comparison


def seeded(folder: Path, recipe: str, seed: int, trained: str, **more: Any) -> Path:
    """Write a run of a seed whose base has the first of five questions right."""
    config = {"seed": seed, "run_dir": str(folder), **more}
    return write_run(folder / f"{recipe}-{seed}", standard("+----", trained), recipe, config=config)


def test_seeds_of_one_training_are_one_row_and_pair_by_seed(tmp_path: Path) -> None:
    """Gains of `sel`: 2/5 and 4/5, 3/5 on average; against `pool` of the same seed: 2/5 and 3/5, 1/2 on average."""
    runs = [
        seeded(tmp_path, "pool", 0, "+----"),
        seeded(tmp_path, "pool", 1, "++---"),
        seeded(tmp_path, "sel", 1, "+++++"),
        seeded(tmp_path, "sel", 0, "+++--"),
    ]
    found = compare(runs, over_seeds=True)
    pool, sel = found.rows
    assert (pool.name, pool.seeds, sel.name, sel.seeds) == ("pool", [0, 1], "sel", [1, 0])
    assert sel.gain.difference == pytest.approx(0.6) and sel.gain_per_seed == pytest.approx([0.8, 0.4])
    assert sel.to_first is not None
    assert sel.to_first.difference == pytest.approx(0.5) and sel.to_first_per_seed == pytest.approx([0.6, 0.4])
    assert sel.trained.value == pytest.approx(0.8)
    assert [setting.key for setting in found.settings] == ["data_recipe.name"]
    assert found.notes == []
    assert as_json(found.rows)[1]["gain_per_seed"] == pytest.approx([0.8, 0.4])
    print_comparison(found, Console(file=(output := StringIO()), width=80, color_system=None))
    assert "2 seeds: 0, 1" in output.getvalue()


def test_seeds_without_their_like_are_left_out_of_the_difference_and_named(tmp_path: Path) -> None:
    """Both have seed 1 alone, whose difference is 3/5."""
    runs = [seeded(tmp_path, "pool", 0, "+----"), seeded(tmp_path, "pool", 1, "++---")]
    runs += [seeded(tmp_path, "sel", 1, "+++++"), seeded(tmp_path, "sel", 2, "+++--")]
    found = compare(runs, over_seeds=True)
    assert found.rows[1].to_first is not None and found.rows[1].to_first.difference == pytest.approx(0.6)
    assert found.rows[1].gain.difference == pytest.approx(0.6)
    assert found.notes == ["sel is compared with pool over the seeds that both have: 1"]


def test_no_seed_in_common_is_no_difference(tmp_path: Path) -> None:
    runs = [seeded(tmp_path, "pool", seed, "+----") for seed in (0, 1)]
    runs += [seeded(tmp_path, "sel", seed, "++---") for seed in (2, 3)]
    found = compare(runs, over_seeds=True)
    assert found.rows[1].to_first == (0, None, None, None, None)
    assert found.notes[0].endswith("both have: none")


def test_another_setting_than_the_seed_is_named(tmp_path: Path) -> None:
    runs = [seeded(tmp_path, "pool", seed, "+----", train={"epochs": 3}) for seed in (0, 1)]
    runs.append(seeded(tmp_path, "pool", 2, "++---", train={"epochs": 4}))
    with pytest.raises(UserError, match=r"pool-2 in its seed alone .*differs in train.epochs \(4 and 3\)"):
        compare(runs, over_seeds=True)
    with pytest.raises(UserError, match="it is the only run"):
        compare(runs[:1], over_seeds=True)


def test_what_goes_with_the_seed_keeps_no_runs_apart_and_names_tell_trainings_apart(tmp_path: Path) -> None:
    """Each seed has a student; `pool` was trained in two ways, and `sel` in one, whose gains are 2/5 and 4/5."""
    with_student = [(0, {"task": {"mix": "a"}}), (1, {"task": {"mix": "b"}})]
    runs = []
    for recipe, rl, marks in [("pool", "none", "++"), ("pool", "grpo", "++"), ("sel", "none", "+-")]:
        for seed, student in with_student:
            trained = "+++" + (marks if seed else "--")
            folder = tmp_path / f"{recipe}-seed{seed}{'' if rl == 'none' else f'-{rl}'}"
            config = {"seed": seed, "run_dir": str(folder), "rl": {"name": rl}, **student}
            runs.append(write_run(folder, standard("+----", trained), recipe, config=config))
    found = compare(runs, over_seeds=True, with_seed=["task"])
    assert [(row.name, row.seeds) for row in found.rows] == [("pool", [0, 1]), ("pool-grpo", [0, 1]), ("sel", [0, 1])]
    assert [row.gain_per_seed for row in found.rows] == [pytest.approx([0.4, gain]) for gain in (0.8, 0.8, 0.6)]
    assert [setting.key for setting in found.settings] == ["rl.name", "data_recipe.name"]
    with pytest.raises(UserError, match=r"differs in task.mix \(a and b\)"):
        compare(runs[:2], over_seeds=True)
    with pytest.raises(UserError, match=r'--with-seed: no run has a setting task\.mixes; .*mean "task\.mix"'):
        compare(runs, over_seeds=True, with_seed=["task.mixes"])


def test_one_seed_twice_is_refused(tmp_path: Path) -> None:
    runs = [seeded(tmp_path / folder, "pool", 0, "+----") for folder in ("a", "b")]
    with pytest.raises(UserError, match="the same seed"):
        compare(runs, over_seeds=True)


def test_settings_of_speed_and_place_keep_no_runs_apart() -> None:
    given = [["seed=1"], ["seed=1", "run_dir=elsewhere", "evaluate.batch_size=7", "until=evaluate"], ["train.epochs=9"]]
    first, second, third = (settings_of(yaml.safe_load(read_settings(each).yaml)) for each in given)
    assert first == second
    assert {key for key in first if first[key] != third[key]} == {"seed", "train.epochs"}
