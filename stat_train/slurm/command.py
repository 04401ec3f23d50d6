"""`stat-train launch slurm`: from its arguments to jobs, shown or submitted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from stat_train.compose import Settings, changed, read_settings, require_one_run
from stat_train.contradictions import contradictions
from stat_train.errors import ConfigError, UserError
from stat_train.slurm.graph import NamedRun, jobs_of_runs, table_job
from stat_train.slurm.submit import Submission, show, submit
from stat_train.slurm.table import SweepTable
from stat_train.slurm.work import FOLDER
from stat_train.sweeping.expand import jobs_of
from stat_train.sweeping.files import is_complete
from stat_train.sweeping.results import require_results_of
from stat_train.train_settings import Processes

# Numbers, and the settings that each is short for.
SHORT = {"nodes": ("train.nodes", "rl.nodes"), "gpus_per_node": ("slurm.gpus_per_node",)}


class Arguments(NamedTuple):
    """What follows `launch slurm`: settings, numbers that are short for several, and options."""

    settings: list[str]
    numbers: dict[str, int]
    sweep: bool
    dry_run: bool


def launch(given: Sequence[str], console: Console) -> None:
    """Submit the jobs of a run, or with `-m` of a sweep; with `--dry-run` print their scripts instead."""
    arguments = _read(given)
    command = ["stat-train", "launch", "slurm", *given]
    submission = (_of_a_sweep if arguments.sweep else _of_a_run)(arguments, command)
    if not submission.graph.jobs:
        console.print("everything is made; nothing to submit", highlight=False)
        return
    (show if arguments.dry_run else submit)(submission, console)


def _read(given: Sequence[str]) -> Arguments:
    options = [argument for argument in given if argument.startswith("-")]
    if unknown := [option for option in options if option not in ("-m", "--multirun", "--dry-run")]:
        raise UserError(f"{' '.join(unknown)}: no such option; expected -m or --dry-run. See stat-train launch --help")
    settings, numbers = list[str](), dict[str, int]()
    for argument in given:
        key, _, value = argument.partition("=")
        if key in SHORT:
            if not value.isdecimal() or int(value) < 1:
                raise UserError(f"{argument}: expected a whole number of at least 1")
            numbers[key] = int(value)
        elif argument not in options:
            settings.append(argument)
    _require_no_other_number(settings, numbers)
    return Arguments(settings, numbers, bool({"-m", "--multirun"} & set(options)), "--dry-run" in options)


def _require_no_other_number(settings: Sequence[str], numbers: dict[str, int]) -> None:
    for setting in settings:
        key, _, value = setting.lstrip("+").partition("=")
        for short, number in numbers.items():
            if key in SHORT[short] and value != str(number):
                raise UserError(f"{short}={number} and {setting}: the first is short for {key}; expected one of them")


def _of_a_run(arguments: Arguments, command: Sequence[str]) -> Submission:
    settings = with_numbers(read_settings(arguments.settings), arguments.numbers)
    require_one_run(settings)
    run = NamedRun(Path(settings.config.run_dir).name, settings)
    return Submission(jobs_of_runs([] if is_complete(settings) else [run]), command)


def _of_a_sweep(arguments: Arguments, command: Sequence[str]) -> Submission:
    plan = jobs_of(arguments.settings)
    require_results_of(plan)
    runs = [NamedRun(job.name, with_numbers(job.settings, arguments.numbers)) for job in plan.jobs]
    folder = plan.folder.expanduser()
    waiting = [run for run in runs if not is_complete(run.settings)]
    graph = jobs_of_runs(waiting, folder / FOLDER if len(waiting) > 1 else None)
    graph.jobs.append(table_job(folder.name, runs[0].settings, graph.jobs))
    named = SweepTable(
        runs={run.name: str(run.folder) for run in runs},
        overrides={job.name: job.overrides for job in plan.jobs},
        over_seeds=plan.over_seeds,
        with_seed=plan.with_seed,
        published=plan.published,
        results=plan.results.absolute() if plan.results else None,
    )
    return Submission(graph, command, folder, named)


def with_numbers(settings: Settings, numbers: dict[str, int]) -> Settings:
    """Return the settings with these numbers of nodes and GPUs a node, in every training of the run.

    Where the number of processes is not given, each GPU of a node has one. Raises ConfigError when they do not fit.
    """
    if not numbers:
        return settings
    config, update = settings.config, dict[str, object]()
    for group in ("train", "rl"):
        training = getattr(config, group)
        if isinstance(training, Processes):
            found = {"nodes": numbers.get("nodes", training.nodes)}
            found["processes"] = training.processes or numbers.get("gpus_per_node")  # type: ignore[assignment]
            update[group] = training.model_copy(update=found)
    if gpus := numbers.get("gpus_per_node"):
        update["slurm"] = config.slurm.model_copy(update={"gpus_per_node": gpus})
    found_settings = changed(settings, **update)
    if problems := contradictions(found_settings.config):
        raise ConfigError(problems)
    return found_settings
