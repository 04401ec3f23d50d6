"""Which launcher starts the jobs of a sweep, and what each job of this machine may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from stat_train.errors import UserError
from stat_train.sweeping import job, launcher
from stat_train.sweeping.launcher import PLUGINS, take_launcher


def test_jobs_run_one_after_the_other_unless_a_launcher_is_named() -> None:
    assert take_launcher(["seed=0,1"]) == (("basic", []), ["seed=0,1"])
    given = ["hydra.launcher.n_jobs=3", "seed=0,1", "hydra/launcher=joblib"]
    found, rest = take_launcher(given)
    assert (found.name, found.at_once, rest) == ("joblib", 3, ["seed=0,1"])


def test_joblib_runs_a_job_for_each_gpu_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "visible_gpus", lambda: ["0", "1", "2", "3"])
    assert take_launcher(["hydra/launcher=joblib"])[0].at_once == 4
    # All cores: nobody shares the GPUs out then.
    assert take_launcher(["hydra/launcher=joblib", "hydra.launcher.n_jobs=-1"])[0].at_once == 0


@pytest.mark.parametrize(("name", "extra"), [("joblib", "sweep"), ("submitit_slurm", "slurm")])
def test_a_launcher_that_is_not_installed_says_how_to_get_it(
    name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PLUGINS, name, ("hydra_plugins.not_there", extra))
    with pytest.raises(UserError, match=rf"{name}: is not installed; pip install 'stat-train\[{extra}\]'"):
        take_launcher([f"hydra/launcher={name}"])


@pytest.mark.parametrize(
    ("gpus", "at_once", "expected"),
    [
        (["0", "1", "2", "3"], 2, ["0,2", "1,3"]),
        (["4", "5"], 3, ["4", "5", "4"]),
        ([], 2, [None, None]),
        (["0", "1"], 1, [None]),
    ],
)
def test_jobs_side_by_side_share_the_gpus(
    gpus: list[str], at_once: int, expected: list[str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each holds its share until it ends, and then the next one has it."""
    monkeypatch.setattr(job, "visible_gpus", lambda: gpus)
    (tmp_path / "launcher").mkdir()
    held = [job.share_of_gpus(tmp_path, at_once) for _ in expected]
    assert [share.__enter__().get("CUDA_VISIBLE_DEVICES") for share in held] == expected
    held[0].__exit__(None, None, None)
    with job.share_of_gpus(tmp_path, at_once) as again:
        assert again.get("CUDA_VISIBLE_DEVICES") == expected[0]
