"""The schema of training: fine-tuning, reinforcement learning, and how the work is spread over processes.

The defaults and their meaning are in `conf/train/`, `conf/rl/` and `conf/deepspeed/`, one file a choice.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from stat_train.setting_types import OPERATIONAL, Node, Positive, Rate, Temperature, Text, Url


class Lora(Node):
    """Low-rank adapters (LoRA, arXiv 2106.09685) on the named projections, or on `all-linear` layers."""

    rank: Positive
    alpha: Positive
    dropout: Annotated[float, Field(ge=0, lt=1)]
    target_modules: Literal["all-linear"] | Annotated[list[Text], Field(min_length=1)]
    merge: bool


class Processes(Node):
    """How many processes train, what each holds at a time, and how often the state is saved on the way."""

    device_batch_size: Annotated[int, Field(ge=1), OPERATIONAL]
    processes: Annotated[int | None, Field(ge=1), OPERATIONAL]
    nodes: Annotated[int, Field(ge=1), OPERATIONAL]
    checkpoints: Annotated[int, Field(ge=1), OPERATIONAL]
    gradient_checkpointing: Annotated[bool | None, OPERATIONAL]
    attention: Annotated[Literal["auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3"], OPERATIONAL]
    liger: Annotated[bool | None, OPERATIONAL]
    precision: Literal["auto", "bf16", "fp32"]


class SftTraining(Processes):
    """Supervised fine-tuning with TRL: of all weights, of adapters, or of adapters on a 4-bit base (QLoRA)."""

    name: Literal["sft", "sft_lora", "sft_qlora"]
    epochs: Positive
    learning_rate: Rate
    learning_rates: Annotated[list[Rate], Field(min_length=1)] | None
    keep_checkpoints: Positive
    effective_batch_size: Positive
    max_length: Positive
    long_rows: Literal["drop", "truncate"]
    packing: bool
    replay_fraction: Annotated[float, Field(ge=0, lt=1)]
    warmup_share: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    gradient_clip: Rate
    optimizer: Literal["adamw", "paged_adamw_8bit"]
    lora: Lora | None
    load_in_4bit: bool


class ExternalTraining(Node):
    """A checkpoint that was trained elsewhere takes the place of fine-tuning here."""

    name: Literal["external"]
    checkpoint: Text


class NoTraining(Node):
    """No fine-tuning: the run ends with the training set, unless reinforcement learning follows."""

    name: Literal["none"]


class Vllm(Node):
    """How rollouts are made by vLLM: in the training processes (colocate), or by a server of its own."""

    mode: Annotated[Literal["colocate", "server"], OPERATIONAL]
    memory_share: Annotated[float, Field(gt=0, lt=1), OPERATIONAL]
    tensor_parallel_size: Annotated[int, Field(ge=1), OPERATIONAL]
    base_url: Annotated[Url | None, OPERATIONAL]
    server_gpus: Annotated[int, Field(ge=1), OPERATIONAL]


class GrpoTraining(Processes):
    """Group relative policy optimization (GRPO, arXiv 2402.03300) with TRL; the reward is a right final answer."""

    name: Literal["grpo", "paper"]
    prompts: Text
    questions: Positive | None
    epochs: Positive
    questions_per_batch: Positive
    questions_per_update: Positive
    rollouts: Annotated[int, Field(ge=2)]
    learning_rate: Rate
    warmup_share: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    gradient_clip: Rate
    max_new_tokens: Positive
    temperature: Annotated[Temperature, Field(gt=0)]
    kl_coefficient: Annotated[float, Field(ge=0)]
    clip: Annotated[float, Field(gt=0, lt=1)]
    loss: Literal["grpo", "bnpo", "dr_grpo", "dapo"]
    scale_rewards: Literal["group", "batch", "none"]
    mask_truncated: bool
    engine: Literal["auto", "transformers", "vllm"]
    generation_batch_size: Annotated[int, Field(ge=1), OPERATIONAL]
    vllm: Vllm


class NoReinforcement(Node):
    """No reinforcement learning after fine-tuning."""

    name: Literal["none"]


class Strategy(Node):
    """How weights, gradients and optimizer state are spread over the processes; `config` is in the library's terms."""

    name: Literal["none", "zero2", "zero3", "zero2_offload", "zero3_offload", "fsdp2"]
    config: dict[str, Any]


Training = Annotated[SftTraining | ExternalTraining | NoTraining, Field(discriminator="name")]
Reinforcement = Annotated[GrpoTraining | NoReinforcement, Field(discriminator="name")]
