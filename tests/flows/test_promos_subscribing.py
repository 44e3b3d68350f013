"""Codes that are applied to a plan first, and used by the subscription that begins next."""

from __future__ import annotations

import pytest

from paydesk.errors import InvalidPromoCode
from paydesk.flows import promos
from paydesk.flows import subscriptions as flow
from paydesk.rules.money import USD


@pytest.fixture
def sold(billing):
    billing.plan("pro", price=USD("20.00"))
    billing.plan("max", price=USD("50.00"), family="bigger")
    promos.upsert_promo(billing.env, "HALF", percent_off=50, cap=1, per_customer=1)
    return billing


def used(billing, code="HALF"):
    return promos.get_promo(billing.env, code).used


def refused(call, *args, **more):
    with pytest.raises(InvalidPromoCode) as caught:
        call(*args, **more)
    return caught.value.reason


@pytest.mark.parametrize("is_named", [True, False])
@pytest.mark.parametrize("runner", ["paydesk", "provider"])
def test_the_next_subscription_uses_it_in_the_place_of_what_was_kept(sold, runner, is_named):
    # S4.18 S4.40 S4.41: one use, whoever bills, and whether or not the code is named again
    who = sold.user()
    kept = promos.apply(sold.env, "half", who, plan="pro")
    assert (kept.total, kept.product, used(sold)) == (USD("10.00"), "plan:pro", 1)
    assert promos.apply(sold.env, "HALF", who, plan="pro") == kept
    assert promos.quote(sold.env, "HALF", who, plan="pro").total == USD("10.00")
    assert refused(promos.apply, sold.env, "HALF", sold.user(), plan="pro") == "limit_reached"
    sub = sold.subscribe(who, runner=runner, promo="HALF" if is_named else None)
    assert sold.look(sub).discount["code"] == "HALF"
    assert used(sold) == 1
    assert sold.all("select * from promo_reservations") == []
    states = sold.all("select state from promo_uses order by state")
    assert [row["state"] for row in states] == ["used"]


def test_it_is_kept_for_its_plan_alone(sold):
    # S4.41: another plan costs its price, and the code still waits
    who = sold.user()
    promos.apply(sold.env, "HALF", who, plan="pro")
    assert sold.look(sold.subscribe(who, "max")).discount is None
    assert sold.look(sold.subscribe(who, "pro")).discount["code"] == "HALF"
    assert used(sold) == 1


def test_what_nobody_subscribes_with_goes_back(sold):
    # S4.41 I18
    who = sold.user()
    promos.apply(sold.env, "HALF", who, plan="pro")
    sold.clock.advance(minutes=sold.env.settings.session_expiry_minutes + 1)
    assert promos.release_expired(sold.env) == 1
    assert used(sold) == 0
    assert sold.look(sold.subscribe(who)).discount is None


def test_a_subscription_that_never_began_gives_it_back_too(sold):
    # S4.41 I18
    who = sold.user(card=None)
    promos.apply(sold.env, "HALF", who, plan="pro")
    sub = sold.subscribe(who)
    assert (sub.state, used(sold)) == ("incomplete", 1)
    flow.lapse(sold.env, who.uuid, sub.id)
    assert used(sold) == 0


def test_a_trial_is_kept_for_who_had_none(sold):
    # S1.55 S4.40
    promos.upsert_promo(sold.env, "TRY", free_trial_days=14)
    who = sold.user()
    assert promos.apply(sold.env, "TRY", who, plan="pro").free_trial_days == 14
    sub = sold.subscribe(who)
    assert (sold.look(sub).state, used(sold, "TRY")) == ("trialing", 1)
    assert refused(promos.apply, sold.env, "TRY", who, plan="pro") == "customer_limit_reached"


def test_what_is_not_for_the_plan_is_not_kept(sold):
    # S4.41
    promos.upsert_promo(sold.env, "OTHER", percent_off=10, plans=["max"])
    who = sold.user()
    assert refused(promos.apply, sold.env, "OTHER", who, plan="pro") == "wrong_product"
    assert refused(promos.apply, sold.env, "NOPE", who, plan="pro") == "unknown"
    assert sold.all("select * from promo_reservations") == []
