"""Whether answers are right, by the grader that the task names: one interface wherever two answers are compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from stat_train.records import Answer, Grade, Question
from stat_train.tasks.answers import BuiltInGrader, Judgement, compare


class Pair(NamedTuple):
    """Two answers to a question: the one to agree with (the gold one, mostly), and the given one."""

    question: str
    gold: str | None
    given: str | None


class Grader(Protocol):
    """Tells for pairs of answers to a question whether they are the same.

    `reads_text`: an answer that states no final answer is handed over whole; otherwise it counts as none.
    """

    reads_text: bool

    def compare(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """Return the verdict on each pair, in the order given."""
        ...


class PlainGrader:
    """Compares answers in this process: as texts, numbers or choices, which takes no time worth limiting."""

    reads_text = False

    def __init__(self, name: BuiltInGrader) -> None:
        self.name = name

    def compare(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """Return the verdict on each pair, in the order given."""
        return [compare(pair.gold, pair.given, self.name) for pair in pairs]


def grade(questions: Mapping[str, Question], answers: Sequence[Answer], grader: Grader) -> list[Grade]:
    """Return the grade of each answer against its question's gold answer."""
    asked = [questions[answer.question_id] for answer in answers]
    given = [given_answer(answer.final, answer.text, grader) for answer in answers]
    pairs = [Pair(each.question, each.answer, final) for each, final in zip(asked, given, strict=True)]
    return [
        Grade(question_id=answer.question_id, attempt=answer.attempt, verdict=found.verdict, reason=found.reason)
        for answer, found in zip(answers, grader.compare(pairs), strict=True)
    ]


def unscored(grades: Sequence[Grade]) -> list[str]:
    """Return in words how many answers could not be graded, and why; nothing when all could."""
    # What follows a colon and a space is of one answer.
    reasons = Counter((each.reason or "").partition(": ")[0] for each in grades if each.verdict == "unscored")
    if not reasons:
        return []
    words = ", ".join(f"{count:,} x {reason}" for reason, count in reasons.most_common(3))
    return [f"{reasons.total():,} of {len(grades):,} answers are unscored: {words}"]


def given_answer(final: str | None, text: str, grader: Grader) -> str | None:
    """Return what is compared: the final answer; without one the whole text, for a grader that reads it."""
    return final if final is not None or not grader.reads_text else text


def agreements(
    questions: Mapping[str, Question], answers: Mapping[str, Iterable[str]], grader: Grader
) -> dict[str, int]:
    """Return, by question id, how many of a question's answers are the same as its commonest one."""
    groups: dict[str, list[list[str]]] = {id: [] for id in answers}
    waiting = {id: list(given) for id, given in answers.items()}
    while any(waiting.values()):
        # One answer of each question at a time, so that those of all questions are compared together.
        heads = {id: given.pop(0) for id, given in waiting.items() if given}
        _join(heads, groups, questions, grader)
    return {id: max(map(len, found), default=0) for id, found in groups.items()}


def _join(
    heads: Mapping[str, str],
    groups: Mapping[str, list[list[str]]],
    questions: Mapping[str, Question],
    grader: Grader,
) -> None:
    """Put each question's answer into the group of those that are the same, or begin a group with it."""
    known = {id: next((g for g in groups[id] if g[0] == head), None) for id, head in heads.items()}
    places = [(id, group) for id in heads if known[id] is None for group in groups[id]]
    pairs = [Pair(questions[id].question, group[0], heads[id]) for id, group in places]
    for (id, group), found in zip(places, grader.compare(pairs) if pairs else [], strict=True):
        if found.verdict == "correct" and known[id] is None:
            known[id] = group
    for id, head in heads.items():
        if (same := known[id]) is None:
            groups[id].append([head])
        else:
            same.append(head)
