"""The exact teacher of the embedded task, with a settable share of wrong diagnoses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

from stat_train.config import ArithmeticTeacher
from stat_train.records import Answer, Diagnosis, Question, QuestionSkills
from stat_train.tasks.arithmetic.checker import failed_skills
from stat_train.tasks.arithmetic.skills import SKILL_NAMES
from stat_train.tasks.arithmetic.world import Chain, rewrite
from stat_train.tasks.steps import split_steps
from stat_train.teacher.contract import Discovery, RewriteRequest, Written
from stat_train.teacher.skill_list import SkillList


class ExactTeacher:
    """Finds the steps that do not follow, and names their skills."""

    can_rewrite = True

    def __init__(self, settings: ArithmeticTeacher) -> None:
        self.settings = settings

    def discover_skills(self, questions: Iterable[Question]) -> Discovery:
        """Return the skills that the questions are made from."""
        return Discovery({"": list(SKILL_NAMES)}, {}, [])

    def required_skills(self, questions: Iterable[Question], known: SkillList) -> Iterator[QuestionSkills]:
        """Yield the skills of each question's chain."""
        for question in questions:
            steps = Chain.parse(question.source or "").steps
            yield QuestionSkills(id=question.id, skills=[name for name, _ in steps])

    def missing_skills(self, answers: Iterable[tuple[Question, Answer]], known: SkillList) -> Iterator[Diagnosis]:
        """Yield the skills whose steps went wrong in each answer."""
        for question, answer in answers:
            failed = failed_skills(question, split_steps(answer.text))
            random = Random(f"{self.settings.sampling_seed}/{question.id}/{answer.attempt}")
            named = list(dict.fromkeys(self._misread(skill, random) for skill in failed))
            yield Diagnosis(
                question_id=question.id,
                attempt=answer.attempt,
                judgement="wrong" if failed or answer.final != question.answer else "correct",
                missing_skills=named,
                explanation=f"steps that do not follow: {', '.join(named)}" if named else "every step follows",
            )

    def rewrite(self, requests: Iterable[RewriteRequest]) -> Iterator[Written]:
        """Yield each solution with every step in other words."""
        for question, sample in requests:
            text = rewrite(str(self.settings.sampling_seed), Chain.parse(question.source or ""), sample)
            yield Written(text, [])

    def _misread(self, skill: str, random: Random) -> str:
        if random.random() >= self.settings.error_rate:
            return skill
        return random.choice([name for name in SKILL_NAMES if name != skill])
