"""The ledger: what is in it stays, whoever writes it and whatever happens to them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from random import Random
from typing import Any

import pytest

from stat_train.errors import UserError
from stat_train.models import segments
from stat_train.models.generator import Request, Sampling
from stat_train.models.ledger import Ledger, Reply, Spent, call_key
from stat_train.models.replies import reply_row
from stat_train.store import this_host

MODEL = {"name": "m", "revision": None}
REQUEST = Request("1", [{"role": "user", "content": "What is 1 + 1?"}], Sampling(0.0, 10), 0)


def reply(text: str, attempt: int = 1, outcome: Any = "ok", time: float = 1.0) -> Reply:
    error = None if outcome == "ok" else outcome
    return Reply(attempt, outcome, text, "stop", 3, 4, None, None, 0.5, error, time)


def row(key: str, *given: Any, **more: Any) -> dict[str, Any]:
    return reply_row(REQUEST, key, MODEL, reply(*given, **more), 0.1)


def write_segment(cache: Path, name: str, *rows: dict[str, Any], end: str = "") -> Path:
    """Write what another process would have left."""
    folder = cache / "ledger"
    folder.mkdir(exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name).write_text(lines + end)
    return folder / name


def opening(pid: int, host: str | None = None) -> dict[str, Any]:
    return {"kind": "open", "host": host or this_host(), "pid": pid, "time": 0}


def dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def value(future: Future[bool]) -> bool:
    return future.result(timeout=10)


# -- rows -------------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_by_the_next(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        assert ledger.usable("a") is None and ledger.attempts("a") == 0
        value(ledger.write([row("a", "zwei \u2028 \u4e8c")]))
    with Ledger(tmp_path) as ledger:
        found = ledger.usable("a")
        assert found == reply("zwei \u2028 \u4e8c")
        assert ledger.attempts("a") == 1


def test_reading_writes_nothing(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        assert ledger.last("a") is None
    assert list(tmp_path.iterdir()) == []


def test_a_row_holds_what_was_asked(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        value(ledger.write([row(call_key(REQUEST, MODEL), "2")]))
    (path,) = (tmp_path / "ledger").iterdir()
    kept = json.loads(path.read_text().splitlines()[1])
    assert kept["request"]["messages"] == REQUEST.messages
    expected = {"text": "2", "usd": 0.5, "input_tokens": 3, "output_tokens": 4, "latency_seconds": 0.1, "model": MODEL}
    assert {name: kept[name] for name in expected} == expected
    assert {"finish_reason", "outcome", "attempt", "prompt_version", "time", "cached_tokens"} < set(kept)


@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        ({"id": "2"}, True),
        ({"prompt_version": "7"}, True),
        ({"messages": [{"role": "user", "content": "What is 1 + 2?"}]}, False),
        ({"sampling": Sampling(0.1, 10)}, False),
        ({"sampling": Sampling(0.0, 11)}, False),
        ({"sample": 1}, False),
        ({"schema": {"type": "object"}}, False),
        ({"format_hint": "Use tags."}, False),
    ],
    ids=str,
)
def test_a_call_is_known_by_what_its_reply_depends_on(change: dict[str, Any], is_same: bool) -> None:
    assert (call_key(REQUEST._replace(**change), MODEL) == call_key(REQUEST, MODEL)) == is_same
    assert call_key(REQUEST, MODEL | {"revision": "2"}) != call_key(REQUEST, MODEL)


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_torn_last_line_is_passed_over(cut: int, tmp_path: Path) -> None:
    whole = json.dumps(row("b", "two"))
    path = write_segment(tmp_path, "x.jsonl", opening(dead_pid()), row("a", "one"), end=whole[: cut * len(whole) // 40])
    with Ledger(tmp_path) as ledger:
        assert ledger.usable("a") and not ledger.usable("b")
        # Its writer was only slow: once the line is whole, it counts.
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]) + whole + "\n")
        value(ledger.claim("c", 1, []))
        assert ledger.usable("b") == reply("two")


def test_a_spoilt_line_does_not_take_its_neighbours_along(tmp_path: Path) -> None:
    path = write_segment(tmp_path, "x.jsonl", opening(dead_pid()), row("a", "one"))
    path.write_bytes(path.read_bytes() + b"\0\0\0{\xff\n[1]\n" + json.dumps(row("b", "two")).encode() + b"\n")
    with Ledger(tmp_path) as ledger:
        assert ledger.usable("a") and ledger.usable("b")


def test_after_a_full_disk_the_torn_line_stands_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = segments.SegmentWriter(tmp_path / "ledger")
    writer.append([row("a", "one")])

    def full(descriptor: int) -> None:
        writer.file.truncate(writer.file.tell() - 20)
        writer.file.seek(0, os.SEEK_END)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            writer.append([row("b", "two")])
    writer.append([row("c", "three")])
    writer.close()
    with Ledger(tmp_path) as ledger:
        assert ledger.usable("a") and not ledger.usable("b") and ledger.usable("c")


def test_whoever_waits_is_told_that_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(tmp_path) as ledger:
        value(ledger.write([row("a", "one")]))
        with monkeypatch.context() as broken:
            broken.setattr(
                os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device"))
            )
            with pytest.raises(OSError, match="No space left"):
                value(ledger.claim("b", 1, [row("b", "two")]))
        assert value(ledger.claim("b", 1, []))


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger").touch()
    with pytest.raises(UserError, match=r"ledger: cannot be written .*; choose another cache_dir"):
        Ledger(tmp_path)._own_segment()


def test_the_first_of_two_replies_to_one_call_wins_for_every_reader(tmp_path: Path) -> None:
    write_segment(tmp_path, "a.jsonl", row("k", "second", time=2.0))
    write_segment(tmp_path, "b.jsonl", row("k", "first", time=1.0))
    with Ledger(tmp_path) as ledger:
        found = ledger.usable("k")
        assert found and found.text == "first" and ledger.attempts("k") == 1


# -- replies that cannot be used --------------------------------------------------------------------------------------


def test_bad_replies_are_counted_and_the_first_good_one_wins(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        value(ledger.write([row("k", "no", 1, "refusal"), row("k", "cut", 2, "cut_off")]))
        last = ledger.last("k")
        assert ledger.usable("k") is None and last and last.outcome == "cut_off" and ledger.attempts("k") == 2
        value(ledger.write([row("k", "good", 3), row("k", "better", 4)]))
        found = ledger.usable("k")
        assert found and found.text == "good"


def test_a_late_reader_of_a_rejected_reply_does_not_reject_the_next_one(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        value(ledger.write([row("k", "what?")]))
        ledger.reject("k", "what?")
        value(ledger.write([row("k", "good", 2)]))
        ledger.reject("k", "what?")
        found = ledger.usable("k")
        assert found and found.text == "good"


def test_a_rejected_reply_stays_rejected(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        value(ledger.write([row("k", "what?")]))
        ledger.reject("k", "what?")
        ledger.reject("k", "what?")
        assert ledger.usable("k") is None
    with Ledger(tmp_path) as ledger:
        last = ledger.last("k")
        assert ledger.usable("k") is None and last and last.outcome == "unparseable" and ledger.attempts("k") == 1
        value(ledger.write([row("k", "good", 2)]))
        found = ledger.usable("k")
        assert found and found.text == "good"


# -- claims -----------------------------------------------------------------------------------------------------------


def test_one_of_two_ledgers_makes_the_call_and_the_other_finds_its_reply(tmp_path: Path) -> None:
    with Ledger(tmp_path) as one, Ledger(tmp_path) as other:
        assert value(one.claim("k", 1, []))
        assert not value(other.claim("k", 1, []))
        value(one.write([row("k", "mine")], release="k"))
        # Not granted although it is free: there is a first attempt meanwhile.
        assert [value(other.claim("k", 1, [])) for _ in range(2)] == [False, False]
        assert other.usable("k") == reply("mine")
        assert value(other.claim("k", 2, []))


def test_a_claim_that_is_given_up_is_free(tmp_path: Path) -> None:
    with Ledger(tmp_path) as one, Ledger(tmp_path) as other:
        assert value(one.claim("k", 1, []))
        value(one.write([], release="k"))
        assert value(other.claim("k", 1, []))


def test_rows_of_a_claim_are_written_only_if_it_is_granted(tmp_path: Path) -> None:
    reserve = {
        "kind": "reserve",
        "run": "r",
        "key": "k",
        "attempt": 1,
        "charge": 0,
        "calls": 1,
        "tokens": 9,
        "usd": 1.0,
    }
    settle = {"kind": "settle", "charge": 0, "calls": 0, "tokens": 0, "usd": 0.0}
    with Ledger(tmp_path) as one, Ledger(tmp_path) as other:
        assert value(one.claim("k", 1, []))
        assert not value(other.claim("k", 1, [reserve], undo=[settle]))
        assert other.spent("r") == Spent()
        assert value(other.claim("l", 1, [reserve], undo=[settle]))
        assert other.spent("r") == Spent(1, 9, 1.0)


def test_two_that_claim_in_the_same_moment_do_not_both_get_it(tmp_path: Path) -> None:
    """The other's claim appears after ours was written and before we look: both give way."""
    with Ledger(tmp_path) as ledger:
        value(ledger.claim("x", 1, []))
        read = ledger._read_others

        def read_late(own: str) -> None:
            write_segment(tmp_path, "other.jsonl", opening(os.getpid()), {"kind": "claim", "key": "k"})
            read(own)

        ledger._read_others = read_late  # type: ignore[method-assign]
        assert not value(ledger.claim("k", 1, []))
    assert [line["kind"] for line in lines_of(tmp_path)][-3:] == ["claim", "release", "closed"]


def lines_of(cache: Path) -> list[dict[str, Any]]:
    (own,) = (path for path in (cache / "ledger").iterdir() if path.name != "other.jsonl")
    return [json.loads(line) for line in own.read_text().splitlines()]


CLAIM = {"kind": "claim", "key": "k"}


@pytest.mark.parametrize(
    ("rows", "granted"),
    [
        ([opening(0), CLAIM], True),
        ([opening(os.getpid()), CLAIM], False),
        ([opening(os.getpid()), CLAIM, {"kind": "release", "key": "k"}], True),
        ([opening(os.getpid()), CLAIM, {"kind": "closed"}], True),
        ([opening(0, host="another"), CLAIM], False),
    ],
    ids=["its process is gone", "it lives", "it has given it up", "it has closed", "on another host"],
)
def test_what_a_dead_process_has_claimed_is_free(rows: list[dict[str, Any]], granted: bool, tmp_path: Path) -> None:
    rows = [row | {"pid": dead_pid()} if row.get("pid") == 0 else row for row in rows]
    write_segment(tmp_path, "other.jsonl", *rows)
    with Ledger(tmp_path) as ledger:
        assert value(ledger.claim("k", 1, [])) == granted


def test_a_silent_process_of_another_host_loses_its_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_segment(tmp_path, "other.jsonl", opening(1, host="another"), CLAIM)
    monkeypatch.setattr(segments, "LEASE_EXPIRES_SECONDS", 0.3)
    with Ledger(tmp_path) as ledger:
        threading.Event().wait(0.2)
        os.utime(path)
        value(ledger.claim("x", 1, []))
        threading.Event().wait(0.2)
        # It has touched its segment 0.2 s ago by our clock, so it lives.
        assert not value(ledger.claim("k", 1, []))
        threading.Event().wait(0.4)
        assert value(ledger.claim("k", 1, []))


def test_a_process_that_only_waits_for_others_shows_that_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "HEARTBEAT_SECONDS", 0.05)
    write_segment(tmp_path, "other.jsonl", opening(os.getpid()), CLAIM)
    with Ledger(tmp_path) as ledger:
        value(ledger.claim("x", 1, []))
        (own,) = (path for path in (tmp_path / "ledger").iterdir() if path.name != "other.jsonl")
        before = own.stat()
        for _ in range(20):
            assert not value(ledger.claim("k", 1, []))
        assert own.stat().st_size == before.st_size
        assert own.stat().st_mtime_ns > before.st_mtime_ns


def test_many_ledgers_at_once_make_each_call_once(tmp_path: Path) -> None:
    """Each makes a call as soon as it gets the claim; who does not get it tries again until there is a reply."""
    ledgers, keys = [Ledger(tmp_path) for _ in range(4)], [str(number) for number in range(40)]
    made: list[str] = []

    def work(ledger: Ledger, order: Random) -> None:
        left = order.sample(keys, len(keys))
        while left := [key for key in left if not ledger.usable(key)]:
            for key, future in [(key, ledger.claim(key, 1, [])) for key in left[:10]]:
                if value(future):
                    made.append(key)
                    value(ledger.write([row(key, "made")], release=key))
            time.sleep(order.uniform(0, 0.02))

    threads = [threading.Thread(target=work, args=(ledger, Random(n))) for n, ledger in enumerate(ledgers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made, key=int) == keys
    for ledger in ledgers:
        ledger.close()
