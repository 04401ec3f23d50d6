"""Which of several checkpoints goes on: the one that answers most validation questions right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from stat_train.evaluation.report import percent
from stat_train.evaluation.scores import Scored
from stat_train.evaluation.summary import summarise
from stat_train.evaluation.tables import add_columns, add_row, fit_names, new_table

if TYPE_CHECKING:
    from rich.console import Console

SCORES = ("n", "correct", "unscored", "accuracy", "low", "high")


class Candidate(NamedTuple):
    """A checkpoint of a training: after how many steps, at which learning rate, and where in the training's folder."""

    learning_rate: float
    step: int
    checkpoint: str

    @property
    def name(self) -> str:
        """Return what it is called where it is shown."""
        return f"rate {self.learning_rate:g}, step {self.step:,}"


def choose(graded: Mapping[Candidate, Scored], before: Scored) -> dict[str, Any]:
    """Return the content of `choice.json`: what each candidate scored, in the order given, and which one is chosen.

    `before` is the student as it was, to compare with; it is no candidate. Of those that are right most often it is the
    one of the lowest rate, and then of the fewest steps.
    """
    scores = {candidate: summarise(found) for candidate, found in graded.items()}
    best = min(scores, key=lambda one: (-scores[one]["correct"], one.learning_rate, one.step))
    rows = [
        {"learning_rate": one.learning_rate, "step": one.step, "checkpoint": one.checkpoint}
        | {name: score[name] for name in SCORES}
        | {"chosen": one == best}
        for one, score in scores.items()
    ]
    untrained = summarise(before)
    return {"questions": "validation", "before": {name: untrained[name] for name in SCORES}, "candidates": rows}


def print_choice(choice: Mapping[str, Any], console: Console) -> None:
    """Print what each candidate scored on the validation questions, and which one is taken."""
    table = new_table("checkpoints on the validation questions")
    add_columns(table, "candidate", "questions", "right", "accuracy [95 %]", "")
    for row in (choice["before"], *choice["candidates"]):
        trained = "chosen" in row
        name = Candidate(row["learning_rate"], row["step"], row["checkpoint"]).name if trained else "before training"
        accuracy = percent(row["accuracy"])
        if row["low"] is not None:
            accuracy += f" [{100 * row['low']:.0f}, {100 * row['high']:.0f}]"
        add_row(table, name, str(row["n"]), str(row["correct"]), accuracy, "chosen" if row.get("chosen") else "")
    console.print(fit_names(table, console.width))
