"""A sweep as it is read on a terminal: its jobs before it starts, what became of each, and the runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from stat_train.errors import STOPPED, BudgetReached, StatTrainError
from stat_train.evaluation.compare import compare
from stat_train.evaluation.compare_runs import EVALUATION_FILE
from stat_train.evaluation.compare_table import print_comparison
from stat_train.evaluation.published import print_published
from stat_train.evaluation.report import duration
from stat_train.evaluation.tables import add_columns, add_row, fit_names, new_table, plain
from stat_train.models.budget import in_dollars
from stat_train.sweeping.expand import Plan, SweepJob
from stat_train.sweeping.files import Outcome

DONE_BEFORE, NOT_STARTED, NOT_ENDED = "done before", "not started", "not ended"


class JobRow(NamedTuple):
    """What became of a job; `seconds` is None where that is not known."""

    job: SweepJob
    status: str
    seconds: float | None
    reason: str


def job_row(job: SweepJob, outcome: Outcome | None, was_complete: bool) -> JobRow:
    """Return the row of a job of which this is written down; `was_complete`: it was finished before the sweep began."""
    if was_complete:
        return JobRow(job, DONE_BEFORE, outcome.seconds if outcome and outcome.state == "done" else None, "")
    if outcome is None:
        return JobRow(job, NOT_STARTED, None, "")
    if outcome.state == "running":
        return JobRow(job, NOT_ENDED, None, f"on {outcome.host}; nothing more is known")
    return JobRow(job, outcome.state, outcome.seconds, outcome.error or "")


def exit_code(rows: Sequence[JobRow]) -> int:
    """Return how the sweep ends: 1 when a job failed, 75 when one was stopped, 3 when a budget ended one, else 0."""
    statuses = {row.status for row in rows}
    if statuses & {"failed", NOT_STARTED, NOT_ENDED}:
        return 1
    if "stopped" in statuses:
        return STOPPED
    return BudgetReached.exit_code if "budget spent" in statuses else 0


def say_line(console: Console, text: str) -> None:
    """Print one line, however long: it may be looked for, and holds paths to be copied."""
    console.print(plain(text), markup=False, highlight=False, soft_wrap=True)


def print_rows(rows: Sequence[JobRow], console: Console) -> None:
    """Print what became of each job, and below it why those failed that did."""
    table = new_table()
    add_columns(table, "job", "status", "time")
    for row in rows:
        add_row(table, row.job.name, row.status, "–" if row.seconds is None else duration(row.seconds))
    console.print(fit_names(table, console.width))
    for row in rows:
        if row.reason:
            say_line(console, f"{row.job.name}  {row.status}: {row.reason}")


def print_comparison_of(plan: Plan, rows: Sequence[JobRow], console: Console) -> None:
    """Print the finished runs side by side, over the seeds when they vary; or say why that cannot be.

    Below, beside the published numbers that the sweep names.
    """
    finished = [row.job for row in rows if row.status in ("done", DONE_BEFORE)]
    places = [Path(job.settings.config.run_dir).expanduser() for job in finished]
    evaluated = [place for place in places if (place / EVALUATION_FILE).is_file()]
    if without := [place.name for place in places if place not in evaluated]:
        needed = "a comparison needs until=evaluate or later, and a student with weights"
        say_line(console, f"not compared: {', '.join(without) if evaluated else 'any run'}; {needed}")
    if not evaluated:
        return
    try:
        print_comparison(compare(evaluated, over_seeds=plan.over_seeds, with_seed=plan.with_seed), console)
        if plan.published:
            print_published(evaluated, plan.published, console)
    except StatTrainError as error:
        say_line(console, f"not compared: {error}")


def print_listing(plan: Plan, complete: Sequence[str], console: Console) -> None:
    """Print the jobs that a sweep would have, with what each differs in."""
    say_line(console, f"{len(plan.jobs)} jobs, each in a folder of its name in {plan.folder}")
    table = new_table()
    table.add_column("job", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("settings", overflow="fold")
    for job in plan.jobs:
        add_row(table, job.name, DONE_BEFORE if job.name in complete else "to run", " ".join(job.overrides))
    console.print(table)
    if plan.fixed:
        say_line(console, f"all: {' '.join(plan.fixed)}")
    say_caps(plan, len(plan.jobs), console)


def say_caps(plan: Plan, count: int, console: Console) -> None:
    """Say what the caps of all jobs come to, where there are some: each holds for one run."""
    budgets = [job.settings.config.budget for job in plan.jobs]
    for name in ("max_usd", "max_calls", "max_tokens"):
        caps = [cap for budget in budgets if (cap := getattr(budget, name)) is not None]
        if caps:
            total = in_dollars(sum(caps)) if name == "max_usd" else f"{sum(caps):,}"
            without = len(budgets) - len(caps)
            open_end = f"; {without} without a cap" if without else ""
            say_line(
                console,
                f"budget.{name} holds for each job, over all its restarts: {total} for {len(caps)} of them{open_end}",
            )
