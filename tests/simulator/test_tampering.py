"""What reconciliation has to find: payments from elsewhere, altered amounts, objects that went."""

import pytest
import stripe
from simulator_support import session_params
from test_payment_intents import pay

from paydesk.simulator.errors import StripeError


def ids_of(service, **params):
    return [one.id for one in service.list(params).data]


@pytest.mark.parametrize("silent", [False, True])
def test_a_payment_made_in_the_provider_is_unknown_to_the_shop(sandbox, client, silent):
    customer = client.v1.customers.create()
    intent = sandbox.pay_directly(
        4200, "eur", customer=customer.id, metadata={"by": "desk"}, silent=silent
    )
    found = client.v1.payment_intents.retrieve(intent["id"])
    assert (found.status, found.amount_received, found.currency) == ("succeeded", 4200, "eur")
    (transaction,) = client.v1.balance_transactions.list().data
    assert (transaction.source, transaction.amount) == (found.latest_charge, 4200)
    told = sandbox.events("payment_intent.succeeded", "charge.succeeded", "charge.updated")
    assert len(told) == (0 if silent else 3)


@pytest.mark.parametrize("card", ["4000000000000002", "pm_card_visa_chargeDeclined"])
def test_a_payment_made_in_the_provider_may_be_declined(sandbox, card):
    with pytest.raises(StripeError) as declined:
        sandbox.pay_directly(999, card=card)
    assert declined.value.code == "card_declined"


def test_a_charge_a_refund_and_their_books_get_another_amount_in_silence(sandbox, client):
    intent = pay(client)
    refund = client.v1.refunds.create({"payment_intent": intent.id, "amount": 100})
    told = len(sandbox.events())
    sandbox.alter_amount(intent.id, 1200)
    sandbox.alter_amount(refund.id, 150)
    charge = client.v1.charges.retrieve(
        intent.latest_charge, {"expand": ["balance_transaction", "payment_intent"]}
    )
    assert (charge.amount, charge.amount_captured, charge.amount_refunded) == (1200, 1200, 150)
    assert (charge.balance_transaction.amount, charge.balance_transaction.fee) == (1200, 65)
    assert charge.payment_intent.amount_received == 1200
    rest = client.v1.balance_transactions.list({"type": "refund"}).data
    assert [one.net for one in rest] == [-150]
    assert len(sandbox.events()) == told


def test_a_fee_is_altered_alone(sandbox, client):
    intent = pay(client, expand=["latest_charge"])
    charge = client.v1.charges.retrieve(intent.latest_charge.id)
    sandbox.alter(charge.balance_transaction, fee=99, net=900)
    transaction = client.v1.balance_transactions.retrieve(charge.balance_transaction)
    assert (transaction.fee, transaction.net) == (99, 900)


@pytest.mark.parametrize("by", ["intent", "charge"])
def test_a_dropped_payment_leaves_nothing_behind(sandbox, client, by):
    kept = pay(client)
    session = client.v1.checkout.sessions.create(session_params())
    sandbox.pay(session.id)
    intent = client.v1.checkout.sessions.retrieve(
        session.id, {"expand": ["payment_intent"]}
    ).payment_intent
    client.v1.refunds.create({"payment_intent": intent.id, "amount": 100})
    sandbox.dispute(intent.id, 100)
    told = len(sandbox.events())
    sandbox.drop(intent.id if by == "intent" else intent.latest_charge)
    assert ids_of(client.v1.payment_intents) == [kept.id]
    assert ids_of(client.v1.charges) == [kept.latest_charge]
    assert ids_of(client.v1.refunds) == ids_of(client.v1.disputes) == []
    assert len(ids_of(client.v1.balance_transactions)) == 1
    assert len(sandbox.events()) == told
    for gone in (client.v1.payment_intents.retrieve, client.v1.checkout.sessions.retrieve):
        with pytest.raises(stripe.InvalidRequestError) as missing:
            gone(intent.id if gone.__self__ is client.v1.payment_intents else session.id)
        assert missing.value.code == "resource_missing"


def test_a_dropped_refund_leaves_the_charge_as_if_it_had_never_been(sandbox, client):
    intent = pay(client)
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    sandbox.drop(refund.id)
    charge = client.v1.charges.retrieve(intent.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (0, False)
    assert [one.type for one in client.v1.balance_transactions.list().data] == ["charge"]
    assert client.v1.refunds.create({"payment_intent": intent.id}).amount == 999


def test_a_dropped_setup_intent_takes_its_attempts_and_session_with_it(sandbox, client):
    session = client.v1.checkout.sessions.create(
        {"mode": "setup", "currency": "usd", "success_url": "http://shop.test/saved"}
    )
    assert sandbox.pay(session.id).complete
    sandbox.drop(session.id)
    for kind in ("checkout.session", "setup_intent", "setup_attempt"):
        assert sandbox.objects(kind) == []


def test_a_dropped_dispute_leaves_the_charge_undisputed(sandbox, client):
    intent = pay(client)
    sandbox.drop(sandbox.dispute(intent.id)["id"])
    assert client.v1.charges.retrieve(intent.latest_charge).disputed is False
    assert len(ids_of(client.v1.balance_transactions)) == 1


def test_an_altered_refund_still_finishes_when_its_time_comes(sandbox, client):
    refund = client.v1.refunds.create({"payment_intent": pay(client, "pm_card_pendingRefund").id})
    sandbox.alter(refund.id, reason="fraudulent")
    sandbox.advance(10)
    shown = client.v1.refunds.retrieve(refund.id)
    assert (shown.status, shown.reason) == ("succeeded", "fraudulent")


def test_the_bank_replaces_a_saved_card(sandbox, client):
    customer = client.v1.customers.create()
    method = client.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    sandbox.act(
        "update_card", payment_method=method.id, exp_month=7, exp_year=2041, last4="1881"
    )
    shown = client.v1.payment_methods.retrieve(method.id).card
    assert (shown.exp_month, shown.exp_year, shown.last4) == (7, 2041, "1881")
    (event,) = sandbox.events("payment_method.automatically_updated")
    assert event["data"]["previous_attributes"]["card"]["last4"] == "4242"


@pytest.mark.parametrize(
    ("action", "given", "problem"),
    [
        ("alter", {"id": "xx_nobody", "set": {}}, "there is no object"),
        ("alter", {"id": "$charge", "set": {"id": "ch_2"}}, "id cannot be set"),
        ("alter", {"id": "$charge", "set": {"_card": "x"}}, "_card cannot be set"),
        ("alter", {"id": "$charge", "set": {"amount": "5"}}, "not of type i"),
        ("alter", {"id": "$charge", "set": {"colour": "red"}}, "not in the description"),
        ("alter", {"id": "$intent", "set": {"amount": 5}, "event": True}, "no event tells"),
        ("alter_amount", {"id": "$charge", "amount": 0}, "positive"),
        ("alter_amount", {"id": "xx_nobody", "amount": 5}, "no captured charge"),
        ("drop", {"id": "xx_nobody"}, "there is no object"),
        ("pay", {"amount": 5}, "Amount must be at least"),
        ("pay", {"amount": 500, "customer": "cus_nobody"}, "No such customer"),
        ("update_card", {"payment_method": "pm_nobody"}, "No such PaymentMethod"),
    ],
)
def test_what_cannot_be_altered_says_why(sandbox, client, http, action, given, problem):
    intent = pay(client)
    names = {"$charge": intent.latest_charge, "$intent": intent.id}
    answer = http.post(
        f"/_sim/{action}", json={**given, **({"id": names.get(given["id"], given["id"])}
                                             if "id" in given else {})}
    )
    assert answer.status_code == 400
    assert problem in answer.json()["error"]["message"]
    assert client.v1.charges.retrieve(intent.latest_charge).amount == 999
