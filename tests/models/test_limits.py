"""How fast an endpoint is asked; the clock of these tests moves by hand."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stat_train.models.limits import START, Concurrency, Gate, Pace


class Clock:
    """Says what time it is."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


# -- per minute -------------------------------------------------------------------------------------------------------


def test_requests_are_spread_from_the_first_on() -> None:
    """At 120 a minute, one may be sent every half second."""
    clock = Clock()
    pace = Pace(120, clock)
    assert [pace.wait_seconds(1) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]
    clock.now += 1.0
    assert pace.wait_seconds(1) == 1.0


def test_time_that_was_not_used_is_not_saved_up() -> None:
    clock = Clock()
    pace = Pace(60, clock)
    pace.wait_seconds(1)
    clock.now += 600
    assert [pace.wait_seconds(1) for _ in range(3)] == [0.0, 1.0, 2.0]


def test_a_large_request_waits_its_turn_and_delays_the_next() -> None:
    """At 6,000 tokens a minute, 1,000 tokens take ten seconds."""
    pace = Pace(6000, Clock())
    assert [pace.wait_seconds(tokens) for tokens in (1000, 100, 1)] == [0.0, 10.0, 11.0]


def test_tokens_that_were_not_used_are_given_back() -> None:
    pace = Pace(6000, Clock())
    pace.wait_seconds(1000)
    pace.give_back(900)
    assert pace.wait_seconds(1) == 1.0


def test_no_limit_never_waits() -> None:
    pace = Pace(None, Clock())
    assert [pace.wait_seconds(10**9) for _ in range(3)] == [0.0, 0.0, 0.0]


# -- at a time --------------------------------------------------------------------------------------------------------


def test_a_gate_lets_in_as_many_as_its_size_in_the_order_they_came() -> None:
    async def run() -> tuple[int, list[int]]:
        size, most, order = [2], 0, list[int]()
        gate = Gate(lambda: size[0])

        async def work(number: int) -> None:
            nonlocal most
            async with gate:
                order.append(number)
                most = max(most, gate.inside)
                await asyncio.sleep(0.001)

        await asyncio.gather(*(work(number) for number in range(9)))
        return most, order

    assert asyncio.run(run()) == (2, list(range(9)))


def test_who_gives_up_waiting_takes_no_place() -> None:
    async def run() -> int:
        gate = Gate(lambda: 1)

        async def work() -> None:
            async with gate:
                await asyncio.sleep(0.01)

        first, second, third = (asyncio.create_task(work()) for _ in range(3))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(first, third)
        return gate.inside

    assert asyncio.run(run()) == 0


class Endpoint:
    """A concurrency limit in front of a simulated server, whose replies let time pass; as much is asked as may be."""

    def __init__(self, most: int = 256, max_slowdown: float | None = 2.0) -> None:
        self.clock = Clock()
        self.limit = Concurrency(most, max_slowdown, self.clock)

    def round(self, latency: Any, tokens: int = 50, is_full: bool = True) -> float:
        """Answer as many requests as may be in flight, sent now; `latency(n, in_flight)` is how long the n-th takes."""
        self.limit.gate.was_full = is_full
        in_flight = int(self.limit.now)
        sent = self.clock.now + 0.001
        self.clock.now += max(latency(n, in_flight) for n in range(in_flight)) + 0.002
        for n in range(max(in_flight, 8)):
            self.limit.replied(sent, latency(n, in_flight), tokens)
        return self.limit.now


def queueing(slots: int) -> Any:
    """Return the latency of a busy server that works on some requests for 1 s each while others wait."""
    return lambda n, in_flight: max(1.0, in_flight / slots)


def same(n: int, in_flight: int) -> float:
    """Return the latency of a server that bears anything."""
    return 1.0


def test_the_number_grows_fourfold_until_the_most() -> None:
    endpoint = Endpoint()
    assert endpoint.limit.now == START == 8
    assert [endpoint.round(same) for _ in range(5)] == [32, 128, 256, 256, 256]
    assert Endpoint(most=5).limit.now == 5


def test_a_server_that_queues_is_asked_less() -> None:
    """With 40 slots, 32 at a time take 1 s, 128 take 3.2 s: more than twice as long as at best, so less are sent."""
    endpoint = Endpoint()
    assert [endpoint.round(queueing(40)) for _ in range(2)] == [32, 128]
    assert endpoint.round(queueing(40)) == pytest.approx(0.7 * 128)
    later = [endpoint.round(queueing(40)) for _ in range(200)]
    # It is cut once 81 are in flight, and comes there in steps of 256 / 32.
    assert min(later[5:]) >= 0.7 * 81
    assert max(later[5:]) < 81 + 8


def test_with_few_slots_it_stays_near_them() -> None:
    """With 8 slots, the first 8 take 1 s and the 32 after them 1, 2, 3 or 4 s: the usual one 2.5 s."""
    endpoint = Endpoint()
    assert endpoint.round(queueing(8)) == 32
    assert endpoint.round(lambda n, in_flight: 1.0 + n // 8) == pytest.approx(0.7 * 32)
    later = [endpoint.round(queueing(8)) for _ in range(200)]
    # It is cut once 17 are in flight, and comes there in steps of at most an eighth.
    assert max(later[5:]) < 17 * 9 / 8


def test_after_a_sign_of_too_much_it_grows_in_small_steps() -> None:
    endpoint = Endpoint(most=64)
    assert [endpoint.round(same) for _ in range(2)] == [32, 64]
    endpoint.limit.refused(endpoint.clock.now + 0.001)
    # 0.7 * 64, then 64 / 32 more each time.
    assert [endpoint.round(same) for _ in range(3)] == pytest.approx([46.8, 48.8, 50.8])


def test_long_replies_are_no_sign_of_too_much() -> None:
    """A reply of 950 tokens takes ten times as long as one of 50, with 50 for starting each."""
    endpoint = Endpoint()
    endpoint.round(same, tokens=50)
    assert endpoint.round(lambda n, in_flight: 10.0, tokens=950) == 128


def test_what_less_does_not_speed_up_is_not_our_doing() -> None:
    """After three cuts without effect, the slower pace is the usual one, and the number rises again."""
    endpoint = Endpoint()
    for _ in range(3):
        endpoint.round(same)
    cut = [endpoint.round(lambda n, in_flight: 5.0) for _ in range(4)]
    assert cut == pytest.approx([256 * 0.7, 256 * 0.7**2, 256 * 0.7**3, 256 * 0.7**3 + 8])


def test_slowness_can_be_ignored() -> None:
    endpoint = Endpoint(max_slowdown=None)
    assert [endpoint.round(queueing(8)) for _ in range(3)] == [32, 128, 256]


def test_refusals_cut_once_for_all_that_was_sent_before() -> None:
    endpoint = Endpoint()
    sent = endpoint.clock.now
    endpoint.clock.now += 1.0
    for _ in range(20):
        endpoint.limit.refused(sent)
    assert endpoint.limit.now == pytest.approx(0.7 * 8)
    endpoint.clock.now += 1.0
    endpoint.limit.refused(endpoint.clock.now)
    assert endpoint.limit.now == pytest.approx(0.49 * 8)


def test_what_was_sent_before_a_change_does_not_count_after_it() -> None:
    endpoint = Endpoint()
    sent = endpoint.clock.now + 0.001
    endpoint.round(same)
    for _ in range(100):
        endpoint.limit.replied(sent, 9.0, 50)
    assert endpoint.limit.now == 32


def test_it_never_falls_below_one() -> None:
    endpoint = Endpoint()
    for _ in range(50):
        endpoint.clock.now += 1.0
        endpoint.limit.refused(endpoint.clock.now)
    assert endpoint.limit.now == 1.0


def test_nothing_grows_while_less_is_asked_than_may_be() -> None:
    assert Endpoint().round(same, is_full=False) == 8


def test_nothing_is_sent_while_the_server_asks_to_wait() -> None:
    async def run() -> list[float]:
        limit = Concurrency(8, 2.0)
        loop = asyncio.get_running_loop()
        began, waited = loop.time(), list[float]()

        async def work() -> None:
            async with limit.gate:
                waited.append(loop.time() - began)

        limit.pause(0.2)
        await asyncio.gather(*(work() for _ in range(3)))
        return waited

    assert all(0.19 < seconds < 0.6 for seconds in asyncio.run(run()))
