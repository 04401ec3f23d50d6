"""Models that cannot be loaded: what the user is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stat_train.errors import UserError
from stat_train.models.places import SHIPPED


@pytest.mark.parametrize("part", ["model", "tokenizer"])
def test_an_incomplete_checkpoint_is_refused(tmp_path: Path, part: str) -> None:
    """A folder that was copied in part, or that holds an adapter only."""
    transformers = pytest.importorskip("stat_train.models.transformers")
    for path in SHIPPED["tiny"].iterdir():
        if not path.name.startswith(part):
            shutil.copy(path, tmp_path)
    load = transformers.load_model if part == "model" else transformers.load_tokenizer
    with pytest.raises(UserError, match=r"student\.model = .*: cannot be loaded \(.*Expected a checkpoint folder"):
        load(str(tmp_path), None)
