"""Keep a program running for as long as the process that asked for it: `python keeper.py SECONDS PROGRAM ARGUMENT ...`.

The other process holds a pipe to our standard input. When the pipe is closed, on purpose or because that process is
gone, however it went, the program and all that it started are asked to end, and after SECONDS are ended. Its exit code
is ours. A file of its own without imports from the package: it runs in the program's environment, not in the package's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress


def main(seconds: float, command: list[str]) -> int:
    """Run the program until it ends, or our standard input does."""
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    threading.Thread(target=_end_with_parent, args=(program, seconds), daemon=True).start()
    signal.signal(signal.SIGTERM, lambda number, frame: _send(program, signal.SIGTERM))
    code = program.wait()
    # Its workers may outlive it, and keep the GPUs.
    _send(program, signal.SIGKILL)
    return code if code >= 0 else 128 - code


def _end_with_parent(program: subprocess.Popen[bytes], seconds: float) -> None:
    os.read(sys.stdin.fileno(), 1)
    _send(program, signal.SIGTERM)
    # The main thread waits for the program, and ends us when it has ended.
    threading.Event().wait(seconds)
    _send(program, signal.SIGKILL)


def _send(program: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(program.pid, number)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
