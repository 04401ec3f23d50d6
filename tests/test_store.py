"""Artifacts, leases and run folders, with real processes where it is about processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stat_train import store
from stat_train.counts import Count, Counts
from stat_train.errors import StatTrainError, UserError
from stat_train.records import Dropped, QuestionSkills
from stat_train.run_folder import RUN_MARK, RunFolder
from stat_train.store import Artifact, chunk_seed, file_hash, lease, make, make_folder

REPOSITORY = Path(__file__).parents[1]
# Linux gives no process this number.
ABSENT = 2**22 + 1
# Makes one artifact: notes its build in the log, then builds until the gate file is there.
MAKER = """
import sys, time
from pathlib import Path
from stat_train.store import make

cache, log, gate = map(Path, sys.argv[1:])

def build(folder):
    with log.open("a") as lines:
        lines.write("build\\n")
    while not gate.exists():
        time.sleep(0.01)
    (folder / "out.txt").write_text("made")
    return {}

artifact = make(cache, "label", 1, [], {}, build)
print("reused" if artifact.reused else "made", (artifact.folder / "out.txt").read_text())
"""


def row(number: int) -> QuestionSkills:
    return QuestionSkills(id=str(number), skills=["addition"])


def writes(log: list[str], word: str = "content") -> Callable[[Path], Counts]:
    """Return a build that notes itself in the log and writes one file."""

    def build(folder: Path) -> Counts:
        log.append(folder.name)
        (folder / "out.txt").write_text(word)
        return {}

    return build


def temporaries(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*")]


def wait_until(condition: Callable[[], Any], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.01)


# -- artifacts --------------------------------------------------------------------------------------------------------


def test_make_builds_once_and_then_reuses(tmp_path: Path) -> None:
    log: list[str] = []
    first = make(tmp_path, "label", 1, [], {"teacher": "exact"}, writes(log))
    second = make(tmp_path, "label", 1, [], {"teacher": "exact"}, writes(log, "never written"))
    assert log == [f"{first.name}.partial"]
    assert (first.reused, second.reused) == (False, True)
    assert second.folder == first.folder == tmp_path / "artifacts" / first.name
    assert (second.folder / "out.txt").read_text() == "content"
    assert second.seconds == first.seconds
    assert sorted(path.name for path in first.folder.parent.iterdir()) == [first.name]


def test_hash_covers_stage_version_inputs_and_identity_and_nothing_else(tmp_path: Path) -> None:
    log: list[str] = []
    other = make(tmp_path, "questions", 1, [], {}, writes(log))
    base: tuple[Any, ...] = ("label", 1, [], {"a": 1, "b": 2})
    variants: list[tuple[Any, ...]] = [
        base,
        ("grade", 1, [], {"a": 1, "b": 2}),
        ("label", 2, [], {"a": 1, "b": 2}),
        ("label", 1, [other], {"a": 1, "b": 2}),
        ("label", 1, [], {"a": 1, "b": 3}),
    ]
    hashes = [make(tmp_path, *variant, writes(log)).hash for variant in variants]
    assert len(set(hashes)) == len(variants)
    # The order of the settings is no identity, nor where the cache is.
    assert make(tmp_path / "elsewhere", "label", 1, [], {"b": 2, "a": 1}, writes(log)).hash == hashes[0]


def test_hash_depends_on_the_inputs_of_the_inputs(tmp_path: Path) -> None:
    def chain(seed: int) -> Artifact:
        questions = make(tmp_path, "questions", 1, [], {"seed": seed}, writes([]))
        skill_map = make(tmp_path, "label", 1, [questions], {}, writes([]))
        return make(tmp_path, "curate", 1, [skill_map], {}, writes([]))

    assert chain(0).hash == chain(0).hash
    assert chain(0).hash != chain(1).hash


def test_interrupted_build_keeps_its_partial_folder_and_goes_on_in_it(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "first.txt").write_text("kept")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, "label", 1, [], {}, fails)
    (partial,) = (tmp_path / "artifacts").iterdir()
    assert partial.suffix == ".partial"
    assert (partial / "first.txt").read_text() == "kept"

    found: list[str] = []

    def goes_on(folder: Path) -> Counts:
        found.extend(path.name for path in folder.iterdir())
        return {}

    artifact = make(tmp_path, "label", 1, [], {}, goes_on)
    assert found == ["first.txt"]
    assert not artifact.reused
    assert (artifact.folder / "first.txt").read_text() == "kept"
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == [artifact.name]


def test_half_written_files_of_a_killed_process_do_not_get_into_the_artifact(tmp_path: Path) -> None:
    """A stage that reads all files of a folder, such as the benchmarks', would take one for a result."""
    script = """
import os, signal, sys
from pathlib import Path
from stat_train.store import make, write_text

def build(folder):
    (folder / "benchmarks").mkdir(exist_ok=True)
    os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    write_text(folder / "benchmarks" / "standard.jsonl", "row")

make(Path(sys.argv[1]), "questions", 1, [], {}, build)
"""
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=REPOSITORY)
    assert killed.returncode == -9
    (partial,) = (tmp_path / "artifacts").glob("*.partial")
    assert len(temporaries(partial)) == 1

    def build(folder: Path) -> Counts:
        store.write_text(folder / "benchmarks" / "standard.jsonl", "row")
        return {}

    artifact = make(tmp_path, "questions", 1, [], {}, build)
    assert [path.name for path in (artifact.folder / "benchmarks").iterdir()] == ["standard.jsonl"]


def test_lease_of_a_process_that_was_killed_right_after_it_finished_is_cleared_away(tmp_path: Path) -> None:
    artifact = make(tmp_path, "label", 1, [], {}, writes([]))
    left = artifact.folder.with_name(artifact.name + ".lease")
    left.write_text(holder_text())
    assert make(tmp_path, "label", 1, [], {}, writes([])).reused
    assert not left.exists()


# -- chunks and files -------------------------------------------------------------------------------------------------


def test_chunk_seeds_are_fixed_distinct_and_fit_a_generator() -> None:
    """The first value is the first 31 bits of blake2b (4 bytes) of "0/answer/0", worked out with coreutils b2sum."""
    assert chunk_seed(0, "answer", 0) == 0x00DA9258 >> 1
    seeds = {
        chunk_seed(seed, stage, index)
        for seed in range(3)
        for stage in ("answer", "benchmark")
        for index in range(100)
    }  # fmt: skip
    assert len(seeds) == 600
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_write_that_fails_leaves_the_old_file_whole(tmp_path: Path) -> None:
    def rows() -> Iterator[QuestionSkills]:
        yield row(1)
        raise ValueError("teacher is gone")

    path = tmp_path / "rows.jsonl"
    store.write_records(path, [row(0)])
    with pytest.raises(ValueError, match="teacher is gone"):
        store.write_records(path, rows())
    assert path.read_text() == row(0).to_line()
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_write_that_is_killed_leaves_the_old_file_whole(tmp_path: Path) -> None:
    """32 MiB are written over a small file and killed on the way: readers see the old file or the new one."""
    script = """
import sys
from pathlib import Path
from stat_train.store import write_text

text = "x" * 2**25
print("ready", flush=True)
while True:
    write_text(Path(sys.argv[1]), text)
"""
    path = tmp_path / "file.txt"
    path.write_text("old")
    with subprocess.Popen([sys.executable, "-c", script, str(path)], cwd=REPOSITORY, stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        writer.stdout.readline()
        wait_until(lambda: any(path.stat().st_size for path in tmp_path.glob(".*")))
        writer.kill()
    assert path.stat().st_size in (len("old"), 2**25)


def test_file_hash_reads_a_file_once_and_notices_a_change(tmp_path: Path) -> None:
    path, cache = tmp_path / "weights", tmp_path / "cache"
    path.write_text("one")
    first = file_hash(path, cache)
    # Were it read again, these other bytes of the same size and time would give another hash.
    state = path.stat()
    path.write_text("two")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert file_hash(path, cache) == first
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    second = file_hash(path, cache)
    assert second != first
    path.write_text("longer")
    assert file_hash(path, cache) not in (first, second)
    assert file_hash(path, tmp_path / "another cache") == file_hash(path, cache)


def test_file_hash_of_a_folder_covers_names_and_contents_but_not_its_place(tmp_path: Path) -> None:
    def folder(name: str, files: dict[str, str]) -> str:
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(text)
        return file_hash(tmp_path / name, tmp_path / "cache")

    first = folder("first", {"config.json": "{}", "weights": "w"})
    assert folder("same elsewhere", {"weights": "w", "config.json": "{}"}) == first
    assert folder("other name", {"config.json": "{}", "weights2": "w"}) != first
    assert folder("other content", {"config.json": "{ }", "weights": "w"}) != first
    assert folder("one more", {"config.json": "{}", "weights": "w", "more": ""}) != first


# -- leases -----------------------------------------------------------------------------------------------------------


def holder_text(host: str | None = None, pid: int | None = None) -> str:
    return json.dumps({"host": host or store.this_host(), "pid": pid or os.getpid(), "job": None, "id": "0" * 32})


def start_maker(tmp_path: Path) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", MAKER, *(str(tmp_path / name) for name in ("cache", "log", "gate"))]
    return subprocess.Popen(arguments, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


def builds(tmp_path: Path) -> int:
    log = tmp_path / "log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def leases(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache" / "artifacts").glob("*.lease"))


def test_processes_that_make_the_same_artifact_build_it_once(tmp_path: Path) -> None:
    makers = [start_maker(tmp_path) for _ in range(3)]
    wait_until(lambda: builds(tmp_path))
    time.sleep(0.7)
    assert [maker.poll() for maker in makers] == [None] * 3, "the live holder is waited for"
    (tmp_path / "gate").touch()
    words = sorted(maker.communicate(timeout=20)[0].strip() for maker in makers)
    assert words == ["made made", "reused made", "reused made"]
    assert builds(tmp_path) == 1
    assert [path.suffix for path in (tmp_path / "cache" / "artifacts").iterdir()] == [""]


@pytest.mark.parametrize("reaped", [True, False])
def test_lease_of_a_dead_process_is_taken_over_at_once(tmp_path: Path, reaped: bool) -> None:
    """Far below the minute after which a silent holder loses it; unreaped as under a container without init."""
    dead = start_maker(tmp_path)
    wait_until(lambda: builds(tmp_path))
    dead.kill()
    if reaped:
        dead.wait()
    (tmp_path / "gate").touch()
    assert len(leases(tmp_path)) == 1
    started = time.monotonic()
    words, _ = start_maker(tmp_path).communicate(timeout=20)
    assert words.strip() == "made made"
    assert time.monotonic() - started < 10
    assert builds(tmp_path) == 2
    assert not leases(tmp_path)
    dead.communicate()


def test_waiting_process_takes_over_when_the_holder_is_killed(tmp_path: Path) -> None:
    holder = start_maker(tmp_path)
    wait_until(lambda: builds(tmp_path))
    waiting = start_maker(tmp_path)
    time.sleep(0.7)
    assert builds(tmp_path) == 1
    holder.kill()
    holder.communicate()
    wait_until(lambda: builds(tmp_path) == 2)
    (tmp_path / "gate").touch()
    assert waiting.communicate(timeout=20)[0].strip() == "made made"


@pytest.mark.parametrize("clock_ahead", [-10_000, 0, 10_000])
@pytest.mark.parametrize("host", ["another-host", f"{socket.gethostname()} pid:[1]"])
def test_lease_of_another_host_expires_by_our_own_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, clock_ahead: int
) -> None:
    """The file's time stamp is the other host's or the server's, so only whether it changes counts.

    A container of the same name is another host: that no process of ours has the holder's number says nothing.
    """
    monkeypatch.setattr(store, "LEASE_EXPIRES_SECONDS", 0.6)
    path = tmp_path / "label.lease"
    path.write_text(holder_text(host, ABSENT))
    os.utime(path, (time.time() + clock_ahead,) * 2)
    started = time.monotonic()
    with lease(path):
        assert 0.6 <= time.monotonic() - started < 5
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_lease_that_is_touched_does_not_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "LEASE_EXPIRES_SECONDS", 0.6)
    path = tmp_path / "label.lease"
    path.write_text(holder_text("another-host", 1))
    stop, touched = threading.Event(), [0.0]

    def touch() -> None:
        while not stop.wait(0.1):
            os.utime(path)
            touched[0] = time.monotonic()

    beat = threading.Thread(target=touch)
    beat.start()
    threading.Timer(2.0, stop.set).start()
    started = time.monotonic()
    with lease(path):
        taken = time.monotonic()
    beat.join()
    assert taken - started >= 2.0
    # The waiter looks every 0.2 s, so it may see the last touch that late, and no earlier than it happened.
    assert taken - touched[0] >= 0.6 - 0.2


def test_holder_touches_its_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "HEARTBEAT_SECONDS", 0.05)
    path = tmp_path / "label.lease"
    with lease(path):
        os.utime(path, (1, 1))
        wait_until(lambda: path.stat().st_mtime > 1, seconds=5)


def test_lease_is_given_back_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError), lease(tmp_path / "label.lease"):
        raise ValueError
    assert not list(tmp_path.iterdir())


def test_holder_that_lost_its_lease_leaves_the_new_holder_s_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder can be suspended for more than a minute; what it finds then is another's."""
    monkeypatch.setattr(store, "HEARTBEAT_SECONDS", 0.05)
    path, other = tmp_path / "label.lease", holder_text("another-host", 1)
    with lease(path):
        path.unlink()
        path.write_text(other)
        os.utime(path, (1, 1))
        time.sleep(0.3)
        assert path.stat().st_mtime == 1
    assert path.read_text() == other
    assert [path.name for path in tmp_path.iterdir()] == ["label.lease"]


def test_a_process_that_lost_its_lease_does_not_call_its_work_done(tmp_path: Path) -> None:
    """Another is at work on the same folder then; it finishes what is there."""

    def suspended(folder: Path) -> Counts:
        path = folder.with_name(folder.name.replace(".partial", ".lease"))
        path.unlink()
        path.write_text(holder_text("another-host", 1))
        return {}

    with pytest.raises(StatTrainError, match=r"another process took over label-\w+"):
        make(tmp_path, "label", 1, [], {}, suspended)
    (partial,) = (tmp_path / "artifacts").glob("label-*.partial")
    assert not partial.with_suffix("").exists()
    assert not (partial / "manifest.json").exists()


def test_lease_that_changed_hands_meanwhile_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes see the same dead holder; the slower one must not take the quicker one's lease away."""
    path, dead, quicker = tmp_path / "label.lease", holder_text(pid=ABSENT), holder_text("another-host", 1)
    rename = os.rename

    def take_in_the_last_moment(source: Path, target: Path) -> None:
        path.write_text(quicker)
        monkeypatch.setattr(os, "rename", rename)
        rename(source, target)

    monkeypatch.setattr(store, "LEASE_EXPIRES_SECONDS", 0.6)
    monkeypatch.setattr(os, "rename", take_in_the_last_moment)
    path.write_text(dead)
    started = time.monotonic()
    with lease(path):
        # The dead one's is free at once; the quicker one's, put back, had to expire first.
        assert time.monotonic() - started >= 0.6
    assert not list(tmp_path.iterdir())


# -- the run folder ---------------------------------------------------------------------------------------------------


def dropping(reason: str) -> Callable[[Path], Counts]:
    def build(folder: Path) -> Counts:
        (folder / "out.txt").write_text(reason)
        store.write_records(folder / "dropped.jsonl", [Dropped(stage=reason, id="1", reason=reason)])
        return {"question": Count(3, 2)}

    return build


def test_run_folder_links_are_relative_and_survive_moving_everything(tmp_path: Path) -> None:
    artifact = make(tmp_path / "runs" / "cache", "label", 1, [], {}, writes([]))
    run = RunFolder(tmp_path / "runs" / "first")
    run.open("seed: 0\n")
    run.add(artifact, ["out.txt"])
    link = run.folder / "out.txt"
    assert os.readlink(link) == f"../cache/artifacts/{artifact.name}/out.txt"
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert (tmp_path / "moved" / "first" / "out.txt").read_text() == "content"
    assert (tmp_path / "moved" / "first" / "config.yaml").read_text() == RUN_MARK + "seed: 0\n"


def test_link_is_replaced_without_a_moment_of_absence(tmp_path: Path) -> None:
    """A reader that looks all the time sees the one or the other."""
    old, new = (make(tmp_path / "cache", "label", 1, [], {"n": n}, writes([], word)) for n, word in enumerate("on"))
    run = RunFolder(tmp_path / "run")
    run.open("seed: 0\n")
    run.add(old, ["out.txt"])
    stop, seen = threading.Event(), set()

    def look() -> None:
        while not stop.is_set():
            seen.add((run.folder / "out.txt").read_text())

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(200):
        run.link("out.txt", new.folder / "out.txt")
        run.link("out.txt", old.folder / "out.txt")
    stop.set()
    reader.join()
    run.link("out.txt", new.folder / "out.txt")
    assert seen == {"o", "n"}
    assert (run.folder / "out.txt").read_text() == "n"
    assert not temporaries(run.folder)


def test_link_to_an_artifact_that_was_deleted_is_replaced(tmp_path: Path) -> None:
    artifact = make(tmp_path / "cache", "label", 1, [], {}, writes([]))
    run = RunFolder(tmp_path / "run")
    run.open("seed: 0\n")
    (run.folder / "out.txt").symlink_to("nowhere")
    run.add(artifact, ["out.txt"])
    assert (run.folder / "out.txt").read_text() == "content"


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_real_file_in_the_way_is_the_user_s_to_move(tmp_path: Path, kind: str) -> None:
    artifact = make(tmp_path / "cache", "label", 1, [], {}, writes([]))
    run = RunFolder(tmp_path / "run")
    run.open("seed: 0\n")
    place = run.folder / "out.txt"
    place.write_text("mine") if kind == "file" else place.mkdir()
    with pytest.raises(UserError, match=r"out\.txt is in the way"):
        run.add(artifact, ["out.txt"])
    assert place.read_text() == "mine" if kind == "file" else place.is_dir()


def test_run_dir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(UserError, match="cannot be made"):
        RunFolder(tmp_path / "run").open("")


def test_a_run_folder_shows_nothing_that_other_settings_led_to(tmp_path: Path) -> None:
    """Or `compare` would take the old accuracy for the new settings'."""
    run = RunFolder(tmp_path / "run")
    run.open("seed: 0\n")
    run.add(make(tmp_path / "cache", "label", 1, [], {}, writes([])), ["out.txt"])
    run.close([])
    (run.folder / "notes.txt").write_text("mine")
    again = RunFolder(tmp_path / "run")
    again.open("seed: 1\n")
    assert {path.name for path in again.folder.iterdir()} == {"config.yaml", "notes.txt"}
    assert "seed: 1" in (again.folder / "config.yaml").read_text()


@pytest.mark.parametrize("name", ["thesis.tex", "config.yaml"])
def test_a_folder_that_is_no_run_s_is_left_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine: true\n")
    with pytest.raises(UserError, match=rf"run_dir = .*: holds {name} and is no run's folder"):
        RunFolder(tmp_path).open("seed: 0\n")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine: true\n"]


@pytest.mark.parametrize("place", ["file/below", "/proc/run"])
def test_a_place_that_cannot_hold_a_folder_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"cache_dir = .*: cannot be made"):
        make_folder(tmp_path / place, "cache_dir")


def test_dropped_jsonl_gathers_all_stages_and_the_manifest_counts_them(tmp_path: Path) -> None:
    stages = {"questions": "bad row", "label": "no skill", "train": "too long"}
    run = RunFolder(tmp_path / "run")
    run.open("seed: 0\n")
    for stage, reason in stages.items():
        run.add(make(tmp_path / "cache", stage, 1, [], {}, dropping(reason)), [])
    run.add(make(tmp_path / "cache", "report", 1, [], {}, writes([])), [])
    run.close(["stat-train", "seed=0"])
    rows = store.read_records(run.folder / "dropped.jsonl", Dropped)
    assert [row.reason for row in rows] == list(stages.values())
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert manifest["command"] == ["stat-train", "seed=0"]
    counted = [{"question": {"total": 3, "kept": 2, "dropped": {reason: 1}}} for reason in stages.values()]
    assert [stage["counts"] for stage in manifest["stages"]] == [*counted, {}]
    assert [stage["artifact"] for stage in manifest["stages"]] == [artifact.name for artifact in run.made]
