"""A model behind one or several OpenAI-compatible addresses: every reply is paid for once, within the budget.

A request is answered from the ledger when it can be. Otherwise it is claimed, so that no other process makes the same
call, charged to the budget, sent when the limits allow, sent again after a fault, and its reply is in the ledger before
anyone sees it. The calls are made on a thread of their own: a slow caller does not hold them up.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from random import uniform
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from stat_train.config import Endpoint
from stat_train.errors import StatTrainError
from stat_train.models.budget import Budget, Charge, Price
from stat_train.models.generator import Completion, Request
from stat_train.models.ledger import Ledger, Spent, call_key
from stat_train.models.limits import Gate
from stat_train.models.replies import (
    LEAST_CHARACTERS_PER_TOKEN,
    completion_of,
    estimated_tokens,
    judged,
    model_identity,
    no_reply,
    reply_of,
    reply_row,
    request_body,
)
from stat_train.models.segments import Row
from stat_train.models.servers import OwnServer, Servers, Timed
from stat_train.models.tally import Tally
from stat_train.models.wire import Fault, SchemaRefused
from stat_train.models.work import Stopped, Work, ending

# Requests are claimed and charged ahead, a share of those sent and a few, so that sending never waits for the disk.
AHEAD_SHARE, AHEAD = 0.25, 4
POLL_SECONDS = 0.1
FIRST_WAIT_SECONDS = 0.5


class Attempts(NamedTuple):
    """How often a call is made while its replies cannot be used: in the ledger's life, or (`retry_bad`) from now on."""

    most: int = 1
    retry_bad: bool = False


ONCE = Attempts()


@dataclass
class _Call:
    """A call that is being made.

    `charge` is None when what was reserved has been used up by a fault; `sent` while the server may be at work on it;
    `counts` while it is one of those whose reply is not on the disk yet.
    """

    request: Request
    key: str
    attempt: int
    charge: Charge | None = None
    sent: bool = False
    counts: bool = False
    began_seconds: float = field(default_factory=time.monotonic)


class EndpointGenerator:
    """Asks an endpoint; a context manager. `role` is the group of its settings: `teacher`, `student` or `audit`.

    Raises UserError when the key is not in the environment, or the budget is in dollars and the price unknown.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        ledger: Ledger,
        budget: Budget,
        role: Literal["teacher", "student", "audit"],
        attempts: Attempts = ONCE,
        sampling_seed: int = 0,
        served: OwnServer | None = None,
    ) -> None:
        self.endpoint, self.ledger, self.budget, self.role, self.attempts = endpoint, ledger, budget, role, attempts
        self.model = model_identity(endpoint, sampling_seed)
        self.price = Price(endpoint.usd_per_million_input_tokens, endpoint.usd_per_million_output_tokens)
        budget.check_price(self.price, endpoint.model, role)
        self.servers = Servers(endpoint, role, served)
        self.ready = Gate(lambda: self.servers.concurrency.now * (1 + AHEAD_SHARE) + AHEAD)
        # Counted until the reply is on the disk, so that a kill loses no more of them than may be in flight.
        self.unrecorded = Gate(lambda: endpoint.max_concurrency)
        self.tally = Tally()
        self.flights: dict[str, asyncio.Future[None]] = {}
        self.attempts_before: dict[str, int] = {}
        self.replied_seconds = -math.inf
        self.schema_probe, self.schema_known = asyncio.Lock(), False
        self.stopping = False
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="endpoint", daemon=True)
        self.thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Wait for what was cancelled to end, and close the connections."""
        self._run(self._close()).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    # -- what callers use ---------------------------------------------------------------------------------------------

    def key(self, request: Request) -> str:
        """Return the key of a request's call in the ledger."""
        return call_key(request, self.model)

    def reject(self, completion: Completion) -> None:
        """Say that a completion could not be read; asking again makes the call again, if it may be made again."""
        if completion.call_id:
            self.ledger.reject(completion.call_id, completion.text)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield a completion for each request, in any order.

        Raises UserError or StatTrainError when the endpoint does not work, BudgetReached when nothing more may be
        spent; what was under way is finished, kept and yielded before.
        """
        source, work, self.stopping = iter(requests), Work(), False
        window = 2 * (self.endpoint.max_concurrency + AHEAD)
        try:
            for request in source:
                if kept := self._kept(request, self.key(request), cached=True):
                    self.tally.add(kept, 0.0)
                    yield kept
                    continue
                work.add(self._run(self._complete(request)))
                while len(work.pending) >= window or not work.done.empty():
                    yield from self._finished(work)
                if work.failures:
                    work.failures += [Stopped() for left in source if not self._kept(left, self.key(left), True)]
            while work.pending:
                yield from self._finished(work)
        finally:
            for future in work.pending:
                future.cancel()
        if work.failures:
            raise ending(work.failures)

    # -- between the caller's thread and ours -------------------------------------------------------------------------

    def _run(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def _finished(self, work: Work) -> Iterator[Completion]:
        """Wait for one completion and yield it, or note its failure and let no further request be sent."""
        future = work.done.get()
        work.pending.remove(future)
        if error := future.exception():
            work.failures.append(error)
            self.stopping = True
        else:
            yield future.result()

    async def _close(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)
        await self.servers.close()

    # -- one request --------------------------------------------------------------------------------------------------

    def _kept(self, request: Request, key: str, cached: bool) -> Completion | None:
        """Return the completion that the ledger has: a reply that can be used, or the last of as many as may be."""
        if reply := self.ledger.usable(key):
            return completion_of(request, key, reply, cached, None)
        last = self.ledger.last(key)
        before = self.attempts_before.setdefault(key, last.attempt if last and self.attempts.retry_bad else 0)
        if last is None or last.attempt < before + self.attempts.most:
            return None
        return completion_of(request, key, last, cached, f"{last.error} (attempt {last.attempt})")

    async def _complete(self, request: Request) -> Completion:
        """Return the completion of a request after the calls that it takes; a call is made by one task at a time."""
        key, paid = self.key(request), 0
        async with self.ready:
            while True:
                # Counted before the look: a reply that another process writes after it makes the claim void.
                attempt = self.ledger.attempts(key) + 1
                if kept := self._kept(request, key, cached=not paid):
                    break
                if other := self.flights.get(key):
                    await asyncio.wait([other])
                    continue
                self.flights[key] = self.loop.create_future()
                try:
                    paid += await self._attempt(request, key, attempt)
                finally:
                    self.flights.pop(key).set_result(None)
        last = self.ledger.last(key)
        self.tally.add(kept, last.usd if last and paid else 0.0)
        return kept

    async def _attempt(self, request: Request, key: str, attempt: int) -> bool:
        """Make a call once more; False when another process makes it, after a moment's wait."""
        if request.schema is not None and not self.schema_known:
            async with self.schema_probe:
                # The first to get here finds out whether the server takes a schema.
                if not self.schema_known:
                    return await self._claimed_attempt(request, key, attempt)
        return await self._claimed_attempt(request, key, attempt)

    async def _claimed_attempt(self, request: Request, key: str, attempt: int) -> bool:
        call = _Call(request, key, attempt)
        reserved = await self._charge(call)
        try:
            undo = [self.budget.settle_row(call.charge, Spent())] if call.charge else []
            if not await _on_disk(self.ledger.claim(key, call.attempt, [reserved], undo)):
                self._settle(call, Spent())
                # At random, so that two that give way to each other do not do so again.
                await asyncio.sleep(uniform(0.5, 1.5) * POLL_SECONDS)
                return False
            await _on_disk(self.ledger.write(await self._make(call), release=key))
            return True
        except BaseException as error:
            cancelled = isinstance(error, asyncio.CancelledError)
            self.stopping = self.stopping or not cancelled
            # What may have been sent stays spent.
            self.ledger.write([] if cancelled and call.sent else self._settle(call, Spent()), release=key)
            raise
        finally:
            if call.counts:
                self.unrecorded.leave()

    # -- one call -----------------------------------------------------------------------------------------------------

    async def _make(self, call: _Call) -> list[Row]:
        """Send a call until it is answered, and return the rows of its reply."""
        request, model = call.request, self.model
        try:
            served, latency_seconds = await self._answered(call)
        except Fault as fault:
            # While others get replies, it is this request that the server cannot answer.
            if self.replied_seconds < call.began_seconds:
                raise self._out_of_reach(fault) from None
            unanswered = reply_row(request, call.key, model, no_reply(call.attempt, str(fault)), 0.0)
            return [unanswered, *self._settle(call, Spent())]
        held_to_schema = request.schema is not None and self.ledger.holds_to_schema(model)
        judgement = judged(request, served, held_to_schema)
        # An empty reply tells nothing of it, and a server that has held to a schema does.
        if held_to_schema and served.text.strip() and not self.schema_known:
            self._note_schema(ignored=judgement[0] == "unparseable")
        reply = reply_of(served, call.attempt, judgement, self.price, estimated_tokens(request))
        cost = Spent(1, reply.input_tokens + reply.output_tokens, reply.usd or 0.0)
        return [reply_row(request, call.key, model, reply, latency_seconds), *self._settle(call, cost)]

    async def _answered(self, call: _Call) -> Timed:
        """Send a call until it is answered; raises the last Fault when no more tries are left."""
        try:
            # Most calls end here; the library's bookkeeping would cost them more time than all of ours.
            return await self._send(call)
        except Fault as fault:
            faults = [fault]
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Fault),
            stop=stop_after_attempt(self.endpoint.max_retries + 1),
            wait=self._wait_seconds,
            before_sleep=self._note_retry,
            reraise=True,
        )

        async def first_fails() -> Timed:
            if faults:
                raise faults.pop()
            return await self._send(call)

        return await retrying(first_fails)

    def _out_of_reach(self, fault: Fault) -> StatTrainError:
        tries, places = self.endpoint.max_retries + 1, self.servers.places()
        return StatTrainError(
            f"{self.role}.base_url = {places}: no reply in {tries} tries, the last: {fault}. Replies so far are kept; "
            "the same command goes on when the server is back"
        )

    def _wait_seconds(self, state: RetryCallState) -> float:
        """Return how long to wait before the next try: what the server asks for, else longer each time, at random."""
        fault = state.outcome.exception() if state.outcome else None
        if isinstance(fault, Fault) and fault.retry_after_seconds is not None:
            return fault.retry_after_seconds
        return wait_random_exponential(FIRST_WAIT_SECONDS, self.endpoint.max_wait_seconds)(state)

    def _note_retry(self, state: RetryCallState) -> None:
        self.tally.retries += 1
        if self.stopping:
            raise Stopped

    async def _send(self, call: _Call) -> Timed:
        """Send a call once, as soon as the limits allow."""
        if call.charge is None:
            await _on_disk(self.ledger.write([await self._charge(call)]))
        tokens = estimated_tokens(call.request) + call.request.sampling.max_new_tokens
        await self.unrecorded.enter()
        call.counts = True
        try:
            timed = await self._ask(call, tokens)
        except Fault as fault:
            call.sent = call.counts = False
            self.unrecorded.leave()
            if fault.billed and call.charge:
                # What was reserved stays in the ledger as spent: the provider may have made the reply.
                self.budget.give_up(call.charge)
                call.charge = None
            raise
        self.replied_seconds = time.monotonic()
        self.tally.concurrency = int(self.servers.concurrency.now)
        return timed

    async def _ask(self, call: _Call, tokens: int) -> Timed:
        """Send a request, and once more without its schema where that is not taken."""
        try:
            return await self.servers.ask(lambda: self._body_now(call), tokens)
        except SchemaRefused:
            self._note_schema(ignored=True)
            return await self.servers.ask(lambda: self._body_now(call), tokens)

    def _body_now(self, call: _Call) -> dict[str, Any]:
        """Return what is to be sent now; nothing is once the work has been ended."""
        if self.stopping:
            raise Stopped
        call.sent = True
        return self._body(call.request)

    def _body(self, request: Request) -> dict[str, Any]:
        return request_body(self.endpoint, request, self.ledger.holds_to_schema(self.model))

    def _note_schema(self, ignored: bool) -> None:
        self.schema_known = True
        if ignored:
            self.ledger.note_no_schema(self.model)

    # -- its cost -----------------------------------------------------------------------------------------------------

    async def _charge(self, call: _Call) -> Row:
        """Reserve what a call may cost, as soon as the budget allows; return the row that says so."""
        most = call.request.sampling.max_new_tokens
        tokens = estimated_tokens(call.request, LEAST_CHARACTERS_PER_TOKEN)
        worst = Spent(1, tokens + most, self.price.usd(tokens, most) or 0.0)
        while not self.stopping:
            if charge := self.budget.reserve(worst):
                call.charge = charge
                return self.budget.reserve_row(charge, call.key, call.attempt)
            await asyncio.sleep(POLL_SECONDS)
        raise Stopped

    def _settle(self, call: _Call, actual: Spent) -> list[Row]:
        """Settle what was reserved for a call, if it was not used up, and return the row that says so."""
        charge, call.charge = call.charge, None
        if charge is None:
            return []
        self.budget.settle(charge, actual)
        return [self.budget.settle_row(charge, actual)]


async def _on_disk(written: Future[bool]) -> bool:
    """Wait for the ledger; what is on its way there goes there, even if who waits is cancelled."""
    try:
        return await asyncio.shield(asyncio.wrap_future(written))
    except OSError as error:
        raise StatTrainError(f"a reply could not be kept ({error}); make room, and the same command goes on") from error
