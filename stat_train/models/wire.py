"""One request over the wire to an OpenAI-compatible chat endpoint, and what can come of it.

A reply; a `Fault`, after which the request may be sent again; a `SchemaRefused`; or a UserError that sending again will
not change, with the provider's own words. The API key is struck from everything that comes back.
"""

from __future__ import annotations

import asyncio
import json
import math
import ssl
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, NamedTuple

import httpx2
from openai import APIConnectionError, APIStatusError, APITimeoutError, AsyncOpenAI, DefaultAsyncHttpxClient

from stat_train.errors import UserError

TRANSIENT = {408, 409, 425, 429}
OVERLOADED = {429, 503, 529}
NO_FUNDS = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "insufficient_funds"}
SCHEMA_WORDS = ("response_format", "json_schema", "json schema", "structured output")
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.LocalProtocolError)
# What is shorter is a stand-in such as "none", which may stand in a reply as a word of its own.
LEAST_KEY_CHARACTERS = 8
WORDS_SHOWN = 500
# A client looks at each of its idle connections before each request, which takes longer than the request when many lie
# idle; so connections are shared out over clients.
CONNECTIONS_PER_CLIENT = 16
REMEDIES = {
    400: "check {role}.model, {tuned}.max_new_tokens and {tuned}.request_overrides",
    401: "check the key in the environment variable that {role}.api_key_env names",
    402: "add funds; the same command then goes on from here",
    403: "check that the key may use {role}.model",
    404: "check {role}.base_url (most end in /v1) and {role}.model",
}


def tuned_by(role: str) -> str:
    """Return the group of settings that says how a role is asked: a second teacher is asked as the first one is."""
    return "teacher" if role == "audit" else role


class Served(NamedTuple):
    """A reply as the server gave it; token counts are None where it does not tell."""

    text: str
    finish_reason: str
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    reasoning_tokens: int | None


class Fault(Exception):
    """No reply came, for a reason that may pass; `billed` when the provider may have made one all the same."""

    def __init__(self, words: str, *, billed: bool, overloaded: bool = False, unreachable: bool = False) -> None:
        super().__init__(words)
        self.billed, self.overloaded, self.unreachable = billed, overloaded, unreachable
        self.retry_after_seconds: float | None = None


class SchemaRefused(Exception):
    """The server does not take a JSON schema."""


@dataclass
class _Client:
    """An OpenAI client with connections of its own."""

    openai: AsyncOpenAI
    in_flight: int = 0


class Wire:
    """Connections to one address."""

    def __init__(self, base_url: str, api_key: str | None, role: str, connect_timeout_seconds: float) -> None:
        self.base_url, self.api_key, self.role = base_url, api_key, role
        # The whole request has a time limit of its own, in `ask`.
        self.timeout = httpx2.Timeout(None, connect=connect_timeout_seconds)
        self.certificates = ssl.create_default_context()
        self.clients: list[_Client] = []

    async def ask(self, body: dict[str, Any], timeout_seconds: float) -> Served:
        """Send a request and return its reply; raises Fault, SchemaRefused or UserError."""
        client = self._free_client()
        client.in_flight += 1
        try:
            async with asyncio.timeout(timeout_seconds):
                response = await client.openai.post("/chat/completions", cast_to=httpx2.Response, body=body)
        except APIStatusError as error:
            raise self._refusal(error, body) from None
        except APIConnectionError as error:
            cause = error.__cause__
            sent, slow = not isinstance(cause, NOT_SENT), isinstance(error, APITimeoutError)
            words = self._clean(f"{type(cause).__name__}: {cause}")
            raise Fault(words, billed=sent, overloaded=slow and sent, unreachable=not sent) from None
        except TimeoutError:
            raise Fault(f"no reply within {timeout_seconds:g} s", billed=True, overloaded=True) from None
        finally:
            client.in_flight -= 1
        return _served(self._payload(response))

    async def close(self) -> None:
        """Close the connections."""
        for client in self.clients:
            await client.openai.close()

    def _free_client(self) -> _Client:
        """Return the first client that has a connection to spare, so that the others have none that lie idle."""
        free = (client for client in self.clients if client.in_flight < CONNECTIONS_PER_CLIENT)
        return next(free, None) or self._new_client()

    def _new_client(self) -> _Client:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=CONNECTIONS_PER_CLIENT)
        http = DefaultAsyncHttpxClient(limits=limits, timeout=self.timeout, verify=self.certificates)
        key = self.api_key or "none"
        openai = AsyncOpenAI(base_url=self.base_url, api_key=key, max_retries=0, timeout=self.timeout, http_client=http)
        self.clients.append(_Client(openai))
        return self.clients[-1]

    def _payload(self, response: httpx2.Response) -> dict[str, Any]:
        kind = response.headers.get("content-type", "application/json").partition(";")[0]
        if not kind.endswith("json"):
            raise Fault(f"a reply of type {kind} in the place of JSON", billed=False)
        try:
            payload = self._cleaned(json.loads(response.content.decode("utf-8", "replace")))
        except ValueError as error:
            raise Fault(f"a reply that is broken off ({error})", billed=True) from None
        if not isinstance(payload, dict):
            raise Fault("a reply that is no JSON object", billed=False)
        if payload.get("error"):
            raise Fault(f"an error in the place of a reply: {json.dumps(payload['error'])[:WORDS_SHOWN]}", billed=False)
        return payload

    def _refusal(self, error: APIStatusError, body: dict[str, Any]) -> Exception:
        """Return what an HTTP error means."""
        status, words = error.status_code, self._clean(_words(error))
        codes = {str(error.code), str(error.type)}
        funds = status == 402 or bool(codes & NO_FUNDS)
        if (status in TRANSIENT or status >= 500) and not funds:
            fault = Fault(f"HTTP {status}: {words}", billed=False, overloaded=status in OVERLOADED)
            fault.retry_after_seconds = retry_after_seconds(error.response.headers)
            return fault
        if body.get("response_format") and any(word in words.lower() for word in SCHEMA_WORDS):
            return SchemaRefused(words)
        remedy = REMEDIES[402] if funds else REMEDIES.get(status, REMEDIES[400])
        place = f"{self.role}.base_url = {self.base_url}"
        return UserError(
            f"{place}: refused with HTTP {status}: {words}\n{remedy.format(role=self.role, tuned=tuned_by(self.role))}"
        )

    def _clean(self, text: str) -> str:
        secret = self.api_key and len(self.api_key) >= LEAST_KEY_CHARACTERS
        return text.replace(self.api_key, "[API key]") if secret and self.api_key else text

    def _cleaned(self, value: Any) -> Any:
        """Return a JSON value without the key in any of its texts."""
        if isinstance(value, str):
            return self._clean(value)
        if isinstance(value, list):
            return [self._cleaned(item) for item in value]
        return {name: self._cleaned(item) for name, item in value.items()} if isinstance(value, dict) else value


def retry_after_seconds(headers: httpx2.Headers) -> float | None:
    """Return how long the server asks to wait: `Retry-After` as seconds or as a date; None when it does not say."""
    given = headers.get("retry-after", "")
    try:
        seconds = float(given)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(given).timestamp() - time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _words(error: APIStatusError) -> str:
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    return str(message or body or error.response.text or "no reason given").strip()[:WORDS_SHOWN]


def _served(payload: dict[str, Any]) -> Served:
    usage = payload.get("usage") or {}
    choices = payload.get("choices")
    if not choices:
        raise Fault("a reply without choices", billed=bool(usage.get("completion_tokens")))
    if not isinstance(choices, list) or not isinstance(choices[0], dict):
        raise Fault("a reply whose choices are none", billed=True)
    message, reason = choices[0].get("message") or {}, choices[0].get("finish_reason")
    refused = message.get("refusal") or reason == "content_filter"
    return Served(
        text=_text(message.get("content") or message.get("refusal") or ""),
        finish_reason="refusal" if refused else "length" if reason == "length" else "stop",
        input_tokens=usage.get("prompt_tokens"),
        output_tokens=usage.get("completion_tokens"),
        cached_tokens=(usage.get("prompt_tokens_details") or {}).get("cached_tokens"),
        reasoning_tokens=(usage.get("completion_tokens_details") or {}).get("reasoning_tokens"),
    )


def _text(content: Any) -> str:
    """Return the text of a message; JSON can escape half of a character pair, which no file can then hold."""
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return str(content).encode("utf-8", "replace").decode()
