"""Billing periods: counted from one anchor, by the wall clock of any zone."""

from __future__ import annotations

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from paydesk.errors import InvalidRequest
from paydesk.rules import periods

#: Links and files that are no zones of their own are left out.
ZONES = sorted(z for z in available_timezones() if not z.startswith(("posix", "right")))
UNITS = st.sampled_from(periods.UNITS)
#: In seconds, 1970 to 2036.
ANCHORS = st.integers(86_400, 2_082_758_400).map(lambda s: datetime.fromtimestamp(s, UTC))


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def in_zone(zone: str, *parts: int, fold: int = 0) -> datetime:
    return datetime(*parts, tzinfo=ZoneInfo(zone), fold=fold)


def days(anchor: datetime, unit: str, count: int, numbers, zone: str = "UTC") -> list[str]:
    found = (periods.boundary(anchor, unit, count, n, zone) for n in numbers)
    return [at.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M") for at in found]


def test_months_are_clamped_from_the_first_anchor_and_never_drift():
    """I22: 31 January, 30 April, and the last of February; the 31st comes back."""
    assert days(utc(2026, 1, 31, 9), "month", 1, range(6)) == [
        "01-31 09:00", "02-28 09:00", "03-31 09:00", "04-30 09:00", "05-31 09:00", "06-30 09:00",
    ]  # fmt: skip
    assert days(utc(2024, 1, 30), "month", 1, range(3)) == [
        "01-30 00:00", "02-29 00:00", "03-30 00:00"]  # fmt: skip
    assert days(utc(2026, 3, 31), "month", 3, range(4)) == [
        "03-31 00:00", "06-30 00:00", "09-30 00:00", "12-31 00:00"]  # fmt: skip
    assert days(utc(2026, 4, 30), "month", 1, (8, 9, 10, 11)) == [
        "12-30 00:00", "01-30 00:00", "02-28 00:00", "03-30 00:00"]  # fmt: skip


def test_a_leap_day_comes_back_in_the_next_leap_year():
    """I22: 29 February, 28 February three times, 29 February."""
    found = [periods.boundary(utc(2024, 2, 29, 12), "year", 1, n).date() for n in range(6)]
    assert found == [date(2024, 2, 29), date(2025, 2, 28), date(2026, 2, 28), date(2027, 2, 28),
                     date(2028, 2, 29), date(2029, 2, 28)]  # fmt: skip


def test_what_lies_before_the_anchor_is_counted_below_zero():
    assert days(utc(2026, 3, 31), "month", 1, (-1, -2, -13)) == [
        "02-28 00:00", "01-31 00:00", "02-28 00:00"]  # fmt: skip
    assert periods.index_at(utc(2026, 3, 31), "month", 1, utc(2026, 3, 30, 23)) == -1


def test_a_time_that_the_clocks_skip_is_read_by_the_offset_before_it():
    """I22: Port-au-Prince, 8 March 2026: 02:30 becomes 03:30, and 02:30 again the day after."""
    zone = "America/Port-au-Prince"
    anchor = in_zone(zone, 2026, 3, 7, 2, 30)
    assert days(anchor, "day", 1, range(3), zone) == ["03-07 02:30", "03-08 03:30", "03-09 02:30"]
    assert days(in_zone(zone, 2026, 2, 8, 2, 30), "month", 1, range(3), zone) == [
        "02-08 02:30", "03-08 03:30", "04-08 02:30"]  # fmt: skip


def test_a_time_that_comes_twice_is_its_first_and_the_anchor_is_what_it_is():
    """I22: Paris, 25 October 2026, where 02:30 comes twice."""
    zone = "Europe/Paris"
    found = periods.boundary(in_zone(zone, 2026, 9, 25, 2, 30), "month", 1, 1, zone)
    assert found == utc(2026, 10, 25, 0, 30)
    late = in_zone(zone, 2026, 10, 25, 2, 30, fold=1)
    assert periods.boundary(late, "month", 1, 0, zone) == utc(2026, 10, 25, 1, 30)
    assert periods.boundary(late, "day", 1, 1, zone) == utc(2026, 10, 26, 1, 30)


@pytest.mark.parametrize(
    ("zone", "first", "hours"),
    [
        ("America/Port-au-Prince", (2026, 3, 7, 12), (23, 24)),
        ("America/Port-au-Prince", (2026, 10, 31, 12), (25, 24)),
        ("Europe/Paris", (2026, 3, 28, 12), (23, 24)),
        ("Europe/Paris", (2026, 10, 24, 12), (25, 24)),
        ("Asia/Kolkata", (2026, 3, 28, 12), (24, 24)),
    ],
)
def test_a_day_of_23_or_25_hours_is_one_day(zone, first, hours):
    """I22: DST days bill one day."""
    anchor = in_zone(zone, *first)
    found = [periods.boundary(anchor, "day", 1, n, zone) for n in range(3)]
    assert tuple((b - a) // timedelta(hours=1) for a, b in pairwise(found)) == hours


def test_half_an_hour_of_summer_time_is_half_an_hour():
    """Lord Howe sets its clocks by 30 minutes: 4 October 2026 and 5 April 2026."""
    zone = "Australia/Lord_Howe"
    for first, minutes in (((2026, 10, 3, 12), 23 * 60 + 30), ((2026, 4, 4, 12), 24 * 60 + 30)):
        anchor = in_zone(zone, *first)
        after = periods.boundary(anchor, "day", 1, 1, zone)
        assert (after - anchor) // timedelta(minutes=1) == minutes
    # 02:15 is skipped on that day.
    assert days(in_zone(zone, 2026, 9, 4, 2, 15), "month", 1, range(3), zone) == [
        "09-04 02:15", "10-04 02:45", "11-04 02:15"]  # fmt: skip


def test_a_day_that_never_was_is_no_day():
    """Apia went from 29 December 2011 to the 31st: a plan by the day bills no 30th."""
    zone = "Pacific/Apia"
    assert days(in_zone(zone, 2011, 12, 28, 9), "day", 1, range(4), zone) == [
        "12-28 09:00", "12-29 09:00", "12-31 09:00", "01-01 09:00"]  # fmt: skip
    # Midnight too, where the 30th would have no length at all.
    found = [periods.boundary(in_zone(zone, 2011, 12, 28), "day", 1, n, zone) for n in range(5)]
    assert {b - a for a, b in pairwise(found)} == {timedelta(days=1)}
    # Weeks and months go on by the calendar: the Thursday after is a Thursday.
    week = periods.boundary(in_zone(zone, 2011, 12, 29, 9), "week", 1, 1, zone)
    assert week == in_zone(zone, 2012, 1, 5, 9).astimezone(UTC)
    assert periods.boundary(in_zone(zone, 2011, 11, 30, 9), "month", 1, 1, zone) == in_zone(
        zone, 2011, 12, 31, 9)  # fmt: skip


def test_a_day_that_was_lived_twice_is_two():
    """Kwajalein went back over the date line in 1969."""
    zone = "Pacific/Kwajalein"
    found = [periods.boundary(in_zone(zone, 1969, 9, 28, 9), "day", 1, n, zone) for n in range(5)]
    assert all(timedelta(hours=22) < b - a < timedelta(hours=26) for a, b in pairwise(found))


@settings(deadline=None, max_examples=300)
@given(ANCHORS, UNITS, st.integers(1, 6), st.integers(-40, 200), st.sampled_from(ZONES))
@example(utc(2011, 12, 20, 10), "day", 1, 5, "Pacific/Apia")
@example(utc(2011, 12, 20, 10), "day", 1, 10, "Pacific/Apia")
@example(utc(1994, 12, 20), "day", 1, 12, "Pacific/Kiritimati")
@example(utc(2026, 10, 3, 16), "day", 1, 1, "Australia/Lord_Howe")
@example(utc(2024, 2, 29), "year", 1, 4, "America/Port-au-Prince")
def test_periods_tile_without_gap_or_overlap_in_every_zone(anchor, unit, count, n, zone):
    """I22: each period begins where the one before ends, and has a length that its unit allows."""
    before = periods.boundary(anchor, unit, count, n - 1, zone)
    here, after = (periods.boundary(anchor, unit, count, k, zone) for k in (n, n + 1))
    assert before < here < after
    assert periods.period(anchor, unit, count, n, zone) == (here, after)
    assert periods.period(anchor, unit, count, n - 1, zone)[1] == here
    most = {"day": 1, "week": 7, "month": 31, "year": 366}[unit] * count
    least = {"day": 1, "week": 7, "month": 28, "year": 365}[unit] * count
    # The widest that clocks were set at once is the date line.
    assert timedelta(days=least, hours=-26) <= after - here <= timedelta(days=most, hours=26)
    assert here.tzinfo is UTC


@settings(deadline=None, max_examples=300)
@given(ANCHORS, UNITS, st.integers(1, 6), st.integers(-30, 120),
       st.sampled_from(ZONES), st.integers(0, 999))  # fmt: skip
def test_the_number_of_a_period_is_found_from_any_instant_in_it(
    anchor, unit, count, n, zone, part
):
    """I22: index_at is the inverse of period, its end exclusive."""
    start, end = periods.period(anchor, unit, count, n, zone)
    at = start + (end - start) * part // 1000
    assert periods.index_at(anchor, unit, count, start, zone) == n
    assert periods.index_at(anchor, unit, count, at, zone) == n
    assert periods.index_at(anchor, unit, count, end, zone) == n + 1
    assert periods.index_at(anchor, unit, count, end - timedelta.resolution, zone) == n


@settings(deadline=None, max_examples=300)
@given(ANCHORS, st.integers(1, 14), st.integers(0, 60), st.sampled_from(ZONES))
def test_months_keep_day_and_time_on_the_wall_of_the_zone(anchor, count, n, zone):
    """I22 against a calendar that walks month by month."""
    wall = anchor.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)
    year, month = wall.year, wall.month
    for _ in range(count * n):
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)
    day = min(wall.day, monthrange(year, month)[1])
    expected = wall.replace(year=year, month=month, day=day)
    found = periods.boundary(anchor, "month", count, n, zone)
    if n == 0:
        assert found == anchor
        return
    # Read there and back, a time that is skipped is the one after the gap.
    there = expected.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    read = there.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)
    shown = found.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)
    assert shown == read and (shown == expected or shown > expected)


@settings(deadline=None, max_examples=150)
@given(ANCHORS, st.integers(1, 400), st.sampled_from(ZONES))
def test_days_are_the_dates_that_the_zone_had(anchor, n, zone):
    """I22 against a walk through the hours that collects the dates; repeated ones count twice."""
    tz = ZoneInfo(zone)
    end = periods.boundary(anchor, "day", 1, n, zone)
    offset = (end.astimezone(tz).utcoffset() - anchor.astimezone(tz).utcoffset()) // timedelta(
        hours=1
    )
    lived = (end.astimezone(tz).date() - anchor.astimezone(tz).date()).days
    if abs(offset) <= 12:
        # No jump over the date line: as many dates as periods, but where the clocks skip midnight.
        assert lived in (n, n + 1) if (end - anchor) % timedelta(days=1) else lived == n
    else:
        assert lived in ((n + 1, n + 2) if offset > 0 else (n - 1, n))


@pytest.mark.parametrize(
    ("start", "unit", "zone", "expected"),
    [
        (utc(2026, 11, 21, 9), "month", "UTC", utc(2026, 12, 1)),
        (utc(2026, 12, 31, 23), "month", "UTC", utc(2027, 1, 1)),
        (utc(2026, 11, 1), "month", "UTC", utc(2026, 12, 1)),
        (utc(2026, 11, 21, 9), "year", "UTC", utc(2027, 1, 1)),
        (utc(2026, 11, 21, 9), "week", "UTC", utc(2026, 11, 23)),
        (utc(2026, 11, 23), "week", "UTC", utc(2026, 11, 30)),
        (utc(2026, 11, 21, 9), "day", "UTC", utc(2026, 11, 22)),
        # 31 January, 23:30 UTC, is February in Paris already.
        (utc(2026, 1, 31, 23, 30), "month", "Europe/Paris", utc(2026, 2, 28, 23)),
        (utc(2026, 1, 31, 23, 30), "month", "America/Port-au-Prince", utc(2026, 2, 1, 5)),
        (utc(2026, 1, 31, 18, 29), "day", "Asia/Kolkata", utc(2026, 1, 31, 18, 30)),
        # The 30th was not: after the 29th comes the 31st.
        (utc(2011, 12, 29, 20), "day", "Pacific/Apia", utc(2011, 12, 30, 10)),
    ],
)
def test_calendar_billing_begins_at_the_next_midnight_of_its_unit(start, unit, zone, expected):
    assert periods.calendar_anchor(start, unit, zone) == expected


@settings(deadline=None, max_examples=200)
@given(ANCHORS, UNITS, st.sampled_from(ZONES))
def test_the_short_first_period_ends_where_the_whole_ones_begin(start, unit, zone):
    """I22: [start, anchor) lies in the whole period before the anchor, and is never empty."""
    anchor = periods.calendar_anchor(start, unit, zone)
    first, end = periods.period(anchor, unit, 1, -1, zone)
    assert end == anchor > start
    # Where midnight is skipped or a day was lived twice, it begins an hour, or a day, later.
    assert first <= start + timedelta(hours=25)


def test_monthly_credits_within_a_year_fall_on_the_anchors_day():
    """S4.25: twelve allotments, the day clamped from the anchor; the next year begins anew."""
    anchor = utc(2026, 1, 31)
    first = periods.allotments(anchor, "year", 1, 0)
    assert [at.strftime("%m-%d") for at in first] == [
        "01-31", "02-28", "03-31", "04-30", "05-31", "06-30", "07-31", "08-31", "09-30", "10-31",
        "11-30", "12-31",
    ]  # fmt: skip
    assert periods.allotments(anchor, "year", 1, 1)[0] == utc(2027, 1, 31)
    assert periods.allotments(anchor, "month", 1, 5) == (utc(2026, 6, 30),)
    assert len(periods.allotments(anchor, "month", 3, 1)) == 3
    assert len(periods.allotments(anchor, "day", 30, 0)) == 1
    assert periods.allotments(utc(2026, 7, 1), "day", 92, 0) == (
        utc(2026, 7, 1), utc(2026, 8, 1), utc(2026, 9, 1))  # fmt: skip
    assert len(periods.allotments(anchor, "week", 1, 7)) == 1


@settings(deadline=None, max_examples=100)
@given(ANCHORS, UNITS, st.integers(1, 14), st.integers(0, 12), st.sampled_from(ZONES))
def test_allotments_lie_in_their_period_the_first_at_its_start(anchor, unit, count, n, zone):
    found = periods.allotments(anchor, unit, count, n, zone)
    start, end = periods.period(anchor, unit, count, n, zone)
    assert found[0] == start and found[-1] < end
    assert list(found) == sorted(set(found))


@pytest.mark.parametrize(
    ("unit", "count", "n", "zone", "param"),
    [
        ("fortnight", 1, 1, "UTC", "interval"),
        ("month", 0, 1, "UTC", "interval_count"),
        ("month", 1, 1, "Europe/Atlantis", "zone"),
        ("month", 1, 0, "../etc/passwd", "zone"),
        ("month", 1, 1, "", "zone"),
        ("year", 1, 9000, "UTC", "interval"),
        ("day", 1000, 9000, "UTC", "interval"),
    ],
)
def test_what_is_no_interval_is_refused_with_its_name(unit, count, n, zone, param):
    with pytest.raises(InvalidRequest) as refused:
        periods.boundary(utc(2026, 1, 1), unit, count, n, zone)
    assert refused.value.param == param


def test_a_naive_anchor_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="aware"):
        periods.boundary(datetime(2026, 1, 1), "month", 1, 1)  # noqa: DTZ001
