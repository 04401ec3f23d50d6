"""The addresses that serve one model, and how fast they are asked."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from stat_train.config import Endpoint
from stat_train.errors import StatTrainError, UserError
from stat_train.models.limits import Concurrency, Pace
from stat_train.models.wire import Fault, Served, Wire, tuned_by

REST_SECONDS = 5.0


class OwnServer(Protocol):
    """A server that the run starts itself, and knows where it is."""

    def running_at(self) -> str | None:
        """Return its address while it runs."""
        ...

    def start(self) -> str:
        """Return its address, after starting it if it does not run."""
        ...


class Timed(NamedTuple):
    """A reply and how long it took from sending to its last byte; waiting for the limits is not part of it."""

    served: Served
    latency_seconds: float


@dataclass
class _Server:
    """One address, and how busy it is."""

    wire: Wire
    in_flight: int = 0
    asked: int = 0
    rests_until_seconds: float = -math.inf


class Servers:
    """Sends each request to the address that is least busy, within the limits. Raises UserError without its key.

    `served`: the model is at a server that starts with the first request, and again after it was stopped.
    """

    def __init__(self, endpoint: Endpoint, role: str, served: OwnServer | None = None) -> None:
        self.endpoint, self.role, self.served = endpoint, role, served
        self.key, most = api_key(endpoint, role), endpoint.max_concurrency
        self.servers = [self._server(url) for url in addresses(endpoint)]
        self.starting = asyncio.Lock()
        self.concurrency = Concurrency(most, endpoint.max_slowdown)
        self.requests, self.tokens = Pace(endpoint.requests_per_minute), Pace(endpoint.tokens_per_minute)

    async def ask(self, make_body: Callable[[], dict[str, Any]], tokens: int) -> Timed:
        """Send what `make_body` gives once the limits allow; `tokens` is what it may use.

        Raises Fault, SchemaRefused or UserError as the server answers, and StatTrainError when the server asks for a
        longer wait than the settings allow.
        """
        if self.served:
            await self._reach(self.served)
        async with self.concurrency.gate:
            wait_seconds = max(self.requests.wait_seconds(1), self.tokens.wait_seconds(tokens))
            if wait_seconds > 0:
                await asyncio.sleep(wait_seconds)
            body, sent = make_body(), time.monotonic()
            try:
                served = await self._exchange(body)
            except Fault as fault:
                self._note_fault(fault, sent)
                raise
            latency_seconds = time.monotonic() - sent
            used = (served.input_tokens or 0) + (served.output_tokens or 0)
            self.tokens.give_back(tokens - used if used else 0)
            self.concurrency.replied(sent, latency_seconds, served.output_tokens or 0)
            return Timed(served, latency_seconds)

    def places(self) -> str:
        """Return where the model is, in words."""
        return ", ".join(server.wire.base_url for server in self.servers)

    async def _reach(self, served: OwnServer) -> None:
        """Start the server that is ours, if it is not there, and know where it is."""
        async with self.starting:
            url = served.running_at()
            if url is None:
                url = await asyncio.to_thread(served.start)
            if url != self.places():
                await self.close()
                self.servers = [self._server(url)]

    def _server(self, url: str) -> _Server:
        return _Server(Wire(url, self.key, self.role, self.endpoint.connect_timeout_seconds))

    async def close(self) -> None:
        """Close all connections."""
        for server in self.servers:
            await server.wire.close()

    async def _exchange(self, body: dict[str, Any]) -> Served:
        now = time.monotonic()
        server = min(self.servers, key=lambda each: (each.rests_until_seconds > now, each.in_flight, each.asked))
        server.in_flight += 1
        server.asked += 1
        try:
            return await server.wire.ask(body, self.endpoint.timeout_seconds)
        except Fault as fault:
            if fault.unreachable:
                # A dead server is never busy, so it would be asked first.
                server.rests_until_seconds = time.monotonic() + REST_SECONDS
            raise
        finally:
            server.in_flight -= 1

    def _note_fault(self, fault: Fault, sent_seconds: float) -> None:
        if fault.overloaded:
            self.concurrency.refused(sent_seconds)
        pause, most = fault.retry_after_seconds, self.endpoint.max_wait_seconds
        if pause is None:
            return
        if pause > most:
            raise StatTrainError(
                f"{self.role}: the server asks to wait {pause:,.0f} s, longer than "
                f"{tuned_by(self.role)}.max_wait_seconds = {most:g} ({fault}). Replies so far are kept; run the same "
                "command again then"
            ) from None
        self.concurrency.pause(pause)


def addresses(endpoint: Endpoint) -> list[str]:
    """Return where an endpoint is, as a list; a model that the run serves itself is nowhere yet."""
    given = endpoint.base_url
    return given if isinstance(given, list) else [given] if given else []


def api_key(endpoint: Endpoint, role: str) -> str | None:
    """Return the key from the environment; raises UserError when the variable that should hold it is absent."""
    variable = endpoint.api_key_env
    key = os.environ.get(variable) if variable else None
    if variable and not key:
        raise UserError(
            f"{role}.api_key_env = {variable}: there is no such variable in the environment; put the key there, "
            f"or give {role}.api_key_env=null for a server that needs none"
        )
    if key and not (key.isascii() and key.isprintable() and key.split() == [key]):
        raise UserError(
            f"{role}.api_key_env = {variable}: the key in it (not shown) holds a space, a line end or another "
            "character that no key has; put it there again without"
        )
    return key
