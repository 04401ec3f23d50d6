"""What `status` says of real runs while they go, after they ended well or badly, and after they were killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stat_train.cli import main
from stat_train.compose import read_settings
from stat_train.launch_settings import STAGES
from stat_train.run_folder import RUN_MARK
from stat_train.run_state import STATE_FILE, RunState
from stat_train.status.run_status import expected_stages, read_status
from stat_train.store import LEASE_EXPIRES_SECONDS, this_host

ROOT = Path(__file__).parents[2]
SETTINGS = ["task.pool=200", "task.validation=60", "task.benchmark=10", "task.benchmarks=[standard]", "until=profile"]
DONE = ["questions", "label", "answer", "grade", "diagnose", "profile"]
ELSEWHERE = "another pid:[1]"


class Started:
    """A run in a process of its own."""

    def __init__(self, place: Path) -> None:
        self.folder = place / "run"
        places = [f"run_dir={self.folder}", f"cache_dir={place / 'cache'}"]
        command = [sys.executable, "-m", "stat_train.cli", *SETTINGS, *places]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )

    def wait_for(self, stage: str) -> RunState:
        """Return the state of the run as soon as it makes a stage."""
        end = time.monotonic() + 120
        while time.monotonic() < end and self.process.poll() is None:
            if (self.folder / STATE_FILE).exists():
                state = RunState.model_validate_json((self.folder / STATE_FILE).read_text())
                if (state.stage, state.pid) == (stage, self.process.pid):
                    return state
            time.sleep(0.02)
        raise AssertionError(f"the run never came to {stage}: {self.process.communicate()[1].decode()}")

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait()


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["status", *arguments]) == 0
    return capsys.readouterr().out


def lines(text: str) -> dict[str, str]:
    """Return what is said of each stage."""
    rows = [line.split(maxsplit=1) for line in text.splitlines() if line.startswith("  ")]
    return {name: rest for name, rest in rows}


@pytest.mark.slow
def test_a_run_is_followed_killed_ended_and_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = Started(tmp_path)
    state = first.wait_for("answer")
    assert (state.host, state.pid, state.until) == (this_host(), first.process.pid, "profile")
    assert state.partial and Path(state.partial).parent == tmp_path / "cache" / "artifacts"
    running = said(capsys, str(first.folder))
    assert running.startswith(f"{first.folder}: running (until profile; process {first.process.pid} on ")
    assert list(lines(running)) == DONE
    assert [lines(running)[name] for name in DONE[3:]] == ["waiting"] * 3
    assert lines(running)["answer"].startswith("running for ")

    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    lost = said(capsys, str(first.folder))
    assert ": lost" in lost and lines(lost)["answer"] == "lost"
    assert "the run ended without a word (killed?); the same command goes on" in lost

    second = Started(tmp_path)
    second.wait_for("answer")
    assert second.end(signal.SIGTERM) == 143
    (ended,) = json.loads(said(capsys, str(first.folder), "--json"))
    assert (ended["state"], ended["exit_code"], ended["error"]) == ("stopped", 143, "ended by SIGTERM")
    assert [(stage["name"], stage["state"]) for stage in ended["stages"]] == [
        *(("questions", "done before"), ("label", "done before"), ("answer", "stopped")),
        *((name, "waiting") for name in DONE[3:]),
    ]

    third = Started(tmp_path)
    assert third.process.wait() == 0
    done = said(capsys, str(first.folder))
    assert done.startswith(f"{first.folder}: done\n") and list(lines(done)) == DONE
    made = {row["stage"]: row["seconds"] for row in json.loads((first.folder / "manifest.json").read_text())["stages"]}
    assert lines(done) == {name: "done before" for name in DONE[:2]} | {n: f"{made[n]:.1f} s" for n in DONE[2:]}


def test_a_run_that_failed_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The failing stage is named; the reason is that of the command itself."""
    places = [f"run_dir={tmp_path / 'run'}", f"cache_dir={tmp_path / 'cache'}"]
    student = ["student=endpoint", "student.base_url=http://127.0.0.1:9/v1", "student.model=m", "student.max_retries=0"]
    assert main([*SETTINGS, *student, "difficulty=gold", *places]) == 1
    words = capsys.readouterr().err.removeprefix("stat-train: ").strip()
    assert "no reply in 1 tries" in words
    text = said(capsys, str(tmp_path / "run"))
    assert ": failed (" in text and lines(text)["answer"] == "failed"
    assert text.rstrip().endswith(words)
    state = RunState.model_validate_json((tmp_path / "run" / STATE_FILE).read_text())
    assert (state.status, state.exit_code, state.error) == ("failed", 1, words)
    # In a table of several, the first line of it.
    beside = state.model_copy(update={"status": "done", "stage": None, "error": None})
    write_run(tmp_path / "other", beside)
    assert main(["status", str(tmp_path)]) == 2
    assert f"give one or more of {tmp_path}/other, {tmp_path}/run" in capsys.readouterr().err
    table = said(capsys, f"{tmp_path}/other", f"{tmp_path}/run")
    assert [line.split()[:2] for line in table.splitlines()[1:] if line[0] != " "] == [
        ["other", "done"],
        ["run", "failed"],
    ]


def write_run(folder: Path, state: RunState | None, settings: str = "until: profile\n") -> Path:
    """Write a run folder in this state."""
    folder.mkdir()
    (folder / "config.yaml").write_text(RUN_MARK + settings)
    if state:
        (folder / STATE_FILE).write_text(state.model_dump_json())
    return folder


def running(place: Path, host: str = ELSEWHERE, pid: int = 1, silent_seconds: float | None = 0.0) -> RunState:
    """Return the state of a run that makes its answers; its lease was last touched so long ago, None for no lease."""
    partial = place / "answer-0123.partial"
    if silent_seconds is not None:
        lease = partial.with_suffix(".lease")
        lease.write_text(json.dumps({"host": host, "pid": pid}))
        os.utime(lease, (time.time() - silent_seconds,) * 2)
    at = "2026-01-01T00:00:00+00:00"
    return RunState(
        status="running", until="profile", host=host, pid=pid, job=None, started=at, stage="answer", since=at
    ).model_copy(update={"partial": str(partial)})


@pytest.mark.parametrize(
    ("silent_seconds", "expected"), [(0.0, "running"), (LEASE_EXPIRES_SECONDS + 5, "lost"), (None, "running")]
)
def test_a_run_of_another_host_is_known_by_its_heartbeat(
    silent_seconds: float | None, expected: str, tmp_path: Path
) -> None:
    status = read_status(write_run(tmp_path / "run", running(tmp_path, silent_seconds=silent_seconds)))
    assert status.state == expected
    assert ("last sign of life on another was 65 s ago" in status.about) == (expected == "lost")


def test_a_run_that_waits_for_another_says_for_whom(tmp_path: Path) -> None:
    state = running(tmp_path, host="third pid:[1]", pid=77)
    mine = state.model_copy(update={"host": this_host(), "pid": os.getpid()})
    folder = write_run(tmp_path / "run", mine)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    status = read_status(folder)
    # It looks, and leaves no trace.
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert (status.state, status.about) == ("running", "waits for process 77 on third, which makes the same")


def test_the_round_that_was_begun_last_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Round 11 is of an earlier start, of which round 10 is made anew."""
    folder = write_run(tmp_path / "run", None, "until: profile\nrounds: {count: 12}\n")
    done = running(tmp_path).model_copy(update={"status": "done", "stage": None, "partial": None})
    for number in (1, 2, 9, 11):
        write_run(folder / f"round_{number}", done)
    now = running(tmp_path).model_copy(update={"started": "2026-01-02T00:00:00+00:00"})
    write_run(folder / "round_10", now)
    row = {"round": 1, "difficult": 20, "questions": 60, "gain": None}
    (folder / "rounds.json").write_text(json.dumps({"rounds": [row], "ended": "the budget is reached"}))
    told = said(capsys, str(folder))
    assert "round 1: 20 of 60 validation questions difficult\n  the rounds ended: the budget is reached" in told
    assert "round 10 of 12 at most" in said(capsys, str(folder))
    status = read_status(folder)
    assert (status.state, status.round, status.folder) == ("running", 10, folder)


@pytest.mark.parametrize(("count", "round"), [(1, None), (2, 2)])
def test_rounds_of_an_earlier_run_with_more_of_them_are_not_shown(
    count: int, round: int | None, tmp_path: Path
) -> None:
    """Three rounds were begun in the folder, the third last; a run of fewer has taken their place."""
    mine = running(tmp_path) if count == 1 else None
    folder = write_run(tmp_path / "run", mine, f"until: profile\nrounds: {{count: {count}}}\n")
    for number in (1, 2, 3):
        later = {"status": "failed", "started": f"2026-01-0{number}T00:00:00+00:00"}
        write_run(folder / f"round_{number}", running(tmp_path).model_copy(update=later if number == 3 else {}))
    status = read_status(folder)
    assert (status.state, status.round) == ("running", round)


def test_a_round_that_is_done_is_not_the_end(tmp_path: Path) -> None:
    """Its process goes on with the next round, or is gone; the end of all has a manifest of its own."""
    folder = write_run(tmp_path / "run", None, "rounds: {count: 3}\n")
    done = running(tmp_path).model_copy(update={"status": "done", "stage": None, "partial": None})
    write_run(folder / "round_1", done.model_copy(update={"host": this_host(), "pid": os.getpid()}))
    assert read_status(folder)[1:3] == ("running", "is between two rounds")
    gone = subprocess.Popen(["true"])
    gone.wait()
    ended = done.model_copy(update={"host": this_host(), "pid": gone.pid})
    (folder / "round_1" / STATE_FILE).write_text(ended.model_dump_json())
    assert read_status(folder).state == "lost"
    (folder / "manifest.json").write_text("{}")
    assert read_status(folder).state == "done"


def test_the_jobs_of_a_sweep_have_a_line_each_begun_or_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = running(tmp_path).model_copy(update={"status": "done", "stage": None, "partial": None})
    sweep = tmp_path / "sweep"
    (sweep / "jobs").mkdir(parents=True)
    (sweep / "slurm").mkdir()
    (sweep / "slurm" / "jobs.json").write_text("[]")
    write_run(sweep / "a", done)
    for name in "abc":
        (sweep / "jobs" / f"{name}.yaml").write_text("# stat-train\nuntil: profile\n")
    (sweep / "jobs" / "c.json").write_text(json.dumps({"state": "failed", "exit_code": 2, "error": "no such file"}))
    rows = [line.split() for line in said(capsys, str(sweep)).splitlines()[1:]]
    assert rows == [["a", "done"], ["b", "not", "begun", "no", "process", "has", "begun", "it", "yet"], rows[2]]
    assert (rows[2][:2], rows[2][-3:]) == (["c", "failed"], ["no", "such", "file"])


def test_jobs_are_named_though_no_cluster_can_be_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "run" / "slurm").mkdir(parents=True)
    rows = [{"stage": "answer", "job_id": "41", "array": 4, "log": "slurm/answer-%a.out"}]
    (tmp_path / "run" / "slurm" / "jobs.json").write_text(json.dumps(rows))
    text = said(capsys, str(tmp_path / "run"))
    assert "not begun" in text
    assert "job 41 (answer, 4 tasks): no Slurm here that answers, log slurm/answer-%a.out" in text


@pytest.mark.parametrize(
    ("words", "state"),
    [("Unable to contact slurm controller", "running"), ("slurm_load_jobs error: Invalid job id specified", "lost")],
)
def test_a_cluster_that_does_not_answer_has_not_lost_the_job(
    words: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is on another host and has written no heartbeat yet: its job is what tells."""
    for name in ("squeue", "scontrol"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho '{words}' >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    mine = running(tmp_path, silent_seconds=None).model_copy(update={"job": "41"})
    assert read_status(write_run(tmp_path / "run", mine)).state == state


@pytest.mark.parametrize(
    ("own", "next_job", "status", "expected"),
    [
        (
            "COMPLETED",
            "PENDING (Dependency)",
            "done",
            ("waiting", "the run waits for job 42 (profile), which is PENDING"),
        ),
        ("COMPLETED", "CANCELLED", "done", ("lost", "the run has jobs that were to come and are gone")),
        ("COMPLETED", "", "done", ("waiting", "no Slurm here tells")),
        # One that was preempted comes again; what failed does not.
        ("PENDING (BeginTime)", "PENDING (Dependency)", "stopped", ("waiting", "waits for job 41 (answer)")),
        ("FAILED", "PENDING (Dependency)", "failed", ("failed", "no such file")),
    ],
)
def test_a_run_between_two_of_its_jobs_waits(
    own: str,
    next_job: str,
    status: str,
    expected: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each job has settings that go as far as itself; what is to come is of those that were submitted."""
    folder = write_run(tmp_path / "run", None, "until: answer\n")
    error = {"failed": "no such file", "stopped": "stopped, as asked"}.get(status)
    ended = {"status": status, "job": "41", "error": error, "partial": None}
    (folder / STATE_FILE).write_text(running(tmp_path).model_copy(update=ended).model_dump_json())
    (folder / "manifest.json").write_text("{}")
    (folder / "slurm").mkdir()
    (folder / "slurm" / "settings.yaml").write_text("until: profile\n")
    rows = [{"stage": stage, "job_id": id} for stage, id in (("answer", "41"), ("profile", "42"))]
    (folder / "slurm" / "jobs.json").write_text(json.dumps(rows))
    states = {"41": own, "42": next_job or None}
    monkeypatch.setattr("stat_train.status.jobs.job_state", states.__getitem__)
    text = said(capsys, str(folder))
    assert text.startswith(f"{folder}: {expected[0]}") and expected[1] in text
    assert lines(text)["profile"] == "waiting"


@pytest.mark.parametrize(
    ("code", "cluster", "state", "words"),
    [
        ("4", "CANCELLED", "failed", "the run failed at job 41 (label), FAILED, exit code 4: no such module (log "),
        (None, "PENDING (PartitionTimeLimit)", "waiting", "give a smaller slurm.time"),
        (None, "CANCELLED", "stopped", "ended before it was done: job 41 (label), CANCELLED (log "),
    ],
)
def test_a_run_whose_first_job_never_began_it_says_so(
    code: str | None,
    cluster: str,
    state: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where the script came to its end, its exit code is known though the cluster has forgotten the job."""
    folder = write_run(tmp_path / "run", None)
    (folder / "slurm").mkdir()
    (folder / "slurm" / "settings.yaml").write_text("until: profile\n")
    logs = {stage: folder / "slurm" / f"{stage}-{id}.log" for stage, id in (("label", "41"), ("answer", "42"))}
    rows = [{"stage": stage, "job_id": log.stem[-2:], "log": str(log)} for stage, log in logs.items()]
    (folder / "slurm" / "jobs.json").write_text(json.dumps(rows))
    if code:
        logs["label"].write_text("loading\nno such module\n")
        logs["label"].with_suffix(".exit").write_text(f"{code}\n")
    states = {"41": "gone" if code else cluster, "42": cluster}
    monkeypatch.setattr("stat_train.status.jobs.job_state", states.__getitem__)
    text = said(capsys, str(folder))
    assert text.startswith(f"{folder}: {state}") and words in text
    assert "  answer                waiting" in text
    # It was started again without the cluster, and came to its end.
    later = running(tmp_path).model_copy(update={"status": "done", "stage": None, "started": "2999-01-01T00:00:00"})
    (folder / STATE_FILE).write_text(later.model_dump_json())
    assert read_status(folder).state == "done"


def test_an_ended_job_that_the_cluster_has_forgotten_alarms_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor a task of an array that was not needed any more."""
    done = running(tmp_path).model_copy(update={"status": "done", "stage": None, "job": "41", "partial": None})
    folder = write_run(tmp_path / "run", done)
    (folder / "slurm").mkdir()
    rows = [{"stage": "answer", "job_id": "41"}, {"stage": "answer", "job_id": "42", "array": 4}]
    (folder / "slurm" / "jobs.json").write_text(json.dumps(rows))
    monkeypatch.setattr("stat_train.status.jobs.job_state", {"41": "gone", "42": "CANCELLED"}.__getitem__)
    text = said(capsys, str(folder))
    assert text.startswith(f"{folder}: done") and text.count("ended, its stage is done") == 2


def test_what_is_no_run_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "math", None)
    assert main(["status", str(tmp_path / "maths")]) == 2
    assert 'give the run_dir of a run. Did you mean "math"?' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "left_out"),
    [
        ([], {"score", "rl"}),
        (["rl=grpo", "train=none", "difficulty=prm"], {"train"}),
        (["until=score", "difficulty=prm"], set(STAGES[5:])),
        (["student=endpoint", "student.base_url=http://h/v1", "student.model=m", "train=none"], set(STAGES[8:11])),
    ],
)
def test_the_stages_to_come_are_those_of_the_settings(given: list[str], left_out: set[str]) -> None:
    left_out |= set() if "difficulty=prm" in given else {"score"}
    settings = read_settings(given).config.model_dump()
    assert set(expected_stages(settings)) == set(STAGES) - left_out
