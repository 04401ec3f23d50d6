"""How a command ends when whoever reads what it says goes away, and when another pipe of its breaks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stat_train.ending import exit_code_of

PRINTS = """
import sys
from stat_train.ending import exit_code_of
sys.exit(exit_code_of(lambda: [print("line") for _ in range(100_000)] and 0))
"""


def test_a_command_whose_reader_has_seen_enough_ends_without_a_word() -> None:
    process = subprocess.Popen([sys.executable, "-c", PRINTS], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout and process.stderr
    process.stdout.readline()
    process.stdout.close()
    # 128 + SIGPIPE, as shells show it.
    assert (process.stderr.read(), process.wait(20)) == (b"", 141)
    process.stderr.close()


def test_a_pipe_to_a_process_that_has_died_is_no_reader_that_has_seen_enough() -> None:
    def work() -> int:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        exit_code_of(work)
