"""Customers, catalogue, payment methods, refunds, events, webhook endpoints, balance."""

import pytest
import stripe
from simulator_support import session_params
from test_payment_intents import pay

from paydesk.simulator.cards import CARDS


def test_a_customer_is_made_changed_listed_and_deleted(sandbox, client):
    customer = client.v1.customers.create(
        {
            "email": "maya@northwind.test", "name": "Maya", "metadata": {"user": "7"},
            "address": {"city": "Oslo", "country": "NO"}, "payment_method": "pm_card_visa",
            "shipping": {"name": "Maya", "address": {"line1": "Storgata 1"}},
            "invoice_settings": {"footer": "Thanks"},
        }
    )
    changed = client.v1.customers.update(customer.id, {"name": "Maya Okafor", "phone": ""})
    assert (changed.name, changed.phone, changed.email) == ("Maya Okafor", None, customer.email)
    by_email = client.v1.customers.list({"email": "maya@northwind.test"}).data
    assert [one.id for one in by_email] == [customer.id]
    found = client.v1.customers.search({"query": "metadata['user']:'7'"}).data
    assert [one.id for one in found] == [customer.id]
    assert client.v1.customers.delete(customer.id).deleted
    assert client.v1.customers.retrieve(customer.id).deleted
    assert client.v1.customers.list().data == []
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.update(customer.id, {"name": "Nobody"})
    types = [event["type"] for event in sandbox.events()]
    assert types == [
        "customer.created", "payment_method.attached", "customer.updated", "customer.deleted",
    ]


@pytest.mark.parametrize("email", ["maya", "maya@", "@northwind.test", "a b@c.test"])
def test_an_email_address_that_is_none_is_refused(client, email):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.customers.create({"email": email})
    assert refused.value.code == "email_invalid"


def test_products_and_prices(client):
    product = client.v1.products.create(
        {
            "name": "Creator Pack",
            "default_price_data": {"currency": "usd", "unit_amount": 999},
            "marketing_features": [{"name": "150 credits"}],
        }
    )
    price = client.v1.prices.retrieve(product.default_price, {"expand": ["product"]})
    assert (price.unit_amount, price.product.name) == (999, "Creator Pack")
    other = client.v1.prices.create(
        {"currency": "eur", "unit_amount": 899, "product": product.id, "lookup_key": "creator"}
    )
    assert client.v1.prices.list({"lookup_keys": ["creator"]}).data[0].id == other.id
    assert client.v1.prices.update(other.id, {"active": False}).active is False
    assert [one.id for one in client.v1.prices.list({"active": True}).data] == [price.id]
    assert client.v1.products.update(product.id, {"description": "Credits"}).updated
    with pytest.raises(stripe.InvalidRequestError, match="cannot be deleted"):
        client.v1.products.delete(product.id)


def test_a_lookup_key_names_one_price_and_moves_when_asked(client):
    product = client.v1.products.create({"name": "Pack"})
    params = {"currency": "usd", "unit_amount": 500, "product": product.id, "lookup_key": "pack"}
    client.v1.prices.create(params)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.prices.create(params)
    assert refused.value.code == "resource_already_exists"
    moved = client.v1.prices.create({**params, "transfer_lookup_key": True})
    assert [one.id for one in client.v1.prices.list({"lookup_keys": ["pack"]}).data] == [moved.id]


@pytest.mark.parametrize(
    "more",
    [{"recurring": {"interval": "month", "usage_type": "metered"}}, {"unit_amount_decimal": "9.5"},
     {"unit_amount": -1}, {"custom_unit_amount": {"enabled": True}}],
)
def test_a_price_the_simulator_cannot_charge_is_refused(client, more):
    product = client.v1.products.create({"name": "Pack"})
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.prices.create({"currency": "usd", "product": product.id, **more})


@pytest.mark.parametrize("card", CARDS.values(), ids=lambda card: card.name)
def test_every_published_card_works_by_its_number(client, card):
    method = client.v1.payment_methods.create(
        {"type": "card", "card": {"number": card.number, "exp_month": 12, "exp_year": 2040,
                                  "cvc": "123"}}
    )
    assert (method.card.last4, method.card.brand) == (card.last4, card.brand)


@pytest.mark.parametrize(
    ("number", "code"),
    [("4539578763621486", "card_declined"), ("4242424242424241", "incorrect_number"),
     ("42424", "invalid_number"), ("not digits", "invalid_number")],
)
def test_any_other_number_is_refused_and_not_repeated(client, number, code):
    with pytest.raises(stripe.CardError) as refused:
        client.v1.payment_methods.create(
            {"type": "card", "card": {"number": number, "exp_month": 12, "exp_year": 2040}}
        )
    assert refused.value.code == code
    assert number not in refused.value.http_body


@pytest.mark.parametrize(("month", "year"), [(13, 2040), (0, 2040), (1, 2020)])
def test_a_card_that_has_run_out_is_refused(client, month, year):
    with pytest.raises(stripe.CardError) as refused:
        client.v1.payment_methods.create(
            {"type": "card", "card": {"number": "4242424242424242", "exp_month": month,
                                      "exp_year": year}}
        )
    assert refused.value.code.startswith("invalid_expiry")


def test_a_method_is_attached_and_detached(sandbox, client):
    customer = client.v1.customers.create()
    method = client.v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    changed = client.v1.payment_methods.update(method.id, {"billing_details": {"name": "Maya"}})
    assert changed.billing_details.name == "Maya"
    listed = client.v1.payment_methods.list({"customer": customer.id, "type": "card"})
    assert [one.id for one in listed.data] == [method.id]
    assert client.v1.payment_methods.detach(method.id).customer is None
    assert client.v1.payment_methods.list({"customer": customer.id}).data == []
    with pytest.raises(stripe.InvalidRequestError, match="may not be used again"):
        client.v1.payment_methods.attach(method.id, {"customer": customer.id})


def test_refunds_in_parts_up_to_the_whole(sandbox, client):
    intent = pay(client)
    first = client.v1.refunds.create(
        {"payment_intent": intent.id, "amount": 300, "reason": "requested_by_customer",
         "metadata": {"case": "1"}, "expand": ["balance_transaction"]}
    )
    assert (first.status, first.balance_transaction.net) == ("succeeded", -300)
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 700})
    rest = client.v1.refunds.create({"charge": intent.latest_charge})
    assert rest.amount == 699
    charge = client.v1.charges.retrieve(intent.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (999, True)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"charge": intent.latest_charge})
    assert refused.value.code == "charge_already_refunded"
    listed = client.v1.refunds.list({"payment_intent": intent.id}).data
    assert [one.id for one in listed] == [rest.id, first.id]
    types = [event["type"] for event in sandbox.events()][-4:]
    assert types == ["charge.refunded", "refund.created"] * 2


def test_a_refund_of_a_part_captured_charge_leaves_the_released_part_aside(client):
    intent = pay(client, capture_method="manual")
    client.v1.payment_intents.capture(intent.id, {"amount_to_capture": 700})
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    assert refund.amount == 700


def test_a_refund_that_stays_pending_succeeds_later(sandbox, client):
    intent = pay(client, "pm_card_pendingRefund")
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    assert refund.status == "pending"
    sandbox.advance(10)
    assert client.v1.refunds.retrieve(refund.id).status == "succeeded"
    assert len(sandbox.events("refund.updated")) == 1


def test_a_refund_that_fails_later_gives_the_money_back_to_the_balance(sandbox, client):
    intent = pay(client, "pm_card_refundFail")
    refund = client.v1.refunds.create({"payment_intent": intent.id})
    before = client.v1.balance.retrieve().pending[0].amount
    sandbox.advance(10)
    failed = client.v1.refunds.retrieve(refund.id)
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    assert client.v1.balance.retrieve().pending[0].amount == before + 999
    assert client.v1.charges.retrieve(intent.latest_charge).amount_refunded == 0
    assert len(sandbox.events("refund.failed")) == 1


def test_what_was_not_captured_cannot_be_refunded(client):
    intent = pay(client, capture_method="manual")
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.create({"payment_intent": intent.id})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({})
    assert refused.value.code == "parameter_missing"


def test_balance_transactions_are_listed_by_source_and_type(client):
    intent = pay(client)
    client.v1.refunds.create({"payment_intent": intent.id, "amount": 100})
    all_of_them = client.v1.balance_transactions.list().data
    assert [one.type for one in all_of_them] == ["refund", "charge"]
    of_charge = client.v1.balance_transactions.list({"source": intent.latest_charge}).data
    assert [one.amount for one in of_charge] == [999]
    assert client.v1.balance_transactions.retrieve(of_charge[0].id).fee_details[0].amount == 59


def test_events_are_found_by_type_and_keep_the_object_as_it_was(sandbox, client):
    customer = client.v1.customers.create({"name": "Before"})
    client.v1.customers.update(customer.id, {"name": "After"})
    (created,) = client.v1.events.list({"type": "customer.created"}).data
    assert created.data.object.name == "Before"
    (updated,) = client.v1.events.list({"types": ["customer.updated", "charge.failed"]}).data
    assert updated.data.previous_attributes.to_dict() == {"name": "Before"}
    assert len(client.v1.events.list({"type": "customer.*"}).data) == 2
    assert client.v1.events.retrieve(created.id).id == created.id


def test_webhook_endpoints_show_their_secret_once(client):
    endpoint = client.v1.webhook_endpoints.create(
        {"url": "https://shop.test/hooks", "enabled_events": ["charge.succeeded"]}
    )
    assert endpoint.secret.startswith("whsec_")
    assert "secret" not in client.v1.webhook_endpoints.retrieve(endpoint.id)
    changed = client.v1.webhook_endpoints.update(endpoint.id, {"disabled": True})
    assert changed.status == "disabled"
    assert len(client.v1.webhook_endpoints.list().data) == 1
    assert client.v1.webhook_endpoints.delete(endpoint.id).deleted
    assert client.v1.webhook_endpoints.list().data == []


@pytest.mark.parametrize("url", ["shop.test", "ftp://shop.test", "http://", "http://a b"])
def test_an_address_that_is_none_is_refused(client, url):
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.webhook_endpoints.create({"url": url, "enabled_events": ["*"]})
    assert refused.value.code == "url_invalid"


def test_the_account_and_an_object_that_is_not_there(client):
    assert client.v1.accounts.retrieve_current().charges_enabled
    for call in (client.v1.customers, client.v1.payment_intents, client.v1.charges,
                 client.v1.products, client.v1.prices, client.v1.refunds, client.v1.events,
                 client.v1.payment_methods, client.v1.checkout.sessions):
        with pytest.raises(stripe.InvalidRequestError) as refused:
            call.retrieve("xx_nobody")
        assert (refused.value.http_status, refused.value.code) == (404, "resource_missing")


def test_lists_are_narrowed_to_an_intent_or_a_customer(sandbox, client):
    customer = client.v1.customers.create()
    mine = client.v1.checkout.sessions.create(session_params(customer=customer.id))
    other = client.v1.checkout.sessions.create(session_params())
    for one in (mine, other):
        sandbox.pay(one.id)
    intent = client.v1.checkout.sessions.retrieve(mine.id).payment_intent
    by_intent = client.v1.checkout.sessions.list({"payment_intent": intent}).data
    assert [one.id for one in by_intent] == [mine.id]
    assert [one.id for one in client.v1.payment_intents.list({"customer": customer.id}).data] == [
        intent
    ]
    assert len(client.v1.charges.list({"customer": customer.id}).data) == 1
