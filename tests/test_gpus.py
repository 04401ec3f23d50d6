"""Which GPUs are counted, with a program in the place of nvidia-smi."""

from __future__ import annotations

from pathlib import Path

import pytest

from stat_train.gpus import visible_gpus

TWO = "GPU 0: NVIDIA H100 (UUID: GPU-aa)\nGPU 1: NVIDIA H100 (UUID: GPU-bb)\n"
PARTS = "GPU 0: NVIDIA H100 (UUID: GPU-aa)\n  MIG 1g.10gb Device  0: (UUID: MIG-cc)\n  MIG 1g.10gb Device  1:\n"


@pytest.mark.parametrize(
    ("listed", "given", "expected"),
    [
        (TWO, None, ["0", "1"]),
        (PARTS, None, ["0"]),
        (None, None, []),
        # The driver is installed and finds nothing: it says so, on stdout.
        ("No devices found.\n", None, []),
        ("No devices found.\n", "0,1", []),
        ("No devices found.\n", "GPU-aa", []),
        (TWO, "1", ["1"]),
        (TWO, "1,0", ["1", "0"]),
        (TWO, "0, 1", ["0", "1"]),
        (TWO, "GPU-bb,MIG-dd", ["GPU-bb", "MIG-dd"]),
        (TWO, "", []),
        (TWO, "-1", []),
        (TWO, "1,-1,0", ["1"]),
        (TWO, "0,2,1", ["0"]),
        # Without nvidia-smi, as in some containers, the user's own list is believed.
        (None, "0,1,2", ["0", "1", "2"]),
    ],
)
def test_visible_gpus(
    listed: str | None, given: str | None, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if listed is not None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f'#!/bin/sh\n[ "$1" = -L ] && printf "%s" "{listed}"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == expected
