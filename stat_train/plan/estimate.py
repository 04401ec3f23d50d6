"""What calls cost: tokens, dollars and hours, without those that the ledger has."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stat_train.config import Endpoint, OpenAITeacher
from stat_train.models.budget import Price
from stat_train.models.generator import Request
from stat_train.models.ledger import Ledger, call_key
from stat_train.models.replies import TOKENS_PER_MESSAGE, model_identity, request_body
from stat_train.plan.known import CHARACTERS_PER_TOKEN, Asked

# Replies may be half as long as assumed, or twice; a count by characters may be off by a quarter.
LEAST_REPLY, MOST_REPLY = 0.5, 2.0
LEAST_COUNT, MOST_COUNT = 0.75, 1.25


class Between(NamedTuple):
    """A number that is not known exactly: what it is at least, probably, and at most."""

    low: float
    expected: float
    high: float

    def plus(self, other: Between) -> Between:
        """Return the sum."""
        return Between(*(one + two for one, two in zip(self, other, strict=True)))

    def times(self, factor: float) -> Between:
        """Return the product."""
        return Between(*(value * factor for value in self))


NOTHING = Between(0, 0, 0)


class StageEstimate(NamedTuple):
    """What one stage will ask of one model; `calls` are those to be paid for, `in_ledger` those that were.

    `usd` is None when a price is not known. `limit` names the setting that the hours come from. What was taken for
    granted is `assumed`; without that, the very requests were rendered. `different` is as in `Asked`.
    """

    stage: str
    role: str
    calls: int
    in_ledger: int
    input_tokens: Between
    output_tokens: Between
    usd: Between | None
    hours: float
    limit: str
    assumed: tuple[str, ...] = ()
    different: int | None = None

    def part(self, calls: int) -> StageEstimate:
        """Return what so many of the calls cost, as a part of all of them."""
        share = calls / self.calls if self.calls else 0.0
        tokens = {name: getattr(self, name).times(share) for name in ("input_tokens", "output_tokens")}
        usd = self.usd.times(share) if self.usd else None
        return self._replace(calls=calls, usd=usd, hours=self.hours * share, **tokens)


class Counting(NamedTuple):
    """How tokens are counted: exactly, with the model's own tokenizer, or by their characters."""

    tokens: Callable[[str], int]
    exact: bool


def counting_for(model: str) -> Counting:
    """Return how a model's tokens are counted: by its tokenizer when that is a local file, else by characters."""
    if place := _tokenizer_file(model):
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(place))
        return Counting(lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids), exact=True)
    return Counting(lambda text: math.ceil(len(text) / CHARACTERS_PER_TOKEN), exact=False)


def _tokenizer_file(model: str) -> Path | None:
    """Return the tokenizer of a model that is a folder, or that the hub's cache holds."""
    local = Path(model).expanduser() / "tokenizer.json"
    if local.is_file():
        return local
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(model, "tokenizer.json")
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def estimate(asked: Asked, endpoint: Endpoint, speed: float, ledger: Ledger, counting: Counting) -> StageEstimate:
    """Return what a stage's calls cost; where `asked` holds examples, all its calls are taken to be like them.

    `speed` is how many tokens of one reply a server writes in a second.
    """
    missing = _not_in_ledger(asked.requests, endpoint, ledger)
    calls = round(asked.calls * len(missing) / max(len(asked.requests), 1))
    schema = ledger.holds_to_schema(_identity(endpoint))
    counts = [_input_tokens(request, endpoint, schema, counting) for request in missing]
    inputs = calls * sum(counts) / max(len(counts), 1)
    off = (1.0, 1.0) if counting.exact and len(asked.requests) == asked.calls else (LEAST_COUNT, MOST_COUNT)
    input_tokens = Between(inputs * off[0], inputs, inputs * off[1])
    output_tokens = _outputs(calls, asked.reply_tokens, endpoint.max_new_tokens)
    hours, limit = _hours(calls, inputs, output_tokens.expected, endpoint, speed)
    usd = dollars(endpoint, input_tokens, output_tokens)
    before = asked.calls - calls
    numbers = (calls, before, input_tokens, output_tokens, usd, hours)
    return StageEstimate(asked.stage, asked.role, *numbers, limit, asked.assumed, asked.different)


def total(stages: Iterable[StageEstimate]) -> StageEstimate:
    """Return what all stages come to; dollars are unknown when those of one stage with calls are."""
    every = list(stages)
    inputs, outputs, usd = NOTHING, NOTHING, NOTHING
    for stage in every:
        inputs, outputs = inputs.plus(stage.input_tokens), outputs.plus(stage.output_tokens)
        usd = usd.plus(stage.usd or NOTHING)
    priced = all(stage.usd is not None for stage in every if stage.calls)
    calls, before = sum(stage.calls for stage in every), sum(stage.in_ledger for stage in every)
    hours = sum(stage.hours for stage in every)
    return StageEstimate("in all", "", calls, before, inputs, outputs, usd if priced else None, hours, "")


def dollars(endpoint: Endpoint, inputs: Between, outputs: Between) -> Between | None:
    """Return what tokens cost; None when a price is not known."""
    price = Price(endpoint.usd_per_million_input_tokens, endpoint.usd_per_million_output_tokens)
    found = [price.usd(round(one), round(two)) for one, two in zip(inputs, outputs, strict=True)]
    known = [usd for usd in found if usd is not None]
    return Between(*known) if len(known) == len(found) else None


def _identity(endpoint: Endpoint) -> dict[str, Any]:
    return model_identity(endpoint, endpoint.sampling_seed if isinstance(endpoint, OpenAITeacher) else 0)


def _not_in_ledger(requests: Sequence[Request], endpoint: Endpoint, ledger: Ledger) -> list[Request]:
    """Return the requests that a call has to be made for: neither answered, nor asked in vain as often as may be."""
    model, most = _identity(endpoint), 1.0
    if isinstance(endpoint, OpenAITeacher):
        most = math.inf if endpoint.retry_bad else endpoint.max_attempts
    keys = {call_key(request, model): request for request in requests}
    return [r for key, r in keys.items() if not ledger.usable(key) and ledger.attempts(key) < most]


def _input_tokens(request: Request, endpoint: Endpoint, holds_to_schema: bool, counting: Counting) -> int:
    body = request_body(endpoint, request, holds_to_schema)
    tokens = sum(counting.tokens(message["content"]) + TOKENS_PER_MESSAGE for message in body["messages"])
    return tokens + (counting.tokens(json.dumps(request.schema)) if "response_format" in body else 0)


def _outputs(calls: int, reply_tokens: int, most: int) -> Between:
    lengths = (min(most, reply_tokens * factor) for factor in (LEAST_REPLY, 1.0, MOST_REPLY))
    return Between(*(calls * length for length in lengths))


def _hours(calls: int, inputs: float, outputs: float, endpoint: Endpoint, speed: float) -> tuple[float, str]:
    """Return how long the calls take at the limit that holds them up most, and which that is."""
    at_a_time = min(endpoint.max_concurrency, max(calls, 1))
    minutes = {"max_concurrency": outputs / speed / at_a_time / 60}
    if endpoint.requests_per_minute:
        minutes["requests_per_minute"] = calls / endpoint.requests_per_minute
    if endpoint.tokens_per_minute:
        minutes["tokens_per_minute"] = (inputs + outputs) / endpoint.tokens_per_minute
    limit = max(minutes, key=lambda name: minutes[name])
    return minutes[limit] / 60, limit
