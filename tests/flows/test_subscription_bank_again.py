"""Requests that come twice, and cancellations that come between, while a bank is asked."""

from __future__ import annotations

import pytest
from test_subscription_bank import BACK, asked, intent_of
from test_subscription_changes import ASKS_THE_BANK, half_way

from paydesk import ids
from paydesk.errors import Conflict, PaymentFailed
from paydesk.flows import subscription_changes as changes
from paydesk.flows import subscription_pauses, subscription_pending, subscriptions

__all__ = ["asked"]

DECLINED = "pm_card_chargeCustomerFail"


def waits_at_first(billing):
    billing.plan()
    who = billing.user(ASKS_THE_BANK)
    sub = subscriptions.start(billing.env, subscriptions.NewSubscription(
        customer_id=who.uuid, plan="pro", success_url=BACK))  # fmt: skip
    assert (sub.state, sub.payment.state) == ("incomplete", "requires_action")
    return who, sub


# S1.28 I28
@pytest.mark.parametrize("at", ["now", "period_end"])
@pytest.mark.parametrize("reason", [None, "too_expensive"])
def test_canceled_before_it_began_its_charge_cannot_be_confirmed(billing, at, reason):
    who, sub = waits_at_first(billing)
    done = changes.cancel(billing.env, who.uuid, sub.id, at=at, reason=reason)
    assert done.ended_at is not None
    assert billing.sim.get(intent_of(billing, sub))["status"] == "canceled"
    billing.recover(rounds=3)
    assert billing.books(who, "deposits") == 0
    assert billing.payments(sub)[-1] != "succeeded"


# S1.28 I28
def test_money_that_came_before_the_cancellation_keeps_the_period(billing):
    who, sub = waits_at_first(billing)
    billing.sim.authenticate(sub.payment.payment_ref)
    done = changes.cancel(billing.env, who.uuid, sub.id)
    assert (done.state, done.cancel_at) == ("active", done.period_end)
    assert billing.books(who, "revenue") == 2000


# S1.28 I28
def test_canceled_in_a_pause_the_charge_of_a_change_is_ended_too(billing, asked):
    who, sub = asked
    subscription_pauses.pause(billing.env, who.uuid, sub.id)
    done = changes.cancel(billing.env, who.uuid, sub.id)
    assert (done.state, done.next) == ("canceled", None)
    assert billing.sim.get(intent_of(billing, sub))["status"] == "canceled"


# S1.28
def test_a_cancellation_at_the_periods_end_leaves_a_change_at_the_bank_alone(billing, asked):
    who, sub = asked
    changes.cancel(billing.env, who.uuid, sub.id)
    assert billing.look(sub).payment.id == sub.payment.id


# I27
def test_a_repeat_of_a_change_that_was_declined_is_declined_again(billing):
    who, sub = half_way(billing)
    billing.plan("team", upgrade="seconds", most_quantity=10)
    billing.card(who, DECLINED)
    key = ids.request_key("a", "change")
    for _ in range(2):
        with pytest.raises(PaymentFailed) as refused:
            changes.change(billing.env, who.uuid, sub.id, quantity=2, request_key=key)
    assert refused.value.payment_id
    billing.card(who, "pm_card_visa")
    with pytest.raises(PaymentFailed):
        changes.change(billing.env, who.uuid, sub.id, quantity=2, request_key=key)
    assert billing.look(sub).quantity == 1
    done = changes.change(billing.env, who.uuid, sub.id, quantity=2)
    assert done.quantity == 2, "another request may"


# I27
def test_a_repeat_of_a_change_that_was_taken_back_does_not_say_it_is_made(billing):
    who, sub = half_way(billing)
    billing.plan("team", upgrade="seconds", downgrade="seconds", most_quantity=10)
    billing.card(who, ASKS_THE_BANK)
    key = ids.request_key("another", "change")
    first = changes.change(billing.env, who.uuid, sub.id, quantity=2, request_key=key)
    again = changes.change(billing.env, who.uuid, sub.id, quantity=2, request_key=key)
    assert first.payment.id == again.payment.id
    subscription_pending.drop(billing.env, who.uuid, sub.id)
    with pytest.raises(PaymentFailed):
        changes.change(billing.env, who.uuid, sub.id, quantity=2, request_key=key)
    assert billing.look(sub).quantity == 1


def with_two_that_wait(billing, who, sub) -> None:
    """One for the period's end, and one for its payment in its place."""
    subscription_pending.drop(billing.env, who.uuid, sub.id)
    changes.change(billing.env, who.uuid, sub.id, quantity=4, at="period_end")
    changes.change(billing.env, who.uuid, sub.id, plan="team")


# I27 S1.44
def test_a_repeated_drop_takes_back_no_second_change(billing, asked):
    who, sub = asked
    with_two_that_wait(billing, who, sub)
    key = ids.request_key("drop", "it")
    for _ in range(3):
        after = subscription_pending.drop(billing.env, who.uuid, sub.id, request_key=key)
        assert after.next["quantity"] == 4
    changes.change(billing.env, who.uuid, sub.id, plan="team")
    after = subscription_pending.drop(billing.env, who.uuid, sub.id, request_key=key)
    assert after.payment is not None, "a new change is not what that request meant"


# I27 S1.44
def test_a_repeated_drop_leaves_the_same_change_asked_for_anew(billing, asked):
    who, sub = asked
    subscription_pending.drop(billing.env, who.uuid, sub.id)
    key = ids.request_key("drop", "once")
    for dropped in (True, False):
        changes.change(billing.env, who.uuid, sub.id, quantity=4, at="period_end")
        after = subscription_pending.drop(billing.env, who.uuid, sub.id, request_key=key)
        assert (after.next is None) is dropped


# I27 S1.44
def test_a_repeated_change_back_takes_back_no_second_change(billing, asked):
    who, sub = asked
    with_two_that_wait(billing, who, sub)
    key = ids.request_key("back", "to it")
    for _ in range(3):
        after = changes.change(billing.env, who.uuid, sub.id, plan="pro", request_key=key)
        assert after.next["quantity"] == 4


# S1.44
def test_only_the_change_that_is_named_is_taken_back(billing, asked):
    who, sub = asked
    named = subscription_pending.word_of(billing.look(sub).next)
    with_two_that_wait(billing, who, sub)
    after = subscription_pending.drop(billing.env, who.uuid, sub.id, waits=named)
    assert after.payment is not None
    now = subscription_pending.word_of(after.next)
    assert subscription_pending.drop(
        billing.env, who.uuid, sub.id, waits=now).next["quantity"] == 4  # fmt: skip


# S1.44 I28
def test_a_change_back_whose_money_came_first_is_refused(billing, asked):
    who, sub = asked
    billing.sim.authenticate(sub.payment.payment_ref)
    with pytest.raises(Conflict) as refused:
        changes.change(billing.env, who.uuid, sub.id, plan="pro")
    assert refused.value.code == "change_was_paid"
    assert billing.look(sub).plan_key == "team"
