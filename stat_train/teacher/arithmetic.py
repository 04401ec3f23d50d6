"""The exact teacher of the embedded task, with a settable share of wrong diagnoses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from random import Random

from stat_train.config import ArithmeticTeacher
from stat_train.records import Answer, Diagnosis, Question, QuestionSkills
from stat_train.tasks.answers import extract_final
from stat_train.tasks.arithmetic import world
from stat_train.tasks.arithmetic.checker import failed_skills
from stat_train.tasks.arithmetic.skills import SKILL_NAMES
from stat_train.tasks.arithmetic.world import Chain, rewrite
from stat_train.tasks.steps import split_steps
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
from stat_train.teacher.skill_list import SkillList


class ExactTeacher:
    """Finds the steps that do not follow, and names their skills."""

    can_rewrite = True
    can_write = True

    def __init__(self, settings: ArithmeticTeacher) -> None:
        self.settings = settings
        # The questions that it wrote itself: it can solve no others.
        self.chains: dict[str, Chain] = {}

    def discover_skills(self, questions: Iterable[Question]) -> Discovery:
        """Return the skills that the questions are made from."""
        return Discovery({"": list(SKILL_NAMES)}, {}, [])

    def required_skills(self, questions: Iterable[Question], known: SkillList) -> Iterator[QuestionSkills]:
        """Yield the skills of each question's chain; none of a question that is of another task."""
        for question in questions:
            steps = Chain.parse(question.source).steps if question.source else ()
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

    def new_question(self, requests: Iterable[QuestionRequest]) -> Iterator[NewQuestions]:
        """Yield two new questions like the examples: each needs the skills of one of them, and the one asked for."""
        for request in requests:
            random = Random(f"{self.settings.sampling_seed}/{request.id}/{request.skill}/{request.sample}")
            yield NewQuestions([self._write(random, request) for _ in range(2)], [])

    def _write(self, random: Random, request: QuestionRequest) -> str:
        needed = list(random.choice(request.examples).skills or []) if request.examples else []
        if request.skill and request.skill not in needed:
            needed = [request.skill]
        return self._asking_for(random, needed)

    def _asking_for(self, random: Random, needed: Sequence[str]) -> str:
        """Return a new question that needs these skills, and remember its chain."""
        chain = world.chain_with(random, needed)
        text = world.ask(random, chain)
        self.chains[text] = chain
        return text

    def solve(self, requests: Iterable[SolveRequest]) -> Iterator[Written]:
        """Yield solutions, of which a share ends in a wrong answer: the question's usual error, or one of its own."""
        for request in requests:
            random = Random(f"{self.settings.sampling_seed}/{request.question}/{request.sample}")
            chain = self.chains[request.question]
            yield Written(world.solve(random, chain, self._error(random, request.sample)), [])

    # -- queries that need several skills ---------------------------------------------------------------------------

    def list_names(self, requests: Iterable[ListRequest]) -> Iterator[Listed]:
        """Yield the one topic that this world has, its skills, and the one type of queries."""
        names = {"topics": ["arithmetic"], "topic_skills": list(SKILL_NAMES), "query_types": ["calculation"]}
        for request in requests:
            yield Listed(names[request.what], [])

    def distinct(self, sets: Iterable[tuple[str, ...]]) -> Iterator[Distinct]:
        """Yield that the skills differ: each is an operation of its own."""
        for _ in sets:
            yield Distinct(True, "each is an operation of its own", [])

    def write_queries(self, requests: Iterable[QueryRequest]) -> Iterator[Query]:
        """Yield a question whose chain needs just these skills, with its solution."""
        for request in requests:
            seed = self.settings.sampling_seed
            random = Random(f"{seed}/{'+'.join(request.skills)}/{request.query_type}/{request.sample}")
            text = self._asking_for(random, request.skills)
            yield Query(Draft(request, text, world.solve(random, self.chains[text])), [])

    def criticise(self, drafts: Iterable[Draft]) -> Iterator[Written]:
        """Yield that every step follows."""
        for _ in drafts:
            yield Written("every step follows", [])

    def improve(self, drafts: Iterable[Draft]) -> Iterator[Written]:
        """Yield the answers as they are: nothing is wrong with them."""
        for draft in drafts:
            yield Written(draft.answer, [])

    def score(self, drafts: Iterable[Draft]) -> Iterator[Score]:
        """Yield the highest score for the right result, and the lowest for any other."""
        for draft in drafts:
            right = extract_final(draft.answer) == str(self.chains[draft.query].values()[-1])
            yield Score(10 if right else 1, "the result is right" if right else "the result is wrong", [])

    def _error(self, random: Random, sample: int) -> int:
        """Return by how much the final answer is wrong; two errors are the same as often as is set."""
        if random.random() >= self.settings.wrong_solution_rate:
            return 0
        # When each makes the usual error with probability s, two of them do with probability s * s.
        usual = random.random() < self.settings.same_error_rate**0.5
        return 1 if usual else 2 + sample

    def _misread(self, skill: str, random: Random) -> str:
        if random.random() >= self.settings.error_rate:
            return skill
        return random.choice([name for name in SKILL_NAMES if name != skill])
