"""Subscriptions begin: charged at once, on a page, or with a trial; one of a family."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from billing import CARD, DECLINES

from paydesk import ids
from paydesk.errors import (
    IdempotencyKeyReused,
    InvalidRequest,
    PaydeskError,
    SubscriptionAlreadyActive,
)
from paydesk.flows import checkout, setups, subscriptions


# S1.12 S1.49 S4.25
def test_a_saved_method_is_charged_at_once_and_opens_what_the_plan_opens(billing):
    billing.plan(credits=200)
    who = billing.user()
    sub = billing.subscribe(who)
    assert (sub.state, sub.price.minor, sub.plan_key) == ("active", 2000, "pro")
    assert billing.invoices(sub) == [(0, "paid", 2000, 2000)]
    assert billing.payments(sub) == ["succeeded"]
    assert billing.can(who, "tier:pro")
    assert billing.balance(who) == 200
    assert billing.events(sub) == ["created", "activated"]
    assert billing.books(who, "revenue") == 2000
    assert subscriptions.current(billing.env, who.uuid).id == sub.id


# S1.12
def test_without_a_method_a_page_is_paid_on_and_its_card_is_charged_from_then_on(billing):
    billing.plan()
    who = billing.user(card=None)
    sub = billing.subscribe(who, success_url="https://app.example.com/thanks")
    assert sub.state == "incomplete"
    assert sub.url.startswith("http")
    assert not billing.can(who, "tier:pro")
    billing.sim.pay(sub.checkout.payment.session_ref)
    checkout.verify(billing.env, sub.checkout.id)
    assert billing.look(sub).state == "active"
    assert billing.can(who, "tier:pro")
    billing.until(sub.created_at + timedelta(days=32))
    assert billing.payments(sub) == ["succeeded", "succeeded"]
    assert [one[:2] for one in billing.invoices(sub)] == [(0, "paid"), (1, "paid")]


# S4.38 I21!
def test_sixteen_subscribe_at_once_and_one_does(billing):
    billing.plan()
    billing.plan("team", price=billing.plan().terms.prices["usd"])
    who = billing.user()

    def one(n: int) -> str:
        try:
            return billing.subscribe(who, "pro" if n % 2 else "team").state
        except SubscriptionAlreadyActive as exc:
            return exc.legacy_code or ""
        except PaydeskError as exc:
            return exc.code

    with ThreadPoolExecutor(8) as pool:
        found = sorted(pool.map(one, range(16)))
    assert found.count("active") == 1, found
    assert found.count("PAY004") == 15, found
    live = billing.all(
        "select 1 as one from subscriptions where customer_id = %(c)s"
        " and state not in ('incomplete', 'expired')", c=who.uuid)  # fmt: skip
    assert len(live) == 1
    assert billing.books(who, "revenue") == 2000


# S4.38
def test_an_active_one_refuses_another_of_its_family_and_none_of_others(billing):
    billing.plan()
    billing.plan("storage", family="storage")
    who = billing.user()
    first = billing.subscribe(who)
    with pytest.raises(SubscriptionAlreadyActive) as refused:
        billing.subscribe(who)
    assert refused.value.http_status == 409
    assert refused.value.subscription == ids.show("subscription", first.id)
    assert billing.subscribe(who, "storage").state == "active"


# I27
def test_the_same_key_is_the_same_subscription(billing):
    billing.plan()
    who = billing.user()
    key = ids.request_key("app", "1")
    first = billing.subscribe(who, request_key=key)
    assert billing.subscribe(who, request_key=key).id == first.id
    with pytest.raises(IdempotencyKeyReused):
        billing.subscribe(who, request_key=key, metadata={"a": "b"})
    assert billing.payments(first) == ["succeeded"]


def test_a_declined_first_payment_leaves_it_incomplete_and_lapses(billing):
    billing.plan()
    who = billing.user(DECLINES)
    sub = billing.subscribe(who)
    assert sub.state == "incomplete"
    assert not billing.can(who, "tier:pro")
    billing.renew(hours=24)
    assert billing.look(sub).state == "expired"
    assert billing.invoices(sub) == [(0, "void", 2000, 2000)]
    assert billing.events(sub) == ["created", "expired"]


def test_a_new_one_takes_the_place_of_one_that_nobody_paid_for(billing):
    billing.plan()
    who = billing.user(card=None)
    first = billing.subscribe(who)
    second = billing.subscribe(who)
    assert billing.look(first).state == "expired"
    billing.sim.pay(second.checkout.payment.session_ref)
    checkout.verify(billing.env, second.checkout.id)
    assert billing.look(second).state == "active"


# S1.55! S4.40
def test_a_trial_with_a_method_charges_nothing_until_it_ends(billing):
    billing.plan(trial_days=14)
    who = billing.user()
    sub = billing.subscribe(who)
    assert (sub.state, billing.invoices(sub)) == ("trialing", [])
    assert billing.can(who, "tier:pro")
    billing.until(sub.trial_end - timedelta(days=2))
    assert billing.events(sub) == ["created", "activated", "trial_will_end"]
    billing.until(sub.trial_end)
    after = billing.look(sub)
    assert (after.state, billing.invoices(sub)) == ("active", [(1, "paid", 2000, 2000)])
    assert after.period_start == sub.trial_end
    assert billing.events(sub)[-1] == "renewed"


# S1.55
def test_a_trial_without_a_method_begins_when_one_is_saved(billing):
    billing.plan(trial_days=14)
    who = billing.user(card=None)
    sub = billing.subscribe(who)
    assert (sub.state, sub.setup.state) == ("incomplete", "pending")
    assert sub.url
    billing.sim.pay(sub.setup.ref)
    setups.verify(billing.env, None, sub.setup.id)
    after = billing.look(sub)
    assert after.state == "trialing"
    billing.until(after.trial_end)
    assert billing.payments(sub) == ["succeeded"]


def test_a_trial_that_needs_no_method_ends_without_one(billing):
    billing.plan(trial_days=7, trial_needs_method=False)
    who = billing.user(card=None)
    sub = billing.subscribe(who)
    assert sub.state == "trialing"
    assert billing.can(who, "tier:pro")
    billing.until(sub.trial_end)
    after = billing.look(sub)
    assert (after.state, after.end_reason) == ("expired", "no_payment_method")
    assert not billing.can(who, "tier:pro")


def test_a_customer_has_one_trial_of_a_family(billing):
    billing.plan(trial_days=14)
    billing.plan("team", trial_days=30)
    who = billing.user()
    sub = billing.subscribe(who)
    from paydesk.flows import subscription_changes

    subscription_changes.cancel(billing.env, who.uuid, sub.id, at="now")
    again = billing.subscribe(who, "team", trial_days=30)
    assert (again.state, again.trial_end) == ("active", None)
    assert billing.payments(again) == ["succeeded"]


def test_calendar_billing_begins_with_a_short_period(billing, clock):
    billing.plan(billing="calendar")
    who = billing.user()
    sub = billing.subscribe(who)
    first = sub.period_end
    assert (first.day, first.hour, first.minute) == (1, 0, 0)
    whole = first - (first - timedelta(days=1)).replace(day=1)
    total = billing.invoices(sub)[0][2]
    seconds = int((first - sub.period_start).total_seconds())
    assert total == (2000 * seconds * 2 + int(whole.total_seconds())) // (
        2 * int(whole.total_seconds()))
    billing.until(first + timedelta(days=1))
    after = billing.look(sub)
    assert (after.period_start, after.period_end.day) == (first, 1)
    assert billing.invoices(sub)[1] == (1, "paid", 2000, 2000)


def test_seats_and_currencies_that_a_plan_lacks_are_refused(billing):
    billing.plan(least_quantity=2, most_quantity=5)
    who = billing.user()
    for more in ({"quantity": 1}, {"quantity": 6}, {"quantity": 2, "currency": "eur"}):
        with pytest.raises(InvalidRequest):
            billing.subscribe(who, **more)
    assert billing.subscribe(who, quantity=3).amount.minor == 6000
    assert CARD
