"""What is told of a run at its end, read from its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from stat_train.evaluation.results import SCORES_FILE

# Those that show every setting.
REPORTS = ("report.json", "report.html")
FILES = ("profile.json", "evaluation.json", *REPORTS, "model_card.md", SCORES_FILE)
COLUMNS = ("comparison", "benchmark", "skill", "n", "difference", "low", "high", "p", "q", "verdict")
# What of an evaluation is a headline; the rest is in the files.
OF_AN_ARM = ("accuracy", "low", "high", "n", "unscored", "truncated")
OF_A_DIFFERENCE = ("difference", "low", "high", "p")


class Results(NamedTuple):
    """The numbers under their names, the change of each skill as rows of `COLUMNS`, and the files."""

    numbers: dict[str, float]
    skills: list[list[Any]]
    files: list[Path]


def read_results(run_dir: Path) -> Results:
    """Return what the run came to, as far as it went."""
    evaluation = _read(run_dir / "evaluation.json")
    trained = {name: _read(run_dir / f"{file}.json") for name, file in (("train", "training"), ("rl", "rl_training"))}
    numbers = _missing(_read(run_dir / "profile.json")) | _scores(evaluation)
    for name, told in trained.items():
        numbers |= {f"{name}/{key}": value for key, value in told.items() if _is_number(value)}
    files = [run_dir / name for name in FILES if (run_dir / name).exists()]
    return Results(numbers, _skills(evaluation), files)


def _read(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def _missing(profile: dict[str, Any]) -> dict[str, float]:
    """Return how often each skill was missing."""
    return {f"profile/missing/{gap['skill']}": gap["rate"] for gap in profile.get("skills", [])}


def _scores(evaluation: dict[str, Any]) -> dict[str, float]:
    """Return the headline numbers of each arm and difference, and the change of each skill."""
    numbers: dict[str, Any] = {}
    for kind, names in (("arms", OF_AN_ARM), ("differences", OF_A_DIFFERENCE)):
        for arm, benchmarks in evaluation.get(kind, {}).items():
            for benchmark, found in benchmarks.items():
                numbers |= {f"evaluation/{arm}/{benchmark}/{name}": found.get(name) for name in names}
    for comparison, benchmark, skill, _, change, *_ in _skills(evaluation):
        numbers[f"evaluation/{comparison}/{benchmark}/skill/{skill}"] = change
    return {name: value for name, value in numbers.items() if _is_number(value)}


def _skills(evaluation: dict[str, Any]) -> list[list[Any]]:
    return [
        [comparison, benchmark, skill, *(change.get(name) for name in COLUMNS[3:])]
        for comparison, benchmarks in evaluation.get("differences", {}).items()
        for benchmark, found in benchmarks.items()
        for skill, change in found.get("per_skill", {}).items()
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
