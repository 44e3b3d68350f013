"""Corners where two things that are asked of a subscription meet: neither undoes the other."""

from __future__ import annotations

from datetime import timedelta

import pytest
from billing import DECLINES

from paydesk.errors import PaymentFailed
from paydesk.flows import credits, subscription_pauses
from paydesk.flows import subscription_changes as changes
from paydesk.rules.money import USD


# S1.28 S1.59
def test_a_new_cycle_that_is_paid_for_is_lived_to_its_end_before_a_cancellation(billing):
    billing.plan()
    billing.plan("yearly", price=USD("200.00"), interval="year")
    who = billing.user()
    sub = billing.subscribe(who)
    changes.cancel(billing.env, who.uuid, sub.id)
    after = changes.change(billing.env, who.uuid, sub.id, plan="yearly", at="now")
    assert after.cancel_at == after.period_end
    billing.until(sub.period_end + timedelta(days=1))
    assert billing.can(who, "tier:yearly"), "a year was paid for"
    billing.until(after.period_end + timedelta(hours=1), timedelta(days=60))
    assert billing.look(sub).state == "canceled"
    assert len(billing.invoices(sub)) == 2


# S1.29
def test_a_change_that_waits_outlives_another_one_that_fails(billing):
    billing.plan()
    billing.plan("team", price=USD("50.00"))
    billing.plan("lite", price=USD("5.00"))
    who = billing.user()
    sub = billing.subscribe(who)
    changes.change(billing.env, who.uuid, sub.id, plan="lite")
    assert billing.look(sub).next["plan"] == "lite"
    billing.card(who, DECLINES)
    with pytest.raises(PaymentFailed):
        changes.change(billing.env, who.uuid, sub.id, plan="team")
    assert billing.look(sub).next["plan"] == "lite", "nothing has changed"
    billing.card(who)
    billing.until(sub.period_end + timedelta(hours=1))
    assert billing.look(sub).plan_key == "lite"


# S1.28 S4.25
def test_in_a_pause_credits_stand_still_with_the_time_that_they_are_for(billing):
    billing.plan(credits=100)
    who = billing.user()
    sub = billing.subscribe(who)
    credits.spend_now(billing.env, credits.new_spend(who.uuid, 40, reason="work"))
    billing.until(sub.period_start + timedelta(days=20))
    subscription_pauses.pause(billing.env, who.uuid, sub.id)
    billing.until(sub.period_end + timedelta(days=30))
    resumed = subscription_pauses.resume(billing.env, who.uuid, sub.id)
    assert billing.balance(who) == 60
    billing.until(resumed.period_end - timedelta(minutes=1))
    assert billing.balance(who) == 60, "for as long as was left"
    billing.until(resumed.period_end + timedelta(minutes=1))
    assert billing.balance(who) == 100


# S1.28 S4.25
@pytest.mark.parametrize("days", [1, 60])
def test_what_is_unused_in_a_pause_comes_back_whenever_it_is_canceled(billing, days):
    billing.plan(credits=100)
    who = billing.user()
    sub = billing.subscribe(who)
    half = (sub.period_end - sub.period_start) / 2
    credits.spend_now(billing.env, credits.new_spend(who.uuid, 20, reason="work"))
    billing.clock.set(sub.period_start + half)
    subscription_pauses.pause(billing.env, who.uuid, sub.id)
    billing.until(billing.env.now() + timedelta(days=days))
    changes.cancel(billing.env, who.uuid, sub.id, at="now", refund="unused")
    rows = billing.all("select amount_minor from refunds where customer_id = %(c)s", c=who.uuid)
    assert [row["amount_minor"] for row in rows] == [1000]
    assert billing.books(who, "revenue") == 1000
    # Of 100 credits 20 were used, and half of them were for the time that came back.
    assert billing.balance(who) <= 30
    owed = billing.all("select coalesce(sum(owed), 0)::int as n from batches"
                       " where customer_id = %(c)s", c=who.uuid)  # fmt: skip
    assert owed == [{"n": 0}]


# S4.25 I24
def test_after_a_pause_a_change_still_weighs_what_was_used(billing):
    billing.plan(credits=100)
    billing.plan("team", price=USD("50.00"), credits=300)
    who = billing.user()
    sub = billing.subscribe(who)
    credits.spend_now(billing.env, credits.new_spend(who.uuid, 80, reason="work"))
    billing.clock.advance(days=1)
    subscription_pauses.pause(billing.env, who.uuid, sub.id)
    billing.clock.advance(days=40)
    subscription_pauses.resume(billing.env, who.uuid, sub.id)
    seen = changes.preview(billing.env, who.uuid, sub.id, plan="team")
    assert (seen.lines[0].amount.minor, seen.credits_back) == (-400, 20)
