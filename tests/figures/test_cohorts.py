"""Cohorts, and recurring revenue in US dollars: counted again from events and invoices."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import recount
from billing import DECLINES
from recurring_lives import Again, Lives
from test_recurring import _PROVE, STEP, ZONES, billing

from paydesk import ids
from paydesk.errors import InvalidRequest
from paydesk.flows import figure_reports, rates, refunds, subscription_pauses
from paydesk.flows import subscription_changes as changes
from paydesk.flows.refunds import WantRefund
from paydesk.rules import figures as rules
from paydesk.rules import rates as conversion
from paydesk.rules.money import EUR, USD, Money

__all__ = ["billing"]


def report(billing, kind="cohorts", **told):
    told = {"start": "2026-01-01", "end": (billing.env.now() + STEP).isoformat(), **told}
    return figure_reports.report(billing.env, kind, **told)


def kept(billing, **told):
    """{(cohort's month, age): (came, kept, came with, bring)} of one currency."""
    return {
        (row["month"].month, row["age"]): (row["cohort_customers"], row["customers_kept"],
                                           row["cohort_mrr"], row["mrr_kept"])
        for row in report(billing, **{"where": {"currency": "usd"}, **told}).rows
    }  # fmt: skip


# Random lives -----------------------------------------------------------------------------------


@pytest.mark.prove
@pytest.mark.slow
@pytest.mark.timeout(600 if _PROVE else 180)
def test_cohorts_equal_a_recount_of_random_lives(billing, seed):  # S4.39 S1.57 I13
    lives = Lives(billing, random.Random(seed))
    lives.run(240 if _PROVE else 60)
    again = Again(billing)
    assert again.moves, "nobody ever paid"
    for zone in ZONES:
        for by in ("week", "month", "year"):
            for start in ("2026-01-01", "2026-02-17T13:30:00Z"):
                found = report(billing, by=by, time_zone=zone, start=start)
                assert told(found, by) == counted(again.moves, found.over, by)
                if start == "2026-01-01":
                    adds_up(billing, found, by)


def told(found, by):
    return {
        (row[by], row["currency"], row["age"]): (
            row["cohort_customers"], row["customers_kept"], row["cohort_mrr"], row["mrr_kept"])
        for row in found.rows
    }  # fmt: skip


def counted(moves, over, by):
    """The same from each customer's changes, one by one."""
    lives = defaultdict(list)
    for at, customer, currency, name, minor in sorted(moves):
        lives[customer, currency].append((at, name, minor))
    last = rules.period_start(by, over.last_day)
    made = defaultdict(lambda: [0, 0, 0, 0])
    for (_, currency), changes_ in lives.items():
        first = changes_[0]
        assert first[1] == "new"
        if not over.start <= first[0] < over.end:
            continue
        cohort = recount.label(first[0], over.time_zone, by)
        day, age = cohort, 0
        while day <= last:
            after = rules.midnight(over.zone, rules.next_period(by, day))
            brings = sum(minor for at, _, minor in changes_ if at < min(after, over.end))
            row = made[cohort, currency, age]
            row[0] += 1
            row[1] += brings > 0
            row[2] += first[2]
            row[3] += brings
            day, age = rules.next_period(by, day), age + 1
    return {key: tuple(row) for key, row in made.items()}


def adds_up(billing, found, by):
    """Over all cohorts, what is left at a period's end is what the other reports close with."""
    over = {"by": by, "time_zone": found.over.time_zone}
    sums: dict = defaultdict(Counter)
    for row in found.rows:
        day = row[by]
        for _ in range(row["age"]):
            day = rules.next_period(by, day)
        sums[day, row["currency"]] += Counter(customers=row["customers_kept"], mrr=row["mrr_kept"])
    churn = {(row[by], row["currency"]): row["customers_closing"]
             for row in report(billing, "churn", **over).rows}  # fmt: skip
    mrr = report(billing, "mrr", **over)
    left = {key: row for key, row in sums.items() if row}
    assert {key: row["customers"] for key, row in left.items()} == {
        key: count for key, count in churn.items() if count}  # fmt: skip
    assert {key: row["mrr"] for key, row in left.items()} == {
        (row[by], row["currency"]): row["mrr_closing"] for row in mrr.rows if row["mrr_closing"]}
    new = Counter()
    for row in found.rows:
        if row["age"] == 0:
            new[row[by], row["currency"]] = row["cohort_mrr"]
    assert +new == +Counter({(row[by], row["currency"]): row["mrr_new"] for row in mrr.rows})
    assert {row["currency"]: row["mrr_kept"] for row in found.totals} == {
        row["currency"]: row["mrr_closing"] for row in mrr.totals}  # fmt: skip


# One thing at a time ----------------------------------------------------------------------------


def test_a_cohort_is_of_the_month_of_the_first_payment_in_the_businesss_zone(billing):
    billing.plan("pro")
    billing.clock.set(datetime(2026, 2, 1, 2, tzinfo=UTC))  # The evening before, in Haiti.
    billing.subscribe(billing.user(), "pro")
    billing.clock.set(datetime(2026, 2, 1, 6, tzinfo=UTC))
    billing.subscribe(billing.user(), "pro")
    there = {"time_zone": "America/Port-au-Prince"}
    assert kept(billing, **there) == {
        (1, 0): (1, 1, 2000, 2000), (1, 1): (1, 1, 2000, 2000), (2, 0): (1, 1, 2000, 2000)}
    assert kept(billing, time_zone="UTC") == {(2, 0): (2, 2, 4000, 4000)}


def test_whoever_comes_back_stays_in_the_first_cohort(billing):
    billing.plan("pro")
    who, gone = billing.user(), billing.user()
    sub, left = billing.subscribe(who, "pro"), billing.subscribe(gone, "pro")
    changes.cancel(billing.env, gone.uuid, left.id, at="now")
    billing.until(datetime(2026, 2, 20, tzinfo=UTC))
    subscription_pauses.pause(billing.env, who.uuid, sub.id)
    billing.until(datetime(2026, 3, 10, tzinfo=UTC))
    subscription_pauses.resume(billing.env, who.uuid, sub.id)
    billing.subscribe(gone, "pro", quantity=1)
    assert kept(billing) == {
        (1, 0): (2, 1, 4000, 2000), (1, 1): (2, 0, 4000, 0), (1, 2): (2, 2, 4000, 4000)}
    [total] = report(billing).totals
    assert (total["customer_retention"], total["net_revenue_retention"]) == (Decimal(1),) * 2


def test_plan_changes_are_retained_revenue_and_may_be_more_than_all(billing):
    billing.plan("pro")
    billing.plan("team", price=USD("50.00"))
    who, other = billing.user(), billing.user()
    sub, left = billing.subscribe(who, "pro"), billing.subscribe(other, "pro")
    billing.clock.set(datetime(2026, 2, 10, tzinfo=UTC))
    changes.change(billing.env, who.uuid, sub.id, plan="team", at="now")
    changes.cancel(billing.env, other.uuid, left.id, at="now")
    rows = report(billing).rows
    assert [(row["age"], row["customer_retention"], row["net_revenue_retention"])
            for row in rows] == [(0, Decimal("1.0000"), Decimal("1.0000")),
                                 (1, Decimal("0.5000"), Decimal("1.2500"))]  # fmt: skip


def test_a_trial_that_never_pays_is_in_no_cohort(billing):
    billing.plan("tried", trial_days=5)
    billing.subscribe(billing.user(DECLINES), "tried")
    good = billing.subscribe(billing.user(), "tried")
    assert kept(billing) == {}
    billing.until(datetime(2026, 2, 20, tzinfo=UTC))
    assert billing.look(good).state == "active"
    assert kept(billing) == {(2, 0): (1, 1, 2000, 2000)}, "from when it is paid for"


def test_a_refund_takes_nobody_out_of_a_cohort(billing):
    billing.plan("pro")
    who = billing.user()
    billing.subscribe(who, "pro")
    before = kept(billing)
    [paid] = billing.all("select customer_id, id from payments")
    refunds.request(billing.env, WantRefund(
        customer_id=paid["customer_id"], payment_id=paid["id"], force=True, by="rosa",
        request_key=ids.request_key("test", "back"), request_hash=bytes(32),
    ))  # fmt: skip
    assert kept(billing) == before == {(1, 0): (1, 1, 2000, 2000)}


def test_another_currency_is_another_cohort(billing):
    billing.plan("pro", price=None, prices=[USD("20.00"), EUR("18.00")])
    who = billing.user()
    sub = billing.subscribe(who, "pro")
    billing.clock.set(datetime(2026, 2, 10, tzinfo=UTC))
    changes.cancel(billing.env, who.uuid, sub.id, at="now")
    billing.subscribe(who, "pro", currency="eur")
    found = {(row["currency"], row["month"].month, row["age"]): row["customers_kept"]
             for row in report(billing).rows}  # fmt: skip
    assert found == {("usd", 1, 0): 1, ("usd", 1, 1): 0, ("eur", 2, 0): 1}


# In US dollars ----------------------------------------------------------------------------------


@pytest.fixture
def euros(billing):
    """One in euros and one in dollars since January, at 1.10 then and 1.20 from February on."""
    billing.plan("pro", price=None, prices=[USD("20.00"), EUR("18.00")])
    rates.enter(billing.env, "eur", "usd", "1.10", by="rosa")
    billing.subscribe(billing.user(), "pro", currency="eur")
    billing.subscribe(billing.user(), "pro")
    billing.clock.set(datetime(2026, 2, 10, tzinfo=UTC))
    rates.enter(billing.env, "eur", "usd", "1.20", by="rosa")
    billing.subscribe(billing.user(), "pro", currency="eur")
    return billing


def test_recurring_revenue_is_told_in_dollars_at_the_rates_of_its_time(euros):  # C24
    rows = {(row["currency"], row["month"].month): row
            for row in report(euros, "mrr", time_zone="UTC").rows}  # fmt: skip
    january, february = rows["eur", 1], rows["eur", 2]
    assert (january["mrr_new_usd"], january["mrr_closing_usd"]) == (1980, 1980)
    assert (february["mrr_opening_usd"], february["mrr_new_usd"], february["mrr_rates_usd"],
            february["mrr_closing_usd"], february["arr_usd"]) == (
        1980, 2160, 180, 4320, 51840)  # fmt: skip
    assert rows["usd", 2]["mrr_closing_usd"] == 2000
    found = report(euros, "mrr", together=True, time_zone="UTC")
    assert found.by == ("month",)
    assert [(row["mrr_opening_usd"], row["mrr_new_usd"], row["mrr_closing_usd"], row["mrr_closing"])
            for row in found.rows] == [(0, 3980, 3980, None), (3980, 2160, 6320, None)]  # fmt: skip
    assert found.total["mrr_closing_usd"] == 6320 and found.total["mrr_unrated"] == 0


def test_cohorts_are_told_in_dollars_together(euros):
    told = {"time_zone": "UTC", "together": True}
    rows = {(row["month"].month, row["age"]): row for row in report(euros, **told).rows}
    first = rows[1, 1]
    assert (first["cohort_customers"], first["customers_kept"]) == (2, 2)
    assert (first["cohort_mrr_usd"], first["mrr_kept_usd"]) == (3980, 4160)
    assert first["net_revenue_retention_usd"] == Decimal("1.0452") and first["cohort_mrr"] is None
    closing = report(euros, "mrr", **told).rows[-1]["mrr_closing_usd"]
    assert first["mrr_kept_usd"] + rows[2, 0]["mrr_kept_usd"] == closing


def test_a_rate_that_is_missing_is_told(billing):
    billing.plan("pro", price=EUR("18.00"))
    billing.subscribe(billing.user(), "pro")
    [row] = report(billing, "mrr").rows
    assert (row["mrr_closing"], row["mrr_closing_usd"], row["mrr_unrated"]) == (1800, None, 1)
    [row] = report(billing).rows
    assert (row["mrr_kept"], row["mrr_kept_usd"], row["mrr_unrated"]) == (1800, None, 1)
    [row] = report(billing, together=True).rows
    assert (row["mrr_kept_usd"], row["net_revenue_retention_usd"], row["mrr_unrated"]) == (
        0, None, 1)  # fmt: skip


def test_past_rates_are_chosen_as_those_of_the_present(billing, seed):  # C24
    chance = random.Random(seed)
    codes = ["usd", "eur", "htg", "gbp", "mxn"]
    asked = []
    for _ in range(25):
        billing.clock.advance(minutes=1)
        base, quote = chance.sample(codes, 2)
        rates.enter(billing.env, base, quote, str(chance.randint(2, 999)), by="rosa")
        billing.clock.advance(hours=chance.randint(1, 60))
        now = billing.env.now()
        with billing.env.db.read() as tx:
            for code in codes[1:]:
                asked.append((code, now, rates.worth(tx, Money(10**4, code), "usd", now)))
    with billing.env.db.read() as tx:
        found = rates.known_at(tx, codes, "usd", {at for _, at, _ in asked})
    assert found, "no rate served anybody"
    for code, at, worth in asked:
        rate = found.get((code, at))
        told = rate and conversion.worth(Money(10**4, code).minor, code, "usd", rate)
        assert worth == told, (code, at)


@pytest.mark.parametrize("wrong", [
    {"kind": "revenue", "together": True}, {"kind": "cohorts", "by": "day"},
    {"kind": "cohorts", "by": "month,currency", "together": True},
    {"kind": "cohorts", "by": "month,week"}, {"kind": "cohorts", "where": {"plan": "pro"}},
])  # fmt: skip
def test_a_wrong_question_about_cohorts_is_refused(billing, wrong):
    with pytest.raises(InvalidRequest):
        report(billing, **wrong)
