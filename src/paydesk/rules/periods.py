"""Billing periods: boundaries counted from one anchor by the wall clock of a time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from paydesk.errors import InvalidRequest
from paydesk.rules.calendar import add_months

UNITS = ("day", "week", "month", "year")
_DAY = timedelta(days=1)
_HALF_DAY = timedelta(hours=12)


@lru_cache(maxsize=1024)
def time_zone(name: str) -> ZoneInfo:
    """The zone of the IANA data base. Raises InvalidRequest (param `zone`) where it has none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InvalidRequest(
            f"{name[:64]!r} is no time zone: use a name like 'Europe/Paris' or 'UTC'.",
            param="zone",
        ) from None


def boundary(anchor: datetime, unit: str, count: int, n: int, zone: str = "UTC") -> datetime:
    """The n-th boundary after `anchor` (the 0th) in UTC; period n lies between n and n + 1.

    `n` may be negative: what came before the anchor. `count` units are one period. Counted by
    the wall clock of `zone`, always from the anchor, so that nothing drifts:

    - months and years keep the anchor's day and time; a day that the month lacks is its last
      (31 January, 28 February, 31 March; 29 February of a leap year comes back in the next);
    - weeks keep the weekday and time, days the time: a day of 23 or 25 hours is one day;
    - a time that the clocks skip is read by the offset before it: 02:30 becomes 03:30;
    - a time that comes twice is its first; the anchor itself is the instant that it is;
    - a zone that jumps over the date line: a day that never was is no day, and a day that was
      lived twice is two. Weeks and months go on by the calendar.

    Boundaries strictly increase with n. Raises InvalidRequest for an unknown unit, count or
    zone, and for dates beyond the calendar (years 1 to 9999).
    """
    _check(anchor, unit, count)
    tz = time_zone(zone)
    if n == 0:
        return anchor.astimezone(UTC)
    start = anchor.astimezone(tz)
    wall = start.replace(tzinfo=None, fold=0)
    try:
        if unit in ("day", "week"):
            moved = wall + (count * n * (7 if unit == "week" else 1)) * _DAY
        else:
            moved = add_months(wall, count * n * (12 if unit == "year" else 1))
        local = moved.replace(tzinfo=tz)
        if unit != "day":
            return local.astimezone(UTC)
        shift = local.utcoffset() - start.utcoffset()
        return anchor.astimezone(UTC) + count * n * _DAY - _within_a_day(shift)
    except (OverflowError, ValueError):
        raise InvalidRequest("The period lies beyond the calendar.", param="interval") from None


def _check(anchor: datetime, unit: str, count: int) -> None:
    if anchor.tzinfo is None:
        raise ValueError("an anchor is an aware datetime")
    if unit not in UNITS:
        raise InvalidRequest(
            f"{unit!r} is no interval: use one of {', '.join(UNITS)}.", param="interval"
        )
    if count < 1:
        raise InvalidRequest("An interval counts at least one unit.", param="interval_count")


def _within_a_day(shift: timedelta) -> timedelta:
    """How far the clocks were set, less the whole days that a jump over the date line makes."""
    return (shift + _HALF_DAY) % _DAY - _HALF_DAY


def period(
    anchor: datetime, unit: str, count: int, n: int, zone: str = "UTC"
) -> tuple[datetime, datetime]:
    """Period n as (start, end) in UTC, the end exclusive. Errors as `boundary`."""
    return boundary(anchor, unit, count, n, zone), boundary(anchor, unit, count, n + 1, zone)


def index_at(anchor: datetime, unit: str, count: int, at: datetime, zone: str = "UTC") -> int:
    """The number of the period that holds `at`; below zero before the anchor.

    The inverse of `period`: start <= at < end. Errors as `boundary`.
    """
    _check(anchor, unit, count)
    if unit in ("day", "week"):
        n = (at - anchor) // (count * (7 if unit == "week" else 1) * _DAY)
    else:
        tz = time_zone(zone)
        there, here = at.astimezone(tz), anchor.astimezone(tz)
        months = (there.year - here.year) * 12 + there.month - here.month
        n = months // (count * (12 if unit == "year" else 1))
    while boundary(anchor, unit, count, n, zone) > at:
        n -= 1
    while boundary(anchor, unit, count, n + 1, zone) <= at:
        n += 1
    return n


def calendar_anchor(start: datetime, unit: str, zone: str = "UTC") -> datetime:
    """The first midnight after `start` at which a calendar unit begins in `zone`, in UTC.

    The next day, Monday, first of a month or 1 January. With calendar billing the first period
    is the short [start, calendar_anchor), and this is the anchor of all that follow; what the
    short one is a part of is `period(anchor, unit, count, -1, zone)`. A start at such a midnight
    has a whole unit before the next. Errors as `boundary`.
    """
    _check(start, unit, 1)
    tz = time_zone(zone)
    midnight = start.astimezone(tz).replace(
        tzinfo=None, fold=0, hour=0, minute=0, second=0, microsecond=0
    )
    if unit == "day":
        following = midnight + _DAY
    elif unit == "week":
        following = midnight + (7 - midnight.weekday()) * _DAY
    elif unit == "month":
        following = add_months(midnight.replace(day=1), 1)
    else:
        following = add_months(midnight.replace(month=1, day=1), 12)
    return following.replace(tzinfo=tz).astimezone(UTC)


def allotments(
    anchor: datetime, unit: str, count: int, n: int, zone: str = "UTC"
) -> tuple[datetime, ...]:
    """The instants in period n at which its credits are given, the first at its start.

    One for each whole month of the period, by the months of the anchor (of the period's start
    where the unit is days or weeks); one alone where the period is no longer than a month.
    """
    start, end = period(anchor, unit, count, n, zone)
    if unit in ("month", "year"):
        months = count * (12 if unit == "year" else 1)
        return tuple(boundary(anchor, "month", 1, n * months + k, zone) for k in range(months))
    found = [start]
    while boundary(start, "month", 1, len(found) + 1, zone) <= end:
        found.append(boundary(start, "month", 1, len(found), zone))
    return tuple(found)
