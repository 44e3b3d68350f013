"""What is written on events when they are done: each gets its own, whatever becomes of others."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import psycopg
import pytest
from purchase import Desk, signed

from paydesk.flows import inbox, inbox_rows, sweeps


def rows(desk: Any) -> dict[str, dict[str, Any]]:
    found = desk.all(
        "select event_id, provider, state, tries::int, error, try_at from provider_events"
        " order by received_at, event_id"
    )
    return {row["event_id"]: row for row in found}


def keep(desk: Desk, *bodies: dict[str, Any]) -> None:
    """Events are stored, and whoever stored them dies."""
    stripe = desk.env.providers["stripe"]
    for told in bodies:
        body = json.dumps(told).encode()
        read = stripe.parse_webhook(body, signed(body))
        inbox_rows.store(desk.env, [inbox_rows.row_of(desk.env, "stripe", one) for one in read])


def refunded(desk: Desk, count: int) -> list[dict[str, Any]]:
    """Events of refunds made in Stripe's dashboard, each of another customer's payment."""
    found = []
    for _ in range(count):
        view = desk.open()
        desk.pay(view)
        desk.deliver(view)
        intent = desk.sim.objects("payment_intent")[-1]
        desk.sim.request("POST", "/v1/refunds", {"payment_intent": intent["id"], "amount": 100})
        found.append([one for one in desk.sim.deliveries() if one.type == "refund.created"][-1])
    assert len({one.event["data"]["object"]["id"] for one in found}) == count
    return [one.event for one in found]


@pytest.mark.parametrize("text", ["bad\u0000byte", "half of a pair: \ud800"])
def test_an_error_in_odd_letters_is_written_and_spoils_no_other(desk, monkeypatch, text):
    # I29: the event fails for ever, is parked, and shows why
    bad, good = refunded(desk, 2)
    keep(desk, bad, good)
    stripe = type(desk.env.providers["stripe"])
    real = stripe.fetch_refund

    def fetch(self, ref):
        if ref == bad["data"]["object"]["id"]:
            raise ValueError(text)
        return real(self, ref)

    monkeypatch.setattr(stripe, "fetch_refund", fetch)
    desk.clock.advance(minutes=2)
    inbox.apply_waiting(desk.env)
    found = rows(desk)
    assert (found[bad["id"]]["state"], found[bad["id"]]["tries"]) == ("waiting", 1)
    assert found[bad["id"]]["error"].startswith(f"ValueError: {text[:3]}")
    assert found[good["id"]]["state"] == "done"
    for _ in range(desk.env.settings.inbox_max_tries):
        desk.clock.advance(hours=2)
        inbox.apply_waiting(desk.env)
    assert rows(desk)[bad["id"]]["state"] == "parked"


def test_a_row_that_cannot_be_marked_keeps_no_other_from_it(desk, monkeypatch):
    # I29: it stays leased, and is taken up again with its facts laid down already
    events = refunded(desk, 3)
    keep(desk, *events)
    bad = events[1]["id"]
    real = inbox_rows._next_try
    monkeypatch.setattr(sweeps, "raises_faults", False)

    def next_try(row, state):
        if row.event.id == bad:
            raise OverflowError("too far")
        return real(row, state)

    desk.clock.advance(minutes=2)
    with monkeypatch.context() as patch:
        patch.setattr(inbox_rows, "_next_try", next_try)
        inbox.apply_waiting(desk.env)
        found = rows(desk)
        assert [found[one["id"]]["state"] for one in events] == ["done", "new", "done"]
    desk.clock.advance(minutes=2)
    inbox.apply_waiting(desk.env)
    assert rows(desk)[bad]["state"] == "done"


@pytest.mark.parametrize("fault", [psycopg.errors.DeadlockDetected("both wait"), KeyError("x")])
def test_a_fault_of_the_database_at_one_customer_costs_no_other_its_mark(desk, monkeypatch, fault):
    # I29: what cannot be taken up waits for its next turn, beside those that are done
    events = refunded(desk, 3)
    keep(desk, *events)
    bad = events[1]["id"]
    real = inbox_rows.take_about

    def take_about(env, provider, account, about, ids):
        if bad in ids:
            raise fault
        return real(env, provider, account, about, ids)

    desk.clock.advance(minutes=2)
    with monkeypatch.context() as patch:
        patch.setattr(inbox_rows, "take_about", take_about)
        inbox.apply_waiting(desk.env)
    found = rows(desk)
    assert [found[one["id"]]["state"] for one in events] == ["done", "waiting", "done"]
    assert type(fault).__name__ in found[bad]["error"]
    desk.clock.advance(hours=2)
    inbox.apply_waiting(desk.env)
    assert rows(desk)[bad]["state"] == "done"


@pytest.mark.parametrize("step", ["take_due", "take_about", "mark"])
def test_processes_lock_events_in_one_order_so_that_none_is_ended_by_another(desk, step):
    # I29: the first by name is held elsewhere: whoever waits for it holds no later one
    env = desk.env
    (event,) = refunded(desk, 1)
    names = ["evt_b", "evt_C", "evt_a"]
    for name in names:
        keep(desk, {**event, "id": name})
        desk.clock.advance(seconds=1)
    desk.clock.advance(minutes=2)
    with env.db.read() as tx:
        found = tx.all("select e.* from provider_events e where event_id = any(%(names)s)",
                       {"names": names})  # fmt: skip
    kept = [inbox_rows.stored(env, one) for one in found]
    one = kept[0]
    do = {
        "take_due": lambda: inbox_rows.take_due(env),
        "take_about": lambda: inbox_rows.take_about(
            env, one.provider, one.account, one.about, ["evt_b"]),
        "mark": lambda: inbox_rows.mark(env, kept, {one.key: ("done", None) for one in kept}),
    }[step]  # fmt: skip
    waiter = threading.Thread(target=do)
    free = "select event_id from provider_events where event_id = any(%s) for update skip locked"
    with psycopg.connect(env.db.dsn) as holder, psycopg.connect(env.db.dsn) as other:
        holder.execute("select 1 from provider_events where event_id = 'evt_C' for update")
        waiter.start()
        until = time.monotonic() + 20
        waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'" \
                " and datname = current_database() and query like '%provider_events%'"
        while not other.execute(waits).fetchone()[0]:
            assert time.monotonic() < until
            other.rollback()
            time.sleep(0.01)
        assert {row[0] for row in other.execute(free, (names,))} == {"evt_a", "evt_b"}
        other.rollback()
        holder.rollback()
        waiter.join()


def test_a_provider_that_answers_slowly_about_one_keeps_no_other_from_its_mark(desk, monkeypatch):
    # S1.17 I29: whoever looks sees what is done, and a process that dies leaves less to do again
    slow, *others = refunded(desk, 4)
    keep(desk, slow, *others)
    stripe = type(desk.env.providers["stripe"])
    real, go_on = stripe.fetch_refund, threading.Event()

    def fetch(self, ref):
        if ref == slow["data"]["object"]["id"]:
            go_on.wait(15)
        return real(self, ref)

    monkeypatch.setattr(stripe, "fetch_refund", fetch)
    desk.clock.advance(minutes=2)
    taker = threading.Thread(target=lambda: inbox.apply_waiting(desk.env))
    taker.start()
    try:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            found = rows(desk)
            if all(found[one["id"]]["state"] == "done" for one in others):
                break
            time.sleep(0.01)
        assert [found[one["id"]]["state"] for one in (slow, *others)] == ["new"] + ["done"] * 3
    finally:
        go_on.set()
        taker.join()
    assert {row["state"] for row in rows(desk).values()} == {"done"}
