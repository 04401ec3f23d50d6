"""Runs side by side: what each gained over its own base, and how its model differs from the first run's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stat_train.errors import UserError, did_you_mean
from stat_train.evaluation.report import percent, points, probability
from stat_train.evaluation.statistics import PairedDifference
from stat_train.evaluation.summary import (
    BASE,
    FINE_TUNED,
    PROMPTED,
    as_numbers,
    difference,
    headline_benchmark,
    trained_arms,
)
from stat_train.intervals import Interval

if TYPE_CHECKING:
    from rich.console import Console

# arm -> benchmark -> question -> score
ScoresOfRun = dict[str, dict[str, dict[str, float | None]]]


class RunResult(NamedTuple):
    """What a comparison needs of a finished run; `arms` are those beside the base, the last trained first."""

    name: str
    config: dict[str, Any]
    evaluation: dict[str, Any]
    scores: ScoresOfRun
    arms: list[str]
    pairs: int


class Row(NamedTuple):
    """One arm of a run on one benchmark; `to_first` is None for the first row.

    `trained` is the arm's accuracy: the trained model's, or with `arm` "adaptmi" that of the untrained one with worked
    examples in its prompt, which has no `pairs`. `training` is the choice of `train=`: none has no pairs either, and of
    an external checkpoint they are not known.
    """

    name: str
    arm: str
    training: str
    recipe: str
    pairs: int
    benchmark: str
    n: int
    base: Interval
    trained: Interval
    gain: PairedDifference
    to_first: PairedDifference | None


def load_run(run_dir: Path) -> RunResult:
    """Read the results in a run folder; raises UserError when it is none, or was not trained and evaluated."""
    require_run(run_dir)
    names = ("evaluation.json", "benchmark_scores.jsonl")
    if absent := [name for name in names if not (run_dir / name).is_file()]:
        raise UserError(f"{run_dir}: has no {absent[0]}, so there is nothing to compare; run it with until=evaluate")
    try:
        return _read_run(run_dir)
    except (ValueError, KeyError) as error:
        raise UserError(f"{run_dir}: its results cannot be read ({error}); run it again with until=evaluate") from error


def require_run(run_dir: Path) -> None:
    """Raise UserError when a folder is no run folder; its message names the run that was meant, if one is near."""
    if not (run_dir / "config.yaml").is_file():
        siblings = [path.parent.name for path in run_dir.absolute().parent.glob("*/config.yaml")]
        near = did_you_mean(run_dir.absolute().name, siblings)
        raise UserError(f"{run_dir}: no run folder (it has no config.yaml); give the run_dir of a run.{near}")


def compare(run_dirs: list[Path], benchmark: str | None = None) -> list[Row]:
    """Return the rows of the runs on a benchmark that all have; by default the one that the first run is judged by.

    A run has a row for each trained model, the last one first, and one for worked examples in the prompt, where it has
    them. Two are compared on the questions that both scored.
    """
    runs = [load_run(run_dir) for run_dir in run_dirs]
    if not runs:
        raise UserError("no run to compare; give one or more run folders")
    chosen = _shared_benchmark(runs, benchmark)
    if len({run.name for run in runs}) < len(runs):
        runs = [run._replace(name=str(run_dir)) for run, run_dir in zip(runs, run_dirs, strict=True)]
    every = [(run, arm) for run in runs for arm in run.arms]
    return [_row(run, arm, chosen, first=every[0] if index else None) for index, (run, arm) in enumerate(every)]


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """Return the rows as plain JSON values, in shares 0 to 1."""
    return [_plain(row) for row in rows]


def print_comparison(rows: list[Row], console: Console) -> None:
    """Print a block an arm: accuracy in percent before and after, its gain, and the difference to the first run."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, caption_justify="left")
    table.title, table.title_justify = Text(f"{rows[0].benchmark}: accuracy in %, with 95 % intervals"), "left"
    table.caption = "gain and difference in points, on the same questions"
    table.add_column("run", overflow="fold")
    for name in ("n", "before", "after", "gain", "against first"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        run = f"{row.name}\n{_made_by(row)}"
        scores = (_accuracy(row.base), _accuracy(row.trained), _change(row.gain), _change(row.to_first))
        table.add_row(*(Text(cell) for cell in (run, str(row.n), *scores)), end_section=True)
    console.print(table)


def _read_run(run_dir: Path) -> RunResult:
    config = _config(run_dir / "config.yaml")
    evaluation = json.loads((run_dir / "evaluation.json").read_text(encoding="utf-8"))
    arms = [arm for arm in (*trained_arms(evaluation["arms"]), PROMPTED) if arm in evaluation["arms"]]
    if not arms:
        raise UserError(f"{run_dir}: only its base was evaluated; run it with train=sft until=evaluate")
    if absent := [arm for arm in arms if f"{arm} - {BASE}" not in evaluation["differences"]]:
        raise ValueError(f"evaluation.json has no difference {absent[0]} - {BASE}")
    scores = _scores(run_dir / "benchmark_scores.jsonl")
    return RunResult(run_dir.absolute().name, config, evaluation, scores, arms, _pairs(run_dir, config))


def _config(path: Path) -> dict[str, Any]:
    import yaml

    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"config.yaml: {error}") from error
    if not isinstance(config, dict):
        raise ValueError("config.yaml: expected settings")
    return config


def _scores(path: Path) -> ScoresOfRun:
    scores: ScoresOfRun = {}
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            scores.setdefault(row["arm"], {}).setdefault(row["benchmark"], {})[row["question_id"]] = row.get("score")
    return scores


def _training(config: Mapping[str, Any]) -> str:
    return str(config.get("train", {}).get("name", "sft"))


def _made_by(row: Row) -> str:
    """Return in words how the model of a row came about."""
    if row.arm == PROMPTED:
        return "untrained, prompted"
    trained = {"none": "", "external": "trained elsewhere"}.get(row.training, f"{row.recipe}, {row.pairs} pairs")
    return trained if row.arm == FINE_TUNED else ", then ".join(filter(None, (trained, "rl")))


def _pairs(run_dir: Path, config: Mapping[str, Any]) -> int:
    """Return how many pairs were trained on: fewer than drawn when some are longer than train.max_length."""
    if _training(config) in ("none", "external"):
        return 0
    trained = run_dir / "training.json"
    if trained.is_file():
        return int(json.loads(trained.read_text(encoding="utf-8"))["rows"])
    path = run_dir / "training_set.jsonl"
    if not path.is_file():
        return int(config["data_recipe"]["pairs"])
    with path.open("rb") as lines:
        return sum(1 for _ in lines)


def _shared_benchmark(runs: list[RunResult], wanted: str | None) -> str:
    per_run = [run.evaluation["differences"][f"{arm} - {BASE}"] for run in runs for arm in run.arms]
    shared = [name for name in per_run[0] if all(name in benchmarks for benchmarks in per_run)]
    if wanted is not None and wanted not in shared:
        known = ", ".join(shared) or "none"
        raise UserError(f"benchmark {wanted}: not one that all runs have ({known}).{did_you_mean(wanted, shared)}")
    chosen = wanted or headline_benchmark(runs[0].config, shared)
    if chosen is None:
        raise UserError("the runs have no benchmark in common; compare runs of the same task")
    return chosen


def _row(run: RunResult, arm: str, benchmark: str, first: tuple[RunResult, str] | None) -> Row:
    arms = run.evaluation["arms"]
    gain = run.evaluation["differences"][f"{arm} - {BASE}"][benchmark]
    return Row(
        name=run.name,
        arm=arm,
        training=_training(run.config),
        recipe=str(run.config["data_recipe"]["name"]),
        pairs=0 if arm == PROMPTED else run.pairs,
        benchmark=benchmark,
        n=arms[arm][benchmark]["n"],
        base=_interval(arms[BASE][benchmark]),
        trained=_interval(arms[arm][benchmark]),
        gain=PairedDifference(**{name: gain[name] for name in PairedDifference._fields}),
        to_first=_against(first, (run, arm), benchmark) if first else None,
    )


def _against(first: tuple[RunResult, str], other: tuple[RunResult, str], benchmark: str) -> PairedDifference:
    before, after = (run.scores.get(arm, {}).get(benchmark, {}) for run, arm in (first, other))
    return difference(before, after, list(before))


def _interval(score: Mapping[str, Any]) -> Interval:
    return Interval(score["accuracy"], score["low"], score["high"])


def _plain(row: Row) -> dict[str, Any]:
    intervals = {"base": row.base._asdict(), "trained": row.trained._asdict(), "gain": as_numbers(row.gain)}
    return {**row._asdict(), **intervals, "to_first": row.to_first and as_numbers(row.to_first)}


def _accuracy(interval: Interval) -> str:
    if interval.value is None or interval.low is None or interval.high is None:
        return percent(None)
    return f"{100 * interval.value:.1f}\n{100 * interval.low:.1f} to {100 * interval.high:.1f}"


def _change(change: PairedDifference | None) -> str:
    if change is None:
        return ""
    if change.difference is None:
        return "no question\nin common"
    bounds = f"{points(change.low)} to {points(change.high)}" if change.low is not None else "interval unknown"
    return f"{points(change.difference)}\n{bounds}\n{probability(change.p)}"
