"""What is asked of a teacher."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

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


class ListRequest(NamedTuple):
    """Names asked for, about so many of them: topics, the skills of one `topic`, or types of queries."""

    what: Literal["topics", "topic_skills", "query_types"]
    number: int
    topic: str = ""


class Listed(NamedTuple):
    """Names that the teacher listed; none when no reply could be used, and then `error` says why."""

    names: list[str]
    call_ids: list[str]
    error: str | None = None


class Distinct(NamedTuple):
    """Whether the skills of a set really differ, and why; None when no reply could be used."""

    distinct: bool | None
    reason: str
    call_ids: list[str]


class QueryRequest(NamedTuple):
    """A query with an answer asked for: which skills it needs, of which type it is (None: of any).

    `sample` counts the queries for the same skills and type.
    """

    id: str
    skills: tuple[str, ...]
    query_type: str | None
    sample: int


class Draft(NamedTuple):
    """A query that was written as asked for, with an answer to it and what was said of that answer so far."""

    asked: QueryRequest
    query: str
    answer: str
    critique: str = ""


class Query(NamedTuple):
    """A query and a first answer to it; None when the teacher gave none that can be used, and `error` says why."""

    draft: Draft | None
    call_ids: list[str]
    error: str | None = None


class Score(NamedTuple):
    """How good an answer is, from 1 to 10, and why; None when no reply could be used."""

    score: int | None
    reason: str
    call_ids: list[str]


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

    def list_names(self, requests: Iterable[ListRequest]) -> Iterator[Listed]:
        """Yield the topics, skills or types of queries that each request asks for."""
        ...

    def distinct(self, sets: Iterable[tuple[str, ...]]) -> Iterator[Distinct]:
        """Yield, for each set of skills, whether they really differ."""
        ...

    def write_queries(self, requests: Iterable[QueryRequest]) -> Iterator[Query]:
        """Yield a query that needs all the skills of each request, with a first answer."""
        ...

    def criticise(self, drafts: Iterable[Draft]) -> Iterator[Written]:
        """Yield what is good and what is bad in each answer."""
        ...

    def improve(self, drafts: Iterable[Draft]) -> Iterator[Written]:
        """Yield a better answer to each query, after what was said of the first."""
        ...

    def score(self, drafts: Iterable[Draft]) -> Iterator[Score]:
        """Yield how good each answer is."""
        ...


def exact_teacher(settings: ArithmeticTeacher | LabelsTeacher) -> Teacher:
    """Return a teacher that works without a language model."""
    from stat_train.teacher.arithmetic import ExactTeacher
    from stat_train.teacher.labels import LabelReader

    return ExactTeacher(settings) if isinstance(settings, ArithmeticTeacher) else LabelReader()
