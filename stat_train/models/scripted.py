"""A model that says what it is told to, so that everything that asks a model runs without one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from stat_train.models.generator import Completion, Request
from stat_train.models.tally import Tally
from stat_train.store import content_hash

Script = Callable[[Request], str] | Sequence[str]


class ScriptedGenerator:
    """Replies with `script(request)`, or with the texts of a list, one after the other.

    A list that is too short raises IndexError. Tokens are counted as words. A call whose replies were rejected
    `max_attempts` times ends in an error, as with a real model.
    """

    def __init__(self, script: Script, max_attempts: int = 3) -> None:
        self.reply = script if callable(script) else _one_by_one(script)
        self.max_attempts, self.tally = max_attempts, Tally()
        self.asked: list[Request] = []
        self.rejected: list[str] = []

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield a completion for each request, in the order asked."""
        for request in requests:
            words = sum(len(message["content"].split()) for message in request.messages)
            call_id = content_hash([request.messages, request.sampling, request.sample, request.schema])
            if self.rejected.count(call_id) >= self.max_attempts:
                error = "the reply could not be read"
                yield Completion(request.id, request.sample, "", "error", words, 0, error=error, call_id=call_id)
                continue
            self.asked.append(request)
            text = self.reply(request)
            yield Completion(request.id, request.sample, text, "stop", words, len(text.split()), call_id=call_id)

    def reject(self, completion: Completion) -> None:
        """Note that a reply could not be read."""
        self.rejected.append(completion.call_id or "")


def _one_by_one(texts: Sequence[str]) -> Callable[[Request], str]:
    left = iter(texts)

    def reply(request: Request) -> str:
        try:
            return next(left)
        except StopIteration:
            raise IndexError(f"the script has {len(texts)} replies, and more were asked for") from None

    return reply
