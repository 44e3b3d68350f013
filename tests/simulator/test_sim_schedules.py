"""Subscription schedules: what a subscription is to be of when its period ends."""

from __future__ import annotations

import pytest
import stripe
from billing_support import DAY, World, at

from paydesk.simulator import shapes


@pytest.fixture
def world(sandbox, client):
    return World(sandbox, client)


@pytest.fixture
def made(world):
    return world.subscribe(world.price(5000, name="Max"), quantity=2)


def schedule(world, subscription, price, quantity=1, **more):
    """Another price from the period's end on, for one period of it."""
    calls = world.client.v1.subscription_schedules
    found = calls.create({"from_subscription": subscription.id})
    (now,) = found.phases
    return calls.update(found.id, {"end_behavior": "release", "phases": [
        {"items": [{"price": one.price, "quantity": one.quantity} for one in now["items"]],
         "start_date": now.start_date, "end_date": now.end_date},
        {"items": [{"price": price, "quantity": quantity}], "proration_behavior": "none",
         "duration": {"interval": "month"}, **more},
    ]})  # fmt: skip


def types(world):
    return [one["type"] for one in world.sandbox.events()
            if one["type"].startswith("subscription_schedule")]  # fmt: skip


def test_a_schedule_is_of_what_runs_until_the_periods_end(world, made):
    found = world.client.v1.subscription_schedules.create({"from_subscription": made.id})
    assert (found.status, found.subscription, found.end_behavior) == ("active", made.id, "release")
    (phase,) = found.phases
    item = made["items"].data[0]
    assert (phase.start_date, phase.end_date) == (item.current_period_start,
                                                  item.current_period_end)  # fmt: skip
    assert [(one.price, one.quantity) for one in phase["items"]] == [(item.price.id, 2)]
    assert world.now(made).schedule == found.id
    assert types(world) == ["subscription_schedule.created"]
    expanded = world.client.v1.subscriptions.retrieve(
        made.id, {"expand": ["schedule.phases.items.price"]}
    )
    assert expanded.schedule.phases[0]["items"][0].price.unit_amount == 5000
    listed = world.client.v1.subscription_schedules.list({"customer": world.customer})
    assert [one.id for one in listed.data] == [found.id]


# S1.29
def test_the_next_phase_comes_with_the_next_periods_invoice(world, made):
    small = world.price(1000)
    schedule(world, made, small)
    before = world.now(made)
    assert before["items"].data[0].price.unit_amount == 5000
    world.far(at(2026, 2, 1, 2))
    after = world.now(made)
    (item,) = after["items"].data
    assert (item.price.id, item.quantity, item.current_period_start) == (small, 1, at(2026, 2, 1))
    assert [one.total for one in world.invoices(made)] == [10_000, 1000]
    assert world.invoices(made)[1].lines.data[0].parent.subscription_item_details.proration is False
    assert types(world)[-1] == "subscription_schedule.updated"
    world.far(at(2026, 3, 1, 2))
    assert types(world)[-1] == "subscription_schedule.completed"
    assert (world.now(made).schedule, [one.total for one in world.invoices(made)]) == (
        None, [10_000, 1000, 1000])  # fmt: skip
    for event in world.sandbox.events():
        if event["type"].startswith("subscription_schedule"):
            shapes.validate("subscription_schedule", event["data"]["object"])


def test_another_interval_begins_its_cycle_with_the_phase(world, made):
    yearly = world.price(9000, "year")
    schedule(world, made, yearly, duration={"interval": "year"})
    world.far(at(2026, 2, 2))
    (item,) = world.now(made)["items"].data
    assert (item.current_period_start, item.current_period_end) == (
        at(2026, 2, 1), at(2027, 2, 1))  # fmt: skip
    assert [one.total for one in world.invoices(made)] == [10_000, 9000]


def test_released_it_runs_on_as_it_is(world, made):
    found = schedule(world, made, world.price(1000))
    gone = world.client.v1.subscription_schedules.release(found.id)
    assert (gone.status, gone.subscription, gone.released_subscription) == (
        "released", None, made.id)  # fmt: skip
    assert world.now(made).schedule is None
    with pytest.raises(stripe.InvalidRequestError, match="currently in the `released` status"):
        world.client.v1.subscription_schedules.release(found.id)
    world.far(at(2026, 2, 2))
    assert [one.total for one in world.invoices(made)] == [10_000, 10_000]


def test_what_a_schedule_forbids_and_what_it_follows(world, made):
    calls = world.client.v1
    found = schedule(world, made, world.price(1000))
    with pytest.raises(stripe.InvalidRequestError, match="managed by the subscription schedule"):
        calls.subscriptions.update(made.id, {"cancel_at_period_end": True})
    with pytest.raises(stripe.InvalidRequestError, match="already attached to a schedule"):
        calls.subscription_schedules.create({"from_subscription": made.id})
    with pytest.raises(stripe.InvalidRequestError, match="start date of the current phase"):
        calls.subscription_schedules.update(found.id, {"phases": [
            {"items": [{"price": found.phases[0]["items"][0].price}],
             "start_date": found.phases[0].start_date + 1,
             "end_date": found.phases[0].end_date}]})  # fmt: skip
    item = made["items"].data[0].id
    calls.subscriptions.update(made.id, {"items": [{"id": item, "quantity": 3}]})
    now = calls.subscription_schedules.retrieve(found.id)
    assert [one["items"][0].quantity for one in now.phases] == [3, 1]
    assert calls.subscriptions.cancel(made.id).status == "canceled"
    assert calls.subscription_schedules.retrieve(found.id).status == "canceled"
    assert types(world)[-1] == "subscription_schedule.canceled"


def test_canceled_it_takes_the_subscription_along(world, made):
    found = schedule(world, made, world.price(1000))
    assert world.client.v1.subscription_schedules.cancel(found.id).status == "canceled"
    assert world.now(made).status == "canceled"


def test_one_that_ends_with_a_cancellation_sets_its_date_and_takes_it_back(world, made):
    calls = world.client.v1.subscription_schedules
    found = schedule(world, made, world.price(1000))
    calls.update(found.id, {"end_behavior": "cancel"})
    assert world.now(made).cancel_at == found.phases[1].end_date
    calls.release(found.id)
    assert world.now(made).cancel_at is None
    world.client.v1.subscriptions.update(made.id, {"cancel_at_period_end": True})
    again = calls.create({"from_subscription": made.id})
    assert (again.end_behavior, world.now(made).cancel_at) == ("cancel", at(2026, 2, 1))
    calls.release(again.id, {"preserve_cancel_date": True})
    assert world.now(made).cancel_at == at(2026, 2, 1)
    world.far(at(2026, 2, 2))
    assert world.now(made).status == "canceled"


def test_a_phase_that_ends_within_a_period_is_prorated_as_it_says(world, made):
    calls = world.client.v1.subscription_schedules
    found = calls.create({"from_subscription": made.id})
    start = found.phases[0].start_date
    price = found.phases[0]["items"][0].price
    calls.update(found.id, {"phases": [
        {"items": [{"price": price, "quantity": 2}], "start_date": start,
         "end_date": start + 10 * DAY},
        {"items": [{"price": price, "quantity": 1}], "proration_behavior": "none",
         "end_date": start + 12 * DAY},
    ]})  # fmt: skip
    world.far(start + 11 * DAY)
    assert world.now(made)["items"].data[0].quantity == 1
    world.far(start + 13 * DAY)
    assert world.now(made).schedule is None
    assert len(world.invoices(made)) == 1
    assert calls.retrieve(found.id).status == "completed"


def test_the_upcoming_invoice_is_of_the_next_phase(world, made):
    schedule(world, made, world.price(1000))
    seen = world.client.v1.invoices.create_preview({"subscription": made.id})
    assert seen.total == 1000
    assert world.now(made)["items"].data[0].price.unit_amount == 5000
