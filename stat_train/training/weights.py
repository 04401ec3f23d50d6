"""The model to train: its number format, attention and kernels, and the adapters on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from transformers.utils import (
    is_bitsandbytes_available,
    is_flash_attn_2_available,
    is_flash_attn_3_available,
    logging,
)
from transformers.utils.import_utils import is_liger_kernel_available

from stat_train.errors import UserError
from stat_train.models.places import model_place
from stat_train.models.transformers import CANNOT_LOAD, cannot_be_loaded
from stat_train.train_settings import Processes, SftTraining, Strategy
from stat_train.training.job import RlJob, TrainJob
from stat_train.training.resume import Start

FLASH = {"flash_attention_2": is_flash_attn_2_available, "flash_attention_3": is_flash_attn_3_available}
QLORA = "pip install 'stat-train[qlora]'"


class Kernels(NamedTuple):
    """How a model computes, with nothing left to choose: `precision` is bf16 or fp32."""

    precision: str
    attention: str
    liger: bool
    gradient_checkpointing: bool

    @property
    def bf16(self) -> bool:
        """Tell whether matrices are multiplied in bf16."""
        return self.precision == "bf16"


class Student(NamedTuple):
    """A model to train; `adapter` is what the trainer still has to put on it."""

    model: Any
    adapter: LoraConfig | None


# -- what this machine can --------------------------------------------------------------------------------------------


def choose_kernels(settings: Processes, packing: bool) -> Kernels:
    """Return how to compute here; raises UserError when something is asked for that this machine cannot do."""
    on_gpu, group = torch.cuda.is_available(), "train" if isinstance(settings, SftTraining) else "rl"
    precision = _precision(settings, group, on_gpu)
    checkpointing = on_gpu if settings.gradient_checkpointing is None else settings.gradient_checkpointing
    attention = _attention(settings, group, precision, packing)
    return Kernels(precision, attention, _liger(settings, group, on_gpu), checkpointing)


def _precision(settings: Processes, group: str, on_gpu: bool) -> str:
    has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else False
    if settings.precision == "bf16" and on_gpu and not has_bf16:
        raise UserError(
            f"{group}.precision = bf16: {torch.cuda.get_device_name()} cannot compute in it; use auto or fp32"
        )
    return ("bf16" if has_bf16 else "fp32") if settings.precision == "auto" else settings.precision


def _attention(settings: Processes, group: str, precision: str, packing: bool) -> str:
    wanted = settings.attention
    if wanted == "auto":
        flash = packing and precision == "bf16" and is_flash_attn_2_available()
        return "flash_attention_2" if flash else "sdpa"
    if wanted in FLASH and not FLASH[wanted]():
        raise UserError(
            f"{group}.attention = {wanted}: needs a GPU and the package flash-attn (pip install 'stat-train[gpu]'), "
            "and one of them is not there; use auto or sdpa"
        )
    if wanted in FLASH and precision != "bf16":
        raise UserError(f"{group}.attention = {wanted}: computes in bf16 only, and {group}.precision is {precision}")
    return wanted


def _liger(settings: Processes, group: str, on_gpu: bool) -> bool:
    # The package can be there where its kernels cannot run, so the GPU is asked for too.
    possible = on_gpu and is_liger_kernel_available()
    if settings.liger and not possible:
        raise UserError(
            f"{group}.liger = true: needs a GPU and the package liger-kernel (pip install 'stat-train[gpu]'), and one "
            "of them is not there; use null"
        )
    return possible if settings.liger is None else settings.liger


def require_trainable(job: TrainJob) -> None:
    """Raise UserError when settings do not go together, or a library that they need is not there."""
    settings, lora = job.settings, job.settings.lora
    if settings.load_in_4bit and lora is None:
        raise UserError("train.load_in_4bit = true: 4-bit weights cannot be trained; use train=sft_qlora")
    if not is_bitsandbytes_available():
        if settings.load_in_4bit:
            raise UserError(f"train.load_in_4bit = true: needs bitsandbytes, which is not installed; {QLORA}")
        if settings.optimizer == "paged_adamw_8bit":
            raise UserError(f"train.optimizer = paged_adamw_8bit: needs bitsandbytes, which is not installed; {QLORA}")
    if settings.load_in_4bit and shards_weights(job.strategy):
        raise UserError(
            f"deepspeed = {job.strategy.name}: spreads weights over processes, which 4-bit weights cannot be; use none "
            "or zero2, or train=sft_lora"
        )
    if lora and isinstance(lora.target_modules, list) and "lm_head" in lora.target_modules:
        raise UserError("train.lora.target_modules: lm_head cannot have an adapter, for the loss is computed past it")
    if lora and not lora.merge and job.revision and not Path(base_place(job)).is_dir():
        raise UserError(
            "train.lora.merge = false: an adapter names its base without the revision (student.revision = "
            f"{job.revision}), so it would be loaded onto another; use train.lora.merge=true or a folder as student"
        )


def shards_weights(strategy: Strategy) -> bool:
    """Tell whether no process holds the weights whole."""
    return strategy.name in ("zero3", "zero3_offload", "fsdp2")


# -- the model --------------------------------------------------------------------------------------------------------


def base_place(job: TrainJob | RlJob) -> str:
    """Return where the student's weights are: a folder from the root, for an adapter names it and may be moved."""
    place = model_place(job.model)
    return str(Path(place).absolute()) if Path(place).is_dir() else place


def frozen_dtype(job: TrainJob, kernels: Kernels) -> torch.dtype:
    """Return the format of weights that adapters stand on."""
    # FSDP wants all weights of a layer in one format, and the adapters are in fp32.
    return torch.bfloat16 if kernels.bf16 and job.strategy.name != "fsdp2" else torch.float32


def student_to_train(job: TrainJob, start: Start, kernels: Kernels) -> Student:
    """Return the model to train, with the weights that it starts from; a state that fits is loaded by the trainer."""
    if job.settings.lora is None:
        place, revision = (str(start.state), None) if start.weights_only else (base_place(job), job.revision)
        return Student(load_weights(place, revision, dtype=torch.float32, attn_implementation=kernels.attention), None)
    dtype = frozen_dtype(job, kernels)
    quantized = _quantized(dtype) if job.settings.load_in_4bit else {}
    base = load_weights(base_place(job), job.revision, dtype=dtype, attn_implementation=kernels.attention, **quantized)
    if not start.weights_only:
        return Student(base, lora_config(job.settings))
    # As the trainer makes adapters: ZeRO-3 wants them in the format of the weights that they stand on.
    as_base = shards_weights(job.strategy) and job.strategy.name != "fsdp2"
    return Student(
        PeftModel.from_pretrained(base, str(start.state), is_trainable=True, autocast_adapter_dtype=not as_base), None
    )


def lora_config(settings: SftTraining) -> LoraConfig:
    """Return the adapters in peft's terms."""
    lora = settings.lora
    assert lora is not None
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
        task_type="CAUSAL_LM",
    )


def _quantized(compute: torch.dtype) -> dict[str, Any]:
    """Return how a base is held in 4 bits, as in QLoRA (arXiv 2305.14314): NF4, its scales quantized once more."""
    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )
    device = int(os.environ.get("LOCAL_RANK", 0)) if torch.cuda.is_available() else "cpu"
    return {"quantization_config": settings, "device_map": {"": device}}


def load_weights(place: str, revision: str | None, **how: Any) -> Any:
    """Return a causal language model that is still to be put on its device; `how` is in the library's terms."""
    logging.disable_progress_bar()
    try:
        return AutoModelForCausalLM.from_pretrained(place, revision=revision, **how)
    except CANNOT_LOAD as error:
        raise cannot_be_loaded(place, error) from error
