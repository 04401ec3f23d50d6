"""How fast an endpoint is asked: requests and tokens per minute, and how many requests at a time.

The number at a time adapts, additive increase and multiplicative decrease, to two signs of too much: the server says so
(HTTP 429), or its replies take longer than they did with fewer (a server that queues never says so). The time that a
request waits here is not part of its latency.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from statistics import median

START, GROWTH_AT_START = 8, 4
LEAST_SAMPLES = 8
DECREASE = 0.7
STEPS_TO_MOST, STEPS_TO_DOUBLE = 32, 8
# Cuts that leave replies this slow, compared to before, were not what they needed.
HELPED = 0.9
CUTS_TO_HELP = 3
# Starting a reply takes about as long as this many tokens of it.
TOKENS_TO_START = 50


class Pace:
    """Spreads amounts evenly over time, `per_minute` of them from the first on; None for no limit."""

    def __init__(self, per_minute: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds_each = 60 / per_minute if per_minute else 0.0
        self.clock = clock
        self.free_seconds = -math.inf

    def wait_seconds(self, amount: float) -> float:
        """Take the next free time for an amount, and return how long it is until then."""
        now = self.clock()
        start = max(now, self.free_seconds)
        self.free_seconds = start + amount * self.seconds_each
        return start - now

    def give_back(self, amount: float) -> None:
        """Return what was taken and not used."""
        self.free_seconds -= amount * self.seconds_each


class Gate:
    """Lets as many through at a time as `size()` says at that moment, first come, first served."""

    def __init__(self, size: Callable[[], float]) -> None:
        self.size = size
        self.inside, self.was_full = 0, False
        self.waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        await self.enter()

    async def __aexit__(self, *error: object) -> None:
        self.leave()

    async def enter(self) -> None:
        """Wait for a place inside."""
        if not self.waiting and self.inside < int(self.size()):
            self._enter()
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Make room for the next."""
        self.inside -= 1
        self.admit()

    def admit(self) -> None:
        """Let in who fits; call it when the size has grown."""
        while self.waiting and self.inside < int(self.size()):
            turn = self.waiting.popleft()
            if not turn.done():
                self._enter()
                turn.set_result(None)

    def _enter(self) -> None:
        self.inside += 1
        self.was_full = self.was_full or self.inside >= int(self.size())


class Concurrency:
    """How many requests are sent at a time: at most `most`, as many as the endpoint bears.

    It grows fourfold with each round of replies until the first sign of too much, and in small steps from there on.
    Replies are too slow when the usual one takes `max_slowdown` times as long per token as the fast ones did at best.
    """

    def __init__(self, most: int, max_slowdown: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.most, self.max_slowdown, self.clock = most, max_slowdown, clock
        self.now = float(min(most, START))
        self.starting = True
        self.paused_until_seconds = self.changed_at_seconds = -math.inf
        self.slowness: list[float] = []
        self.best_slowness = math.inf
        self.slowness_before_cuts, self.cuts_in_a_row = math.inf, 0
        self.gate = Gate(lambda: 0 if self.clock() < self.paused_until_seconds else self.now)

    def replied(self, sent_seconds: float, latency_seconds: float, output_tokens: int) -> None:
        """Take note of a reply: when its request was sent, and how long it took."""
        if sent_seconds <= self.changed_at_seconds:
            return
        self.slowness.append(latency_seconds / (output_tokens + TOKENS_TO_START))
        if len(self.slowness) >= max(LEAST_SAMPLES, int(self.now)):
            self._adapt(median(self.slowness), sorted(self.slowness)[len(self.slowness) // 10])
            self.slowness.clear()

    def refused(self, sent_seconds: float) -> None:
        """Take note that the server had too much to do; what was sent before the last change says nothing new."""
        if sent_seconds > self.changed_at_seconds:
            self._cut()

    def pause(self, seconds: float) -> None:
        """Send nothing for a while, because the server asked for that."""
        self.paused_until_seconds = max(self.paused_until_seconds, self.clock() + seconds)
        asyncio.get_running_loop().call_later(seconds + 0.001, self.gate.admit)

    def _adapt(self, usual: float, fast: float) -> None:
        if self.cuts_in_a_row >= CUTS_TO_HELP and usual > HELPED * self.slowness_before_cuts:
            # Slow for another reason: other users of the server, another kind of question.
            self.best_slowness, self.cuts_in_a_row = fast, 0
        self.best_slowness = min(self.best_slowness, fast)
        if self.max_slowdown and usual > self.max_slowdown * self.best_slowness:
            self.slowness_before_cuts = self.slowness_before_cuts if self.cuts_in_a_row else usual
            self.cuts_in_a_row += 1
            self._cut()
        else:
            self.cuts_in_a_row = 0
            self._grow()

    def _grow(self) -> None:
        # More would be of no use while not even this many are asked for.
        if self.gate.was_full:
            step = max(1.0, min(self.most / STEPS_TO_MOST, self.now / STEPS_TO_DOUBLE))
            self.now = min(self.most, self.now * GROWTH_AT_START if self.starting else self.now + step)
            self._changed()
            self.gate.admit()

    def _cut(self) -> None:
        self.starting = False
        self.now = max(1.0, self.now * DECREASE)
        self._changed()

    def _changed(self) -> None:
        """Forget what was sent before: its latency says nothing about the new number."""
        self.changed_at_seconds = self.clock()
        self.slowness.clear()
        self.gate.was_full = False
