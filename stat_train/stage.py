"""One stage in a process of its own, or several: `python -m stat_train.stage NAME job.json`.

Everything that needs a model's weights runs here, never in the orchestrator. A process ends when the orchestrator
does, however that ends: it watches the pipe that the orchestrator holds open. Started by hand, it runs on its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple
from uuid import uuid4

from pydantic import BaseModel

from stat_train import store
from stat_train.chunks import LAUNCH, Chunked, join_chunks
from stat_train.device_seconds import counted_on_devices
from stat_train.diagnosis.answering import AnswerJob, answer_with_weights, answers_file
from stat_train.diagnosis.step_rewards import ScoreJob, rewards_file, score_with_weights
from stat_train.errors import STOPPED, BudgetReached, StatTrainError, UserError, stopped
from stat_train.evaluation.harness import HarnessJob, run_harness
from stat_train.evaluation.log_probabilities import LogProbabilityJob, log_probabilities_file, rate_with_weights
from stat_train.gpus import visible_gpus
from stat_train.records import Question
from stat_train.slurm.shards import ARRAY_FILE, make_by_array, shards_of_this_job
from stat_train.teacher.ahead import QUESTIONS_FILE, LabelJob, label_ahead, labels_file
from stat_train.train_settings import Strategy
from stat_train.training import launch as launcher
from stat_train.training.world import World, require_launchable

QUIET = {"DS_ACCELERATOR": "cpu", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
JOB_FILE = "job.json"
# Set for a stage whose standard input is the orchestrator's pipe; a batch job's own ends at once.
WATCHED = "STAT_TRAIN_WATCH_STDIN"
# What a launcher tells each of its processes. A cluster may have told the orchestrator the same, of a world that is not
# the stage's.
OF_A_WORLD = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
SECONDS_BETWEEN_LOOKS = 0.02
# How long after another the process that is shown may meet the same mistake.
SECONDS_TO_FAIL_ALIKE = 3.0

# The stages that processes of one launch share chunk by chunk: what they are told, and what does it.
SHARED: dict[str, tuple[type[BaseModel], Callable[[Any, str], None]]] = {
    "answer": (AnswerJob, answer_with_weights),
    "score": (ScoreJob, score_with_weights),
    "likelihood": (LogProbabilityJob, rate_with_weights),
    "label": (LabelJob, label_ahead),
}


def answer(job: AnswerJob, processes: int | None) -> None:
    """Write `answers.jsonl`, made by several processes with one GPU each; None: one per GPU that is visible, or one.

    Never by more than there are chunks to make. The bytes are the same for any number. In a batch job that has shards
    they are made by an array of tasks instead, wherever those run.
    """
    _make_chunks("answer", job, answers_file(job), processes)


def score(job: ScoreJob, processes: int | None) -> None:
    """Write `step_rewards.jsonl`, made by processes as the answers are."""
    _make_chunks("score", job, rewards_file(job), processes)


def likelihood(job: LogProbabilityJob, processes: int | None) -> None:
    """Write `log_probabilities.jsonl`, made by processes as the answers are."""
    _make_chunks("likelihood", job, log_probabilities_file(job), processes)


def label(job: LabelJob, questions: Iterable[Question]) -> bool:
    """Let an array of tasks ask the teacher first, in a batch job that has shards: the ledger has the replies then.

    Returns whether there was one. What the tasks may not spend is left to whoever asks next.
    """
    shards = shards_of_this_job()
    if not shards:
        return False
    files = [job.folder / name for name in (QUESTIONS_FILE, JOB_FILE, ARRAY_FILE)]
    store.write_records(files[0], questions)
    chunked = labels_file(job)
    if chunked.left():
        files[1].write_text(job.model_dump_json())
        with suppress(BudgetReached):
            make_by_array(shards, "label", files[1], chunked)
    shutil.rmtree(chunked.folder, ignore_errors=True)
    for file in files:
        file.unlink(missing_ok=True)
    return True


def harness(job: HarnessJob) -> None:
    """Let a model do a task of lm-evaluation-harness in one process, on one GPU."""
    launch("harness", job, job.folder)


def train(
    name: str, job: BaseModel, folder: Path, world: World, strategy: Strategy, output: IO[bytes] | None = None
) -> None:
    """Train in this world of processes: one alone, or those that `accelerate` starts on each node.

    Raises StatTrainError on failure, or with the exit code 75 when the training was asked to stop and saved its state.
    """
    require_launchable(world, strategy, name)
    if world.size == 1:
        launch(name, job, folder, [_environment() | _alone(strategy)], output)
        return
    cores = len(os.sched_getaffinity(0))
    threads = {"OMP_NUM_THREADS": str(max(1, cores // world.processes))}
    environment = threads | _environment(",".join(visible_gpus()))
    command = launcher.command(world, name, folder / JOB_FILE, _port(world))
    launch(name, job, folder, [environment], output, command, world)


def _alone(strategy: Strategy) -> dict[str, str]:
    """Return what tells one process that it is the whole world: DeepSpeed and FSDP want a process group even then."""
    if strategy.name == "none":
        return {}
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_port(World(1, 1)))}
    return {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"} | meeting


def _port(world: World) -> int:
    """Return where the processes meet: a free port, or on several nodes one that this job alone uses."""
    if world.nodes > 1:
        return launcher.PORT + int(os.environ.get("SLURM_JOB_ID", 0)) % 1000
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _make_chunks(name: str, job: BaseModel, chunked: Chunked, processes: int | None) -> None:
    folder = chunked.file.parent
    left, shards = chunked.left(), shards_of_this_job()
    if left and shards:
        (folder / JOB_FILE).write_text(job.model_dump_json())
        make_by_array(shards, name, folder / JOB_FILE, chunked)
    elif left:
        gpus = visible_gpus() if left > 1 and processes != 1 else []
        count = min(left, processes or len(gpus) or 1)
        launch(name, job, folder, _environments(count, gpus))
    # Left by a run that was killed when all chunks were there, or by an array.
    for file in (JOB_FILE, ARRAY_FILE):
        (folder / file).unlink(missing_ok=True)
    join_chunks(chunked)


def launch(
    name: str,
    job: BaseModel,
    folder: Path,
    environments: Sequence[Mapping[str, str]] = (),
    output: IO[bytes] | None = None,
    command: Sequence[str] | None = None,
    world: World | None = None,
) -> None:
    """Run a stage in its own process group, or in one for each environment, and wait; raises StatTrainError on failure.

    `world` are the processes that `command` starts, where it starts others. All are ended when one fails, or when the
    lease of `folder` is lost meanwhile: two must not write there. The words of the one that failed are on the terminal
    by then, or in `output`, so the error only says which stage it was.
    """
    job_file = folder / JOB_FILE
    job_file.write_text(job.model_dump_json())
    running: list[_Running] = []
    at_work = world or World(1, max(1, len(environments)))
    with counted_on_devices(folder, at_work.processes, at_work.nodes), ExitStack() as held:
        held.callback(_end, running)
        for environment in environments or [_environment()]:
            # Only one of several is shown as it speaks, or every bar and warning would be there many times.
            words = held.enter_context(TemporaryFile()) if running else output
            running.append(_start(command or _stage(name, job_file), environment, words))
        failed = _wait(running, folder)
        if failed:
            _show_words(failed, running[0])
    job_file.unlink()
    code = failed.process.returncode if failed else 0
    if code == UserError.exit_code:
        raise UserError(f"stage {name} was refused; the reason is above")
    if code == STOPPED:
        raise stopped(f"stage {name} was asked to stop and saved its state; the same command goes on from there")
    if code < 0:
        name_of_signal = signal.Signals(-code).name
        hint = " (the kernel does that when memory runs out)" if name_of_signal == "SIGKILL" else ""
        raise StatTrainError(f"stage {name} was ended by {name_of_signal}{hint}; the same command goes on from there")
    if code:
        raise StatTrainError(f"stage {name} failed with exit code {code}; its last words are above")


class _Running(NamedTuple):
    """A process of a stage, and the file that its words go to unless they are shown as they come."""

    process: subprocess.Popen[bytes]
    words: IO[bytes] | None


def _stage(name: str, job_file: Path) -> list[str]:
    return [sys.executable, "-m", "stat_train.stage", name, str(job_file)]


def _start(command: Sequence[str], environment: Mapping[str, str], words: IO[bytes] | None) -> _Running:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=words, stderr=words, start_new_session=True, env=environment
    )
    return _Running(process, words)


def _wait(running: Sequence[_Running], folder: Path) -> _Running | None:
    """Return the first that failed, or None when all have ended well."""
    while True:
        look = time.monotonic() + store.HEARTBEAT_SECONDS
        while time.monotonic() < look:
            codes = [each.process.poll() for each in running]
            if any(codes) or None not in codes:
                return next((each for each in running if each.process.returncode), None)
            time.sleep(SECONDS_BETWEEN_LOOKS)
        store.require_lease(folder)


def _show_words(failed: _Running, shown: _Running) -> None:
    """Show what a process said that failed out of sight, unless the one that is shown fails at the same and says it."""
    if not failed.words or failed is shown or not os.fstat(failed.words.fileno()).st_size:
        return
    with suppress(subprocess.TimeoutExpired):
        if shown.process.wait(SECONDS_TO_FAIL_ALIKE):
            return
    failed.words.seek(0)
    sys.stderr.write(failed.words.read().decode(errors="replace"))
    sys.stderr.flush()


def _end(running: Sequence[_Running]) -> None:
    """End what still runs: each is asked to, and then what it started and left is ended too.

    Asking all of them at once would end the workers that grade for a training before its last answers are graded.
    """
    for process, _ in running:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process, _ in running:
        process.wait()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.stdin:
            process.stdin.close()


def _environment(gpu: str | None = None) -> dict[str, str]:
    """Return the environment of a stage; without a GPU, DeepSpeed is told so, or it announces its guess on stdout."""
    quiet = QUIET if not Path("/dev/nvidiactl").exists() else QUIET | {"DS_ACCELERATOR": "cuda"}
    # Seeing several, the trainer would multiply the effective batch size by their number.
    one_gpu = gpu or os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    # Bars of libraries make a line each time they move where there is no terminal.
    bars = {} if sys.stderr.isatty() else {"TQDM_DISABLE": "1"}
    inherited = {name: value for name, value in os.environ.items() if name not in OF_A_WORLD}
    return quiet | bars | inherited | {"CUDA_VISIBLE_DEVICES": one_gpu, WATCHED: "1"}


def _environments(processes: int, gpus: Sequence[str]) -> list[dict[str, str]]:
    """Return the environments of processes that share a stage's work: one GPU each, and a part of the CPU's cores."""
    cores = len(os.sched_getaffinity(0))
    threads = {"OMP_NUM_THREADS": str(max(1, cores // processes))} if processes > 1 else {}
    together = {LAUNCH: uuid4().hex}
    return [threads | _environment(gpus[index % len(gpus)] if gpus else None) | together for index in range(processes)]


def main(arguments: list[str]) -> int:
    """Run the stage that the arguments name."""
    name, job_file = arguments
    if os.environ.get(WATCHED):
        threading.Thread(target=_end_with_parent, daemon=True).start()
    text, launched = Path(job_file).read_text(), os.environ.get(LAUNCH) or uuid4().hex
    try:
        if name in SHARED:
            kind, work = SHARED[name]
            work(kind.model_validate_json(text), launched)
        elif name == "harness":
            run_harness(HarnessJob.model_validate_json(text))
        elif name == "train":
            from stat_train.training import sft
            from stat_train.training.job import TrainJob

            sft.train(TrainJob.model_validate_json(text))
        elif name == "rl":
            from stat_train.training import grpo
            from stat_train.training.job import RlJob

            grpo.train(RlJob.model_validate_json(text))
        else:
            raise UserError(f"no stage {name!r}; expected answer, score, likelihood, label, harness, train or rl")
    except StatTrainError as error:
        if rank := int(os.environ.get("RANK", 0)):
            # The first process says it too if it meets the same, and the launcher ends this one meanwhile.
            time.sleep(SECONDS_TO_FAIL_ALIKE)
        print(f"stat-train: {f'rank {rank}: ' if rank else ''}{error}", file=sys.stderr)
        return error.exit_code
    return 0


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
