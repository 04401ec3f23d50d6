"""What a job does: carry out a run as far as a stage, `... -m stat_train.slurm.work RUN_DIR JOB UNTIL ROUND`.

The run's settings are those that were written when it was submitted. Stages that were made before are found, so a chain
of jobs is the same run as one process would make, and a job that is started again goes on where it was.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from stat_train.compose import changed, saved_settings
from stat_train.ending import exit_code_of
from stat_train.launch_settings import Slurm
from stat_train.rounds import carry_out, settings_of
from stat_train.slurm.segments import is_spread
from stat_train.slurm.shards import SHARDS, Shards
from stat_train.training.world import JOB_OF

# In the folder `slurm` of a run: what it was submitted with, and the ids of its jobs.
FOLDER, SETTINGS_FILE, COMMAND_FILE, JOBS_FILE = "slurm", "settings.yaml", "command.json", "jobs.json"
WIDTH = 110


def main(arguments: list[str]) -> int:
    """Carry out the run of a folder as far as a stage of a round; returns the exit code of the run."""
    run_dir, label, until, number = arguments
    folder, stage = Path(run_dir) / FOLDER, label.partition("-")[0]
    logging.getLogger("datasets").setLevel(logging.ERROR)
    os.environ[JOB_OF] = stage

    def work() -> int:
        whole = saved_settings((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
        rounds = whole.config.rounds.model_copy(update={"count": int(number)})
        settings = changed(whole, until=until, rounds=rounds)
        if whole.config.rounds.count > rounds.count == 1:
            # A run of one round would take the names of the whole.
            own = settings_of(whole.config, 1, None).config
            settings = changed(settings, push_to_hub=own.push_to_hub, track=own.track)
        if is_spread(settings.config, stage):
            os.environ[SHARDS] = _shards(settings.config.slurm, folder, label).model_dump_json()
        carry_out(settings, json.loads((folder / COMMAND_FILE).read_text()), Console(width=WIDTH))
        return 0

    return exit_code_of(work)


def noted_jobs(folder: Path) -> list[dict[str, Any]]:
    """Return the jobs that the folder `slurm` of a run or a sweep knows of."""
    place = folder / JOBS_FILE
    return list(json.loads(place.read_text())) if place.is_file() else []


def _shards(slurm: Slurm, folder: Path, label: str) -> Shards:
    asks = label.startswith("label")
    return Shards(
        script=folder / f"{label}-shard.sbatch",
        tasks=slurm.shards,
        resubmits=slurm.resubmits,
        # What a task that asks a teacher may spend is counted from its start: one that starts again has had its part.
        device=None if asks else "gpu" if slurm.gpus_per_node else "cpu",
        options=["--no-requeue"] if asks else [],
        jobs=folder / JOBS_FILE,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
