"""Handlers: every event at least once, in order; one that fails holds up no other."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from paydesk import crash
from paydesk.flows import customers, events, handlers

SINK = "handlers"


@pytest.fixture
def people(env):
    """Two customers that were there before the sink was."""
    made = [customers.ensure(env, f"u{n}").uuid for n in range(2)]
    events.publish(env)
    handlers.register(env, SINK)
    return made


def happen(env, customer, *amounts):
    with env.db.transaction(customer) as tx:
        for amount in amounts:
            events.emit(tx, customer, "credits.spent", customer, {"amount": amount})
    events.publish(env)


def amounts(seen, customer):
    return [e.data["amount"] for e in seen if e.customer_id == customer]


def test_a_sink_gets_every_event_from_its_registration_on(env, people):
    """I28"""
    seen: list = []
    for customer in people:
        happen(env, customer, *range(120))
    assert handlers.drain(env, SINK, seen.append) == 240
    assert handlers.drain(env, SINK, seen.append) == 0
    for customer in people:
        assert amounts(seen, customer) == list(range(120))
    late = customers.ensure(env, "late").uuid
    events.publish(env)
    handlers.drain(env, SINK, seen.append)
    assert [e.type for e in seen if e.customer_id == late] == ["customer.created"]


def test_two_processes_share_the_work_and_double_nothing(env, people):
    """I28: with leases held, nothing is handled twice and order holds."""
    seen: list = []
    stop = threading.Event()

    def drain():
        while not stop.is_set():
            handlers.drain(env, SINK, seen.append)

    with ThreadPoolExecutor(5) as pool:
        drains = [pool.submit(drain) for _ in range(3)]
        for n in range(30):
            happen(env, people[n % 2], n)
        end = time.monotonic() + 60
        while len(seen) < 30 and time.monotonic() < end:
            time.sleep(0.01)
        stop.set()
        for one in drains:
            one.result()
    for place, customer in enumerate(people):
        assert amounts(seen, customer) == list(range(place, 30, 2))


def test_a_poison_event_delays_no_other_and_is_parked_in_the_end(env, clock, people):
    """I29"""
    seen: list = []
    poison = {1}

    def handle(event):
        if event.data["amount"] in poison:
            raise RuntimeError("no such order")
        seen.append(event)

    happen(env, people[0], 0, 1, 2)
    assert handlers.drain(env, SINK, handle) == 2
    assert amounts(seen, people[0]) == [0, 2]
    tries = 1
    while not handlers.parked(env, SINK):
        clock.advance(minutes=10)
        handlers.drain(env, SINK, handle)
        tries += 1
        assert tries <= handlers.MAX_TRIES
    assert tries == handlers.MAX_TRIES
    (event, error), = handlers.parked(env)
    assert event.data == {"amount": 1} and error == "RuntimeError: no such order"
    clock.advance(days=9)
    assert handlers.drain(env, SINK, handle) == 0
    poison.clear()
    assert handlers.replay(env, people[0], event.seq, SINK)
    assert not handlers.replay(env, people[0], event.seq, SINK)
    assert handlers.drain(env, SINK, handle) == 1
    assert amounts(seen, people[0]) == [0, 2, 1] and not handlers.parked(env)


def test_a_handler_that_dies_sees_its_event_again(env, clock, people):
    """I28: at least once, with the same id."""
    seen: list = []

    def die(event):
        seen.append(event.id)
        raise crash.CrashNow("in a handler")

    happen(env, people[0], 1, 2)
    with pytest.raises(crash.CrashNow):
        handlers.drain(env, SINK, die)
    assert handlers.drain(env, SINK, lambda e: seen.append(e.id)) == 0  # The lease still runs.
    clock.advance(seconds=61)
    assert handlers.drain(env, SINK, lambda e: seen.append(e.id)) == 2
    assert seen[0] == seen[1] and len(set(seen)) == 2


def test_what_comes_while_handlers_run_is_not_forgotten(env, people):
    seen: list = []

    def handle(event):
        seen.append(event)
        if event.data["amount"] < 3:
            happen(env, people[0], event.data["amount"] + 1)

    happen(env, people[0], 0)
    while handlers.drain(env, SINK, handle):
        pass
    assert amounts(seen, people[0]) == [0, 1, 2, 3]
