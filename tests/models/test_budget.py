"""What a run may spend: exactly that, over all its restarts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from asking import ask, asking, caps, rows, teacher
from chat_server import ChatServer, reply_to

from stat_train.errors import BudgetReached, UserError
from stat_train.models.budget import Budget, Price, in_dollars
from stat_train.models.ledger import Ledger, Spent

Start = Callable[..., ChatServer]
UNPRICED = {"usd_per_million_input_tokens": None}


def test_a_hundred_calls_of_three_hundred_then_the_other_two_hundred(chat_server: Start, tmp_path: Path) -> None:
    server = chat_server()
    got = []
    with pytest.raises(BudgetReached) as caught, asking(tmp_path, teacher(server.url), max_calls=100) as generator:
        for completion in generator.generate(ask(range(300))):
            got.append(completion)
    assert (len(got), len(server.log()), caught.value.exit_code) == (100, 100, 3)
    said = str(caught.value)
    assert said.startswith("budget.max_calls = 100 is reached: this run has paid for 100 calls, 700 tokens, $1.20")
    assert "200 requests have no reply yet" in said and "raise the cap" in said
    with asking(tmp_path, teacher(server.url), max_calls=300) as generator:
        completions = list(generator.generate(ask(range(300))))
    assert all(completion.text == reply_to(f"question {completion.id}") for completion in completions)
    assert (generator.tally.paid, generator.tally.cached, len(server.log())) == (200, 100, 300)


def test_a_cap_in_dollars_stops_when_one_more_call_at_its_worst_does_not_fit(
    chat_server: Start, tmp_path: Path
) -> None:
    """A call costs 2 tokens in and 5 out at $1,000 and $2,000 a million: $0.012.

    At worst it is 14 in (11 characters at 2 a token, and 8 for the message) and 100 out: $0.214. Of $1.00, the n-th
    call fits while (n - 1) * 0.012 + 0.214 <= 1.00: the 66th does (0.994), the 67th does not.
    """
    server = chat_server()
    with (
        pytest.raises(BudgetReached, match=r"budget\.max_usd = 1\.0 is reached.*\$0\.79"),
        asking(tmp_path, teacher(server.url), max_usd=1.0) as generator,
    ):
        list(generator.generate(ask(range(10, 99))))
    assert len(server.log()) == 66


def test_a_cap_in_tokens(chat_server: Start, tmp_path: Path) -> None:
    """A call takes 7 tokens, at worst 114: of 400, the 41st fits (40 * 7 + 114 = 394), the 42nd does not."""
    server = chat_server()
    with pytest.raises(BudgetReached), asking(tmp_path, teacher(server.url), max_tokens=400) as generator:
        list(generator.generate(ask(range(10, 99))))
    assert len(server.log()) == 41


def test_runs_have_budgets_of_their_own(chat_server: Start, tmp_path: Path) -> None:
    server = chat_server()
    for run in ("one", "two"):
        numbers = range(5) if run == "one" else range(5, 10)
        with asking(tmp_path, teacher(server.url), run=run, max_calls=5) as generator:
            assert len(list(generator.generate(ask(numbers)))) == 5


def test_a_timeout_counts_as_a_reply_at_its_worst(chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(fault_share=1.0, faults=["hang"])
    with (
        pytest.raises(
            BudgetReached,
            match=r"paid for 0 calls, 0 tokens, and 3 calls that were under way .* counted at their most \(342 tokens",
        ),
        asking(tmp_path, teacher(server.url, timeout_seconds=0.2), max_calls=3) as generator,
    ):
        list(generator.generate(ask([10])))
    assert len(server.log()) == 3
    with Ledger(tmp_path) as ledger:
        assert ledger.spent("run") == Spent(3, 3 * 114, pytest.approx(3 * 0.214))


@pytest.mark.parametrize("fault", ["rate_limit", "error_500", "html"])
def test_a_fault_without_a_reply_costs_nothing(fault: str, chat_server: Start, tmp_path: Path) -> None:
    server = chat_server(fault_share=0.5, faults=[fault], seed=5)
    with asking(tmp_path, teacher(server.url), max_calls=10) as generator:
        assert len(list(generator.generate(ask(range(10))))) == 10
    assert len(server.log()) > 10
    assert sum(row["calls"] for row in rows(tmp_path, "settle")) == 10


def test_what_a_killed_process_left_unsettled_counts_at_its_worst(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        before = Budget(caps(), "run", ledger)
        first, second = before.reserve(Spent(1, 100, 0.5)), before.reserve(Spent(1, 200, 0.5))
        assert first and second
        written = [before.reserve_row(first, "a", 1), before.reserve_row(second, "b", 1)]
        ledger.write([*written, before.settle_row(first, Spent(1, 10, 0.05))]).result()
    with Ledger(tmp_path) as ledger:
        budget = Budget(caps(), "run", ledger)
        assert budget.spent == Spent(2, 210, pytest.approx(0.55))
        # What became of the second call is not known, and that is said.
        assert budget.uncertain == Spent(1, 200, 0.5)
        assert budget.summary() == (
            "1 calls, 10 tokens, $0.050, and 1 call that was under way when a process or a connection ended, "
            "counted at their most (200 tokens, $0.50)"
        )
        assert Budget(caps(), "another run", ledger).spent == Spent()


def test_a_budget_waits_for_calls_under_way_before_it_ends_the_run(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        budget = Budget(caps(max_tokens=150), "run", ledger)
        charge = budget.reserve(Spent(1, 100, 0.0))
        assert charge and budget.reserve(Spent(1, 100, 0.0)) is None
        budget.settle(charge, Spent(1, 10, 0.0))
        later = budget.reserve(Spent(1, 100, 0.0))
        assert later
        budget.settle(later, Spent(1, 60, 0.0))
        with pytest.raises(BudgetReached, match=r"max_tokens = 150 is reached: this run has paid for 2 calls, 70 tok"):
            budget.reserve(Spent(1, 100, 0.0))


def test_an_unknown_price_is_said_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), Ledger(tmp_path) as ledger:
        Budget(caps(), "run", ledger).check_price(Price(None, 1.0), "model-x", "teacher")
        Budget(caps(), "run", ledger).check_price(Price(0.0, 0.0), "free", "teacher")
    (record,) = caplog.records
    assert "THE PRICE OF model-x IS UNKNOWN" in record.getMessage()


def test_an_unknown_price_and_a_cap_in_dollars_exclude_each_other(chat_server: Start, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"budget\.max_usd = 1\.0: the price of m is unknown; give teacher\.usd_per_million"
    ):
        asking(tmp_path, teacher("http://127.0.0.1:9/v1", **UNPRICED), max_usd=1.0).__enter__()


def test_an_unknown_price_is_never_zero(chat_server: Start, tmp_path: Path) -> None:
    server = chat_server()
    with asking(tmp_path, teacher(server.url, **UNPRICED)) as generator:
        list(generator.generate(ask(range(3))))
    assert generator.tally.usd is None
    assert [row["usd"] for row in rows(tmp_path, "reply")] == [None] * 3


@pytest.mark.parametrize(
    ("usd", "words"),
    [(0.0, "$0.00"), (0.000123, "$0.00012"), (0.036, "$0.036"), (0.1, "$0.10"), (1234.5, "$1,234.50")],
)
def test_small_amounts_keep_two_digits(usd: float, words: str) -> None:
    assert in_dollars(usd) == words


def test_processes_that_share_the_rest_stay_within_the_caps_together(tmp_path: Path) -> None:
    """Of 90 calls 30 are made. The first of 3 processes may make 20 more, and does; so the second, that starts later,
    sees 50 of 90 made and may make 13. In no order do three of them come to more than the 60 that are left.
    """
    with Ledger(tmp_path) as ledger:
        budget = Budget(caps(max_calls=90, max_usd=9.0), "run", ledger)
        for made, most_calls, most_usd in [(30, 30 + 20, 3.0 + 2.0), (50, 50 + 13, 5.0 + 4.0 / 3)]:
            budget.caps, budget.spent = caps(max_calls=90, max_usd=9.0), Spent(made, 7 * made, 0.1 * made)
            budget.share_with(3)
            assert (budget.caps.max_calls, budget.caps.max_tokens) == (most_calls, None)
            assert budget.caps.max_usd == pytest.approx(most_usd)
