"""What a job asks for, as the lines that sbatch reads at the head of a script."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stat_train.errors import UserError


def sbatch_options(asked: Mapping[str, Any]) -> list[str]:
    """Return the options of sbatch for these resources, each as it stands after `#SBATCH`.

    Raises UserError when a value has several lines.
    """
    named = {
        "partition": asked["partition"],
        "account": asked["account"],
        "qos": asked["qos"],
        "constraint": asked["constraint"],
        "time": asked["time"],
        "nodes": asked["nodes"],
        "ntasks-per-node": 1,
        "cpus-per-task": asked["cpus"],
        "mem": f"{asked['memory_gb']}G" if asked["memory_gb"] else None,
        "gpus-per-node": asked["gpus_per_node"] or None,
    }
    return [option(name, value) for name, value in named.items() if value is not None] + [
        quoted(text) for text in asked["options"]
    ]


def option(name: str, value: object) -> str:
    """Return one option of sbatch, quoted as sbatch reads it."""
    return f"--{name}={quoted(str(value))}"


def quoted(text: str) -> str:
    """Return a text quoted for a shell or a line of sbatch options, which must be one line."""
    if any(ord(letter) < 32 for letter in text):
        raise UserError(f"slurm: {text!r} goes into a line of a batch script; expected a text without line breaks")
    return shlex.quote(text)


def in_log_names(place: Path) -> str:
    """Return an absolute path as a part of a log's name, in which % has a meaning to sbatch."""
    return str(place.absolute()).replace("%", "%%")
