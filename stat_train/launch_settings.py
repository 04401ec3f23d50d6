"""The schema of how runs are started: in rounds, in sweeps, as jobs on a Slurm cluster, beside servers of models.

The defaults and their meaning are in `conf/config.yaml`, `conf/sweep/`, `conf/slurm/` and the choices `served`.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from stat_train.setting_types import Count, Node, Positive, Text, WallTime

Stage = Literal[
    "questions",
    "label",
    "answer",
    "grade",
    "score",
    "diagnose",
    "profile",
    "curate",
    "train",
    "rl",
    "evaluate",
    "report",
]
STAGES: tuple[Stage, ...] = get_args(Stage)
Resource = Literal[
    "partition",
    "account",
    "qos",
    "constraint",
    "time",
    "cpus",
    "memory_gb",
    "nodes",
    "gpus_per_node",
    "container",
    "container_mounts",
    "setup",
    "options",
]
Changes = dict[Resource, Text | int | list[Text] | None]


class Rounds(Node):
    """How often the method is repeated, each time for what the model of the round before cannot do yet."""

    count: Positive
    start: Literal["last", "base"]
    validation: Literal["same", "new"] | Annotated[list[Text], Field(min_length=1)]


class Sweep(Node):
    """The runs of `stat-train -m`: every combination of `params` with an entry of each list of `together`.

    Those of `also` follow, with what `also` leaves open.
    """

    params: dict[Text, Text]
    together: dict[Text, Annotated[list[Annotated[dict[Text, Text], Field(min_length=1)]], Field(min_length=1)]]
    also: list[dict[Text, Text]]
    folder: Text | None
    published: Text | None
    results: Text | None


class Asked(Node):
    """What a job asks the cluster for; None: the cluster's own default."""

    partition: Text | None
    account: Text | None
    qos: Text | None
    constraint: Text | None
    time: WallTime | None
    cpus: Positive
    memory_gb: Positive | None
    gpus_per_node: Count
    container: Text | None
    container_mounts: list[Text]
    setup: list[Text]
    options: list[Text]


class Slurm(Asked):
    """What jobs ask for, and how they go on; `network` changes it for stages that call a server, `stages` for one."""

    signal_seconds: Positive
    requeues: Count
    shards: Positive
    resubmits: Count
    network: Changes
    stages: dict[Stage, Changes]


class Server(Node):
    """A server of a model that the run starts when it asks the model, and stops: on this machine or as a Slurm job."""

    command: Annotated[list[Text], Field(min_length=1)]
    arguments: list[Text | int | float]
    model: Text | None
    host: Text | None
    port: Annotated[int, Field(ge=1, le=65535)] | None
    tensor_parallel_size: Positive
    gpus: Annotated[list[Count | Text], Field(min_length=1)] | None
    start_timeout_seconds: Annotated[float, Field(gt=0)]
    where: Literal["process", "slurm"]
    slurm: Changes
