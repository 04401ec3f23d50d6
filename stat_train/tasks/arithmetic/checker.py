"""The exact checker of the embedded task: which steps of an answer are right, and which skills failed."""

from __future__ import annotations

import re

from stat_train.records import Question
from stat_train.tasks.arithmetic.skills import BY_NAME
from stat_train.tasks.arithmetic.world import Chain

_INTEGER = re.compile(r"-?\d+")


def step_values(steps: list[str]) -> list[int | None]:
    """Return the number that each step arrives at: the last one it writes."""
    found = [_INTEGER.findall(step) for step in steps]
    return [int(numbers[-1]) if numbers and len(numbers[-1]) < 19 else None for numbers in found]


def score_steps(question: Question, steps: list[str]) -> list[float]:
    """Return 1.0 for each step that reaches the right number and 0.0 for each that does not.

    A last step that only states the answer is compared with the chain's last number. The last step of an answer with
    fewer steps than the chain must reach that number too: an answer that stops half-way is not a right one.
    """
    expected, values = Chain.parse(question.source or "").values(), step_values(steps)
    targets = expected + [expected[-1]] * max(0, len(steps) - len(expected))
    scores = [float(value == target) for value, target in zip(values, targets, strict=False)]
    return [*scores[:-1], scores[-1] * (values[-1] == expected[-1])] if scores else []


def failed_skills(question: Question, steps: list[str]) -> list[str]:
    """Return the skills that an answer got wrong, given the numbers it had reached itself.

    A step counts as failed when it is absent, or when it does not follow from the number before it. So a wrong number
    carried through correct later steps fails one skill only.
    """
    chain = Chain.parse(question.source or "")
    values = step_values(steps)
    number: int | None = chain.start
    failed: list[str] = []
    for index, (name, operands) in enumerate(chain.steps):
        value = values[index] if index < len(values) else None
        expected = BY_NAME[name].compute(number, operands) if number is not None else None
        if value is None or (expected is not None and value != expected):
            failed.append(name)
        number = value
    return failed
