"""Where the time of a reinforcement learning step goes: generating answers, scoring them, training, sending weights.

    python benchmarks/grpo_throughput.py [--model tiny] [--steps 6] [rl=grpo rl.KEY=VALUE student.KEY=VALUE ...]

The trainer that a run uses answers arithmetic questions, on whatever device is at hand. Its methods are timed from
outside, so `train` is all that is left of a step: forward and backward passes, the optimizer, the numbers that are
logged. `sync` sends the weights to vLLM; transformers answers with the weights themselves, so there it is 0, as on
every CPU. The first batch of answers warms up and is not counted. Several processes: start it with `accelerate launch`.

Writes benchmarks/results/grpo_throughput.md. Cost: about a minute for the tiny student on one core.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from stat_train.compose import read_settings  # noqa: E402
from stat_train.config import Config  # noqa: E402
from stat_train.store import write_records  # noqa: E402
from stat_train.tasks.arithmetic import world  # noqa: E402
from stat_train.training import grpo  # noqa: E402
from stat_train.training.distributed import join_processes, leave_processes, rank, world_size  # noqa: E402
from stat_train.training.job import RlJob, rl_job  # noqa: E402
from stat_train.training.resume import Start  # noqa: E402
from stat_train.training.rewards import open_grader  # noqa: E402
from stat_train.training.rollouts import uses_vllm  # noqa: E402

RESULT = ROOT / "benchmarks" / "results" / "grpo_throughput.md"
PARTS = {
    "generate": "answers sampled, from prompts to tokens",
    "score": "final answers read and compared by the grader",
    "sync": "weights sent to vLLM",
    "train": "forward and backward passes, optimizer, logged numbers",
}


class Clock(TrainerCallback):  # type: ignore[misc]
    """Adds up the seconds of named parts from the step on at which it is started."""

    def __init__(self, warm_up: int) -> None:
        self.warm_up = warm_up
        self.seconds: dict[str, float] = defaultdict(float)
        self.began = self.ended = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Forget what the warm-up took."""
        if state.global_step == self.warm_up:
            self.seconds.clear()
            self.began = now()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note when the last step ended."""
        self.ended = now()

    def wrap(self, owner: Any, method: str, part: str) -> None:
        """Count what a method takes."""
        work: Callable[..., Any] = getattr(owner, method)

        def timed(*given: Any, **named: Any) -> Any:
            began = now()
            result = work(*given, **named)
            self.seconds[part] += now() - began
            return result

        setattr(owner, method, timed)

    def split(self) -> dict[str, float]:
        """Return the seconds of each part; sending weights happens while answers are generated."""
        generate, score, sync = (self.seconds[part] for part in ("generate", "score", "sync"))
        whole = self.ended - self.began
        return {"generate": generate - sync, "score": score, "sync": sync, "train": whole - generate - score}


def now() -> float:
    """Return the time once the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def measure(job: RlJob, steps: int) -> tuple[dict[str, float], int]:
    """Train for some steps after a warm-up; return the seconds of each part, and how many tokens were answered."""
    updates = grpo.updates_per_batch(job.settings)
    join_processes(job.strategy)
    with open_grader(job.grader, job.grader_timeout_seconds) as grader:
        asked, _ = grpo.ask(job)
        arguments = grpo.grpo_config(job, asked, uses_vllm(job.settings))
        arguments.max_steps = updates + steps
        arguments.save_strategy = "no"
        trainer = grpo.make_trainer(job, asked, grader, arguments, grpo.student(job, Start(None, False), asked.stops))
        clock = Clock(updates)
        trainer.add_callback(clock)
        clock.wrap(trainer, "_generate_single_turn", "generate")
        clock.wrap(trainer, "_calculate_rewards", "score")
        if trainer.use_vllm:
            clock.wrap(trainer.vllm_generation, "sync_weights", "sync")
        trainer.train()
    batches = [row for row in trainer.state.log_history if "loss" in row][updates::updates]
    answers = job.settings.questions_per_batch * job.settings.rollouts
    return clock.split(), round(sum(row["answer_tokens"] for row in batches) * answers)


def make_job(folder: Path, config: Config, model: str, steps: int) -> RlJob:
    """Write questions enough for the steps; return the job."""
    batches = 1 + -(-steps // grpo.updates_per_batch(config.rl))
    family = world.Family(steps=(1, 5))
    made = world.questions("throughput", "pool", "throughput", batches * config.rl.questions_per_batch, family)
    write_records(folder / "questions.jsonl", made)
    return rl_job(config, folder, folder / "questions.jsonl", model)


def report(config: Config, split: dict[str, float], tokens: int, steps: int) -> str:
    """Return the table, and what it was measured on."""
    whole, rl = sum(split.values()), config.rl
    answers = f"{rl.questions_per_update} questions x {rl.rollouts} answers an update"
    engine = "vLLM" if uses_vllm(rl) else "transformers"
    rows = [f"| {part} | {split[part] / steps:.2f} | {split[part] / whole:.0%} | {PARTS[part]} |" for part in PARTS]
    generated = f"{tokens / max(split['generate'], 1e-9):,.0f} tokens/s generated, {tokens / whole:,.0f} over all"
    words = f"{machine()}: {answers}, made by {engine}, {steps} updates after a warm-up; {generated}.\n"
    if engine == "transformers":
        words += "It answers with the weights that are trained, so there is nothing to send: sync is 0.\n"
    return "\n".join([words, "| part | seconds a step | share | what it is |", "|---|---|---|---|", *rows])


def machine() -> str:
    """Return the GPUs' name, or how many cores there are."""
    if torch.cuda.is_available():
        return f"{world_size()} x {torch.cuda.get_device_name()}"
    return f"CPU, {world_size() * torch.get_num_threads()} of {os.cpu_count()} cores"


def main() -> None:
    """Measure, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="the student: a checkpoint folder, or a hub name")
    parser.add_argument("--steps", type=int, default=6, help="updates that are timed")
    parser.add_argument("settings", nargs="*", help="settings as of a run, such as rl=paper or deepspeed=zero2")
    given = parser.parse_args()
    config = read_settings(["rl=grpo", *given.settings]).config
    with tempfile.TemporaryDirectory(prefix="grpo-throughput-") as folder:
        split, tokens = measure(make_job(Path(folder), config, given.model, given.steps), given.steps)
    if rank() == 0:
        text = report(config, split, tokens, given.steps)
        print(text)
        command = " ".join(["python benchmarks/grpo_throughput.py", *sys.argv[1:]])
        RESULT.write_text(f"# Where the time of a GRPO step goes\n\n`{command}`\n\n{text}\n", encoding="utf-8")
    leave_processes()


if __name__ == "__main__":
    main()
