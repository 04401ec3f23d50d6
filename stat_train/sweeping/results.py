"""The raw results of a sweep's runs, kept one by one as they are done, and the table of them at the end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from rich.console import Console

from stat_train.claims.measures import differing_settings
from stat_train.claims.results import Result, read_result, result_of, write_result
from stat_train.claims.write import write_tables
from stat_train.errors import StatTrainError, UserError
from stat_train.evaluation.compare_runs import EVALUATION_FILE, settings_of
from stat_train.sweeping.expand import Plan, SweepJob
from stat_train.sweeping.table import DONE_BEFORE, JobRow, say_line

# Of settings that differ, so many are told.
MAX_TOLD = 3


def keep_result(plan: Plan, console: Console, job: SweepJob) -> None:
    """Write what a finished, evaluated run came to, where the sweep keeps raw results; or say why that cannot be."""
    if not plan.results or not _is_evaluated(job):
        return
    try:
        found = result_of(_run_dir(job), job.name, plan.jobs.index(job), plan.varies(job), plan.with_seed)
        write_result(plan.results, found)
    except (StatTrainError, OSError) as error:
        say_line(console, f"{job.name}  no raw results: {error}")


def require_results_of(plan: Plan) -> None:
    """Raise UserError where a raw result is one of other settings than the sweep's.

    Those that the sweep would write again have all settings of their runs, others what neither sweep varies: one table
    is made of all.
    """
    if not plan.results:
        return
    jobs = {f"{job.name}.json": job for job in plan.jobs}
    for file in sorted(plan.results.glob("*.json")):
        kept, first = read_result(file), plan.jobs[0]
        if job := jobs.get(file.name):
            _require_same_settings(file, kept, job, varied=())
        else:
            varied = {"seed", *kept.with_seed, *kept.varies, *plan.with_seed, *plan.varies(first)}
            _require_same_settings(file, kept, first, varied)


def _require_same_settings(file: Path, result: Result, job: SweepJob, varied: Collection[str]) -> None:
    kept, own = result.settings, settings_of(job.settings.config.model_dump(mode="json"))
    differing = [f"{key} = {kept.get(key)}, not {own.get(key)}" for key in differing_settings(kept, own, varied)]
    if differing:
        raise UserError(
            f"{file}: is the result of other settings ({'; '.join(differing[:MAX_TOLD])}); expected those of this "
            "sweep, so give sweep.results=ANOTHER_FOLDER, or take the file away"
        )


def write_results(plan: Plan, rows: Sequence[JobRow], console: Console) -> None:
    """Write the table and the pictures of all raw results, those of other machines or of an earlier sweep included."""
    if not plan.results:
        return
    for row in rows:
        if row.status in ("done", DONE_BEFORE):
            keep_result(plan, console, row.job)
    if not any(_is_evaluated(row.job) for row in rows):
        say_line(console, "no raw results: no run was evaluated; they need until=evaluate or later")
    if not any(plan.results.glob("*.json")):
        return
    try:
        for line in write_tables(plan.results):
            say_line(console, line)
    except (StatTrainError, OSError) as error:
        say_line(console, f"no table of the raw results: {error}")


def _run_dir(job: SweepJob) -> Path:
    return Path(job.settings.config.run_dir).expanduser()


def _is_evaluated(job: SweepJob) -> bool:
    return (_run_dir(job) / EVALUATION_FILE).is_file()
