"""What the ledger holds of single calls, read from segments that the tests write row by row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stat_train.models.calls import Payment, find_calls

CALL, OTHER = "0123456789abcdef", "fedcba9876543210"
Row = dict[str, Any]


def reply(attempt: int = 1, outcome: str = "ok", key: str = CALL, time: float = 1.0, **about: Any) -> Row:
    """Return a reply's row; its text looks like a row of another call."""
    row = {"kind": "reply", "key": key, "model": {"name": "m", "revision": None}, "prompt_version": "v"}
    row |= {"attempt": attempt, "outcome": outcome, "text": '"key": "' + OTHER, "input_tokens": 10 * attempt}
    return row | {"output_tokens": 5, "usd": 0.25, "time": time} | about


def reserve(charge: int, attempt: int = 1, key: str = CALL, run: str = "/runs/a") -> Row:
    return {"kind": "reserve", "run": run, "key": key, "attempt": attempt, "charge": charge} | spent(900, 9.0)


def settle(charge: int, tokens: int, usd: float, calls: int = 1) -> Row:
    return {"kind": "settle", "charge": charge} | spent(tokens, usd, calls)


def spent(tokens: int, usd: float, calls: int = 1) -> Row:
    return {"calls": calls, "tokens": tokens, "usd": usd}


def write(cache: Path, name: str, *rows: Row, torn: str = "") -> None:
    (cache / "ledger").mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (cache / "ledger" / f"{name}.jsonl").write_text(text + torn)


def test_a_call_has_its_model_its_prompt_its_tokens_and_its_price(tmp_path: Path) -> None:
    rows = reserve(0), reply(prompt_name="rewrite"), settle(0, 15, 0.25)
    write(tmp_path, "one", *rows, reserve(1, key=OTHER), reply(key=OTHER), settle(1, 16, 0.5))
    (found,) = find_calls(tmp_path, [CALL]).values()
    assert (found.id, found.model, found.prompt_name, found.prompt_version) == (CALL, "m", "rewrite", "v")
    assert (found.attempts, found.outcome, found.input_tokens, found.output_tokens) == (1, "ok", 10, 5)
    assert found.payments == [Payment("/runs/a", 1, 15, 0.25, settled=True)] and found.priced


def test_rows_of_before_prompts_were_named_have_none(tmp_path: Path) -> None:
    write(tmp_path, "one", reserve(0), reply(), settle(0, 15, 0.25))
    assert find_calls(tmp_path, [CALL])[CALL].prompt_name is None


def test_every_attempt_is_paid_by_the_run_that_made_it(tmp_path: Path) -> None:
    """A first reply that could not be read, a process killed at the second, a third by another run.

    Charges are numbered by process: both processes have one of number 0.
    """
    write(tmp_path, "a", reserve(0), reply(), settle(0, 15, 0.25), {"kind": "reject", "key": CALL, "attempt": 1})
    write(tmp_path, "b", reserve(0, attempt=2), torn=json.dumps(settle(0, 1, 1.0))[:-3])
    write(tmp_path, "c", reserve(0, 2, run="/runs/b"), reply(2, "cut_off"), settle(0, 25, 0.5))
    found = find_calls(tmp_path, [CALL])[CALL]
    assert (found.attempts, found.outcome, found.input_tokens) == (2, "cut_off", 20)
    assert found.payments == [
        Payment("/runs/a", 1, 15, 0.25, settled=True),
        Payment("/runs/a", 2, 900, 9.0, settled=False),
        Payment("/runs/b", 2, 25, 0.5, settled=True),
    ]


def test_a_call_that_was_given_up_before_it_was_sent_costs_nothing(tmp_path: Path) -> None:
    write(tmp_path, "a", reserve(0), settle(0, 0, 0.0, calls=0))
    write(tmp_path, "b", reserve(0), reply(), settle(0, 15, 0.25))
    assert find_calls(tmp_path, [CALL])[CALL].payments == [Payment("/runs/a", 1, 15, 0.25, settled=True)]


def test_of_two_replies_to_one_attempt_the_first_counts(tmp_path: Path) -> None:
    write(tmp_path, "a", reply(time=2.0, output_tokens=7))
    write(tmp_path, "b", reply(time=1.0, output_tokens=6))
    assert find_calls(tmp_path, [CALL])[CALL].output_tokens == 6


def test_a_reply_that_its_reader_rejected_is_called_so(tmp_path: Path) -> None:
    write(tmp_path, "a", reply(), {"kind": "reject", "key": CALL, "attempt": 1})
    assert find_calls(tmp_path, [CALL])[CALL].outcome == "unparseable"


def test_a_price_that_was_not_known_is_not_one_of_nothing(tmp_path: Path) -> None:
    write(tmp_path, "a", reserve(0), reply(usd=None), settle(0, 15, 0.0))
    assert find_calls(tmp_path, [CALL])[CALL].priced is False


def test_what_the_ledger_does_not_have_is_absent(tmp_path: Path) -> None:
    assert find_calls(tmp_path, [CALL]) == {}
    write(tmp_path, "a", reserve(0), reply(key=OTHER))
    assert find_calls(tmp_path, [CALL]) == {} and find_calls(tmp_path, []) == {}
