"""The cluster that these tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import cannot_start, cluster


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start a real Slurm, and let this process and what it starts speak to it; skips where none can be started."""
    if reason := cannot_start():
        pytest.skip(f"a real Slurm: {reason}")
    with cluster(tmp_path_factory.mktemp("cluster")) as configuration, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(configuration))
        yield configuration
