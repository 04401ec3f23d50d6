"""The contract of everything that turns a prompt into text: requests in, completions out, streaming and unordered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from stat_train.records import Message


class Sampling(NamedTuple):
    """How a reply is sampled; temperature 0 is greedy decoding.

    `top_p`: of the likeliest next tokens, only those that are together this likely may be drawn; 1 for all.
    """

    temperature: float
    max_new_tokens: int
    top_p: float = 1.0

    def identity(self) -> dict[str, Any]:
        """Return what a reply depends on; what draws from all tokens is known as it was before there was `top_p`."""
        return {name: value for name, value in self._asdict().items() if name != "top_p" or value != 1}


class Request(NamedTuple):
    """One reply asked for; `sample` counts the replies to the same messages.

    `schema` is the JSON schema that the reply must fit; where a server cannot hold to it, `format_hint` is added to the
    last message instead. `prompt_version` says which wording of the prompt `prompt_name` made the messages; both are
    recorded only.
    """

    id: str
    messages: list[Message]
    sampling: Sampling
    sample: int
    schema: dict[str, Any] | None = None
    format_hint: str = ""
    prompt_version: str | None = None
    prompt_name: str | None = None


class Completion(NamedTuple):
    """One reply; `finish_reason` is `stop`, `length`, `refusal`, or `error` when no reply came.

    `error` says why the reply cannot be used, after all attempts that were allowed; whoever asked leaves the item
    unscored. `cached` replies were paid for before; `call_id` is their key in the ledger of calls. Of the tokens,
    `cached_tokens` (of the input) and `reasoning_tokens` (of the output) are None where the server does not tell.
    """

    id: str
    sample: int
    text: str
    finish_reason: str
    input_tokens: int
    output_tokens: int
    cached: bool = False
    error: str | None = None
    call_id: str | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class Generator(Protocol):
    """Whatever answers prompts."""

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield a completion for each request, in any order."""
        ...
