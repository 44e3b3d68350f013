"""Proration: published examples, an independent calculation, and what no sequence may break."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from random import Random
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from paydesk.errors import InvalidRequest
from paydesk.rules import periods, proration
from paydesk.rules.proration import Discount, Result, Side, change, opening, unused

ITEM = UUID(int=7)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def at_second(stamp: int) -> datetime:
    return datetime.fromtimestamp(stamp, UTC)


def paid(plan: str, minor: int, period, **facts) -> Side:
    """A side whose charge of the whole period was paid."""
    return Side(**{"plan": plan, "unit_minor": minor, "period": period, "paid_minor": minor,
                   "item": ITEM, **facts})  # fmt: skip


def amounts(result: Result) -> list[int]:
    assert sum(line.amount_minor for line in result.lines) == result.net_minor
    assert json.loads(json.dumps([line.why for line in result.lines]))  # JSON, and none is empty
    return [line.amount_minor for line in result.lines]


# Published examples ---------------------------------------------------------------------------


# S1.44!
def test_stripe_halfway_from_10_to_20():
    """S1.44 https://docs.stripe.com/billing/subscriptions/prorations: -5, +10, together 5."""
    june = (utc(2025, 6, 1), utc(2025, 7, 1))
    found = change(paid("Basic", 1000, june), Side(plan="Pro", unit_minor=2000, period=june),
                   utc(2025, 6, 16), policy="seconds")  # fmt: skip
    assert amounts(found) == [-500, 1000] and found.net_minor == 500
    assert [line.kind for line in found.lines] == ["proration_credit", "proration_charge"]
    assert found.lines[0].of == ITEM
    assert [proration.describe(line) for line in found.lines] == [
        "Unused time on Basic", "Remaining time on Pro"]  # fmt: skip


def test_stripe_previews_a_change_to_the_second():
    """https://docs.stripe.com/billing/subscriptions/prorations#preview-proration: the response of
    the preview, Silver at 10.00 to Gold at 32.52 with 445540 of 2678400 seconds left."""
    start, end, moved = at_second(1596749288), at_second(1599427688), at_second(1598982148)
    assert periods.period(start, "month", 1, 0) == (start, end)
    assert periods.boundary(start, "month", 1, 2) == at_second(1602019688)
    found = change(paid("Silver plan", 1000, (start, end)),
                   Side(plan="Gold plan", unit_minor=3252, period=(start, end)), moved,
                   policy="seconds")  # fmt: skip
    assert amounts(found) == [-166, 541]
    assert found.net_minor + 3252 == 3627
    assert (found.lines[0].why["left"], found.lines[0].why["whole"]) == (445540, 2678400)


MONTH, YEAR = ("month", 10000), ("year", 100000)


@pytest.mark.parametrize(
    ("old", "new", "start", "moved", "credit", "charge"),
    [
        (MONTH, ("month", 30000), utc(2025, 6, 1), utc(2025, 6, 16), 5000, 15000),
        (MONTH, ("month", 30000), utc(2025, 6, 1), utc(2025, 6, 11), 6667, 20000),
        (MONTH, ("month", 30000), utc(2024, 2, 18), utc(2024, 2, 25), 7586, 22759),
        (YEAR, ("year", 300000), utc(2024, 8, 1), utc(2024, 10, 1), 83288, 249863),
        (YEAR, ("year", 300000), utc(2024, 2, 18), utc(2024, 9, 5), 45355, 136066),
        (YEAR, ("year", 300000), utc(2023, 2, 18), utc(2023, 9, 5), 45479, 136438),
        (MONTH, YEAR, utc(2025, 6, 1), utc(2025, 6, 16), 5000, 100000),
        (MONTH, YEAR, utc(2025, 6, 1), utc(2025, 6, 11), 6667, 100000),
        (MONTH, YEAR, utc(2024, 2, 18), utc(2024, 2, 25), 7586, 100000),
        (YEAR, MONTH, utc(2025, 6, 1), utc(2025, 8, 13), 80000, 10000),
        (YEAR, MONTH, utc(2024, 2, 18), utc(2024, 4, 19), 83333, 10000),
        (MONTH, ("month", 0), utc(2025, 6, 1), utc(2025, 6, 16), 5000, 0),
        (("month", 0), MONTH, utc(2025, 6, 1), utc(2025, 6, 16), None, 5000),
        (("month", 5000), MONTH, utc(2025, 6, 1), utc(2025, 6, 16), 2500, 5000),
    ],
)
def test_polar_to_the_second_and_anew_where_the_interval_changes(
    old, new, start, moved, credit, charge
):
    """S1.44: the cases of https://github.com/polarsource/polar
    server/tests/subscription/test_service_prorations.py"""
    period = periods.period(start, old[0], 1, 0)
    restart = old[0] != new[0]
    fresh = periods.period(moved, new[0], 1, 0) if restart else None
    found = change(paid("Old", old[1], period), Side(plan="New", unit_minor=new[1], period=period),
                   moved, policy="seconds", restart=restart, fresh_period=fresh)  # fmt: skip
    assert amounts(found) == [*([] if credit is None else [-credit]), charge]
    assert found.lines[-1].period == (fresh or (moved, period[1]))
    assert found.lines[-1].kind == ("recurring" if restart else "proration_charge")


def test_polar_resets_the_cycle_without_a_credit():
    """https://polar.sh/docs/features/subscriptions/proration: the full price of the new plan, no
    proration, and a cycle that starts now; here that is policy none with a restart."""
    june, moved = (utc(2025, 6, 1), utc(2025, 7, 1)), utc(2025, 6, 16)
    fresh = periods.period(moved, "month", 1, 0)
    found = change(paid("Old", 5000, june), Side(plan="New", unit_minor=10000, period=june), moved,
                   policy="none", restart=True, fresh_period=fresh)  # fmt: skip
    assert amounts(found) == [10000]
    assert found.lines[0].period == (moved, utc(2025, 7, 16))


def test_lago_begins_within_a_month_of_the_calendar():
    """S1.44 https://docs.getlago.com/guide/subscriptions/assign-plan: 50 a month from 10 August,
    22 of 31 days, 35.48. And https://doc.getlago.com/docs/guide/plans/plan-model: from 6 April
    after a trial, 25 of 30 days, 41.67."""
    for start, expected in ((utc(2022, 8, 10, 14), 3548), (utc(2022, 4, 6, 9), 4167)):
        anchor = periods.calendar_anchor(start, "month")
        side = Side(plan="Premium", unit_minor=5000,
                    period=periods.period(anchor, "month", 1, -1))  # fmt: skip
        found = opening(side, start, policy="days")
        assert amounts(found) == [expected]
        assert found.lines[0].period == (start, anchor)
        assert found.lines[0].kind == "recurring"


def test_lago_by_whole_days_the_day_of_the_change_counts_as_left():
    """https://docs.getlago.com/guide/subscriptions/upgrades-downgrades: 14 of 31 days at 100 are
    45.16; and https://doc.getlago.com/docs/guide/plans/upgrades-downgrades: from 11 May 21 of 31
    days at 40 are 27.10."""
    january = (utc(2025, 1, 1), utc(2025, 2, 1))
    found = change(paid("A", 10000, january), Side(plan="B", unit_minor=20000, period=january),
                   utc(2025, 1, 15, 18), policy="days")  # fmt: skip
    # What was used is 45.16: the credit is the rest.
    assert amounts(found) == [-(10000 - 4516), 10968]
    may = (utc(2022, 5, 1), utc(2022, 6, 1))
    found = change(paid("Standard", 2000, may), Side(plan="Premium", unit_minor=4000, period=may),
                   utc(2022, 5, 11, 9), policy="days")  # fmt: skip
    assert amounts(found) == [-1355, 2710]


@pytest.mark.parametrize(
    ("calendar", "first", "second", "third"),
    [(True, 871, [-645, 968], [-968, 1226]), (False, 1000, [-774, 1161], [-1161, 1471])],
)
def test_lago_two_upgrades_within_an_hour(calendar, first, second, third):
    """https://github.com/getlago/lago-api spec/scenarios/subscriptions/multiple_upgrade_spec.rb:
    10, 15 and 19 a month from 5 March 2024, changed on the 12th and an hour later. Lago's credit
    notes have a tax of 25 % on these credits: 8.06 and 12.10, 9.68 and 14.51."""
    start, moved = utc(2024, 3, 5, 12, 12), utc(2024, 3, 12, 12, 12)
    anchor = periods.calendar_anchor(start, "month") if calendar else start
    period = periods.period(anchor, "month", 1, -1 if calendar else 0)
    one = Side(plan="One", unit_minor=1000, period=period)
    begun = opening(one, start, policy="days")
    assert amounts(begun) == [first]
    old = replace(one, paid_minor=first, since=start)
    found = change(old, replace(one, plan="Two", unit_minor=1500), moved, policy="days")
    assert amounts(found) == second
    old = replace(one, plan="Two", unit_minor=1500, paid_minor=second[1], since=moved)
    found = change(old, replace(one, plan="Three", unit_minor=1900), moved + timedelta(hours=1),
                   policy="days")  # fmt: skip
    assert amounts(found) == third
    # Tax on top, once on the sum, as Lago rounds it from the fee that is not yet rounded.
    days_left = Fraction(20, 31) if calendar else Fraction(24, 31)
    taxed = [proration.portion(price, days_left * Fraction(5, 4)) for price in (1000, 1500)]
    assert taxed == ([806, 1210] if calendar else [968, 1452])


@pytest.mark.parametrize(
    ("minor", "period", "moved", "credit"),
    [
        (24995, (utc(2012, 5, 1), utc(2012, 6, 1)), utc(2012, 5, 12), 16126),
        (24995, (utc(2016, 7, 10), utc(2016, 8, 10)), utc(2016, 8, 1), 7257),
        (2995, (utc(2012, 5, 1), utc(2012, 6, 1)), utc(2012, 5, 12), 1932),
        (239995, (utc(2012, 5, 1), utc(2013, 5, 1)), utc(2012, 5, 12), 232762),
    ],
)
def test_kill_bill_repairs_an_item_by_whole_days(minor, period, moved, credit):
    """S1.44: REPAIR_ADJ items of https://github.com/killbill/killbill beatrix/src/test/java/org/
    killbill/billing/beatrix/integration/TestIntegrationWithDifferentBillingPeriods.java"""
    rest = unused(paid("Shotgun", minor, period), moved, policy="days")
    assert (rest.amount_minor, rest.credits_back) == (credit, 0)


@pytest.mark.parametrize(
    ("minor", "unit", "count", "start", "anchor", "charge"),
    [
        (24995, "month", 1, utc(2016, 7, 1), utc(2016, 7, 10), 7499),
        (239995, "year", 1, utc(2012, 5, 12), utc(2013, 5, 1), 232762),
        (6995, "month", 3, utc(2012, 5, 12), utc(2012, 8, 1), 6159),
    ],
)
def test_kill_bill_begins_before_the_bill_cycle_day(minor, unit, count, start, anchor, charge):
    """The RECURRING items of the same tests: a part before the first whole period."""
    side = Side(plan="P", unit_minor=minor, period=periods.period(anchor, unit, count, -1))
    assert amounts(opening(side, start, policy="days")) == [charge]


@pytest.mark.parametrize(
    ("start", "moved", "end", "left"),
    [
        (date(2011, 2, 1), date(2011, 2, 14), date(2011, 3, 1), Fraction(15, 28)),
        (date(2012, 2, 1), date(2012, 2, 15), date(2012, 3, 1), Fraction(15, 29)),
        (date(2011, 2, 7), date(2011, 2, 15), date(2011, 3, 7), Fraction(20, 28)),
        (date(2011, 3, 7), date(2011, 3, 10), date(2011, 4, 7), Fraction(28, 31)),
        (date(2011, 2, 10), date(2011, 2, 24), date(2011, 3, 10), Fraction(1, 2)),
    ],
)
def test_kill_bill_counts_the_days_of_each_month(start, moved, end, left):
    """https://github.com/killbill/killbill invoice/src/test/java/org/killbill/billing/invoice/
    proRations/inAdvance/monthly/TestProRation.java: 13 of 28, 14 of 29, 8 of 28, 3 of 31 used."""
    instants = (utc(one.year, one.month, one.day, 17) for one in (start, end, moved))
    assert proration.share(*instants, "days") == left


@pytest.mark.parametrize(
    ("old", "new", "is_upgrade"),
    [
        ((2000, ("month", 1)), (4000, ("month", 1)), True),
        ((2000, ("month", 1)), (1500, ("month", 1)), False),
        ((2000, ("month", 1)), (30000, ("year", 1)), True),
        ((2000, ("month", 1)), (18000, ("year", 1)), False),
        ((2000, ("month", 1)), (2000, ("month", 1)), True),
        ((2000, ("month", 1)), (6000, ("month", 3)), True),
        ((700, ("week", 1)), (100, ("day", 1)), True),
        ((100, ("day", 1)), (3043, ("month", 1)), False),
    ],
)
def test_an_upgrade_is_what_costs_as_much_a_day_or_more(old, new, is_upgrade):
    """https://doc.getlago.com/docs/guide/plans/upgrades-downgrades: 20 a month against 300 and
    180 a year."""
    assert proration.is_upgrade(*old, *new) is is_upgrade


# The policies ----------------------------------------------------------------------------------

MARCH = (utc(2026, 3, 1), utc(2026, 4, 1))


# S1.59!
def test_each_policy_counts_the_rest_of_a_period_in_its_way():
    """S1.59 I24: on the 16th of a month of 31 days, at midnight and at 18:00."""
    moved = utc(2026, 3, 16)
    found = {policy: proration.share(*MARCH, moved, policy) for policy in proration.POLICIES}
    assert found == {"seconds": Fraction(16, 31), "days": Fraction(16, 31), "none": 0, "full": 1}
    later = utc(2026, 3, 16, 18)
    assert proration.share(*MARCH, later, "seconds") == Fraction(61, 124)
    assert proration.share(*MARCH, later, "days") == Fraction(16, 31)


@pytest.mark.parametrize("policy", ["seconds", "days", "full"])
def test_all_is_left_before_and_nothing_after(policy):
    assert proration.share(*MARCH, MARCH[0] - timedelta(minutes=5), policy) == 1
    assert proration.share(*MARCH, MARCH[1], policy) == 0
    assert proration.share(*MARCH, MARCH[1] + timedelta(days=3), policy) == 0


def test_days_are_those_of_the_billing_zone():
    """S1.59: 16 March, 03:00 UTC, is the 15th in Port-au-Prince."""
    zone = "America/Port-au-Prince"
    tz = ZoneInfo(zone)
    month = (datetime(2026, 3, 1, tzinfo=tz), datetime(2026, 4, 1, tzinfo=tz))
    moved = utc(2026, 3, 16, 3)
    assert proration.share(*month, moved, "days", zone) == Fraction(17, 31)
    # The night of 8 March has an hour less: by the second that counts, by days it does not.
    after = datetime(2026, 3, 9, tzinfo=tz)
    assert proration.share(*month, after, "days", zone) == Fraction(23, 31)
    assert proration.share(*month, after, "seconds", zone) == Fraction(23 * 24, 31 * 24 - 1)


def test_a_period_within_one_date_is_one_day_until_it_ends():
    noon = (utc(2026, 3, 1, 12), utc(2026, 3, 1, 18))
    assert proration.share(*noon, utc(2026, 3, 1, 17), "days") == 1
    assert proration.share(*noon, utc(2026, 3, 1, 18), "days") == 0
    blink = (utc(2026, 3, 1), utc(2026, 3, 1) + timedelta(milliseconds=5))
    assert proration.share(*blink, blink[0], "seconds") == 1


def test_policy_none_waits_for_the_next_period():
    found = change(paid("Basic", 1000, MARCH), Side(plan="Pro", unit_minor=2000, period=MARCH),
                   utc(2026, 3, 16), policy="none")  # fmt: skip
    assert found == Result((), 0, 0, 0)


def test_policy_full_is_the_whole_difference():
    found = change(paid("Basic", 1000, MARCH), Side(plan="Pro", unit_minor=2500, period=MARCH),
                   utc(2026, 3, 31), policy="full")  # fmt: skip
    assert amounts(found) == [-1000, 2500]


def test_seats_are_credited_and_charged_as_they_are():
    """Quantity changes: two lines, of all seats before and after."""
    old = paid("Team", 1000, MARCH, quantity=3, paid_minor=3000)
    found = change(old, Side(plan="Team", unit_minor=1000, quantity=5, period=MARCH),
                   utc(2026, 3, 16, 12), policy="seconds")  # fmt: skip
    assert amounts(found) == [-1500, 2500]
    assert proration.describe(found.lines[0]) == "Unused time on 3 × Team"


def test_nothing_is_given_back_that_was_not_paid():
    """I24: not of a trial, of an unpaid invoice, nor what was refunded or discounted before."""
    new, moved = Side(plan="Pro", unit_minor=2000, period=MARCH), utc(2026, 3, 16, 12)
    free = change(paid("Basic", 1000, MARCH, paid_minor=0), new, moved, policy="seconds")
    assert amounts(free) == [1000]
    half_price = change(paid("Basic", 1000, MARCH, paid_minor=500), new, moved, policy="seconds")
    assert amounts(half_price) == [-250, 1000]
    refunded = paid("Basic", 1000, MARCH, credited_minor=800)
    assert amounts(change(refunded, new, moved, policy="seconds")) == [-200, 1000]
    gone = paid("Basic", 1000, MARCH, credited_minor=1000)
    assert amounts(change(gone, new, moved, policy="seconds")) == [1000]


def test_a_discount_is_carried_to_the_new_charge():
    """S4.40: a fifth off, and 3.00 off a period of which half is left."""
    moved = utc(2026, 3, 16, 12)
    fifth = Discount(percent_micros=200_000)
    found = change(paid("Basic", 1000, MARCH, paid_minor=800),
                   Side(plan="Pro", unit_minor=2000, period=MARCH, discount=fifth), moved,
                   policy="seconds")  # fmt: skip
    assert amounts(found) == [-400, 1000, -200]
    assert (found.lines[2].kind, found.lines[2].of) == ("discount", 1)
    off = Discount(minor=300)
    found = change(paid("Basic", 1000, MARCH, paid_minor=700),
                   Side(plan="Pro", unit_minor=2000, period=MARCH, discount=off), moved,
                   policy="seconds")  # fmt: skip
    assert amounts(found) == [-350, 1000, -150]
    # It never makes money.
    much = Discount(minor=999_999)
    found = opening(Side(plan="Pro", unit_minor=2000, period=MARCH, discount=much), moved,
                    policy="seconds")  # fmt: skip
    assert amounts(found) == [1000, -1000]


def test_credits_that_were_used_are_not_paid_back():
    """S4.25: 100 credits for 10.00, half the month left; 80 used, then 20 used."""
    moved, new = utc(2026, 3, 16, 12), Side(plan="Lite", unit_minor=400, period=MARCH,
                                            credits_given=30)  # fmt: skip
    gold = paid("Gold", 1000, MARCH, credits_given=100, credits_left=20)
    found = change(gold, new, moved, policy="seconds")
    assert amounts(found) == [-200, 200]
    assert (found.credits_back, found.credits_given) == (20, 15)
    assert found.lines[0].why["limit"] == "credits"
    found = change(replace(gold, credits_left=80), new, moved, policy="seconds")
    assert amounts(found) == [-500, 200]
    assert (found.credits_back, found.lines[0].why["limit"]) == (50, "time")


def test_credits_that_a_year_has_not_given_yet_go_back_first():
    """S4.25: 1200 a year, 500 given by June, 450 of them left, 7 months to go."""
    year = (utc(2026, 1, 1), utc(2027, 1, 1))
    old = paid("Gold", 12000, year, credits_given=500, credits_left=450, credits_total=1200)
    rest = unused(old, utc(2026, 6, 2), policy="days")
    part = Fraction(213, 365)
    assert rest.amount_minor == 12000 * part.numerator // part.denominator == 7002
    assert rest.credits_back == 1  # 701 of 1200, of which 700 were not given
    # In December most were given: what is left limits it.
    late = replace(old, credits_given=1200, credits_left=10)
    rest = unused(late, utc(2026, 12, 1), policy="days")
    assert (rest.amount_minor, rest.credits_back, rest.why["limit"]) == (100, 10, "credits")


def test_the_new_sides_credits_are_those_of_the_running_month():
    """S4.25: a year that is changed in mid June gives half of June's."""
    year, june = (utc(2026, 1, 1), utc(2027, 1, 1)), (utc(2026, 6, 1), utc(2026, 7, 1))
    new = Side(plan="Gold", unit_minor=24000, period=year, credits_given=101, allotment=june)
    old = paid("Lite", 12000, year)
    found = change(old, new, utc(2026, 6, 16), policy="seconds")
    assert found.credits_given == 50
    fresh = (utc(2026, 6, 16), utc(2026, 7, 16))
    again = change(old, new, utc(2026, 6, 16), policy="none", restart=True, fresh_period=fresh)
    assert again.credits_given == 101


def test_what_makes_no_sense_is_refused():
    side = paid("Basic", 1000, MARCH)
    with pytest.raises(InvalidRequest) as refused:
        change(side, side, MARCH[0], policy="weekly")
    assert refused.value.param == "proration"
    with pytest.raises(InvalidRequest):
        change(side, side, MARCH[0], policy="days", zone="Europe/Atlantis")
    with pytest.raises(ValueError, match="fresh period"):
        change(side, side, MARCH[0], policy="days", restart=True)
    with pytest.raises(ValueError, match="after its start"):
        proration.share(MARCH[1], MARCH[0], MARCH[0], "days")


# Against an independent calculation ------------------------------------------------------------


def half_up(value: Decimal) -> int:
    return int(value.quantize(Decimal(1), ROUND_HALF_UP))


def parts_left(start: datetime, end: datetime, moved: datetime, policy: str, zone: str):
    """What is left, by walking the calendar or the clock, in decimals of 60 digits."""
    if policy == "full":
        return Decimal(1 if moved < end else 0)
    if policy == "days":
        tz, left, whole = ZoneInfo(zone), 0, 0
        day, last = start.astimezone(tz).date(), end.astimezone(tz).date()
        first_left = moved.astimezone(tz).date()
        while day < last:
            whole, left = whole + 1, left + (day >= first_left)
            day += timedelta(days=1)
        if whole:
            return Decimal(left) / Decimal(whole)
        return Decimal(1 if moved < end else 0)
    whole = Decimal(int(end.timestamp()) - int(start.timestamp()))
    return Decimal(int(end.timestamp()) - int(moved.timestamp())) / whole


def test_a_thousand_cycles_against_an_independent_calculation():
    """I24: three changes a cycle, in any zone, with seats and discounts; line by line."""
    dice = Random(20260307)
    zones = ["UTC", "America/Port-au-Prince", "Europe/Paris", "Asia/Kolkata", "Pacific/Apia",
             "Australia/Lord_Howe"]  # fmt: skip
    with localcontext() as context:
        context.prec = 60
        for _ in range(1000):
            zone, policy = dice.choice(zones), dice.choice(["seconds", "days", "full"])
            anchor = utc(2011, 1, 1) + timedelta(seconds=dice.randrange(20 * 365 * 86_400))
            unit, count = dice.choice(["week", "month", "year"]), dice.randint(1, 3)
            start, end = periods.period(anchor, unit, count, dice.randint(0, 30), zone)
            percent = Decimal(dice.randrange(0, 100))
            discount = Discount(percent_micros=int(percent) * 10_000)
            price = dice.randrange(0, 2_000_000)
            was_paid = price - half_up(price * percent / 100)
            side = Side(plan="P0", unit_minor=price, period=(start, end), paid_minor=was_paid)
            since = start
            seconds = int((end - start).total_seconds())
            for moved in sorted(start + timedelta(seconds=dice.randrange(seconds))
                                for _ in range(3)):  # fmt: skip
                new = Side(plan="P", unit_minor=dice.randrange(2_000_000),
                           quantity=dice.randint(1, 9), period=(start, end),
                           discount=discount)  # fmt: skip
                credit = half_up(was_paid * parts_left(since, end, moved, policy, zone))
                charge = half_up(
                    new.unit_minor * new.quantity * parts_left(start, end, moved, policy, zone)
                )
                off = half_up(charge * percent / 100)
                expected = [*([-credit] if was_paid else []), charge, *([-off] if off else [])]
                found = change(side, new, moved, policy=policy, zone=zone)
                assert amounts(found) == expected, (zone, policy, start, moved, end)
                was_paid, since = charge - off, moved
                side = replace(new, paid_minor=was_paid, since=moved)


# What no sequence may break --------------------------------------------------------------------

POLICIES = st.sampled_from(["seconds", "days", "full"])
DISCOUNTS = st.one_of(
    st.none(),
    st.builds(Discount, percent_micros=st.integers(0, 1_000_000)),
    st.builds(Discount, minor=st.integers(0, 5000)),
)
PRICES = st.integers(0, 100_000)


def charged(result: Result) -> int:
    """What the lines of the new side ask for."""
    return sum(line.amount_minor for line in result.lines if line.kind != "proration_credit")


@settings(deadline=None, max_examples=300)
@given(PRICES, PRICES, st.integers(1, 5), st.integers(1, 5), DISCOUNTS, POLICIES,
       st.integers(0, 31 * 86_400 - 1), st.integers(0, 500), st.integers(0, 500))  # fmt: skip
def test_a_change_and_the_change_back_add_up_to_nothing(
    old_price, new_price, old_seats, new_seats, discount, policy, second, old_credits, new_credits
):
    """I24: within one unit a line, whatever the prices, seats, credits, discount and policy."""
    moved = MARCH[0] + timedelta(seconds=second)
    plain = Side(plan="Old", unit_minor=old_price, quantity=old_seats, period=MARCH,
                 discount=discount, credits_given=old_credits)  # fmt: skip
    first = opening(plain, MARCH[0], policy="seconds")
    old = replace(plain, paid_minor=first.net_minor, credits_left=old_credits)
    new = Side(plan="New", unit_minor=new_price, quantity=new_seats, period=MARCH,
               discount=discount, credits_given=new_credits)  # fmt: skip
    there = change(old, new, moved, policy=policy)
    moved_to = replace(new, paid_minor=charged(there), since=moved,
                       credits_given=there.credits_given,
                       credits_left=there.credits_given)  # fmt: skip
    back = change(moved_to, plain, moved, policy=policy)
    assert abs(there.net_minor + back.net_minor) <= len(there.lines) + len(back.lines)
    # All of what the new side charged comes back, and all of its credits go.
    assert charged(back) - back.net_minor == charged(there)
    assert back.credits_back == there.credits_given
    assert abs(back.credits_given - there.credits_back) <= 1


@given(PRICES, PRICES, POLICIES, st.integers(0, 31 * 86_400), st.integers(0, 100_000))
def test_a_credit_is_never_more_than_was_paid_and_not_given_back(
    price, paid_minor, policy, second, credited
):
    """I24"""
    old = Side(plan="Old", unit_minor=price, period=MARCH, paid_minor=paid_minor,
               credited_minor=min(credited, paid_minor))  # fmt: skip
    rest = unused(old, MARCH[0] + timedelta(seconds=second), policy=policy)
    assert 0 <= rest.amount_minor <= old.paid_minor - old.credited_minor


@given(st.integers(-(10**12), 10**12), st.fractions(0, 1))
def test_a_portion_is_rounded_half_up_and_the_same_for_either_sign(amount, part):
    found = proration.portion(amount, part)
    assert found == -proration.portion(-amount, part)
    assert abs(amount * part - found) <= Fraction(1, 2)
    assert proration.portion(1, Fraction(1, 2)) == 1 and proration.portion(-1, Fraction(1, 2)) == -1


class Membership(RuleBasedStateMachine):
    """A member who changes plans, uses credits and waits, as he likes, to get more than he pays.

    Each charge is a lot: what it asked for, the credits that it is for, and what became of them.
    """

    plans = [(0, 0), (1, 1000), (500, 100), (999, 100), (1000, 7), (4900, 1000), (100_000, 3)]

    @initialize(plan=st.sampled_from(plans), months=st.sampled_from([1, 12]))
    def begin(self, plan, months):
        self.start, self.months, self.cycle = utc(2026, 1, 31, 12), months, 0
        self.lots: list[dict] = []
        self.renew_with(plan)

    def renew_with(self, plan):
        price, credits = plan
        self.period = periods.period(self.start, "month", self.months, self.cycle)
        self.now = self.period[0]
        self.allot(0)
        self.lots.append({"paid": price, "total": credits * self.months, "given": credits,
                          "used": 0, "back": 0, "credited": 0})  # fmt: skip
        self.side = Side(plan="P", unit_minor=price, period=self.period, credits_given=credits)

    def allot(self, month: int):
        self.month = month
        self.windows = [
            periods.period(self.start, "month", 1, self.cycle * self.months + k)
            for k in range(self.months)
        ]

    @rule(part=st.integers(1, 60))
    def wait(self, part):
        """Time passes; the months that begin give their credits."""
        before = self.now
        self.now = min(before + (self.period[1] - self.period[0]) * part // 100,
                       self.period[1] - timedelta(seconds=1))  # fmt: skip
        for month, (begins, _) in enumerate(self.windows):
            if before < begins <= self.now:
                self.month = month
                self.lots[-1]["given"] += self.side.credits_given

    @rule(many=st.integers(1, 2000))
    def use(self, many):
        """The oldest first, as credits are spent."""
        for lot in self.lots:
            taken = min(many, lot["given"] - lot["used"] - lot["back"])
            lot["used"] += taken
            many -= taken

    def leave(self, new, policy, **restart):
        """The change, and what becomes of the charge that is left."""
        lot = self.lots[-1]
        old = replace(self.side, paid_minor=lot["paid"], credits_given=lot["given"],
                      credits_left=lot["given"] - lot["used"], credits_total=lot["total"],
                      since=getattr(self, "since", None))  # fmt: skip
        found = change(old, new, self.now, policy=policy, **restart)
        assert 0 <= found.credits_back <= old.credits_left
        lot["credited"] += charged(found) - found.net_minor
        lot["back"] += found.credits_back
        return found

    @rule(plan=st.sampled_from(plans), policy=POLICIES)
    def move(self, plan, policy):
        price, credits = plan
        new = Side(plan="P", unit_minor=price, period=self.period, credits_given=credits,
                   allotment=self.windows[self.month])  # fmt: skip
        found = self.leave(new, policy)
        later = credits * (self.months - 1 - self.month)
        self.lots.append({"paid": charged(found), "total": found.credits_given + later,
                          "given": found.credits_given, "used": 0, "back": 0,
                          "credited": 0})  # fmt: skip
        self.side, self.since = replace(new, allotment=None), self.now
        # At the plan's own price the credits are worth what is charged, within a unit.
        if credits and policy != "full" and self.months == 1:
            assert price * found.credits_given <= credits * (charged(found) + 1)

    @rule(plan=st.sampled_from(plans))
    def wait_for_the_next_period(self, plan):
        """Policy none: nothing moves, neither money nor credits."""
        before = [dict(lot) for lot in self.lots]
        price, credits = plan
        new = Side(plan="P", unit_minor=price, period=self.period, credits_given=credits)
        assert self.leave(new, "none") == Result((), 0, 0, 0)
        assert self.lots == before

    @precondition(lambda self: len(self.lots) < 12)
    @rule(plan=st.sampled_from(plans), policy=st.sampled_from(proration.POLICIES),
          months=st.sampled_from([1, 3, 12]))  # fmt: skip
    def change_the_interval(self, plan, policy, months):
        """The cycle begins anew, with a whole charge and all of a month's credits."""
        price, credits = plan
        fresh = periods.period(self.now, "month", months, 0)
        new = Side(plan="P", unit_minor=price, period=fresh, credits_given=credits)
        found = self.leave(new, policy, restart=True, fresh_period=fresh)
        assert (charged(found), found.credits_given) == (price, credits)
        self.start, self.months, self.cycle, self.since = self.now, months, 0, None
        self.renew_with(plan)

    @precondition(lambda self: self.cycle < 4)
    @rule(plan=st.sampled_from(plans))
    def renew(self, plan):
        self.cycle += 1
        self.since = None
        self.renew_with(plan)

    @invariant()
    def no_charge_gives_more_credits_than_are_paid_for(self):
        """S4.25: kept and used credits, at the price paid for them, within the net paid."""
        for lot in getattr(self, "lots", []):
            kept_and_used = lot["given"] - lot["back"]
            assert 0 <= lot["used"] <= kept_and_used
            assert 0 <= lot["credited"] <= lot["paid"]
            assert kept_and_used * lot["paid"] <= lot["total"] * (lot["paid"] - lot["credited"])


Membership.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)
TestMembership = Membership.TestCase
