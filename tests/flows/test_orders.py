"""Whatever order news comes in, and however often, the end is the same."""

from __future__ import annotations

import itertools
import random

import pytest
from purchase import DECLINED, PROVE

from paydesk.flows import checkout, payment_trail

SIX = (
    "payment_intent.created",
    "charge.failed",
    "payment_intent.payment_failed",
    "charge.succeeded",
    "payment_intent.succeeded",
    "checkout.session.completed",
)
ORDERS = 720 if PROVE else 60


def six_events(desk, view):
    """One declined card, then one that works; exactly these six."""
    assert desk.pay(view, card=DECLINED).status == "declined"
    assert desk.pay(view).status == "complete"
    found = {one.type: one for one in desk.events(view, *SIX)}
    assert set(found) == set(SIX)
    return [found[kind] for kind in SIX]


@pytest.mark.slow
@pytest.mark.prove
@pytest.mark.timeout(3000)
def test_every_order_of_six_events_ends_alike_and_grants_once(desk, seed):
    """I1 I10 I28: 720 orders, each with and without verify-payment; in short, 60 of them."""
    chosen = random.Random(seed)
    orders = list(itertools.permutations(range(6)))
    orders = orders if PROVE else chosen.sample(orders, ORDERS)
    wanted = None
    for number, order in enumerate(orders):
        for verifies in (False, True) if PROVE else (number % 2 == 1,):
            view = desk.open()
            events = six_events(desk, view)
            at = chosen.randrange(7) if verifies else None
            for step, index in enumerate(order):
                if step == at:
                    checkout.verify(desk.env, view.id)
                desk.receive(events[index])
            if at == 6:
                checkout.verify(desk.env, view.payment.session_ref)
            found = desk.standing(view)
            wanted = wanted or found
            assert found == wanted, (seed, number, order, at)
            assert desk.balance(view) == 150
    assert wanted["payment"][0] == "succeeded"
    assert [one[0] for one in wanted["attempts"]] == ["failed", "succeeded"]


def test_any_part_of_the_events_that_proves_the_money_is_enough(desk):
    """I1: one of three messages is enough, twice is no more than once."""
    for kind in ("charge.succeeded", "payment_intent.succeeded", "checkout.session.completed"):
        view = desk.open()
        desk.pay(view)
        for _ in range(2):
            desk.deliver(view, kind)
        assert desk.payment(view).credits_added, kind
        assert desk.balance(view) == 150


def test_a_decline_leaves_the_payment_payable_and_is_remembered(desk):
    """S2.12 I10: a declined try is a row of its own, the session stays open."""
    view = desk.open()
    desk.pay(view, card=DECLINED)
    desk.deliver(view)
    declined = desk.payment(view)
    assert (declined.state, bool(declined.error_code)) == ("pending", True)
    assert "payment.declined" in desk.events_of(view)
    desk.pay(view)
    desk.deliver(view)
    paid = desk.payment(view)
    assert (paid.state, paid.error_code, desk.balance(view)) == ("succeeded", None, 150)
    with desk.env.db.read() as tx:
        tries = payment_trail.attempts(tx, *(view.customer_id, view.payment.id))
        steps = [step.type for step in payment_trail.timeline(tx, paid)]
    assert sorted(one.state for one in tries) == ["failed", "succeeded"]
    assert steps[:2] == ["checkout.created", "payment.created"]
    assert steps.index("payment.succeeded") < steps.index("fulfillment.done")
