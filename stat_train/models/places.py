"""Where a model is, found without loading it."""

from __future__ import annotations

from pathlib import Path

SHIPPED = {"tiny": Path(__file__).parent / "tiny"}


def model_place(name: str) -> str:
    """Return where a model is: the folder of a shipped one, else the name as given (a folder or a hub name)."""
    return str(SHIPPED.get(name, Path(name).expanduser() if name.startswith((".", "/", "~")) else name))
