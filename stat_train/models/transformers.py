"""A model with local weights, run by the transformers library on a CPU or one GPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from stat_train.config import Prompt
from stat_train.errors import UserError
from stat_train.models.generator import Completion, Request, Sampling
from stat_train.models.places import model_place
from stat_train.tasks.prompts import PromptRenderer

# What a tokenizer says that knows no limit is larger than this.
UNLIMITED_TOKENS = 10**9
# What the library raises for files that are absent, damaged, or do not fit together.
CANNOT_LOAD = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)


def load_tokenizer(name: str, revision: str | None) -> Any:
    """Return a model's tokenizer, padding on the left so that every prompt ends where its answer begins."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(model_place(name), revision=revision, padding_side="left")
    except CANNOT_LOAD as error:
        raise cannot_be_loaded(name, error) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def context_tokens(name: str, revision: str | None, tokenizer: Any) -> int | None:
    """Return how many tokens a model takes, prompt and answer together; None when its files name no limit."""
    try:
        config = AutoConfig.from_pretrained(model_place(name), revision=revision)
    except CANNOT_LOAD as error:
        raise cannot_be_loaded(name, error) from error
    stated = (getattr(config.get_text_config(), "max_position_embeddings", None), tokenizer.model_max_length)
    return min((tokens for tokens in stated if tokens and tokens < UNLIMITED_TOKENS), default=None)


def load_model(name: str, revision: str | None, dtype: torch.dtype | None = None) -> Any:
    """Return a causal language model on the best device at hand."""
    logging.disable_progress_bar()
    dtype = dtype or (torch.bfloat16 if torch.cuda.is_available() else torch.float32)
    try:
        model = AutoModelForCausalLM.from_pretrained(model_place(name), revision=revision, dtype=dtype)
    except CANNOT_LOAD as error:
        raise cannot_be_loaded(name, error) from error
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def cannot_be_loaded(name: str, error: Exception, setting: str = "student.model") -> UserError:
    """Return what the user is told of a model that cannot be loaded."""
    return UserError(
        f"{setting} = {name}: cannot be loaded ({_first_line(error)}). Expected a checkpoint folder with tokenizer "
        "and weights, or the name of a hub model that you have access to"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _ends(given: int | list[int] | None) -> set[int]:
    return set(given) if isinstance(given, list) else set() if given is None else {given}


class TransformersGenerator:
    """Answers requests in batches of similar length; all requests of a call share one sampling."""

    def __init__(self, name: str, revision: str | None, prompt: Prompt, batch_size: int) -> None:
        self.tokenizer = load_tokenizer(name, revision)
        self.model = load_model(name, revision).eval()
        self.renderer = PromptRenderer(self.tokenizer, prompt)
        self.stops = self.renderer.end_token_ids() | _ends(self.model.generation_config.eos_token_id)
        self.batch_size = batch_size

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield a completion for each request."""
        rendered = [(request, self.renderer.question_text(request.messages)) for request in requests]
        rendered.sort(key=lambda pair: len(pair[1]), reverse=True)
        for start in range(0, len(rendered), self.batch_size):
            batch = rendered[start : start + self.batch_size]
            yield from self._generate_batch([request for request, _ in batch], [text for _, text in batch])

    @torch.inference_mode()
    def _generate_batch(self, requests: list[Request], texts: list[str]) -> Iterator[Completion]:
        inputs = self.tokenizer(
            texts, return_tensors="pt", padding=True, add_special_tokens=False, return_token_type_ids=False
        ).to(self.model.device)
        output = self.model.generate(**inputs, **self._generation_arguments(requests[0].sampling))
        prompt_tokens = inputs["attention_mask"].sum(dim=1).tolist()
        replies = output[:, inputs["input_ids"].shape[1] :].tolist()
        for request, reply, count in zip(requests, replies, prompt_tokens, strict=True):
            yield self._completion(request, reply, count)

    def _generation_arguments(self, sampling: Sampling) -> dict[str, Any]:
        """Return the settings of generation in full, because a checkpoint's own would fill what is left out."""
        greedy = {"do_sample": False, "repetition_penalty": 1.0}
        sampled = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
        return {
            **(greedy | sampled if sampling.temperature else greedy),
            "max_new_tokens": sampling.max_new_tokens,
            "pad_token_id": self.tokenizer.pad_token_id,
            "eos_token_id": sorted(self.stops),
        }

    def _completion(self, request: Request, reply: list[int], prompt_tokens: int) -> Completion:
        length = next((index for index, token in enumerate(reply) if token in self.stops), None)
        tokens = reply if length is None else reply[:length]
        text = self.tokenizer.decode(tokens, skip_special_tokens=True)
        reason = "length" if length is None else "stop"
        return Completion(request.id, request.sample, text, reason, prompt_tokens, len(tokens))
