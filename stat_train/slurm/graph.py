"""The jobs of a run or of a sweep, each after those whose results it needs, and none twice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from stat_train.compose import Settings, changed
from stat_train.slurm.resources import (
    Resources,
    resources_of,
    resources_of_a_shard,
    resources_of_the_table,
)
from stat_train.slurm.segments import BASE, Segment, base_config, base_key, is_spread, needs_network, shared_keys

TABLE = "table"


class NamedRun(NamedTuple):
    """A run, and what it is called among those that are submitted together."""

    name: str
    settings: Settings

    @property
    def folder(self) -> Path:
        """Return the run's folder."""
        return Path(self.settings.config.run_dir).expanduser()


class Job(NamedTuple):
    """One job: a part of a run, or the table at a sweep's end, which has no run.

    Its files are called `label`: the stage and, from the second on, the round. `after` are the names of the jobs that
    it comes after. `shard` is what a task asks for of the array that does its work, where one does. `network` says what
    it asks over the network.
    """

    name: str
    stage: str
    label: str
    resources: Resources
    after: tuple[str, ...]
    run: NamedRun | None = None
    until: str = ""
    round: int = 1
    shard: Resources | None = None
    network: tuple[str, ...] = ()


class Graph(NamedTuple):
    """Jobs in an order in which they can be submitted, and which of them each run needs, by the names of both."""

    jobs: list[Job]
    needed: dict[str, list[str]]

    @property
    def runs(self) -> list[NamedRun]:
        """Return the runs that have a job of their own."""
        return list({job.run.name: job.run for job in self.jobs if job.run}.values())


def jobs_of_runs(runs: Sequence[NamedRun], base_folder: Path | None = None) -> Graph:
    """Return the jobs of one run or several: what they share is under the first of them that needs it.

    `base_folder` is where the untrained student's answers to benchmarks are made, once before all evaluations; None
    leaves them to the evaluations.
    """
    made: dict[str, Job] = {}
    needed: dict[str, list[str]] = {}
    for run in runs:
        before: tuple[str, ...] = ()
        curated = ""
        for segment, key in shared_keys(run.settings.config):
            if segment.name == "evaluate" and base_folder and (base := _base(run, curated, base_folder, made)):
                before = (*before, base.name)
                needed.setdefault(base.name.partition(".")[0], [base.name])
                needed.setdefault(run.name, []).append(base.name)
            job = made.setdefault(key, _job(run, segment, before))
            before = (job.name,)
            needed.setdefault(run.name, []).append(job.name)
            curated = job.name if segment.name == "curate" else curated
    return Graph(list(made.values()), needed)


def table_job(sweep_name: str, settings: Settings, jobs: Sequence[Job]) -> Job:
    """Return the job that prints a sweep's table, after all others."""
    waited_for = {name for job in jobs for name in job.after}
    last = tuple(job.name for job in jobs if job.name not in waited_for)
    return Job(f"{sweep_name}.{TABLE}", TABLE, TABLE, resources_of_the_table(settings.config.slurm), last)


def _job(run: NamedRun, segment: Segment, after: tuple[str, ...]) -> Job:
    config = run.settings.config
    return Job(
        name=f"{run.name}.{segment.label}",
        stage=segment.name,
        label=segment.label,
        resources=resources_of(config, segment),
        after=after,
        run=run,
        until=segment.until,
        round=segment.round,
        shard=resources_of_a_shard(config, segment) if is_spread(config, segment.name) else None,
        network=tuple(needs_network(config, segment)),
    )


def _base(run: NamedRun, curated: str, base_folder: Path, made: dict[str, Job]) -> Job | None:
    """Return the job of the untrained student; it waits for the training set of one of its runs: any will do."""
    config = base_config(run.settings.config)
    if config is None:
        return None
    key = base_key(run.settings.config)
    if key not in made:
        count = sum(job.stage == BASE for job in made.values())
        name = f"{BASE}{count}" if count else BASE
        untrained = NamedRun(name, changed(Settings(config, ""), run_dir=str(base_folder / name)))
        made[key] = _job(untrained, Segment(BASE, ("evaluate",), "evaluate"), (curated,))
    return made[key]
