"""The part of the Hugging Face hub that takes a data set, on loopback: what it is asked for, and what it holds then.

Small files come inside the commit, the table as a large file of its own (git LFS), as on the hub.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple

import yaml

LARGE = ".parquet"


class Request(NamedTuple):
    """One request: what was asked, with which token."""

    method: str
    path: str
    token: str
    body: bytes


@dataclass
class Hub:
    """A hub with one account; `refuses` is the status of the answer to each request whose path holds the key."""

    token: str
    url: str = ""
    refuses: dict[str, int] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    created: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)

    def asked(self, part: str) -> list[Request]:
        """Return the requests whose path holds this part."""
        return [request for request in self.requests if part in request.path]

    def answer(self, request: Request) -> tuple[int, Any]:
        """Return status and body of the answer."""
        self.requests.append(request)
        status = next((status for part, status in self.refuses.items() if part in request.path), None)
        if request.method != "PUT" and request.token != f"Bearer {self.token}":
            # A careless server says which token it did not like.
            return 401, {"error": f"Invalid username or password: {request.token}"}
        if status:
            return status, {"error": "no write access"}
        if request.method == "GET":
            return 200, {"id": request.path.removeprefix("/api/datasets/"), "sha": "0" * 40, "private": True}
        if request.method == "PUT":
            self.large[hashlib.sha256(request.body).hexdigest()] = request.body
            return 200, {}
        return self._taken(request)

    def _taken(self, request: Request) -> tuple[int, Any]:
        if request.path == "/api/repos/create":
            self.created.append(json.loads(request.body))
            return (409 if len(self.created) > 1 else 200), {"url": f"{self.url}/datasets/someone/rows"}
        if request.path == "/api/validate-yaml":
            yaml.safe_load(json.loads(request.body)["content"].split("---\n")[1])
            return 200, {"errors": [], "warnings": []}
        if "/preupload/" in request.path:
            return 200, {"files": [self._mode(file["path"]) for file in json.loads(request.body)["files"]]}
        if request.path.endswith("/info/lfs/objects/batch"):
            found = json.loads(request.body)["objects"]
            return 200, {"transfer": "basic", "objects": [self._place(each) for each in found]}
        for line in request.body.decode().splitlines():
            self._commit(**json.loads(line))
        return 200, {"commitUrl": f"{self.url}/datasets/someone/rows/commit/{'0' * 40}", "commitOid": "0" * 40}

    def _place(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Say where to send a large file; one that is there already need not be sent."""
        place = {"actions": {"upload": {"href": f"{self.url}/large/{wanted['oid']}"}}}
        return wanted if wanted["oid"] in self.large else wanted | place

    def _mode(self, path: str) -> dict[str, Any]:
        content = self.files.get(path)
        oid = None
        if content is not None:
            plain = hashlib.sha1(b"blob %d\0" % len(content) + content)
            oid = (hashlib.sha256(content) if path.endswith(LARGE) else plain).hexdigest()
        mode = "lfs" if path.endswith(LARGE) else "regular"
        return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid}

    def _commit(self, key: str, value: dict[str, Any]) -> None:
        if key == "file":
            assert value["encoding"] == "base64"
            self.files[value["path"]] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            self.files[value["path"]] = self.large[value["oid"]]


@contextmanager
def hub_server(token: str) -> Iterator[Hub]:
    """Serve a hub in a thread of this process."""
    hub = Hub(token)

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            token = self.headers.get("Authorization", "")
            status, found = hub.answer(Request(self.command, self.path, token, body))
            content = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _any

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
