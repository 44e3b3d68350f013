"""Events on request: every type comes as it would come, in Stripe's shapes, with its company."""

from __future__ import annotations

import json

import pytest
from simulator_support import Receiver

from paydesk.simulator import cli, shapes, triggers
from paydesk.simulator.errors import StripeError


@pytest.mark.parametrize("type", triggers.known())
def test_every_recipe_brings_its_event_about(sandbox, type):
    events = sandbox.trigger(type)
    assert type in [event["type"] for event in events]
    told = [event["data"]["object"] for event in events if event["type"] == type]
    if not told[0].get("deleted"):
        shapes.validate(told[0]["object"], told[0])


def test_what_comes_with_an_event_comes_too(sandbox):
    types = [event["type"] for event in sandbox.trigger("charge.refunded", amount=4200)]
    assert types.index("payment_intent.succeeded") < types.index("charge.refunded")
    (refund,) = sandbox.objects("refund")
    assert refund["amount"] == 4200


def test_an_event_happens_to_the_object_that_is_named(sandbox, client):
    session = client.v1.checkout.sessions.create({
        "mode": "payment", "success_url": "http://localhost/x",
        "line_items": [{"quantity": 1, "price_data": {
            "currency": "eur", "unit_amount": 700, "product_data": {"name": "Pack"}}}]})
    sandbox.trigger("payment_intent.payment_failed", of=session.id)
    sandbox.trigger("checkout.session.completed", of=session.id)
    sandbox.trigger("charge.dispute.funds_reinstated", of=session.id)
    (dispute,) = sandbox.objects("dispute")
    assert (dispute["amount"], dispute["status"]) == (700, "won")
    (failed,) = sandbox.events("payment_intent.payment_failed")
    assert failed["data"]["object"]["last_payment_error"]["code"] == "card_declined"


@pytest.mark.parametrize(
    "type, kind",
    [("invoice.overdue", "invoice"),
     ("customer.subscription.pending_update_applied", "subscription"),
     ("coupon.created", "coupon"), ("payment_intent.processing", "payment_intent"),
     ("charge.pending", "charge")],
)  # fmt: skip
def test_a_type_without_a_recipe_is_told_of_a_made_up_object(sandbox, type, kind):
    (event,) = sandbox.trigger(type)
    shapes.validate(kind, event["data"]["object"])


@pytest.fixture
def loose(sandbox):
    """A simulator whose events need not be of Stripe's shapes."""
    yield sandbox
    sandbox.reset()


def test_any_object_is_told_under_any_type(loose):
    told = {"id": "moon_1", "object": "moon", "phase": ["full", None]}
    (event,) = loose.trigger("moon.risen", object=told)
    assert event["data"]["object"] == told


def test_an_event_comes_in_the_version_that_is_asked_for(loose):
    receiver = Receiver()
    loose.request("POST", "/v1/webhook_endpoints",
                    {"url": receiver.url, "enabled_events": ["*"]})  # fmt: skip
    loose.trigger("payment_intent.succeeded", version="2020-08-27")
    loose.trigger("moon.risen", object={"id": "moon_1"}, version="2022-11-15")
    loose.wait_until_delivered()
    receiver.close()
    events = [json.loads(body) for _, body in receiver.received]
    (paid,) = [event for event in events if event["type"] == "payment_intent.succeeded"]
    assert paid["api_version"] == "2020-08-27" and "charges" in paid["data"]["object"]
    (risen,) = [event for event in events if event["type"] == "moon.risen"]
    assert risen["api_version"] == "2022-11-15"
    assert loose.config()["event_version"] is None


def test_an_endpoint_that_pins_a_version_gets_what_was_handed_in_as_it_is(loose):
    receiver = Receiver()
    loose.request("POST", "/v1/webhook_endpoints", {
        "url": receiver.url, "enabled_events": ["*"], "api_version": "2020-08-27"})  # fmt: skip
    loose.trigger("checkout.session.completed", object={"object": "checkout.session"})
    loose.wait_until_delivered()
    receiver.close()
    (event,) = [json.loads(body) for _, body in receiver.received]
    assert event["data"]["object"] == {"object": "checkout.session"}


@pytest.mark.parametrize(
    "given, words",
    [({"type": "moon.risen"}, "no shape is known"), ({"type": "nothing"}, "type of an event"),
     ({"type": "charge.refunded", "of": "cus_nobody"}, "happens to a"),
     ({"type": "charge.refunded", "amount": "ten"}, "not of type int"),
     ({"type": "charge.refunded", "what": 1}, "there is no what"),
     ({"type": "moon.risen", "object": []}, "JSON object"),
     ({"type": "invoice.overdue", "of": "in_nothing"}, "no object"),
     ({"type": "charge.refunded", "version": "never"}, "event_version")],
)  # fmt: skip
def test_what_cannot_be_is_said_in_words(sandbox, given, words):
    with pytest.raises((ValueError, StripeError), match=words):
        sandbox.trigger(**given)


def test_what_is_over_is_not_brought_about_again(sandbox):
    events = sandbox.trigger("payment_intent.succeeded")
    (paid,) = [e["data"]["object"] for e in events if e["type"] == "payment_intent.succeeded"]
    with pytest.raises(ValueError, match="is past it"):
        sandbox.trigger("payment_intent.succeeded", of=paid["id"])


def test_the_command_shows_what_came_of_it(loose, capsys, tmp_path):
    assert cli.main(["trigger", "refund.failed", "--base", loose.url, "-o", "table"]) == 0
    assert "refund.failed" in capsys.readouterr().out
    assert cli.main(["trigger", "--base", loose.url, "-o", "table"]) == 0
    assert capsys.readouterr().out.split() == triggers.known()
    told = tmp_path / "moon.json"
    told.write_text('{"id": "moon_1"}')
    wanted = ["trigger", "moon.risen", "--object", str(told), "--base", loose.url, "-o", "json"]
    assert cli.main(wanted) == 0
    assert json.loads(capsys.readouterr().out)["data"]["object"] == {"id": "moon_1"}
    assert cli.main(["trigger", "moon.risen", "--base", loose.url]) == 1
    assert "no shape is known" in capsys.readouterr().err
    assert cli.main(["trigger", "a.b", "--object", str(tmp_path / "x"), "--base", "http://x"]) == 2
    told.write_text("{")
    assert cli.main(["trigger", "a.b", "--object", str(told), "--base", loose.url]) == 2
    assert cli.main(["trigger", "a.b", "--base", "http://127.0.0.1:9"]) == 3
