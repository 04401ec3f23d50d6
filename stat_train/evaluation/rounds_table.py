"""The rounds of a run side by side: what was missing, what was trained on, and what the benchmark says of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stat_train.evaluation.compare_profiles import load_profile
from stat_train.evaluation.compare_runs import EVALUATION_FILE, RunResult, load_run
from stat_train.evaluation.pages import page_template
from stat_train.evaluation.report import duration, percent, points
from stat_train.evaluation.summary import BASE, as_numbers, difference, headline_benchmark
from stat_train.evaluation.tables import WIDE, add_columns, add_row, fit_names, new_table, say
from stat_train.models.budget import in_dollars
from stat_train.records import TrainingExample
from stat_train.store import read_records

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]
SKILLS_NAMED = 2
COST_NOTE = "cost: of the stages that no round before had made; what an earlier run had made counts in full"


def round_row(number: int, folder: Path, first: Path, seconds: float) -> dict[str, Any]:
    """Return the numbers of one round, in shares 0 to 1; what it has not come to is None.

    `first` is the folder of the first round, and `seconds` is what the stages took that no round before had made.
    """
    profile = load_profile(folder).profile
    missing = [gap for gap in profile.skills if gap.missing]
    paid = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["costs"]["paid"]
    rows = folder / "training_set.jsonl"
    return {
        "round": number,
        "folder": folder.name,
        "questions": profile.questions,
        "difficult": profile.difficult,
        "most_missing": [{"skill": gap.skill, "missing": gap.missing, "exposed": gap.exposed} for gap in missing[:5]],
        "pairs": len(read_records(rows, TrainingExample)) if rows.is_file() else None,
        "seconds": round(seconds, 2),
        "paid": paid,
        **_scores(folder, first),
    }


def _scores(folder: Path, first: Path) -> dict[str, Any]:
    """Return what the round's model scores on the benchmark that runs are judged by, where it was evaluated."""
    none = dict.fromkeys(("benchmark", "before", "after", "gain", "gain_from_first"))
    if not (folder / EVALUATION_FILE).is_file():
        return none
    run = load_run(folder)
    arm, arms = run.arms[0], run.evaluation["arms"]
    name = headline_benchmark(run.config, list(arms[BASE]))
    if name is None:
        return none
    before, after = ({key: arms[each][name][key] for key in ("n", "accuracy", "low", "high")} for each in (BASE, arm))
    gain = {
        key: run.evaluation["differences"][f"{arm} - {BASE}"][name][key] for key in ("difference", "low", "high", "p")
    }
    return {
        "benchmark": name,
        "before": before,
        "after": after,
        "gain": gain,
        "gain_from_first": _from_first(load_run(first), run, arm, name),
    }


def _from_first(first: RunResult, run: RunResult, arm: str, benchmark: str) -> dict[str, Any]:
    """Return the change from the first student to a round's model, on the questions that both scored."""
    before, after = first.scores[BASE][benchmark], run.scores[arm][benchmark]
    return as_numbers(difference(before, after, list(before)))


def print_rounds(rows: Sequence[Row], console: Console) -> None:
    """Print a table of the rounds; a narrow terminal has no room for what they gained together and cost."""
    benchmark = next((row["benchmark"] for row in rows if row["benchmark"]), None)
    table = new_table(f"Rounds, and what their models score on {benchmark}" if benchmark else "Rounds")
    last = ("since the first", "cost") if console.width >= WIDE else ()
    add_columns(table, "round: most often missing", "difficult", "pairs", "before", "after", "gain", *last)
    for row in rows:
        scores = [percent(row[when]["accuracy"]) if row[when] else "–" for when in ("before", "after")]
        pairs = "–" if row["pairs"] is None else f"{row['pairs']:,}"
        cells = [f"{row['difficult']:,} of {row['questions']:,}", pairs, *scores, change_words(row["gain"])]
        more = [change_words(row["gain_from_first"]), cost_words(row)] if last else []
        add_row(table, f"{row['round']}: {_missing(row)}", *cells, *more)
    console.print(fit_names(table, console.width))
    if last:
        say(console, COST_NOTE, "dim")


def in_one_line(row: Row) -> str:
    """Return what a round came to, as it is said when the round ends."""
    told = f"round {row['round']}: {row['difficult']:,} of {row['questions']:,} validation questions difficult"
    if not row["gain"]:
        return told
    scores = f"{percent(row['before']['accuracy'])} -> {percent(row['after']['accuracy'])} on {row['benchmark']}"
    return f"{told}; {row['pairs']:,} pairs; {scores}, {change_words(row['gain'])} points"


def result_words(result: int | None) -> str:
    """Return in a sentence which model the rounds led to."""
    return f"The result is the model of round {result}." if result else "The result is the student as it was."


def rounds_html(about: Mapping[str, Any], run_dir: str) -> str:
    """Return the rounds as a page; `about` is the content of `rounds.json`."""
    filters = {"percent": percent, "change": change_words, "cost": cost_words, "result": result_words}
    return page_template("rounds.html.j2", filters).render(about=about, cost_note=COST_NOTE, title=Path(run_dir).name)


def change_words(change: Mapping[str, Any] | None) -> str:
    """Return a change in points with its interval, a dash when there is none."""
    if not change or change["difference"] is None:
        return "–"
    interval = f" [{points(change['low'])}, {points(change['high'])}]" if change["low"] is not None else ""
    return f"{points(change['difference'])}{interval}"


def cost_words(row: Row) -> str:
    """Return what a round took, and what was paid in it."""
    usd = row["paid"]["usd"]
    return f"{in_dollars(usd)}, {duration(row['seconds'])}" if usd else duration(row["seconds"])


def _missing(row: Row) -> str:
    return ", ".join(f"{each['skill']} {each['missing']}" for each in row["most_missing"][:SKILLS_NAMED]) or "nothing"
