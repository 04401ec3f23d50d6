"""What the ledger holds of a few calls: who was asked by which prompt, and which run paid what for the replies."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from stat_train.models.segments import Row, row_of

# The first of a row is its own: what a text holds has its quotation marks escaped.
KEY = re.compile(rb'"key": "([^"]*)"')


class Payment(NamedTuple):
    """What a run paid for one attempt at a call; at most so much when the attempt's end is not known (`settled`)."""

    run: str
    attempt: int
    tokens: int
    usd: float
    settled: bool


class Call(NamedTuple):
    """A call of the ledger; outcome and tokens are those of its last reply, of `attempts` in all.

    The prompt is None where none was named, as in calls made before names were kept; `priced` is False when the price
    of the model was not known, and the payments then are of 0 dollars.
    """

    id: str
    model: str
    revision: str | None
    prompt_name: str | None
    prompt_version: str | None
    attempts: int
    outcome: str
    input_tokens: int
    output_tokens: int
    priced: bool
    payments: list[Payment]


def find_calls(cache_dir: Path, ids: Collection[str]) -> dict[str, Call]:
    """Return the calls with these ids, by id; those of which the ledger has no reply are absent.

    Every segment is read, but only the rows of these calls are looked into: a ledger can hold millions.
    """
    replies: defaultdict[str, dict[int, Row]] = defaultdict(dict)
    payments: defaultdict[str, list[Payment]] = defaultdict(list)
    rejected = set[tuple[str, int]]()
    for path in sorted((cache_dir / "ledger").glob("*.jsonl")) if ids else []:
        charges: dict[int, Row] = {}
        for row in _rows_about(path, set(ids)):
            if row.get("kind") == "reply":
                first = replies[row["key"]].setdefault(row["attempt"], row)
                if row["time"] < first["time"]:
                    replies[row["key"]][row["attempt"]] = row
            elif row.get("kind") == "reject":
                rejected.add((row["key"], row["attempt"]))
            elif row.get("kind") == "reserve":
                charges[row["charge"]] = row
            elif row.get("kind") == "settle" and (reserved := charges.pop(row["charge"], None)):
                # A call that was not made after all was settled with nothing.
                payments[reserved["key"]] += [_payment(reserved, row, settled=True)] if row["calls"] else []
        for reserved in charges.values():
            payments[reserved["key"]].append(_payment(reserved, reserved, settled=False))
    return {id: _call(id, replies[id], payments[id], rejected) for id in ids if id in replies}


def _rows_about(path: Path, ids: set[str]) -> Iterator[Row]:
    """Yield the rows of these calls, and those that name no call: a charge is settled by its number."""
    with path.open("rb") as lines:
        for line in lines:
            key = KEY.search(line)
            if (key is None or key[1].decode() in ids) and (row := row_of(line)):
                yield row


def _payment(reserved: Row, amount: Row, settled: bool) -> Payment:
    return Payment(reserved["run"], reserved["attempt"], amount["tokens"], amount["usd"], settled)


def _call(id: str, replies: dict[int, Row], payments: list[Payment], rejected: set[tuple[str, int]]) -> Call:
    last = replies[max(replies)]
    unread = last["outcome"] == "ok" and (id, last["attempt"]) in rejected
    return Call(
        id=id,
        model=last["model"]["name"],
        revision=last["model"].get("revision"),
        prompt_name=last.get("prompt_name"),
        prompt_version=last.get("prompt_version"),
        attempts=len(replies),
        outcome="unparseable" if unread else last["outcome"],
        input_tokens=last["input_tokens"],
        output_tokens=last["output_tokens"],
        priced=all(reply["usd"] is not None for reply in replies.values()),
        payments=payments,
    )
