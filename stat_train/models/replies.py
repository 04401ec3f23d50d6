"""What is sent for a request, and what is kept of its reply: whether it can be used, its tokens, its cost."""

from __future__ import annotations

import json
import math
import time
from typing import Any

from stat_train.config import Endpoint
from stat_train.models.budget import Price
from stat_train.models.generator import Completion, Request
from stat_train.models.ledger import Outcome, Reply
from stat_train.models.segments import Row
from stat_train.models.wire import Served

CHARACTERS_PER_TOKEN = 4
# Numbers and formulas have fewer characters per token than prose; hardly any text has fewer than this.
LEAST_CHARACTERS_PER_TOKEN = 2
TOKENS_PER_MESSAGE = 8


def model_identity(endpoint: Endpoint, sampling_seed: int = 0) -> dict[str, Any]:
    """Return what a model's replies depend on besides the request; part of each call's key."""
    return {
        "name": endpoint.model,
        "revision": endpoint.revision,
        "request_overrides": endpoint.request_overrides,
        "sampling_seed": sampling_seed,
    }


def estimated_tokens(request: Request, characters_per_token: int = CHARACTERS_PER_TOKEN) -> int:
    """Return about how many tokens a request's messages are."""
    characters = sum(len(message["content"]) for message in request.messages) + len(request.format_hint)
    characters += len(json.dumps(request.schema)) if request.schema else 0
    return math.ceil(characters / characters_per_token) + TOKENS_PER_MESSAGE * len(request.messages)


def request_body(endpoint: Endpoint, request: Request, holds_to_schema: bool) -> dict[str, Any]:
    """Return the body of a request; an override of null takes a field away."""
    messages, response_format = request.messages, None
    if request.schema is not None and holds_to_schema:
        schema = {"name": "reply", "schema": request.schema, "strict": True}
        response_format = {"type": "json_schema", "json_schema": schema}
    elif request.format_hint:
        last = messages[-1]
        messages = [*messages[:-1], last | {"content": f"{last['content']}\n\n{request.format_hint}"}]
    body = {
        "model": endpoint.model,
        "messages": messages,
        "temperature": request.sampling.temperature,
        "max_tokens": request.sampling.max_new_tokens,
        "top_p": None if request.sampling.top_p == 1 else request.sampling.top_p,
        "response_format": response_format,
    }
    return {name: value for name, value in (body | endpoint.request_overrides).items() if value is not None}


def judged(request: Request, served: Served, held_to_schema: bool) -> tuple[Outcome, str | None]:
    """Return whether a reply can be used, and if not, why."""
    if served.finish_reason == "refusal":
        return "refusal", "the model refused"
    if served.finish_reason == "length":
        return "cut_off", f"the reply was cut off at {request.sampling.max_new_tokens} tokens"
    if held_to_schema and not is_object(served.text):
        return "unparseable", "the reply is not the JSON that was asked for"
    return ("ok", None) if served.text.strip() else ("unparseable", "the reply is empty")


def is_object(text: str) -> bool:
    """Tell whether a text is a JSON object."""
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def reply_of(served: Served, attempt: int, judgement: tuple[Outcome, str | None], price: Price, estimate: int) -> Reply:
    """Return what is kept of a reply; tokens that the server does not count are estimated from the characters."""
    inputs = estimate if served.input_tokens is None else served.input_tokens
    outputs = served.output_tokens
    outputs = math.ceil(len(served.text) / CHARACTERS_PER_TOKEN) if outputs is None else outputs
    return Reply(
        attempt=attempt,
        outcome=judgement[0],
        text=served.text,
        finish_reason=served.finish_reason,
        input_tokens=inputs,
        output_tokens=outputs,
        cached_tokens=served.cached_tokens,
        reasoning_tokens=served.reasoning_tokens,
        usd=price.usd(inputs, outputs),
        error=judgement[1],
        time=time.time(),
    )


def no_reply(attempt: int, error: str) -> Reply:
    """Return what is kept of a call that was never answered."""
    return Reply(attempt, "error", "", "error", 0, 0, None, None, 0.0, error, time.time())


def reply_row(request: Request, key: str, model: dict[str, Any], reply: Reply, latency_seconds: float) -> Row:
    """Return the row of a reply, with all that it was a reply to."""
    asked = {"id": request.id, "messages": request.messages, "sample": request.sample}
    asked |= request.sampling.identity() | {"schema": request.schema, "format_hint": request.format_hint}
    about: Row = {"kind": "reply", "key": key, "model": model}
    about |= {"prompt_name": request.prompt_name, "prompt_version": request.prompt_version}
    return about | reply._asdict() | {"latency_seconds": round(latency_seconds, 4), "request": asked}


def completion_of(request: Request, key: str, reply: Reply, cached: bool, error: str | None) -> Completion:
    """Return a reply as the completion of a request."""
    return Completion(
        id=request.id,
        sample=request.sample,
        text=reply.text,
        finish_reason=reply.finish_reason,
        input_tokens=reply.input_tokens,
        output_tokens=reply.output_tokens,
        cached=cached,
        error=error,
        call_id=key,
        cached_tokens=reply.cached_tokens,
        reasoning_tokens=reply.reasoning_tokens,
    )
