"""What a language model is asked for Instruct-SkillMix (arXiv 2408.14774): skills, queries that need several, answers.

A query, its answer, what is wrong with that answer, and a better one are the turns of one conversation. The better
answer is then scored in a conversation of its own, so that nobody judges what it has just defended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from stat_train.models.generator import Request, Sampling
from stat_train.records import Message
from stat_train.teacher.asking import Asked
from stat_train.teacher.contract import Draft, ListRequest, QueryRequest
from stat_train.teacher.prompt_files import PromptFile, Prompts, code_of
from stat_train.teacher.reply_form import Value, read_reply

T = TypeVar("T")
Reply = dict[str, Value]

ANY_TYPE = "any"
# The prompt files that a training set of queries depends on.
TURNS = ("write_query", "criticise_answer", "improve_answer")
PROMPTS = ("list_topics", "list_topic_skills", "list_query_types", "distinct_skills", *TURNS, "score_answer")


def list_request(prompts: Prompts, sampling: Sampling, wanted: ListRequest) -> Asked[list[str]]:
    """Return what is asked to list topics, the skills of a topic, or types of queries."""
    prompt = prompts[f"list_{wanted.what}"]
    values = {"number": str(wanted.number)} | ({"topic": wanted.topic} if wanted.what == "topic_skills" else {})
    request = prompt.request(f"{wanted.what}/{wanted.topic}", values, sampling)
    # A reply that lists nothing is none.
    return Asked(request, _reader(prompt, values, lambda reply: list(reply["names"]) or None))


def distinct_request(prompts: Prompts, sampling: Sampling, skills: Sequence[str]) -> Asked[tuple[bool, str]]:
    """Return what is asked to tell whether the skills of a set really differ (MATH^2, arXiv 2407.21009, step 1)."""
    prompt, values = prompts["distinct_skills"], {"skills": "\n".join(skills)}
    request = prompt.request(", ".join(skills), values, sampling)
    return Asked(
        request, _reader(prompt, values, lambda reply: (reply["judgement"] == "distinct", str(reply["reason"])))
    )


def query_request(prompts: Prompts, sampling: Sampling, wanted: QueryRequest) -> Asked[Draft]:
    """Return what is asked to write a query that needs all of some skills, and an answer to it."""
    prompt, values = prompts["write_query"], _places(wanted)

    def read(reply: Reply) -> Draft:
        return Draft(wanted, str(reply["query"]), str(reply["answer"]))

    return Asked(prompt.request(wanted.id, values, sampling, wanted.sample), _reader(prompt, values, read))


def critique_request(prompts: Prompts, sampling: Sampling, draft: Draft) -> Asked[str]:
    """Return what is asked to find what is good and what is bad in an answer, as the one who asked."""
    prompt, values = prompts["criticise_answer"], _places(draft.asked) | _texts(draft)

    def read(reply: Reply) -> str:
        return f"Strengths:\n{reply['strengths']}\n\nWeaknesses:\n{reply['weaknesses']}"

    request = prompt.request(draft.asked.id, values, sampling, draft.asked.sample)
    return Asked(_after(_written(prompts, draft), request), _reader(prompt, values, read))


def improve_request(prompts: Prompts, sampling: Sampling, draft: Draft) -> Asked[str]:
    """Return what is asked to write a better answer after a critique."""
    prompt, values = prompts["improve_answer"], _places(draft.asked) | _texts(draft)
    criticised = prompts["criticise_answer"].request("", values, sampling).messages[-1]
    before = [*_written(prompts, draft), criticised, _said(draft.critique)]
    request = prompt.request(draft.asked.id, values, sampling, draft.asked.sample)
    return Asked(_after(before, request), _reader(prompt, values, lambda reply: str(reply["answer"])))


def score_request(prompts: Prompts, sampling: Sampling, draft: Draft) -> Asked[tuple[int, str]]:
    """Return what is asked to score an answer from 1 to 10."""
    prompt = prompts["score_answer"]
    values = {"skills": "\n".join(draft.asked.skills), "query": draft.query, "answer": draft.answer}
    request = prompt.request(draft.asked.id, values, sampling, draft.asked.sample)
    # A score that stands in the answer itself is not the teacher's.
    read = _reader(prompt, values, lambda reply: (int(str(reply["score"])), str(reply["reason"])), draft.answer)
    return Asked(request, read)


def _reader(
    prompt: PromptFile, values: dict[str, str], value_of: Callable[[Reply], T | None], quoted: str = ""
) -> Callable[[str], T | None]:
    code = code_of(values)

    def read(text: str) -> T | None:
        reply = read_reply(text, prompt.reply, code, quoted)
        return value_of(reply) if reply else None

    return read


# -- the conversation -------------------------------------------------------------------------------------------------


def _places(asked: QueryRequest) -> dict[str, str]:
    return {"skills": "\n".join(asked.skills), "query_type": asked.query_type or ANY_TYPE}


def _texts(draft: Draft) -> dict[str, str]:
    """Return what was said so far: it makes the code of a turn, so that no earlier turn can hold it."""
    return {"query": draft.query, "answer": draft.answer, "critique": draft.critique}


def _written(prompts: Prompts, draft: Draft) -> list[Message]:
    """Return the first turn: the query and the answer as plain text, whatever form they came in."""
    asked = prompts["write_query"].request("", _places(draft.asked), Sampling(0, 0)).messages[-1]
    return [asked, _said(f"Query:\n{draft.query}\n\nAnswer:\n{draft.answer}")]


def _said(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _after(turns: Sequence[Message], request: Request) -> Request:
    """Return a request as a later turn: its own system message, the turns before, its own question."""
    system, user = request.messages
    return request._replace(messages=[system, *turns, user])
