"""`pay.disputes` and `pay.reconciliations`: disputes answered and books compared from code."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from paydesk import Paydesk
from paydesk.client_async import AsyncPaydesk
from paydesk.errors import DisputeClosed, NotFound
from paydesk.flows import inbox


@pytest.fixture
def pay(env, make):
    make.pack()
    with Paydesk(env=env, background=False) as made:
        yield made


def buy(pay, sim, card="4000000000000259"):
    session = pay.checkout("user_123", pack="creator")
    sim.pay(session.payment.provider_session, card=card)
    for one in sim.deliveries(about=session.payment.provider_session):
        inbox.receive(pay.env, "stripe", one.body, one.headers)
    return session


def test_a_dispute_is_answered_from_code(sim, pay):  # S3.23
    session = buy(pay, sim)
    one = pay.disputes.list(customer="user_123").first()
    assert (one.status, one.amount, one.payment) == (
        "needs_response", session.payment.amount, session.payment.id
    )
    assert pay.disputes.get(one.provider_dispute) == pay.disputes.get(one)
    assert [d.id for d in pay.disputes.list(payment=session.payment.id)] == [one.id]
    found = pay.disputes.suggest(one)
    pay.disputes.draft(one, **found, by="ada")
    one = pay.disputes.attach(one, "receipt", "receipt.pdf", b"%PDF-1.7 receipt")
    assert [file.name for file in one.files] == ["receipt.pdf"]
    assert pay.disputes.submit(one).status == "under_review"
    with pytest.raises(DisputeClosed):
        pay.disputes.accept(one)
    with pytest.raises(NotFound):
        pay.disputes.get("du_nobody")


def test_books_are_compared_from_code(sim, pay, clock):  # S3.23
    clock.advance(minutes=3)
    buy(pay, sim, card="4242424242424242")
    sim.refund(sim.objects("payment_intent")[0]["id"], 300, silent=True)
    since = datetime.now(UTC) - timedelta(days=1)
    run = pay.reconciliations.run(since=since)
    assert [d.type for d in pay.reconciliations.drifts(run)] == ["missing_here"]
    fixed = pay.reconciliations.run(since=since, fix=True, by="ada")
    assert [d.state for d in pay.reconciliations.drifts(fixed, kind="refund")] == ["fixed"]
    assert not pay.reconciliations.run(since=since).has_drift
    assert pay.reconciliations.resume(fixed).state == pay.reconciliations.get(fixed).state == "done"


def test_both_are_there_for_asynchronous_applications(sim, pay):
    buy(pay, sim)

    async def work():
        desk = AsyncPaydesk(paydesk=pay)
        return await desk.disputes.list(limit=5).first()

    assert asyncio.run(work()).status == "needs_response"
