"""Stripe beyond the checkout: saved methods charged, held money taken or let go, money back."""

from __future__ import annotations

import pytest
import stripe

from paydesk.errors import ProviderRefused
from paydesk.flows import checkout
from paydesk.providers.base import Order
from paydesk.rules.money import JPY, USD


@pytest.fixture
def adapter(env, sim):
    return env.providers["stripe"]


@pytest.fixture
def sdk(sim):
    return stripe.StripeClient(sim.secret_key, base_addresses={"api": sim.url})


def order(amount, key="call_1", **more):
    return Order(id="pay_1", customer="cus_1", key=key, amount=amount, description="Render",
                 metadata={"payment_id": "pay_1", "customer_id": "cus_1"}, **more)


def saved(sdk, token="pm_card_visa"):
    customer = sdk.v1.customers.create({"email": "maya@northwind.example"})
    method = sdk.v1.payment_methods.attach(token, {"customer": customer.id})
    return customer.id, method.id


def held(sdk, amount=1000, currency="usd"):
    return sdk.v1.payment_intents.create({
        "amount": amount, "currency": currency, "payment_method": "pm_card_visa",
        "payment_method_types": ["card"], "confirm": True, "capture_method": "manual",
    }).id  # fmt: skip


def test_a_saved_method_is_charged_once_for_a_key(adapter, sdk, sim):
    # I40
    customer, method = saved(sdk)
    first = adapter.charge(order(USD("9.99"), provider_customer=customer), method)
    again = adapter.charge(order(USD("9.99"), provider_customer=customer), method)
    assert (first.status, first.amount, first.payment_id) == ("succeeded", USD("9.99"), "pay_1")
    assert again.payment_ref == first.payment_ref
    assert len(sim.objects("charge")) == 1


def test_a_declined_saved_method_answers_failed_with_its_reason(adapter, sdk):
    customer, method = saved(sdk, "pm_card_chargeCustomerFail")
    found = adapter.charge(order(USD("9.99"), provider_customer=customer), method)
    assert (found.status, found.error_code) == ("failed", "generic_decline")
    assert found.payment_ref.startswith("pi_") and found.amount is None


def test_a_method_that_asks_for_its_owner_answers_requires_action(adapter, sdk):
    customer, method = saved(sdk, "pm_card_authenticationRequired")
    found = adapter.charge(order(USD("9.99"), provider_customer=customer), method)
    assert found.status == "requires_action"


def test_a_part_of_held_money_is_taken_and_the_rest_let_go(adapter, sdk):
    # I8
    ref = held(sdk)
    found = adapter.capture(ref, USD("4.00"), "call_capture")
    assert (found.status, found.amount) == ("succeeded", USD("4.00"))
    assert adapter.capture(ref, USD("4.00"), "call_capture").amount == USD("4.00")
    with pytest.raises(ProviderRefused):
        adapter.capture(ref, USD("1.00"), "call_capture_more")
    with pytest.raises(ProviderRefused):
        adapter.void(ref, "call_void")


def test_held_money_that_is_let_go_cannot_be_taken(adapter, sdk):
    # I8
    ref = held(sdk)
    assert adapter.void(ref, "call_void").status == "canceled"
    with pytest.raises(ProviderRefused):
        adapter.capture(ref, USD("1.00"), "call_capture")


def test_money_goes_back_in_parts_and_never_more_than_was_taken(adapter, sdk, sim):
    # I7
    customer, method = saved(sdk)
    ref = adapter.charge(order(JPY(1200), provider_customer=customer), method).payment_ref
    first = adapter.refund(ref, JPY(500), "call_refund_1")
    assert (first.status, first.amount, first.payment_ref) == ("succeeded", JPY(500), ref)
    assert adapter.refund(ref, JPY(500), "call_refund_1").id == first.id
    assert adapter.refund(ref, JPY(700), "call_refund_2").amount == JPY(700)
    with pytest.raises(ProviderRefused):
        adapter.refund(ref, JPY(1), "call_refund_3")
    assert sum(r["amount"] for r in sim.objects("refund")) == 1200


@pytest.mark.parametrize("wallet", ["apple_pay", "google_pay"])
def test_a_wallet_on_the_hosted_page_is_recorded_as_such(desk, wallet):
    # S1.12 S3.22: told by the event and by asking alike
    told, asked = desk.open(), desk.open()
    for view in (told, asked):
        desk.pay(view, wallet=wallet)
    desk.deliver(told)
    checkout.verify(desk.env, asked.id)
    desk.sweep()
    for view in (told, asked):
        one = desk.payment(view)
        assert (one.state, one.method) == ("succeeded", "card")
        assert one.method_detail["wallet"] == wallet
