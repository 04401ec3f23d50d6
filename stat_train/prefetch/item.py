"""One thing that a run takes from elsewhere, and whether it is here now."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["here", "fetched", "local", "failed"]


class Item(NamedTuple):
    """What the setting `key` names; `local` is the user's own file, `here` was fetched before. `why` it failed."""

    key: str
    name: str
    kind: Literal["model", "questions", "harness task"]
    state: State
    where: str = ""
    size_bytes: int | None = None
    why: str = ""
