"""The documented example of each event has the members that are really sent."""

from __future__ import annotations

from paydesk import USD
from paydesk.flows.event_types import TYPES


def test_examples_of_events_show_the_members_that_are_sent(pay, sim, clock):
    pay.packs.upsert("creator", name="Creator", credits=150, price=USD("9.99"), expires_days=30)
    pay.promos.upsert("WELCOME10", percent_off=10)
    pay.customers.upsert("maya", email="maya@example.com")
    pay.customers.upsert("maya", name="Maya")
    pay.customers.upsert("team", owner="maya")
    declined = pay.checkout("maya", pack="creator", promo="WELCOME10")
    sim.pay(declined.payment.provider_session, "4000000000000002")
    pay.verify(declined)
    sim.pay(declined.payment.provider_session)
    pay.verify(declined)
    pay.checkout("maya", pack="creator")
    pay.credits.refund(pay.spend("maya", 5, reason="render"), 2)
    pay.credits.transfer("maya", "team", 3)
    clock.advance(days=31)
    pay.credits.grant("maya", 10)
    seen = {}
    for event in pay.events.list():
        seen.setdefault(event.type, event)
    for kind, event in seen.items():
        shown = TYPES[kind].data.keys()
        assert shown <= event.data.keys(), (kind, event.data)
        for name, value in TYPES[kind].data.items():
            told = event.data[name]
            assert told is None or type(told) is type(value), (kind, name, told)
        assert event.subject.startswith(event.subject.partition("_")[0] + "_")
    assert {"payment.succeeded", "credits.granted", "credits.spent", "credits.refunded",
            "credits.transferred", "credits.expired", "promo.applied", "checkout.created",
            "checkout.completed", "fulfillment.done", "customer.updated",
            } <= seen.keys()  # fmt: skip
