"""What is asked of a teacher."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from stat_train.config import ArithmeticTeacher, LabelsTeacher, OpenAITeacher
from stat_train.errors import UserError
from stat_train.records import Answer, Diagnosis, Question, QuestionSkills


class RewriteRequest(NamedTuple):
    """One rewrite asked for: `sample` counts the rewrites of the same solution."""

    question: Question
    sample: int


class Teacher(Protocol):
    """Names the skills of questions and of failures, and rewrites solutions; replies come in the order asked."""

    can_rewrite: bool

    def required_skills(self, questions: Iterable[Question]) -> Iterator[QuestionSkills]:
        """Yield the skills that each question requires; an empty list when the teacher cannot tell."""
        ...

    def missing_skills(self, answers: Iterable[tuple[Question, Answer]]) -> Iterator[Diagnosis]:
        """Yield, for each answer, whether it is right and which skills the student must strengthen."""
        ...

    def rewrite(self, requests: Iterable[RewriteRequest]) -> Iterator[str]:
        """Yield each question's solution in other words."""
        ...


def make_teacher(settings: ArithmeticTeacher | LabelsTeacher | OpenAITeacher) -> Teacher:
    """Return the teacher that the settings name; raises UserError for one that cannot be asked yet."""
    if isinstance(settings, OpenAITeacher):
        raise UserError("teacher = openai: cannot be asked for skills yet; expected arithmetic or labels")
    from stat_train.teacher.arithmetic import ExactTeacher
    from stat_train.teacher.labels import LabelReader

    return ExactTeacher(settings) if isinstance(settings, ArithmeticTeacher) else LabelReader()
