"""What is remembered of earlier starts of a run: the id it goes by, and what was sent already."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from stat_train.config import NOT_OF_A_RUN, Config
from stat_train.store import content_hash, write_json


class Memory:
    """The file `tracking.json` of a run folder: for each of the settings that it was run with, a random id.

    Equal settings on two machines are two runs; another start in the same folder is the same one, as long as each curve
    is the same artifact's. What was sent is kept apart by where to, because W&B does not have what TensorBoard has.
    """

    def __init__(self, run_dir: Path, config: Config) -> None:
        self.file = run_dir / "tracking.json"
        self.all: dict[str, Any] = json.loads(self.file.read_text()) if self.file.exists() else {}
        identity = {name: value for name, value in config.identity().items() if name not in NOT_OF_A_RUN}
        known_by = content_hash(identity)
        self.run = self.all[known_by] = _unknown() | self.all.get(known_by, {})
        write_json(self.file, self.all)

    @property
    def id(self) -> str:
        """Return the id of the run."""
        return str(self.run["id"])

    def told_otherwise(self, artifacts: Mapping[str, str]) -> bool:
        """Tell whether a curve (curve -> artifact) was told of another artifact: an input has changed its content."""
        return any(self.run["artifacts"].get(curve, artifact) != artifact for curve, artifact in artifacts.items())

    def begin_anew(self) -> None:
        """Take it that this is another run, of which nothing is told yet."""
        self.run.update(_unknown())
        write_json(self.file, self.all)

    def remember_curve(self, place: str, curve: str, artifact: str, step: int) -> None:
        """Remember whose steps a curve has, and how many of them this place has."""
        self.run["artifacts"][curve] = artifact
        self.remember(place, artifact, step)

    def sent(self, place: str, name: str) -> Any:
        """Return what was remembered of this place under this name, or None."""
        return self.run["sent"].get(place, {}).get(name)

    def remember(self, place: str, name: str, value: Any) -> None:
        """Remember what this place has now."""
        self.run["sent"].setdefault(place, {})[name] = value
        write_json(self.file, self.all)

    def forget(self, place: str) -> None:
        """Take it that this place has nothing."""
        self.run["sent"].pop(place, None)


def _unknown() -> dict[str, Any]:
    """Return what is remembered of a run of which nobody was told: a new id."""
    return {"id": uuid4().hex[:12], "artifacts": {}, "sent": {}}
