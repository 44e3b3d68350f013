"""Corners of what is owed: invoices that are paid in another order, or late, or in a pause."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace
from uuid import uuid4

import pytest
from billing import DECLINES, Billing
from psycopg.errors import DeadlockDetected

from paydesk import crash
from paydesk.crash import CrashNow
from paydesk.db.errors import DatabaseUnavailable
from paydesk.errors import Busy
from paydesk.flows import (
    call_batches,
    due_batches,
    invoices,
    renewals,
    subscription_pauses,
    sweeps,
)
from paydesk.rules.money import USD, Money


def owing_two(billing: Billing, **plan):
    """A weekly subscription that stands unpaid with two open invoices, for ten weeks."""
    billing.plan(interval="week", dunning={"days": [1, 3, 5, 7], "final": "unpaid"}, **plan)
    who = billing.user()
    sub = billing.subscribe(who)
    billing.card(who, DECLINES)
    billing.until(sub.period_end + timedelta(days=20))
    owed = billing.all(
        "select id from invoices where customer_id = %(c)s and state = 'open' order by created_at",
        c=who.uuid)  # fmt: skip
    assert (billing.look(sub).state, len(owed)) == ("unpaid", 2)
    billing.until(sub.period_end + timedelta(days=70))
    billing.reissue(billing.card(who, DECLINES), "visa")
    return who, sub, [row["id"] for row in owed]


# S1.58 I22 I23 I26
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["older first", "newer first"])
@pytest.mark.parametrize("rollover", ["none", "all"])
def test_two_owed_periods_are_paid_in_any_order_and_the_missed_ones_are_not_billed(
    billing, order, rollover
):
    who, sub, owed = owing_two(billing, credits=100, credits_rollover=rollover)
    for number in order:
        invoices.pay(billing.env, who.uuid, owed[number])
    after = billing.look(sub)
    assert (after.state, after.period_start) == ("active", billing.env.now())
    assert billing.can(who, "tier:pro")
    assert billing.balance(who) == (100 if rollover == "none" else 300)
    billing.renew()
    assert [one[1] for one in billing.invoices(sub)] == ["paid"] * 3
    billing.until(after.period_end + timedelta(hours=1))
    assert [one[1] for one in billing.invoices(sub)] == ["paid"] * 4


# S1.58 I22
def test_where_the_newest_was_voided_time_begins_anew_and_missed_periods_are_not_billed(billing):
    who, sub, owed = owing_two(billing)
    invoices.void(billing.env, who.uuid, owed[1])
    invoices.pay(billing.env, who.uuid, owed[0])
    billing.renew()
    after = billing.look(sub)
    assert (after.state, after.period_start) == ("active", billing.env.now())
    assert [one[1] for one in billing.invoices(sub)] == ["paid", "paid", "void", "paid"]
    assert billing.can(who, "tier:pro")


def test_rows_of_one_customer_stay_in_their_order_whatever_the_batches_are(monkeypatch):
    monkeypatch.setattr(due_batches, "SIZE", 3)
    rows = [{"customer_id": one, "id": (one, turn)} for turn in range(4) for one in range(8)]
    for _ in range(20):
        parts = due_batches._batches(rows)
        for keys in parts:
            assert len({customer for customer, _ in keys}) == len(keys) <= 3
        flat = [key for keys in parts for key in keys]
        assert sorted(key[1] for key in flat) == sorted(row["id"] for row in rows)
        for one in range(8):
            assert [key[1] for key in flat if key[0] == one] == [(one, t) for t in range(4)]


def paused_in_flight(billing: Billing, fails: bool, **plan):
    """A subscription that was paused while its renewal was being charged; the answer comes in
    the pause."""
    billing.plan(**plan)
    who = billing.user()
    sub = billing.subscribe(who)
    if fails:
        billing.card(who, DECLINES)
    crash.arm("renewal_after_commit" if fails else "after_provider_call")
    billing.clock.set(sub.period_end + timedelta(minutes=1))
    with pytest.raises(CrashNow):
        renewals.run_due(billing.env)
    assert billing.invoices(sub)[-1][:2] == (1, "open")
    subscription_pauses.pause(billing.env, who.uuid, sub.id)
    assert not billing.can(who, "tier:pro")
    return who, sub


# S1.28 S1.58 I26
def test_a_charge_that_fails_in_a_pause_is_tried_again_as_any_other(billing):
    who, sub = paused_in_flight(billing, True)
    billing.recover(rounds=1)
    assert billing.look(sub).state == "paused"
    assert "past_due" not in billing.events(sub)
    subscription_pauses.resume(billing.env, who.uuid, sub.id)
    assert billing.look(sub).state == "past_due", "the period is not paid for"
    assert subscription_pauses.resume(billing.env, who.uuid, sub.id).state == "past_due"
    billing.until(sub.period_end + timedelta(days=8))
    assert billing.look(sub).state == "canceled"
    assert billing.payments(sub) == ["succeeded"] + ["failed"] * 5
    assert not billing.can(who, "tier:pro")


# S1.58 I26
@pytest.mark.parametrize("final", ["cancel", "unpaid", "downgrade"])
def test_dunning_that_ends_in_a_pause_does_what_a_pause_allows(billing, final):
    billing.plan("free", price=USD("0"))
    told = {"days": [1], "final": final}
    who, sub = paused_in_flight(
        billing, True,
        dunning=told | ({"downgrade_to": "free"} if final == "downgrade" else {}),
    )  # fmt: skip
    billing.recover(rounds=1)
    billing.until(sub.period_end + timedelta(days=3))
    assert billing.payments(sub) == ["succeeded", "failed", "failed"]
    if final != "unpaid":
        assert billing.look(sub).state == "canceled"
        return
    assert billing.look(sub).state == "paused"
    subscription_pauses.resume(billing.env, who.uuid, sub.id)
    billing.renew()
    assert billing.look(sub).state == "unpaid"
    assert not billing.can(who, "tier:pro")
    billing.card(who)
    billing.renew()
    assert billing.look(sub).state == "active"
    assert billing.can(who, "tier:pro")


# S1.28 S4.25
@pytest.mark.parametrize("late", [timedelta(0), timedelta(days=40)])
def test_a_payment_that_comes_in_a_pause_opens_nothing_and_its_credits_stand(billing, late):
    who, sub = paused_in_flight(billing, False, credits=100)
    billing.clock.advance(seconds=late.total_seconds())
    billing.recover(rounds=1)
    assert billing.invoices(sub)[-1][:2] == (1, "paid")
    assert (billing.look(sub).state, billing.can(who, "tier:pro")) == ("paused", False)
    assert billing.balance(who) == 100
    billing.until(billing.env.now() + timedelta(days=60), timedelta(days=20))
    assert billing.balance(who) == 100
    resumed = subscription_pauses.resume(billing.env, who.uuid, sub.id)
    assert billing.can(who, "tier:pro")
    billing.until(resumed.period_end - timedelta(minutes=1))
    assert billing.balance(who) == 100, "for as long as was left"
    billing.until(resumed.period_end + timedelta(minutes=2))
    assert billing.balance(who) == 100, "the next month's alone"


# S4.25 I26
def test_late_money_for_an_earlier_period_gives_what_was_sold_then(billing):
    billing.plan("free", price=USD("0"))
    billing.plan(credits=100, credits_rollover="all", most_quantity=9,
                 dunning={"days": [1], "final": "downgrade", "downgrade_to": "free"})  # fmt: skip
    who = billing.user()
    sub = billing.subscribe(who, quantity=2)
    billing.card(who, DECLINES)
    billing.until(sub.period_end + timedelta(days=3))
    after = billing.look(sub)
    assert (after.plan_key, billing.balance(who)) == ("free", 200)
    late = billing.all("select id from invoices where customer_id = %(c)s"
                       " and state = 'uncollectible'", c=who.uuid)  # fmt: skip
    billing.reissue(billing.card(who, DECLINES), "visa")
    invoices.pay(billing.env, who.uuid, late[0]["id"])
    assert billing.balance(who) == 400
    assert billing.look(sub).plan_key == "free"


# S1.58 I26
def test_a_sum_that_cannot_be_charged_is_tried_as_the_plan_has_it_and_given_up(billing):
    billing.plan(price=Money("9.990", "kwd"), trial_days=7)
    who = billing.user()
    sub = billing.subscribe(who, currency="kwd")
    with billing.env.db.transaction(who.uuid) as tx:
        # Of a price that was taken before prices were held to what cards charge.
        tx.run("update subscriptions set price_minor = 9995 where customer_id = %(c)s",
               {"c": who.uuid})  # fmt: skip
    billing.until(sub.period_end + timedelta(days=8))
    assert billing.look(sub).state == "canceled"
    assert billing.events(sub).count("past_due") == 4
    row = billing.all("select state, attempts from invoices where customer_id = %(c)s"
                      " order by created_at desc limit 1", c=who.uuid)[0]  # fmt: skip
    assert row == {"state": "uncollectible", "attempts": 5}


@pytest.mark.parametrize(
    ("wrong", "level"),
    [(RuntimeError("ours"), "error"), (Busy("held"), "info"), (DeadlockDetected("two"), "info")],
)
def test_a_fault_that_only_a_batch_has_is_told_as_a_fault(billing, monkeypatch, wrong, level):
    def fails(*_args):
        raise wrong

    told = []
    monkeypatch.setattr(due_batches, "_together", fails)
    monkeypatch.setattr(sweeps, "raises_faults", False)
    # Whichever levels another test's service lets through.
    monkeypatch.setattr(sweeps, "log", SimpleNamespace(
        info=lambda *_words, **_more: told.append("info"),
        error=lambda *_words, **_more: told.append("error"),
    ))  # fmt: skip
    done = due_batches.run(billing.env, [{"customer_id": uuid4(), "id": 1}], None, ("", ""))
    assert done[0] == 0
    assert told == [level]


# I28
def test_a_lost_database_ends_the_sending_of_a_batch(billing, monkeypatch):
    gate, sent = threading.Event(), []

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait=True, *, cancel_futures=False):
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            gate.set()
            super().shutdown(wait=wait)

    def send(_env, call):
        sent.append(call)
        if len(sent) == 1:
            raise DatabaseUnavailable("away")
        gate.wait(60)

    monkeypatch.setattr(call_batches, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(call_batches, "SENDERS", 1)
    monkeypatch.setattr(call_batches, "_sent", send)
    with pytest.raises(DatabaseUnavailable):
        call_batches.run(billing.env, [1, 2, 3, 4, 5])
    assert len(sent) <= 2, "only what was under way"
