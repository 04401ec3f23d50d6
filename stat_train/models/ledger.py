"""The ledger: every call that was ever paid for, with its reply, so that none is paid for again.

It is a folder of append-only segments, one per writing process, merged by all readers; of the replies to one call the
first that can be used wins. Rows are on the disk before anything is done with them. There are these kinds of rows:
`claim` and `release` (who makes a call), `reserve` and `settle` (what it may cost, and what it did), `reply`, `reject`
(a reply's reader could not parse it), `no_schema` (a model whose server does not hold replies to a JSON schema).

Two processes that want the same call do not both make it: each writes its claim first and looks at the claims of the
others then, so at least one of them sees the other's, and whoever sees one of a live process gives up its own for a
while. This needs nothing of the file system but that what was written can be read.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from stat_train.errors import UserError
from stat_train.models.generator import Request
from stat_train.models.segments import Row, Segment, SegmentWriter
from stat_train.store import HEARTBEAT_SECONDS, content_hash

# A trip to the disk takes as long for one row as for many, so the first waits a moment for others.
GATHER_SECONDS = 0.004

Outcome = Literal["ok", "refusal", "cut_off", "unparseable", "error"]


class Reply(NamedTuple):
    """One reply of the ledger; `attempt` counts the replies to the same call, from 1."""

    attempt: int
    outcome: Outcome
    text: str
    finish_reason: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int | None
    reasoning_tokens: int | None
    usd: float | None
    error: str | None
    time: float


class Spent(NamedTuple):
    """What calls cost: `calls` are replies paid for; `usd` is 0 where the price is unknown."""

    calls: int = 0
    tokens: int = 0
    usd: float = 0.0

    def plus(self, other: Spent) -> Spent:
        """Return the sum."""
        return Spent(self.calls + other.calls, self.tokens + other.tokens, self.usd + other.usd)

    def minus(self, other: Spent) -> Spent:
        """Return the difference."""
        return Spent(self.calls - other.calls, self.tokens - other.tokens, self.usd - other.usd)


def call_key(request: Request, model: dict[str, Any]) -> str:
    """Return what identifies a call: all that its reply depends on, and neither who asks nor where the server is."""
    asked = {"messages": request.messages, "sampling": request.sampling.identity(), "sample": request.sample}
    return content_hash(asked | {"schema": request.schema, "format_hint": request.format_hint, "model": model})


class _Index:
    """What the rows say, merged."""

    def __init__(self) -> None:
        self.replies: defaultdict[str, dict[int, Reply]] = defaultdict(dict)
        self.rejected = set[tuple[str, int]]()
        self.spent: defaultdict[str, Spent] = defaultdict(Spent)
        self.open_charges: dict[tuple[str, int], tuple[str, Spent]] = {}
        self.without_schema = set[str]()
        self.claims: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, segment: str, row: Row) -> None:
        """Take in a row of a segment; unknown kinds are passed over."""
        kind = row.get("kind")
        if kind == "reply":
            reply = Reply(*(row[name] for name in Reply._fields))
            first = self.replies[row["key"]].setdefault(reply.attempt, reply)
            if reply.time < first.time:
                self.replies[row["key"]][reply.attempt] = reply
        elif kind == "claim":
            self.claims[row["key"]].add(segment)
        elif kind == "release":
            self.claims[row["key"]].discard(segment)
        elif kind == "reject":
            self.rejected.add((row["key"], row["attempt"]))
        elif kind == "reserve":
            worst = Spent(1, row["tokens"], row["usd"])
            self.open_charges[segment, row["charge"]] = row["run"], worst
            self.spent[row["run"]] = self.spent[row["run"]].plus(worst)
        elif kind == "settle":
            self._settle((segment, row["charge"]), Spent(row["calls"], row["tokens"], row["usd"]))
        elif kind == "no_schema":
            self.without_schema.add(row["model"])

    def _settle(self, charge: tuple[str, int], actual: Spent) -> None:
        if found := self.open_charges.pop(charge, None):
            run, worst = found
            self.spent[run] = self.spent[run].minus(worst).plus(actual)


class _Job(NamedTuple):
    """Rows to write; with a `claim` (key, attempt) only if the call is free, and `undo` too if it proves not to be."""

    rows: Sequence[Row]
    claim: tuple[str, int] | None
    undo: Sequence[Row]
    done: Future[bool]


class Ledger:
    """The ledger under one cache folder; a context manager. Nothing is written before the first claim or row.

    All methods may be called from any thread; what takes time gives a future. Futures raise OSError when the disk does
    not take the rows; the first row of all raises UserError when the folder cannot be written.
    """

    def __init__(self, cache_dir: Path) -> None:
        self.folder = cache_dir / "ledger"
        self.index = _Index()
        self.segments: dict[str, Segment] = {}
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.starting, self.closed = threading.Lock(), False
        self.writer: threading.Thread | None = None
        self._read_others("")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # -- what is known ------------------------------------------------------------------------------------------------

    def usable(self, key: str) -> Reply | None:
        """Return the reply that a call has, if it has one that can be used."""
        replies = sorted(self.index.replies.get(key, {}).items())
        usable = (reply for attempt, reply in replies if (key, attempt) not in self.index.rejected)
        return next((reply for reply in usable if reply.outcome == "ok"), None)

    def last(self, key: str) -> Reply | None:
        """Return the last reply to a call, with `unparseable` as the outcome of one that its reader rejected."""
        attempt, reply = max(self.index.replies.get(key, {}).items(), default=(0, None))
        if reply and reply.outcome == "ok" and (key, attempt) in self.index.rejected:
            return reply._replace(outcome="unparseable", error="the reply could not be read")
        return reply

    def attempts(self, key: str) -> int:
        """Return how many replies a call has had."""
        return max(self.index.replies.get(key, {}), default=0)

    def spent(self, run: str) -> Spent:
        """Return what a run has spent in all its processes; what was not settled counts at its worst."""
        return self.index.spent[run]

    def unsettled(self, run: str) -> Spent:
        """Return the part of that which was reserved for calls whose end is not known."""
        total = Spent()
        for owner, worst in list(self.index.open_charges.values()):
            total = total.plus(worst) if owner == run else total
        return total

    def holds_to_schema(self, model: dict[str, Any]) -> bool:
        """Tell whether the model's server has not been found to ignore or refuse JSON schemas."""
        return content_hash(model) not in self.index.without_schema

    # -- what is added ------------------------------------------------------------------------------------------------

    def claim(self, key: str, attempt: int, rows: Sequence[Row], undo: Sequence[Row] = ()) -> Future[bool]:
        """Claim the right to make a call and write rows about it, before it is made.

        False when another live process has it, or when it had that many attempts meanwhile: look for its reply again.
        The rows are then not written, or followed by those that undo them.
        """
        claimed, released = ({"kind": kind, "key": key} for kind in ("claim", "release"))
        return self._submit(_Job([claimed, *rows], (key, attempt), [*undo, released], Future()))

    def write(self, rows: Sequence[Row], release: str | None = None) -> Future[bool]:
        """Write rows, and give up the claim on a call with them."""
        released = [{"kind": "release", "key": release}] if release else []
        return self._submit(_Job([*rows, *released], None, (), Future()))

    def reject(self, key: str, text: str) -> None:
        """Take back the reply of a call because its reader could not parse it; the call may then be made again.

        A reply with another text has come in its place meanwhile, and stays.
        """
        if (reply := self.usable(key)) and reply.text == text:
            self.index.rejected.add((key, reply.attempt))
            self.write([{"kind": "reject", "key": key, "attempt": reply.attempt, "time": time.time()}])

    def note_no_schema(self, model: dict[str, Any]) -> None:
        """Remember that the model's server does not hold replies to a JSON schema."""
        if self.holds_to_schema(model):
            self.index.without_schema.add(content_hash(model))
            self.write([{"kind": "no_schema", "model": content_hash(model), "name": model.get("name")}])

    def close(self) -> None:
        """Write what is left and release all claims."""
        with self.starting:
            self.closed = True
        if self.writer:
            self.jobs.put(None)
            self.writer.join()

    # -- the writing thread -------------------------------------------------------------------------------------------

    def _submit(self, job: _Job) -> Future[bool]:
        with self.starting:
            if self.closed:
                raise RuntimeError("the ledger is closed")
            if self.writer is None:
                own = self._own_segment()
                self.writer = threading.Thread(target=self._work, args=(own,), name="ledger", daemon=True)
                self.writer.start()
        self.jobs.put(job)
        return job.done

    def _own_segment(self) -> SegmentWriter:
        try:
            return SegmentWriter(self.folder)
        except OSError as error:
            raise UserError(f"{self.folder}: cannot be written ({error.strerror}); choose another cache_dir") from error

    def _work(self, own: SegmentWriter) -> None:
        """Write until closed; jobs that wait together share one trip to the disk."""
        while (batch := self._next_batch(own)) is not None:
            try:
                self._commit(batch, own)
            except Exception as error:
                for job in batch:
                    if not job.done.done():
                        job.done.set_exception(error)
        own.close()

    def _next_batch(self, own: SegmentWriter) -> list[_Job] | None:
        """Return the jobs that wait, after waiting for the first; None when the ledger is closed."""
        jobs = list[_Job | None]()
        while not jobs:
            own.show_life()
            with suppress(queue.Empty):
                jobs.append(self.jobs.get(timeout=HEARTBEAT_SECONDS))
        time.sleep(GATHER_SECONDS)
        while not self.jobs.empty():
            jobs.append(self.jobs.get())
        if None in jobs:
            self.jobs.put(None)
        batch = [job for job in jobs if job is not None]
        return batch or None

    def _commit(self, batch: Sequence[_Job], own: SegmentWriter) -> None:
        free = [job for job in batch if not job.claim or not self._holders(job.claim[0])]
        self._append(own, [row for job in free for row in job.rows])
        if any(job.claim for job in batch):
            # A folder that has just changed is not taken from a network file system's cache.
            os.utime(self.folder)
            self._read_others(own.path.name)
        lost = [job for job in free if job.claim and self._is_lost(*job.claim, own.path.name)]
        self._append(own, [row for job in lost for row in job.undo])
        granted = {id(job) for job in free} - {id(job) for job in lost}
        for job in batch:
            job.done.set_result(id(job) in granted)

    def _append(self, own: SegmentWriter, rows: Sequence[Row]) -> None:
        if rows:
            own.append(rows)
        for row in rows:
            self.index.add(own.path.name, row)

    def _holders(self, key: str) -> set[str]:
        """Return the segments of the live processes that have claimed a call, ours included."""
        return {segment for segment in self.index.claims.get(key, ()) if self._is_alive(segment)}

    def _is_lost(self, key: str, attempt: int, own: str) -> bool:
        """Tell whether a call that we have claimed is another's too, or has been made."""
        return self._holders(key) != {own} or self.attempts(key) >= attempt

    def _read_others(self, own: str) -> None:
        """Take in what other processes have written since the last look."""
        names = os.listdir(self.folder) if self.folder.is_dir() else []
        for name in sorted(name for name in names if name.endswith(".jsonl") and name != own):
            segment = self.segments.setdefault(name, Segment(self.folder / name))
            if not segment.closed:
                for row in segment.new_rows():
                    self.index.add(name, row)

    def _is_alive(self, segment: str) -> bool:
        """Tell whether the process of a segment may live; our own, which is not read, does."""
        known = self.segments.get(segment)
        return known is None or known.is_alive()
