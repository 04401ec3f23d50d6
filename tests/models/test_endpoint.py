"""Calls over the wire to a server that fails on purpose: each reply arrives once, and is paid for once."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import ask, asking, rows, teacher
from chat_server import FAULTS, ChatServer, reply_to

from stat_train.errors import StatTrainError, UserError

Start = Callable[..., ChatServer]
TRANSIENT = [fault for fault in FAULTS if fault not in ("length", "refusal")]
KEY = "sk-a-secret-that-must-not-be-seen"


def check_replies(completions: list[Any], count: int) -> None:
    """Check that every request has its own right reply, and none a second one."""
    assert sorted(int(completion.id) for completion in completions) == list(range(count))
    wrong = [c for c in completions if c.text != reply_to(f"question {c.id}") or c.error or c.finish_reason != "stop"]
    assert wrong == []


@pytest.mark.parametrize("count", [400, pytest.param(2000, marks=pytest.mark.slow)])
def test_replies_arrive_once_whatever_goes_wrong(count: int, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(fault_share=0.2, seed=7)
    with asking(tmp_path, teacher(server.url)) as generator:
        completions = list(generator.generate(ask(range(count))))
    check_replies(completions, count)
    assert server.served() == Counter(f"question {number}" for number in range(count))
    done = Counter(row["done"] for row in server.log())
    # Each fault is one of twelve, one request in five: of 400 requests, 80 fail, about seven in each way.
    assert set(done) == {"ok", *FAULTS}
    assert len(rows(tmp_path, "reply")) == count + done["length"] + done["refusal"]


@pytest.mark.parametrize("fault", TRANSIENT)
def test_after_each_fault_the_request_is_sent_again(fault: str, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(fault_share=0.5, faults=[fault], seed=3)
    # Only what hangs needs a short wait; on a busy machine a good reply may take as long, and would be asked for again.
    with asking(tmp_path, teacher(server.url, timeout_seconds=2 if fault == "hang" else 30)) as generator:
        check_replies(list(generator.generate(ask(range(12)))), 12)
    failed = sum(row["done"] == fault for row in server.log())
    assert failed > 2
    assert generator.tally.retries == failed
    assert set(server.served().values()) == {1}


def test_a_second_run_asks_nothing(chat_server: Start, tmp_path: Path) -> None:
    server = chat_server()
    for cached in (False, True):
        with asking(tmp_path, teacher(server.url), run=f"run {cached}") as generator:
            completions = list(generator.generate(ask(range(20))))
        check_replies(completions, 20)
        assert {completion.cached for completion in completions} == {cached}
        assert (generator.tally.paid, generator.tally.cached) == ((0, 20) if cached else (20, 0))
    assert len(server.log()) == 20


def test_equal_requests_are_one_call(chat_server: Start, tmp_path: Path) -> None:
    server = chat_server()
    twice = [request._replace(id=f"{request.id}{copy}") for request in ask(range(10)) for copy in "ab"]
    with asking(tmp_path, teacher(server.url)) as generator:
        completions = {completion.id: completion for completion in generator.generate(twice)}
    assert len(completions) == 20
    assert all(completions[f"{n}a"].text == completions[f"{n}b"].text == reply_to(f"question {n}") for n in range(10))
    assert len(server.log()) == 10


def test_an_edited_prompt_asks_only_its_own_calls_again(chat_server: Start, tmp_path: Path) -> None:
    server = chat_server()
    with asking(tmp_path, teacher(server.url)) as generator:
        list(generator.generate(ask(range(10), prompt_version="1")))
        list(generator.generate(ask(range(10), words="other", prompt_version="1")))
        assert len(server.log()) == 20
        list(generator.generate(ask(range(10), words="question, in other words,", prompt_version="2")))
        list(generator.generate(ask(range(10), words="other", prompt_version="1")))
    assert Counter(row["prompt"].rpartition(" ")[0] for row in server.log()) == Counter(
        {"question": 10, "other": 10, "question, in other words,": 10}
    )


@pytest.mark.parametrize(
    ("change", "asked_again"),
    [
        ({"max_concurrency": 2, "timeout_seconds": 9.0, "usd_per_million_input_tokens": 7.0}, False),
        ({"model": "other"}, True),
        ({"revision": "2"}, True),
        ({"request_overrides": {"top_p": 0.5}}, True),
    ],
    ids=str,
)
def test_a_reply_belongs_to_a_model_not_to_how_it_was_asked(
    change: dict[str, Any], asked_again: bool, chat_server: Start, tmp_path: Path
) -> None:
    first, second = chat_server(), chat_server()
    for settings in (teacher(first.url), teacher(second.url, **change)):
        with asking(tmp_path, settings) as generator:
            check_replies(list(generator.generate(ask(range(5)))), 5)
    assert len(second.log()) == (5 if asked_again else 0)


# -- replies that cannot be used --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fault", "outcome"), [("length", "cut_off"), ("refusal", "refusal")])
def test_a_bad_reply_is_kept_and_asked_for_as_often_as_allowed(
    fault: str, outcome: str, chat_server: Start, tmp_path: Path
) -> None:
    server = chat_server(fault_share=1.0, faults=[fault])
    asked = []
    for retry_bad in (False, False, True):
        with asking(tmp_path, teacher(server.url), attempts=3, retry_bad=retry_bad) as generator:
            (completion,) = generator.generate(ask([1]))
        assert completion.error and completion.finish_reason == fault
        asked.append(len(server.log()))
    assert asked == [3, 3, 6]
    kept = rows(tmp_path, "reply")
    assert [(row["attempt"], row["outcome"]) for row in kept] == [(n, outcome) for n in range(1, 7)]


def test_a_reply_that_its_reader_rejects_is_asked_for_again(chat_server: Start, tmp_path: Path) -> None:
    server = chat_server()
    with asking(tmp_path, teacher(server.url), attempts=2) as generator:
        (first,) = generator.generate(ask([1]))
        assert first.call_id and not first.error
        generator.reject(first)
        (second,) = generator.generate(ask([1]))
        assert (second.cached, second.error) == (False, None)
        generator.reject(first)
        (third,) = generator.generate(ask([1]))
        assert third.cached and third.error and third.text == first.text
    with asking(tmp_path, teacher(server.url), attempts=2) as generator:
        (later,) = generator.generate(ask([1]))
        assert later.error == third.error
    assert len(server.log()) == 2


def test_a_request_that_never_succeeds_among_others_that_do_is_left_unanswered(
    chat_server: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stat_train.models.endpoint.FIRST_WAIT_SECONDS", 0.01)
    # The fault of a prompt depends on the seed: with this one, two of these 30 fail six times in a row.
    server = chat_server(fault_share=0.55, faults=["error_500"], seed=6)
    with asking(tmp_path, teacher(server.url, max_retries=5), attempts=1) as generator:
        completions = list(generator.generate(ask(range(30))))
    tries = Counter(row["prompt"] for row in server.log() if row["done"] == "error_500")
    hopeless = {prompt for prompt, count in tries.items() if count == 6}
    assert {f"question {c.id}" for c in completions if c.error} == hopeless != set()
    assert all("injected: error_500" in (c.error or "") for c in completions if c.error)


# -- when nothing can be had ------------------------------------------------------------------------------------------


def test_a_server_that_is_gone_ends_the_work(chat_server: Start, tmp_path: Path) -> None:
    server = chat_server()
    server.stop()
    with (
        pytest.raises(StatTrainError, match=r"no reply in 2 tries.*ConnectError") as caught,
        asking(tmp_path, teacher(server.url, max_retries=1)) as generator,
    ):
        list(generator.generate(ask(range(3))))
    assert caught.value.exit_code == 1
    assert rows(tmp_path, "reply") == []


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"api_key": "another"}, ["HTTP 401", "Incorrect API key provided: [API key].", "teacher.api_key_env"]),
        ({"out_of_funds": True}, ["HTTP 429", "You exceeded your current quota.", "add funds"]),
    ],
)
def test_what_asking_again_will_not_change_ends_the_work_at_once(
    plan: dict[str, Any], said: list[str], chat_server: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", KEY)
    server = chat_server(**plan)
    settings = teacher(server.url, api_key_env="THE_KEY", max_concurrency=4)
    with pytest.raises(UserError) as caught, asking(tmp_path, settings) as generator:
        list(generator.generate(ask(range(500))))
    assert all(words in str(caught.value) for words in said), caught.value
    # Nobody but those under way has asked.
    assert len(server.log()) <= 4
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}", "sk-a secret", "sk-ключ", "sk-\x07"])
def test_a_key_that_cannot_be_one_is_refused_unseen_before_anything_is_sent(
    key: str, chat_server: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line end is easily put into an environment, and no header can hold it."""
    monkeypatch.setattr("os.environ", {**os.environ, "THE_KEY": key})
    server = chat_server(api_key=KEY)
    with pytest.raises(UserError, match=r"THE_KEY: the key in it \(not shown\) holds a space, a line end") as refused:
        asking(tmp_path, teacher(server.url, api_key_env="THE_KEY")).__enter__()
    assert "sk-" not in str(refused.value) and server.log() == []


@pytest.mark.parametrize("key", ["none", "token", "e"])
def test_a_stand_in_for_a_key_changes_no_reply(
    key: str, chat_server: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers of one's own take any; it may be a word of the reply, or part of its form."""
    monkeypatch.setenv("THE_KEY", key)
    message = {"role": "assistant", "content": "none of the tokens"}
    usage = {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50}
    server = chat_server(raw={"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})
    with asking(tmp_path, teacher(server.url, api_key_env="THE_KEY")) as generator:
        (completion,) = generator.generate(ask([1]))
    assert (completion.text, completion.input_tokens, completion.output_tokens) == ("none of the tokens", 30, 20)


@pytest.mark.parametrize("empty_at", [0, 5])
def test_an_empty_reply_does_not_turn_schemas_off(empty_at: int, chat_server: Start, tmp_path: Path) -> None:
    """Models that think do give one now and then."""
    server = chat_server(empty=f"question {empty_at}")
    with asking(tmp_path, teacher(server.url, max_concurrency=1), attempts=1) as generator:
        list(generator.generate(ask(range(10), schema=SCHEMA, format_hint="Use tags.")))
    assert [row["schema"] for row in server.log()] == [True] * 10


def test_an_absent_key_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THE_KEY", raising=False)
    with pytest.raises(UserError, match=r"teacher\.api_key_env = THE_KEY: .*no such variable"):
        asking(tmp_path, teacher("http://127.0.0.1:9/v1", api_key_env="THE_KEY")).__enter__()


def test_the_key_is_in_no_file(chat_server: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", KEY)
    server = chat_server(api_key=KEY, fault_share=0.3, seed=2)
    with asking(tmp_path, teacher(server.url, api_key_env="THE_KEY")) as generator:
        # A server that sends back what it is sent, the key included.
        check_replies(list(generator.generate(ask(range(20)))), 20)
        list(generator.generate(ask([1], words=f"My key is {KEY}.")))
    replies = [row["text"] for row in rows(tmp_path, "reply")]
    assert any("My key is [API key]." in text for text in replies)
    assert not any(KEY in text for text in replies)


# -- structured replies, several servers ------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"reply": {"type": "string"}}, "required": ["reply"]}


def test_a_schema_is_sent_where_it_is_taken(chat_server: Start, tmp_path: Path) -> None:
    server = chat_server()
    with asking(tmp_path, teacher(server.url)) as generator:
        completions = list(generator.generate(ask(range(10), schema=SCHEMA, format_hint="Use tags.")))
    assert {json.loads(c.text)["reply"] for c in completions} == {reply_to(f"question {n}") for n in range(10)}
    assert all(row["schema"] for row in server.log())


def test_what_another_process_has_paid_for_meanwhile_is_not_asked_again(chat_server: Start, tmp_path: Path) -> None:
    """The later one waits for its first request, which finds out about schemas, and reads the other's replies then."""
    server = chat_server()
    with asking(tmp_path, teacher(server.url)) as late:
        with asking(tmp_path, teacher(server.url)) as early:
            paid = {c.id: c.text for c in early.generate(ask(range(10), schema=SCHEMA, format_hint="Use tags."))}
        given = {c.id: c.text for c in late.generate(ask(range(10), schema=SCHEMA, format_hint="Use tags."))}
    assert (given, len(server.log())) == (paid, 10)


@pytest.mark.parametrize(("schema", "asked_in_vain"), [("refused", 1), ("ignored", 1)])
def test_a_server_without_schemas_is_found_out_once(
    schema: str, asked_in_vain: int, chat_server: Start, tmp_path: Path
) -> None:
    server = chat_server(schema=schema)
    for numbers in (range(10), range(10, 20)):
        with asking(tmp_path, teacher(server.url)) as generator:
            completions = list(generator.generate(ask(numbers, schema=SCHEMA, format_hint="Use tags.")))
        assert {c.text for c in completions} == {reply_to(f"question {n}\n\nUse tags.") for n in numbers}
    assert sum(row["schema"] for row in server.log()) == asked_in_vain
    assert len(server.log()) == 20 + asked_in_vain


def test_several_servers_share_the_work_and_a_dead_one_does_not_stop_it(chat_server: Start, tmp_path: Path) -> None:
    servers = [chat_server(latency_seconds=0.05) for _ in range(3)]
    servers[1].stop()
    with asking(tmp_path, teacher([server.url for server in servers])) as generator:
        check_replies(list(generator.generate(ask(range(60)))), 60)
    counts = [len(server.log()) for server in servers]
    assert counts[1] == 0
    assert min(counts[0], counts[2]) > 20


def test_the_caller_may_stop_listening(chat_server: Start, tmp_path: Path) -> None:
    server = chat_server()
    with asking(tmp_path, teacher(server.url)) as generator:
        completions = generator.generate(ask(range(500)))
        next(completions)
        completions.close()  # type: ignore[attr-defined]
    claimed, released = (Counter(row["key"] for row in rows(tmp_path, kind)) for kind in ("claim", "release"))
    assert claimed and claimed <= released
    assert len(server.log()) < 500
