"""The calendar: months counted from an anchor, clamped to the length of the month."""

from __future__ import annotations

from calendar import monthrange
from datetime import datetime


def add_months(anchor: datetime, months: int) -> datetime:
    """The anchor's day and time so many months later; a day that the month lacks is its last.

    Count from the first anchor, never from a clamped day: 31 January, 28 February, 31 March.
    """
    year, month = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    day = min(anchor.day, monthrange(year, month + 1)[1])
    return anchor.replace(year=year, month=month + 1, day=day)
