"""Subscriptions that Stripe runs, as they are met in its accounts: what people do there."""

from __future__ import annotations

from datetime import timedelta
from types import SimpleNamespace

import pytest
from provider_run import There

from paydesk.errors import PaymentInFlight, ProviderUnavailable, SubscriptionAlreadyActive
from paydesk.flows import provider_billing_changes as changes
from paydesk.flows import provider_billing_events as news
from paydesk.flows import subscriptions as flow
from paydesk.rules.money import USD


@pytest.fixture
def there(billing) -> There:
    return There(billing)


def change_there(there, sub, **told):
    """Somebody changes it at Stripe."""
    there.sim.request("POST", f"/v1/subscriptions/{there.look(sub).provider_ref}", told)


def seconds(there, **time):
    """An instant of Stripe's clock, so much from now."""
    return int((there.env.now() + timedelta(**time)).timestamp())


# Trials ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_heard", [True, False])
def test_a_trial_that_is_extended_there_stays_open_and_gives_nothing_of_a_paid_period(
    there, is_heard
):
    # S1.17 S1.55: the trial's own invoice of 0 pays for no period, however long the trial becomes
    there.plan("pro", credits=100)
    who = there.user()
    sub = there.subscribe(who, trial_days=10)
    there.sim.pay(sub.page_ref)
    if is_heard:
        there.deliver()
    ref = there.sim.objects("subscription")[0]["id"]
    there.sim.request("POST", f"/v1/subscriptions/{ref}", {
        "trial_end": seconds(there, days=25), "proration_behavior": "none"})  # fmt: skip
    there.deliver()
    there.go_on(days=20)
    there.deliver()
    assert there.look(sub).state == "trialing"
    assert there.billing.can(sub, "tier:pro")
    assert there.billing.balance(who) == 0
    there.go_on(days=6)
    there.deliver()
    assert there.look(sub).state == "active"
    assert there.billing.can(sub, "tier:pro")
    assert there.billing.balance(who) == 100


def test_a_trial_that_is_added_to_a_paid_period_opens_for_as_long_as_it_lasts(there):
    # S1.17: what was paid for before the trial counts, and so does the trial
    there.plan("pro", credits=100)
    sub = there.begin(there.user())
    change_there(there, sub, trial_end=seconds(there, days=60), proration_behavior="none")
    there.deliver()
    assert there.look(sub).state == "trialing"
    there.go_on(days=50)
    there.deliver()
    assert there.billing.can(sub, "tier:pro")


@pytest.mark.parametrize("is_default", [True, False])
def test_between_a_trial_and_its_first_payment_nothing_is_closed(there, is_default):
    # S1.17: Stripe charges an hour after the trial; the card is one that only Stripe knows
    there.plan("pro", grace_days=0)
    who = there.user()
    there.card(who)
    card = there.sim.objects("payment_method")[0]["id"]
    price = there.price_there(lookup_key="pro")
    told = {} if is_default else {"default_payment_method": card}
    there.begin_there(who, price, trial_period_days=5, **told)
    there.deliver()
    there.go_on(days=5, minutes=30)
    there.deliver()
    assert there.sim.objects("subscription")[0]["status"] == "active"
    assert there.billing.can(who, "tier:pro")
    there.go_on(hours=1)
    there.deliver()
    assert there.billing.can(who, "tier:pro")


def test_a_trial_that_ends_without_a_card_is_closed_at_its_end(there):
    # S1.17: nothing will be charged, so nothing is open past it
    there.plan("pro", grace_days=3)
    who = there.user()
    ends = {"end_behavior": {"missing_payment_method": "cancel"}}
    there.begin_there(
        who, there.price_there(lookup_key="pro"), trial_period_days=5, trial_settings=ends
    )
    there.deliver()
    there.go_on(days=5, minutes=1)
    assert not there.billing.can(who, "tier:pro")


# Ends that have a date --------------------------------------------------------------------------


@pytest.mark.parametrize("is_heard", [True, False])
def test_an_end_that_has_a_date_there_is_taken_back(there, is_heard):
    # S1.21: Stripe's portal sets a date in place of the flag, and only one of them can be sent
    there.plan("pro")
    sub = there.begin(there.user())
    end = there.remote(sub)["items"]["data"][0]["current_period_end"]
    if not is_heard:  # What is known here is an older word.
        changes.cancel(there.env, sub.customer_id, sub.id, at="period_end", reason=None)
    change_there(there, sub, cancel_at=end)
    if is_heard:
        there.deliver()
    after = changes.reactivate(there.env, sub.customer_id, sub.id)
    assert after.cancel_at is None
    remote = there.remote(sub)
    assert (remote["cancel_at"], remote["cancel_at_period_end"]) == (None, False)


def test_an_end_far_off_is_brought_forward_to_the_end_of_the_period(there):
    # S1.21: canceling at the period's end means this period, whatever date was set there
    there.plan("pro")
    sub = there.begin(there.user())
    change_there(there, sub, cancel_at=seconds(there, days=200))
    there.deliver()
    after = changes.cancel(there.env, sub.customer_id, sub.id, at="period_end", reason="enough")
    assert after.cancel_at == there.look(sub).period_end
    assert there.remote(sub)["cancel_at_period_end"] is True
    again = changes.cancel(there.env, sub.customer_id, sub.id, at="period_end", reason="enough")
    assert again.cancel_at == after.cancel_at


# What is not paid for ---------------------------------------------------------------------------


def test_the_months_of_a_year_that_was_not_paid_give_no_credits(there):
    # S1.17 I22: a draft that waits, or a year that was given up, pays for nothing
    there.plan("year", price=USD("120.00"), interval="year", credits=50)
    who = there.user()
    sub = there.begin(who, "year")

    def given():
        there.billing.renew()
        return there.billing.all("select count(*)::int as n from batches")[0]["n"]

    there.go_on(days=32)
    assert given() == 2
    card = SimpleNamespace(ref=there.remote(sub)["default_payment_method"])
    there.billing.reissue(card, "chargeCustomerFail")
    there.go_on(days=335)
    there.deliver()
    (open_,) = [one for one in there.sim.objects("invoice") if one["status"] == "open"]
    there.sim.request("POST", f"/v1/invoices/{open_['id']}/mark_uncollectible")
    there.deliver()
    there.go_on(days=40)
    there.deliver()
    after = there.look(sub)
    assert (after.state, after.period) == ("active", 1)
    assert given() == 2
    there.billing.reissue(card, "visa")
    there.sim.request("POST", f"/v1/invoices/{open_['id']}/pay")
    there.deliver()
    assert given() == 3


# Two pages --------------------------------------------------------------------------------------


def test_a_page_that_is_still_open_is_ended_when_another_is_begun(there):
    # S1.27: on two open pages of a family a customer would subscribe twice
    there.plan("pro")
    there.plan("max", price=USD("50.00"))
    who = there.user()
    first, second = there.subscribe(who, "pro"), there.subscribe(who, "max")
    assert there.look(first).state == "expired"
    assert there.sim.get(first.page_ref)["status"] == "expired"
    there.sim.pay(second.page_ref)
    there.deliver()
    assert there.look(second).state == "active"
    assert len(there.sim.objects("subscription")) == 1


def test_a_page_that_was_just_paid_is_no_page_to_end(there):
    # S1.27: nobody has heard of it yet, and a second one is refused all the same
    there.plan("pro")
    who = there.user()
    first = there.subscribe(who, "pro")
    there.sim.pay(first.page_ref)
    with pytest.raises(SubscriptionAlreadyActive):
        there.subscribe(who, "pro")
    assert there.look(first).state == "active"


def test_a_page_that_cannot_be_ended_refuses_a_second_one(there):
    # S1.27: it may still be subscribed on
    there.plan("pro")
    who = there.user()
    first = there.subscribe(who, "pro")
    call = there.env.providers.call

    def as_there(name, method, *args):
        if method == "end_page":
            raise ProviderUnavailable("Nothing was sent.")
        return call(name, method, *args)

    there.env.providers.call = as_there
    try:
        with pytest.raises(PaymentInFlight):
            there.subscribe(who, "pro")
    finally:
        del there.env.providers.call
    assert len(there.sim.objects("checkout.session")) == 1
    second = there.subscribe(who, "pro")
    assert (there.look(first).state, second.state) == ("expired", "incomplete")


# Held -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behavior", ["keep_as_draft", "mark_uncollectible"])
def test_what_is_collected_later_there_stays_open_for_what_was_paid(there, behavior):
    # S1.19: only what is given away (void) is paused here
    there.plan("pro", grace_days=0)
    sub = there.begin(there.user())
    change_there(there, sub, pause_collection={"behavior": behavior})
    there.deliver()
    assert there.look(sub).state == "active"
    assert there.billing.can(sub, "tier:pro")
    there.months()
    assert not there.billing.can(sub, "tier:pro")


def test_what_is_held_can_be_canceled_at_the_end_of_its_period(there):
    # S1.19 S1.21: Stripe's periods run on while nothing is collected
    there.plan("pro")
    sub = there.begin(there.user())
    there.sim.request("POST", f"/v1/subscriptions/{there.look(sub).provider_ref}",
                      {"pause_collection": {"behavior": "void"}})  # fmt: skip
    there.deliver()
    assert there.look(sub).state == "paused"
    after = changes.cancel(there.env, sub.customer_id, sub.id, at="period_end", reason=None)
    assert (after.state, after.cancel_at) == ("paused", there.look(sub).period_end)
    assert there.remote(sub)["status"] == "active"


# Strangers --------------------------------------------------------------------------------------


def test_of_a_subscription_whose_price_is_no_plan_nothing_more_is_read(there):
    # S1.19: an account sells other things too
    there.plan("pro")
    who = there.user()
    there.card(who)
    there.begin_there(who, there.price_there())
    asked = []
    call = there.env.providers.call

    def note(name, method, *args):
        asked.append(method)
        return call(name, method, *args)

    there.env.providers.call = note
    try:
        there.deliver()
        news.discover(there.env)
    finally:
        del there.env.providers.call
    assert "list_invoices" not in asked and "list_tries" not in asked
    assert flow.list_(there.env, who.uuid) == []
