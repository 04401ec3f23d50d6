"""The batch script of a job, from the templates in `launch/slurm/`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stat_train.run import STOP
from stat_train.sbatch import in_log_names, option, quoted, sbatch_options
from stat_train.slurm.graph import TABLE, Job
from stat_train.slurm.resources import Resources

PACKAGE = Path(__file__).parents[1]
# What of the time between the signal and the end is left for what ends on SIGTERM: a training saves its state.
SHARE_OF_PATIENCE = 0.5


def template_folder() -> Path:
    """Return the folder of the templates: inside an installed package, beside it in a checkout."""
    installed = PACKAGE / "slurm" / "templates"
    return installed if installed.is_dir() else PACKAGE.parent / "launch" / "slurm"


def job_script(job: Job, folder: Path, command: Sequence[str]) -> str:
    """Return the script of a job that carries out a part of a run; what it says goes to a file of `folder`."""
    assert job.run
    config = job.run.settings.config
    signal_seconds = config.slurm.signal_seconds
    return _rendered(
        "stage",
        job.name,
        job.resources,
        folder / job.label,
        _started(command, job.resources, [config.run_dir, config.cache_dir]),
        exit_file=quoted(str((folder / job.label).absolute())),
        stop=quoted(str(job.run.folder.absolute() / STOP)),
        requeues=config.slurm.requeues,
        signal_seconds=signal_seconds,
        patience_seconds=int(signal_seconds * SHARE_OF_PATIENCE),
    )


def shard_script(job: Job, folder: Path) -> str:
    """Return the script of the tasks that share a job's work; the stage and its job file are its arguments."""
    assert job.run and job.shard
    config = job.run.settings.config
    started = _started(["-m", "stat_train.stage"], job.shard, [config.run_dir, config.cache_dir])
    return _rendered("shard", f"{job.name}.shard", job.shard, folder / f"{job.label}-shard", started, "%A_%a")


def table_script(job: Job, folder: Path, command: Sequence[str]) -> str:
    """Return the script of the job that prints a sweep's table."""
    started = _started(command, job.resources, [str(folder)])
    return _rendered("table", job.name, job.resources, folder / TABLE, started)


def _rendered(
    template: str, name: str, asked: Resources, log: Path, command: str, number: str = "%j", **more: Any
) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(template_folder()),
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    return templates.get_template(f"{template}.sbatch.j2").render(
        title=quoted(name),
        options=[option("job-name", name), *sbatch_options(asked.model_dump())],
        log=quoted(f"{in_log_names(log)}-{number}.log"),
        directory=quoted(os.getcwd()),
        setup=asked.setup,
        command=command,
        **more,
    )


def _started(arguments: Sequence[str], asked: Resources, folders: Sequence[str]) -> str:
    """Return the command that starts Python with these arguments, in the container if there is one."""
    if asked.container is None:
        return shlex.join([sys.executable, *arguments])
    # Models and data sets that were fetched before are there: compute nodes often have no network.
    fetched = [home] if (home := os.environ.get("HF_HOME")) else []
    seen = [os.getcwd(), *(str(Path(folder).expanduser().absolute()) for folder in [*folders, *fetched])]
    given = [mount if ":" in mount else f"{mount}:{mount}" for mount in asked.container_mounts]
    mounts = ",".join(dict.fromkeys([*(f"{place}:{place}" for place in seen), *given]))
    inside = [
        f"--container-image={asked.container}",
        f"--container-mounts={mounts}",
        f"--container-workdir={os.getcwd()}",
    ]
    return shlex.join(["srun", "--nodes=1", "--ntasks=1", *inside, "python", *arguments])
