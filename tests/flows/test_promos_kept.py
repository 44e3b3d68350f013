"""No use of a promo code is kept for nothing: not by browsing, not by a refused checkout."""

from __future__ import annotations

from dataclasses import replace

import pytest
from purchase import Desk

from paydesk.errors import Conflict, CreditLimitExceeded, InvalidPromoCode, TransactionLimit
from paydesk.flows import checkout, customers, promos
from paydesk.flows.checkout import StartCheckout
from paydesk.ids import request_key
from paydesk.rules.money import USD


def used(desk, code="WELCOME10"):
    return promos.get_promo(desk.env, code).used


def test_a_customer_who_applies_a_code_to_many_products_keeps_one_use(desk):  # S4.41
    desk.make.promo("WELCOME10", percent_off=10, cap=3)
    user = desk.make.user()
    for count in range(10, 30):
        kept = promos.apply(desk.env, "WELCOME10", user, credits=count, price=USD(str(count)))
    assert used(desk) == 1
    promos.apply(desk.env, "WELCOME10", desk.make.user(), pack="creator")
    view = desk.open(user, credits=29)
    assert view.payment.id == kept.payment_id
    assert view.payment.amount == USD("26.10")
    assert desk.open(user, credits=28).payment.amount == USD("28")


def test_applying_a_code_elsewhere_leaves_uses_of_open_checkouts_alone(desk):  # S4.41
    desk.make.promo("WELCOME10", percent_off=10)
    user = desk.make.user()
    desk.open(user, promo="WELCOME10")
    promos.apply(desk.env, "WELCOME10", user, credits=20, price=USD("20"))
    promos.apply(desk.env, "WELCOME10", user, credits=30, price=USD("30"))
    assert used(desk) == 2


@pytest.mark.parametrize(
    ("limits", "refusal"),
    [
        ({"max_credit_balance": 100}, CreditLimitExceeded),
        ({"max_daily_transactions": 0}, TransactionLimit),
    ],
)
def test_a_refused_checkout_gives_the_use_back_that_it_took(desk, limits, refusal):  # S4.41
    desk.make.promo("WELCOME10", percent_off=10, cap=1)
    strict = Desk(replace(desk.env, settings=replace(desk.env.settings, **limits)),
                  desk.sim, desk.make, desk.clock)  # fmt: skip
    with pytest.raises(refusal):
        strict.open(promo="WELCOME10")
    assert used(desk) == 0
    assert desk.open(promo="WELCOME10").payment.amount == USD("8.99")


def test_a_refused_checkout_keeps_the_use_that_was_applied_before_it(desk):  # S4.41
    desk.make.promo("WELCOME10", percent_off=10)
    user = desk.make.user()
    desk.open(user, credits=20, reference="order-1")
    promos.apply(desk.env, "WELCOME10", user, pack="creator")
    with pytest.raises(Conflict):
        desk.open(user, pack="creator", promo="WELCOME10", reference="order-1")
    assert used(desk) == 1
    assert desk.open(user, pack="creator").payment.amount == USD("8.99")


def test_a_request_that_lost_the_race_of_its_key_leaves_no_use_behind(desk, monkeypatch):  # I27
    desk.make.promo("WELCOME10", percent_off=10)
    user = desk.make.user()
    what = StartCheckout(
        customer_id=user.uuid, pack="creator", promo="WELCOME10", request_key=request_key("a", "b")
    )
    first = checkout.start(desk.env, what)
    looks, real = [], checkout._by_key

    def late(*told):
        """The first look comes before the other request's commit."""
        looks.append(told)
        return None if len(looks) == 1 else real(*told)

    with monkeypatch.context() as patched:
        patched.setattr(checkout, "_by_key", late)
        assert checkout.start(desk.env, what).id == first.id
    assert used(desk) == 1
    assert desk.open(user).payment.amount == USD("9.99")


def test_a_code_that_leaves_nothing_to_pay_is_refused_and_not_used(desk, monkeypatch):  # S4.41
    desk.make.promo("WELCOME10", percent_off=10)
    monkeypatch.setattr(promos.rules, "discount", lambda terms, minor, currency: minor)
    with pytest.raises(Exception, match="Nothing would be left"):
        desk.open(customers.ensure(desk.env, "maya"), promo="WELCOME10")
    assert used(desk) == 0


def test_what_another_customer_keeps_is_not_touched(desk):  # S4.41
    desk.make.promo("WELCOME10", percent_off=10, cap=2)
    for _ in range(2):
        promos.apply(desk.env, "WELCOME10", desk.make.user(), pack="creator")
    with pytest.raises(InvalidPromoCode):
        promos.apply(desk.env, "WELCOME10", desk.make.user(), pack="creator")
    assert used(desk) == 2
