"""A provider that answers about something else than it was asked about: nothing is laid down, the
event waits, and is done when the answer is right."""

from __future__ import annotations

from typing import Any

import pytest
from provider_run import There
from purchase import Desk

from paydesk.flows import inbox
from paydesk.providers.stripe import Stripe


def states(desk: Any) -> set[str]:
    with desk.env.db.read() as tx:
        return {row["state"] for row in tx.all("select state from provider_events")}


def mistake(monkeypatch: pytest.MonkeyPatch, method: str, instead: dict[str, str]) -> None:
    """The adapter hears of another object than the one that it asked about."""
    real = getattr(Stripe, method)
    monkeypatch.setattr(Stripe, method, lambda self, ref, *more: real(
        self, instead.get(ref, ref), *more))  # fmt: skip


@pytest.mark.parametrize("kind", ["refund", "dispute"])
def test_anothers_refund_or_dispute_goes_off_nobodys_payment(desk: Desk, monkeypatch, kind):
    # I9 I32: each of the same sum
    views = [desk.open() for _ in range(2)]
    for view in views:
        desk.pay(view)
        desk.deliver(view)
        intent = desk.sim.get(view.payment.session_ref)["payment_intent"]
        getattr(desk.sim, kind)(intent, 300)
    one, other = (made["id"] for made in desk.sim.objects(kind))
    with monkeypatch.context() as patch:
        mistake(patch, f"fetch_{kind}", {one: other, other: one})
        for told in desk.sim.deliveries():
            if told.event["data"]["object"]["object"] == kind:
                desk.receive(told)
        assert desk.all("select id from refunds union all select id from disputes") == []
        assert "waiting" in states(desk)
    desk.clock.advance(hours=2)
    inbox.apply_waiting(desk.env)
    assert states(desk) == {"done"}
    found = desk.all(
        "select customer_id from refunds union all select customer_id from disputes")
    assert sorted(row["customer_id"] for row in found) == sorted(
        view.customer_id for view in views)  # fmt: skip


def test_another_customers_subscription_is_laid_onto_nobodys(billing, monkeypatch):
    # I32: two subscriptions are renewed, and each is answered with the other
    there = There(billing)
    there.plan("pro", credits=100)
    subs = [there.begin(there.user()) for _ in range(2)]
    before = [there.rows(sub) for sub in subs]
    refs = [there.look(sub).provider_ref for sub in subs]
    there.go_on(days=31, hours=2)
    with monkeypatch.context() as patch:
        mistake(patch, "fetch_subscription", dict(zip(refs, reversed(refs), strict=True)))
        there.deliver()
        assert [there.rows(sub) for sub in subs] == before
    for _ in range(3):
        billing.clock.advance(minutes=30)
        inbox.apply_waiting(there.env)
    for sub in subs:
        assert there.billing.invoices(sub) == [(0, "paid", 2000, 2000), (1, "paid", 2000, 2000)]
    assert there.parked() == []
