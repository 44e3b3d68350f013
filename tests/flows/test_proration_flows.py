"""Proration at the desk: published examples, random cycles and random lives of subscriptions.

The rules have tests of their own. Here subscriptions are begun, charged and changed, and what is
previewed and billed is compared with what others published, or with a reckoning in this file that
knows nothing of Paydesk.
"""

from __future__ import annotations

import contextlib
import random
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from purchase import PROVE

from paydesk.errors import PaydeskError
from paydesk.flows import credit_notes, credits, promos
from paydesk.flows import subscription_changes as changes
from paydesk.rules.money import Money


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def stamp(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def priced(desk, key: str, minor: int, policy: str, currency: str = "usd", **more):
    """A plan of the family `app`, that is changed now and by this policy either way."""
    return desk.plan(key, price=Money(minor, currency, minor=True), upgrade=policy,
                     downgrade=policy, downgrade_when="now", **more)  # fmt: skip


def amounts(seen) -> list[int]:
    return [one.amount.minor for one in seen.lines]


# Published examples ----------------------------------------------------------------------------

JUNE, MARCH_24 = utc(2025, 6, 1), utc(2024, 3, 5, 12, 12)
M, Y = "month", "year"

#: Stripe and Polar count seconds, Lago and Kill Bill days: (start, moved, old, new, lines).
PUBLISHED = {
    # https://docs.stripe.com/billing/subscriptions/prorations
    "stripe half way": ("seconds", JUNE, utc(2025, 6, 16), (1000, M), (2000, M), [-500, 1000]),
    # https://docs.stripe.com/billing/subscriptions/prorations#preview-proration
    "stripe preview": ("seconds", stamp(1596749288), stamp(1598982148), (1000, M), (3252, M),
                       [-166, 541]),
    # https://github.com/polarsource/polar server/tests/subscription/test_service_prorations.py
    "polar half": ("seconds", JUNE, utc(2025, 6, 16), (10000, M), (30000, M), [-5000, 15000]),
    "polar third": ("seconds", JUNE, utc(2025, 6, 11), (10000, M), (30000, M), [-6667, 20000]),
    "polar leap february": ("seconds", utc(2024, 2, 18), utc(2024, 2, 25), (10000, M), (30000, M),
                            [-7586, 22759]),
    "polar year": ("seconds", utc(2024, 8, 1), utc(2024, 10, 1), (100000, Y), (300000, Y),
                   [-83288, 249863]),
    "polar leap year": ("seconds", utc(2024, 2, 18), utc(2024, 9, 5), (100000, Y), (300000, Y),
                        [-45355, 136066]),
    "polar to a year": ("seconds", JUNE, utc(2025, 6, 11), (10000, M), (100000, Y),
                        [-6667, 100000]),
    "polar to a month": ("seconds", JUNE, utc(2025, 8, 13), (100000, Y), (10000, M),
                         [-80000, 10000]),
    "polar from nothing": ("seconds", JUNE, utc(2025, 6, 16), (0, M), (10000, M), [5000]),
    # https://docs.getlago.com/guide/subscriptions/upgrades-downgrades: 45.16 were used
    "lago january": ("days", utc(2025, 1, 1), utc(2025, 1, 15, 18), (10000, M), (20000, M),
                     [-(10000 - 4516), 10968]),
    # https://doc.getlago.com/docs/guide/plans/upgrades-downgrades
    "lago may": ("days", utc(2022, 5, 1), utc(2022, 5, 11, 9), (2000, M), (4000, M),
                 [-1355, 2710]),
    # https://github.com/killbill/killbill beatrix/src/test/java/org/killbill/billing/beatrix/
    # integration/TestIntegrationWithDifferentBillingPeriods.java: REPAIR_ADJ items
    "kill bill may": ("days", utc(2012, 5, 1), utc(2012, 5, 12), (24995, M), (0, M), [-16126, 0]),
    "kill bill july": ("days", utc(2016, 7, 10), utc(2016, 8, 1), (24995, M), (0, M), [-7257, 0]),
    "kill bill small": ("days", utc(2012, 5, 1), utc(2012, 5, 12), (2995, M), (0, M), [-1932, 0]),
    "kill bill year": ("days", utc(2012, 5, 1), utc(2012, 5, 12), (239995, Y), (0, Y),
                       [-232762, 0]),
}  # fmt: skip


# S1.44 S1.59 I24
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_examples_are_previewed_to_the_unit(billing, clock, name):
    policy, start, moved, old, new, lines = PUBLISHED[name]
    priced(billing, "old", old[0], policy, interval=old[1])
    priced(billing, "new", new[0], policy, interval=new[1])
    clock.set(start)
    who = billing.user()
    sub = billing.subscribe(who, "old")
    clock.set(moved)
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="new", at="now")
    assert amounts(seen) == lines
    assert seen.due_now.minor - seen.credit.minor == sum(lines)


# S1.44 S1.59 I24 https://docs.getlago.com/guide/subscriptions/assign-plan, and
# https://github.com/getlago/lago-api spec/scenarios/subscriptions/multiple_upgrade_spec.rb
@pytest.mark.parametrize(
    ("kind", "first", "second", "third"),
    [("calendar", 871, [-645, 968], [-968, 1226]),
     ("anniversary", 1000, [-774, 1161], [-1161, 1471])],
)
def test_lago_two_upgrades_within_an_hour(billing, clock, kind, first, second, third):
    for key, minor in (("one", 1000), ("two", 1500), ("three", 1900)):
        priced(billing, key, minor, "days", billing=kind)
    clock.set(MARCH_24)
    who = billing.user()
    sub = billing.subscribe(who, "one")
    assert billing.invoices(sub) == [(0, "paid", first, first)]
    for moved, key, lines in ((utc(2024, 3, 12, 12, 12), "two", second),
                              (utc(2024, 3, 12, 13, 12), "three", third)):  # fmt: skip
        clock.set(moved)
        seen = changes.preview(billing.env, who.uuid, sub.id, plan=key)
        assert amounts(seen) == lines
        changes.change(billing.env, who.uuid, sub.id, plan=key, expect=seen)
    assert billing.books(who, "revenue") == first + sum(second) + sum(third)


# S1.44 https://docs.getlago.com/guide/subscriptions/assign-plan
def test_lago_begins_within_a_month_of_the_calendar(billing, clock):
    priced(billing, "premium", 5000, "days", billing="calendar")
    clock.set(utc(2022, 8, 10, 14))
    who = billing.user()
    assert billing.invoices(billing.subscribe(who, "premium"))[0][2] == 3548


# Against an independent calculation ------------------------------------------------------------

ZONES = ["UTC", "America/Port-au-Prince", "Europe/Paris", "Asia/Kolkata", "Pacific/Apia",
         "Australia/Lord_Howe", "America/St_Johns"]  # fmt: skip


def half_up(value: Decimal) -> int:
    return int(value.quantize(Decimal(1), ROUND_HALF_UP))


def months_after(at: datetime, months: int) -> datetime:
    """The wall clock that much later, on the month's last day where it is shorter."""
    year, month = divmod(at.year * 12 + at.month - 1 + months, 12)
    return at.replace(year=year, month=month + 1,
                      day=min(at.day, monthrange(year, month + 1)[1]))  # fmt: skip


def left_of(amount: int, start: datetime, end: datetime, at: datetime, policy: str,
            zone: str) -> int:  # fmt: skip
    """What is left of an amount, half up; multiplied before it is divided, so that halves are."""
    if policy == "full":
        return amount
    if policy == "days":
        first, now, last = (one.astimezone(ZoneInfo(zone)).date().toordinal()
                            for one in (start, at, end))  # fmt: skip
    else:
        first, now, last = (int(one.timestamp()) for one in (start, at, end))
    return half_up(Decimal(amount * (last - now)) / Decimal(last - first))


# I13 I22 I24 S1.59
@pytest.mark.prove
@pytest.mark.parametrize("part", range(20 if PROVE else 2))
def test_random_cycles_are_billed_as_an_independent_calculation_has_it(billing, seed, part):
    """In the long form a thousand: each in a zone of its own, with seats and maybe a discount, and
    three changes, the first two of which are made."""
    dice = random.Random(f"{seed}-{part}")
    promos.upsert_promo(billing.env, "FIFTH", percent_off=20, duration="forever")
    with localcontext() as context:
        context.prec = 50
        for number in range(50 if PROVE else 3):
            cycle(billing, dice, number)


def cycle(billing, dice: random.Random, number: int) -> None:
    zone, policy = dice.choice(ZONES), dice.choice(["seconds", "days", "full"])
    keys = [f"p{number}x{n}" for n in range(4)]
    prices = [dice.randrange(200, 60_000) for _ in keys]
    for key, minor in zip(keys, prices, strict=True):
        priced(billing, key, minor, policy, family=f"f{number}", most_quantity=9)
    promo = dice.choice([None, "FIFTH"])
    noon = datetime(2027, 1, 1, 12, 7, tzinfo=ZoneInfo(zone)) + timedelta(
        days=dice.randrange(900))  # fmt: skip
    billing.clock.set(noon.astimezone(UTC))
    who = billing.user()
    seats = dice.randint(1, 9)
    sub = billing.subscribe(who, keys[0], quantity=seats, zone=zone, promo=promo)
    start, end = noon.astimezone(UTC), months_after(noon, 1).astimezone(UTC)
    full = prices[0] * seats
    paid = full - (half_up(Decimal(full) * 20 / 100) if promo else 0)
    assert billing.invoices(sub) == [(0, "paid", paid, paid)]
    since, total = start, paid
    whole = int((end - start).total_seconds())
    for key, minor, at in zip(keys[1:], prices[1:], sorted(
        start + timedelta(seconds=dice.randrange(1, whole - 1)) for _ in range(3)
    ), strict=True):  # fmt: skip
        billing.clock.set(at)
        seats = dice.randint(1, 9)
        seen = changes.preview(billing.env, who.uuid, sub.id, plan=key, quantity=seats)
        credit = left_of(paid, since, end, at, policy, zone)
        charge = left_of(minor * seats, start, end, at, policy, zone)
        off = half_up(Decimal(charge) * 20 / 100) if promo else 0
        # Nothing is left to be given back in the last seconds of a cent; the line says so.
        lines = [-credit, charge, -off] if off else [-credit, charge]
        assert amounts(seen) == lines, (zone, policy, promo, start, at)
        charge -= off
        if key != keys[-1]:
            if credit - charge > 0 or charge - credit >= 50:
                changes.change(billing.env, who.uuid, sub.id, plan=key, quantity=seats,
                               expect=seen)  # fmt: skip
            else:
                return
            paid, since, total = charge, at, total - credit + charge
    assert billing.books(who, "revenue") == total


# There and back --------------------------------------------------------------------------------


# I24 I13
@pytest.mark.parametrize("policy", ["seconds", "days", "full", "none"])
@pytest.mark.parametrize(("currency", "old", "new"), [
    ("usd", 1999, 4901), ("jpy", 1980, 4903), ("kwd", 6100, 15070),
])  # fmt: skip
@pytest.mark.parametrize("code", [None, "TENTH"])
def test_a_change_and_the_change_back_net_zero_within_a_unit_a_line(
    billing, seed, policy, currency, old, new, code
):
    priced(billing, "old", old, policy, currency)
    priced(billing, "new", new, policy, currency)
    promos.upsert_promo(billing.env, "TENTH", percent_off=10, duration="forever")
    who = billing.user()
    sub = billing.subscribe(who, "old", currency=currency, promo=code)
    dice = random.Random(seed)
    whole = int((sub.period_end - sub.period_start).total_seconds())
    # Early enough that the difference is large enough to be charged.
    billing.clock.advance(seconds=dice.randrange(1, whole // 2))
    lines, net = 0, 0
    for plan in ("new", "old"):
        seen = changes.preview(billing.env, who.uuid, sub.id, plan=plan)
        assert seen.total.minor == sum(amounts(seen))
        lines, net = lines + len(seen.lines), net + seen.total.minor
        changes.change(billing.env, who.uuid, sub.id, plan=plan, expect=seen)
    assert lines == (0 if policy == "none" else 6 if code else 4)
    # What a card could not be charged to the last digit was neither paid nor is it given back.
    off = sum(note.written_off.minor for note in credit_notes.list_(billing.env, who.uuid))
    assert off < 10
    assert abs(net - off) <= lines
    assert billing.look(sub).plan_key == "old"
    sums = billing.all(
        "select v.id from invoices v join invoice_items i on i.customer_id = v.customer_id"
        " and i.invoice_id = v.id where v.customer_id = %(c)s group by v.id, v.total_minor"
        " having sum(i.amount_minor) <> v.total_minor", c=who.uuid)  # fmt: skip
    assert sums == []


# Credits ---------------------------------------------------------------------------------------

#: A credit costs ten minor units, four, eleven, and six hundredths of one.
PLANS = {"basic": (1000, 100), "pro": (3000, 700), "team": (5000, 450), "bulk": (300, 5000)}


# I24 S4.25
@pytest.mark.prove
@pytest.mark.parametrize("number", range(60 if PROVE else 3))
def test_credits_received_are_never_worth_more_than_was_paid(billing, seed, number):
    """Whatever the sequence of upgrades, use and downgrades, and whatever a plan's credits cost.
    A refund takes credits back of each payment by itself: in whole ones."""
    dice = random.Random(f"{seed}-{number}")
    policy = dice.choice(["seconds", "days", "full"])
    for key, (minor, given) in PLANS.items():
        priced(billing, key, minor, policy, credits=given, most_quantity=4)
    who = billing.user()
    sub = billing.subscribe(who, dice.choice(sorted(PLANS)), quantity=dice.randint(1, 3))

    def spend() -> None:
        if left := billing.balance(who):
            credits.spend_now(billing.env, credits.new_spend(who.uuid, dice.randint(1, left)))

    def change() -> None:
        billing.clock.advance(minutes=1)  # So that each charge and its credits are told apart.
        changes.change(billing.env, who.uuid, sub.id, plan=dice.choice(sorted(PLANS)),
                       quantity=dice.randint(1, 4))  # fmt: skip

    def wait() -> None:
        billing.clock.advance(hours=dice.randint(1, 200))
        billing.renew()

    for _ in range(40 if PROVE else 15):
        with contextlib.suppress(PaydeskError):
            dice.choice([spend, change, change, wait])()
        assert_worth(billing, who)
    changes.cancel(billing.env, who.uuid, sub.id, at="now", refund="unused")
    assert_worth(billing, who, refunds=len(credit_notes.list_(billing.env, who.uuid)))


#: Of each charge: what it came to, what changes credited of it, its credits and those taken back.
LOTS = """
    with charges as (select i.id, i.amount_minor, v.finalized_at as since,
            lead(v.finalized_at, 1, 'infinity') over (order by v.finalized_at) as until
        from invoice_items i join invoices v on v.customer_id = i.customer_id
            and v.id = i.invoice_id and v.state = 'paid'
        where i.customer_id = %(c)s and i.kind in ('recurring', 'proration_charge'))
    select c.amount_minor as paid, b.granted as given,
        (select coalesce(-sum(k.amount_minor), 0) from invoice_items k join invoices w
            on w.customer_id = k.customer_id and w.id = k.invoice_id and w.state = 'paid'
            where k.customer_id = %(c)s and k.of_item = c.id)::bigint as credited,
        (select coalesce(sum(abs(d.amount)), 0) from draws d join transfers t
            on t.customer_id = d.customer_id and t.id = d.transfer_id
            where d.customer_id = %(c)s and d.batch_id = b.id
            and t.reason = 'CREDIT_CLAWBACK')::bigint as back
    from charges c join batches b on b.customer_id = %(c)s and b.granted_at >= c.since
        and b.granted_at < c.until
"""


def assert_worth(billing, who, refunds: int = 0) -> None:
    """`refunds`: how many payments may have been refunded."""
    lots = billing.all(LOTS, c=who.uuid)
    (count,) = billing.all("select count(*) as n, coalesce(sum(granted), 0)::bigint as given"
                           " from batches where customer_id = %(c)s", c=who.uuid)  # fmt: skip
    assert (len(lots), sum(one["given"] for one in lots)) == (count["n"], count["given"])
    worth = [Fraction((one["given"] - one["back"]) * one["paid"], one["given"]) for one in lots]
    if not refunds:
        for one, value in zip(lots, worth, strict=True):
            assert value <= one["paid"] - one["credited"], one
        return
    kept = sum(one["paid"] - one["credited"] for one in lots)
    given_back = sum(note.amount.minor - note.written_off.minor
                     for note in credit_notes.list_(billing.env, who.uuid))  # fmt: skip
    dearest = max((Fraction(one["paid"], one["given"]) for one in lots), default=Fraction(0))
    assert sum(worth) <= kept - given_back + refunds * (dearest + 1)


# I24 S4.25 S1.28
def test_credits_of_a_change_that_no_payment_paid_go_back_with_what_is_unused(billing):
    """The dearer plan's rest paid for them: the refund is of its payment, which bought others."""
    for key in ("team", "basic"):
        priced(billing, key, PLANS[key][0], "seconds", credits=PLANS[key][1])
    who = billing.user()
    sub = billing.subscribe(who, "team")
    billing.clock.advance(minutes=1)
    changes.change(billing.env, who.uuid, sub.id, plan="basic", at="now")
    assert billing.balance(who) == 99
    changes.cancel(billing.env, who.uuid, sub.id, at="now", refund="unused")
    assert billing.balance(who) == 0
    assert billing.books(who, "revenue") == 1, "one minute"
