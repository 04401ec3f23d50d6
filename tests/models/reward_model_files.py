"""Small reward models with random weights, for tests and benchmarks: both forms, whole checkpoints on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForTokenClassification,
)

from stat_train.config import RewardModel

TEXT = [
    "What is 1 + 1? Step 2: 17 - 9 = 8, so the answer is 8.",
    "The final answer is: \\boxed{42}",
    "a * (b + c) / 3",
    "=+" * 9,
]
SPECIAL = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<extra_0>"]
# As Llama 3.1 writes a conversation, less its default system prompt.
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
# Wide enough that the rewards of a random model differ from each other.
SPREAD = 0.2


def make_tokenizer(template: str = TEMPLATE, vocabulary: int = 400) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer whose special tokens are those of Llama 3, and a separator of steps."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(TEXT, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=SPECIAL[0], eos_token=SPECIAL[3])
    made.chat_template = template
    return made


def _sizes(vocabulary: int, hidden: int, layers: int, positions: int = 1024) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": positions,
        "initializer_range": SPREAD,
    }


def save_causal(
    folder: Path, tokenizer: Any = None, hidden: int = 64, layers: int = 2, vocabulary: int | None = None
) -> Path:
    """Write a causal language model; its vocabulary may be larger than its tokenizer's."""
    tokenizer = tokenizer or make_tokenizer()
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**_sizes(vocabulary or len(tokenizer), hidden, layers))).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_classifier(folder: Path, tokenizer: Any = None, labels: int = 2) -> Path:
    """Write a model that classifies tokens."""
    tokenizer = tokenizer or make_tokenizer()
    torch.manual_seed(0)
    config = Qwen2Config(**_sizes(len(tokenizer), 64, 2), num_labels=labels)
    Qwen2ForTokenClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def settings(folder: Path, **given: Any) -> RewardModel:
    """Return the settings of a model in a folder."""
    usual: dict[str, Any] = {
        "model": str(folder),
        "revision": None,
        "trust_remote_code": False,
        "system": None,
        "separator": None,
        "batch_size": 4,
        "processes": None,
    }
    return RewardModel(**usual | given)
