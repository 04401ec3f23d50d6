"""The card of a trained model: what it came from, how it was trained, and what it can do before and after."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from stat_train.curation.publish import as_cell, place
from stat_train.evaluation.report import percent, points, probability
from stat_train.evaluation.summary import REINFORCED, trained_arms
from stat_train.models.places import model_name

Numbers = Mapping[str, Any]


def model_card(numbers: Numbers, evaluation: Numbers | None, training_set_hash: str) -> str | None:
    """Return the card as Markdown, from the numbers of the report; None where no trained model was evaluated."""
    arms = trained_arms(evaluation["arms"] if evaluation else {})
    if not arms:
        return None
    config = numbers["config"]
    about = {
        "base model": model_name(config["student"]["model"]),
        "base revision": config["student"]["revision"],
        "data recipe": config["data_recipe"]["name"],
        "SHA-256 of training_set.jsonl": training_set_hash,
        "train": config["train"]["name"],
        "rl": config["rl"]["name"],
        "seed": config["seed"],
        "made with": f"stat_train {numbers['versions']['stat_train']}",
    }
    taken = next((row for row in (numbers["choice"] or {"candidates": []})["candidates"] if row["chosen"]), None)
    if taken:
        about |= {"taken by the validation questions": f"rate {taken['learning_rate']:g}, step {taken['step']}"}
    groups = ["train"] + (["rl"] if REINFORCED in arms else []) + ["deepspeed"]
    lines = [f"# {as_cell(numbers['title'])}", "", *(f"- {name}: {_shown(value)}" for name, value in about.items())]
    lines += ["", "## Results", "", *_results(numbers["benchmarks"], reinforced=len(arms) > 1)]
    lines += ["", "95 % intervals in brackets; changes are on the same questions."]
    for group in groups:
        lines += [
            "",
            f"## Settings: {group}",
            "",
            *(f"- {key}: {_shown(value)}" for key, value in config[group].items()),
        ]
    return "\n".join(lines) + "\n"


def _results(benchmarks: list[Numbers], reinforced: bool) -> Iterator[str]:
    """Yield a table of the benchmarks; with a column between where two trainings followed each other."""
    columns = ["before", *(["fine_tuned"] if reinforced else []), "after"]
    headings = ["benchmark", "measure", "questions", *(name.replace("_", "-") for name in columns), "change, points"]
    yield f"| {' | '.join(headings)} |"
    yield "|---" * (len(columns) + 4) + "|"
    for row in benchmarks:
        scores = " | ".join(_score(row[name]) for name in columns)
        asked = row["before"] or row["after"]
        about = f"{as_cell(row['benchmark'])} | {as_cell(asked['measure'])} | {asked['n']}"
        yield f"| {about} | {scores} | {_change(row['change'])} |"


def _score(score: Numbers | None) -> str:
    return f"{percent(score['accuracy'])}{_interval(score, 'percent')}" if score else "–"


def _change(change: Numbers | None) -> str:
    if not change:
        return "–"
    return f"{points(change['difference'])}{_interval(change, 'points')}, {probability(change['p'])}"


def _interval(numbers: Numbers, kind: str) -> str:
    if numbers["low"] is None:
        return ""
    low, high = (points(n) if kind == "points" else f"{100 * n:.1f}" for n in (numbers["low"], numbers["high"]))
    return f" [{low}, {high}]"


def _shown(value: Any) -> str:
    """Return a value in a form that Markdown takes for no structure; of a path only the name."""
    return as_cell(place(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
