"""Takes the arguments of `vllm serve` and serves a chat server of the tests in the model's place.

    play_vllm.py serve MODEL --host H --port P --tensor-parallel-size N --served-model-name NAME --folder FOLDER ...

A model whose name is in `--students` answers questions, others are teachers. It notes in FOLDER/lives.jsonl when it
begins and when it is asked to end, and logs requests to FOLDER/log.jsonl. `--behaviour dies` ends it at the start with
words of its own, `--behaviour never` leaves it without health, `--behaviour leaves` ends it at the first request.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

# Neither our packages' path nor our environment is passed on to it.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from chat_server import Plan, Server, send  # noqa: E402

WORDS = "RuntimeError: CUDA out of memory"


class Player(Server):
    """A chat server that says how it is, as vLLM does."""

    healthy, leaves = True, False

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a question after its health, or the requests of a connection."""
        first = await reader.readline()
        if first.startswith(b"GET"):
            await send(writer, 200 if first.split()[1] == b"/health" and self.healthy else 503, {})
            writer.close()
            return
        if self.leaves:
            os._exit(7)
        # The line that was read is not looked at there.
        await super().connected(reader, writer)


def note(folder: Path, row: dict[str, Any]) -> None:
    """Add a line to the lives of all servers."""
    with (folder / "lives.jsonl").open("a") as lives:
        lives.write(json.dumps(row | {"pid": os.getpid(), "at_seconds": time.monotonic()}) + "\n")


async def main(given: argparse.Namespace) -> None:
    """Serve until asked to end."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    names = {"gpus": "CUDA_VISIBLE_DEVICES", "path": "PYTHONPATH", "key": "VLLM_API_KEY"}
    known = {what: os.environ.get(name) for what, name in names.items()}
    note(given.folder, {"event": "begins", "arguments": sys.argv[1:], "name": given.served_model_name} | known)
    if given.behaviour == "dies":
        print(f"Loading weights ...\n{WORDS}", file=sys.stderr)
        sys.exit(3)
    words = "boxed" if given.served_model_name in given.students else "teacher"
    with (given.folder / "log.jsonl").open("a") as log:
        player = Player(Plan(words=words, latency_seconds=0.001), log)
        player.healthy, player.leaves = given.behaviour != "never", given.behaviour == "leaves"
        server = await asyncio.start_server(player.connected, given.host, given.port, backlog=1024)
        await ended.wait()
        server.close()
    note(given.folder, {"event": "ends", "name": given.served_model_name})
    os._exit(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["serve"])
    parser.add_argument("model")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--tensor-parallel-size", type=int, required=True)
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--revision")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--students", nargs="*", default=[])
    parser.add_argument("--behaviour", default="serves")
    asyncio.run(main(parser.parse_args()))
