"""What compared runs cost, from what their folders say."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from run_folders import standard, write_run

from stat_train.evaluation.compare import compare
from stat_train.evaluation.compare_costs import Costs
from stat_train.evaluation.compare_table import dollars, per_million, print_comparison

TWENTY_POINTS = standard("+----", "++---")


def costs(run: Path) -> Costs:
    """Return what the first row of a run cost."""
    return compare([run]).rows[0].costs


def manifest(usd: float | None, at_most: bool = False, **seconds: Any) -> dict[str, Any]:
    """Return a manifest with what was paid, and the seconds of each stage: a number on the CPU, None not counted."""
    paid = {"calls": 3, "tokens": 900, "usd": usd, "at_most": at_most}
    by_artifact = {name.replace("_", "-"): None if found is None else {"cpu": found} for name, found in seconds.items()}
    return {"costs": {"paid": paid, "device_seconds": by_artifact}}


def tokens(own: int | None, reinforced: int = 0) -> dict[str, Any]:
    """Return a manifest with the tokens of a fine-tuning, which was tried at two rates, and of rollouts."""
    every = None if own is None else 2 * own
    return {"costs": {"fine_tuning_tokens": own, "all_fine_tuning_tokens": every, "reinforcement_tokens": reinforced}}


def test_points_are_divided_by_millions_of_trained_tokens(tmp_path: Path) -> None:
    """A gain of 20 points for a quarter of a million tokens: 80 points for each million."""
    found = costs(write_run(tmp_path / "a", TWENTY_POINTS, manifest=tokens(250_000)))
    assert found.trained_tokens == 250_000
    assert found.points_per_million_tokens == pytest.approx(80.0)
    shown = {80.0: "+80.0", -2.25: "−2.2", 0.043: "+0.043", 0.0: "0.0", None: "–"}
    assert {each: per_million(found._replace(points_per_million_tokens=each)) for each in shown} == shown


@pytest.mark.parametrize(
    ("own", "arm", "expected", "per_million"),
    [
        # Fine-tuning and its rollouts: 20 points / 0.3 M.
        (250_000, "rl", 300_000, 20 / 0.3),
        (0, "rl", 50_000, 20 / 0.05),
        # Trained elsewhere: on how much is not known, whatever came after it.
        (None, "sft", None, None),
        (None, "rl", None, None),
        (250_000, "adaptmi", 0, None),
    ],
)
def test_tokens_are_all_that_the_optimizer_saw_on_the_way(
    own: int | None, arm: str, expected: int | None, per_million: float | None, tmp_path: Path
) -> None:
    arms = {"base": {"standard": "+----"}, arm: {"standard": "++---"}}
    found = costs(write_run(tmp_path / "a", arms, manifest=tokens(own, 50_000)))
    assert (found.trained_tokens, found.points_per_million_tokens) == (
        expected,
        per_million and pytest.approx(per_million),
    )


@pytest.mark.parametrize(
    ("usd", "at_most", "shown"),
    [(None, False, "–"), (0.0, False, "$0.00"), (1.5, False, "$1.50"), (1.5, True, "at most $1.50")],
)
def test_an_unknown_price_is_a_dash_and_never_nothing(
    usd: float | None, at_most: bool, shown: str, tmp_path: Path
) -> None:
    found = costs(write_run(tmp_path / "a", TWENTY_POINTS, manifest=manifest(usd, at_most, train_a=1.0)))
    assert (found.teacher_usd, dollars(found)) == (usd, shown)


def test_a_shared_stage_is_counted_in_each_run_and_named_shared(tmp_path: Path) -> None:
    """Both asked the same 10 seconds of answers; their trainings took 30 and 40 seconds."""
    runs = [
        write_run(tmp_path / "a", TWENTY_POINTS, manifest=manifest(0.0, answer_x=10.0, train_a=30.0)),
        write_run(tmp_path / "b", TWENTY_POINTS, manifest=manifest(0.0, answer_x=10.0, train_b=40.0)),
    ]
    found = compare(runs)
    told = [(row.costs.device_seconds, row.costs.shared_seconds, row.costs.device) for row in found.rows]
    assert told == [(40.0, 10.0, "cpu"), (50.0, 10.0, "cpu")]
    assert found.rows[1].costs.seconds_by_stage == {"answer": 10.0, "train": 40.0}
    print_comparison(found, Console(file=(output := StringIO()), width=80, color_system=None))
    text = " ".join(output.getvalue().split())
    assert "40 CPU" in text and "50 CPU" in text and "10 of them are of stages that runs share" in text


def test_seconds_that_lack_a_stage_are_no_sum(tmp_path: Path) -> None:
    found = costs(write_run(tmp_path / "a", TWENTY_POINTS, manifest=manifest(0.0, answer_x=None, train_a=30.0)))
    assert (found.device_seconds, found.seconds_by_stage) == (None, {"answer": 0.0, "train": 30.0})


def test_a_run_that_wrote_no_costs_shows_dashes(tmp_path: Path) -> None:
    found = compare([write_run(tmp_path / "old", TWENTY_POINTS, manifest={"stages": []})])
    print_comparison(found, Console(file=(output := StringIO()), width=80, color_system=None))
    (line,) = (line for line in output.getvalue().splitlines() if line.split() == ["old", *"––––"])
    assert line
    assert "not written down" in output.getvalue()
