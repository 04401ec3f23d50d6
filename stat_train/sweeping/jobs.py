"""What Hydra launches: `python -m stat_train.sweeping.jobs --multirun folder=SWEEP job=A,B hydra/launcher=...`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import hydra
from omegaconf import DictConfig

from stat_train.sweeping.job import start_job


@hydra.main(version_base="1.3", config_path=".", config_name="jobs")
def main(config: DictConfig) -> None:
    """Carry out the job that the config names."""
    start_job(Path(config.folder), str(config.job), int(config.at_once))


def _end_with_sweep() -> None:
    """Tell all that was started here to end when the sweep that holds the pipe is gone, however it went."""
    os.read(sys.stdin.fileno(), 1)
    os.killpg(os.getpgrp(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_end_with_sweep, daemon=True).start()
    main()
