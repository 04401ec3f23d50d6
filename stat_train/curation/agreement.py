"""Which solutions of a new question to trust: those that end in the answer most of them end in.

What agreement cannot catch is an error that most solutions share: a question that is wrong in itself, or one that the
teacher misreads each time. `benchmarks/agreement.py` shows how much is let through when errors are alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from stat_train.tasks.answers import extract_final
from stat_train.tasks.graders import Grader, Pair, given_answer, same_group
from stat_train.teacher.contract import SolveRequest, Written


class Filter(NamedTuple):
    """Up to `solutions` of a question are asked for, `must_agree` have to end alike, `kept` of those are trained on."""

    solutions: int
    must_agree: int
    kept: int


@dataclass
class Solved:
    """A question with its solutions so far, and which of them end alike: places in `solutions`, the first group first.

    A solution that is none, or states no answer, is in no group.
    """

    id: str
    question: str
    solutions: list[Written] = field(default_factory=list)
    groups: list[list[int]] = field(default_factory=list)

    @property
    def largest(self) -> list[int]:
        """The solutions that end in the commonest answer."""
        return max(self.groups, key=len, default=[])

    def wants(self, rule: Filter) -> int:
        """Return how many more solutions to ask for now: none once nothing can change any more."""
        left = rule.solutions - len(self.solutions)
        needed = max(rule.must_agree, rule.kept) if len(self.largest) >= rule.must_agree else rule.must_agree
        hopeless = len(self.largest) + left < rule.must_agree
        return 0 if hopeless else min(left, max(0, needed - len(self.largest)))

    def agreed(self, rule: Filter) -> list[int]:
        """Return the solutions to train on; none when too few agree."""
        return self.largest[: rule.kept] if len(self.largest) >= rule.must_agree else []


def solve(
    questions: Mapping[str, str],
    ask: Callable[[Sequence[SolveRequest]], Iterator[Written]],
    grader: Grader,
    rule: Filter,
) -> list[Solved]:
    """Return each question (by id) with as many solutions as it takes to decide which to trust.

    Solutions are asked for in rounds, those of all questions together: first as many as have to agree, then what an
    undecided question still needs.
    """
    every = [Solved(id, question) for id, question in questions.items()]
    while asked := [(each, each.wants(rule)) for each in every if each.wants(rule)]:
        requests = [
            SolveRequest(each.id, each.question, len(each.solutions) + more)
            for each, count in asked
            for more in range(count)
        ]
        written = ask(requests)
        fresh = [(each, [next(written) for _ in range(count)]) for each, count in asked]
        for place in range(max(count for _, count in asked)):
            # One solution of each question at a time, so that those of all questions are compared together.
            _join([(each, texts[place]) for each, texts in fresh if place < len(texts)], grader)
    return every


def _join(solutions: Sequence[tuple[Solved, Written]], grader: Grader) -> None:
    """Put each solution to those of its question that end alike, or beside them."""
    ends = [_end(written, grader) for _, written in solutions]
    asked = [
        (index, group, Pair(each.question, _end(each.solutions[group[0]], grader), end))
        for index, ((each, _), end) in enumerate(zip(solutions, ends, strict=True))
        for group in (each.groups if end else ())
    ]
    same = same_group(asked, grader)
    for index, (each, written) in enumerate(solutions):
        each.solutions.append(written)
        if index in same:
            same[index].append(len(each.solutions) - 1)
        elif ends[index]:
            each.groups.append([len(each.solutions) - 1])


def _end(written: Written, grader: Grader) -> str | None:
    return given_answer(extract_final(written.text or ""), written.text or "", grader) if written.text else None
