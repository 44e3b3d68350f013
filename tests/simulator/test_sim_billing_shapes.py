"""Subscriptions and invoices in the shapes of older API versions, and Checkout that begins one."""

from __future__ import annotations

import json

import pytest
import stripe
from billing_support import DAY, HOUR, START, World, at
from simulator_support import Receiver

from paydesk.simulator.testing import running_simulator

OLD, BETWEEN, BASIL = "2023-10-16", "2024-06-20", "2025-03-31.basil"
BUY = {"success_url": "http://shop.test/thanks", "mode": "subscription"}


@pytest.fixture
def world(sandbox, client):
    return World(sandbox, client)


def recurring(amount=1000, name="Pro", **more):
    data = {"currency": "usd", "unit_amount": amount, "product_data": {"name": name},
            "recurring": {"interval": "month"}}  # fmt: skip
    return {"price_data": data, "quantity": 1, **more}


def told(sandbox, type, version=None):
    return sandbox.deliveries(type, version=version)[-1].event["data"]


def test_an_invoice_names_its_subscription_and_payment_as_its_version_does(world):
    made = world.subscribe(world.price(1000), metadata={"plan": "pro"})
    invoice = {one: told(world.sandbox, "invoice.paid", one)["object"]
               for one in (OLD, BETWEEN, BASIL, None)}  # fmt: skip
    (intent,) = world.sandbox.objects("payment_intent")
    for version in (OLD, BETWEEN):
        old = invoice[version]
        assert (old["subscription"], old["payment_intent"], old["charge"], old["paid"]) == (
            made.id, intent["id"], intent["latest_charge"], True
        )
        assert old["subscription_details"] == {"metadata": {"plan": "pro"}}
        assert not {"parent", "payments", "total_taxes"} & old.keys()
        (line,) = old["lines"]["data"]
        assert (line["type"], line["proration"], line["subscription"]) == (
            "subscription", False, made.id
        )
        assert line["plan"]["amount"] == line["price"]["unit_amount"] == 1000
        assert not {"parent", "pricing"} & line.keys()
    assert ("rendering_options" in invoice[OLD], "rendering" in invoice[OLD]) == (True, False)
    assert ("rendering_options" in invoice[BETWEEN], "rendering" in invoice[BETWEEN]) == (
        False, True
    )
    for version in (BASIL, None):
        new = invoice[version]
        assert new["parent"]["subscription_details"]["subscription"] == made.id
        assert not {"subscription", "payment_intent", "charge", "paid"} & new.keys()
        assert "price_details" in new["lines"]["data"][0]["pricing"]
    charged = told(world.sandbox, "charge.succeeded", OLD)["object"]
    assert charged["invoice"] == made.latest_invoice
    succeeded = told(world.sandbox, "payment_intent.succeeded", OLD)["object"]
    assert succeeded["invoice"] == made.latest_invoice


def test_the_period_stands_on_the_subscription_in_older_versions(world):
    world.subscribe(world.price(1000), quantity=2)
    world.advance(at(2026, 2, 1))
    for version in (OLD, BETWEEN):
        old = told(world.sandbox, "customer.subscription.updated", version)
        about = old["object"]
        assert (about["current_period_start"], about["current_period_end"]) == (
            at(2026, 2, 1), at(2026, 3, 1)
        )
        assert (about["quantity"], about["plan"]["interval"]) == (2, "month")
        assert "current_period_end" not in about["items"]["data"][0]
        assert old["previous_attributes"]["current_period_end"] == at(2026, 2, 1)
        assert "billing_mode" not in about
    for version in (BASIL, None):
        new = told(world.sandbox, "customer.subscription.updated", version)
        assert "current_period_end" not in new["object"]
        assert new["object"]["items"]["data"][0]["current_period_end"] == at(2026, 3, 1)
        before = new["previous_attributes"]["items"]["data"][0]
        assert before["current_period_end"] == at(2026, 2, 1)


def test_prorations_are_marked_as_their_version_marks_them(world):
    made = world.subscribe(world.price(1000))
    world.advance(START + 10 * DAY)
    item = made["items"].data[0].id
    world.client.v1.subscriptions.update(
        made.id, {"items": [{"id": item, "quantity": 2}], "proration_behavior": "always_invoice"}
    )
    old = told(world.sandbox, "invoiceitem.created", OLD)["object"]
    assert (old["proration"], old["subscription"], old["subscription_item"]) == (
        True, made.id, item
    )
    assert (old["price"]["unit_amount"], old["plan"]["id"]) == (1000, old["price"]["id"])
    lines = told(world.sandbox, "invoice.finalized", OLD)["object"]["lines"]["data"]
    assert [(one["type"], one["proration"]) for one in lines] == [("invoiceitem", True)] * 2
    assert [one["subscription_item"] for one in lines] == [item] * 2
    assert "subscription_proration_date" in told(world.sandbox, "invoice.paid", OLD)["object"]


def test_each_endpoint_gets_the_shapes_and_the_changes_of_its_version(sandbox, client):
    receivers = {version: Receiver() for version in (OLD, None)}
    for version, receiver in receivers.items():
        pinned = {"api_version": version} if version else {}
        client.v1.webhook_endpoints.create(
            {"url": receiver.url, "enabled_events": ["customer.subscription.updated"], **pinned}
        )
    world = World(sandbox, client)
    world.subscribe(world.price(1000))
    world.advance(at(2026, 2, 1))
    sandbox.wait_until_delivered()
    keys = {}
    for version, receiver in receivers.items():
        receiver.close()
        events = [json.loads(body) for _, body in receiver.received]
        last = max(events, key=lambda one: one["created"])["data"]
        keys[version] = set(last["previous_attributes"])
    assert keys == {
        OLD: {"current_period_start", "current_period_end", "latest_invoice"},
        None: {"items", "latest_invoice"},
    }


def test_the_switch_of_versions_holds_for_billing_too():
    with running_simulator() as sandbox:
        sandbox.config(event_version=OLD)
        sandbox.trigger("invoice.paid")
        (event,) = sandbox.events("invoice.paid")
        assert event["api_version"] == OLD
        assert event["data"]["object"]["payment_intent"].startswith("pi_")


# Checkout -----------------------------------------------------------------------------------------


def test_a_session_in_subscription_mode_begins_a_subscription(sandbox, client):
    once = {"price_data": {"currency": "usd", "unit_amount": 500,
                           "product_data": {"name": "Set-up"}}, "quantity": 1}  # fmt: skip
    session = client.v1.checkout.sessions.create({
        **BUY, "line_items": [recurring(), once],
        "subscription_data": {"metadata": {"order": "1042"}},
    })  # fmt: skip
    assert (session.amount_total, session.subscription, session.payment_status) == (
        1500, None, "unpaid"
    )
    assert sandbox.pay(session.id).complete
    done = client.v1.checkout.sessions.retrieve(
        session.id, {"expand": ["subscription", "invoice.payments"]}
    )
    assert (done.payment_status, done.payment_intent) == ("paid", None)
    subscription, invoice = done.subscription, done.invoice
    assert (subscription.status, subscription.metadata["order"]) == ("active", "1042")
    assert (invoice.status, invoice.total, invoice.amount_paid) == ("paid", 1500, 1500)
    assert subscription.customer == done.customer == invoice.customer
    method = client.v1.payment_methods.retrieve(subscription.default_payment_method)
    assert method.customer == done.customer
    assert len(sandbox.objects("payment_intent")) == 1
    assert [one["type"] for one in sandbox.events()][-10:] == [
        "customer.subscription.created", "invoiceitem.created", "invoice.created",
        "invoice.finalized", "invoice_payment.paid", "invoice.paid", "invoice.payment_succeeded",
        "customer.subscription.updated", "checkout.session.completed", "charge.updated",
    ]  # fmt: skip
    listed = client.v1.checkout.sessions.list({"subscription": subscription.id}).data
    assert [one.id for one in listed] == [session.id]


def test_a_declined_card_begins_nothing_and_another_does(sandbox, client):
    session = client.v1.checkout.sessions.create({**BUY, "line_items": [recurring()]})
    assert sandbox.pay(session.id, "4000000000000002").status == "declined"
    assert sandbox.objects("subscription") == []
    assert sandbox.pay(session.id, "4000002760003184").complete
    (subscription,) = sandbox.objects("subscription")
    assert subscription["status"] == "active"


def test_a_trial_in_checkout_saves_the_card_and_charges_it_later(sandbox, client):
    world = World(sandbox, client, card=None)
    session = client.v1.checkout.sessions.create({
        **BUY, "customer": world.customer, "line_items": [recurring()],
        "subscription_data": {"trial_period_days": 7},
    })  # fmt: skip
    assert (session.amount_total, session.payment_status) == (0, "no_payment_required")
    assert sandbox.pay(session.id).complete
    made = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["subscription"]})
    subscription = made.subscription
    assert (subscription.status, subscription.trial_end) == ("trialing", START + 7 * DAY)
    assert sandbox.objects("charge") == []
    world.advance(START + 7 * DAY + HOUR)
    assert world.now(subscription).status == "active"
    assert [one["amount"] for one in sandbox.objects("charge")] == [1000]


def test_a_trial_in_checkout_may_begin_without_a_card(sandbox, client):
    session = client.v1.checkout.sessions.create({
        **BUY, "line_items": [recurring()], "payment_method_collection": "if_required",
        "subscription_data": {"trial_period_days": 7, "trial_settings": {
            "end_behavior": {"missing_payment_method": "cancel"}}},
    })  # fmt: skip
    assert sandbox.pay(session.id).complete
    (subscription,) = sandbox.objects("subscription")
    assert (subscription["status"], subscription["default_payment_method"]) == ("trialing", None)
    sandbox.advance(8 * DAY)
    assert sandbox.get(subscription["id"])["status"] == "canceled"
    sandbox.config(clock_offset_s=0)


def test_the_page_says_that_it_is_a_subscription(sandbox, client, browser):
    session = client.v1.checkout.sessions.create({**BUY, "line_items": [recurring(1999)]})
    page = browser.get(session.url).text
    assert "$19.99 per month, until you cancel" in page
    assert ">Subscribe</button>" in page
    sandbox.pay(session.id)
    assert "Your subscription has begun" in browser.get(session.url).text


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"mode": "payment", "line_items": [recurring()]}, "recurring price"),
        ({"line_items": [{"price_data": {"currency": "usd", "unit_amount": 1, "product_data": {
            "name": "Once"}}, "quantity": 1}]}, "at least one recurring"),
        ({"line_items": [recurring()], "payment_intent_data": {"description": "x"}},
         "payment_intent_data"),
        ({"line_items": [recurring()], "subscription_data": {"trial_end": 1}}, "2 days"),
        ({"line_items": [recurring()], "subscription_data": {"default_tax_rates": ["txr_1"]}},
         "does not have tax rates"),
        ({"mode": "payment", "line_items": [recurring()], "subscription_data": {
            "trial_period_days": 3}}, "subscription_data"),
    ],
)  # fmt: skip
def test_a_session_that_cannot_be_is_refused(client, params, words):
    with pytest.raises(stripe.InvalidRequestError, match=words):
        client.v1.checkout.sessions.create({**BUY, **params})


# On request ---------------------------------------------------------------------------------------


def test_a_subscription_is_renewed_on_request(sandbox, client):
    sandbox.trigger("customer.subscription.created", amount=1234)
    (made,) = sandbox.objects("subscription")
    events = sandbox.trigger("invoice.payment_failed", of=made["id"])
    types = [one["type"] for one in events]
    assert types.index("invoice.upcoming") < types.index("invoice.created")
    assert sandbox.get(made["id"])["status"] == "past_due"
    invoice = sandbox.get(sandbox.get(made["id"])["latest_invoice"])
    assert (invoice["amount_due"], invoice["billing_reason"]) == (1234, "subscription_cycle")
    sandbox.trigger("invoice.paid", of=invoice["id"])
    assert sandbox.get(made["id"])["status"] == "active"
    sandbox.trigger("customer.subscription.deleted", of=made["id"])
    assert sandbox.get(made["id"])["status"] == "canceled"
    with pytest.raises(ValueError, match="can be renewed"):
        sandbox.act("renew", subscription=made["id"])


def test_a_subscription_on_a_clock_is_renewed_by_its_clock_alone(world):
    made = world.subscribe(world.price(1000))
    with pytest.raises(ValueError, match="without a test clock"):
        world.sandbox.act("renew", subscription=made.id)
