"""Which of several checkpoints goes on."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from stat_train.evaluation.choice import Candidate, choose, print_choice
from stat_train.evaluation.scores import Scored, scored
from stat_train.records import Grade, Question, Verdict

QUESTIONS = [Question(id=f"q{index}", question="?") for index in range(4)]
VERDICTS: dict[str, Verdict] = {"+": "correct", "-": "wrong", "?": "unscored"}


def graded(marks: str) -> Scored:
    """Return four questions with one mark each: + right, - wrong, ? unscored."""
    verdicts = [VERDICTS[mark] for mark in marks]
    pairs = zip(QUESTIONS, verdicts, strict=True)
    grades = [Grade(question_id=each.id, attempt=0, verdict=verdict) for each, verdict in pairs]
    return scored(QUESTIONS, grades)


def chosen(marks: dict[tuple[float, int], str]) -> tuple[float, int]:
    """Return rate and step of the one that is chosen."""
    made = {Candidate(*which, f"step-{which[1]}"): graded(each) for which, each in marks.items()}
    choice = choose(made, before=graded("----"))
    (row,) = (row for row in choice["candidates"] if row["chosen"])
    return row["learning_rate"], row["step"]


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ({(1e-4, 8): "+---", (2e-4, 8): "++--"}, (2e-4, 8)),
        # Equally often right: the lower rate, and then the earlier checkpoint, whichever comes first.
        ({(2e-4, 4): "++--", (1e-4, 8): "--++", (1e-4, 4): "+-+-"}, (1e-4, 4)),
        # Right is what counts, not the share of those that could be scored: 1 of 1 is no better than 2 of 4.
        ({(1e-4, 8): "+???", (2e-4, 8): "++--"}, (2e-4, 8)),
    ],
)
def test_the_candidate_with_the_most_right_answers_is_chosen(
    marks: dict[tuple[float, int], str], expected: tuple[float, int]
) -> None:
    assert chosen(marks) == expected


def test_each_candidate_is_told_with_what_it_scored() -> None:
    """3 of 4 and 1 of 3 right; the exact 95 % interval of 3 of 4 is 19.4 to 99.4 %."""
    made = {Candidate(1e-4, 8, "checkpoint"): graded("+++-"), Candidate(2e-4, 8, "checkpoint"): graded("+--?")}
    found = choose(made, before=graded("++--"))
    first, second = found["candidates"]
    assert (first["n"], first["correct"], first["accuracy"], first["chosen"]) == (4, 3, 0.75, True)
    assert (first["low"], first["high"]) == (pytest.approx(0.194, abs=5e-4), pytest.approx(0.994, abs=5e-4))
    assert (second["correct"], second["unscored"], second["chosen"]) == (1, 1, False)
    print_choice(found, Console(file=(output := StringIO()), width=90, color_system=None))
    lines = [" ".join(line.split()) for line in output.getvalue().splitlines()]
    assert "rate 0.0001, step 8 4 3 75.0 % [19, 99] chosen" in lines
    assert any(line.startswith("before training 4 2 50.0 %") and "chosen" not in line for line in lines)
