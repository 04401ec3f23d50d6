"""The teacher that is a language model: prompts from files, asked through a generator, replies read with suspicion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple, TypeVar

from stat_train.config import OpenAITeacher
from stat_train.models.generator import Request, Sampling
from stat_train.records import Answer, Diagnosis, Question, QuestionSkills, Verdict
from stat_train.teacher.asking import Asked, Heard, Key, TeacherGenerator, ask
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
from stat_train.teacher.discovery import Discoverer
from stat_train.teacher.prompt_files import PromptFile, Prompts, code_of, filled
from stat_train.teacher.reply_form import Value, read_reply
from stat_train.teacher.skill_list import SkillList, matched, names_for
from stat_train.teacher.skillmix import (
    critique_request,
    distinct_request,
    improve_request,
    list_request,
    query_request,
    score_request,
)

T = TypeVar("T")

JUDGEMENTS: Mapping[str, Verdict] = {"correct": "correct", "incorrect": "wrong"}


class SkillQuery(NamedTuple):
    """A request whose reply names skills of a list, and what is needed to ask again for names that are in none."""

    asked: Asked[dict[str, Value]]
    prompt: PromptFile
    values: dict[str, str]
    names: list[str]


class SkillReply(NamedTuple):
    """What a reply that names skills says: its parts, names as they are spelled in the list, and those outside it."""

    parts: dict[str, str]
    skills: list[str]
    error: str | None
    call_ids: list[str]


class LanguageModelTeacher:
    """Asks a model what a teacher is asked; `connect` gives the generator that does, when the first question comes."""

    can_rewrite = True
    can_write = True

    def __init__(self, settings: OpenAITeacher, prompts: Prompts, connect: Callable[[], TeacherGenerator]) -> None:
        self.settings, self.prompts, self.connect = settings, prompts, connect
        self.judging = Sampling(settings.temperature, settings.max_new_tokens)
        self.writing = Sampling(settings.writing_temperature, settings.max_new_tokens)

    @cached_property
    def generator(self) -> TeacherGenerator:
        """What asks the model."""
        return self.connect()

    def discover_skills(self, questions: Iterable[Question]) -> Discovery:
        """Return a list of skills, named freely for each question and grouped by subject."""
        discoverer = Discoverer(self.generator, self.prompts, self.judging, self.settings.skills_per_subject)
        return discoverer.discover(questions)

    def required_skills(self, questions: Iterable[Question], known: SkillList) -> Iterator[QuestionSkills]:
        """Yield the skills of the list that each question requires, with the reason; none, and why, without a reply."""
        asked = list(questions)
        replies = self._named((label_query(self.prompts, self.judging, each, known) for each in asked), "Labelling")
        for question in asked:
            reply = replies[question.id, 0]
            yield QuestionSkills(
                id=question.id,
                skills=reply.skills,
                reason=reply.parts.get("reason"),
                call_ids=reply.call_ids,
                error=reply.error,
            )

    def missing_skills(self, answers: Iterable[tuple[Question, Answer]], known: SkillList) -> Iterator[Diagnosis]:
        """Yield what each answer shows; `unscored`, and why, without a usable reply. A right answer misses no skill."""
        pairs = list(answers)
        queries = (diagnosis_query(self.prompts, self.judging, question, answer, known) for question, answer in pairs)
        replies = self._named(queries, "Diagnosing")
        for question, answer in pairs:
            reply = replies[question.id, answer.attempt]
            judgement = JUDGEMENTS.get(reply.parts.get("judgement", ""), "unscored")
            yield Diagnosis(
                question_id=question.id,
                attempt=answer.attempt,
                judgement=judgement,
                missing_skills=reply.skills if judgement == "wrong" else [],
                explanation=reply.error or reply.parts["explanation"],
                call_ids=reply.call_ids,
            )

    def rewrite(self, requests: Iterable[RewriteRequest]) -> Iterator[Written]:
        """Yield each question's solution in other words; None, and why, when no reply could be used."""
        wanted = list(requests)
        asked = (rewrite_request(self.prompts, self.writing, each) for each in wanted)
        yield from self._written(asked, [(each.question.id, each.sample) for each in wanted], "Rewriting")

    def solve(self, requests: Iterable[SolveRequest]) -> Iterator[Written]:
        """Yield a solution for each request, in the order asked."""
        wanted = list(requests)
        asked = (solve_request(self.prompts, self.writing, each) for each in wanted)
        yield from self._written(asked, [(each.id, each.sample) for each in wanted], "Solving")

    def new_question(self, requests: Iterable[QuestionRequest]) -> Iterator[NewQuestions]:
        """Yield two new questions for each request, in the order asked."""
        wanted = list(requests)
        asked = (new_question_request(self.prompts, self.writing, each) for each in wanted)
        heard = ask(self.generator, asked, "Writing questions")
        for request in wanted:
            found = heard[request.id, request.sample]
            yield NewQuestions(found.value or [], found.call_ids, found.error)

    def list_names(self, requests: Iterable[ListRequest]) -> Iterator[Listed]:
        """Yield the names that each request asks for; none, and why, when no reply could be used."""
        for heard in self._heard([list_request(self.prompts, self.judging, each) for each in requests], "Listing"):
            yield Listed(heard.value or [], heard.call_ids, heard.error)

    def distinct(self, sets: Iterable[tuple[str, ...]]) -> Iterator[Distinct]:
        """Yield whether the skills of each set really differ."""
        asked = [distinct_request(self.prompts, self.judging, skills) for skills in sets]
        for heard in self._heard(asked, "Comparing skills"):
            distinct, reason = heard.value or (None, heard.error or "")
            yield Distinct(distinct, reason, heard.call_ids)

    def write_queries(self, requests: Iterable[QueryRequest]) -> Iterator[Query]:
        """Yield a query with a first answer for each request."""
        asked = [query_request(self.prompts, self.writing, each) for each in requests]
        for heard in self._heard(asked, "Writing queries"):
            yield Query(heard.value, heard.call_ids, heard.error)

    def criticise(self, drafts: Iterable[Draft]) -> Iterator[Written]:
        """Yield what is good and what is bad in each answer, as the one who asked sees it."""
        asked = [critique_request(self.prompts, self.judging, draft) for draft in drafts]
        for heard in self._heard(asked, "Criticising"):
            yield Written(heard.value, heard.call_ids, heard.error)

    def improve(self, drafts: Iterable[Draft]) -> Iterator[Written]:
        """Yield a better answer for each draft, after its critique."""
        asked = [improve_request(self.prompts, self.writing, draft) for draft in drafts]
        for heard in self._heard(asked, "Improving"):
            yield Written(heard.value, heard.call_ids, heard.error)

    def score(self, drafts: Iterable[Draft]) -> Iterator[Score]:
        """Yield how good each answer is, from 1 to 10."""
        for heard in self._heard([score_request(self.prompts, self.judging, draft) for draft in drafts], "Scoring"):
            score, reason = heard.value or (None, heard.error or "")
            yield Score(score, reason, heard.call_ids)

    def _heard(self, asked: Sequence[Asked[T]], what: str) -> Iterator[Heard[T]]:
        """Yield what was heard, in the order asked; nobody is connected to when nothing is asked."""
        heard = ask(self.generator, asked, what) if asked else {}
        yield from (heard[each.key] for each in asked)

    def _written(self, requests: Iterable[Request], keys: Sequence[Key], what: str) -> Iterator[Written]:
        heard = ask(self.generator, (Asked(request, str.strip) for request in requests), what)
        for key in keys:
            yield Written(heard[key].value, heard[key].call_ids, heard[key].error)

    def _named(self, queries: Iterable[SkillQuery], what: str) -> dict[Key, SkillReply]:
        """Return the replies by (id, sample); where one names a skill outside the list it is asked once more."""
        by_key = {query.asked.key: query for query in queries}
        if not by_key:
            return {}
        heard = ask(self.generator, (query.asked for query in by_key.values()), what)
        outside = {key: found for key, one in heard.items() if (found := _outside(one, by_key[key].names))}
        again = (_again(by_key[key], heard[key].text, names) for key, names in outside.items())
        second = ask(self.generator, again, f"{what} again") if outside else {}
        return {key: _skill_reply(one, second.get(key), by_key[key].names) for key, one in heard.items()}


# -- what is asked; the plan of a run renders the same requests -------------------------------------------------------


def label_query(prompts: Prompts, sampling: Sampling, question: Question, known: SkillList) -> SkillQuery:
    """Return what is asked to label a question."""
    names = names_for(known, question.subject)
    values = {"skills": "\n".join(names), "question": question.question}
    return _skill_query(prompts["required_skills"], question.id, values, sampling, 0, names)


def diagnosis_query(
    prompts: Prompts, sampling: Sampling, question: Question, answer: Answer, known: SkillList
) -> SkillQuery:
    """Return what is asked to find the skills that are missing in an answer."""
    names = names_for(known, question.subject)
    values = {"skills": "\n".join(names), "question": question.question, "answer": answer.text}
    return _skill_query(prompts["missing_skills"], question.id, values, sampling, answer.attempt, names)


def rewrite_request(prompts: Prompts, sampling: Sampling, wanted: RewriteRequest) -> Request:
    """Return what is asked to write a solution in other words."""
    question = wanted.question
    values = {"question": question.question, "solution": question.solution or ""}
    return prompts["rewrite"].request(question.id, values, sampling, wanted.sample)


def solve_request(prompts: Prompts, sampling: Sampling, wanted: SolveRequest) -> Request:
    """Return what is asked to solve a question."""
    return prompts["solve"].request(wanted.id, {"question": wanted.question}, sampling, wanted.sample)


def _skill_query(
    prompt: PromptFile, id: str, values: dict[str, str], sampling: Sampling, sample: int, names: list[str]
) -> SkillQuery:
    request = prompt.request(id, values, sampling, sample, names)
    return SkillQuery(Asked(request, _reader(prompt, values)), prompt, values, names)


def _reader(prompt: PromptFile, values: dict[str, str]) -> Callable[[str], dict[str, Value] | None]:
    code, quoted = code_of(values), values.get("answer", "")
    return lambda text: read_reply(text, prompt.reply, code, quoted)


def new_question_request(prompts: Prompts, sampling: Sampling, wanted: QuestionRequest) -> Asked[list[str]]:
    """Return what is asked to write two new questions, for a skill or after examples alone."""
    prompt = prompts["new_question" if wanted.skill else "similar_question"]
    examples = (f"Question: {each.question}\nSolution: {each.solution or ''}" for each in wanted.examples)
    values = {"examples": "\n\n".join(examples) or "(none is known)"} | (
        {"skill": wanted.skill} if wanted.skill else {}
    )

    def read(text: str) -> list[str] | None:
        reply = read_reply(text, prompt.reply, code_of(values))
        return [str(reply["first_question"]), str(reply["second_question"])] if reply else None

    return Asked(prompt.request(wanted.id, values, sampling, wanted.sample), read)


def _again(query: SkillQuery, reply: str, outside: Sequence[str]) -> Asked[dict[str, Value]]:
    """Return the request that repeats the list, after a reply that names a skill outside it."""
    request = query.asked.request
    values = query.values | {"outside": ", ".join(outside)}
    more = filled(query.prompt.again or "", values, code_of(query.values))
    said = [{"role": "assistant", "content": reply}, {"role": "user", "content": more}]
    return Asked(request._replace(messages=[*request.messages, *said]), query.asked.read)


# -- what is heard ----------------------------------------------------------------------------------------------------


def _outside(heard: Heard[dict[str, Value]], names: Sequence[str]) -> list[str]:
    """Return the names outside the list that are worth asking about: not those of an answer that is right."""
    if not heard.value or heard.value.get("judgement") == "correct":
        return []
    return matched(heard.value["skills"], names).outside


def _skill_reply(
    first: Heard[dict[str, Value]], second: Heard[dict[str, Value]] | None, names: Sequence[str]
) -> SkillReply:
    """Return what was said, the second time if that could be read; names outside the list stand behind the others."""
    last = second if second and second.value else first
    call_ids = first.call_ids + (second.call_ids if second else [])
    if last.value is None:
        return SkillReply({}, [], last.error, call_ids)
    parts = {name: value for name, value in last.value.items() if isinstance(value, str)}
    found = matched(last.value["skills"], names)
    return SkillReply(parts, [*found.inside, *found.outside], None, call_ids)
