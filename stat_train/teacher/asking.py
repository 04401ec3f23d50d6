"""Asking a model until its replies can be read, or it has had as many tries as it may have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

from stat_train.models.generator import Completion, Request
from stat_train.models.tally import Tally, show

T = TypeVar("T")
Key = tuple[str, int]


class TeacherGenerator(Protocol):
    """A generator that can be told that a reply was of no use; asked again, it makes the call again if it may."""

    tally: Tally

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Yield a completion for each request, in any order."""
        ...

    def reject(self, completion: Completion) -> None:
        """Say that a reply could not be read."""
        ...


class Asked(NamedTuple, Generic[T]):
    """A request, and how its reply is read; reading gives None when the reply is not of the form asked for."""

    request: Request
    read: Callable[[str], T | None]

    @property
    def key(self) -> Key:
        """What the reply is found by."""
        return self.request.id, self.request.sample


class Heard(NamedTuple, Generic[T]):
    """A reply and what was read in it; `value` is None when no reply could be used, and `error` says why."""

    text: str
    value: T | None
    error: str | None
    call_ids: list[str]


def ask(generator: TeacherGenerator, asked: Iterable[Asked[T]], what: str) -> dict[Key, Heard[T]]:
    """Return what was heard, by (id, sample); of requests with the same one only the first is sent."""
    readers: dict[Key, Asked[T]] = {}
    for each in asked:
        readers.setdefault(each.key, each)
    heard: dict[Key, Heard[T]] = {}
    waiting = [each.request for each in readers.values()]
    while waiting:
        again = []
        for completion in show(generator, waiting, what, len(waiting)):
            key = completion.id, completion.sample
            one = _heard(completion, readers[key])
            if one.value is None and one.error is None:
                generator.reject(completion)
                again.append(readers[key].request)
            else:
                heard[key] = one
        waiting = again
    return heard


def _heard(completion: Completion, asked: Asked[T]) -> Heard[T]:
    value = None if completion.error else asked.read(completion.text)
    return Heard(completion.text, value, completion.error, [completion.call_id] if completion.call_id else [])
