"""A model that says what it is told to."""

from __future__ import annotations

import pytest
from asking import ask

from stat_train.models.scripted import ScriptedGenerator


def test_it_replies_by_a_function() -> None:
    generator = ScriptedGenerator(lambda request: f"to {request.messages[-1]['content']}")
    first, second = generator.generate(ask([1, 2]))
    assert (first.id, first.text, second.text) == ("1", "to question 1", "to question 2")
    assert (first.input_tokens, first.output_tokens, first.finish_reason, first.error) == (2, 3, "stop", None)
    assert first.call_id != second.call_id
    assert [request.id for request in generator.asked] == ["1", "2"]


def test_it_replies_from_a_list_until_that_is_used_up() -> None:
    generator = ScriptedGenerator(["one", "two"])
    assert [completion.text for completion in generator.generate(ask([1, 2]))] == ["one", "two"]
    with pytest.raises(IndexError, match="the script has 2 replies"):
        list(generator.generate(ask([3])))


def test_it_notes_what_could_not_be_read() -> None:
    generator = ScriptedGenerator(["what?"])
    (completion,) = generator.generate(ask([1]))
    generator.reject(completion)
    assert generator.rejected == [completion.call_id]
