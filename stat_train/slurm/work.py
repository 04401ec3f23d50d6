"""What a job does: carry out a run as far as a stage, `python -m stat_train.slurm.work RUN_DIR STAGE UNTIL`.

The run's settings are those that were written when it was submitted. Stages that were made before are found, so a chain
of jobs is the same run as one process would make, and a job that is started again goes on where it was.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from rich.console import Console

from stat_train.compose import changed, saved_settings
from stat_train.errors import StatTrainError
from stat_train.launch_settings import Slurm
from stat_train.rounds import carry_out
from stat_train.slurm.segments import is_spread
from stat_train.slurm.shards import SHARDS, Shards
from stat_train.training.world import JOB_OF

# In the folder `slurm` of a run: what it was submitted with, and the ids of its jobs.
FOLDER, SETTINGS_FILE, COMMAND_FILE, JOBS_FILE = "slurm", "settings.yaml", "command.json", "jobs.json"
WIDTH = 110


def main(arguments: list[str]) -> int:
    """Carry out the run of a folder as far as a stage; returns the exit code of the run."""
    run_dir, stage, until = arguments
    folder = Path(run_dir) / FOLDER
    signal.signal(signal.SIGTERM, _end_by_signal)
    logging.getLogger("datasets").setLevel(logging.ERROR)
    os.environ[JOB_OF] = stage
    try:
        settings = changed(saved_settings((folder / SETTINGS_FILE).read_text(encoding="utf-8")), until=until)
        if is_spread(settings.config, stage):
            os.environ[SHARDS] = _shards(settings.config.slurm, folder, stage).model_dump_json()
        carry_out(settings, json.loads((folder / COMMAND_FILE).read_text()), Console(width=WIDTH))
    except StatTrainError as error:
        print(f"stat-train: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _shards(slurm: Slurm, folder: Path, stage: str) -> Shards:
    return Shards(
        script=folder / f"{stage}-shard.sbatch",
        tasks=slurm.shards,
        resubmits=slurm.resubmits,
        on_gpus=slurm.gpus_per_node > 0,
        jobs=folder / JOBS_FILE,
    )


def _end_by_signal(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
