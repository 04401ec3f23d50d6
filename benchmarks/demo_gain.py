"""What the demo's training sets gain, over several seeds: `make demo-seeds` runs the demo for each, then this.

    python benchmarks/demo_gain.py runs/demo-seed0 runs/demo-seed1 runs/demo-seed2

Every difference is paired over the benchmark's questions, which are the same for all seeds. The interval of the mean is
a bootstrap over questions; how much seeds differ is seen from their columns.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy
from scipy.stats import bootstrap

from stat_train.evaluation.compare import RunResult, load_run

BENCHMARK = "standard"
TARGETED, BASELINES = "stat_sel", ("pool", "uniform_skill")


class Row(NamedTuple):
    """One comparison: its value for each seed, their mean, and the mean's 95 % bounds, all in points."""

    name: str
    per_seed: list[float]
    mean: float
    bounds: tuple[float, float] | None


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="a folder of demo runs for each seed")
    folders = parser.parse_args().folders
    demos = [{arm: load_run(folder / arm) for arm in (TARGETED, *BASELINES)} for folder in folders]
    print(markdown([*rows(demos), top_skill(folders)], [folder.name for folder in folders]))


def rows(demos: list[dict[str, RunResult]]) -> list[Row]:
    """Return the gain of each arm over the student as it is, then the targeted arm against the others."""
    trained = {arm: [right(demo[arm], "sft") for demo in demos] for arm in (*BASELINES, TARGETED)}
    base = [right(demo[TARGETED], "base") for demo in demos]
    gains = [_row(f"`{arm}` against the student as it is", trained[arm], base) for arm in trained]
    return gains + [_row(f"`{TARGETED}` against `{arm}`", trained[TARGETED], trained[arm]) for arm in BASELINES]


def right(run: RunResult, arm: str) -> numpy.ndarray:
    """Return 1.0 for each question that the arm answered right, else 0.0, in the order of the ids."""
    verdicts = run.verdicts[arm][BENCHMARK]
    return numpy.array([float(verdicts[question] == "correct") for question in sorted(verdicts)])


def _row(name: str, after: list[numpy.ndarray], before: list[numpy.ndarray]) -> Row:
    changes = [100 * (a - b) for a, b in zip(after, before, strict=True)]
    means = numpy.mean(changes, axis=0)
    found = bootstrap((means,), numpy.mean, n_resamples=4000, batch=200, method="percentile", rng=0)
    bounds = (float(found.confidence_interval.low), float(found.confidence_interval.high))
    return Row(name, [float(change.mean()) for change in changes], float(means.mean()), bounds)


def top_skill(folders: list[Path]) -> Row:
    """Return what the skill that each seed's profile ranks first gained, on the questions that need no other."""
    names, gains = set(), []
    for run in (folder / TARGETED for folder in folders):
        skill = json.loads((run / "profile.json").read_text())["skills"][0]["skill"]
        evaluation = json.loads((run / "evaluation.json").read_text())
        names.add(skill)
        gains.append(100 * evaluation["differences"]["sft - base"][BENCHMARK]["single_skill"][skill]["difference"])
    # The seeds may rank different skills first, so there is no set of questions to draw an interval from.
    return Row(f"the skill missing most often ({', '.join(sorted(names))}), asked alone", gains, _mean(gains), None)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def markdown(table: list[Row], seeds: list[str]) -> str:
    """Return the rows as a Markdown table, in points."""
    head = ["", *seeds, "mean", "95 % interval"]
    lines = [[row.name, *map(_points, [*row.per_seed, row.mean]), _interval(row.bounds)] for row in table]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])


def _points(value: float) -> str:
    return f"{value:+.1f}"


def _interval(bounds: tuple[float, float] | None) -> str:
    return " to ".join(map(_points, bounds)) if bounds else ""


if __name__ == "__main__":
    main()
