"""The part of the Hugging Face hub that gives models, on loopback: what a repository holds, and its files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

COMMIT = "c" * 40


@dataclass
class ModelHub:
    """A hub with repositories of one commit each, `OWNER/NAME` -> name of a file -> its content."""

    repositories: Mapping[str, Mapping[str, bytes]]
    url: str = ""
    sent: list[str] = field(default_factory=list)

    def about(self, name: str) -> dict[str, object] | None:
        """Return what the hub says of a repository."""
        if name not in self.repositories:
            return None
        files = [{"rfilename": file} for file in self.repositories[name]]
        return {"id": name, "sha": COMMIT, "private": False, "gated": False, "siblings": files, "tags": []}

    def tree(self, name: str) -> list[dict[str, object]]:
        """Return the files of a repository as its tree."""
        every = self.repositories[name].items()
        return [{"type": "file", "path": file, "size": len(content), "oid": _oid(content)} for file, content in every]


def _oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers for a hub."""

    protocol_version = "HTTP/1.1"
    hub: ModelHub

    def do_GET(self) -> None:
        """Answer what is asked of a repository, or for one of its files."""
        path = unquote(self.path.partition("?")[0])
        if asked := re.fullmatch(r"/api/models/([^/]+/[^/]+)(/revision/[^/]+)?", path):
            about = self.hub.about(asked[1])
            self._send(200 if about else 404, json.dumps(about or {"error": "Repository not found"}).encode())
        elif asked := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/[^/]+", path):
            self._send(200, json.dumps(self.hub.tree(asked[1])).encode())
        elif asked := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            self._file(asked[1], asked[2])
        else:
            self._send(404, b"{}")

    do_HEAD = do_GET

    def _file(self, name: str, file: str) -> None:
        content = self.hub.repositories.get(name, {}).get(file)
        if content is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        if self.command == "GET":
            self.hub.sent.append(file)
        self._send(200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{_oid(content)}"'})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        of_status = {"X-Error-Code": "RepoNotFound"} if status == 404 else {}
        for name, value in {**of_status, **(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def model_hub(repositories: Mapping[str, Mapping[str, bytes]]) -> Iterator[ModelHub]:
    """Serve a hub in a thread of this process."""
    hub = ModelHub(repositories)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfThisHub", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def files_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder as a repository has them."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
