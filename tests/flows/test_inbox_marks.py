"""What is written on events when they are done: each gets its own, whatever becomes of others."""

from __future__ import annotations

import json
from typing import Any

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
