"""How much of a stage is done, and how long the rest will take at the rate so far; from the files that it makes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from stat_train.chunks import Chunked
from stat_train.diagnosis.answering import AnswerJob, answers_file
from stat_train.diagnosis.step_rewards import ScoreJob, rewards_file
from stat_train.evaluation.log_probabilities import LogProbabilityJob, log_probabilities_file

JOB_FILE = "job.json"
# Written by a training as it begins to make steps: after which step.
BEGUN = "begun.json"


class Progress(NamedTuple):
    """How many of all units are done; `seconds_left` is None while there is no rate to tell it by."""

    done: int
    total: int
    unit: str
    seconds_left: float | None


class _Mark(NamedTuple):
    """That so many units were done at a time, in seconds of the file system's clock."""

    done: int
    seconds: float


def progress_of(partial: Path) -> Progress | None:
    """Return how far the stage is that is being made in a folder; None where its files do not tell."""
    try:
        text = (partial / JOB_FILE).read_text(encoding="utf-8")
        launched = _Mark(0, (partial / JOB_FILE).stat().st_mtime)
        if (partial / "metrics.jsonl").exists():
            return _of_steps(partial, json.loads(text)["settings"]["epochs"], launched)
        return next((_of_chunks(read(text), launched) for name, read in _CHUNKED if _begun(partial, name)), None)
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        # The stage may end, and its folder be renamed, while it is looked at.
        return None


# -- chunks -----------------------------------------------------------------------------------------------------------


def _begun(partial: Path, name: str) -> bool:
    return (partial / f"{name}.chunks").is_dir()


_CHUNKED: tuple[tuple[str, Callable[[str], Chunked]], ...] = (
    ("answers.jsonl", lambda text: answers_file(AnswerJob.model_validate_json(text))),
    ("step_rewards.jsonl", lambda text: rewards_file(ScoreJob.model_validate_json(text))),
    ("log_probabilities.jsonl", lambda text: log_probabilities_file(LogProbabilityJob.model_validate_json(text))),
)


def _of_chunks(chunked: Chunked, launched: _Mark) -> Progress:
    made = [path.stat().st_mtime for path in chunked.paths() if path.exists()]
    # Those of an earlier launch tell nothing of how fast this one is.
    before = sum(seconds < launched.seconds for seconds in made)
    newest = _Mark(len(made), max(made, default=0.0))
    total = len(chunked.paths())
    return Progress(len(made), total, "chunks", seconds_left(launched._replace(done=before), newest, total))


# -- steps ------------------------------------------------------------------------------------------------------------


def _of_steps(partial: Path, epochs: int, launched: _Mark) -> Progress | None:
    """Return the steps of a training, from the last whole row of its metrics: a step, and the epochs up to it."""
    whole = (partial / "metrics.jsonl").read_bytes().rpartition(b"\n")[0]
    rows = [json.loads(line) for line in whole.splitlines()]
    if not rows:
        return None
    newest = _Mark(rows[-1]["step"], (partial / "metrics.jsonl").stat().st_mtime)
    total = round(newest.done * epochs / rows[-1]["epoch"])
    return Progress(newest.done, total, "steps", seconds_left(_reference(partial, launched), newest, total))


def _reference(partial: Path, launched: _Mark) -> _Mark:
    """Return the step at which this process began, and when it did: after it had loaded the model."""
    begun = partial / "trainer" / BEGUN
    if not begun.is_file() or begun.stat().st_mtime < launched.seconds:
        return launched
    return _Mark(json.loads(begun.read_text(encoding="utf-8"))["step"], begun.stat().st_mtime)


def seconds_left(reference: _Mark, newest: _Mark, total: int) -> float | None:
    """Return how long the rest takes at the rate between two marks; None without steps between, or to come."""
    done, seconds = newest.done - reference.done, newest.seconds - reference.seconds
    if done < 1 or seconds <= 0 or newest.done >= total:
        return None
    return max(0.0, (total - newest.done) * seconds / done - (time.time() - newest.seconds))
