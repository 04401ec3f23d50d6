"""Kills processes of a run at one exact moment; Python loads this file at the start of each that has it on its path.

STAT_TRAIN_KILL is JSON: {"stage": NAME, "at": WHEN, "file": PATTERN, "count": N, "victims": WHO}. At the N-th time that
a file whose name fits PATTERN is written in the stage's partial folder,
  half    half of it is written,
  before  it is not yet renamed into place (the stage's folder itself included),
  after   it was just renamed into place,
  removed it was just removed,
and then `orchestrator` (the stage goes on), `stage` (the orchestrator goes on) or `all` are killed with SIGKILL.
Only functions of Python's library, torch and safetensors are wrapped, nothing of the product.
"""

from __future__ import annotations

import builtins
import io
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

IS_STAGE = "stat_train.stage" in sys.orig_argv
TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{32}")


class Moment(NamedTuple):
    """When to kill whom; `seen` counts the times that fitted."""

    stage: str
    at: str
    file: str
    count: int
    victims: str
    seen: list[str]

    def has_come(self, at: str, path: Any, name: str) -> bool:
        """Tell whether what happens now to a file in `path` is what was waited for."""
        inside = any(re.fullmatch(rf"{self.stage}-[0-9a-f]{{16}}\.partial", part) for part in Path(path).parts)
        if at != self.at or not inside or not fnmatch(name, self.file):
            return False
        self.seen.append(name)
        return len(self.seen) == self.count

    def kill(self) -> None:
        """Kill the victims; returns when this process is not among them."""
        orchestrator = os.getppid() if IS_STAGE else os.getpid()
        if self.victims in ("orchestrator", "all"):
            os.kill(orchestrator, signal.SIGKILL)
        if self.victims in ("stage", "all"):
            os.kill(os.getpid(), signal.SIGKILL)


def wrap_write_text(moment: Moment) -> None:
    write_text = Path.write_text

    def half(self: Path, data: str, *arguments: Any, **options: Any) -> int:
        temporary = TEMPORARY.fullmatch(self.name)
        if moment.has_come("half", self, temporary[1] if temporary else self.name):
            write_text(self, data[: len(data) // 2], *arguments, **options)
            moment.kill()
        return write_text(self, data, *arguments, **options)

    Path.write_text = half  # type: ignore[assignment]


def wrap_open(moment: Moment) -> None:
    open_file = builtins.open

    def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        stream = open_file(file, mode, *arguments, **options)
        if mode == "w" and isinstance(file, str | Path) and moment.has_come("half", file, Path(file).name):
            write = stream.write

            def half(text: str) -> None:
                write(text[: len(text) // 2])
                stream.flush()
                moment.kill()

            stream.write = half
        return stream

    builtins.open = opened


def wrap_renaming(moment: Moment, name: str) -> None:
    rename: Callable[..., None] = getattr(os, name)

    def renamed(source: Any, target: Any, **options: Any) -> None:
        # The stage's own folder loses `.partial` by its renaming, so the source says where it happens.
        if moment.has_come("before", source, Path(target).name):
            moment.kill()
        rename(source, target, **options)
        if moment.has_come("after", source, Path(target).name):
            moment.kill()

    setattr(os, name, renamed)


def wrap_removing(moment: Moment) -> None:
    unlink = os.unlink

    def removed(path: Any, *, dir_fd: int | None = None) -> None:
        folder = Path(path).parent if dir_fd is None else Path(os.readlink(f"/proc/self/fd/{dir_fd}"))
        unlink(path, dir_fd=dir_fd)
        if moment.has_come("removed", folder, Path(path).name):
            moment.kill()

    os.unlink = removed  # type: ignore[assignment]


def wrap_tensors(moment: Moment) -> None:
    import safetensors.torch
    import torch

    save, save_file = torch.save, safetensors.torch.save_file

    def half_save(value: Any, file: Any, *arguments: Any, **options: Any) -> None:
        if isinstance(file, str | Path) and moment.has_come("half", file, Path(file).name):
            whole = io.BytesIO()
            save(value, whole, *arguments, **options)
            _write_half(file, whole.getvalue())
            moment.kill()
        save(value, file, *arguments, **options)

    def half_save_file(tensors: Any, filename: Any, metadata: Any = None) -> None:
        if moment.has_come("half", filename, Path(filename).name):
            _write_half(filename, safetensors.torch.save(tensors, metadata))
            moment.kill()
        save_file(tensors, filename, metadata)

    torch.save, safetensors.torch.save_file = half_save, half_save_file


def _write_half(path: Any, whole: bytes) -> None:
    Path(path).write_bytes(whole[: len(whole) // 2])


if given := os.environ.get("STAT_TRAIN_KILL"):
    wanted = Moment(**json.loads(given), seen=[])
    wrap_write_text(wanted)
    wrap_open(wanted)
    wrap_renaming(wanted, "rename")
    wrap_renaming(wanted, "replace")
    wrap_removing(wanted)
    if IS_STAGE and wanted.stage in ("train", "rl"):
        wrap_tensors(wanted)
