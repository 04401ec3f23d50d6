"""A chat-completions server on loopback that fails on purpose, by a seeded plan; started by tests and benchmarks.

    python chat_server.py FOLDER '{"fault_share": 0.2, "seed": 1}'

It writes its address to FOLDER/url when it listens, and one line for each request to FOLDER/log.jsonl: which prompt,
what was done with it (`ok` or a fault's name), whether the whole body was delivered, when it came, how many requests
were in flight then. The reply to a prompt depends on the prompt alone. Whether the N-th request for a prompt fails, and
how, depends on the seed, the prompt and N, not on what else happens.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from namer_words import Namer
from teacher_words import teacher_reply

# What may come in the place of a reply. `length` and `refusal` are replies that cannot be used.
FAULTS = (
    "rate_limit",
    "rate_limit_retry_after",
    "error_500",
    "error_503",
    "reset_before",
    "reset_inside",
    "hang",
    "html",
    "truncated",
    "empty_choices",
    "length",
    "refusal",
)
STATUS = {"rate_limit": 429, "rate_limit_retry_after": 429, "error_500": 500, "error_503": 503}


@dataclass
class Plan:
    """How the server behaves; `slots` are the requests that it works on at a time, `raw` is sent in a reply's place.

    The reply to the prompt `empty` is empty. With `namer`, a model that knows the skills of questions replies.
    """

    seed: int = 0
    fault_share: float = 0.0
    faults: tuple[str, ...] = FAULTS
    latency_seconds: float = 0.01
    hang_seconds: float = 30.0
    slots: int | None = None
    api_key: str | None = None
    out_of_funds: bool = False
    schema: str = "supported"
    words: str = "echo"
    errs: float = 0.0
    raw: dict[str, Any] | None = None
    retry_after: str = "0.2"
    empty: str | None = None
    namer: dict[str, Any] | None = None

    def fault(self, prompt: str, nth: int) -> str | None:
        """Return what goes wrong the N-th time that a prompt comes."""
        random = Random(f"{self.seed}/{prompt}/{nth}")
        return random.choice(self.faults) if random.random() < self.fault_share else None


def reply_to(prompt: str, words: str = "echo") -> str:
    """Return the one right reply to a prompt."""
    if words == "boxed":
        return f"Some steps.\n\nThe final answer is: \\boxed{{{hashlib.sha256(prompt.encode()).digest()[0] % 3}}}"
    return f"reply {hashlib.sha256(prompt.encode()).hexdigest()[:12]} to: {prompt}"


@dataclass
class Server:
    """Serves by a plan and logs what it did."""

    plan: Plan
    log: Any
    seen: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0

    def __post_init__(self) -> None:
        self.slots = asyncio.Semaphore(self.plan.slots) if self.plan.slots else None
        self.namer = Namer(**self.plan.namer) if self.plan.namer else None

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, one after the other."""
        try:
            while request := await read_request(reader):
                await self.answer(*request, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def answer(self, headers: dict[str, str], body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        """Answer one request, or fail to."""
        prompt = body["messages"][-1]["content"]
        self.seen[prompt] += 1
        refused = self.refusal(headers, body)
        done = refused[1] if refused else self.plan.fault(prompt, self.seen[prompt]) or "ok"
        row = {"prompt": prompt, "nth": self.seen[prompt], "done": done, "delivered": False}
        row |= {"schema": "response_format" in body, "in_flight": self.in_flight, "at_seconds": time.monotonic()}
        if done == "hang":
            self.note(row)
            await asyncio.sleep(self.plan.hang_seconds)
            return reset(writer)
        self.in_flight += 1
        try:
            await self.work()
            if refused:
                await send(writer, refused[0], refused[2])
            else:
                await self.deliver(done, prompt, body, writer)
            row["delivered"] = not done.startswith("reset")
        finally:
            self.in_flight -= 1
            self.note(row)

    def note(self, row: dict[str, Any]) -> None:
        """Write a line of the log."""
        self.log.write(json.dumps(row) + "\n")
        self.log.flush()

    async def work(self) -> None:
        """Take the time that a reply takes, after waiting for a free slot when there are few."""
        if not self.slots:
            return await asyncio.sleep(self.plan.latency_seconds)
        async with self.slots:
            await asyncio.sleep(self.plan.latency_seconds)

    def text(self, prompt: str, body: dict[str, Any]) -> str:
        """Return the right reply to a request."""
        if self.namer:
            return self.namer.reply(body["messages"])
        structured = "response_format" in body and self.plan.schema == "supported"
        if self.plan.words == "teacher":
            schema = body["response_format"]["json_schema"]["schema"] if structured else None
            return teacher_reply(body["messages"], schema, self.plan.errs)
        return json.dumps({"reply": reply_to(prompt)}) if structured else reply_to(prompt, self.plan.words)

    def refusal(self, headers: dict[str, str], body: dict[str, Any]) -> tuple[int, str, dict[str, Any]] | None:
        """Return status, name and body for a request that is refused whatever happens."""
        given = headers.get("authorization", "").removeprefix("Bearer ")
        if self.plan.api_key and given != self.plan.api_key:
            # Some providers send the wrong key back.
            return 401, "unauthorized", error(f"Incorrect API key provided: {given}.", "invalid_api_key")
        if self.plan.out_of_funds:
            return 429, "insufficient_quota", error("You exceeded your current quota.", "insufficient_quota")
        if "response_format" in body and self.plan.schema == "refused":
            return 400, "schema_refused", error("response_format: json_schema is not supported", "unsupported")
        return None

    async def deliver(self, done: str, prompt: str, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        """Send what the plan says."""
        text = "" if self.plan.empty == prompt else self.text(prompt, body)
        if done in STATUS:
            extra = {"Retry-After": self.plan.retry_after} if done == "rate_limit_retry_after" else {}
            await send(writer, STATUS[done], error(f"injected: {done}", done), extra)
        elif done.startswith("reset"):
            if done == "reset_inside":
                whole = http(200, json.dumps(completion(prompt, text)).encode(), {})
                writer.write(whole[: len(whole) - 40])
                await writer.drain()
            reset(writer)
        elif done == "html":
            await send_bytes(writer, 200, b"<html>Bad gateway</html>", {"Content-Type": "text/html"})
        elif done == "truncated":
            await send_bytes(writer, 200, json.dumps(completion(prompt, text)).encode()[:-40], {})
        else:
            await send(writer, 200, self.plan.raw or completion(prompt, text, done))


def completion(prompt: str, text: str, done: str = "ok") -> dict[str, Any]:
    """Return the body of a reply; tokens are counted as words."""
    message = {"role": "assistant", "content": text}
    if done == "refusal":
        message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
    if done == "length":
        message["content"] = text[: len(text) // 2]
    choice = {"index": 0, "message": message, "finish_reason": "length" if done == "length" else "stop"}
    tokens = len(prompt.split()), len(text.split())
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
    choices = [] if done == "empty_choices" else [choice]
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 0, "model": "m"} | {
        "choices": choices,
        "usage": usage,
    }


def error(message: str, code: str) -> dict[str, Any]:
    """Return the body of an error."""
    return {"error": {"message": message, "type": code, "param": None, "code": code}}


# -- HTTP -------------------------------------------------------------------------------------------------------------


async def read_request(reader: asyncio.StreamReader) -> tuple[dict[str, str], dict[str, Any]] | None:
    """Return the headers and the body of the next request; None at the end of the connection."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    lines = head.split("\r\n")[1:]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    return headers, json.loads(await reader.readexactly(int(headers.get("content-length", 0))))


def http(status: int, body: bytes, headers: dict[str, str]) -> bytes:
    """Return a response as bytes."""
    every = {"Content-Type": "application/json", "Content-Length": str(len(body))} | headers
    head = "".join(f"{name}: {value}\r\n" for name, value in every.items())
    return f"HTTP/1.1 {status} X\r\n{head}\r\n".encode() + body


async def send(writer: asyncio.StreamWriter, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
    """Send JSON."""
    await send_bytes(writer, status, json.dumps(body).encode(), headers or {})


async def send_bytes(writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str]) -> None:
    """Send a body of any kind."""
    writer.write(http(status, body, headers))
    await writer.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    """Break the connection off, so that the other side sees a reset."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    raise ConnectionResetError


class ChatServer:
    """A server in a process of its own: where it is, and what it has done."""

    def __init__(self, folder: Path, plan: dict[str, Any]) -> None:
        folder.mkdir()
        self.log_file = folder / "log.jsonl"
        command = [sys.executable, __file__, str(folder), json.dumps(plan)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE)
        end = time.monotonic() + 30
        while not (folder / "url").exists():
            assert self.process.poll() is None and time.monotonic() < end, "the server did not start"
            time.sleep(0.01)
        self.url = (folder / "url").read_text()

    def log(self) -> list[dict[str, Any]]:
        """Return what was done with each request, in the order in which they ended, whole rows only."""
        return [json.loads(line) for line in self.log_file.read_text().split("\n")[:-1]]

    def served(self) -> Counter[str]:
        """Return how often each prompt got its whole, right reply."""
        return Counter(row["prompt"] for row in self.log() if row["done"] == "ok" and row["delivered"])

    def stop(self) -> None:
        """End the server."""
        self.process.terminate()
        self.process.wait()


async def main(folder: Path, plan: Plan) -> None:
    """Serve until the process ends, or the one that started it."""
    asyncio.get_running_loop().add_reader(sys.stdin, os._exit, 1)
    with (folder / "log.jsonl").open("a") as log:
        server = await asyncio.start_server(Server(plan, log).connected, "127.0.0.1", 0, backlog=1024)
        port = server.sockets[0].getsockname()[1]
        (folder / "url.new").write_text(f"http://127.0.0.1:{port}/v1")
        os.replace(folder / "url.new", folder / "url")
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Plan(**json.loads(sys.argv[2]))))
