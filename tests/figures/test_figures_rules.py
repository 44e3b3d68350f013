"""Periods, ranges, rates and CSV cells of reports."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from paydesk.errors import InvalidRequest
from paydesk.rules import figures
from paydesk.rules.figure_names import FIGURES, REPORTS

NOW = datetime(2026, 3, 18, 15, 30, tzinfo=UTC)


def test_a_day_of_the_clock_change_has_23_or_25_hours():
    zone = figures.zone_of("America/Port-au-Prince")
    long, short = date(2026, 11, 1), date(2026, 3, 8)
    for day, hours in ((long, 25), (short, 23), (date(2026, 5, 1), 24)):
        length = figures.midnight(zone, day + timedelta(days=1)) - figures.midnight(zone, day)
        assert length == timedelta(hours=hours)


def test_a_day_whose_midnight_is_skipped_begins_when_the_clocks_change():
    zone = figures.zone_of("America/Havana")
    begins = figures.midnight(zone, date(2026, 3, 8))
    assert begins.astimezone(zone).hour == 1
    assert (begins - timedelta(seconds=1)).astimezone(zone).date() == date(2026, 3, 7)


def test_the_last_day_is_counted_whole_and_an_instant_is_not():
    over = figures.range_of("2026-01-01", "2026-01-31", None, NOW, "UTC")
    assert (over.end - over.start).days == 31 and over.last_day == date(2026, 1, 31)
    over = figures.range_of("2026-01-01T12:00:00Z", "2026-01-03T12:00:00Z", None, NOW, "UTC")
    assert over.whole_days == (date(2026, 1, 2), date(2026, 1, 3))
    over = figures.range_of("2026-01-01T10:00:00Z", "2026-01-01T12:00:00Z", None, NOW, "UTC")
    first, after = over.whole_days
    assert first == after


@pytest.mark.parametrize(
    ("last", "first"),
    [("1d", "2026-03-18"), ("30d", "2026-02-17"), ("2w", "2026-03-05"), ("1mo", "2026-03-01"),
     ("12mo", "2025-04-01"), ("1y", "2025-04-01")],
)  # fmt: skip
def test_a_span_ends_today(last, first):
    over = figures.range_of(None, None, last, NOW, "UTC")
    assert (over.first_day.isoformat(), over.last_day) == (first, NOW.date())


@pytest.mark.parametrize("bad", [
    {"last": "soon"}, {"last": "30d", "start": "2026-01-01"}, {"start": "2026-13-01"},
    {"start": "2026-02-01", "end": "2026-01-01"}, {"start": "2026-01-01T00:00:00"},
    {"last": "99999y"}, {"start": "0001-01-01"}, {"end": "1969-01-01"},
])  # fmt: skip
def test_what_is_no_range_is_refused(bad):
    with pytest.raises(InvalidRequest):
        figures.range_of(bad.get("start"), bad.get("end"), bad.get("last"), NOW, "UTC")


@pytest.mark.parametrize("name", ["Mars/Base", "../../etc/passwd", "", "UTC\x00", "A" * 100, "/x"])
def test_what_is_no_time_zone_is_refused(name):
    with pytest.raises(InvalidRequest):
        figures.zone_of(name)


def test_rates_are_rounded_half_up_and_empty_of_nothing():
    assert figures.ratio(1, 3) == Decimal("0.3333")
    assert figures.ratio(1, 8, 2) == Decimal("0.13")
    assert figures.ratio(0, 5) == Decimal("0.0000")
    assert figures.ratio(-1, 8, 2) == Decimal("-0.13")
    assert figures.ratio(5, 0) is None


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "\r=1"])
def test_a_text_that_a_spreadsheet_would_run_is_made_harmless(text):
    line = figures.csv_text(["name"], [{"name": text}]).split("\r\n", 1)[1]
    [[cell]] = list(csv.reader(io.StringIO(line, newline="")))
    assert cell == "'" + text


def test_csv_is_read_back_as_it_was():
    rows = [{"a": 'x,"y"', "b": -5, "c": Decimal("-0.50")}, {"a": None, "b": 10**15, "c": None}]
    found = list(csv.DictReader(io.StringIO(figures.csv_text("abc", rows), newline="")))
    assert found == [{"a": 'x,"y"', "b": "-5", "c": "-0.50"},
                     {"a": "", "b": "1000000000000000", "c": ""}]  # fmt: skip


def test_every_figure_of_a_report_is_defined_and_every_definition_is_used():
    used = {name for one in REPORTS.values() for name in one.figures}
    assert used | {"first_at", "last_at"} == set(FIGURES)
    for one in FIGURES.values():
        assert one.definition.endswith(".") and one.source


def test_a_grouping_that_a_report_does_not_know_is_refused():
    assert figures.grouping("payments", "week, method") == ("week", ("method", "currency"))
    assert figures.grouping("credits", None) == ("day", ())
    for bad in ("day,week", "shoe_size"):
        with pytest.raises(InvalidRequest):
            figures.grouping("payments", bad)


def test_periods_have_their_own_number_of_days():
    assert figures.days_in("month", date(2028, 2, 1)) == 29
    assert figures.days_in("year", date(2027, 1, 1)) == 365
    assert figures.period_start("week", date(2026, 3, 15)) == date(2026, 3, 9)


def test_the_page_of_definitions_is_current():
    import subprocess
    import sys
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, str(root / "tools" / "figures_page.py"), "--check"],
        capture_output=True, text=True, env={"PYTHONPATH": str(root / "src"), "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
