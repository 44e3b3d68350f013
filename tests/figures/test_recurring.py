"""Recurring revenue, churn and trials: what reports say is what the rows say, at any instant."""

from __future__ import annotations

import os
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
import recount
from billing import DECLINES, Billing
from provider_run import There
from recurring_lives import Again, Lives

from paydesk import crash
from paydesk.flows import (
    doctor,
    figure_reports,
    promos,
    subscription_pauses,
)
from paydesk.flows import subscription_changes as changes
from paydesk.rules.money import EUR, USD

_PROVE = os.environ.get("PAYDESK_PROVE") == "1"
ZONES = ("America/Port-au-Prince", "UTC", "Asia/Kathmandu")
STEP = timedelta(microseconds=1)


@pytest.fixture
def billing(env, sim, make, clock):
    """Plans, customers with cards, subscriptions, and time that is moved."""
    clock.set(datetime(2026, 1, 29, 15, tzinfo=UTC))
    yield Billing(env, sim, make, clock)
    crash.disarm()


def report(billing, kind, **told):
    return figure_reports.report(billing.env, kind, **told)


def only(billing, kind, **told):
    """The one row of a report."""
    [row] = report(billing, kind, **told).rows
    return row


def now(billing):
    """Up to this instant, with all that happened at it."""
    return {"start": "2026-01-01", "end": (billing.env.now() + STEP).isoformat(), "by": "currency"}


# Random lives -----------------------------------------------------------------------------------


# S4.39! S1.57!
@pytest.mark.prove
@pytest.mark.slow
@pytest.mark.timeout(600 if _PROVE else 180)
def test_recurring_revenue_equals_a_recount_of_random_lives(billing, seed):  # S4.39 S1.57 I13
    lives = Lives(billing, random.Random(seed))
    lives.run(240 if _PROVE else 60)
    again = Again(billing)
    assert again.moves, "nobody ever paid"
    end = (billing.env.now() + STEP).isoformat()
    kept = billing.all("select changed_at, customer_id, currency, movement,"
                       " monthly_minor - was_minor as minor from subscription_history"
                       " where movement is not null")  # fmt: skip
    assert sorted((r["changed_at"], str(r["customer_id"]), r["currency"], r["movement"],
                   r["minor"]) for r in kept) == again.moves  # fmt: skip
    for zone in ZONES:
        for by in ("day", "week", "month", "year"):
            for start in ("2026-01-01", "2026-02-17T13:30:00Z"):
                told = {"by": by, "time_zone": zone, "start": start, "end": end}
                said(again, report(billing, "mrr", **told), report(billing, "churn", **told), by)


def said(again, mrr, churn, by):
    """Both reports, row by row, against the changes that were counted again."""
    zone, over = mrr.over.time_zone, mrr.over
    rows = {(row[by], row["currency"]): row for row in mrr.rows}
    lost = {(row[by], row["currency"]): row for row in churn.rows}
    assert set(rows) == set(lost)
    found: dict[tuple, Counter] = {}
    for at, _, currency, name, minor in again.moves:
        if over.start <= at < over.end:
            one = found.setdefault((recount.label(at, zone, by), currency), Counter())
            one[name] += abs(minor)
            one[f"n_{name}"] += 1
    assert set(found) <= set(rows)
    closing = {currency: again.total(currency, over.start) for currency in ("usd", "htg")}
    customers = {code: again.customers(code, over.start) for code in closing}
    for (bucket, currency), row in rows.items():
        one, other = found.get((bucket, currency), Counter()), lost[bucket, currency]
        for name in ("new", "expansion", "contraction", "churned", "reactivation"):
            assert row[f"mrr_{name}"] == one[name], (bucket, name)
        assert row["mrr_opening"] == closing[currency] == other["mrr_opening"]
        net = (row["mrr_new"] + row["mrr_expansion"] + row["mrr_reactivation"]
               - row["mrr_contraction"] - row["mrr_churned"])  # fmt: skip
        assert row["mrr_net"] == net and row["mrr_closing"] == row["mrr_opening"] + net
        assert row["arr"] == 12 * row["mrr_closing"]
        closing[currency] = row["mrr_closing"]
        assert other["customers_opening"] == customers[currency]
        assert (other["customers_new"], other["customers_back"], other["customers_churned"]) == (
            one["n_new"], one["n_reactivation"], one["n_churned"])  # fmt: skip
        customers[currency] += (
            other["customers_new"] + other["customers_back"] - other["customers_churned"]
        )
        assert other["customers_closing"] == customers[currency]
        assert other["customer_churn"] == recount.rate(
            one["n_churned"], other["customers_opening"])  # fmt: skip
        assert other["revenue_churn"] == recount.rate(
            one["churned"] + one["contraction"], other["mrr_opening"])  # fmt: skip
    for total in mrr.totals:
        code = total["currency"]
        assert total["mrr_closing"] == closing[code] == again.total(code, over.end)
        assert total["mrr_opening"] == again.total(code, over.start)
        assert customers[code] == again.customers(code, over.end)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_every_past_instant_stands_as_it_was_seen_then(billing, seed):  # S4.39
    lives = Lives(billing, random.Random(seed))
    lives.run(30)
    for at, rows in lives.seen:
        found = report(billing, "subscriptions", by="plan,status", start="2026-01-01",
                       end=(at + STEP).isoformat())  # fmt: skip
        seats: Counter = Counter()
        for one in rows:
            seats[one["plan"], one["state"], one["currency"]] += one["quantity"]
        assert {tuple(row[n] for n in found.by): row["seats"] for row in found.rows} == seats
        assert sum(row["subscriptions"] for row in found.rows) == len(rows)
    _, rows = lives.seen[-1]
    closing = {row["currency"]: row["mrr_closing"] for row in report(billing, "mrr").totals}
    stand = report(billing, "subscriptions")
    assert {row["currency"]: row["mrr"] for row in stand.totals if row["mrr"]} == {
        code: minor for code, minor in closing.items() if minor
    }
    assert stand.total["subscriptions"] == len(rows) and "mrr" not in stand.total


@pytest.mark.timeout(180)
def test_trials_are_counted_by_when_they_began(billing, seed):  # S4.39 S4.40
    lives = Lives(billing, random.Random(seed))
    lives.users += [billing.user(DECLINES), billing.user(None), billing.user()]
    for who in lives.users:
        billing.subscribe(who, "tried")
        billing.clock.advance(hours=lives.random.randint(1, 300))
        billing.renew()
    lives.run(12)
    subs = billing.all("select id, state, trial_start, trial_end from subscriptions"
                       " where trial_start is not null")  # fmt: skip
    paid = {row["subscription_id"] for row in billing.all(
        "select subscription_id from invoices where state = 'paid'"
        " and (total_minor > 0 or cycle > 0)")}  # fmt: skip
    want: dict = {}
    for one in subs:
        if one["trial_end"] - one["trial_start"] <= timedelta(seconds=1):
            continue
        row = want.setdefault(recount.label(one["trial_start"], "UTC", "month"), Counter())
        row["trials_started"] += 1
        is_over = one["state"] in ("canceled", "expired", "unpaid")
        row["trials_converted"] += one["id"] in paid
        row["trials_lost"] += one["id"] not in paid and is_over
        row["trials_running"] += one["id"] not in paid and not is_over
    found = report(billing, "trials", time_zone="UTC")
    names = ("trials_started", "trials_converted", "trials_lost", "trials_running")
    assert {row["month"]: {n: row[n] for n in names} for row in found.rows} == {
        month: {n: row[n] for n in names} for month, row in want.items()
    }
    assert found.total["trials_started"] == sum(row["trials_started"] for row in want.values()) > 6
    for row in found.rows:
        won, lost = row["trials_converted"], row["trials_lost"]
        assert row["trial_conversion"] == recount.rate(won, won + lost)


# One thing at a time ----------------------------------------------------------------------------


def test_a_subscription_counts_from_its_first_payment_until_it_ends(billing):
    billing.plan("yearly", price=USD("199.99"), interval="year")
    who = billing.user()
    sub = billing.subscribe(who, "yearly")
    row = only(billing, "mrr", **now(billing))
    assert (row["mrr_opening"], row["mrr_new"], row["mrr_closing"], row["arr"]) == (
        0, 1667, 1667, 20004)  # fmt: skip
    billing.clock.advance(days=40)
    changes.cancel(billing.env, who.uuid, sub.id)
    assert only(billing, "mrr", **now(billing))["mrr_closing"] == 1667, "it runs to its end"
    changes.reactivate(billing.env, who.uuid, sub.id)
    changes.cancel(billing.env, who.uuid, sub.id, at="now")
    rows = report(billing, "mrr", by="month").rows
    told = [(one["mrr_opening"], one["mrr_churned"], one["mrr_closing"]) for one in rows]
    assert [one["month"].month for one in rows] == [1, 2, 3]
    assert told == [(0, 0, 1667), (1667, 0, 1667), (1667, 1667, 0)]
    [_, _, last] = report(billing, "churn", by="month").rows
    assert (last["customer_churn"], last["revenue_churn"]) == (Decimal("1.0000"),) * 2


def test_plans_seats_and_a_second_family_expand_and_contract(billing):
    billing.plan("pro", most_quantity=9)
    billing.plan("team", price=USD("50.00"))
    billing.plan("side", price=USD("9.00"), family="side", grants=["side"])
    who = billing.user()
    sub = billing.subscribe(who, "pro")
    billing.clock.advance(hours=1)
    side = billing.subscribe(who, "side")
    billing.clock.advance(hours=1)
    changes.change(billing.env, who.uuid, sub.id, quantity=3)
    row = only(billing, "mrr", **now(billing))
    assert (row["mrr_new"], row["mrr_expansion"], row["mrr_closing"]) == (2000, 4900, 6900)
    changes.change(billing.env, who.uuid, sub.id, plan="team", quantity=1, at="period_end")
    assert only(billing, "mrr", **now(billing))["mrr_closing"] == 6900, "it waits"
    changes.cancel(billing.env, who.uuid, side.id, at="now")
    billing.until(billing.look(sub).period_end)
    row = only(billing, "mrr", **now(billing))
    assert (row["mrr_contraction"], row["mrr_churned"], row["mrr_closing"]) == (1900, 0, 5000)
    row = only(billing, "churn", **now(billing))
    assert (row["customers_new"], row["customers_churned"], row["customers_closing"]) == (1, 0, 1)


def test_a_trial_is_no_revenue_until_its_first_charge_is_paid(billing):
    billing.plan("pro", trial_days=5)
    good, bad = billing.user(), billing.user(DECLINES)
    first, second = billing.subscribe(good, "pro"), billing.subscribe(bad, "pro")
    assert report(billing, "mrr").rows == []
    billing.until(first.period_end)
    assert (billing.look(first).state, billing.look(second).state) == ("active", "past_due")
    assert only(billing, "mrr", **now(billing))["mrr_closing"] == 2000
    row = report(billing, "trials").total
    assert (row["trials_started"], row["trials_converted"], row["trials_running"]) == (2, 1, 1)
    billing.until(billing.env.now() + timedelta(days=8))
    assert billing.look(second).state == "canceled"
    row = report(billing, "trials").total
    assert (row["trials_lost"], row["trial_conversion"]) == (1, Decimal("0.5000"))
    assert only(billing, "churn", **now(billing))["customers_churned"] == 0


def test_what_is_tried_again_counts_and_what_is_given_up_does_not(billing):  # I26
    billing.plan("pro", dunning={"days": [1, 3], "final": "unpaid"})
    who = billing.user()
    sub = billing.subscribe(who, "pro")
    billing.card(who, DECLINES)
    billing.until(sub.period_end)
    assert billing.look(sub).state == "past_due"
    assert only(billing, "mrr", **now(billing))["mrr_closing"] == 2000
    billing.until(billing.env.now() + timedelta(days=4))
    assert billing.look(sub).state == "unpaid"
    row = only(billing, "mrr", **now(billing))
    assert (row["mrr_churned"], row["mrr_closing"]) == (2000, 0)
    billing.card(who)
    billing.renew(minutes=1)
    assert billing.look(sub).state == "active"
    row = only(billing, "churn", **now(billing))
    assert (row["customers_new"], row["customers_churned"], row["customers_back"]) == (1, 1, 1)


def test_a_pause_is_churn_and_its_end_a_return(billing):
    billing.plan("pro")
    who = billing.user()
    sub = billing.subscribe(who, "pro")
    billing.clock.advance(days=2)
    subscription_pauses.pause(billing.env, who.uuid, sub.id)
    assert only(billing, "mrr", **now(billing))["mrr_closing"] == 0
    billing.clock.advance(days=2)
    subscription_pauses.resume(billing.env, who.uuid, sub.id)
    row = only(billing, "mrr", **now(billing))
    assert (row["mrr_churned"], row["mrr_reactivation"], row["mrr_closing"]) == (2000, 2000, 2000)


def test_codes_count_while_they_last(billing):
    billing.plan("pro")
    for code, more in {"ONCE": {"percent_off": 50},
                       "TWO": {"percent_off": 50, "duration": "repeating", "duration_periods": 2},
                       "EVER": {"percent_off": 10, "duration": "forever"}}.items():  # fmt: skip
        promos.upsert_promo(billing.env, code, **more)
    for code in ("ONCE", "TWO", "EVER"):
        billing.subscribe(billing.user(), "pro", promo=code)
    start = billing.env.now()
    assert only(billing, "mrr", **now(billing))["mrr_closing"] == 2000 + 1000 + 1800
    billing.until(start + timedelta(days=45))
    assert only(billing, "mrr", **now(billing))["mrr_expansion"] == 0
    billing.until(start + timedelta(days=75))
    row = only(billing, "mrr", **now(billing))
    assert (row["mrr_expansion"], row["mrr_closing"]) == (1000, 2000 + 2000 + 1800)


def test_currencies_are_never_added(billing):
    billing.plan("pro", price=None, prices=[USD("20.00"), EUR("18.00")])
    who = billing.user()
    billing.plan("side", price=EUR("5.00"), family="side", grants=["side"])
    billing.subscribe(who, "pro")
    billing.subscribe(who, "side")
    billing.subscribe(billing.user(), "pro", currency="eur")
    found = report(billing, "mrr", last="1mo")
    assert [(row["currency"], row["mrr_closing"]) for row in found.rows] == [
        ("eur", 2300), ("usd", 2000)]  # fmt: skip
    assert not {"mrr_closing", "arr"} & set(found.total)
    churn = report(billing, "churn", last="1mo").total
    assert churn["customers_closing"] == 3 and churn["revenue_churn"] is None
    [row] = report(billing, "mrr", last="1mo", where={"currency": "eur"}).rows
    assert row["mrr_new"] == 2300


def test_what_stripe_bills_counts_as_what_the_desk_bills(env, sim, make, clock):  # S4.25
    billing = Billing(env, sim, make, clock)
    there = There(billing)
    there.plan("pro", most_quantity=5)
    there.plan("tried", price=USD("12.00"), family="tried", trial_days=3)
    who, fails = there.user(), there.user()
    sub = there.begin(who, quantity=2)
    there.begin(fails, "tried")
    assert only(billing, "mrr", **now(billing))["mrr_closing"] == 4000
    billing.reissue(methods_of(there, fails), "chargeCustomerFail")
    there.go_on(days=33)
    there.deliver()
    assert (there.look(sub).state, there.look(sub).period) == ("active", 1)
    changes.cancel(env, who.uuid, sub.id, at="now")
    there.deliver()
    row = only(billing, "mrr", **now(billing))
    assert row["mrr_closing"] == row["mrr_new"] - row["mrr_churned"]
    churn = only(billing, "churn", **now(billing))
    stand = {row["plan"]: row for row in report(billing, "subscriptions").rows}
    assert stand["pro"]["status"] == "canceled" and stand["pro"]["mrr"] == 0
    assert churn["customers_closing"] == (stand["tried"]["mrr"] > 0)
    assert row["mrr_closing"] == stand["tried"]["mrr"]
    assert report(billing, "trials").total["trials_started"] == 1


def methods_of(there, who):
    """What the simulator knows as the card of this customer."""
    [method] = [one for one in there.sim.objects("payment_method")
                if one.get("customer") == there.ref(who)]  # fmt: skip
    return SimpleNamespace(ref=method["id"])


# What is kept -----------------------------------------------------------------------------------


def test_the_history_cannot_be_rewritten(billing, database):  # I4
    billing.plan("pro")
    billing.subscribe(billing.user(), "pro")
    for statement in ("update subscription_history set monthly_minor = 1",
                      "delete from subscription_history", "truncate subscription_history"):
        for dsn in (database.dsn, database.owner_dsn):
            with psycopg.connect(dsn) as conn, pytest.raises(psycopg.Error):
                conn.execute(statement)


@pytest.mark.parametrize(("check", "statement"), [
    ("subscriptions_stand_as_told", "update subscription_history set quantity = 7 where number ="
                                    " (select max(number) from subscription_history)"),
    ("recurring_revenue_adds_up", "update subscription_history set movement = 'expansion'"
                                  " where movement = 'new'"),
    ("recurring_revenue_adds_up", "delete from subscription_history where number = 1"),
    ("recurring_revenue_is_the_price", "update subscriptions set price_minor = 1"),
])  # fmt: skip
def test_the_doctor_counts_recurring_revenue_again(billing, database, check, statement):
    billing.plan("pro")
    billing.subscribe(billing.user(), "pro")
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute("set session_replication_role = replica")
        admin.execute("create table kept as select * from subscription_history")
        admin.execute(statement)
        wrong = {one.check for one in doctor.check(billing.env.db) if not one.ok}
        admin.execute("update subscriptions set price_minor = 2000")
        admin.execute("delete from subscription_history")
        admin.execute("insert into subscription_history select * from kept")
        admin.execute("drop table kept")
    assert check in wrong


def test_what_was_there_before_the_history_is_told_as_it_stands(billing, database, seed):  # I45
    lives = Lives(billing, random.Random(seed))
    lives.run(30)
    closing = {row["currency"]: row["mrr_closing"] for row in report(billing, "mrr").totals}
    stand = report(billing, "subscriptions").rows
    root = Path(__file__).resolve().parents[2]
    script = root / "src/paydesk/db/migrations/0017_subscription_history.sql"
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute("set session_replication_role = replica")
        admin.execute("delete from subscription_history")
        admin.execute("update subscriptions set monthly_minor = 0,"
                      " discount = discount - 'duration' - 'runs'")  # fmt: skip
        admin.execute("set session_replication_role = origin")
        for _ in range(2):  # A second run is a no-op.
            admin.execute(script.read_text(encoding="utf-8"))
    assert all(one.ok for one in doctor.check(billing.env.db))
    assert report(billing, "subscriptions").rows == stand
    again = {row["currency"]: row["mrr_closing"] for row in report(billing, "mrr").totals}
    assert {c: n for c, n in again.items() if n} == {c: n for c, n in closing.items() if n}
