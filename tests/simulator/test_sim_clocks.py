"""Test clocks: advanced in the background, in order, in steps that survive a kill."""

from __future__ import annotations

import os
import signal

import pytest
import stripe
from billing_support import CLOCKS, DAY, HOUR, START, World, at
from simulator_support import make_client, wait_for
from test_restart import Process

from paydesk.simulator import background
from paydesk.simulator.testing import running_simulator, sandbox_in_process


@pytest.fixture
def world(sandbox, client):
    return World(sandbox, client)


def test_an_advance_is_answered_at_once_and_done_in_the_background(sandbox, client):
    """The server's own timer does it; nobody has to call anything."""
    world = World(sandbox, client)
    made = world.subscribe(world.price(1000))
    clocks = client.v1.test_helpers.test_clocks
    begun = clocks.advance(world.clock, {"frozen_time": at(2026, 2, 1, 1)})
    assert (begun.status, begun.frozen_time) == ("advancing", START)
    assert begun.status_details.advancing.target_frozen_time == at(2026, 2, 1, 1)
    wait_for(lambda: clocks.retrieve(world.clock).status == "ready")
    assert clocks.retrieve(world.clock).frozen_time == at(2026, 2, 1, 1)
    assert [one.status for one in world.invoices(made)] == ["paid", "paid"]
    told = [one["type"] for one in sandbox.events() if one["type"].startswith(CLOCKS)]
    assert told == [f"{CLOCKS}.created", f"{CLOCKS}.advancing", f"{CLOCKS}.ready"]


def test_nothing_of_a_clock_that_moves_can_be_changed():
    """In process there is no timer: the clock moves when the test says so."""
    with sandbox_in_process() as sandbox:
        clock = sandbox.request("POST", "/v1/test_helpers/test_clocks", {"frozen_time": START})
        customer = sandbox.request("POST", "/v1/customers", {"test_clock": clock["id"]})
        path = f"/v1/test_helpers/test_clocks/{clock['id']}/advance"
        sandbox.request("POST", path, {"frozen_time": START + DAY})
        for method, call, params in (
            ("POST", path, {"frozen_time": START + 2 * DAY}),
            ("POST", "/v1/invoices", {"customer": customer["id"]}),
            ("POST", "/v1/customers", {"test_clock": clock["id"]}),
            ("DELETE", f"/v1/test_helpers/test_clocks/{clock['id']}", {}),
        ):
            with pytest.raises(Exception, match="advancement underway") as refused:
                sandbox.request(method, call, params)
            assert refused.value.status == 429
        sandbox.run_due()
        assert sandbox.get(clock["id"])["status"] == "ready"
        assert sandbox.request("POST", "/v1/invoices", {"customer": customer["id"]})


@pytest.mark.parametrize(
    ("interval", "limit"), [("day", START + 2 * DAY), ("month", at(2026, 3, 1)),
                            ("year", at(2028, 1, 1))]
)  # fmt: skip
def test_at_most_two_intervals_pass_at_once(world, interval, limit):
    world.subscribe(world.price(1000, interval))
    advance = world.client.v1.test_helpers.test_clocks.advance
    with pytest.raises(stripe.InvalidRequestError, match="two intervals"):
        advance(world.clock, {"frozen_time": limit + 1})
    advance(world.clock, {"frozen_time": limit})
    world.ready()
    with pytest.raises(stripe.InvalidRequestError, match="forward"):
        advance(world.clock, {"frozen_time": limit})


def test_a_clock_moves_its_own_customers_and_nobody_else(sandbox, client):
    one, other = World(sandbox, client), World(sandbox, client)
    plain = client.v1.customers.create({"name": "Without a clock"})
    price = one.price(1000)
    made = [one.subscribe(price), other.subscribe(price)]
    one.advance(at(2026, 3, 1))
    assert [len(one.invoices(sub)) for sub in made] == [3, 1]
    assert [c.id for c in client.v1.customers.list().data] == [plain.id]
    listed = client.v1.customers.list({"test_clock": one.clock}).data
    assert [c.id for c in listed] == [one.customer]


def test_what_is_due_happens_in_order_across_subscriptions(world):
    price, other = world.price(1000), world.price(500, name="Other")
    world.subscribe(price)
    world.advance(at(2026, 1, 10))
    world.subscribe(other)
    world.advance(at(2026, 2, 20))
    created = [one["created"] for one in world.sandbox.events("invoice.created", "invoice.paid")]
    assert created == sorted(created)
    assert created[-4:] == [at(2026, 2, 1), at(2026, 2, 1, 1), at(2026, 2, 10), at(2026, 2, 10, 1)]


def test_deleting_a_clock_ends_what_ran_on_it(world):
    made = world.subscribe(world.price(1000))
    assert world.client.v1.test_helpers.test_clocks.delete(world.clock).deleted
    assert world.sandbox.get(made.id)["status"] == "canceled"
    assert world.sandbox.objects("customer") == []
    assert world.client.v1.test_helpers.test_clocks.list().data == []
    with pytest.raises(stripe.InvalidRequestError, match="No such"):
        world.client.v1.test_helpers.test_clocks.retrieve(world.clock)


def test_a_clock_that_nobody_deletes_goes_after_seven_days(world):
    world.sandbox.advance(7 * DAY + 1)
    assert world.client.v1.test_helpers.test_clocks.list().data == []
    world.sandbox.config(clock_offset_s=0)


def test_an_advance_goes_on_after_a_restart(tmp_path):
    """The first process begins it and does a part; the next one finds the rest in the file."""
    file = str(tmp_path / "simulator.db")
    with sandbox_in_process(db=file) as sandbox:
        clock = sandbox.request("POST", "/v1/test_helpers/test_clocks", {"frozen_time": START})
        customer = sandbox.request("POST", "/v1/customers", {
            "test_clock": clock["id"], "payment_method": "pm_card_visa",
            "invoice_settings": {"default_payment_method": "pm_card_visa"}})  # fmt: skip
        price = sandbox.request("POST", "/v1/prices", {
            "currency": "usd", "unit_amount": 100, "recurring": {"interval": "month"},
            "product_data": {"name": "Pro"}})  # fmt: skip
        for _ in range(15):
            sandbox.request("POST", "/v1/subscriptions", {
                "customer": customer["id"], "items": [{"price": price["id"]}]})  # fmt: skip
        sandbox.request(
            "POST", f"/v1/test_helpers/test_clocks/{clock['id']}/advance",
            {"frozen_time": at(2026, 3, 1)},
        )
        assert sandbox.sim.store.call(sandbox.sim.work(background.run_due)) == 1
        begun = sandbox.get(clock["id"])
        assert begun["status"] == "advancing" and begun["frozen_time"] > START
    with sandbox_in_process(db=file) as sandbox:
        sandbox.run_due()
        assert sandbox.get(clock["id"])["status"] == "ready"
        found = sandbox.objects("invoice")
        assert len(found) == 45
        assert [one["status"] for one in found] == ["paid"] * 30 + ["draft"] * 15
        assert len(sandbox.objects("charge")) == 30


def test_a_killed_process_neither_loses_nor_repeats_a_renewal(tmp_path):
    arguments = ("--port", "0", "--db", str(tmp_path / "simulator.db"))
    with Process(*arguments) as process:
        client = process.client()
        clock = client.v1.test_helpers.test_clocks.create({"frozen_time": START})
        customer = client.v1.customers.create(
            {"test_clock": clock.id, "payment_method": "pm_card_visa",
             "invoice_settings": {"default_payment_method": "pm_card_visa"}}
        )  # fmt: skip
        price = client.v1.prices.create(
            {"currency": "usd", "unit_amount": 100, "recurring": {"interval": "month"},
             "product_data": {"name": "Pro"}}
        )  # fmt: skip
        items = [{"price": price.id}]
        for _ in range(20):
            client.v1.subscriptions.create({"customer": customer.id, "items": items})
        client.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": at(2026, 3, 1)})
        os.kill(process.process.pid, signal.SIGKILL)
        process.process.wait(60)
    with running_simulator(db=arguments[-1]) as sandbox:
        clocks = make_client(sandbox).v1.test_helpers.test_clocks
        wait_for(lambda: clocks.retrieve(clock.id).status == "ready", 60)
        by_status = [one["status"] for one in sandbox.objects("invoice")]
        assert (by_status.count("paid"), by_status.count("draft")) == (40, 20)
        assert len(sandbox.objects("charge")) == 40
        numbers = [one["number"] for one in sandbox.objects("invoice") if one["number"]]
        assert len(set(numbers)) == 40


def test_two_advances_of_one_life_are_as_one(sandbox, client):
    """However the time is cut, the same invoices come of it at the same moments."""
    def lived(*stops):
        world = World(sandbox, client)
        made = world.subscribe(world.price(1000), trial_period_days=9)
        for stop in stops:
            world.far(stop)
        return [
            (one.total, one.created, one.status_transitions.paid_at) for one in world.invoices(made)
        ]

    end = at(2026, 6, 15)
    assert lived(end) == lived(*range(START + 5 * DAY + HOUR, end, 5 * DAY + HOUR), end)
