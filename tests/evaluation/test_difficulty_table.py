"""The table of strategies in the terminal."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from stat_train.evaluation.difficulty_table import print_difficulty

NOTHING = {"n": 0, "accuracy": None, "low": None, "high": None, "precision": None, "recall": None, "f1": None}


def _row(strategy: str, used: bool, **values: Any) -> dict[str, Any]:
    return {"strategy": strategy, "used": used, "judged": 200, "difficult": 70} | NOTHING | values


def _printed(*rows: dict[str, Any], width: int = 80) -> list[str]:
    out = StringIO()
    print_difficulty({"truth": "gold/first", "strategies": rows, "sweep": None}, Console(file=out, width=width))
    return [" ".join(line.split()) for line in out.getvalue().splitlines() if line.strip()]


def test_the_strategy_in_use_is_marked_and_gold_has_a_count_only() -> None:
    measured = {"accuracy": 0.785, "low": 0.72, "high": 0.84, "precision": None, "recall": 0.0, "f1": 0.0}
    _, heading, _, used, gold, *notes = _printed(
        _row("length", True, n=199, **measured), _row("gold/first", False, n=200, accuracy=1.0, low=0.98, high=1.0)
    )
    assert heading == "strategy difficult accuracy, 95 % precision recall F1"
    assert used == "* length 70/200 78.5 [72, 84] – 0.0 0.0"
    assert gold == "gold/first 70/200"
    assert notes == ["* the strategy of this run", "1 question without a scored answer: not in the agreement"]


def test_without_a_scored_answer_there_are_counts_and_the_reason() -> None:
    title, heading, _, used, length, *notes = _printed(_row("consistency", True), _row("length", False, difficult=3))
    assert (title, heading) == ("Difficult questions by each strategy", "strategy difficult")
    assert (used, length) == ("* consistency 70/200", "length 3/200")
    assert notes[-1] == "No answer was scored by gold, so nothing tells how good each one is."


def test_the_longest_row_fits_80_columns() -> None:
    sure = dict.fromkeys(("accuracy", "low", "high", "precision", "recall", "f1"), 1.0)
    printed = _printed(_row("step_rewards/majority", True, judged=10000, difficult=5123, n=10000, **sure))
    assert "* step_rewards/majority 5123/10000 100 [100, 100] 100 100 100" in printed
