"""Rows of metrics, read while another process writes them: each step once, whatever becomes of the writer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from stat_train.tracking.follow import Follower

# Writes as a training does: from a step on, one line a step, the first part of each a moment before the rest.
WRITER = """
import json, os, sys, time
file, first, last, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
with open(file + ".new", "w") as whole:
    whole.writelines(json.dumps({"step": step, "loss": 1 / step}) + "\\n" for step in range(1, first))
os.replace(file + ".new", file)
with open(file, "a") as rows:
    for step in range(first, last + 1):
        line = json.dumps({"step": step, "loss": 1 / step}) + "\\n"
        for part in (line[:9], line[9:]):
            rows.write(part)
            rows.flush()
            time.sleep(seconds)
"""


def writer(file: Path, first: int, last: int, seconds: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(file), str(first), str(last), str(seconds)])


def steps(follower: Follower, file: Path) -> list[int]:
    return [row["step"] for row in follower.new_rows(file)]


def test_rows_that_another_process_writes_are_given_once_and_whole(tmp_path: Path) -> None:
    file, follower, found, looks = tmp_path / "metrics.jsonl", Follower(0), [], 0
    assert follower.new_rows(file) == []
    process = writer(file, 1, 60, 0.003)
    while process.poll() is None:
        if rows := follower.new_rows(file):
            looks += 1
        found += rows
        time.sleep(0.005)
    found += follower.new_rows(file)
    assert found == [{"step": step, "loss": 1 / step} for step in range(1, 61)]
    assert looks > 3, "the file was read when it was whole, which proves nothing"


def test_half_a_line_is_not_a_row_until_the_rest_is_there(tmp_path: Path) -> None:
    file, follower = tmp_path / "metrics.jsonl", Follower(0)
    file.write_text('{"step": 1}\n{"ste')
    assert steps(follower, file) == [1]
    assert steps(follower, file) == []
    with file.open("a") as rows:
        rows.write('p": 2}\n{"step": 3}')
    assert steps(follower, file) == [2]
    with file.open("a") as rows:
        rows.write("\n")
    assert steps(follower, file) == [3]


def test_a_training_that_was_killed_and_goes_on_from_an_earlier_state_tells_no_step_twice(tmp_path: Path) -> None:
    """Its state was saved at step 10; it was killed further on, and does the steps between again."""
    file, follower, found = tmp_path / "metrics.jsonl", Follower(0), []
    process = writer(file, 1, 1000, 0.002)
    while follower.step < 15:
        found += steps(follower, file)
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    found += steps(follower, file)
    writer(file, 11, 400, 0.0).wait()
    found += steps(follower, file)
    assert found == list(range(1, 401))


def test_a_file_that_takes_the_place_of_another_is_read_from_its_start(tmp_path: Path) -> None:
    """As when the folder of a training is renamed, and the file in it is written anew at the end."""
    partial, whole, follower = tmp_path / "a.partial" / "metrics.jsonl", tmp_path / "a" / "metrics.jsonl", Follower(2)
    partial.parent.mkdir()
    partial.write_text("".join(json.dumps({"step": step}) + "\n" for step in range(1, 5)))
    assert steps(follower, partial) == [3, 4], "steps that were sent before count as given"
    (new := partial.with_name("new")).write_text("".join(json.dumps({"step": step}) + "\n" for step in range(1, 7)))
    os.replace(new, partial)
    os.rename(partial.parent, whole.parent)
    assert steps(follower, partial) == []
    assert steps(follower, whole) == [5, 6]
    assert steps(follower, whole) == []
