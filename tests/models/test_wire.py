"""What comes over the wire: replies of every form, waits that a server asks for, limits that are kept."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from time import time
from typing import Any

import httpx2
import pytest
from asking import ask, asking, rows, teacher
from chat_server import ChatServer

from stat_train.errors import StatTrainError
from stat_train.models.wire import retry_after_seconds

Start = Callable[..., ChatServer]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ("7", 7.0),
        ("0.25", 0.25),
        ("-3", 0.0),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
    ],
)
def test_how_long_a_server_asks_to_wait(given: str | None, expected: Any) -> None:
    assert retry_after_seconds(httpx2.Headers({"Retry-After": given} if given else {})) == expected


def test_a_server_may_ask_to_wait_until_a_date() -> None:
    headers = httpx2.Headers({"Retry-After": formatdate(time() + 60, usegmt=True)})
    assert retry_after_seconds(headers) == pytest.approx(60, abs=3)


def raw(message: Any, usage: Any = None, reason: Any = "stop", **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": reason}], "usage": usage} | more


def only(chat_server: Start, cache: Path, body: dict[str, Any], **settings: Any) -> Any:
    """Return the completion that a body becomes."""
    server = chat_server(raw=body)
    with asking(cache, teacher(server.url, **settings), attempts=1) as generator:
        (completion,) = generator.generate(ask([10]))
    return completion


@pytest.mark.parametrize("choices", [[None], ["x"], {"0": 1}, "choices", 1])
def test_choices_that_are_none_are_a_fault(choices: Any, chat_server: Start, tmp_path: Path) -> None:
    with pytest.raises(StatTrainError, match="a reply whose choices are none"):
        only(chat_server, tmp_path, {"choices": choices}, max_retries=0)


def test_cached_and_reasoning_tokens_are_kept_apart(chat_server: Start, tmp_path: Path) -> None:
    usage = {"prompt_tokens": 30, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 16}}
    usage |= {"completion_tokens_details": {"reasoning_tokens": 12}}
    completion = only(chat_server, tmp_path, raw({"content": "4"}, usage))
    counts = (completion.input_tokens, completion.output_tokens, completion.cached_tokens, completion.reasoning_tokens)
    assert counts == (30, 20, 16, 12)
    (row,) = rows(tmp_path, "reply")
    assert (row["cached_tokens"], row["reasoning_tokens"]) == (16, 12)
    # 30 tokens in and 20 out at 1,000 and 2,000 dollars a million.
    assert row["usd"] == pytest.approx(0.07)


def test_tokens_that_a_server_does_not_count_are_estimated(chat_server: Start, tmp_path: Path) -> None:
    """The question is 11 characters and one message: 3 tokens and 8. The reply is 9 characters: 3 tokens."""
    completion = only(chat_server, tmp_path, raw({"content": "nine char"}))
    assert (completion.input_tokens, completion.output_tokens) == (11, 3)
    assert (completion.cached_tokens, completion.reasoning_tokens) == (None, None)


@pytest.mark.parametrize(
    ("message", "reason", "text", "finish_reason", "error"),
    [
        ({"content": "4"}, "stop", "4", "stop", None),
        ({"content": "4"}, None, "4", "stop", None),
        (
            {"content": [{"type": "text", "text": "2 + 2"}, {"type": "text", "text": " = 4"}]},
            "stop",
            "2 + 2 = 4",
            "stop",
            None,
        ),
        ({"content": "half \ud83d"}, "stop", "half ?", "stop", None),
        ({"content": "Some of"}, "length", "Some of", "length", "the reply was cut off at 100 tokens (attempt 1)"),
        ({"content": None, "refusal": "I won't."}, "stop", "I won't.", "refusal", "the model refused (attempt 1)"),
        ({"content": ""}, "content_filter", "", "refusal", "the model refused (attempt 1)"),
        ({"content": None}, "stop", "", "stop", "the reply is empty (attempt 1)"),
    ],
)
def test_every_form_of_a_reply_is_understood(
    message: Any, reason: Any, text: str, finish_reason: str, error: str | None, chat_server: Start, tmp_path: Path
) -> None:
    completion = only(chat_server, tmp_path, raw(message, reason=reason))
    assert (completion.text, completion.finish_reason, completion.error) == (text, finish_reason, error)


@pytest.mark.parametrize(
    "body", [{"error": {"message": "upstream is down"}}, raw({"content": "4"}, error={"code": 502})]
)
def test_an_error_with_status_200_is_no_reply(body: dict[str, Any], chat_server: Start, tmp_path: Path) -> None:
    with pytest.raises(StatTrainError, match="an error in the place of a reply"):
        only(chat_server, tmp_path, body, max_retries=1)
    assert rows(tmp_path, "reply") == []


def test_overrides_change_what_is_sent(chat_server: Start, tmp_path: Path) -> None:
    settings = teacher("http://127.0.0.1:9/v1", request_overrides={"max_tokens": None, "top_p": 0.5, "model": "n"})
    with asking(tmp_path, settings) as generator:
        body = generator._body(next(ask([1])))
    expected = {"model": "n", "messages": [{"role": "user", "content": "question 1"}], "temperature": 0.0, "top_p": 0.5}
    assert body == expected


# -- limits -----------------------------------------------------------------------------------------------------------


def test_requests_per_minute_hold_from_the_first_one(chat_server: Start, tmp_path: Path) -> None:
    """At 600 a minute one is sent each 0.1 s: the thirteenth 1.2 s after the first; waiting is not latency."""
    server = chat_server()
    with asking(tmp_path, teacher(server.url, requests_per_minute=600)) as generator:
        list(generator.generate(ask(range(13))))
    times = sorted(row["at_seconds"] for row in server.log())
    assert 1.15 < times[-1] - times[0] < 3.0
    assert all(times[n + 5] - times[n] > 0.3 for n in range(8)), "five at once"
    assert max(row["latency_seconds"] for row in rows(tmp_path, "reply")) < 0.5


def test_tokens_per_minute_count_what_a_reply_may_be_until_it_is_known(chat_server: Start, tmp_path: Path) -> None:
    """A request may use 11 tokens and 100: at 66,600 a minute, 0.1 s each. Two in flight, 7 used of each."""
    server = chat_server(latency_seconds=0.3)
    with asking(tmp_path, teacher(server.url, tokens_per_minute=66_600)) as generator:
        list(generator.generate(ask(range(10, 14))))
    times = sorted(row["at_seconds"] for row in server.log())
    # No reply is back before 0.3 s, so nothing was given back when the first four were sent.
    assert 0.28 < times[3] - times[0] < 0.6


def test_a_server_that_asks_to_wait_is_not_asked_meanwhile(chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(fault_share=0.3, faults=["rate_limit_retry_after"], seed=7, retry_after="0.5")
    with asking(tmp_path, teacher(server.url, max_concurrency=1)) as generator:
        list(generator.generate(ask(range(10))))
    log = sorted(server.log(), key=lambda row: row["at_seconds"])
    waits = [after["at_seconds"] - row["at_seconds"] for row, after in pairwise(log) if row["done"] != "ok"]
    assert len(waits) >= 3 and all(0.5 <= wait < 1.5 for wait in waits)


def test_a_server_that_asks_to_wait_too_long_ends_the_work(chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(fault_share=1.0, faults=["rate_limit_retry_after"], retry_after="3600")
    with (
        pytest.raises(StatTrainError, match=r"asks to wait 3,600 s, longer than teacher\.max_wait_seconds = 1 "),
        asking(tmp_path, teacher(server.url)) as generator,
    ):
        list(generator.generate(ask(range(3))))
