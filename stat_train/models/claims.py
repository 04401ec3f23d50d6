"""Who makes which call: two processes that want the same reply do not both pay for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4


class Claims:
    """Claims on calls, one symbolic link each, from the call's key to the name of the segment that will hold the reply.

    A link is made whole or not at all on any file system, shared ones included, and carries its text without a file.
    The links lie beside the segments: making one is what tells a network file system to look at the folder anew, so
    whoever gets a claim also sees the segments of those who had it before.
    """

    def __init__(self, folder: Path, owner: str, is_alive: Callable[[str], bool]) -> None:
        self.folder, self.owner, self.is_alive = folder, owner, is_alive
        self.held: set[str] = set()

    def take(self, key: str) -> bool:
        """Try to claim a call; False while a live process has it. What a dead one left is taken over."""
        path = self.folder / f"{key}.claim"
        if not (_link(self.owner, path) or (self._remove_if_left(path) and _link(self.owner, path))):
            return False
        self.held.add(key)
        return True

    def release(self, key: str) -> None:
        """Give a claim up; the reply, if there is one, must be in the ledger by then."""
        if key in self.held:
            self.held.remove(key)
            _remove(self.folder / f"{key}.claim", self.owner)

    def close(self) -> None:
        """Give up all claims, and remove those that killed processes have left."""
        for key in list(self.held):
            self.release(key)
        for path in self.folder.glob("*.claim"):
            self._remove_if_left(path)

    def _remove_if_left(self, path: Path) -> bool:
        """Remove a claim whose holder is gone; False when the holder lives."""
        holder = _holder(path)
        if holder is not None and self.is_alive(holder):
            return False
        if holder is not None:
            _remove(path, holder)
        return True


def _link(owner: str, path: Path) -> bool:
    try:
        os.symlink(owner, path)
    except FileExistsError:
        return False
    return True


def _holder(path: Path) -> str | None:
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return None


def _remove(path: Path, holder: str) -> None:
    """Take away the claim of one holder; one that has become another's meanwhile stays, or is put back."""
    aside = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        if os.readlink(path) != holder:
            return
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if (found := os.readlink(aside)) != holder:
        with suppress(FileExistsError):
            os.symlink(found, path)
    aside.unlink()
