"""Published numbers beside ours: what a paper reports of a student and a training set, and what finished runs reached.

The tables are in `published_tables/`, one file a table, with their source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from stat_train.errors import UserError, did_you_mean
from stat_train.evaluation.compare_runs import RunResult, load_runs
from stat_train.evaluation.summary import BASE, FINE_TUNED, REINFORCED
from stat_train.evaluation.tables import add_columns, add_row, fit_names, new_table, plain, say
from stat_train.intervals import Interval

if TYPE_CHECKING:
    from rich.console import Console

TABLES = Path(__file__).parent / "published_tables"
AVERAGE = "average"
DASH = "–"
GRPO = " + GRPO"


class Published(NamedTuple):
    """A published table: student -> training set (`base`: none) -> benchmark -> percent; the average after GRPO too.

    `average_of` names the benchmarks whose mean the average is.
    """

    source: str
    average_of: list[str]
    students: dict[str, dict[str, dict[str, float]]]


class Cell(NamedTuple):
    """One accuracy as published, in percent, and ours as shares: one a run, alike ones once; empty without any."""

    published: float | None
    ours: list[Interval]


class Row(NamedTuple):
    """One student trained in one way, with a cell for each benchmark."""

    student: str
    method: str
    cells: dict[str, Cell]


def print_published(runs: Sequence[Path], name: str, console: Console) -> None:
    """Print a table for each student: what was published, and what these run folders reached, with 95 % intervals.

    Raises UserError when there is no published table of this name, or when a folder holds no finished run.
    """
    published = read_published(name)
    rows = beside(published, load_runs(runs))
    for student in dict.fromkeys(row.student for row in rows):
        own = [row for row in rows if row.student == student]
        table = new_table()
        names = [benchmark for benchmark in own[0].cells if any(row.cells[benchmark] != Cell(None, []) for row in own)]
        add_columns(table, "trained on", *(heading for benchmark in names for heading in (benchmark, "ours")))
        for row in own:
            add_row(table, row.method, *(text for benchmark in names for text in _texts(row.cells[benchmark])))
        say(console, plain(student))
        console.print(fit_names(table, console.width))
    for note in _notes(published, rows):
        say(console, plain(note), "dim")


def read_published(name: str) -> Published:
    """Return a published table; raises UserError when there is none of this name."""
    import yaml

    known = sorted(path.stem for path in TABLES.glob("*.yaml"))
    if name not in known:
        hint = did_you_mean(name, known)
        raise UserError(f"sweep.published = {name}: no such table; expected one of {', '.join(known)}.{hint}")
    return Published(**yaml.safe_load((TABLES / f"{name}.yaml").read_text(encoding="utf-8")))


def beside(published: Published, runs: Sequence[RunResult]) -> list[Row]:
    """Return a row for each student and training set that was published or run, fine-tuned and then with GRPO."""
    reached = _reached(runs)
    order = list(dict.fromkeys(recipe for recipes in published.students.values() for recipe in recipes))
    known = [(student, recipe) for student, recipes in published.students.items() for recipe in recipes]
    known += [(student, recipe) for student, recipe, _ in reached]
    places = list(dict.fromkeys(student for student, _ in known))
    ranked = sorted(set(known), key=lambda pair: (places.index(pair[0]), _rank(order, pair[1])))
    rows = [_row(published, reached, *pair, after_rl) for pair in ranked for after_rl in (False, True)]
    return [row for row in rows if any(cell != Cell(None, []) for cell in row.cells.values())]


def _rank(order: Sequence[str], recipe: str) -> tuple[int, str]:
    return (order.index(recipe) if recipe in order else len(order), recipe)


# (student, training set, after GRPO) -> the benchmarks of each run
Reached = dict[tuple[str, str, bool], list[Mapping[str, Any]]]


def _reached(runs: Sequence[RunResult]) -> Reached:
    found: Reached = {}
    for run in runs:
        for recipe, after_rl, benchmarks in _arms(run):
            student = run.config.get("student", {})
            key = (str(student.get("model", student.get("name"))), recipe, after_rl)
            found.setdefault(key, []).append(benchmarks)
    return found


def _arms(run: RunResult) -> Iterator[tuple[str, bool, Mapping[str, Any]]]:
    """Yield the arms of a run that such a table has: the student as it was, fine-tuned, and after GRPO."""
    arms, recipe = run.evaluation["arms"], str(run.config["data_recipe"]["name"])
    # A checkpoint from elsewhere was not trained on the rows of this run.
    recipe = {"none": BASE, "external": "external"}.get(run.training, recipe)
    if BASE in arms:
        yield BASE, False, arms[BASE]
    if FINE_TUNED in arms:
        yield recipe, False, arms[FINE_TUNED]
    if REINFORCED in arms:
        yield recipe, True, arms[REINFORCED]


def _row(published: Published, reached: Reached, student: str, recipe: str, after_rl: bool) -> Row:
    told = published.students.get(student, {}).get(recipe, {})
    suffix = "_rl" if after_rl else ""
    names = dict.fromkeys(name for recipes in published.students.values() for each in recipes.values() for name in each)
    names = dict.fromkeys(name.removesuffix("_rl") for name in names)
    ours = reached.get((student, recipe, after_rl), [])
    cells = {name: Cell(told.get(name + suffix), _ours(ours, name, published.average_of)) for name in names}
    return Row(student, recipe + GRPO * after_rl, cells)


def _ours(runs: Sequence[Mapping[str, Any]], name: str, average_of: Sequence[str]) -> list[Interval]:
    """Return what the runs reached on a benchmark, or on the average of those that it is of, where all were scored."""
    if name != AVERAGE:
        found = [Interval(*(run[name][key] for key in ("accuracy", "low", "high"))) for run in runs if name in run]
    else:
        whole = [[run[each]["accuracy"] for each in average_of] for run in runs if set(average_of) <= set(run)]
        found = [Interval(fmean(scores), None, None) for scores in whole if None not in scores]
    return list(dict.fromkeys(each for each in found if each.value is not None))


def _texts(cell: Cell) -> tuple[str, str]:
    told = DASH if cell.published is None else f"{cell.published:.1f}"
    values = [each.value for each in cell.ours if each.value is not None]
    if not values:
        return told, DASH
    low, high = (cell.ours[0].low, cell.ours[0].high) if len(values) == 1 else (min(values), max(values))
    return told, f"{100 * fmean(values):.1f}" + (
        "" if low is None or high is None else f" {100 * low:.1f}–{100 * high:.1f}"
    )


def _notes(published: Published, rows: Sequence[Row]) -> Iterator[str]:
    yield f"published: {published.source}; accuracy in percent, ours with its 95 % interval"
    cells = [cell for row in rows for cell in row.cells.values()]
    if any(len(cell.ours) > 1 for cell in cells):
        yield "where several runs were trained alike: their mean, and the lowest and highest of them"
    if not any(row.cells[AVERAGE].ours for row in rows if AVERAGE in row.cells):
        yield f"{AVERAGE}: of {', '.join(published.average_of)}; ours is told where a run has them all"
    yield f"{DASH} not published, or not measured here"
