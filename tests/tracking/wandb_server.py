"""A server that answers as W&B does, as far as a run needs it, and can fall silent."""

from __future__ import annotations

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class WandbServer:
    """Keeps the rows of the history that it is sent; a context manager.

    With `silent_after` it answers that many requests, and then takes what it is sent and says nothing.
    """

    def __init__(self, silent_after: int | None = None) -> None:
        self.silent_after = silent_after
        self.requests, self.released = list[str](), threading.Event()
        self.history, self.files = list[dict[str, Any]](), set[str]()
        self.artifacts: list[str] = []
        self.started: list[dict[str, Any]] = []
        self.exit_code: int | None = None
        self.server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> WandbServer:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, path: str, body: bytes) -> Any:
        """Return the reply to a request."""
        if path.endswith("file_stream"):
            return self._take(json.loads(body))
        if "graphql" not in path:
            return {}
        asked = json.loads(body)
        self.requests.append(asked["operationName"])
        return {"data": self._data(asked["operationName"], asked.get("variables", {}))}

    def _take(self, sent: dict[str, Any]) -> dict[str, Any]:
        rows = sent.get("files", {}).get("wandb-history.jsonl", {}).get("content", [])
        self.history += [json.loads(row) for row in rows]
        self.exit_code = sent.get("exitcode", self.exit_code)
        return {}

    def _data(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        if name == "Viewer":
            user = {"id": "u", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}}
            return {"viewer": user}
        if name == "UpsertBucket":
            self.started.append(given)
            project = {"id": "p", "name": given["project"], "entity": {"id": "e", "name": "me"}}
            bucket = {"id": "b", "name": given["name"], "displayName": given["displayName"], "project": project}
            return {"upsertBucket": {"bucket": bucket | {"historyLineCount": 0}, "inserted": True}}
        if name == "CreateRunFiles":
            files = [{"name": file, "uploadUrl": f"{self.url}/upload"} for file in given["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        if name == "CreateArtifact":
            self.artifacts.append(given["input"]["artifactCollectionName"])
            # Those it has already are not sent again.
            return {"createArtifact": {"artifact": {"id": "a", "state": "COMMITTED", "artifactSequence": {"id": "s"}}}}
        return {"project": None}


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that have gone."""


class _Handler(BaseHTTPRequestHandler):
    owner: WandbServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        limit = self.owner.silent_after
        if limit is not None and len(self.owner.requests) >= limit:
            self.owner.released.wait()
            return
        reply = json.dumps(self.owner.answer(self.path, body)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    do_GET = do_PUT = do_POST

    def log_message(self, *_: object) -> None:
        """Say nothing."""
