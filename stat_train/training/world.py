"""How many processes train, on how many nodes, and with what: known before any of them is started."""

from __future__ import annotations

import os
from typing import NamedTuple

from stat_train.errors import UserError
from stat_train.gpus import visible_gpus
from stat_train.packages import absent_for_training, packages_of_training
from stat_train.train_settings import GrpoTraining, Processes, SftTraining, Strategy

# These packages work on any machine; the others that a training asks for by name need a GPU.
WITHOUT_GPU = ("bitsandbytes",)
# Set in a batch job that was submitted for one stage of a run: train, rl or another, which has other GPUs than they.
JOB_OF = "STAT_TRAIN_JOB_OF"


class World(NamedTuple):
    """The processes of a training: `processes` on each of the `nodes`."""

    nodes: int
    processes: int

    @property
    def size(self) -> int:
        """Return how many processes there are in all: the world size, which is the data-parallel size too."""
        return self.nodes * self.processes


def trains_here(group: str) -> bool:
    """Tell whether a run trains where this process is; `group`, train or rl, may have a batch job of its own."""
    return os.environ.get(JOB_OF, group) == group


def world_of(settings: Processes) -> World:
    """Return the processes that a training has: as many as are asked for, or one per visible GPU."""
    return World(settings.nodes, settings.processes or len(visible_gpus()) or 1)


def require_launchable(world: World, strategy: Strategy, group: str = "train") -> None:
    """Raise UserError when the processes cannot be started here; `group` of settings, train or rl, asks for them."""
    gpus = len(visible_gpus())
    if strategy.name == "fsdp2" and not gpus:
        raise UserError("deepspeed = fsdp2: works on GPUs only, and none is visible; use deepspeed=zero2 or zero3")
    if gpus and world.processes > gpus:
        raise UserError(
            f"{group}.processes = {world.processes}: {gpus} GPUs are visible here, and each process needs one; use "
            "null or a smaller number, or check CUDA_VISIBLE_DEVICES"
        )
    if world.nodes == 1:
        return
    allocated = os.environ.get("SLURM_JOB_NUM_NODES")
    if allocated != str(world.nodes):
        has = f"has {allocated}" if allocated else "is outside of one"
        raise UserError(
            f"{group}.nodes = {world.nodes}: expected to run inside a Slurm allocation of {world.nodes} nodes (sbatch "
            f"or salloc --nodes={world.nodes}), and this process {has}"
        )


def require_packages(settings: SftTraining | GrpoTraining) -> None:
    """Raise UserError when something is asked for by name that is not installed, or needs a GPU where none is visible.

    The training itself looks again, and closer, when it starts.
    """
    if problems := absent_for_training(settings):
        raise UserError(problems[0])
    for given, (package, _) in packages_of_training(settings).items():
        if package not in WITHOUT_GPU and not visible_gpus():
            raise UserError(f"{given}: needs a GPU, and none is visible")
