"""What makes the answers of reinforcement learning: transformers, or vLLM beside the trainer or as a server.

A server runs on GPUs of its own, and is started before the training:

    VLLM_SERVER_DEV_MODE=1 vllm serve CHECKPOINT --weight-transfer-config '{"backend": "nccl"}' \
        --logprobs-mode processed_logprobs --tensor-parallel-size GPUS

Checked without a GPU: the choice, the split of GPUs, and each way in which a server fails to answer. Not run yet, for
want of one: vLLM itself, in either mode, and the transfer of weights to it.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
import torch
from trl.generation.vllm_client import VLLMClient
from trl.import_utils import is_vllm_available

from stat_train.errors import UserError
from stat_train.gpus import visible_gpus
from stat_train.train_settings import GrpoTraining, Vllm
from stat_train.training.distributed import world_size

SECONDS_FOR_SERVER = 60.0
SECONDS_BETWEEN_TRIES = 0.5
INSTALL = "pip install 'stat-train[vllm]'"
THIS_HOST = ("localhost", "127.0.0.1", "::1", "0.0.0.0")


def uses_vllm(settings: GrpoTraining) -> bool:
    """Tell whether vLLM makes the answers: where asked for, or where a version that TRL supports and a GPU are here.

    Raises UserError when it is asked for and cannot.
    """
    problem = vllm_problem()
    if settings.engine == "vllm" and problem:
        raise UserError(
            f"rl.engine = vllm: {problem}; expected a version that TRL supports ({INSTALL}; for rl.vllm.mode=server in "
            "the trainer's environment too, as it sends the weights), or rl.engine=transformers"
        )
    return settings.engine != "transformers" and problem is None


def vllm_problem() -> str | None:
    """Return why vLLM cannot be used here, None when it can."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        installed = is_vllm_available()
    if not installed:
        return "vLLM is not installed here"
    if caught:
        return str(caught[0].message).partition(". We")[0]
    return None if torch.cuda.is_available() else "vLLM needs a GPU, and none is visible"


def engine_arguments(settings: GrpoTraining, stops: set[int], longest_prompt: int) -> dict[str, Any]:
    """Return the trainer's arguments that say how vLLM makes the answers; `longest_prompt` counts tokens."""
    vllm = settings.vllm
    arguments = {
        "use_vllm": True,
        "vllm_mode": vllm.mode,
        "vllm_max_model_length": longest_prompt + settings.max_new_tokens,
        # What ends an answer is the renderer's to say, not the checkpoint's alone.
        "generation_kwargs": {"stop_token_ids": sorted(stops)},
    }
    if vllm.mode == "colocate":
        if world_size() % vllm.tensor_parallel_size:
            raise UserError(
                f"rl.vllm.tensor_parallel_size = {vllm.tensor_parallel_size}: expected a number that divides the "
                f"{world_size()} processes, as each part of a model sits in one of them"
            )
        return arguments | {
            "vllm_enable_sleep_mode": True,
            "vllm_gpu_memory_utilization": vllm.memory_share,
            "vllm_tensor_parallel_size": vllm.tensor_parallel_size,
        }
    return arguments | {"vllm_server_base_url": vllm.base_url, "vllm_server_timeout": SECONDS_FOR_SERVER}


# -- a server ---------------------------------------------------------------------------------------------------------


def require_server(vllm: Vllm) -> str:
    """Say how GPUs are split between training and serving, once the server has answered; raises UserError if not."""
    if vllm.base_url is None:
        raise UserError("rl.vllm.base_url = null: rl.vllm.mode=server needs the server's, such as http://host:8000")
    split = gpu_split(world_size(), vllm.server_gpus, len(visible_gpus()), is_this_host(vllm.base_url))
    await_server(vllm.base_url)
    require_gpus_of_server(vllm)
    return f"{split}, at {place(vllm.base_url)}"


def gpu_split(training: int, serving: int, visible: int, server_is_here: bool) -> str:
    """Say how many GPUs train and how many serve; raises UserError when they would have to share some.

    `visible` counts this machine's GPUs that the training sees, those of a server on this machine among them.
    """
    needed = training + serving if server_is_here else min(training, visible or training)
    if server_is_here and needed > visible:
        raise UserError(
            f"rl.vllm.server_gpus = {serving}: {training} processes train on a GPU each and the server is on this "
            f"machine, so {needed} GPUs are needed, and {visible} are visible; expected fewer rl.processes, fewer "
            "rl.vllm.server_gpus, or a server elsewhere. A GPU cannot both train and serve"
        )
    return f"{training} GPUs train, {serving} serve"


def is_this_host(base_url: str) -> bool:
    """Tell whether a URL names this machine."""
    host = urlsplit(base_url).hostname or ""
    return host in THIS_HOST or host == socket.gethostname()


def place(base_url: str) -> str:
    """Return host:port of a URL."""
    parts = urlsplit(base_url)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def await_server(base_url: str, seconds: float = SECONDS_FOR_SERVER) -> None:
    """Wait until the server says that it is well; raises UserError after `seconds`, naming what did not come."""
    end = time.monotonic() + seconds
    while problem := _not_well(base_url, max(0.1, end - time.monotonic())):
        if time.monotonic() >= end:
            raise UserError(
                f"rl.vllm.base_url = {base_url}: {place(base_url)} {problem} for {seconds:g} s; expected a vLLM server "
                "that is up. Start it first (VLLM_SERVER_DEV_MODE=1 vllm serve ...), and check host, port and firewall"
            )
        time.sleep(min(SECONDS_BETWEEN_TRIES, max(0.0, end - time.monotonic())))


def _not_well(base_url: str, seconds: float) -> str | None:
    """Return what did not come within `seconds`: the TCP connection, or the answer to /health; None when it is well."""
    try:
        answer = httpx2.get(f"{base_url.rstrip('/')}/health", timeout=seconds, follow_redirects=True)
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        return f"took no TCP connection ({str(error) or 'no answer'})"
    except httpx2.HTTPError as error:
        return f"took the TCP connection but did not answer /health ({type(error).__name__})"
    return None if answer.status_code == 200 else f"answered /health with {answer.status_code}"


def require_gpus_of_server(vllm: Vllm, seconds: float = SECONDS_FOR_SERVER) -> None:
    """Compare the GPUs that the server has with those it should have; raises UserError when they differ."""
    url = f"{(vllm.base_url or '').rstrip('/')}/get_world_size"
    try:
        answer = httpx2.get(url, timeout=seconds)
        gpus = answer.json()["world_size"] if answer.status_code == 200 else None
    except (httpx2.HTTPError, ValueError, KeyError, TypeError):
        gpus = None
    if gpus is None:
        raise UserError(
            f"rl.vllm.base_url = {vllm.base_url}: {place(url)} does not take weights (no answer to /get_world_size); "
            'start it with VLLM_SERVER_DEV_MODE=1 and --weight-transfer-config \'{"backend": "nccl"}\''
        )
    if gpus != vllm.server_gpus:
        raise UserError(
            f"rl.vllm.server_gpus = {vllm.server_gpus}: the server at {place(url)} has {gpus}; give that number, or "
            "start it with another --tensor-parallel-size"
        )


@contextmanager
def limited_handshake(base_url: str | None, seconds: float = SECONDS_FOR_SERVER) -> Iterator[None]:
    """End this process when the server does not shake hands over the transfer of weights: NCCL would wait for ever."""
    original = VLLMClient.init_communicator

    def limited(client: Any, device: Any = 0) -> None:
        words = f"{place(base_url or '')} did not shake hands over the transfer of weights"
        with ended_after(
            seconds,
            f"rl.vllm.base_url = {base_url}: {words} within {seconds:g} s; NCCL needs a port "
            "that both sides reach, and GPUs that do not both train and serve",
        ):
            original(client, device)

    VLLMClient.init_communicator = limited
    try:
        yield
    finally:
        VLLMClient.init_communicator = original


@contextmanager
def ended_after(seconds: float, message: str) -> Iterator[None]:
    """End the process with a message when the work inside takes longer: a call into a library cannot be left."""

    def end() -> None:
        print(f"stat-train: {message}", file=sys.stderr, flush=True)
        os._exit(UserError.exit_code)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
