"""Webhooks as other accounts send them: API versions old and new, thin, incomplete, unheard of."""

from __future__ import annotations

import copy
import itertools
import json
import random

import pytest
from purchase import DECLINED, signed

from paydesk.flows import inbox
from paydesk.providers.base import Providers
from paydesk.providers.stripe_shapes import READ_EVENTS, read_event
from paydesk.rules.money import USD

VERSIONS = ["2018-11-08", "2020-08-27", "2022-11-15", "2023-10-16", "2024-06-20",
            "2025-03-31.basil", "2025-09-30.clover", None]  # fmt: skip
#: What objects did not have when they were captured in 2019, whatever their version.
LATER = {
    "checkout.session": ("payment_status", "status", "amount_total", "amount_subtotal", "currency",
                         "expires_at", "url", "total_details", "customer_details"),
    "payment_intent": ("latest_charge", "amount_details", "automatic_payment_methods"),
    "charge": ("amount_captured", "calculated_statement_descriptor", "billing_details"),
    "refund": ("payment_intent",),
    "dispute": ("payment_intent", "payment_method_details"),
}


def history(desk):
    """A declined try, a payment, a part refunded at the dashboard, the rest disputed and lost."""
    view = desk.open()
    desk.pay(view, card=DECLINED)
    desk.pay(view)
    intent = desk.sim.get(view.payment.session_ref)["payment_intent"]
    desk.sim.refund(intent, 300)
    desk.sim.dispute(intent, 699)
    desk.sim.decide_dispute(desk.sim.objects("dispute")[0]["id"], "lost")
    return view


def send(desk, events):
    """Deliver these events, signed anew; every one of them is acknowledged."""
    for event in events:
        body = json.dumps(event).encode()
        for one in inbox.receive(desk.env, "stripe", body, signed(body)):
            assert one.state in ("new", "waiting", "done", "parked")


def troubles(desk):
    """What the inbox could not make sense of."""
    return [row["error"] for row in desk.all(
        "select error from provider_events where state <> 'done'")]


def outcome(desk, view):
    one = desk.payment(view)
    (dispute,) = desk.all("select state from disputes where customer_id = %(c)s",
                          c=view.customer_id)
    return (one.state, one.captured, one.refunded, one.method, dispute["state"],
            desk.balance(view) <= 105)  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_tells_the_same(desk, seed, version):
    # C26 S1.15 I2: in any order, each twice
    view = history(desk)
    events = [one.event for one in desk.sim.deliveries(version=version)] * 2
    random.Random(seed).shuffle(events)
    send(desk, events)
    desk.recover()
    assert outcome(desk, view)[:5] == ("partially_refunded", USD("9.99"), USD(3), "card", "lost")
    assert troubles(desk) == []


@pytest.mark.parametrize("version", ["2018-11-08", "2020-08-27"])
def test_events_captured_before_fields_were_added_are_asked_about(desk, version):
    # C26: a refund and a dispute that name no intent, a session that says nothing of its payment
    view = history(desk)
    events = [one.event for one in desk.sim.deliveries(version=version)]
    for event in events:
        inner = event["data"]["object"]
        for name in LATER.get(inner["object"], ()):
            inner.pop(name, None)
        if inner["object"] in ("refund", "dispute"):
            inner["metadata"] = {}
    send(desk, events)
    desk.recover()
    assert outcome(desk, view)[:5] == ("partially_refunded", USD("9.99"), USD(3), "card", "lost")
    assert troubles(desk) == []


@pytest.mark.parametrize("ours", [True, False], ids=["our_metadata", "none"])
def test_refunds_and_disputes_of_2018_are_followed_from_their_charge(desk, seed, ours, monkeypatch):
    # C26 I2: they name a charge, of which Stripe says the payment; in any order, each twice
    view = history(desk)
    (intent,) = desk.sim.objects("payment_intent")
    events = []
    for one in desk.sim.deliveries(version="2018-11-08"):
        event = one.event
        inner = event["data"]["object"]
        if inner["object"] in ("refund", "dispute") or event["type"] == "charge.refunded":
            assert inner.pop("payment_intent") == intent["id"]
            if not ours:
                inner["metadata"] = {}
            events.append(event)
    kinds = {event["type"] for event in events}
    assert {"charge.refunded", "charge.dispute.created", "charge.dispute.closed"} <= kinds
    asked, real = [], Providers.call

    def call(self, name, method, *args, **more):
        asked.append((method, *args))
        return real(self, name, method, *args, **more)

    monkeypatch.setattr(Providers, "call", call)
    told = [one.event for one in desk.sim.deliveries("checkout.session.completed")]
    random.Random(seed).shuffle(events)
    bodies = [json.dumps(event).encode() for event in (*told, *events, *events)]
    inbox.receive_many(desk.env, "stripe", [(body, signed(body)) for body in bodies])
    desk.recover()
    assert outcome(desk, view)[:5] == ("partially_refunded", USD("9.99"), USD(3), "card", "lost")
    assert troubles(desk) == []
    found = {one[1] for one in asked if one[0] == "payment_of"}
    assert found == {intent["latest_charge"]}


@pytest.mark.parametrize("how", ["gone", "null"])
def test_no_field_of_an_event_is_needed_but_those_that_say_what_it_is_about(desk, how, seed):
    # C26 I31: one field after another is not there; nothing breaks, and the end is the same
    view = history(desk)
    events = []
    for delivery in desk.sim.deliveries():
        for name in delivery.event["data"]["object"]:
            event = copy.deepcopy(delivery.event)
            inner = event["data"]["object"]
            if name == "id":
                continue
            if how == "gone":
                inner.pop(name)
            else:
                inner[name] = None
            read_event(json.dumps(event).encode())
            events.append({**event, "id": f"{event['id']}_{name}"})
    chosen = random.Random(seed).sample(events, 60)
    send(desk, chosen)
    assert not [one for one in troubles(desk) if "Error:" in (one or "")]
    send(desk, [one.event for one in desk.sim.deliveries()])
    desk.recover()
    assert outcome(desk, view)[:5] == ("partially_refunded", USD("9.99"), USD(3), "card", "lost")


def test_fields_of_another_kind_break_nothing(desk):
    # C26 I31
    history(desk)
    strange = [[], {}, "text", 7, True, [None], {"data": None}]
    for delivery in desk.sim.deliveries():
        for name, wrong in itertools.product(delivery.event["data"]["object"], strange):
            event = copy.deepcopy(delivery.event)
            event["data"]["object"][name] = wrong
            found = read_event(json.dumps(event).encode())
            assert found.id == delivery.event["id"]


def test_what_is_not_read_is_stored_and_acknowledged(desk):
    # S1.15: types of today and tomorrow, with and without an object
    events = [
        {"id": "evt_1", "object": "event", "type": "invoiceitem.created", "livemode": False,
         "api_version": "2026-10-28.endive", "data": {"object": {"id": "ii_1"}}},
        {"id": "evt_2", "object": "event", "type": "balance.available", "livemode": False,
         "data": {"object": {"object": "balance", "available": []}}},
        {"id": "evt_3", "object": "event", "type": "moon.risen", "livemode": False},
        {"id": "evt_4", "object": "v2.core.event", "type": "v2.core.event_destination.ping",
         "livemode": False, "created": "2026-05-01T10:00:00.000Z", "context": None,
         "related_object": {"id": "ed_1", "type": "event_destination", "url": "/v2/x"}},
        {"id": "evt_5", "object": "v2.core.event", "type": "v1.plan.created", "livemode": False},
        {"id": "evt_6", "object": "v2.core.event", "type": "v1.charge.succeeded",
         "livemode": False, "related_object": {"id": "ch_1", "type": "charge", "url": "/v1/x"}},
    ]  # fmt: skip
    for event in events:
        body = json.dumps(event).encode()
        (one,) = inbox.receive(desk.env, "stripe", body, signed(body))
        assert (one.event_id, one.type, one.state) == (event["id"], event["type"], "done")


def thin(event):
    """The same news as a thin event: what it is about, and nothing of it."""
    inner = event["data"]["object"]
    return {
        "id": f"{event['id']}_thin", "object": "v2.core.event", "type": f"v1.{event['type']}",
        "livemode": False, "created": "2026-05-01T10:00:00.000Z",
        "snapshot_event": event["id"],
        "related_object": {"id": inner["id"], "type": inner["object"], "url": "/v1/of_it"},
    }  # fmt: skip


def test_thin_events_alone_bring_everything_about(desk, seed):
    # C26: they name an object, and Stripe is asked
    view = history(desk)
    events = [thin(one.event) for one in desk.sim.deliveries()]
    random.Random(seed).shuffle(events)
    send(desk, events)
    desk.recover()
    assert outcome(desk, view)[:5] == ("partially_refunded", USD("9.99"), USD(3), "card", "lost")
    assert troubles(desk) == []


def test_a_thin_event_without_an_object_is_parked(desk):
    body = json.dumps({"id": "evt_1", "object": "v2.core.event", "livemode": False,
                       "type": "v1.payment_intent.succeeded"}).encode()  # fmt: skip
    (one,) = inbox.receive(desk.env, "stripe", body, signed(body))
    assert one.state == "parked"
    assert troubles(desk) == ["related_object.id is missing"]


def test_an_event_whose_type_and_object_disagree_is_asked_about(desk):
    # I1: a payment that "succeeded" in an object that still waits for a method
    view = desk.open()
    desk.pay(view)
    (event,) = [one.event for one in desk.events(view, "payment_intent.succeeded")]
    event["data"]["object"] |= {"status": "requires_payment_method", "amount_received": 0}
    send(desk, [event])
    assert desk.payment(view).state == "succeeded" and desk.balance(view) == 150


@pytest.mark.parametrize("kind", sorted(READ_EVENTS))
@pytest.mark.parametrize("inner", [{}, {"id": None}, {"id": "x_1"}, {"id": "x y"}, {"id": 5}])
def test_an_event_that_says_next_to_nothing_is_acknowledged(kind, inner):
    # I31
    found = read_event(json.dumps({
        "id": "evt_1", "type": kind, "livemode": False, "data": {"object": inner},
    }).encode())  # fmt: skip
    assert found.type == kind and (found.problem or found.ref or found.kind)
