"""Subscriptions that Stripe runs, as they are met in its accounts: what people do there."""

from __future__ import annotations

import pytest
from provider_run import There


@pytest.fixture
def there(billing) -> There:
    return There(billing)


def change_there(there, sub, **told):
    """Somebody changes it at Stripe."""
    there.sim.request("POST", f"/v1/subscriptions/{there.look(sub).provider_ref}", told)


def seconds(there, **time):
    """An instant of Stripe's clock, so much from now."""
    from datetime import timedelta

    return int((there.env.now() + timedelta(**time)).timestamp())


# Trials ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_heard", [True, False])
def test_a_trial_that_is_extended_there_stays_open_and_gives_nothing_of_a_paid_period(
    there, is_heard
):
    # S1.17 S1.25: the trial's own invoice of 0 pays for no period, however long the trial becomes
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
    there.begin_there(who, there.price_there(lookup_key="pro"), trial_period_days=5,
                      trial_settings={"end_behavior": {"missing_payment_method": "cancel"}})  # fmt: skip
    there.deliver()
    there.go_on(days=5, minutes=1)
    assert not there.billing.can(who, "tier:pro")
