"""One job of a sweep, in a process of its own, so that whatever ends it ends no other.

A launcher calls `start_job`, on this machine or another. It runs `python -m stat_train.sweeping.job FILE`, which
carries the run out, and writes down how that ended.
"""

from __future__ import annotations

import fcntl
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from stat_train.ending import exit_code_of
from stat_train.errors import STOPPED, BudgetReached
from stat_train.gpus import visible_gpus
from stat_train.sweeping.files import LAUNCHER, STOP, Outcome, State, is_complete, log_file, read_job, settings_file
from stat_train.sweeping.files import write_outcome as write

LOG_WIDTH = 110
# The last words of a log are within so many bytes of its end.
TAIL_BYTES = 65_536
STATES: dict[int, State] = {STOPPED: "stopped", BudgetReached.exit_code: "budget spent"}


def start_job(folder: Path, name: str, at_once: int) -> None:
    """Carry out a job of the sweep in this folder and write down what became of it, whatever that is.

    Of `at_once` jobs that run side by side on this machine, each has its share of the GPUs; 0 for no shares. Raises
    SystemExit when this process was told to end meanwhile: the job was too, and no other is to follow.
    """
    if (folder / STOP).exists():
        write(folder, name, Outcome("stopped", STOPPED, 0.0, "the sweep was stopped before", platform.node()))
        return
    told = list[int]()
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    write(folder, name, Outcome("running", None, 0.0, None, platform.node()))
    started = time.monotonic()
    with log_file(folder, name).open("wb") as words, share_of_gpus(folder, at_once) as gpus:
        command = [sys.executable, "-m", "stat_train.sweeping.job", str(settings_file(folder, name))]
        job = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=words, stderr=words, env=os.environ | gpus)
        code = job.wait()
    outcome = _outcome(folder, name, code, time.monotonic() - started)
    interrupted = bool(told) and outcome.state == "failed"
    write(folder, name, outcome._replace(state="stopped", error="interrupted") if interrupted else outcome)
    if told:
        raise SystemExit(128 + told[0])


def main() -> int:
    """Carry out the run whose settings are in the file that the command line names."""
    # A launcher may have been told to look away from Ctrl-C, and what it starts inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Submitit is told by these that time is up, and so is all that it started; what is saved by then is gone on from.
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    settings, command = read_job(Path(sys.argv[1]))

    def work() -> int:
        from stat_train.rounds import carry_out

        carry_out(settings, command, Console(width=LOG_WIDTH))
        return 0

    return exit_code_of(work)


def _outcome(folder: Path, name: str, code: int, seconds: float) -> Outcome:
    if code == 0 and is_complete(read_job(settings_file(folder, name))[0]):
        return Outcome("done", code, round(seconds, 1), None, platform.node())
    state, error = STATES.get(code, "failed"), last_words(log_file(folder, name))
    if code == 0:
        error = f"ended with exit code 0 before it was done; its last words: {error}"
    elif code < 0:
        hint = " (the kernel does that when memory runs out)" if code == -signal.SIGKILL else ""
        error = f"ended by {signal.Signals(-code).name}{hint}"
    return Outcome(state, code, round(seconds, 1), error, platform.node())


def last_words(log: Path) -> str:
    """Return the line that says what went wrong: the last of the command's own, or the last one."""
    with log.open("rb") as words:
        words.seek(max(0, log.stat().st_size - TAIL_BYTES))
        lines = [line for line in words.read().decode(errors="replace").splitlines() if line.strip()]
    own = [line.removeprefix("stat-train: ") for line in lines if line.startswith("stat-train: ")]
    return (own or lines or ["none"])[-1]


@contextmanager
def share_of_gpus(folder: Path, at_once: int) -> Iterator[dict[str, str]]:
    """Hold one of `at_once` shares of this machine's GPUs; yield the environment that says which they are."""
    gpus = visible_gpus() if at_once > 1 else []
    if not gpus:
        yield {}
        return
    for share in range(at_once):
        with (folder / LAUNCHER / f"share-{share}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield {"CUDA_VISIBLE_DEVICES": ",".join(gpus[share::at_once] or [gpus[share % len(gpus)]])}
            return
    yield {}


if __name__ == "__main__":
    sys.exit(main())
