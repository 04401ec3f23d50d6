"""Where a model is, found without loading it, and what it is called."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stat_train.store import Artifact

# Students of the embedded task, trained on its mixes a, b and c.
SHIPPED = {name: Path(__file__).parent / name for name in ("tiny", "tiny_b", "tiny_c")}


class Weights(NamedTuple):
    """A model to go on from: where it is, what it is known by, and the training that made it, if one did."""

    place: str
    revision: str | None
    known_by: str
    made: Artifact | None = None


def model_place(name: str) -> str:
    """Return where a model is: the folder of a shipped one, else the name as given (a folder or a hub name)."""
    return str(SHIPPED.get(name, Path(name).expanduser() if name.startswith((".", "/", "~")) else name))


def model_name(place: str) -> str:
    """Return what a model is called: a hub name or a shipped one's, of a folder the last part.

    A checkpoint of ours has the name of the training that made it too: each is in a folder `checkpoint`.
    """
    if shipped := next((name for name, folder in SHIPPED.items() if place in (name, str(folder))), None):
        return shipped
    path = Path(place)
    if "artifacts" in path.parts[:-2]:
        return place.rpartition("artifacts/")[2]
    return path.name if path.is_absolute() or path.is_dir() else place
