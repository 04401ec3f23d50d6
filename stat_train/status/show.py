"""The status of runs, shown: one in full, several with a line each, or all as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from stat_train.evaluation.rounds_table import in_one_line
from stat_train.status.jobs import GONE, Job, stuck
from stat_train.status.progress import Progress
from stat_train.status.run_status import RunStatus, Stage, in_words, read_status, runs_in

STYLES = {"running": "cyan", "failed": "bold red", "lost": "bold red", "stopped": "yellow", "waiting": "dim"}
DONE = ("done", "done before")
STYLES |= {"not begun": "dim", "done before": "dim", "done": "green"}


def statuses(folders: Sequence[Path]) -> list[RunStatus]:
    """Return the status of each run that is named, and of each in the sweeps that are; raises UserError for others."""
    found = [run for folder in folders for run in runs_in(folder)]
    return [read_status(run) for run in dict.fromkeys(found)]


def as_json(found: Sequence[RunStatus]) -> list[dict[str, Any]]:
    """Return statuses as plain JSON values."""
    return [_one_as_json(status) for status in found]


def _one_as_json(status: RunStatus) -> dict[str, Any]:
    values = status._asdict() | {"folder": str(status.folder)}
    state = values.pop("state_file")
    values["stages"] = [stage._asdict() for stage in status.stages]
    values["progress"] = status.progress._asdict() if status.progress else None
    values["jobs"] = [job._asdict() for job in status.jobs]
    told = state.model_dump(exclude={"status", "done", "until"}) if state else {}
    return values | told


def print_statuses(found: Sequence[RunStatus], console: Console) -> None:
    """Print one run in full, several with a line each."""
    if len(found) == 1:
        _print_run(found[0], console)
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("run", "state", "stage", "progress", "about"):
        table.add_column(name, overflow="fold")
    for status in found:
        at = next((each for each in status.stages if each.state == status.state), None)
        table.add_row(
            status.folder.name,
            f"[{STYLES[status.state]}]{status.state}[/]",
            at.name if at and status.state != "done" else "",
            _in_words(status.progress),
            status.about.partition("\n")[0].replace("[", r"\["),
        )
    console.print(table)


def _print_run(status: RunStatus, console: Console) -> None:
    state = status.state_file
    console.print(
        f"{status.folder}: [{STYLES[status.state]}]{status.state}[/]{_where(status)}", highlight=False, soft_wrap=True
    )
    if status.round:
        console.print(f"round {status.round} of {status.rounds} at most", highlight=False)
    told = status.rounds_file or {}
    for row in told.get("rounds", []):
        _print(f"  {in_one_line(row)}", console)
    if told.get("ended"):
        _print(f"  the rounds ended: {told['ended']}", console)
    for stage in status.stages:
        console.print(f"  {stage.name:<21} [{STYLES[stage.state]}]{_line(stage, status)}[/]", highlight=False)
    for job in status.jobs:
        tasks = f", {job.array} tasks" if job.array else ""
        log = f", log {job.log}" if job.log else ""
        _print(f"  job {job.job_id} ({job.stage}{tasks}): {_job_state(job, status)}{log}", console)
    if status.about:
        _print(f"{'' if state and status.about == state.error else 'the run '}{status.about}", console)
    if status.paid and status.paid["calls"]:
        usd = "at a price that is not known" if status.paid["usd"] is None else f"${status.paid['usd']:.2f}"
        _print(f"paid for {status.paid['calls']:,} calls: {usd}", console)


def _job_state(job: Job, status: RunStatus) -> str:
    """Return what is to be said of a job: one whose work is done may be forgotten, or cancelled as not needed."""
    done = status.state == "done" or job.stage in {each.name for each in status.stages if each.state in DONE}
    if done and (job.state or "").startswith((GONE, "CANCELLED", "ended")):
        return "ended, its stage is done"
    code = f", exit code {job.exit_code}" if job.exit_code else ""
    return f"{job.state or 'no Slurm here that answers'}{code}{stuck(job)}"


def _where(status: RunStatus) -> str:
    state = status.state_file
    if state is None or status.state in ("done", "waiting"):
        return ""
    job = f", job {state.job}" if state.job else ""
    return f" (until {status.until}; process {state.pid} on {state.host.partition(' ')[0]}{job})"


def _line(stage: Stage, status: RunStatus) -> str:
    if stage.state == "running":
        words = [f"running for {_since(status)}", _in_words(status.progress)]
        return ", ".join(filter(None, words))
    times = f", {stage.times} times" if stage.times > 1 else ""
    return f"{stage.state if stage.seconds is None else f'{stage.seconds:,.1f} s'}{times}"


def _since(status: RunStatus) -> str:
    state = status.state_file
    assert state and state.since
    began = datetime.fromisoformat(state.since)
    return in_words(max(0.0, (datetime.now(began.tzinfo) - began).total_seconds()))


def _in_words(progress: Progress | None) -> str:
    if progress is None:
        return ""
    rest = f", about {in_words(progress.seconds_left)} left" if progress.seconds_left is not None else ""
    return f"{progress.done:,} of {progress.total:,} {progress.unit}{rest}"


def _print(text: str, console: Console) -> None:
    """Print a line as it is: what a run ended of may hold anything."""
    console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)
