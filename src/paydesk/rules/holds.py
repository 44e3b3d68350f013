"""Holds: where credits go that were set aside and are not needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from paydesk.errors import HoldClosed, InvalidRequest
from paydesk.rules.credits import Drawn, give_back

#: The longest time that something is set aside for.
MAX_MINUTES = 366 * 24 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a hold took from one batch. `owed` is what the batch owes by now; `expires_at` None:
    never."""

    batch_id: Any
    amount: int
    owed: int
    expires_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What becomes of released credits of one batch: `back` in it, `repaid` of what it owes, or
    `lapsed` because it has ended."""

    batch_id: Any
    back: int = 0
    repaid: int = 0
    lapsed: int = 0


def release(taken: Sequence[Taken], amount: int, at: datetime) -> list[Part]:
    """Where `amount` credits of a hold go. `taken` is in order of taking.

    The batch taken from last comes first, as if less had been set aside from the start. What is
    owed on a batch is repaid first; the rest goes back into it, or lapses where it has ended.
    """
    by_id = {one.batch_id: one for one in taken}
    drawn = [Drawn(one.batch_id, one.amount, 0) for one in taken]
    parts = []
    for batch_id, part in give_back(drawn, amount):
        one = by_id[batch_id]
        repaid = min(one.owed, part)
        rest = part - repaid
        has_ended = one.expires_at is not None and one.expires_at <= at
        parts.append(
            Part(
                batch_id=batch_id, repaid=repaid, back=0 if has_ended else rest,
                lapsed=rest if has_ended else 0,
            )
        )  # fmt: skip
    return parts


def captured(left: int, wanted: int | None) -> int:
    """How much of what is left of a hold is used: all where nothing is said, and never more."""
    if wanted is None:
        return left
    if isinstance(wanted, bool) or not isinstance(wanted, int) or wanted < 0:
        raise InvalidRequest("What is captured is a whole number, zero or more.", param="amount")
    if wanted > left:
        raise InvalidRequest(f"{wanted} is more than the {left} set aside.", param="amount")
    return wanted


def refuse_closed(ended_by: str | None) -> HoldClosed:
    """The refusal of whoever comes second."""
    how = {"capture": "captured", "release": "released", "expiry": "expired"}.get(
        ended_by or "", "over"
    )
    return HoldClosed(f"This hold is {how}.", ended_by=ended_by)
