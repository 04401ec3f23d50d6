"""Whether answers are right, by the grader that the task names: one interface wherever two answers are compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

from stat_train.records import Answer, Dropped, Grade, Question
from stat_train.tasks.answers import BuiltInGrader, Judgement, compare

K = TypeVar("K")
G = TypeVar("G")


class Pair(NamedTuple):
    """Two answers to a question: the one to agree with (the gold one, mostly; None without one), and the given one."""

    question: str
    gold: str | None
    given: str | None


class Grader(Protocol):
    """Tells for pairs of answers to a question whether they are the same.

    `reads_text`: an answer that states no final answer is handed over whole; otherwise it counts as none.
    `needs_gold`: without a gold answer there is no verdict; otherwise the given one is judged on its own, as a whole.
    """

    reads_text: bool
    needs_gold: bool

    def compare(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """Return the verdict on each pair, in the order given."""
        ...


class PlainGrader:
    """Compares answers in this process: as texts, numbers or choices, which takes no time worth limiting."""

    def __init__(self, name: BuiltInGrader) -> None:
        self.name, self.needs_gold = name, True
        # A letter is often all that is said.
        self.reads_text = name == "choice"

    def compare(self, pairs: Sequence[Pair]) -> list[Judgement]:
        """Return the verdict on each pair, in the order given."""
        return [compare(pair.gold, pair.given, self.name) for pair in pairs]


def grade(questions: Mapping[str, Question], answers: Sequence[Answer], grader: Grader) -> list[Grade]:
    """Return the grade of each answer against its question's gold answer; one that never came is unscored."""
    came = [answer for answer in answers if answer.finish_reason != "error"]
    pairs = [answer_pair(questions[answer.question_id], answer, grader) for answer in came]
    found = {(a.question_id, a.attempt): verdict for a, verdict in zip(came, grader.compare(pairs), strict=True)}
    never = Judgement("unscored", "no answer came")
    every = ((answer, found.get((answer.question_id, answer.attempt), never)) for answer in answers)
    return [
        Grade(question_id=answer.question_id, attempt=answer.attempt, verdict=each.verdict, reason=each.reason)
        for answer, each in every
    ]


def answer_pair(question: Question, answer: Answer, grader: Grader) -> Pair:
    """Return what is compared to grade an answer."""
    if not question.answer and not grader.needs_gold:
        return Pair(question.question, None, answer.text)
    return Pair(question.question, question.answer, given_answer(answer.final, answer.text, grader))


def unscored(grades: Iterable[Grade]) -> list[Dropped]:
    """Return the answers that could not be graded, each with its reason."""
    # What follows a colon and a space is of this answer alone.
    found = ((each, (each.reason or "").partition(": ")) for each in grades if each.verdict == "unscored")
    return [
        Dropped(
            stage="grade",
            id=each.question_id,
            reason=f"unscored, {reason}",
            detail=f"attempt {each.attempt}{colon}{more}",
            item="answer",
        )
        for each, (reason, colon, more) in found
    ]


def given_answer(final: str | None, text: str, grader: Grader) -> str | None:
    """Return what is compared: the final answer; without one the whole text, for a grader that reads it."""
    return final if final is not None or not grader.reads_text else text


def agreements(
    questions: Mapping[str, Question], answers: Mapping[str, Iterable[str]], grader: Grader, enough: int
) -> dict[str, int]:
    """Return, by question id, how many of a question's answers are the same as its commonest one.

    A number that is at least `enough` may be too low: then nothing more is compared.
    """
    # Equal texts take no comparison.
    groups = {id: [[text] * count for text, count in Counter(given).most_common()] for id, given in answers.items()}
    settled: dict[str, list[list[str]]] = {id: [] for id in groups}
    while open_ := [id for id in groups if groups[id] and _largest(settled[id] + groups[id]) < enough]:
        # One answer of each question at a time, so that those of all questions are compared together.
        _join({id: groups[id].pop(0) for id in open_}, settled, questions, grader)
    return {id: _largest(settled[id] + groups[id]) for id in groups}


def same_group(asked: Sequence[tuple[K, G, Pair]], grader: Grader) -> dict[K, G]:
    """Return for each key the first of its groups that says the same; all pairs are compared at once."""
    same: dict[K, G] = {}
    verdicts = grader.compare([pair for _, _, pair in asked]) if asked else []
    for (key, group, _), found in zip(asked, verdicts, strict=True):
        if found.verdict == "correct":
            same.setdefault(key, group)
    return same


def _largest(groups: Iterable[Sequence[str]]) -> int:
    return max(map(len, groups), default=0)


def _join(
    heads: Mapping[str, list[str]],
    settled: Mapping[str, list[list[str]]],
    questions: Mapping[str, Question],
    grader: Grader,
) -> None:
    """Put each question's group of equal texts to the group that says the same, or beside them all."""
    asked = [(id, group, Pair(questions[id].question, group[0], heads[id][0])) for id in heads for group in settled[id]]
    same = same_group(asked, grader)
    for id, head in heads.items():
        if id in same:
            same[id].extend(head)
        else:
            settled[id].append(head)
