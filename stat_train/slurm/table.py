"""What a sweep's last job does: compare its runs and name those that failed; `-m stat_train.slurm.table FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import BaseModel
from rich.console import Console

from stat_train.compose import saved_settings
from stat_train.ending import exit_code_of
from stat_train.slurm.work import FOLDER, SETTINGS_FILE, WIDTH
from stat_train.status.jobs import failed_job, how_ended
from stat_train.status.jobs import jobs_of as jobs_in
from stat_train.status.run_status import read_status
from stat_train.store import make_folder, write_json
from stat_train.sweeping.expand import Plan, SweepJob
from stat_train.sweeping.files import is_complete
from stat_train.sweeping.results import write_results
from stat_train.sweeping.table import JobRow, exit_code, print_comparison_of, print_rows

FILE = "sweep.json"


class SweepTable(BaseModel):
    """The runs of a sweep, each with its folder and its own settings, how they are compared, where results go."""

    runs: dict[str, str]
    overrides: dict[str, list[str]]
    over_seeds: bool
    with_seed: list[str]
    published: str | None
    results: Path | None


def write_table(sweep_folder: Path, table: SweepTable) -> None:
    """Write down which runs are to be compared, in the sweep's folder."""
    make_folder(sweep_folder / FOLDER, "sweep.folder")
    write_json(sweep_folder / FOLDER / FILE, table.model_dump(mode="json"))


def main(arguments: list[str]) -> int:
    """Print the table of the sweep in a folder; returns 1 when a run was not done, as the sweep itself would."""
    (folder,) = map(Path, arguments)

    def work() -> int:
        table = SweepTable.model_validate_json((folder / FOLDER / FILE).read_text(encoding="utf-8"))
        rows = [_row(name, Path(place), table.overrides[name]) for name, place in table.runs.items()]
        jobs = [row.job for row in rows]
        plan = Plan(folder, jobs, [], [], table.over_seeds, table.with_seed, table.published, table.results)
        console = Console(width=WIDTH)
        print_rows(rows, console)
        print_comparison_of(plan, rows, console)
        write_results(plan, rows, console)
        return exit_code(rows)

    return exit_code_of(work)


def _row(name: str, folder: Path, overrides: list[str]) -> JobRow:
    submitted = folder / FOLDER / SETTINGS_FILE
    # A run that was done before has no jobs.
    place = submitted if submitted.is_file() else folder / "config.yaml"
    settings = saved_settings(place.read_text(encoding="utf-8"))
    if is_complete(settings):
        return JobRow(SweepJob(name, settings, overrides), "done", None, "")
    return JobRow(SweepJob(name, settings, overrides), *_why_not(folder))


def _why_not(folder: Path) -> tuple[str, None, str]:
    """Return how a run ended that is not complete, and why: by the job that failed, where one did."""
    if job := failed_job(jobs_in(folder)):
        return "failed", None, how_ended(job)
    status = read_status(folder)
    return "stopped" if status.state == "stopped" else "failed", None, status.about or "its last job did not come to it"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
