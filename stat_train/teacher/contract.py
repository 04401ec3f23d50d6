"""What is asked of a teacher."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

from stat_train.config import ArithmeticTeacher, LabelsTeacher
from stat_train.records import Answer, Diagnosis, Dropped, Question, QuestionSkills
from stat_train.teacher.skill_list import SkillList


class RewriteRequest(NamedTuple):
    """One rewrite asked for: `sample` counts the rewrites of the same solution."""

    question: Question
    sample: int


class QuestionRequest(NamedTuple):
    """Two new questions asked for: for which skill (None: like the examples), after which examples.

    `sample` counts the replies to the same request.
    """

    id: str
    skill: str | None
    examples: Sequence[Question]
    sample: int


class NewQuestions(NamedTuple):
    """New questions; none when the teacher gave none that can be used, and then `error` says why."""

    questions: list[str]
    call_ids: list[str]
    error: str | None = None


class SolveRequest(NamedTuple):
    """One solution asked for: `sample` counts the solutions of the same question."""

    id: str
    question: str
    sample: int


class Written(NamedTuple):
    """A text of the teacher's; None when it gave none that can be used, and then `error` says why."""

    text: str | None
    call_ids: list[str]
    error: str | None = None


class Discovery(NamedTuple):
    """A list of skills that was found; what was named freely, by subject and group; what is in no group, and why."""

    skills: dict[str, list[str]]
    groups: dict[str, dict[str, list[str]]]
    left_out: list[Dropped]


class Teacher(Protocol):
    """Names the skills of questions and of failures, and rewrites solutions; replies come in the order asked."""

    can_rewrite: bool
    can_write: bool

    def discover_skills(self, questions: Iterable[Question]) -> Discovery:
        """Return a list of skills for a task that has none, found from some of its questions."""
        ...

    def required_skills(self, questions: Iterable[Question], known: SkillList) -> Iterator[QuestionSkills]:
        """Yield the skills that each question requires; an empty list when the teacher cannot tell."""
        ...

    def missing_skills(self, answers: Iterable[tuple[Question, Answer]], known: SkillList) -> Iterator[Diagnosis]:
        """Yield, for each answer, whether it is right and which skills the student must strengthen."""
        ...

    def rewrite(self, requests: Iterable[RewriteRequest]) -> Iterator[Written]:
        """Yield each question's solution in other words."""
        ...

    def new_question(self, requests: Iterable[QuestionRequest]) -> Iterator[NewQuestions]:
        """Yield two new questions for each request."""
        ...

    def solve(self, requests: Iterable[SolveRequest]) -> Iterator[Written]:
        """Yield a solution for each request."""
        ...


def exact_teacher(settings: ArithmeticTeacher | LabelsTeacher) -> Teacher:
    """Return a teacher that works without a language model."""
    from stat_train.teacher.arithmetic import ExactTeacher
    from stat_train.teacher.labels import LabelReader

    return ExactTeacher(settings) if isinstance(settings, ArithmeticTeacher) else LabelReader()
