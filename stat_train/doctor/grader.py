"""Whether the graders that are named can be used: their worker processes start, or the user's function is there."""

from __future__ import annotations

from collections.abc import Iterator

from stat_train.config import Config
from stat_train.doctor.check import Check
from stat_train.errors import UserError
from stat_train.tasks.answer_pool import PooledGrader, grader_function, is_function
from stat_train.tasks.graders import Pair

SECONDS = 30.0
HALF = Pair("?", r"\frac{1}{2}", "0.5")


def grader_checks(config: Config) -> Iterator[Check]:
    """Compare two answers as the run will, by each grader that it has."""
    yield from (_check(name) for name in config.graders())


def _check(name: str) -> Check:
    if is_function(name):
        try:
            grader_function(name)
        except UserError as error:
            return Check("grader", "failed", str(error), "mend the setting that names the grader")
        return Check("grader", "ok", f"{name} is there")
    if name != "math":
        return Check("grader", "ok", f"{name} needs nothing" if name != "judge" else "judge asks the teacher")
    with PooledGrader(name, SECONDS, processes=1) as grader:
        (found,) = grader.compare([HALF])
    if found.verdict == "correct":
        return Check("grader", "ok", "math, in worker processes")
    return Check(
        "grader", "failed", f"math: 1/2 against 0.5 is {found.verdict}: {found.reason}", "reinstall math-verify"
    )
