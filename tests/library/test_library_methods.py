"""The library saves methods, charges them, and edits payments."""

from __future__ import annotations

import asyncio

import pytest
import stripe

from paydesk import USD, AsyncPaydesk, Paydesk
from paydesk.errors import UseConfirm


@pytest.fixture
def pay(env):
    with Paydesk(env=env, background=False) as desk:
        yield desk


@pytest.fixture
def token(sim):
    sdk = stripe.StripeClient(sim.secret_key, base_addresses={"api": sim.url})
    return lambda card="tok_visa": sdk.v1.payment_methods.create(
        {"type": "card", "card": {"token": card}}
    ).id


def test_a_saved_method_is_charged_in_two_calls(pay, token):
    # S1.13 S3.8
    method = pay.methods.add("user_123", token(), key="card-1")
    assert pay.methods.add("user_123", method.provider_method, key="card-1").id == method.id
    paid = pay.charge("user_123", wallet=USD(5), key="order-1")
    assert paid.paid and paid.payment_method == method.id
    assert pay.charge("user_123", wallet=USD(5), key="order-1").id == paid.id
    assert pay.wallets.balance("user_123", "usd") == USD(5)
    other = pay.methods.add("user_123", token("tok_mastercard"))
    pay.methods.set_default("user_123", other)
    assert [one.default for one in pay.methods.list("user_123")] == [True, False]
    assert pay.methods.remove("user_123", other).removed_at
    assert pay.methods.get("user_123", method).default


def test_money_is_held_taken_and_let_go(pay, token):
    # I8
    held = pay.charge("user_123", method=token(), amount=USD(10), capture=False)
    assert held.status == "authorized"
    assert pay.payments.capture(held, USD(4)).captured == USD(4)
    other = pay.charge("user_123", method=token(), amount=USD(10), capture=False)
    assert pay.payments.void(other).status == "canceled"


def test_payments_are_created_edited_and_hidden(pay, sim):
    # S3.7
    made = pay.payments.create("user_123", "stripe", wallet=USD(3), description="Top-up")
    assert made.payment_url and made.status == "pending"
    assert pay.payments.update(made, description="June").description == "June"
    with pytest.raises(UseConfirm):
        pay.payments.update(made, status="COMPLETED")
    assert pay.payments.confirm(made).status == "pending"
    assert pay.payments.remove(made).deleted_at
    assert list(pay.payments.list(customer="user_123")) == []
    assert pay.payments.restore(made).deleted_at is None
    assert [one.id for one in pay.payments.list(customer="user_123")] == [made.id]


def test_a_setup_is_begun_and_verified(pay, sim):
    # S1.34
    begun = pay.setups.start("user_123")
    assert begun.client_secret and begun.client_secret not in repr(begun)
    sdk = stripe.StripeClient(sim.secret_key, base_addresses={"api": sim.url})
    sdk.v1.setup_intents.confirm(begun.provider_setup, {"payment_method": "pm_card_visa"})
    assert pay.setups.verify(begun).method and pay.setups.get(begun.id).status == "succeeded"


def test_the_asynchronous_front_has_them_too(env, token):
    async def work():
        async with AsyncPaydesk(env=env, background=False) as pay:
            await pay.methods.add("user_123", token())
            return await pay.charge("user_123", wallet=USD(2))

    assert asyncio.run(work()).paid
