"""How a command ends: what went wrong is said in one line, and the exit code tells what it was."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from types import FrameType

from stat_train.errors import StatTrainError

INTERRUPTED = 130


def exit_code_of(work: Callable[[], int]) -> int:
    """Return the exit code of the work; errors that a user can meet are said, and SIGTERM ends it as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _end_by_signal)
    try:
        code = work()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        if not _is_closed(sys.stdout.fileno()):
            # Another pipe than the output's, such as that of a process that has died.
            raise
        # Whoever reads what is printed, such as `head`, has seen enough; Python would complain of the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except StatTrainError as error:
        print(f"stat-train: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nstat-train: interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED


def _is_closed(pipe: int) -> bool:
    """Tell whether nobody reads a pipe any more."""
    looked = select.poll()
    looked.register(pipe, 0)
    return any(event & select.POLLERR for _, event in looked.poll(0))


def _end_by_signal(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
