"""The library's front for subscriptions, as an application has it."""

from __future__ import annotations

import asyncio

import pytest

from paydesk import USD, AsyncPaydesk
from paydesk.errors import NotSupported, PreviewOutdated, SubscriptionAlreadyActive
from paydesk.testing.plugin import clock, pay, paydesk_simulator

__all__ = ["clock", "pay", "paydesk_simulator"]


@pytest.fixture
def paydesk_catalog() -> bool:
    """The desk is empty: each test says what is on sale."""
    return False


@pytest.fixture
def plans(pay):
    pay.plans.upsert("pro", name="Pro", price=USD("20.00"), family="app", grants=["exports"])
    pay.plans.upsert("team", name="Team", price=USD("50.00"), family="app", grants=["exports"])


# S1.12
def test_renewal(pay, clock, plans):
    pay.subscribe("u1", plan="pro").complete(card="4242")
    clock.advance(days=31)
    assert [p.status for p in pay.payments.list(customer="u1")] == ["succeeded", "succeeded"]


# S1.44 I24
def test_what_a_beginning_costs_is_told_before(pay, clock, plans):
    pay.promos.upsert("SPRING", percent_off=10)
    pay.methods.add("u1", "pm_card_visa", default=True)
    seen = pay.subscriptions.preview_new("u1", plan="team", promo="SPRING")
    assert [str(line.amount) for line in seen.lines] == ["USD 50.00", "USD -5.00"]
    assert (seen.way, seen.due_now, seen.next_total) == ("charge", USD("45.00"), USD("50.00"))
    with pytest.raises(PreviewOutdated):
        pay.subscribe("u1", plan="team", expect=seen)  # The code is left out.
    sub = pay.subscribe("u1", plan="team", promo="SPRING", expect=seen)
    assert (sub.status, sub.period_end) == ("active", seen.next_at)
    assert pay.invoices.get(sub.invoice).total == seen.total


# S1.29 S1.44 S1.55
def test_a_trial_a_change_and_a_cancellation(pay, clock, plans):
    pay.promos.upsert("SPRING", percent_off=10)
    session = pay.subscribe("user_123", plan="pro", promo="SPRING", trial_days=14)
    assert session.url
    sub = session.complete()
    assert (sub.status, sub.promo) == ("trialing", "SPRING")
    clock.advance(days=20)
    sub = pay.subscriptions.current("user_123")
    assert sub.status == "active"
    preview = pay.subscriptions.preview(sub, plan="team")
    assert [line.description for line in preview.lines] == [
        "Unused time on Pro", "Remaining time on Team", "SPRING"]
    assert preview.due_now == sum((line.amount for line in preview.lines), USD(0))
    changed = pay.subscriptions.change(sub, plan="team", expect=preview)
    assert changed.plan == "team"
    ended = pay.subscriptions.cancel(sub, at="period_end", reason="too_expensive")
    assert (ended.status, ended.cancel_at) == ("active", changed.period_end)
    assert pay.can("user_123", "exports")
    clock.advance(days=31)
    assert pay.subscriptions.current("user_123") is None
    assert not pay.can("user_123", "exports")
    lines = {line.kind: line for invoice in pay.invoices.list(customer="user_123")
             for line in invoice.items}  # fmt: skip
    told = pay.subscriptions.why(lines["proration_charge"].id).explain()
    assert "policy: seconds" in told
    assert "deposits -> revenue" in told


def test_what_waits_for_no_page_is_not_completed(pay, plans):
    sub = pay.subscribe("u2", plan="pro").complete()
    with pytest.raises(NotSupported):
        sub.complete()
    with pytest.raises(SubscriptionAlreadyActive):
        pay.subscribe("u2", plan="team")
    assert [one.plan for one in pay.subscriptions.list("u2", status="active")] == ["pro"]
    paused = pay.subscriptions.pause(sub)
    assert (paused.status, pay.subscriptions.resume(sub).status) == ("paused", "active")


def test_the_asynchronous_front_subscribes_too(pay, plans):
    async def run() -> str:
        desk = AsyncPaydesk(paydesk=pay)
        sub = await desk.subscribe("u3", "pro")
        done = await asyncio.to_thread(sub.complete)
        found = await desk.subscriptions.get(done)
        return found.status

    assert asyncio.run(run()) == "active"


# S1.29 S1.44
def test_a_change_that_the_bank_asks_about_is_confirmed_or_taken_back(pay, plans):
    pay.subscribe("u9", plan="pro").complete()
    pay.methods.add("u9", "pm_card_authenticationRequired", default=True)
    sub = pay.subscriptions.current("u9")
    waits = pay.subscriptions.change(sub, plan="team", return_url="https://app.example.com/plan")
    assert (waits.plan, waits.next["plan"]) == ("pro", "team")
    assert waits.payment.status == "requires_action"
    assert waits.url == waits.payment.action_url
    back = pay.subscriptions.drop_change(sub)
    assert (back.plan, back.next, back.payment, back.url) == ("pro", None, None, None)
    done = pay.subscriptions.change(sub, plan="team").complete()
    assert (done.plan, done.next, done.payment) == ("team", None, None)
