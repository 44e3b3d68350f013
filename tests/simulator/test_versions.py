"""Events in the shapes of the API version that an endpoint pins, or that the switch names."""

import json

import pytest
from simulator_support import Receiver
from test_payment_intents import pay

from paydesk.simulator import shapes
from paydesk.simulator.testing import running_simulator

VERSIONS = ["2020-08-27", "2022-11-15", "2024-06-20", "2025-03-31.basil", None]


def told(deliveries, type):
    (event,) = [one.event for one in deliveries if one.type == type]
    return event["data"]["object"]


def bodies(receiver, type):
    events = [json.loads(body) for _, body in receiver.received]
    return [event for event in events if event["type"] == type]


def test_each_endpoint_gets_the_version_it_pins(sandbox, client):
    receivers = {version: Receiver() for version in VERSIONS}
    for version, receiver in receivers.items():
        pinned = {"api_version": version} if version else {}
        client.v1.webhook_endpoints.create(
            {"url": receiver.url, "enabled_events": ["*"], **pinned}
        )
    pay(client)
    sandbox.wait_until_delivered()
    shapes_seen = {}
    for version, receiver in receivers.items():
        receiver.close()
        (event,) = bodies(receiver, "payment_intent.succeeded")
        assert event["api_version"] == (version or shapes.version())
        intent = event["data"]["object"]
        shapes_seen[version] = (
            "charges" in intent, "latest_charge" in intent, "invoice" in intent,
            intent["capture_method"],
        )
    assert shapes_seen == {
        "2020-08-27": (True, False, True, "automatic"),
        "2022-11-15": (False, True, True, "automatic"),
        "2024-06-20": (False, True, True, "automatic_async"),
        "2025-03-31.basil": (False, True, False, "automatic_async"),
        None: (False, True, False, "automatic_async"),
    }


def test_charges_inside_an_intent_are_those_of_its_time(sandbox, client, receiver):
    """A later refund is not in the event of the payment, though the event is sent again."""
    client.v1.webhook_endpoints.create(
        {"url": receiver.url, "enabled_events": ["*"], "api_version": "2020-08-27"}
    )
    intent = pay(client)
    client.v1.refunds.create({"payment_intent": intent.id, "amount": 100})
    sandbox.deliver(again=True)
    sandbox.wait_until_delivered()
    for event in bodies(receiver, "payment_intent.succeeded"):
        (charge,) = event["data"]["object"]["charges"]["data"]
        assert (charge["amount_refunded"], charge["refunds"]["data"]) == (0, [])
    for event in bodies(receiver, "charge.refunded"):
        (refund,) = event["data"]["object"]["refunds"]["data"]
        assert refund["amount"] == 100


def test_a_disputed_charge_names_its_dispute_in_older_versions(sandbox, client):
    intent = pay(client)
    dispute = sandbox.dispute(intent.id)
    client.v1.charges.update(intent.latest_charge, {"description": "Order 1042"})
    old = sandbox.deliveries("charge.updated", version="2022-11-15")[-1].event["data"]["object"]
    new = sandbox.deliveries("charge.updated")[-1].event["data"]["object"]
    assert (old["disputed"], new["disputed"]) == (True, True)
    assert "dispute" not in new
    sandbox.config(event_version="2022-11-15")
    client.v1.charges.update(intent.latest_charge, {"description": "Order 1043"})
    recorded = sandbox.events("charge.updated")[-1]["data"]["object"]
    assert recorded["dispute"] == dispute["id"]


def test_events_of_the_past_are_signed_in_an_older_version_on_request(sandbox, client):
    product = client.v1.products.create(
        {"name": "Pack", "marketing_features": [{"name": "150 credits"}]}
    )
    pay(client)
    old = sandbox.deliveries(version="2020-08-27")
    assert {one.event["api_version"] for one in old} == {"2020-08-27"}
    (charge,) = told(old, "payment_intent.succeeded")["charges"]["data"]
    assert charge["status"] == "succeeded"
    assert told(old, "product.created")["features"] == [{"name": "150 credits"}]
    new = sandbox.deliveries()
    assert told(new, "product.created")["id"] == product.id
    assert told(new, "product.created")["marketing_features"] == [{"name": "150 credits"}]
    assert "latest_charge" in told(new, "payment_intent.succeeded")


def test_an_endpoint_of_the_configuration_pins_a_version(receiver):
    with running_simulator(webhook_url=receiver.url, webhook_version="2022-11-15") as sandbox:
        sandbox.pay_directly(999)
        sandbox.wait_until_delivered()
    (event,) = bodies(receiver, "charge.succeeded")
    assert event["api_version"] == "2022-11-15"
    assert event["data"]["object"]["invoice"] is None


@pytest.mark.parametrize("version", ["newest", "2023", "", 7])
def test_a_version_that_is_none_is_refused(sandbox, version):
    with pytest.raises(ValueError, match="event_version"):
        sandbox.config(event_version=version)
