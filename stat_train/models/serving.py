"""A model that the run serves itself: its server is started when it is asked, and is gone when the run is.

The server is a program of its own, in its own environment and process group; what it says goes to a log in the run
folder. A keeper (`keeper.py`) ends it when this process ends, however that ends.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from stat_train.config import Endpoint
from stat_train.errors import StatTrainError, UserError
from stat_train.launch_settings import Server, Slurm
from stat_train.models import keeper
from stat_train.models.servers import api_key
from stat_train.models.serving_job import address_of, job_command, write_script

# What is ours and would lead another Python environment astray, or tell it that it is one of several processes; and a
# key that the settings do not name.
OURS = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"}
OURS |= {"MASTER_ADDR", "MASTER_PORT", "VLLM_API_KEY"}
STOP_SECONDS = 20.0
SECONDS_BETWEEN_LOOKS = 0.2
HEALTH_SECONDS = 5.0
LINES_SHOWN, CHARACTERS_SHOWN = 12, 2000


@dataclass
class ServedModel:
    """A model and its server; a context manager. `role` is the group of its settings, `cluster` that of Slurm.

    `before_start` is called before the server starts, to make room for it.
    """

    role: str
    endpoint: Endpoint
    log: Path
    cluster: Slurm
    before_start: Callable[[], None] = lambda: None
    program: subprocess.Popen[bytes] | None = None
    base_url: str | None = None
    refusal: StatTrainError | None = None
    said_before_bytes: int = 0
    starting: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def server(self) -> Server:
        """Return how it is served."""
        assert self.endpoint.server
        return self.endpoint.server

    def running_at(self) -> str | None:
        """Return where it is served now, if it is."""
        return self.base_url if self.program and self.program.poll() is None else None

    def start(self) -> str:
        """Return where it is served, after starting the server if it is not there; this can take minutes.

        Raises UserError when its program is absent, StatTrainError with its last words when it ends or does not answer
        in time. What failed is not tried again until `stop`.
        """
        with self.starting:
            if self.refusal:
                raise type(self.refusal)(str(self.refusal))
            try:
                if self.base_url is None:
                    self.base_url = self._started()
                elif self.running_at() is None:
                    raise StatTrainError(f"{self._ended()} while it was asked. {self._last_words()}")
            except StatTrainError as error:
                self.refusal = error
                raise
            return self.base_url

    def stop(self) -> None:
        """Stop the server, if it runs; it starts again when it is asked for."""
        program, self.program, self.base_url, self.refusal = self.program, None, None, None
        if program is None:
            return
        assert program.stdin
        with suppress(BrokenPipeError):
            program.stdin.close()
        try:
            program.wait(STOP_SECONDS + HEALTH_SECONDS)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()

    def shares_gpus(self, other: ServedModel) -> bool:
        """Tell whether both may be on the same GPUs of this machine."""
        gpus, others = self.server.gpus, other.server.gpus
        here = self.server.where == other.server.where == "process"
        return here and (gpus is None or others is None or bool(set(map(str, gpus)) & set(map(str, others))))

    # -- starting -----------------------------------------------------------------------------------------------------

    def _started(self) -> str:
        self.before_start()
        self.said_before_bytes = self.log.stat().st_size if self.log.exists() else 0
        address, command = self._as_job() if self.server.where == "slurm" else self._as_process()
        words = [sys.executable, "-I", keeper.__file__, str(STOP_SECONDS), *command]
        with self.log.open("ab") as log:
            self.program = program = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True, env=self._environment()
            )
        try:
            return self._wait(program, address)
        except BaseException:
            self.stop()
            raise

    def _as_process(self) -> tuple[Callable[[], str | None], list[str]]:
        command = self.server.command
        if shutil.which(command[0]) is None:
            raise UserError(
                f"{self.role}.server.command = {command}: there is no program {command[0]}; install vLLM in an "
                f"environment of its own and give its path, {self.role}.server.command=[/opt/vllm/bin/vllm,serve]"
            )
        host, port = self.server.host or "127.0.0.1", str(self.server.port or _free_port())
        # A server that listens everywhere is asked here.
        shown = "127.0.0.1" if host == "0.0.0.0" else host
        if self.server.port and _is_taken(shown, self.server.port):
            raise UserError(
                f"{self.role}.server.port = {port}: another program listens there, and would be asked in the server's "
                "place; end it, or give another port or null"
            )
        return lambda: f"{shown}:{port}", serve_command(self.endpoint, host, port)

    def _as_job(self) -> tuple[Callable[[], str | None], list[str]]:
        if shutil.which("sbatch") is None:
            raise UserError(
                f"{self.role}.server.where = slurm: there is no sbatch here; run this on a host of the cluster, or use "
                f"{self.role}.server.where=process"
            )
        port = str(self.server.port or "$port")
        command = serve_command(self.endpoint, self.server.host or "0.0.0.0", port)
        script = write_script(self.log, self.role, self.server, self.cluster, command)
        return lambda: address_of(self.log), job_command(script)

    def _environment(self) -> dict[str, str]:
        key = api_key(self.endpoint, self.role)
        own = {"VLLM_API_KEY": key} if key else {}
        kept = {name: value for name, value in os.environ.items() if name not in OURS}
        if self.server.where == "slurm":
            # Of the job that we may be in ourselves; the new one has its own.
            return {name: value for name, value in kept.items() if not _of_a_job(name)} | own
        gpus = self.server.gpus
        return kept | own | ({"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))} if gpus else {})

    def _wait(self, program: subprocess.Popen[bytes], address: Callable[[], str | None]) -> str:
        """Return the address as soon as the server answers there; a job's time counts from its start."""
        end, limit_seconds = None, self.server.start_timeout_seconds
        while program.poll() is None:
            if place := address():
                if _answers(place):
                    return f"http://{place}/v1"
                end = end or time.monotonic() + limit_seconds
            if end and time.monotonic() > end:
                limit = f"{self.role}.server.start_timeout_seconds = {limit_seconds:g}"
                raise StatTrainError(
                    f"{self.role}: the server did not answer at http://{place}/health within {limit}. "
                    f"{self._last_words()}"
                )
            time.sleep(SECONDS_BETWEEN_LOOKS)
        raise StatTrainError(f"{self._ended()} before it could be asked. {self._last_words()}")

    # -- its words ----------------------------------------------------------------------------------------------------

    def _ended(self) -> str:
        code = self.program.poll() if self.program else None
        return f"{self.role}: the server ({shlex.join(self.server.command)}) ended with exit code {code}"

    def _last_words(self) -> str:
        with self.log.open("rb") as log:
            log.seek(self.said_before_bytes)
            text = log.read().decode(errors="replace").strip()
        if not text:
            return f"It said nothing ({self.log})"
        if key := api_key(self.endpoint, self.role):
            text = text.replace(key, "[API key]")
        last = "\n".join(text.splitlines()[-LINES_SHOWN:])[-CHARACTERS_SHOWN:]
        return f"Its last words, of {self.log}:\n{last}"


def serve_command(endpoint: Endpoint, host: str, port: str) -> list[str]:
    """Return the command of the server: that of the settings, with the arguments of `vllm serve`."""
    server = endpoint.server
    assert server
    model = str(Path(server.model).expanduser()) if server.model else endpoint.model
    # A folder has one version only.
    revision = ["--revision", endpoint.revision] if endpoint.revision and not server.model else []
    arguments = ["--host", host, "--port", port, "--tensor-parallel-size", str(server.tensor_parallel_size)]
    arguments += ["--served-model-name", endpoint.model, *revision]
    return [*server.command, model, *arguments, *map(str, server.arguments)]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _is_taken(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), HEALTH_SECONDS):
            return True
    except OSError:
        return False


def _of_a_job(name: str) -> bool:
    return name.startswith(("SLURM_", "SBATCH_")) and name != "SLURM_CONF"


def _answers(place: str) -> bool:
    """Tell whether the server says that it can be asked; one that knows no /health lists its models then."""
    try:
        status = _status(f"http://{place}/health")
        return status == 200 or (status == 404 and _status(f"http://{place}/v1/models") in (200, 401))
    except httpx2.HTTPError:
        return False


def _status(url: str) -> int:
    # What stands between us and the world does not stand between us and our own server.
    return httpx2.get(url, timeout=HEALTH_SECONDS, trust_env=False).status_code


def without_a_program(server: Server) -> str | None:
    """Return the program that a server needs on this machine and that is not there."""
    wanted: Sequence[str] = ["sbatch", "squeue"] if server.where == "slurm" else server.command[:1]
    return next((name for name in wanted if shutil.which(name) is None), None)
