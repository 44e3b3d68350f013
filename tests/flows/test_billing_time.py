"""Periods and renewals whatever becomes of time: zones, long stops, skewed clocks, many clocks."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import available_timezones

import pytest
from billing import CARD
from purchase import PROVE

from paydesk.clock import FixedClock
from paydesk.flows import clocks, customers, renewals
from paydesk.rules import periods

ZONES = sorted(available_timezones())
SAMPLE = 60 if PROVE else 3


def spans(billing, sub):
    """(cycle, start, end) of each period's invoice, in order."""
    rows = billing.all(
        "select cycle, period_start, period_end from invoices where customer_id = %(c)s"
        " and cycle is not null order by cycle", c=sub.customer_id)  # fmt: skip
    return [tuple(row.values()) for row in rows]


def assert_tile(billing, sub, count: int) -> None:
    """One invoice for each period, the next one beginning where the one before ends."""
    found = spans(billing, sub)
    assert [one[0] for one in found] == list(range(count))
    assert all(before[2] == after[1] for before, after in pairwise(found))
    assert all(start < end for _, start, end in found)


# I22 I23
@pytest.mark.prove
@pytest.mark.parametrize("number", range(SAMPLE))
def test_a_year_of_periods_tiles_in_any_zone(billing, seed, number):
    dice = random.Random(f"{seed}-{number}")
    zone, unit, count = dice.choice(ZONES), *dice.choice([("month", 1), ("week", 4), ("day", 29)])
    kind = "anniversary" if count > 1 else dice.choice(["anniversary", "calendar"])
    billing.plan(interval=unit, interval_count=count, billing=kind)
    start = datetime(2027, 1, 1, tzinfo=UTC) + timedelta(minutes=dice.randrange(365 * 1440))
    billing.clock.set(start)
    sub = billing.subscribe(billing.user(), zone=zone)
    for _ in range(12):
        billing.clock.set(billing.look(sub).period_end)
        billing.renew()
    assert_tile(billing, sub, 13)
    first = spans(billing, sub)[0]
    assert first[1] == start
    after = [one[1] for one in spans(billing, sub)[1:]]
    anchor, number = (start, 1) if kind == "anniversary" else (after[0], 0)
    assert after == [periods.boundary(anchor, unit, count, number + n, zone) for n in range(12)]


# I22
@pytest.mark.prove
@pytest.mark.parametrize("part", range(8 if PROVE else 1))
def test_every_zone_tiles_over_all_its_changes_of_clocks(part):
    """All zones there are in the long form; some of them else."""
    chosen = ZONES[part::8] if PROVE else random.Random(20271031).sample(ZONES, 12)
    for zone in chosen:
        for anchor in (datetime(2024, 1, 31, 1, 30, tzinfo=UTC),
                       datetime(2024, 2, 29, 23, 45, tzinfo=UTC)):  # fmt: skip
            for unit, count, most in (("day", 1, 800), ("week", 1, 110), ("month", 1, 61),
                                      ("year", 1, 9)):  # fmt: skip
                bounds = [periods.boundary(anchor, unit, count, n, zone) for n in range(most)]
                assert bounds[0] == anchor
                assert all(before < after for before, after in pairwise(bounds)), zone
                for n in (1, most // 2, most - 2):
                    assert periods.period(anchor, unit, count, n, zone) == (
                        bounds[n], bounds[n + 1])  # fmt: skip
                    assert periods.index_at(anchor, unit, count, bounds[n], zone) == n


# I23
@pytest.mark.prove
def test_after_a_stop_of_ninety_days_workers_that_race_bill_each_period_once(billing):
    """Weeks, and each day in the long form, which is more than one round of the sweep takes."""
    unit, count = ("day", 91) if PROVE else ("week", 13)
    billing.plan(interval=unit, credits=10)
    who = billing.user()
    sub = billing.subscribe(who)
    billing.clock.advance(days=90, hours=1)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            list(pool.map(lambda _: renewals.run_due(billing.env), range(4)))
    billing.recover(rounds=2)
    assert_tile(billing, sub, count)
    assert billing.payments(sub) == ["succeeded"] * count if count <= 100 else True
    assert billing.books(who, "revenue") == 2000 * count
    assert billing.balance(who) == 10, "credits of weeks that are over are not given any more"
    now = billing.look(sub)
    assert now.period_start <= billing.env.now() < now.period_end


# I23 I26
def test_after_a_stop_of_ninety_days_a_card_that_fails_is_dunned_and_then_it_ends(billing):
    from billing import DECLINES

    billing.plan()
    who = billing.user()
    sub = billing.subscribe(who)
    billing.card(who, DECLINES)
    billing.clock.advance(days=92)
    assert billing.renew() >= 1
    assert billing.look(sub).state == "past_due"
    assert_tile(billing, sub, 4 if billing.look(sub).period == 3 else 3)
    billing.until(billing.env.now() + timedelta(days=8))
    assert billing.look(sub).state == "canceled"
    states = {one[1] for one in billing.invoices(sub)[1:]}
    assert states == {"uncollectible"}, "nothing is asked for any more"
    assert not billing.can(who, "tier:pro")
    before = len(billing.payments(sub))
    billing.until(billing.env.now() + timedelta(days=20))
    assert len(billing.payments(sub)) == before


# I22 I23 I25
def test_workers_whose_clocks_differ_by_ten_minutes_bill_the_same_periods(billing, env):
    billing.plan(credits=10)
    who = billing.user()
    sub = billing.subscribe(who)
    start, skew = sub.period_start, timedelta(minutes=5)
    ahead, behind = (replace(env, clock=FixedClock(start)) for _ in range(2))
    for number in range(1, 4):
        end = billing.look(sub).period_end
        assert end == periods.boundary(start, "month", 1, number)
        # One is early by its own clock, the other late; they take turns, and then race.
        for at in (end - timedelta(minutes=2), end + timedelta(minutes=2)):
            ahead.clock.set(at + skew)
            behind.clock.set(at - skew)
            billing.clock.set(at)
            for one in (behind, ahead, behind):
                renewals.run_due(one)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(renewals.run_due, (ahead, behind)))
        assert_tile(billing, sub, number + 1)
    assert billing.payments(sub) == ["succeeded"] * 4
    assert billing.balance(who) == 10


# I22 I23 I25
def test_a_clock_that_steps_back_bills_nothing_twice(billing):
    billing.plan()
    who = billing.user()
    sub = billing.subscribe(who)
    for number in range(1, 4):
        end = billing.look(sub).period_end
        for minutes in (1, -4, 0, -60, 3):
            billing.clock.set(end + timedelta(minutes=minutes))
            billing.renew()
        assert_tile(billing, sub, number + 1)
        assert billing.look(sub).period_end == periods.boundary(
            sub.period_start, "month", 1, number + 1)  # fmt: skip
    assert billing.payments(sub) == ["succeeded"] * 4
    assert billing.can(who, "tier:pro")


# I23 I25
def test_twenty_clocks_bill_side_by_side(billing, env):
    """Each customer lives by a clock of his own, and nobody by another's."""
    billing.plan(interval="week")
    start = env.now()
    made = [clocks.create(env, name=f"clock {n}") for n in range(20)]
    whose = [customers.ensure(env, f"clocked_{n}", clock=one.uuid) for n, one in enumerate(made)]

    def live(n: int):
        billing.card(whose[n], CARD)
        sub = billing.subscribe(whose[n])
        clocks.advance(env, made[n], by=timedelta(days=7 * (n % 4), hours=1))
        return sub

    bystander = billing.subscribe(billing.user())
    with ThreadPoolExecutor(8) as pool:
        subs = list(pool.map(live, range(20)))
    for n, sub in enumerate(subs):
        assert_tile(billing, sub, n % 4 + 1)
        assert spans(billing, sub)[0][1] == start
        assert clocks.get(env, made[n]).now == start + timedelta(days=7 * (n % 4), hours=1)
    assert_tile(billing, bystander, 1)
