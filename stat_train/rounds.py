"""A run as often as `rounds` says: each round is the method once more, for what the model before cannot do yet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from stat_train import pipeline
from stat_train.compose import Settings


def carry_out(settings: Settings, command: Sequence[str], console: Console) -> Path:
    """Carry out all rounds of a run, as far as `until`; return the run folder."""
    return pipeline.run(settings, command, console)
