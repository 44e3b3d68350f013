"""The inbox in trouble: providers that are gone or away, strangers' events, customers held."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import psycopg
import pytest
from purchase import Desk, signed

from paydesk import telemetry
from paydesk.errors import ProviderUnavailable
from paydesk.flows import charges, credits, inbox, sweeps
from paydesk.flows.inbox_rows import row_of, store


def rows(desk):
    return desk.all(
        "select event_id, provider, state, tries::int, error, try_at from provider_events"
        " order by received_at, event_id"
    )


def keep(desk, view):
    """The session's events are stored, and whoever stored them dies."""
    stripe = desk.env.providers["stripe"]
    read = [stripe.parse_webhook(one.body, one.headers)[0] for one in desk.events(view)]
    store(desk.env, [row_of(desk.env, "stripe", one) for one in read])


def test_an_event_whose_provider_is_gone_parks_and_delays_no_other(desk):
    """I29: the package that reads it is not installed here."""
    view = desk.open()
    desk.pay(view)
    with desk.env.db.transaction() as tx:
        tx.run(
            "insert into provider_events (provider, account, event_id, type, body, state, try_at)"
            " values ('gone', '', 'evt_gone', 'x', '{}', 'waiting', %(now)s)",
            {"now": desk.clock.now()},
        )
    keep(desk, view)
    desk.clock.advance(minutes=2)
    inbox.apply_waiting(desk.env)
    assert desk.balance(view) == 150
    for _ in range(desk.env.settings.inbox_max_tries):
        desk.clock.advance(hours=1)
        inbox.apply_waiting(desk.env)
    (gone,) = [row for row in rows(desk) if row["provider"] == "gone"]
    assert (gone["state"], gone["tries"]) == ("parked", desk.env.settings.inbox_max_tries)
    assert "No provider is called 'gone'" in gone["error"]
    assert inbox.replay(desk.env, "gone", "", "evt_gone") == "parked"


def test_a_fault_that_only_a_group_of_events_has_is_counted_and_raised_in_tests(desk, monkeypatch):
    """I23 I29: nobody has to find it by the time that it costs."""
    views, told = [desk.open() for _ in range(3)], []
    for view in views:
        desk.pay(view)
        keep(desk, view)

    def fails(env, claims):
        raise AssertionError("only together")

    monkeypatch.setattr(charges, "settle_free", fails)
    monkeypatch.setattr(telemetry, "count", lambda name, by=1, **more: told.append((name, more)))
    with pytest.raises(AssertionError, match="only together"):
        desk.clock.advance(minutes=2)
        inbox.apply_waiting(desk.env)
    monkeypatch.setattr(sweeps, "raises_faults", False)
    desk.clock.advance(minutes=2)
    inbox.apply_waiting(desk.env)
    assert [desk.balance(view) for view in views] == [150] * 3
    fault = ("paydesk.batch.faults",
             {"paydesk_batch": "events", "error_type": "AssertionError"})  # fmt: skip
    assert [one for one in told if one[0] == fault[0]] == [fault] * 2


def test_an_outage_uses_up_no_tries_and_is_over_within_a_minute(desk, monkeypatch):
    """I6 I40: hours without the provider; what waited is applied soon after."""
    env = replace(desk.env, settings=replace(desk.env.settings, events_are_proof=False))
    careful = Desk(env, desk.sim, desk.make, desk.clock)
    view = careful.open()
    careful.pay(view)

    def away(self, ref):
        raise ProviderUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(type(env.providers["stripe"]), "fetch", away)
        careful.deliver(view, "payment_intent.succeeded")
        for _ in range(14):
            desk.clock.advance(minutes=10)
            inbox.apply_waiting(env)
    (row,) = rows(desk)
    assert (row["state"], row["tries"]) == ("waiting", 0)
    env.providers.circuit("stripe")._worked()
    desk.clock.advance(minutes=1)
    inbox.apply_waiting(env)
    assert careful.balance(view) == 150


@pytest.mark.parametrize("metadata", [{}, {"payment_id": "order-17"}])
def test_events_of_another_program_on_the_account_are_no_work_for_a_person(desk, metadata):
    """I29 I32: nothing of ours is on it: waited for while it could be, then done."""
    told = {
        "id": "pi_of_another", "object": "payment_intent", "status": "succeeded",
        "amount_received": 100, "currency": "usd", "metadata": metadata,
    }  # fmt: skip
    body = json.dumps({
        "id": "evt_other", "type": "payment_intent.succeeded", "data": {"object": told},
    }).encode()  # fmt: skip
    assert inbox.receive(desk.env, "stripe", body, signed(body))[0].state == "waiting"
    desk.clock.advance(minutes=9)
    inbox.apply_waiting(desk.env)
    assert [row["state"] for row in rows(desk)] == ["waiting"]
    desk.clock.advance(minutes=2)
    inbox.apply_waiting(desk.env)
    (row,) = rows(desk)
    assert row["state"] == "done"
    assert "no id of ours" in row["error"]


@pytest.mark.parametrize("account", ["a\u0000b", "x" * 100_000, "é", 5, ["acct_1"], {}])
def test_an_account_that_is_none_parks_its_event_and_spoils_no_other(desk, account):
    """I29 I30: signed, stored, acknowledged."""
    view = desk.open()
    desk.pay(view)
    good = desk.events(view, "checkout.session.completed")[0]
    body = json.dumps({
        "id": "evt_odd", "type": "charge.succeeded", "account": account,
        "data": {"object": {"id": "ch_1"}},
    }).encode()  # fmt: skip
    answers = inbox.receive_many(
        desk.env, "stripe", [(body, signed(body)), (good.body, good.headers)]
    )
    assert [one[0].state for one in answers] == ["parked", "done"]
    assert desk.balance(view) == 150


def test_a_group_of_events_holds_nobody_while_it_waits_for_one(desk):
    """I40: a locked customer's event comes later; the others are neither held nor late."""
    first, last = sorted([desk.open(), desk.open()], key=lambda view: view.customer_id)
    desk.make.credits(first.customer_id, 50)
    for view in (first, last):
        desk.pay(view)
    events = [desk.events(view, "checkout.session.completed")[0] for view in (last, first)]
    answers = []
    with psycopg.connect(desk.env.db.dsn) as conn:
        conn.execute(
            "select 1 from heads where customer_id = %s for no key update", (last.customer_id,)
        )
        began = time.monotonic()
        thread = threading.Thread(target=lambda: answers.extend(inbox.receive_many(
            desk.env, "stripe", [(one.body, one.headers) for one in events]
        )))  # fmt: skip
        thread.start()
        spent = credits.spend_now(desk.env, credits.new_spend(first.customer_id, 1))
        thread.join()
        assert time.monotonic() - began < 4
    assert spent.status == "done"
    assert [one[0].state for one in answers] == ["waiting", "done"]
    assert (desk.balance(first), desk.balance(last)) == (199, 0)
    desk.clock.advance(minutes=1)
    inbox.apply_waiting(desk.env)
    assert desk.balance(last) == 150
