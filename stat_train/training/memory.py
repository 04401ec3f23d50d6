"""How much memory and disk a training needs, worked out from the model's settings before any weight is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from peft import get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from stat_train.errors import UserError
from stat_train.models.transformers import CANNOT_LOAD, cannot_be_loaded
from stat_train.train_settings import SftTraining, Strategy
from stat_train.training.distributed import is_deepspeed
from stat_train.training.job import TrainJob
from stat_train.training.weights import Kernels, base_place, lora_config, shards_weights

# NF4 with scales that are quantized once more: 4 bits and 0.127 (QLoRA, arXiv 2305.14314, section 3).
BYTES_IN_4BIT = 4.127 / 8
# The loss is worked out in tiles of at most so many tokens and words (TRL, kernels/chunked_logprob.py), in fp32, one
# tile of logits and one of their gradients at a time.
TILE_TOKENS, TILE_WORDS, TILE_BYTES = 4096, 32768, 2 * 4
# The trainer keeps two states, and writes a third before it removes the first.
STATES = 3


class Parameters(NamedTuple):
    """How many parameters the base has, how many of them lie in linear layers, and how many are trained."""

    base: int
    linear: int
    trained: int


class PerParameter(NamedTuple):
    """Bytes of memory for a trained parameter's weight, gradient and optimizer state."""

    weight: float
    gradient: float
    optimizer: float


class Memory(NamedTuple):
    """Bytes of device memory that one process needs."""

    weights: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def held(self) -> float:
        """Return what is held all the time."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> float:
        """Return what is needed at most."""
        return self.held + self.activations


def size(held: float) -> str:
    """Return a number of bytes as it is said."""
    return f"{held / 2**30:,.1f} GiB" if held >= 2**30 else f"{held / 2**20:,.1f} MiB"


def read_config(job: TrainJob) -> Any:
    """Return the student's configuration; raises UserError when it cannot be read."""
    try:
        return AutoConfig.from_pretrained(base_place(job), revision=job.revision)
    except CANNOT_LOAD as error:
        raise cannot_be_loaded(job.model, error) from error


def count_parameters(config: Any, settings: SftTraining) -> Parameters:
    """Count the parameters of a model that is only drawn up, not filled; shared ones count once."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        base = sum(parameter.numel() for parameter in model.parameters())
        head = model.get_output_embeddings()
        layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear) and layer is not head]
        linear = sum(layer.weight.numel() for layer in layers)
        if settings.lora is None:
            return Parameters(base, linear, base)
        try:
            adapted = get_peft_model(model, lora_config(settings))
        except ValueError as error:
            given, first_line = settings.lora.target_modules, str(error).partition("\n")[0]
            raise UserError(f"train.lora.target_modules = {given}: do not fit the student ({first_line})") from error
    trained = sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)
    return Parameters(base, linear, trained)


def bytes_per_trained(settings: SftTraining, strategy: Strategy, kernels: Kernels) -> PerParameter:
    """Return what AdamW holds for a trained parameter: 16 bytes, spread otherwise over the three by DeepSpeed in bf16.

    PyTorch keeps weight and gradient in fp32 and multiplies copies in bf16 (4 + 4 + 8). DeepSpeed keeps both in bf16,
    and a weight in fp32 beside the two moments (2 + 2 + 12). Moments in 8 bits are 2 bytes.
    """
    moments = 2 if settings.optimizer == "paged_adamw_8bit" else 8
    if is_deepspeed(strategy):
        each = 2 if kernels.bf16 else 4
        return PerParameter(each, each, 4 + moments)
    if settings.load_in_4bit:
        # The trainer makes adapters on a 4-bit base bf16, and the moments follow them.
        return PerParameter(2, 2, min(moments, 4))
    return PerParameter(4, 4, moments)


def bytes_frozen(parameters: Parameters, settings: SftTraining, strategy: Strategy, kernels: Kernels) -> float:
    """Return the size of the weights that adapters stand on; without adapters none are frozen."""
    if settings.lora is None:
        return 0
    each = 2 if kernels.bf16 and strategy.name != "fsdp2" else 4
    if not settings.load_in_4bit:
        return each * parameters.base
    return BYTES_IN_4BIT * parameters.linear + each * (parameters.base - parameters.linear)


def memory_per_process(
    parameters: Parameters, settings: SftTraining, strategy: Strategy, kernels: Kernels, processes: int, working: float
) -> Memory:
    """Return what each of the processes needs on its device; `working` is what a forward and backward pass needs."""
    each = bytes_per_trained(settings, strategy, kernels)
    weights = bytes_frozen(parameters, settings, strategy, kernels) + each.weight * parameters.trained
    gradients, optimizer = each.gradient * parameters.trained, each.optimizer * parameters.trained
    if strategy.name != "none":
        gradients, optimizer = gradients / processes, optimizer / processes
    if shards_weights(strategy):
        weights /= processes
    if strategy.name.endswith("offload"):
        optimizer = 0
        weights = 0 if shards_weights(strategy) else weights
    if strategy.name == "none" and kernels.bf16 and settings.lora is None:
        # The copies that are multiplied.
        working += 2 * parameters.trained
    return Memory(weights, gradients, optimizer, working)


def activation_bytes(config: Any, kernels: Kernels, row_tokens: Sequence[int], packing: bool) -> float:
    """Return what a forward and backward pass over rows of so many tokens keeps, about.

    Each layer keeps what the gradient needs: the inputs of its norms and projections, queries, keys, values and the
    attention's output (8 times the hidden size) and four vectors of the MLP (after Korthikanti et al., arXiv
    2205.05198). With gradient checkpointing it is one vector a layer, and the rest for one layer at a time.
    """
    text = config.get_text_config()
    hidden, layers, vocabulary = text.hidden_size, text.num_hidden_layers, text.vocab_size
    inner = getattr(text, "intermediate_size", None) or 4 * hidden
    rows = 1 if packing else len(row_tokens)
    longest = sum(row_tokens) if packing else max(row_tokens)
    size = 2 if kernels.bf16 else 4
    layer = rows * longest * (8 * hidden + 4 * inner) * size
    if kernels.attention == "eager":
        # Scores and shares of every head, the shares in fp32.
        layer += rows * text.num_attention_heads * longest**2 * (size + 4)
    kept = layer + layers * rows * longest * hidden * size if kernels.gradient_checkpointing else layers * layer
    tile = min(rows * longest, TILE_TOKENS) * min(vocabulary, TILE_WORDS) * TILE_BYTES
    return float(kept + tile)


def disk_bytes(parameters: Parameters, settings: SftTraining, strategy: Strategy, kernels: Kernels) -> float:
    """Return how much the states and checkpoints of a training take on disk at most."""
    each = bytes_per_trained(settings, strategy, kernels)
    states = STATES * (each.weight + each.optimizer) * parameters.trained
    if settings.lora is None:
        # DeepSpeed hands on the weights in the format that it multiplies.
        return states + settings.keep_checkpoints * each.weight * parameters.trained
    merged = (2 if kernels.bf16 else 4) * parameters.base if settings.lora.merge else each.weight * parameters.trained
    return states + settings.keep_checkpoints * merged
