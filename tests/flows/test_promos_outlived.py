"""Codes that were kept for a plan, and are no longer what they were when somebody subscribes."""

from __future__ import annotations

import pytest

from paydesk.errors import InvalidPromoCode
from paydesk.flows import promos, subscription_offers
from paydesk.flows import subscription_changes as changes
from paydesk.rules.money import EUR, USD


@pytest.fixture
def sold(billing):
    billing.plan("pro", price=None, prices=[USD("20.00"), EUR("18.00")])
    billing.plan("max", price=USD("50.00"), family="bigger")
    return billing


def used(sold, code: str = "HALF") -> int:
    return promos.get_promo(sold.env, code).used


def inactive(sold, who):
    promos.upsert_promo(sold.env, "HALF", percent_off=50, active=False)


def over(sold, who):
    promos.upsert_promo(sold.env, "HALF", percent_off=50, expires_at=sold.env.now())
    sold.clock.advance(minutes=1)


def lower_cap(sold, who):
    promos.apply(sold.env, "HALF", sold.user(), plan="pro")
    promos.upsert_promo(sold.env, "HALF", percent_off=50, cap=1)


def first_purchase(sold, who):
    promos.upsert_promo(sold.env, "HALF", percent_off=50, first_purchase=True)
    assert sold.subscribe(who, "max").state == "active"


# S4.18 S4.41 I18
@pytest.mark.parametrize("is_named", [True, False])
@pytest.mark.parametrize("runner", ["paydesk", "provider"])
@pytest.mark.parametrize("change", [inactive, over, lower_cap, first_purchase])
def test_who_may_use_a_code_was_decided_when_it_was_applied(sold, change, runner, is_named):
    promos.upsert_promo(sold.env, "HALF", percent_off=50)
    who = sold.user()
    promos.apply(sold.env, "HALF", who, plan="pro")
    change(sold, who)
    before = used(sold)
    shown = subscription_offers.preview(sold.env, who.uuid, "pro", quantity=1)
    assert shown.total == USD("10.00")
    sub = sold.subscribe(who, runner=runner, promo="half" if is_named else None)
    assert sold.look(sub).discount["code"] == "HALF"
    assert used(sold) == before
    mine = "select state, payment_id from promo_uses where customer_id = %(c)s"
    assert sold.all(mine, c=who.uuid) == [{"state": "used", "payment_id": sub.id}]
    assert sold.all("select * from promo_reservations where customer_id = %(c)s", c=who.uuid) == []


def other_currency(sold):
    promos.upsert_promo(sold.env, "LESS", amount_off=USD("5.00"))
    return {"currency": "eur"}


def other_plans(sold):
    promos.upsert_promo(sold.env, "LESS", percent_off=50, plans=["max"])
    return {}


def dearer_only(sold):
    promos.upsert_promo(sold.env, "LESS", amount_off=USD("5.00"), min_purchase=USD("30.00"))
    return {}


# S4.41 I18
@pytest.mark.parametrize("runner", ["paydesk", "provider"])
@pytest.mark.parametrize("change", [other_currency, other_plans, dearer_only])
def test_a_kept_code_that_does_not_fit_any_more_keeps_nobody_from_subscribing(
    sold, change, runner
):
    if change is other_plans:
        promos.upsert_promo(sold.env, "LESS", percent_off=50)
    else:
        promos.upsert_promo(sold.env, "LESS", amount_off=USD("5.00"))
    who = sold.user()
    promos.apply(sold.env, "LESS", who, plan="pro")
    more = change(sold)
    shown = subscription_offers.preview(sold.env, who.uuid, "pro", quantity=1, **more)
    assert (shown.code, used(sold, "LESS")) == (None, 1)
    with pytest.raises(InvalidPromoCode):
        sold.subscribe(who, runner=runner, promo="LESS", **more)
    assert used(sold, "LESS") == 1
    sub = sold.subscribe(who, runner=runner, **more)
    assert sold.look(sub).discount is None
    assert used(sold, "LESS") == 0
    assert sold.all("select * from promo_reservations") == []


# S1.55 S4.40
def test_a_kept_trial_is_left_out_for_who_has_had_one_since(sold):
    sold.plan("light", trial_days=7)
    promos.upsert_promo(sold.env, "TRY", free_trial_days=14)
    who = sold.user()
    promos.apply(sold.env, "TRY", who, plan="pro")
    first = sold.subscribe(who, "light")
    assert first.state == "trialing"
    changes.cancel(sold.env, who.uuid, first.id, at="now")
    with pytest.raises(InvalidPromoCode):
        sold.subscribe(who, promo="TRY")
    sub = sold.subscribe(who)
    assert (sold.look(sub).state, sold.look(sub).discount) == ("active", None)
    assert used(sold, "TRY") == 0
