"""What a job asks the cluster for."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from stat_train.config import Config
from stat_train.errors import ConfigError, UserError
from stat_train.launch_settings import Asked, Slurm
from stat_train.setting_types import Positive
from stat_train.slurm.segments import BASE, ON_GPUS, Segment, needs_gpus, needs_network, nodes

# Slurm looks now and then who is near the end, and signals so much earlier than it is asked to.
SIGNAL_EARLY_SECONDS = 60


class Resources(Asked):
    """What one job asks for, on how many nodes."""

    nodes: Positive

    def words(self) -> str:
        """Return in words how large a job is, where it runs and for how long."""
        gpus = f"{self.gpus_per_node} GPU{'s' if self.gpus_per_node > 1 else ''}, " if self.gpus_per_node else ""
        each = f"{gpus}{self.cpus} CPU{'s' if self.cpus > 1 else ''}"
        size = f"{self.nodes} x ({each})" if self.nodes > 1 else each
        return ", ".join(filter(None, [size, self.time, self.partition]))


def resources_of(config: Config, segment: Segment) -> Resources:
    """Return what a job asks for: the run's settings, those of stages that call a server, and then the stages' own.

    Raises ConfigError naming each setting that is wrong, and UserError when the job would have another number of nodes
    than the training in it, or less time than it has to save its state.
    """
    usual = _usual(config.slurm) | {"nodes": nodes(config, segment.name)}
    usual["gpus_per_node"] *= needs_gpus(config, segment)
    stages = ("evaluate",) if segment.name == BASE else segment.stages
    found = _changed(usual, config.slurm, stages, bool(needs_network(config, segment)))
    if segment.name in ("train", "rl") and found.nodes != nodes(config, segment.name):
        raise UserError(
            f"slurm.stages.{segment.name}.nodes = {found.nodes}: the training is to run on "
            f"{segment.name}.nodes = {nodes(config, segment.name)}; give the number there, or nodes={found.nodes}"
        )
    if found.time and _seconds(found.time) <= config.slurm.signal_seconds + SIGNAL_EARLY_SECONDS:
        raise UserError(
            f"slurm.signal_seconds = {config.slurm.signal_seconds}: job {segment.name} has {found.time} and would be "
            f"asked to save its state when it starts; expected more than {SIGNAL_EARLY_SECONDS} seconds less than that"
        )
    return found


def resources_of_a_shard(config: Config, segment: Segment) -> Resources:
    """Return what each task of the array asks for that does the work of a job: one GPU, to load weights."""
    usual = _usual(config.slurm) | {"nodes": 1}
    usual["gpus_per_node"] = min(usual["gpus_per_node"], int(segment.name in ON_GPUS))
    stages = ("evaluate",) if segment.name == BASE else segment.stages
    return _changed(usual, config.slurm, stages, network=segment.name == "label")


def resources_of_the_table(slurm: Slurm) -> Resources:
    """Return what the job asks for that prints a sweep's table."""
    return Resources.model_validate(_usual(slurm) | {"nodes": 1, "gpus_per_node": 0})


def _seconds(time: str) -> int:
    """Return the seconds of a time limit as Slurm writes it: a number alone has minutes."""
    if time.isdecimal():
        return int(time) * 60
    days, _, clock = time.rpartition("-")
    hours, minutes, seconds = map(int, clock.split(":"))
    return (int(days or 0) * 24 + hours) * 3600 + minutes * 60 + seconds


def _usual(slurm: Slurm) -> dict[str, Any]:
    return {name: getattr(slurm, name) for name in Resources.model_fields if name != "nodes"}


def _changed(usual: dict[str, Any], slurm: Slurm, stages: tuple[str, ...], network: bool) -> Resources:
    changes: list[tuple[str, Any]] = [("slurm.network", slurm.network)] if network else []
    changes += [(f"slurm.stages.{name}", each) for name, each in slurm.stages.items() if name in stages]
    found, given = usual, dict[str, str]()
    for key, values in changes:
        found |= values
        given |= {name: f"{key}.{name} = {value}" for name, value in values.items()}
    try:
        return Resources.model_validate(found)
    except ValidationError as error:
        wrong = {str(one["loc"][0]): one["msg"].removeprefix("Input should be ") for one in error.errors()}
        raise ConfigError([f"{given.get(name, name)}: expected {text}" for name, text in wrong.items()]) from error
