"""One real call to each address of an endpoint, and one that asks for JSON by a schema: not recorded, not charged."""

from __future__ import annotations

import asyncio
import json
import shlex
import time
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from httpx2 import InvalidURL

from stat_train.config import Config, Endpoint, EndpointStudent, OpenAITeacher
from stat_train.diagnosis.answering import as_asked
from stat_train.doctor.check import Check, one_line
from stat_train.errors import UserError
from stat_train.launch_settings import Server
from stat_train.models.generator import Request, Sampling
from stat_train.models.replies import request_body
from stat_train.models.servers import addresses, api_key
from stat_train.models.serving import without_a_program
from stat_train.models.wire import Fault, SchemaRefused, Served, Wire, tuned_by
from stat_train.records import Message
from stat_train.tasks.prompts import messages
from stat_train.teacher.second import second_teacher

Role = Literal["teacher", "student", "audit"]
QUESTION = "Reply with the one word ok."
# Room for a model that thinks before it replies.
MOST_TOKENS = 256
MOST_SECONDS = 60.0
CHARACTERS_SHOWN = 40
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"reply": {"type": "string"}},
    "required": ["reply"],
    "additionalProperties": False,
}
NO_SCHEMA = "does not hold to a JSON schema; tagged text is used"
# What a call can end with in the place of a reply.
NO_REPLY = (Fault, SchemaRefused, UserError, InvalidURL)


class _Asked(NamedTuple):
    """Whom to ask, and with which messages."""

    role: Role
    endpoint: Endpoint
    messages: list[Message]


def teacher_checks(config: Config) -> Iterator[Check]:
    """Check a teacher behind an endpoint."""
    teacher = config.teacher
    if not isinstance(teacher, OpenAITeacher):
        yield Check("teacher", "skipped", f"teacher={teacher.name} needs no endpoint")
        return
    yield from _checks(_Asked("teacher", teacher, [{"role": "user", "content": QUESTION}]), structured=True)


def audit_checks(config: Config) -> Iterator[Check]:
    """Check the second teacher, when diagnoses are to be asked again of another model or at another address."""
    second = second_teacher(config)
    asked_again = config.audit.sample and config.reaches("profile")
    if asked_again and second.role == "audit" and isinstance(second.settings, OpenAITeacher):
        asked = _Asked("audit", second.settings, [{"role": "user", "content": QUESTION}])
        yield from _checks(asked, structured=True)


def student_checks(config: Config) -> Iterator[Check]:
    """Check a student that is served, asked as the run asks it."""
    student = config.student
    if not isinstance(student, EndpointStudent):
        yield Check("student", "skipped", f"student={student.name} needs no endpoint")
    elif not config.reaches("answer"):
        yield Check("student", "skipped", f"until={config.until} does not ask the student")
    else:
        yield from _checks(_Asked("student", as_asked(student), messages(student.prompt, QUESTION)), structured=False)


def _checks(asked: _Asked, structured: bool) -> Iterator[Check]:
    if asked.endpoint.server:
        yield _own_server(asked.role, asked.endpoint.model, asked.endpoint.server)
        return
    try:
        key = api_key(asked.endpoint, asked.role)
    except UserError as error:
        seen, _, remedy = str(error).partition("; ")
        yield Check(asked.role, "failed", seen, remedy)
        return
    yield from asyncio.run(_calls(asked, key, structured))
    yield _price(asked)


def _own_server(role: Role, model: str, server: Server) -> Check:
    """Check that what the run is to start is there; it is not started, which can take minutes and every GPU."""
    program = shlex.join(server.command)
    if absent := without_a_program(server):
        remedy = f"give its path: {role}.server.command=[/opt/vllm/bin/vllm,serve]"
        if server.where == "slurm":
            remedy = f"run this on a host of the cluster, or use {role}.server.where=process"
        return Check(role, "failed", f"{model} is to be served by {program}, and there is no {absent}", remedy)
    how = "as a Slurm job" if server.where == "slurm" else "on this machine"
    return Check(role, "ok", f"{model} will be served {how} by {program}; not started for this check")


async def _calls(asked: _Asked, key: str | None, structured: bool) -> list[Check]:
    """Call all addresses at once, then one that replied with a schema: the run takes all for the same model."""
    places, seconds = addresses(asked.endpoint), asked.endpoint.connect_timeout_seconds
    wires = [Wire(url, key, asked.role, seconds) for url in places]
    try:
        checks = await asyncio.gather(*(_plain_call(wire, asked) for wire in wires))
        if not structured:
            return checks
        replied = [wire for wire, check in zip(wires, checks, strict=True) if check.state == "ok"]
        no_one = Check(f"{asked.role} JSON", "skipped", "no address replied")
        return [*checks, await _structured_call(replied[0], asked) if replied else no_one]
    finally:
        for wire in wires:
            await wire.close()


async def _plain_call(wire: Wire, asked: _Asked) -> Check:
    began = time.monotonic()
    try:
        served = await _ask(wire, asked, None)
    except NO_REPLY as error:
        return _failure(asked.role, asked, wire, error)
    seconds = time.monotonic() - began
    if served.finish_reason == "refusal" or not (served.text.strip() or served.finish_reason == "length"):
        what = "refused a harmless question" if served.finish_reason == "refusal" else "sent an empty reply"
        remedy = f"check {asked.role}.model and {tuned_by(asked.role)}.request_overrides"
        return Check(asked.role, "failed", f"{wire.base_url}: {asked.endpoint.model} {what}", remedy)
    return Check(asked.role, "ok", f"{wire.base_url} replied in {seconds:.2f} s, {_tokens(served)}: {_start(served)}")


async def _structured_call(wire: Wire, asked: _Asked) -> Check:
    name = f"{asked.role} JSON"
    try:
        served = await _ask(wire, asked, SCHEMA)
    except SchemaRefused:
        return Check(name, "ok", f"{wire.base_url} {NO_SCHEMA}")
    except NO_REPLY as error:
        return _failure(name, asked, wire, error)
    if _fits(served.text):
        return Check(name, "ok", f"{wire.base_url} holds to a JSON schema: {_start(served)}")
    if served.finish_reason == "length":
        return Check(name, "ok", f"not known: the reply was cut off, {_tokens(served)}; the run finds out by itself")
    return Check(name, "ok", f"{wire.base_url} {NO_SCHEMA}")


async def _ask(wire: Wire, asked: _Asked, schema: dict[str, Any] | None) -> Served:
    endpoint = asked.endpoint
    sampling = Sampling(endpoint.temperature, min(endpoint.max_new_tokens, MOST_TOKENS))
    request = Request("doctor", asked.messages, sampling, 0, schema)
    body = request_body(endpoint, request, holds_to_schema=True)
    return await wire.ask(body, min(endpoint.timeout_seconds, MOST_SECONDS))


def _fits(text: str) -> bool:
    """Tell whether a reply is what SCHEMA asks for."""
    try:
        reply = json.loads(text)
    except ValueError:
        return False
    return isinstance(reply, dict) and set(reply) == set(SCHEMA["properties"]) and isinstance(reply["reply"], str)


def _failure(name: str, asked: _Asked, wire: Wire, error: Exception) -> Check:
    role = asked.role
    if isinstance(error, UserError):
        seen, _, remedy = str(error).rpartition("\n")
        return Check(name, "failed", seen.removeprefix(f"{role}.base_url = "), remedy)
    if isinstance(error, SchemaRefused):
        remedy = f"take response_format out of {tuned_by(role)}.request_overrides"
    elif isinstance(error, Fault) and error.unreachable:
        remedy = f"start the server, or check {role}.base_url and that this machine reaches it"
    elif isinstance(error, Fault) and error.overloaded:
        times = f"{asked.endpoint.max_retries} times ({tuned_by(role)}.max_retries)"
        remedy = f"try again later; a run sends again up to {times}"
    else:
        remedy = f"check that {role}.base_url is an OpenAI-compatible address (most end in /v1), and the server's log"
    return Check(name, "failed", f"{wire.base_url}: {error}", remedy)


def _price(asked: _Asked) -> Check:
    name, role = f"{asked.role} price", asked.role
    prices = asked.endpoint.usd_per_million_input_tokens, asked.endpoint.usd_per_million_output_tokens
    if None in prices:
        remedy = f"to count it, give {role}.usd_per_million_input_tokens and {role}.usd_per_million_output_tokens"
        return Check(name, "ok", "unknown, so what the run costs is not counted in dollars", remedy)
    return Check(name, "ok", "${:g} per million input tokens, ${:g} output".format(*prices))


def _tokens(served: Served) -> str:
    if served.input_tokens is None or served.output_tokens is None:
        return "tokens not told"
    thought = f", {served.reasoning_tokens} of them thought" if served.reasoning_tokens else ""
    return f"{served.input_tokens} + {served.output_tokens} tokens{thought}"


def _start(served: Served) -> str:
    text = one_line(served.text)
    if not text:
        return "cut off before its first word"
    return f'"{text}"' if len(text) <= CHARACTERS_SHOWN else f'"{text[:CHARACTERS_SHOWN]}..."'
