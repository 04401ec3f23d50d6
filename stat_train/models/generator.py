"""The contract of everything that turns a prompt into text: requests in, completions out, streaming and unordered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from stat_train.records import Message


class Sampling(NamedTuple):
    """How a reply is sampled; temperature 0 is greedy decoding."""

    temperature: float
    max_new_tokens: int


class Request(NamedTuple):
    """One reply asked for; `sample` counts the replies to the same messages."""

    id: str
    messages: list[Message]
    sampling: Sampling
    sample: int


class Completion(NamedTuple):
    """One reply; `finish_reason` is `stop` or `length`."""

    id: str
    sample: int
    text: str
    finish_reason: str
    input_tokens: int
    output_tokens: int


class Generator(Protocol):
    """Whatever answers prompts."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield a completion for each request, in any order."""
        ...
