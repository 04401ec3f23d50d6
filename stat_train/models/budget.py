"""The budget of a run: no call is sent that could lead beyond it, in this process or after a restart."""

from __future__ import annotations

import logging
import math
import threading
from itertools import count
from typing import NamedTuple

from stat_train.config import BudgetCaps
from stat_train.errors import BudgetReached, UserError
from stat_train.models.ledger import Ledger, Spent
from stat_train.models.segments import Row

logger = logging.getLogger(__name__)
NOTHING = Spent()


class Price(NamedTuple):
    """What tokens cost; None where it is not known."""

    usd_per_million_input_tokens: float | None
    usd_per_million_output_tokens: float | None

    def usd(self, input_tokens: int, output_tokens: int) -> float | None:
        """Return what a call costs; None when a price is not known."""
        if self.usd_per_million_input_tokens is None or self.usd_per_million_output_tokens is None:
            return None
        per_million = self.usd_per_million_input_tokens * input_tokens
        per_million += self.usd_per_million_output_tokens * output_tokens
        return per_million / 1_000_000


def in_dollars(usd: float) -> str:
    """Return an amount with cents, or with two digits that count when it is less than that."""
    if usd >= 0.1 or usd <= 0:
        return f"${usd:,.2f}"
    return f"${usd:.{1 - math.floor(math.log10(usd))}f}"


def _words(spent: Spent) -> str:
    dollars = f", {in_dollars(spent.usd)}" if spent.usd > 1e-12 else ""
    return f"{spent.calls:,} calls, {spent.tokens:,} tokens{dollars}"


class Charge(NamedTuple):
    """What one call may cost at most; `number` is its own among those of its process."""

    number: int
    worst: Spent


class Budget:
    """Keeps a run within its caps; what its earlier processes spent counts, and so does what they left unsettled.

    `elsewhere` is what other rounds of the same run spent: it counts too, and is not of this round.
    Raises UserError when there is a cap in dollars and a model without a price is charged.
    """

    def __init__(self, caps: BudgetCaps, run: str, ledger: Ledger, elsewhere: Spent = NOTHING) -> None:
        self.caps, self.run, self.elsewhere = caps, run, elsewhere
        # Of what was spent, the part whose true cost is not known: at most so much.
        self.spent, self.uncertain = ledger.spent(run), ledger.unsettled(run)
        self.reserved = Spent()
        self.numbers = count()
        self.counting = threading.Lock()

    def share_with(self, processes: int) -> None:
        """Keep to an equal part of what the run may still spend: each of so many processes does the same.

        Whichever of them begins when, together they stay within the caps.
        """
        before, shares = self.spent.plus(self.elsewhere), {}
        for name, spent in {"max_calls": before.calls, "max_tokens": before.tokens}.items():
            cap = getattr(self.caps, name)
            shares[name] = None if cap is None else spent + max(0, cap - spent) // processes
        usd, paid = self.caps.max_usd, before.usd
        shares["max_usd"] = None if usd is None else paid + max(0.0, usd - paid) / processes
        self.caps = self.caps.model_copy(update=shares)

    def check_price(self, price: Price, model: str, role: str) -> None:
        """Say that a model's price is unknown, aloud; raise UserError when it has to be known."""
        if price.usd(0, 0) is not None:
            return
        names = f"{role}.usd_per_million_input_tokens and {role}.usd_per_million_output_tokens"
        remedy = f"give {names} (0 for a server of your own)"
        if self.caps.max_usd is not None:
            raise UserError(f"budget.max_usd = {self.caps.max_usd}: the price of {model} is unknown; {remedy}")
        logger.warning("THE PRICE OF %s IS UNKNOWN: what this run costs is not counted; %s", model, remedy)

    def reserve(self, worst: Spent) -> Charge | None:
        """Set aside what a call may cost; None when calls under way must be settled before it is known to fit.

        Raises BudgetReached when no call is under way and this one does not fit.
        """
        with self.counting:
            if cap := self._exceeded(worst):
                if self.reserved.calls:
                    return None
                others = f", and other rounds for {_words(self.elsewhere)}" if self.elsewhere.calls else ""
                raise BudgetReached(f"{cap} is reached: this run has paid for {self.summary()}{others}")
            self.reserved = self.reserved.plus(worst)
            return Charge(next(self.numbers), worst)

    def settle(self, charge: Charge, actual: Spent) -> None:
        """Count what a call did cost; nothing when it was not made."""
        with self.counting:
            self.reserved = self.reserved.minus(charge.worst)
            self.spent = self.spent.plus(actual)

    def give_up(self, charge: Charge) -> None:
        """Count a call at its worst: it was sent, and what became of it is not known."""
        self.settle(charge, charge.worst)
        with self.counting:
            self.uncertain = self.uncertain.plus(charge.worst)

    def reserve_row(self, charge: Charge, key: str, attempt: int) -> Row:
        """Return the row that reserves a charge; while nothing follows it, the call counts at its worst."""
        worst = {"calls": 1, "tokens": charge.worst.tokens, "usd": charge.worst.usd}
        return {"kind": "reserve", "run": self.run, "key": key, "attempt": attempt, "charge": charge.number} | worst

    def settle_row(self, charge: Charge, actual: Spent) -> Row:
        """Return the row that settles a charge."""
        return {"kind": "settle", "charge": charge.number} | actual._asdict()

    def summary(self) -> str:
        """Return what was spent, in words."""
        unsure = self.uncertain
        if not unsure.calls:
            return _words(self.spent)
        calls = "1 call that was" if unsure.calls == 1 else f"{unsure.calls:,} calls that were"
        more = _words(unsure).partition(", ")[2]
        return (
            f"{_words(self.spent.minus(unsure))}, and {calls} under way when a process or a connection "
            f"ended, counted at their most ({more})"
        )

    def _exceeded(self, worst: Spent) -> str | None:
        """Return the cap that one more call could exceed; sums of dollars are not exact in their last digits."""
        after = self.spent.plus(self.elsewhere).plus(self.reserved).plus(worst)
        caps = {"max_calls": after.calls, "max_tokens": after.tokens, "max_usd": after.usd}
        for name, value in caps.items():
            cap = getattr(self.caps, name)
            if cap is not None and value > cap * (1 + 1e-9):
                return f"budget.{name} = {cap}"
        return None
