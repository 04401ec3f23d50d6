"""One process of several: the process group, and what DeepSpeed or FSDP is told."""

from __future__ import annotations

import os
from typing import Any

import torch

from stat_train.train_settings import Strategy

# The trainer fills in what is "auto", from its own arguments.
BATCHES = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "bf16": {"enabled": "auto"},
}


def world_size() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Return which of them this one is; the one of rank 0 speaks and writes."""
    return int(os.environ.get("RANK", 0))


def join_processes(strategy: Strategy) -> None:
    """Join the process group where DeepSpeed needs it before the model is loaded: on a CPU, ZeRO-3 shards by it."""
    if not is_deepspeed(strategy) or torch.cuda.is_available():
        return
    import deepspeed

    # Its operator for shared memory is compiled when first used, which takes a minute; gloo works without.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}.items():
        os.environ.setdefault(name, value)
    deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)


def leave_processes() -> None:
    """Leave the process group, so that no process waits for one that has ended."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def is_deepspeed(strategy: Strategy) -> bool:
    """Tell whether DeepSpeed trains."""
    return strategy.name not in ("none", "fsdp2")


def strategy_arguments(strategy: Strategy) -> dict[str, Any]:
    """Return the trainer's arguments that say how weights, gradients and optimizer state are spread."""
    if is_deepspeed(strategy):
        return {"deepspeed": BATCHES | strategy.config}
    if strategy.name == "fsdp2":
        return {"fsdp": True, "fsdp_config": strategy.config}
    return {}


def any_process(wanted: bool) -> bool:
    """Tell whether any of the processes wants something; all of them must ask at the same point."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return wanted
    device = "cuda" if torch.cuda.is_available() else "cpu"
    flag = torch.tensor(float(wanted), device=device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag.item())
