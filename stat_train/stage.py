"""One stage in a process of its own: `python -m stat_train.stage NAME job.json`.

Everything that needs a model's weights runs here, never in the orchestrator. The process ends when the orchestrator
does, however that ends: it watches the pipe that the orchestrator holds open. Started by hand, it runs on its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

from pydantic import BaseModel

from stat_train import store
from stat_train.errors import StatTrainError, UserError

QUIET = {"DS_ACCELERATOR": "cpu", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
# Set for a stage whose standard input is the orchestrator's pipe; a batch job's own ends at once.
WATCHED = "STAT_TRAIN_WATCH_STDIN"


def launch(name: str, job: BaseModel, folder: Path, output: IO[bytes] | None = None) -> None:
    """Run a stage in its own process group and wait for it; raises StatTrainError when it fails.

    It is ended when the lease of `folder` is lost meanwhile: two must not write there. Its own words are on the
    terminal already, or in `output`, so the error only says which stage it was.
    """
    job_file = folder / "job.json"
    job_file.write_text(job.model_dump_json())
    command = [sys.executable, "-m", "stat_train.stage", name, str(job_file)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        start_new_session=True,
        env=_environment(),
    )
    try:
        code = _wait(process, folder)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
        if process.stdin:
            process.stdin.close()
    job_file.unlink()
    if code == UserError.exit_code:
        raise UserError(f"stage {name} was refused; the reason is above")
    if code:
        raise StatTrainError(f"stage {name} failed with exit code {code}; its last words are above")


def _wait(process: subprocess.Popen[bytes], folder: Path) -> int:
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(store.HEARTBEAT_SECONDS)
        store.require_lease(folder)


def _environment() -> dict[str, str]:
    """Return the environment of a stage; without a GPU, DeepSpeed is told so, or it announces its guess on stdout."""
    quiet = QUIET if not Path("/dev/nvidiactl").exists() else QUIET | {"DS_ACCELERATOR": "cuda"}
    # Seeing several, the trainer would multiply the effective batch size by their number.
    one_gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    return quiet | os.environ | {"CUDA_VISIBLE_DEVICES": one_gpu, WATCHED: "1"}


def main(arguments: list[str]) -> int:
    """Run the stage that the arguments name."""
    name, job_file = arguments
    if os.environ.get(WATCHED):
        threading.Thread(target=_end_with_parent, daemon=True).start()
    text = Path(job_file).read_text()
    try:
        if name == "answer":
            from stat_train.diagnosis.answering import AnswerJob, answer_with_weights

            answer_with_weights(AnswerJob.model_validate_json(text))
        elif name == "train":
            from stat_train.training.job import TrainJob
            from stat_train.training.sft import train

            train(TrainJob.model_validate_json(text))
        else:
            raise UserError(f"no stage {name!r}; expected answer or train")
    except StatTrainError as error:
        print(f"stat-train: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
