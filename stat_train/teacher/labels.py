"""A teacher without a language model, for questions that carry their skills."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stat_train.records import Answer, Diagnosis, Question, QuestionSkills
from stat_train.teacher.contract import (
    Discovery,
    Distinct,
    Draft,
    Listed,
    ListRequest,
    NewQuestions,
    Query,
    QueryRequest,
    QuestionRequest,
    RewriteRequest,
    Score,
    SolveRequest,
    Written,
)
from stat_train.teacher.skill_list import SkillList, labels


class LabelReader:
    """Reads the labels: a question requires what it is labelled with, and a difficult one misses all of it."""

    can_rewrite = False
    can_write = False

    def discover_skills(self, questions: Iterable[Question]) -> Discovery:
        """Return the names that the questions are labelled with."""
        return Discovery(labels(questions), {}, [])

    def required_skills(self, questions: Iterable[Question], known: SkillList) -> Iterator[QuestionSkills]:
        """Yield each question's own labels."""
        for question in questions:
            yield QuestionSkills(id=question.id, skills=question.skills or [])

    def missing_skills(self, answers: Iterable[tuple[Question, Answer]], known: SkillList) -> Iterator[Diagnosis]:
        """Yield each question's own labels as what is missing."""
        for question, answer in answers:
            yield Diagnosis(
                question_id=question.id,
                attempt=answer.attempt,
                judgement="wrong",
                missing_skills=list(dict.fromkeys(question.skills or [])),
                explanation="the skills that the question is labelled with",
            )

    def rewrite(self, requests: Iterable[RewriteRequest]) -> Iterator[Written]:
        """Refuse: labels cannot rewrite; the settings are checked before, so this is never reached by a run."""
        raise TypeError("teacher=labels cannot rewrite solutions")

    def new_question(self, requests: Iterable[QuestionRequest]) -> Iterator[NewQuestions]:
        """Refuse, as for rewrites."""
        raise TypeError("teacher=labels cannot write questions")

    def solve(self, requests: Iterable[SolveRequest]) -> Iterator[Written]:
        """Refuse, as for rewrites."""
        raise TypeError("teacher=labels cannot solve questions")

    def list_names(self, requests: Iterable[ListRequest]) -> Iterator[Listed]:
        """Refuse, as for rewrites."""
        raise TypeError("teacher=labels cannot list skills")

    def distinct(self, sets: Iterable[tuple[str, ...]]) -> Iterator[Distinct]:
        """Refuse, as for rewrites."""
        raise TypeError("teacher=labels cannot compare skills")

    def write_queries(self, requests: Iterable[QueryRequest]) -> Iterator[Query]:
        """Refuse, as for rewrites."""
        raise TypeError("teacher=labels cannot write queries")

    def criticise(self, drafts: Iterable[Draft]) -> Iterator[Written]:
        """Refuse, as for rewrites."""
        raise TypeError("teacher=labels cannot criticise answers")

    def improve(self, drafts: Iterable[Draft]) -> Iterator[Written]:
        """Refuse, as for rewrites."""
        raise TypeError("teacher=labels cannot improve answers")

    def score(self, drafts: Iterable[Draft]) -> Iterator[Score]:
        """Refuse, as for rewrites."""
        raise TypeError("teacher=labels cannot score answers")
