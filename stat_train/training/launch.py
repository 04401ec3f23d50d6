"""Start the processes of a training on this node: `python -m stat_train.training.launch [OPTIONS] NAME job.json`.

Accelerate starts them and ends all when one fails. On several nodes, `srun` runs this once on each of them.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

from stat_train.training.world import World

PORT = 29_400
# How long the processes may take to finish their step and save their state after SIGTERM; the library's 30 seconds are
# not enough to write a large model, or to end a batch of answers.
SECONDS_TO_SAVE = 900


def command(world: World, name: str, job_file: Path, port: int) -> list[str]:
    """Return the command that starts all processes: the launcher, run on each node by `srun` if there are several."""
    launcher = [sys.executable, "-m", "stat_train.training.launch"]
    options = [f"--nodes={world.nodes}", f"--processes={world.processes}", f"--port={port}"]
    spread = (
        ["srun", f"--nodes={world.nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"] if world.nodes > 1 else []
    )
    return [*spread, *launcher, *options, name, str(job_file)]


def accelerate_arguments(arguments: argparse.Namespace) -> list[str]:
    """Return the arguments of `accelerate launch`; what DeepSpeed and FSDP do is said by the processes themselves."""
    several = arguments.nodes * arguments.processes > 1
    nodes = [f"--num_machines={arguments.nodes}", f"--main_process_port={arguments.port}"]
    if arguments.nodes > 1:
        nodes += [f"--machine_rank={os.environ['SLURM_NODEID']}", f"--main_process_ip={first_node()}"]
    return [
        f"--num_processes={arguments.nodes * arguments.processes}",
        *(["--multi_gpu"] if several else []),
        *nodes,
        # What the settings say nothing of would be taken from the user's own `accelerate config`.
        "--gpu_ids=all",
        "--mixed_precision=no",
        "--dynamo_backend=no",
        "--module",
        "stat_train.stage",
        arguments.name,
        arguments.job,
    ]


def first_node() -> str:
    """Return the name of the allocation's first node, where the processes meet."""
    hosts = ["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]]
    return subprocess.run(hosts, capture_output=True, text=True, check=True).stdout.split()[0]


def arguments_of(given: list[str]) -> argparse.Namespace:
    """Return the launcher's own arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1, help="how many nodes train")
    parser.add_argument("--processes", type=int, default=1, help="how many processes train on each node")
    parser.add_argument("--port", type=int, default=PORT, help="where the processes meet, on the first node")
    parser.add_argument("name", help="the stage: train or rl")
    parser.add_argument("job", help="its job file")
    return parser.parse_args(given)


def main(given: list[str]) -> int:
    """Start the processes, wait for them, and say which one failed first."""
    arguments = arguments_of(given)
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SECONDS_TO_SAVE))
    # Its own words come with a table of every process; ours are below.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        launch_command(launch_command_parser().parse_args(accelerate_arguments(arguments)))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        return _say_failure(rank, failure.exitcode, arguments)
    except SignalException as stop:
        return 128 + int(stop.sigval)
    except subprocess.CalledProcessError as error:
        return _say_failure(0, error.returncode, arguments)
    return 0


def _say_failure(rank: int, code: int, arguments: argparse.Namespace) -> int:
    """Name the process that failed first; return the exit code that stands for how it failed."""
    if code >= 0:
        # It has said why.
        return code
    name = signal.Signals(-code).name
    hint = "; the kernel does that when memory runs out" if name == "SIGKILL" else ""
    size = arguments.nodes * arguments.processes
    print(
        f"stat-train: rank {rank} of {size} was ended by {name}{hint}; the others were stopped. The same command goes "
        "on from the last saved state",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
