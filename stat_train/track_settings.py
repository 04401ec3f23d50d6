"""The schema of tracking: who is told how a run goes while it does. It never changes what a run makes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stat_train.setting_types import OPERATIONAL, Node, Text


class NoTracking(Node):
    """Nobody is told; the run folder has the curves all the same."""

    name: Annotated[Literal["none"], OPERATIONAL]


class WandbTracking(Node):
    """Weights & Biases: online where a key is known, else offline, to be sent later."""

    name: Annotated[Literal["wandb"], OPERATIONAL]
    project: Annotated[Text, OPERATIONAL]
    entity: Annotated[Text | None, OPERATIONAL]
    group: Annotated[Text | None, OPERATIONAL]
    run_name: Annotated[Text | None, OPERATIONAL]
    tags: Annotated[list[Text], OPERATIONAL]
    mode: Annotated[Literal["auto", "online", "offline"], OPERATIONAL]
    connect_timeout_seconds: Annotated[float, Field(gt=0), OPERATIONAL]
    finish_timeout_seconds: Annotated[float, Field(gt=0), OPERATIONAL]


class TensorboardTracking(Node):
    """TensorBoard: event files in a folder of the run's own below `folder`."""

    name: Annotated[Literal["tensorboard"], OPERATIONAL]
    folder: Annotated[Text | None, OPERATIONAL]


Tracking = Annotated[NoTracking | WandbTracking | TensorboardTracking, Field(discriminator="name")]
