"""What makes the answers of reinforcement learning, and each way in which a server of them fails to be there."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("torch")

from stat_train.compose import read_settings
from stat_train.errors import UserError
from stat_train.train_settings import GrpoTraining
from stat_train.training.rollouts import (
    await_server,
    engine_arguments,
    gpu_split,
    is_this_host,
    require_gpus_of_server,
    uses_vllm,
    vllm_problem,
)

SECONDS = 1.0


def settings(*arguments: str) -> GrpoTraining:
    found = read_settings(["rl=grpo", *arguments]).config.rl
    assert isinstance(found, GrpoTraining)
    return found


@contextmanager
def server(status: int, gpus: int | None = None) -> Iterator[str]:
    """Answer /health with a status, and /get_world_size with a number of GPUs or not at all."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path == "/health" or gpus is not None
            body = json.dumps({"world_size": gpus}).encode()
            self.send_response(status if known else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@contextmanager
def listening(accept: bool) -> Iterator[str]:
    """Take connections and say nothing; or give a port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if accept:
            taken.listen()
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def failure(url: str) -> str:
    """Return what is said of a server that is not well, which must not take much longer than it may."""
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        await_server(url, SECONDS)
    assert time.monotonic() - began < SECONDS + 2
    return str(caught.value)


def test_a_server_that_is_not_there() -> None:
    with listening(accept=False) as url:
        assert f"{url.removeprefix('http://')} took no TCP connection" in failure(url)


def test_a_server_that_accepts_and_never_answers() -> None:
    with listening(accept=True) as url:
        assert f"{url.removeprefix('http://')} took the TCP connection but did not answer /health" in failure(url)


def test_a_server_that_is_not_well() -> None:
    with server(503) as url:
        assert f"{url.removeprefix('http://')} answered /health with 503 for 1 s" in failure(url)


def test_a_server_that_is_well_is_found_at_once() -> None:
    with server(200, gpus=2) as url:
        began = time.monotonic()
        await_server(url)
        vllm = settings("rl.vllm.mode=server", f"rl.vllm.base_url={url}", "rl.vllm.server_gpus=2").vllm
        require_gpus_of_server(vllm)
        assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("gpus", "words"), [(None, "does not take weights"), (4, r"rl\.vllm\.server_gpus = 2: the server at .* has 4")]
)
def test_a_server_that_cannot_be_trained_with(gpus: int | None, words: str) -> None:
    with server(200, gpus) as url:
        vllm = settings("rl.vllm.mode=server", f"rl.vllm.base_url={url}", "rl.vllm.server_gpus=2").vllm
        with pytest.raises(UserError, match=words):
            require_gpus_of_server(vllm, SECONDS)


def test_a_handshake_that_never_ends_ends_the_process() -> None:
    """The library's own call is replaced by one that waits for ever, as NCCL does for a peer that it cannot reach."""
    script = (
        "import threading\n"
        "from trl.generation.vllm_client import VLLMClient\n"
        "from stat_train.training.rollouts import limited_handshake\n"
        "VLLMClient.init_communicator = lambda self, device=0: threading.Event().wait()\n"
        "with limited_handshake('http://node7:8000', 0.2):\n"
        "    VLLMClient.init_communicator(None)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == UserError.exit_code
    assert "node7:8000 did not shake hands over the transfer of weights within 0.2 s" in done.stderr


def test_the_split_of_gpus_is_stated() -> None:
    assert gpu_split(training=4, serving=2, visible=6, server_is_here=True) == "4 GPUs train, 2 serve"
    assert gpu_split(training=4, serving=2, visible=4, server_is_here=False) == "4 GPUs train, 2 serve"


def test_gpus_that_would_train_and_serve_are_refused() -> None:
    with pytest.raises(UserError, match=r"so 6 GPUs are needed, and 4 are visible; .* cannot both train and serve"):
        gpu_split(training=4, serving=2, visible=4, server_is_here=True)


def test_this_machine_is_known_by_its_names() -> None:
    assert is_this_host("http://localhost:8000") and is_this_host(f"http://{socket.gethostname()}:8000")
    assert not is_this_host("http://node7:8000")


def test_without_vllm_transformers_answers_unless_vllm_is_asked_for() -> None:
    if vllm_problem() is None:
        pytest.skip("vLLM can be used here")
    assert not uses_vllm(settings())
    with pytest.raises(UserError, match=r"rl\.engine = vllm: .*pip install 'stat-train\[vllm\]'"):
        uses_vllm(settings("rl.engine=vllm"))


def test_vllm_sleeps_while_the_student_trains() -> None:
    found = engine_arguments(settings("rl.max_new_tokens=100"), {7, 3}, longest_prompt=20)
    assert (found["vllm_mode"], found["vllm_enable_sleep_mode"]) == ("colocate", True)
    assert found["generation_kwargs"] == {"stop_token_ids": [3, 7]}
    assert found["vllm_max_model_length"] == 120


def test_a_model_is_split_over_processes_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert engine_arguments(settings("rl.vllm.tensor_parallel_size=2"), {3}, 20)["vllm_tensor_parallel_size"] == 2
    with pytest.raises(UserError, match=r"rl\.vllm\.tensor_parallel_size = 3: .* divides the 4 processes"):
        engine_arguments(settings("rl.vllm.tensor_parallel_size=3"), {3}, 20)


def test_the_library_waits_for_a_server_no_longer_than_we_do() -> None:
    found = engine_arguments(settings("rl.vllm.mode=server", "rl.vllm.base_url=http://h:8000"), {3}, 20)
    assert (found["vllm_server_base_url"], found["vllm_server_timeout"]) == ("http://h:8000", 60.0)
