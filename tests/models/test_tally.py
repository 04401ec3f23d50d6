"""What is said of calls while they are made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from asking import ask, asking, teacher
from chat_server import ChatServer

from stat_train import progress
from stat_train.models.generator import Completion
from stat_train.models.tally import Tally, show


def completion(cached: bool = False, error: str | None = None) -> Completion:
    return Completion("1", 0, "text", "stop", 100, 20, cached=cached, error=error)


def test_the_words_count_what_was_paid_for_and_project_the_rest() -> None:
    """Two calls cost $0.50; at $0.25 each, the 96 that are left bring it to $24.50."""
    tally = Tally(retries=3, concurrency=7)
    tally.started_seconds -= 10
    for cost in (0.2, 0.3):
        tally.add(completion(), cost)
    for _ in range(2):
        tally.add(completion(cached=True), 0.0)
    said = tally.words(done=4, total=100)
    assert said.split("  ") == [
        "0.2 calls/s",
        "200 + 40 tokens",
        "$0.50 of about $24.50",
        "2 cached",
        "3 retries",
        "7 at a time",
    ]
    tally.add(completion(error="refused"), 0.0)
    assert tally.words(5, 100).endswith("  1 unusable")


def test_one_unknown_price_makes_the_sum_unknown() -> None:
    tally = Tally()
    tally.add(completion(), 0.5)
    tally.add(completion(), None)
    tally.add(completion(), 0.5)
    assert "price unknown" in tally.words(3, 3)


def test_without_a_terminal_there_are_plain_lines(
    chat_server: Callable[..., ChatServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    server = chat_server()
    with asking(tmp_path, teacher(server.url)) as generator:
        assert len(list(show(generator, ask(range(3)), "Labelling", 3))) == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("  ")[0].rpartition(" ")[0].rpartition(" ")[0] for line in lines] == [
        f"Labelling: {n} of 3" for n in (1, 2, 3)
    ]
    assert lines[-1].endswith("  6 + 15 tokens  $0.036 of about $0.036  0 cached  0 retries  8 at a time")
