"""How a reply is sampled: what was paid for before there was `top_p` is known as it was."""

from __future__ import annotations

from asking import teacher

from stat_train.models.generator import Request, Sampling
from stat_train.models.ledger import call_key
from stat_train.models.replies import model_identity, request_body
from stat_train.store import content_hash

ENDPOINT = teacher("http://h/v1")
MODEL = model_identity(ENDPOINT)


def request(top_p: float) -> Request:
    return Request("1", [{"role": "user", "content": "?"}], Sampling(0.5, 20, top_p), 3)


def test_a_reply_drawn_from_all_tokens_has_the_key_that_it_always_had() -> None:
    asked = {"messages": [{"role": "user", "content": "?"}], "sampling": {"temperature": 0.5, "max_new_tokens": 20}}
    known = content_hash(asked | {"sample": 3, "schema": None, "format_hint": "", "model": MODEL})
    assert call_key(request(1.0), MODEL) == known
    assert call_key(request(0.9), MODEL) != known


def test_top_p_is_sent_only_where_it_says_something() -> None:
    assert "top_p" not in request_body(ENDPOINT, request(1.0), holds_to_schema=False)
    assert request_body(ENDPOINT, request(0.9), holds_to_schema=False)["top_p"] == 0.9
