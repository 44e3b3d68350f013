"""Credits: limits, the order of taking, and how much of a spend can go back where.

The order itself lives in SQL. `Oracle` is the same desk in memory, which tests compare with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from paydesk.errors import InvalidRequest

#: Ended batches that a lane books on the way; a customer with more goes to the waiting lane.
LANE_EXPIRIES = 64
#: Ended batches that the waiting lane books in one transaction.
WAITING_EXPIRIES = 5_000
#: Ended batches of a customer that a sweep books in one transaction.
SWEEP_EXPIRIES = 1_000

#: The largest number of credits of one operation (BIGINT).
MAX_CREDITS = 2**63 - 1


def check_amount(amount: Any, *, param: str = "amount") -> int:
    """Whole credits above zero; anything else (a float, True, a text) is an InvalidRequest."""
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise InvalidRequest("Credits are whole numbers.", param=param)
    if not 0 < amount <= MAX_CREDITS:
        raise InvalidRequest("The number of credits must be above zero.", param=param)
    return amount


def take_at(order: str, granted_at: datetime, expires_at: datetime | None) -> datetime | None:
    """When a batch's turn comes: by age, or, `expiring_first`, by its end. None: last."""
    return granted_at if order == "fifo" else expires_at


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a spend took from one batch, and what of it has gone back since."""

    batch_id: Any
    amount: int
    returned: int


def give_back(drawn: Sequence[Drawn], amount: int) -> list[tuple[Any, int]]:
    """Where `amount` of a spend goes back: the batch that was taken last first, as if the spend
    had been smaller from the start. `drawn` is in order of taking. Sums to `amount` or to less.
    """
    parts: list[tuple[Any, int]] = []
    for one in reversed(drawn):
        part = min(one.amount - one.returned, amount)
        if part > 0:
            parts.append((one.batch_id, part))
            amount -= part
    return parts


# The oracle -------------------------------------------------------------------------------------


@dataclass(slots=True)
class OracleBatch:
    number: int
    kind: str
    remaining: int
    granted_at: datetime
    expires_at: datetime | None
    origin: str


@dataclass(slots=True)
class OracleSpend:
    draws: list[list[Any]]
    returned: dict[int, int] = field(default_factory=dict)


class Oracle:
    """One customer's credits in memory: the plainest program that obeys the rules."""

    def __init__(self, *, grace=None) -> None:
        """`grace`: how long credits refunded after their batch's end last; None: not at all."""
        self.batches: list[OracleBatch] = []
        self.spends: list[OracleSpend] = []
        self.grace = grace
        self._numbers = 0

    def open_at(self, now: datetime) -> list[OracleBatch]:
        """Spendable batches in order of taking."""
        live = [
            b for b in self.batches
            if b.remaining and (b.expires_at is None or b.expires_at > now)
        ]  # fmt: skip
        return sorted(live, key=lambda b: (b.granted_at, b.number))

    def balance(self, now: datetime) -> int:
        return sum(b.remaining for b in self.open_at(now))

    def grant(
        self, amount: int, kind: str, now: datetime, expires_at: datetime | None,
        origin: str | None = None,
    ) -> OracleBatch:  # fmt: skip
        self._numbers += 1
        made = OracleBatch(self._numbers, kind, amount, now, expires_at, origin or kind)
        self.batches.append(made)
        return made

    def spend(self, amount: int, now: datetime) -> OracleSpend | None:
        """The spend with its draws, or None where the balance is too low."""
        if self.balance(now) < amount:
            return None
        draws = self._take(self.open_at(now), amount)
        made = OracleSpend([[b, part] for b, part in draws])
        self.spends.append(made)
        return made

    def refundable(self, spend: OracleSpend) -> int:
        return sum(part for _, part in spend.draws) - sum(spend.returned.values())

    def refund(self, spend: OracleSpend, amount: int, now: datetime) -> bool:
        """Give back to the batches taken from, the last first; False where that is too much."""
        if amount > self.refundable(spend):
            return False
        drawn = [
            Drawn(b.number, part, spend.returned.get(b.number, 0)) for b, part in spend.draws
        ]
        by_number = {b.number: b for b, _ in spend.draws}
        for number, part in give_back(drawn, amount):
            spend.returned[number] = spend.returned.get(number, 0) + part
            batch = by_number[number]
            if batch.expires_at is None or batch.expires_at > now:
                batch.remaining += part
            elif self.grace is not None:
                self.grant(part, "refunded", now, now + self.grace, batch.origin)
        return True

    def send(
        self, other: Oracle, amount: int, now: datetime, *, promotional: bool = True
    ) -> bool:
        """Move credits to another; without `promotional`, credits of promotions stay."""
        queue = [b for b in self.open_at(now) if promotional or b.origin != "promotional"]
        if sum(b.remaining for b in queue) < amount:
            return False
        for batch, part in self._take(queue, amount):
            other.grant(part, batch.kind, batch.granted_at, batch.expires_at, batch.origin)
        return True

    def _take(self, queue: list[OracleBatch], amount: int) -> list[tuple[OracleBatch, int]]:
        taken: list[tuple[OracleBatch, int]] = []
        for batch in queue:
            part = min(batch.remaining, amount)
            if not part:
                break
            batch.remaining -= part
            amount -= part
            taken.append((batch, part))
        return taken
