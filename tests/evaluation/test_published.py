"""Published numbers beside ours: which run stands beside which row, and what is said where one is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from run_folders import Marks, write_run

from stat_train.errors import UserError
from stat_train.evaluation.compare_runs import load_runs
from stat_train.evaluation.published import Cell, Row, beside, print_published, read_published

LLAMA, TABLE = "meta-llama/Llama-3.2-3B-Instruct", read_published("paper_table3")


def run(place: Path, recipe: str, arms: dict[str, dict[str, Marks]], student: str = LLAMA, train: str = "sft") -> Path:
    """Write a run of a student; `arms` as in write_run."""
    config: dict[str, Any] = {"student": {"name": "local", "model": student}, "train": {"name": train}}
    config |= {"task": {"name": "math"}}
    return write_run(place, arms, recipe, config=config)


def rows_of(*folders: Path) -> dict[tuple[str, str], Row]:
    return {(row.student, row.method): row for row in beside(TABLE, load_runs(folders))}


def values(cell: Cell) -> list[float | None]:
    return [each.value for each in cell.ours]


def test_the_table_is_the_papers() -> None:
    """Each average over all students: 8 + 3 + 3 rows of the paper, each before and after GRPO."""
    rows = beside(TABLE, [])
    assert len(rows) == 2 * (8 + 3 + 3) and len(TABLE.average_of) == 9
    cells = {(row.student, row.method): row.cells for row in rows}
    assert cells[LLAMA, "stat_sel"]["math"] == Cell(51.5, []) and cells[LLAMA, "base"]["average"].published == 30.5
    assert cells[LLAMA, "stat_syn + GRPO"]["average"].published == 41.3
    assert cells["Qwen/Qwen2.5-3B", "stat_syn + GRPO"]["average"].published == 48.4
    assert cells["meta-llama/Llama-3.2-1B-Instruct", "stat_sel"]["average"].published == 20.7


def test_each_arm_stands_beside_its_row(tmp_path: Path) -> None:
    """A run of three arms fills three rows; one without fine-tuning fills the base's, before and after GRPO."""
    three = {"base": {"math": "+---"}, "sft": {"math": "++--"}, "rl": {"math": "+++-"}}
    two = {"base": {"math": "+---"}, "rl": {"math": "++++"}}
    found = rows_of(run(tmp_path / "one", "stat_sel", three), run(tmp_path / "two", "pool", two, train="none"))
    shares = {name: values(found[LLAMA, name].cells["math"]) for name in ("base", "stat_sel", "stat_sel + GRPO")}
    # The base's answers are the same in both runs, and count once.
    assert shares == {"base": [0.25], "stat_sel": [0.5], "stat_sel + GRPO": [0.75]}
    assert values(found[LLAMA, "base + GRPO"].cells["math"]) == [1.0]
    assert values(found[LLAMA, "pool"].cells["math"]) == []
    (ours,) = found[LLAMA, "stat_sel"].cells["math"].ours
    assert ours.low is not None and ours.high is not None and ours.low < 0.5 < ours.high


def test_the_average_needs_all_nine_benchmarks(tmp_path: Path) -> None:
    """Eight all right and one all wrong: 8/9."""
    marks = dict.fromkeys(TABLE.average_of, "++") | {"aime25": "--"}
    arms = {"base": marks, "sft": marks}
    part = {arm: {name: each for name, each in found.items() if name != "amc23"} for arm, found in arms.items()}
    whole = rows_of(run(tmp_path / "whole", "stat_sel", arms))
    assert values(whole[LLAMA, "stat_sel"].cells["average"]) == [pytest.approx(8 / 9)]
    assert values(rows_of(run(tmp_path / "part", "stat_sel", part))[LLAMA, "stat_sel"].cells["average"]) == []


def test_what_was_not_published_is_shown_too(tmp_path: Path) -> None:
    arms = {"base": {"math": "+-"}, "sft": {"math": "++"}}
    found = rows_of(
        run(tmp_path / "one", "skillmix", arms), run(tmp_path / "two", "stat_sel", arms, student="another/model")
    )
    assert found[LLAMA, "skillmix"].cells["math"].published is None
    assert values(found["another/model", "stat_sel"].cells["math"]) == [1.0]


def test_it_is_printed_with_intervals_and_dashes(tmp_path: Path) -> None:
    seeds = [
        run(tmp_path / f"s{n}", "stat_sel", {"base": {"math": "+-"}, "sft": {"math": m}})
        for n, m in enumerate(("++--", "+++-"))
    ]
    one = run(tmp_path / "pool", "pool", {"base": {"math": "+-"}, "sft": {"math": "+---"}})
    console = Console(width=110, record=True)
    print_published([*seeds, one], "paper_table3", console)
    text = console.export_text()
    (first, _) = text.split("meta-llama/Llama-3.2-1B-Instruct")
    lines = {line.strip().partition("  ")[0]: line.split() for line in first.splitlines()}
    # 2 of 4 and 3 of 4 right: 62.5, from 50 to 75.
    assert lines["stat_sel"][:5] == ["stat_sel", "51.5", "62.5", "50.0–75.0", "26.6"]
    assert lines["pool"][:3] == ["pool", "44.8", "25.0"]
    assert lines["hard"] == ["hard", "45.6", "–", "24.9", "–", "78.2", "–", "33.3", "–"]
    assert lines["stat_sel + GRPO"][-2:] == ["40.7", "–"]
    assert "arXiv 2510.10023" in text and "the lowest and highest of them" in text


def test_a_table_that_there_is_none_of_is_refused() -> None:
    with pytest.raises(UserError, match=r'paper_tabel3: no such table; expected one of paper_table3.*"paper_table3"'):
        read_published("paper_tabel3")
