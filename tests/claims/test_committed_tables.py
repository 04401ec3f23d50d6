"""The tables of the repository are those of its raw results."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from stat_train.claims.write import write_tables

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
FOLDERS = sorted({file.parent for file in RESULTS.glob("*/*.json")})


@pytest.mark.slow
@pytest.mark.skipif(not FOLDERS, reason="no sweep's raw results are in benchmarks/results yet")
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_table_is_that_of_its_raw_results(folder: Path, tmp_path: Path) -> None:
    """With the pictures that it shows; their own bytes are another matplotlib's."""
    pytest.importorskip("matplotlib")
    shutil.copytree(folder, tmp_path / folder.name)
    write_tables(tmp_path / folder.name)
    assert (tmp_path / f"{folder.name}.md").read_bytes() == folder.with_name(f"{folder.name}.md").read_bytes()
    shown = {path.name for path in tmp_path.glob("*.svg")}
    assert {path.name for path in RESULTS.glob(f"{folder.name}*.svg")} >= shown
