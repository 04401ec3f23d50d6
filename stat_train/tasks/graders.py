"""Whether answers are right, by the grader that the task names: one interface wherever two answers are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from stat_train.records import Answer, Grade, Question
from stat_train.tasks.answers import GraderName, Judgement, compare


class Pair(NamedTuple):
    """Two final answers to a question: the one to agree with (the gold one, mostly), and the given one."""

    question: str
    gold: str | None
    given: str | None


class Grader(Protocol):
    """Tells for pairs of answers to a question whether they are the same."""

    def compare(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """Return the verdict on each pair, in the order given."""
        ...


class LocalGrader:
    """Compares answers in this process."""

    def __init__(self, name: GraderName) -> None:
        self.name = name

    def compare(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """Return the verdict on each pair, in the order given."""
        return [compare(pair.gold, pair.given, self.name) for pair in pairs]


def grade(questions: Mapping[str, Question], answers: Sequence[Answer], grader: Grader) -> list[Grade]:
    """Return the grade of each answer against its question's gold answer."""
    asked = [questions[answer.question_id] for answer in answers]
    pairs = [Pair(q.question, q.answer, answer.final) for q, answer in zip(asked, answers, strict=True)]
    return [
        Grade(question_id=answer.question_id, attempt=answer.attempt, verdict=found.verdict, reason=found.reason)
        for answer, found in zip(answers, grader.compare(pairs), strict=True)
    ]


def agreements(
    questions: Mapping[str, Question], finals: Mapping[str, Iterable[str]], grader: Grader
) -> dict[str, int]:
    """Return, by question id, how many of a question's final answers are the same as its commonest one."""
    groups: dict[str, list[list[str]]] = {id: [] for id in finals}
    waiting = {id: list(given) for id, given in finals.items()}
    while any(waiting.values()):
        # One answer of each question at a time, so that those of all questions are compared together.
        heads = {id: given.pop(0) for id, given in waiting.items() if given}
        places = [(id, group) for id in heads for group in groups[id]]
        pairs = [Pair(questions[id].question, group[0], heads[id]) for id, group in places]
        joined = dict[str, list[str]]()
        for (id, group), pair, found in zip(places, pairs, grader.compare(pairs), strict=True):
            if pair.gold == pair.given or found.verdict == "correct":
                joined.setdefault(id, group)
        for id, head in heads.items():
            if id in joined:
                joined[id].append(head)
            else:
                groups[id].append([head])
    return {id: max(map(len, found), default=0) for id, found in groups.items()}
