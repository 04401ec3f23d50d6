"""What is remembered of earlier starts of a run: the id it goes by, and what was sent already."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

from stat_train.config import Config
from stat_train.store import content_hash, write_json

# Where a run's results are and how far it goes does not make it another run.
NOT_OF_A_RUN = ("run_dir", "cache_dir", "until")


class Memory:
    """The file `tracking.json` of a run folder: for each of the settings that it was run with, a random id.

    Equal settings on two machines are two runs; another start in the same folder is the same one. What was sent is kept
    apart by where to, because W&B does not have what TensorBoard has.
    """

    def __init__(self, run_dir: Path, config: Config) -> None:
        self.file = run_dir / "tracking.json"
        self.all: dict[str, Any] = json.loads(self.file.read_text()) if self.file.exists() else {}
        identity = {name: value for name, value in config.identity().items() if name not in NOT_OF_A_RUN}
        self.run = self.all.setdefault(content_hash(identity), {"id": uuid4().hex[:12], "sent": {}})
        write_json(self.file, self.all)

    @property
    def id(self) -> str:
        """Return the id of the run."""
        return str(self.run["id"])

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
