"""The errors a user can meet, each with the exit code that `stat-train` ends with."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

REGRESSED = 4
STOPPED = 75


class StatTrainError(Exception):
    """A stage could not do its work; the message says what to do about it."""

    exit_code = 1


def stopped(message: str) -> StatTrainError:
    """Return the error of a run that was asked to stop and saved its state: whoever started it may start it again."""
    error = StatTrainError(message)
    error.exit_code = STOPPED
    return error


def regressed(message: str) -> StatTrainError:
    """Return the error of a comparison that found a model worse than what it was compared with."""
    error = StatTrainError(message)
    error.exit_code = REGRESSED
    return error


class UserError(StatTrainError):
    """Something the user gave is wrong: a setting, a file, an argument."""

    exit_code = 2


class ConfigError(UserError):
    """One or more settings are wrong; all of them are listed in one message."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
        super().__init__("\n".join([f"{count} wrong:", *(f"  - {problem}" for problem in problems)]))


class InputError(UserError):
    """A data file cannot be used: absent, unreadable, or with too many bad rows."""


class BudgetReached(StatTrainError):
    """The run may not spend more; what was paid for is kept, and a higher cap goes on from there."""

    exit_code = 3


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return ` Did you mean "X"?` for the nearest known name, or nothing when none is near."""
    near = get_close_matches(given, list(known), n=1, cutoff=0.6)
    return f' Did you mean "{near[0]}"?' if near else ""
