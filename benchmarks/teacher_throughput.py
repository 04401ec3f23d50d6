"""How fast a teacher is asked, durability on: against a bare client, against the ideal, against a server that queues.

    python benchmarks/teacher_throughput.py [--quick] [--json FILE]

Three comparisons on the chat server of the tests, which runs in a process of its own:

    short   50 ms replies, 64 at a time: our calls per second over those of a bare AsyncOpenAI loop, in turn in one run
            (goal 0.85), and the CPU milliseconds that a call costs each
    long    2 s replies, 256 at a time: the ideal time, calls / 256 * 2 s, over ours, which begins with 8 at a time
            (goal 0.95)
    queue   50 ms replies from a server with 8 slots that queues what is more and never refuses: the 95th percentile of
            the latency that we cause over that of a single request (goal below 3)

Cost: about five minutes with two free CPU cores, a minute with --quick (whose numbers prove nothing).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "models")]

from asking import ask, asking, rows, teacher  # noqa: E402
from chat_server import ChatServer  # noqa: E402
from openai import AsyncOpenAI, DefaultAsyncHttpxClient  # noqa: E402

SETTINGS = {"timeout_seconds": 120.0}


def ours(server: ChatServer, folder: Path, calls: int, concurrency: int, words: str) -> dict[str, float]:
    """Ask through the generator, with its ledger on the disk."""
    settings = teacher(server.url, max_concurrency=concurrency, **SETTINGS)
    with asking(folder, settings) as generator:
        began, cpu = time.perf_counter(), time.process_time()
        count = sum(1 for _ in generator.generate(ask(range(calls), words)))
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    assert count == calls
    return {"calls_per_second": calls / seconds, "seconds": seconds, "cpu_ms_per_call": 1000 * cpu / calls}


def bare(server: ChatServer, calls: int, concurrency: int, words: str) -> dict[str, float]:
    """Ask with the client alone: as many workers as requests at a time, nothing kept."""

    async def run() -> float:
        http = DefaultAsyncHttpxClient()
        async with AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0, http_client=http) as client:
            left = ask(range(calls), words)

            async def work() -> None:
                for request in left:
                    await client.chat.completions.create(
                        model="m", messages=request.messages, temperature=0.0, max_tokens=100
                    )

            began = time.perf_counter()
            await asyncio.gather(*(work() for _ in range(concurrency)))
            return time.perf_counter() - began

    cpu = time.process_time()
    seconds = asyncio.run(run())
    cpu = time.process_time() - cpu
    return {"calls_per_second": calls / seconds, "seconds": seconds, "cpu_ms_per_call": 1000 * cpu / calls}


def short(folder: Path, quick: bool) -> dict[str, Any]:
    """Compare with a bare client, in turn, so that both meet the same machine."""
    calls, rounds = (1000, 2) if quick else (4000, 5)
    server = ChatServer(folder / "short", {"latency_seconds": 0.05})
    each = [
        (bare(server, calls, 64, f"bare {n}"), ours(server, folder / f"cache{n}", calls, 64, f"ours {n}"))
        for n in range(rounds)
    ]
    server.stop()
    ratios = [mine["calls_per_second"] / theirs["calls_per_second"] for theirs, mine in each]
    return {
        "ratio": median(ratios),
        "ratios": ratios,
        "bare": {name: median(one[0][name] for one in each) for name in each[0][0]},
        "ours": {name: median(one[1][name] for one in each) for name in each[0][1]},
    }


def long(folder: Path, quick: bool) -> dict[str, Any]:
    """Compare with what the latency and the number at a time allow."""
    calls = 2560 if quick else 25_600
    server = ChatServer(folder / "long", {"latency_seconds": 2.0})
    mine = ours(server, folder / "cache-long", calls, 256, "long")
    server.stop()
    ideal_seconds = calls / 256 * 2.0
    return {"ratio": ideal_seconds / mine["seconds"], "ideal_seconds": ideal_seconds, "ours": mine}


def queueing(folder: Path, quick: bool) -> dict[str, Any]:
    """Measure the latency of a server that queues, alone and under our load."""
    calls = 1000 if quick else 5000
    server = ChatServer(folder / "queue", {"latency_seconds": 0.05, "slots": 8})
    ours(server, folder / "cache-alone", 50, 1, "alone")
    mine = ours(server, folder / "cache-queue", calls, 256, "queue")
    server.stop()
    alone = median(row["latency_seconds"] for row in rows(folder / "cache-alone", "reply"))
    latencies = [row["latency_seconds"] for row in rows(folder / "cache-queue", "reply")]
    p95 = quantiles(latencies, n=20)[-1]
    most = 8 / 0.05
    return {"p95_ratio": p95 / alone, "p95_seconds": p95, "alone_seconds": alone} | {
        "ours": mine,
        "share_of_what_the_slots_allow": mine["calls_per_second"] / most,
    }


def main() -> None:
    """Run the comparisons and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer calls: shows that it works, proves nothing")
    parser.add_argument("--only", choices=["short", "long", "queue"], help="one comparison")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    arguments = parser.parse_args()
    every = {"short": short, "long": long, "queue": queueing}
    chosen = {arguments.only: every[arguments.only]} if arguments.only else every
    results: dict[str, Any] = {}
    for name, compare in chosen.items():
        with tempfile.TemporaryDirectory(prefix="teacher-throughput-") as folder:
            results[name] = compare(Path(folder), arguments.quick)
        print(f"{name}: {json.dumps(results[name], default=float)}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
