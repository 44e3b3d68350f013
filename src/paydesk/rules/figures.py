"""Figures: the periods they are counted over, how they are grouped, how a table leaves us."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from paydesk.errors import InvalidRequest
from paydesk.rules.figure_names import PERIODS, REPORTS
from paydesk.rules.money import exponent

#: The most days that a report looks back, and the most rows it answers.
MAX_DAYS = 36_600
MAX_ROWS = 100_000
EARLIEST, LATEST = date(1970, 1, 2), date(9998, 12, 30)


#: Reports that look back further than 30 days where no range is asked for.
RANGES = {"mrr": "12mo", "churn": "12mo", "trials": "12mo", "cohorts": "12mo"}

#: How far a forecast looks back where no range is asked for, and how many periods ahead.
FORECAST_RANGES = {"day": "182d", "week": "156w", "month": "48mo"}
FORECAST_PERIODS, MOST_FORECAST = 3, 366


# Ranges -----------------------------------------------------------------------------------------


def zone_of(name: str) -> tzinfo:
    """A time zone by its IANA name. Raises InvalidRequest."""
    if name == "UTC":
        return UTC
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}", name) or len(name) > 64:
        raise InvalidRequest(f"{name[:64]!r} is no time zone.", param="tz")
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InvalidRequest(f"{name[:64]!r} is no time zone.", param="tz") from None


def midnight(zone: tzinfo, day: date) -> datetime:
    """The first instant of a day in a zone; where the clocks skip midnight, the moment they do."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Range:
    """From an instant up to another, exclusive, as seen in a time zone."""

    start: datetime
    end: datetime
    time_zone: str

    @property
    def zone(self) -> tzinfo:
        return zone_of(self.time_zone)

    @property
    def first_day(self) -> date:
        return self.start.astimezone(self.zone).date()

    @property
    def last_day(self) -> date:
        return (self.end - timedelta(microseconds=1)).astimezone(self.zone).date()

    @property
    def whole_days(self) -> tuple[date, date]:
        """The first day that lies in it wholly, and the day after the last such one."""
        first = self.first_day
        if midnight(self.zone, first) < self.start:
            first += timedelta(days=1)
        after = self.end.astimezone(self.zone).date()
        return first, max(first, after)


def range_of(
    start: str | date | datetime | None, end: str | date | datetime | None, last: str | None,
    now: datetime, time_zone: str,
) -> Range:  # fmt: skip
    """The range that is asked for. A day as `end` is the last one counted, an instant is not.

    `last`: 24h, 30d, 12w, 6mo or 2y up to now, today included. With nothing: 30 days.
    Raises InvalidRequest.
    """
    zone = zone_of(time_zone)
    if last is not None and (start is not None or end is not None):
        raise InvalidRequest("Send `last`, or `from` and `to`.", param="last")
    today = now.astimezone(zone).date()
    if start is None and end is None:
        return _last(last or "30d", now, today, zone, time_zone)
    until = _edge(end, "to", zone, is_end=True) if end is not None else None
    until = until or midnight(zone, today + timedelta(days=1))
    if start is not None:
        since = _edge(start, "from", zone, is_end=False)
    else:
        since = midnight(zone, until.astimezone(zone).date() - timedelta(days=30))
    if since >= until:
        raise InvalidRequest("`from` lies after `to`.", param="from")
    if (until - since).days > MAX_DAYS:
        raise InvalidRequest(f"At most {MAX_DAYS:,} days at once.", param="from")
    return Range(since, until, time_zone)


def _last(text: str, now: datetime, today: date, zone: tzinfo, name: str) -> Range:
    found = re.fullmatch(r"([1-9][0-9]{0,4})(h|d|w|mo|y)", text)
    if found is None:
        raise InvalidRequest("A span is written like 24h, 30d, 12w, 6mo or 2y.", param="last")
    count, unit = int(found[1]), found[2]
    end = midnight(zone, today + timedelta(days=1))
    if unit == "h":
        return Range(now - timedelta(hours=count), now, name)
    if unit in ("mo", "y"):
        months = today.year * 12 + today.month - count * (12 if unit == "y" else 1)
        year, month = divmod(months, 12)
        if year < EARLIEST.year:
            raise InvalidRequest("That is before 1970.", param="last")
        return Range(midnight(zone, date(year, month + 1, 1)), end, name)
    days = count * (7 if unit == "w" else 1)
    if days > MAX_DAYS or today - EARLIEST < timedelta(days=days):
        raise InvalidRequest(f"At most {MAX_DAYS:,} days at once, from 1970 on.", param="last")
    return Range(midnight(zone, today - timedelta(days=days - 1)), end, name)


def _edge(value: str | date | datetime, name: str, zone: tzinfo, *, is_end: bool) -> datetime:
    found: date | datetime
    if isinstance(value, str):
        try:
            found = date.fromisoformat(value) if len(value) == 10 else datetime.fromisoformat(value)
        except ValueError:
            raise InvalidRequest(
                "Send a day such as 2026-01-31, or an instant such as 2026-01-31T12:00:00Z.",
                param=name,
            ) from None
    else:
        found = value
    if not EARLIEST.year <= found.year <= LATEST.year:
        raise InvalidRequest("The year must lie between 1970 and 9998.", param=name)
    if isinstance(found, datetime):
        if found.tzinfo is None:
            raise InvalidRequest("An instant needs an offset, such as Z.", param=name)
        return found.astimezone(UTC)
    found = max(found, EARLIEST)
    return midnight(zone, found + timedelta(days=1) if is_end else found)


# What a row is about ----------------------------------------------------------------------------


def grouping(
    kind: str, by: str | Sequence[str] | None, *, together: bool = False
) -> tuple[str | None, tuple[str, ...]]:
    """(the period or None, the other dimensions) of a report. `by`: names, or commas between
    them; None: the report's own. `together`: not by currency. Raises InvalidRequest."""
    known = REPORTS[kind]
    if together and not known.is_rated:
        raise InvalidRequest(f"{kind} never adds currencies.", param="together")
    wanted = known.default if by is None else by
    names = [n.strip() for n in wanted.split(",")] if isinstance(wanted, str) else list(wanted)
    names = list(dict.fromkeys(n for n in names if n))
    for name in names:
        if name not in known.dimensions:
            raise InvalidRequest(
                f"{kind} cannot be grouped by {name[:40]!r}, but by"
                f" {', '.join(known.dimensions)}.", param="by",
            )
    periods = [n for n in names if n in PERIODS]
    if len(periods) > 1:
        raise InvalidRequest("Group by one period only.", param="by")
    others = [n for n in names if n not in PERIODS]
    if together and "currency" in others:
        raise InvalidRequest("By currency, or all of them together.", param="together")
    if known.has_currency and not together and "currency" not in others:
        others.append("currency")
    if "age" in known.dimensions:  # A cohort is of a period, and told period by period.
        return (periods or ["month"])[0], (*(n for n in others if n != "age"), "age")
    return (periods[0] if periods else None), tuple(others)


def days_in(period: str, start: date) -> int:
    """How many days the period has that begins on this day."""
    if period == "day":
        return 1
    if period == "week":
        return 7
    months = start.year * 12 + start.month - 1 + (12 if period == "year" else 1)
    return (date(months // 12, months % 12 + 1, 1) - start).days


def next_period(period: str, start: date) -> date:
    """The first day of the period after the one that begins on this day."""
    return start + timedelta(days=days_in(period, start))


def next_month(first: date) -> date:
    """The first day of the month after the one that begins on this day."""
    return first + timedelta(days=days_in("month", first))


def days_between(first: date, after: date) -> list[date]:
    """The days from the first one up to another, which is not among them."""
    return [first + timedelta(days=n) for n in range((after - first).days)]


def period_start(period: str, day: date) -> date:
    """The first day of the period that this day lies in. Weeks begin on Monday."""
    if period == "week":
        return day - timedelta(days=day.weekday())
    if period == "month":
        return day.replace(day=1)
    return day.replace(month=1, day=1) if period == "year" else day


# Numbers ----------------------------------------------------------------------------------------


def ratio(part: int, whole: int, places: int = 4) -> Decimal | None:
    """part / whole with so many decimals, rounded half up; None where the whole is nothing."""
    if whole == 0:
        return None
    scale = 10**places
    units, rest = divmod(abs(part) * scale, abs(whole))
    units += 2 * rest >= abs(whole)
    return Decimal(units if (part < 0) == (whole < 0) else -units).scaleb(-places)


def added(rows: Iterable[Mapping[str, Any]], names: Iterable[str]) -> dict[str, int]:
    """The sums of these members over all rows."""
    total = dict.fromkeys(names, 0)
    for row in rows:
        for name in total:
            total[name] += row[name] or 0
    return total


def decimal_text(minor: int, currency: str) -> str:
    """Minor units as an exact decimal text: 4905 cents are 49.05."""
    places = exponent(currency)
    return f"{Decimal(minor).scaleb(-places):.{places}f}"


# CSV --------------------------------------------------------------------------------------------


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A header line and a line for each row, as RFC 4180 has it.

    A text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    lines = [",".join(_cell(name) for name in columns)]
    lines += [",".join(_cell(row.get(name)) for name in columns) for row in rows]
    return "\r\n".join(lines) + "\r\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | int | Decimal):
        return str(value).lower() if isinstance(value, bool) else f"{value}"
    if isinstance(value, datetime):
        return value.isoformat()
    text = str(value)
    if text.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        text = "'" + text
    if any(sign in text for sign in ',"\r\n') or text != text.strip():
        text = '"' + text.replace('"', '""') + '"'
    return text
