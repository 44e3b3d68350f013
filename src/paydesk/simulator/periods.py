"""Billing periods: boundaries counted from the anchor, in UTC, clamped to the month's length."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime

DAY_S = 86_400
FIXED_S = {"day": DAY_S, "week": 7 * DAY_S}
MONTHS = {"month": 1, "year": 12}


def boundary(anchor: int, interval: str, count: int, n: int) -> int:
    """The n-th boundary (Unix seconds) of cycles of `count` intervals; n may be negative.

    A month that is too short ends the cycle on its last day, and the next boundary has the
    anchor's day again: 31 January, 28 February, 31 March.
    """
    if interval in FIXED_S:
        return anchor + n * count * FIXED_S[interval]
    start = datetime.fromtimestamp(anchor, UTC)
    year, month = divmod(start.year * 12 + start.month - 1 + n * count * MONTHS[interval], 12)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())


def next_boundary(anchor: int, interval: str, count: int, after: int) -> int:
    """The first boundary later than `after`."""
    n = _guess(anchor, interval, count, after)
    while boundary(anchor, interval, count, n) > after:
        n -= 1
    while boundary(anchor, interval, count, n) <= after:
        n += 1
    return boundary(anchor, interval, count, n)


def previous_boundary(anchor: int, interval: str, count: int, before: int) -> int:
    """The last boundary earlier than `before`."""
    n = _guess(anchor, interval, count, before)
    while boundary(anchor, interval, count, n) < before:
        n += 1
    while boundary(anchor, interval, count, n) >= before:
        n -= 1
    return boundary(anchor, interval, count, n)


def _guess(anchor: int, interval: str, count: int, at: int) -> int:
    length = FIXED_S.get(interval) or MONTHS[interval] * 30 * DAY_S
    return (at - anchor) // (length * count)


def share(amount: int, part_s: int, whole_s: int) -> int:
    """`amount` for a part of a period, to the second, rounded half away from zero."""
    if whole_s <= 0:
        return 0
    size = (2 * abs(amount) * part_s + whole_s) // (2 * whole_s)
    return size if amount >= 0 else -size


def date(at: int) -> str:
    """The day as Stripe writes it in the lines of an invoice: `01 Mar 2026`."""
    return datetime.fromtimestamp(at, UTC).strftime("%d %b %Y")
