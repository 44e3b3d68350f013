"""Refills: whether a balance is filled again now, what its limits leave, what a failure means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from paydesk.rules.dunning import action_of

#: The pause after the first, second … failure in a row.
PAUSES = (timedelta(hours=1), timedelta(hours=6), timedelta(hours=24))
#: Why a refill pauses until it is set again, or a new method comes.
REASONS = ("failures", "payment_method", "stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most refills, and the most money (minor units; None: no limit), of a day and of a
    month, both by UTC's calendar."""

    day_count: int = 3
    month_count: int = 20
    day_minor: int | None = None
    month_minor: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What of the limits is used: refills that were paid for, or are under way."""

    day_count: int = 0
    month_count: int = 0
    day_minor: int = 0
    month_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """How it stands. `price_minor`: what the next refill costs, None where that is not known
    yet."""

    is_active: bool
    is_under_way: bool
    balance: int
    threshold: int
    price_minor: int | None = None
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """`charge` is the only one that takes money. `until`: when `wait` is looked at again; `why`:
    which limit stands in the way, or that a failure is not long enough ago."""

    what: str
    until: datetime | None = None
    why: str | None = None


def day_start(at: datetime) -> datetime:
    """Midnight UTC."""
    return at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def month_start(at: datetime) -> datetime:
    """The first of the month, UTC."""
    return day_start(at).replace(day=1)


def next_day(at: datetime) -> datetime:
    return day_start(at) + timedelta(days=1)


def next_month(at: datetime) -> datetime:
    return month_start(month_start(at) + timedelta(days=32))


def decide(facts: Facts, limits: Limits, used: Used, now: datetime) -> Decision:
    """charge, enough, under_way, off, or wait (`until`, `why`).

    It is charged only where the balance lies below the threshold, no other refill of the same is
    under way, and one more stays within every limit.
    """
    if not facts.is_active:
        return Decision("off")
    if facts.is_under_way:
        return Decision("under_way")
    if facts.balance >= facts.threshold:
        return Decision("enough")
    if facts.retry_at is not None and facts.retry_at > now:
        return Decision("wait", facts.retry_at, "failed")
    price = facts.price_minor or 0
    # The month first: where both are used up, the later instant counts.
    if used.month_count >= limits.month_count:
        return Decision("wait", next_month(now), "month_count")
    if limits.month_minor is not None and used.month_minor + price > limits.month_minor:
        return Decision("wait", next_month(now), "month_amount")
    if used.day_count >= limits.day_count:
        return Decision("wait", next_day(now), "day_count")
    if limits.day_minor is not None and used.day_minor + price > limits.day_minor:
        return Decision("wait", next_day(now), "day_amount")
    return Decision("charge")


@dataclass(frozen=True, slots=True)
class Failed:
    """What follows a failure: another try at `retry_at`, or a pause for `reason`."""

    retry_at: datetime | None = None
    reason: str | None = None


def after_failure(code: str | None, failures: int, pause_after: int, now: datetime) -> Failed:
    """`failures` in a row, with this one. A decline that wants another card waits for one; one
    that forbids further charges, or too many in a row, pauses."""
    action = action_of(code)
    if action == "new_method":
        return Failed(reason="payment_method")
    if action == "stop":
        return Failed(reason="stopped")
    if failures >= pause_after:
        return Failed(reason="failures")
    return Failed(retry_at=now + PAUSES[min(failures, len(PAUSES)) - 1])
