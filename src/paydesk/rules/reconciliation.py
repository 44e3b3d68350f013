"""Reconciliation as comparison: what differs between one object of a provider's books and ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paydesk.rules.disputes import next_state
from paydesk.rules.payments import DEAD_STATES, OPEN_STATES
from paydesk.rules.refunds import STATE_OF_REMOTE

#: What can be wrong. missing_here: they have it, we do not; missing_there: the other way round.
TYPES = ("missing_here", "missing_there", "amount", "currency", "status", "fee")
#: What the provider's word alone can mend; for the rest a person looks.
FIXABLE = frozenset({"missing_here", "status", "fee"})
KINDS = ("payment", "refund", "dispute", "fee")

#: A side of a comparison: status, amount, currency and more, as JSON keeps it.
Side = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Differs:
    """How two sides differ; `is_fixable`: laying the provider's facts down may mend it."""

    type: str
    is_fixable: bool


def _amounts(ours: Side, theirs: Side) -> Differs | None:
    if ours["currency"] != theirs["currency"]:
        return Differs("currency", False)
    if ours["amount"] != theirs["amount"]:
        return Differs("amount", False)
    return None


def payment(ours: Side | None, theirs: Side) -> Differs | None:
    """`ours`: status, whether this charge `is_ours` as the payment's own, and, where this very
    capture is `posted`, its amount and currency. None of ours: our id, and no such payment."""
    is_paid = theirs["status"] == "succeeded"
    if ours is None:
        return Differs("missing_here", False) if is_paid else None
    if is_paid:
        if not ours["posted"]:
            return Differs("missing_here", True)
        return _amounts(ours, theirs)
    if ours["posted"]:
        return Differs("status", False)
    is_dead_there = theirs["status"] in DEAD_STATES and ours["status"] in OPEN_STATES
    return Differs("status", True) if is_dead_there and ours["is_ours"] else None


def refund(ours: Side | None, theirs: Side) -> Differs | None:
    """One that failed and that we never knew of has changed nothing."""
    state = STATE_OF_REMOTE[theirs["status"]]
    if ours is None:
        return None if state == "failed" else Differs("missing_here", True)
    if found := _amounts(ours, theirs):
        return found
    told = "failed" if ours["status"] in ("canceled", "rejected") else ours["status"]
    return None if told == state else Differs("status", True)


def dispute(ours: Side | None, theirs: Side) -> Differs | None:
    """Sums that grew are missing facts; one that is smaller there than here is an amount."""
    if ours is None:
        return Differs("missing_here", True)
    if found := _amounts(ours, theirs):
        return found
    if any(theirs[name] < ours[name] for name in ("withdrawn", "reinstated")):
        return Differs("amount", False)
    grown = any(theirs[name] > ours[name] for name in ("withdrawn", "reinstated"))
    if grown or theirs["status"] != ours["status"]:
        moves = next_state(ours["status"], theirs["status"]) != ours["status"]
        return Differs("status", grown or moves)
    if theirs["fee"] is not None and theirs["fee"] != ours["fee"]:
        return Differs("fee", True)
    return None


def fee(ours: Side, theirs: Side) -> Differs | None:
    """What the provider kept of a payment; that nobody told us of it yet is no difference."""
    if ours["amount"] is None:
        return None
    return Differs("amount", False) if ours["amount"] != theirs["amount"] else None
