"""Months and narrow sums: read where they can be, never wrong, whatever the zone and the range."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import recount
from copies import copied
from purchase import SECRET, Desk

from paydesk.assemble import build_env
from paydesk.clock import FixedClock
from paydesk.flows import (
    catalog,
    customers,
    doctor,
    events,
    figure_parts,
    figure_reports,
    figures,
    reports,
    rollups,
)
from paydesk.rules import figures as rules
from paydesk.rules.figures import Range
from paydesk.rules.forecast import SEASONS, forecast
from paydesk.rules.money import USD
from paydesk.settings import Settings
from paydesk.testing import databases

ZONES = ("America/Port-au-Prince", "UTC", "Asia/Kathmandu", "Europe/London", "Pacific/Apia")
START = datetime(2025, 10, 20, 3, tzinfo=UTC)


def drained(env: Any) -> None:
    while events.publish(env):
        pass
    while rollups.keep(env):
        pass


@dataclass(frozen=True)
class HalfYear:
    """The name of a database with the history in it, and when that ends."""

    template: str
    seed: int
    end: datetime


@pytest.fixture(scope="module")
def half_year(sim_server):
    """Half a year in which the clocks change, with a payment at the edges of days and months. It
    is lived once; each test has a copy."""
    seed = int(os.environ.get("PAYDESK_SEED") or random.randrange(10**6))
    clock = FixedClock(START)
    sim_server.reset()
    with copied(databases.template_database()) as made:
        env = build_env(
            Settings(
                database_url=made.dsn, simulator_url=sim_server.url, secret_key="sk_test_of_them",
                stripe_webhook_secret=SECRET, jwt_secret="x" * 32, time_zone=ZONES[0],
                max_daily_transactions=10**6,
            ),
            start_missing=False, clock=clock,
        )  # fmt: skip
        try:
            live(Desk(env, sim_server, None, clock), random.Random(seed))
        finally:
            env.close()
        yield HalfYear(made.name, seed, clock.now())


def live(desk: Desk, chance: random.Random) -> None:
    """Open, and mostly pay, checkouts on the days and at the hours where figures are cut."""
    catalog.upsert_pack(desk.env, "creator", name="Creator Pack", credits=150, price=USD("9.99"))
    user = customers.ensure(desk.env, "user_1")
    for month in range(6):
        first = datetime(2025 + (10 + month) // 12, (10 + month) % 12 + 1, 1, tzinfo=UTC)
        for hours in (-5, 0, 1, 4, 5, 6, chance.randint(7, 700)):
            at = first + timedelta(hours=hours, minutes=chance.choice([0, 14, 15, 59]))
            desk.clock.set(max(at, desk.clock.now()))
            view = desk.open(user)
            if chance.random() < 0.8:
                desk.pay(view)
                desk.deliver(view)
    desk.clock.advance(days=2)
    drained(desk.env)


@pytest.fixture
def seed(half_year, record_property):
    record_property("seed", half_year.seed)
    return half_year.seed


@pytest.fixture
def database(half_year):
    with copied(half_year.template) as made:
        yield made


@pytest.fixture
def clock(half_year):
    return FixedClock(half_year.end)


@pytest.fixture
def year(env, clock, seed):
    """A desk with the half year behind it."""
    settings = replace(env.settings, time_zone=ZONES[0], max_daily_transactions=10**6)
    return Desk(replace(env, settings=settings), None, None, clock)


def same(env: Any, kind: str, **told: Any) -> Any:
    """The report as it is read, and counted anew from the rows."""
    found = figure_reports.report(env, kind, **told)
    again = figure_reports.report(env, kind, **told, recount=True)
    assert (found.rows, found.totals, found.total) == (again.rows, again.totals, again.total), told
    return found


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_sums_say_what_the_rows_say_in_any_zone_and_range(year, seed):  # S0.33 S3.11 S4.39
    env, chance = year.env, random.Random(seed)
    first = env.now() - timedelta(days=chance.randint(40, 190), minutes=chance.randint(0, 5000))
    ranges = ({"last": "6mo"}, {"start": first.isoformat(), "end": env.now().isoformat()},
              {"start": "2025-11-01", "end": "2026-01-31"})  # fmt: skip
    for zone in ZONES:
        for told in ranges:
            for kind, by in (("payments", "month"), ("payments", "week,method"),
                             ("payments", "day"), ("revenue", "month"), ("revenue", "year,country"),
                             ("credits", "month"), ("packs", "product"), ("methods", "provider"),
                             ("promos", "promo"), ("forecast", "week")):  # fmt: skip
                same(env, kind, by=by, time_zone=zone, **told)


def test_whole_months_are_read_as_months_and_the_rest_as_days(year):
    env = year.env
    over = rules.range_of("2025-11-16", "2026-03-10", None, env.now(), "America/Port-au-Prince")
    with env.db.snapshot() as tx:
        parts = figure_parts.parts_of(tx, over, "month")
        by_week = figure_parts.parts_of(tx, over, "week")
        abroad = figure_parts.parts_of(tx, replace(over, time_zone="UTC"), "month")
    assert parts.months == (date(2025, 12, 1), date(2026, 1, 1), date(2026, 2, 1))
    assert len(parts.days) == 15 + 10 and parts.segments == ()
    assert by_week.months == () and len(by_week.days) == 15 + 31 + 31 + 28 + 10
    # November ends at 0 h in UTC, when a day that began at 5 h is not over.
    assert len(abroad.days) == len(by_week.days) - 4 and len(abroad.segments) == 4
    hours = {end - start for start, end in abroad.segments}
    assert hours == {timedelta(hours=24)}


def test_a_zone_with_the_same_midnights_is_read_from_the_days(year):
    env = year.env
    there = replace(env, settings=replace(env.settings, time_zone="America/New_York"))
    drained(there)
    over = rules.range_of("2025-11-01", "2026-02-28", None, env.now(), "America/Port-au-Prince")
    with env.db.snapshot() as tx:
        parts = figure_parts.parts_of(tx, over, "day")
    assert parts.segments == () and parts.kept_zone == "America/New_York"
    same(env, "payments", by="day", start="2025-11-01", end="2026-02-28")


def test_a_late_refund_takes_its_month_out_until_it_is_added_up_again(year):
    env, desk = year.env, year
    [old] = desk.all("select created_at from payments where captured_minor > 0"
                     " order by created_at offset 9 limit 1")  # fmt: skip
    month = old["created_at"].date().replace(day=1)
    known = "select bucket from figure_summed where grain = 'month' and bucket = %(m)s"
    assert desk.all(known, m=month) == [{"bucket": month}]
    with env.db.transaction() as tx:
        tx.run("insert into figure_dirty (day) values (%(d)s)", {"d": old["created_at"].date()})
    same(env, "payments", by="month", last="6mo")
    with env.db.transaction() as tx:
        state = tx.one("select time_zone, covered_from, covered_until from figure_state")
        assert rollups._next_day(tx, state["time_zone"], state, state["covered_until"])
    assert desk.all(known, m=month) == []
    same(env, "payments", by="month", last="6mo")
    drained(env)
    assert desk.all(known, m=month) == [{"bucket": month}]


def test_after_an_upgrade_the_sums_are_filled_and_reports_are_right_before(year):  # I45
    env = year.env
    before = same(env, "revenue", by="month", last="6mo")
    with env.db.transaction() as tx:
        for source in figures.SOURCES.values():
            tx.run(f"delete from {source.sums.as_string(None)}")  # noqa: S608
        tx.run("delete from figure_summed")
    assert same(env, "revenue", by="month", last="6mo").rows == before.rows
    told: list[tuple[date, int]] = []
    assert rollups.compute(env, on_day=lambda day, left: told.append((day, left))) == len(told)
    assert [left for _, left in told][-1] == 0 and len(told) >= 10
    assert same(env, "revenue", by="month", last="6mo").rows == before.rows
    assert all(one.ok for one in doctor.check(env.db))


def test_the_doctor_finds_a_day_that_lies(year):
    env = year.env
    with env.db.transaction() as tx:
        tx.run("update figure_payments set captured = captured + 1 where captured > 0")
    wrong = {one.check for one in doctor.check(env.db) if not one.ok}
    assert wrong == {"figures_equal_rows", "figures_add_up"}
    rollups.rebuild(env)


def test_the_first_page_shows_what_the_reports_say(year):  # S0.33
    env = year.env
    found = reports.overview(env, days=90)
    said = figure_reports.report(env, "payments", by="day", last="90d", recount=True)
    by_day = {row["day"]: row for row in said.rows}
    for day in found.days:
        row = by_day.get(day.day, {"captured": 0, "succeeded": 0, "credits_sold": 0})
        told = (row["captured"], row["succeeded"], row["credits_sold"])
        assert (day.volume, day.succeeded, day.credits) == told
    before = figure_reports.report(env, "payments", by="currency", last="180d").total
    assert found.credits_sold + found.credits_sold_before == before["credits_sold"]
    credit = figure_reports.report(env, "credits", last="1d", recount=True).total
    assert found.credits_outstanding == credit["outstanding"] > 0
    assert sum(row["minor"] for row in found.methods) == found.volume


def test_a_forecast_is_made_of_net_revenue_by_whole_periods(year):  # S3.22
    env = year.env
    t = recount.Tables(year)
    zone = env.settings.time_zone
    for by, last, ahead in (("week", "25w", 3), ("month", "12mo", 2), ("day", "60d", 9)):
        found = figure_reports.report(env, "forecast", by=by, last=last, periods=ahead)
        net = {key[0]: one["net"] for key, one in
               recount.revenue(t, found.over, by, ["currency"]).items()}  # fmt: skip
        first, day = found.over.first_day, rules.period_start(by, found.over.first_day)
        while day < first:
            day = rules.next_period(by, day)
        history = []
        while rules.midnight(rules.zone_of(zone), rules.next_period(by, day)) <= env.now():
            history.append(net.get(day, 0))
            day = rules.next_period(by, day)
        want = forecast(history, SEASONS[by], ahead)
        assert [(row["expected"], row["low"], row["high"]) for row in found.rows] == [
            (one.expected, one.low, one.high) for one in want
        ]
        assert found.rows[0][by] == day and len(found.rows) == ahead
        assert found.totals[0]["expected"] == sum(one.expected for one in want)


def test_a_range_is_cut_where_its_own_periods_begin():
    over = Range(datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 5, 2, tzinfo=UTC), "UTC")
    cuts = [(s.start, s.end) for s in figure_parts._cut(over, "month", "Asia/Tokyo")]
    edges = [over.start, *(datetime(2026, m, 1, tzinfo=UTC) for m in (4, 5)), over.end]
    assert cuts == list(pairwise(edges))
