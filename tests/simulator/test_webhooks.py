"""Webhooks: signed as Stripe signs, sent again until they arrive, late, twice, lost on demand."""

import json
import time

import httpx
import pytest
import stripe
from simulator_support import make_client, session_params, wait_for

from paydesk.simulator import shapes
from paydesk.simulator.testing import running_simulator

SECRET = "whsec_of_the_shop"
SUCCESS = [
    "payment_intent.created", "charge.succeeded", "payment_intent.succeeded",
    "checkout.session.completed", "charge.updated",
]


@pytest.fixture
def shop(receiver):
    """A simulator that sends to the receiver, one delivery at a time."""
    with running_simulator(webhook_url=receiver.url, secret=SECRET) as sandbox:
        sandbox.config(concurrency=1, backoff_s=[0.01, 0.01, 0.02])
        yield sandbox


def purchase(sandbox, **more):
    session = sandbox.request("POST", "/v1/checkout/sessions", session_params(**more))
    assert sandbox.pay(session["id"]).complete
    return session["id"]


def signature(headers):
    return next(value for name, value in headers.items() if name.lower() == "stripe-signature")


def test_every_event_of_a_purchase_arrives_signed_and_in_order(shop, receiver):
    purchase(shop)
    shop.wait_until_delivered()
    assert receiver.types == SUCCESS
    for headers, body in receiver.received:
        event = stripe.Webhook.construct_event(body, signature(headers), SECRET)
        assert event.livemode is False
        shapes.validate("event", {**json.loads(body)})


def test_a_body_that_was_changed_does_not_verify(shop, receiver):
    purchase(shop)
    shop.wait_until_delivered()
    headers, body = receiver.received[0]
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body + b" ", signature(headers), SECRET)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body, signature(headers), "whsec_of_another")


def test_a_delivery_that_fails_is_tried_again_with_the_same_event(shop, receiver):
    receiver.answers = [500, 404]
    purchase(shop)
    shop.wait_until_delivered()
    ids = [json.loads(body)["id"] for _, body in receiver.received]
    assert len(ids) == len(SUCCESS) + 2
    assert set(ids) == {event["id"] for event in shop.events()}
    assert shop.stats()["deliveries"] == {"delivered": len(SUCCESS)}


def test_a_delivery_is_given_up_after_its_last_attempt(shop, receiver):
    receiver.answers = [500] * 4
    shop.request("POST", "/v1/customers")
    wait_for(lambda: shop.stats()["deliveries"] == {"failed": 1})
    assert len(receiver.received) == 4


def test_pending_webhooks_counts_what_has_not_arrived(shop, receiver):
    shop.suspend_delivery()
    purchase(shop)
    assert {event["pending_webhooks"] for event in shop.events()} == {1}
    shop.resume_delivery()
    shop.wait_until_delivered()
    assert {event["pending_webhooks"] for event in shop.events()} == {0}
    assert sorted(receiver.types) == sorted(SUCCESS)


def test_events_can_be_duplicated(shop, receiver):
    shop.config(duplicates=2)
    purchase(shop)
    shop.wait_until_delivered()
    assert sorted(receiver.types) == sorted(SUCCESS * 3)
    assert len({json.loads(body)["id"] for _, body in receiver.received}) == len(SUCCESS)


def test_events_can_be_lost_and_sent_later(shop, receiver):
    shop.config(lose_next=3)
    purchase(shop)
    shop.wait_until_delivered()
    assert receiver.types == SUCCESS[3:]
    answer = httpx.post(f"{shop.url}/_sim/deliver").json()
    assert answer == {"deliveries": 3}
    shop.wait_until_delivered()
    assert receiver.types == SUCCESS[3:] + SUCCESS[:3]


def test_every_event_can_be_lost(shop, receiver):
    shop.config(lose_fraction=1)
    purchase(shop)
    assert shop.stats()["deliveries"] == {"lost": len(SUCCESS)}
    assert receiver.received == []


def test_events_can_be_late(shop, receiver):
    shop.config(delay_s=0.3)
    start = time.monotonic()
    purchase(shop)
    shop.wait_until_delivered()
    assert time.monotonic() - start >= 0.3
    assert receiver.types == SUCCESS


def test_events_can_come_in_another_order(shop, receiver):
    shop.config(reorder_window_s=0.2)
    for _ in range(4):
        purchase(shop)
    shop.wait_until_delivered()
    assert sorted(receiver.types) == sorted(SUCCESS * 4)
    assert receiver.types != SUCCESS * 4


@pytest.mark.parametrize(
    ("order", "expected"), [("created", SUCCESS), ("reversed", SUCCESS[::-1])]
)
def test_held_events_are_sent_in_the_order_asked_for(shop, receiver, order, expected):
    shop.suspend_delivery()
    purchase(shop)
    httpx.post(f"{shop.url}/_sim/deliver", json={"order": order})
    shop.wait_until_delivered()
    assert receiver.types == expected


def test_events_can_be_sent_again(shop, receiver):
    purchase(shop)
    shop.wait_until_delivered()
    again = {"again": True, "types": ["checkout.session.completed"]}
    assert httpx.post(f"{shop.url}/_sim/deliver", json=again).json() == {"deliveries": 1}
    shop.wait_until_delivered()
    assert receiver.types == [*SUCCESS, "checkout.session.completed"]


def test_an_endpoint_gets_the_types_it_asked_for(receiver):
    with running_simulator() as sandbox:
        client = make_client(sandbox)
        made = client.v1.webhook_endpoints.create(
            {"url": receiver.url, "enabled_events": ["checkout.session.completed"]}
        )
        purchase(sandbox)
        sandbox.wait_until_delivered()
        assert receiver.types == ["checkout.session.completed"]
        headers, body = receiver.received[0]
        assert stripe.Webhook.construct_event(body, signature(headers), made.secret)
        client.v1.webhook_endpoints.update(made.id, {"disabled": True})
        purchase(sandbox)
        assert len(sandbox.stats()["deliveries"]) == 1


def test_a_test_may_take_the_deliveries_itself():
    with running_simulator() as sandbox:
        sandbox.suspend_delivery()
        mine, other = purchase(sandbox), purchase(sandbox)
        taken = sandbox.deliveries(about=mine)
        assert [one.type for one in taken] == SUCCESS
        assert len(sandbox.deliveries()) == 2 * len(SUCCESS)
        assert len(sandbox.deliveries("charge.succeeded", about=other)) == 1
        for one in taken:
            secret, header = sandbox.webhook_secret, one.headers["Stripe-Signature"]
            event = stripe.Webhook.construct_event(one.body, header, secret)
            assert event.id == one.event_id == one.event["id"]
        old = sandbox.deliveries(timestamp=1_700_000_000)[0]
        with pytest.raises(stripe.SignatureVerificationError, match="tolerance"):
            stripe.Webhook.construct_event(old.body, old.headers["Stripe-Signature"], secret)


def test_older_api_versions_have_their_shapes():
    with running_simulator() as sandbox:
        sandbox.config(event_version="2023-10-16")
        purchase(sandbox)
        (intent,) = sandbox.events("payment_intent.succeeded")
        assert intent["api_version"] == "2023-10-16"
        body = intent["data"]["object"]
        assert (body["capture_method"], body["invoice"]) == ("automatic", None)
        assert body["latest_charge"].startswith("ch_")
        (session,) = sandbox.events("checkout.session.completed")
        assert session["data"]["object"]["ui_mode"] == "hosted"
        sandbox.config(event_version="2020-08-27")
        purchase(sandbox)
        body = sandbox.events("payment_intent.succeeded")[-1]["data"]["object"]
        assert "latest_charge" not in body
        assert [charge["paid"] for charge in body["charges"]["data"]] == [True]
        assert body["charges"]["data"][0]["refunds"]["data"] == []


def test_a_time_out_counts_as_a_failure(receiver):
    with running_simulator(webhook_url="http://127.0.0.1:9/closed") as sandbox:
        sandbox.config(backoff_s=[], delivery_timeout_s=0.2)
        sandbox.request("POST", "/v1/customers")
        wait_for(lambda: sandbox.stats()["deliveries"] == {"failed": 1})
