"""Every event that Stripe has of subscriptions and invoices: what it says here, or why nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from provider_run import There
from purchase import signed

from paydesk.flows import inbox
from paydesk.providers.stripe_shapes import (
    INVOICE_ASIDES,
    INVOICE_EVENTS,
    SCHEDULE_ASIDES,
    SCHEDULE_EVENTS,
    SUBSCRIPTION_EVENTS,
)
from paydesk.simulator import shapes

DOCS = Path(__file__).parents[2] / "docs" / "subscriptions.md"
#: All that Stripe's description of its interface has.
TYPES = sorted(set(re.findall(
    r'"((?:customer\.subscription|subscription_schedule|invoice)\.[a-z_]+)"',
    json.dumps(shapes.table()))))  # fmt: skip


ASIDES = INVOICE_ASIDES | SCHEDULE_ASIDES


def short(type: str) -> str:
    for one in ("customer.subscription.", "subscription_schedule.", "invoice."):
        type = type.removeprefix(one)
    return type


@pytest.fixture
def there(billing) -> There:
    return There(billing)


def test_each_one_is_heard_or_passed_over_for_a_reason():
    # S1.16 S1.17 S1.18 S1.19 S1.20 S1.21: none was forgotten
    assert len(TYPES) >= 32
    heard = INVOICE_EVENTS | SUBSCRIPTION_EVENTS | SCHEDULE_EVENTS
    assert set(TYPES) == heard | ASIDES.keys()
    assert not heard & ASIDES.keys()


def test_the_page_says_so_of_each():
    # As the table of docs/subscriptions.md has it.
    text = DOCS.read_text()
    for type in TYPES:
        assert f"`{short(type)}`" in text
    for type, why in ASIDES.items():
        assert f"| `{short(type)}` | {why} |" in text


@pytest.mark.parametrize("version", ["2020-08-27", "2023-10-16", None])
def test_none_of_them_is_a_fault(there, version):
    # C26: heard of late, alone and repeated, in old and new shapes
    there.plan("pro")
    there.begin(there.user())
    (subscription,) = there.sim.deliveries("customer.subscription.created", version=version)
    (invoice,) = there.sim.deliveries("invoice.paid", version=version)
    there.sim.request("POST", "/v1/subscription_schedules", {
        "from_subscription": subscription.event["data"]["object"]["id"]})  # fmt: skip
    (schedule,) = there.sim.deliveries("subscription_schedule.created", version=version)
    samples = {"customer": subscription, "subscription_schedule": schedule, "invoice": invoice}
    asked = []
    call = there.env.providers.call

    def note(name, method, *args):
        asked.append(method)
        return call(name, method, *args)

    there.env.providers.call = note
    for type in TYPES:
        sample = samples[type.partition(".")[0]]
        event = {**sample.event, "id": f"evt_{type}", "type": type}
        if type == "invoice.upcoming":  # It has no id.
            event["data"]["object"].pop("id")
        body, asked[:] = json.dumps(event).encode(), ()
        for _ in range(2):
            (found,) = inbox.receive(there.env, "stripe", body, signed(body))
            assert found.state == "done", type
        assert bool(asked) == (type not in ASIDES), type
    del there.env.providers.call
    rows = there.billing.all(
        "select type, state, error from provider_events where event_id = 'evt_' || type")
    assert sorted(row["type"] for row in rows) == TYPES
    assert {(row["state"], row["error"]) for row in rows} == {("done", None)}
