"""What the script of a job does when it is asked to end, by a user or by Slurm: run by bash, without a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from stat_train.compose import changed, read_settings, saved_settings
from stat_train.errors import UserError
from stat_train.run_folder import RUN_MARK
from stat_train.slurm import table, work
from stat_train.slurm.graph import NamedRun, jobs_of_runs
from stat_train.slurm.render import job_script
from stat_train.store import write_json
from stat_train.training.world import JOB_OF

# What stands for the run: it waits to be asked to stop, saves its state and ends with the exit code of that.
UNTIL_ASKED = """
import sys, time
from pathlib import Path
print("started", flush=True)
while not Path(sys.argv[1]).exists():
    time.sleep(0.01)
print("STOP reads", Path(sys.argv[1]).read_text().strip() or "nothing")
sys.exit(75)
"""
# Ends the script that asks, as the cluster does.
SCONTROL = """#!/usr/bin/env bash
echo "scontrol $*"
kill -KILL $PPID
"""


class Script:
    """The script of a job that waits to be asked to stop, in a folder whose name needs quotes."""

    def __init__(self, place: Path, *settings: str) -> None:
        self.folder = place / "it's a run"
        self.stop, self.log = self.folder / "STOP", place / "log"
        self.folder.mkdir()
        given = changed(read_settings(["until=label", *settings]), run_dir=str(self.folder))
        (job,) = jobs_of_runs([NamedRun("r", given)]).jobs
        self.file = place / "job.sbatch"
        self.file.write_text(job_script(job, place, ["-c", UNTIL_ASKED, str(self.stop)]))
        (place / "scontrol").write_text(SCONTROL)
        (place / "scontrol").chmod(0o755)

    def start(self, **variables: str) -> subprocess.Popen[bytes]:
        """Start it as job 7, and return when the run is under way."""
        path = f"{self.file.parent}:{os.environ['PATH']}"
        with self.log.open("wb") as words:
            process = subprocess.Popen(
                ["bash", str(self.file)],
                stdout=words,
                stderr=words,
                env=os.environ | {"PATH": path, "SLURM_JOB_ID": "7"} | variables,
            )
        while process.poll() is None and "started" not in self.log.read_text():
            pass
        return process


def test_near_its_end_a_job_asks_itself_to_stop_and_goes_back_into_the_queue(tmp_path: Path) -> None:
    script = Script(tmp_path)
    process = script.start()
    process.send_signal(signal.SIGUSR1)
    process.wait(20)
    assert script.log.read_text().split("\n") == ["started", "STOP reads 7", "scontrol requeue 7", ""]
    assert not script.stop.exists(), "it would stop the job when it is started again"


def test_what_a_user_asks_stays_and_ends_the_job(tmp_path: Path) -> None:
    script = Script(tmp_path)
    process = script.start()
    script.stop.touch()
    assert process.wait(20) == 75
    assert script.log.read_text() == "started\nSTOP reads nothing\n"
    assert script.stop.exists(), "the jobs after it are to see it"


@pytest.mark.parametrize(("asked_by", "stays"), [("7", False), ("8", True), ("", True)])
def test_a_job_that_is_started_again_takes_away_what_it_asked_itself(
    asked_by: str, stays: bool, tmp_path: Path
) -> None:
    """Slurm has ended it by SIGTERM for another job, and its script with it."""
    script = Script(tmp_path)
    script.stop.write_text(f"{asked_by}\n")
    process = script.start()
    assert script.stop.exists() == stays
    process.terminate()
    assert process.wait(20) in (75, 143)


def test_a_job_that_gets_no_further_comes_to_an_end(tmp_path: Path) -> None:
    script = Script(tmp_path, "slurm.requeues=3")
    process = script.start(SLURM_RESTART_COUNT="3")
    process.send_signal(signal.SIGUSR1)
    assert process.wait(20) == 75
    assert "not done after 3 starts again (slurm.requeues)" in script.log.read_text()
    assert "scontrol" not in script.log.read_text()


# -- a user's STOP in a chain of jobs ---------------------------------------------------------------------------------


def submitted(place: Path, *settings: str) -> Path:
    """Return the folder of a small run that was submitted with these settings."""
    size = ["task.pool=40", "task.validation=5", "task.benchmark=5"]
    run = place / "run"
    given = changed(read_settings([*size, *settings]), run_dir=str(run), cache_dir=str(place / "cache"))
    (run / work.FOLDER).mkdir(parents=True)
    (run / "config.yaml").write_text(RUN_MARK)
    (run / work.FOLDER / work.SETTINGS_FILE).write_text(given.yaml)
    write_json(run / work.FOLDER / work.COMMAND_FILE, ["stat-train"])
    return run


def test_a_stop_file_that_was_put_there_before_a_job_started_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(JOB_OF, "")
    run = submitted(tmp_path)
    (run / "STOP").touch()
    assert work.main([str(run), "label", "label", "1"]) == 75
    assert "stopped before stage questions, as asked" in capsys.readouterr().err
    assert (run / "STOP").exists()


def test_the_first_of_several_rounds_is_published_under_its_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when one process carries out all of them."""
    monkeypatch.setenv(JOB_OF, "")
    several = submitted(tmp_path, "rounds=2", "push_to_hub=lab/rows")
    assert work.main([str(several), "label", "label", "1"]) == 0
    assert saved_settings((several / "config.yaml").read_text()).config.push_to_hub == "lab/rows-round_1"


# -- how long a job has -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "signal_seconds", "fits"),
    [
        ("00:06:01", 300, True),
        ("00:06:00", 300, False),
        ("6", 300, False),
        ("7", 300, True),
        ("1-00:00:00", 86_339, True),
        ("1-00:00:00", 86_340, False),
    ],
)
def test_a_job_has_more_time_than_it_is_told_of_its_end_before(time: str, signal_seconds: int, fits: bool) -> None:
    """Or Slurm would send the signal when the job starts, again and again."""
    given = read_settings(["until=label", f"slurm.time='{time}'", f"slurm.signal_seconds={signal_seconds}"])
    if fits:
        assert jobs_of_runs([NamedRun("r", given)]).jobs[0].resources.time == time
    else:
        with pytest.raises(UserError, match=rf"slurm\.signal_seconds = {signal_seconds}: job label has {time} and"):
            jobs_of_runs([NamedRun("r", given)])


# -- why a run failed -------------------------------------------------------------------------------------------------


def test_a_script_writes_down_how_it_ended_and_the_table_names_the_job_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not the last one that said something: that one went well."""
    monkeypatch.setattr("stat_train.status.jobs.job_state", lambda job_id: "gone")
    script = Script(tmp_path, 'slurm.setup=["echo no such module; exit 4"]')
    script.start().wait(20)
    assert (tmp_path / "label-7.exit").read_text() == "4\n"
    run = submitted(tmp_path)
    logs = {stage: run / work.FOLDER / f"{stage}-{id}.log" for stage, id in (("label", 7), ("profile", 8))}
    logs["label"].write_text("no such module\n")
    logs["label"].with_suffix(".exit").write_text("4\n")
    logs["profile"].write_text("Done\n")
    logs["profile"].with_suffix(".exit").write_text("0\n")
    rows = [{"stage": stage, "job_id": log.stem[-1], "log": str(log)} for stage, log in logs.items()]
    write_json(run / work.FOLDER / work.JOBS_FILE, rows)
    found = table.SweepTable(
        runs={"run": str(run)}, overrides={"run": []}, over_seeds=False, with_seed=[], published=None, results=None
    )
    table.write_table(tmp_path, found)
    assert table.main([str(tmp_path)]) == 1
    reason = f"run  failed: job 7 (label), FAILED, exit code 4: no such module (log {logs['label']})"
    assert reason in capsys.readouterr().out
