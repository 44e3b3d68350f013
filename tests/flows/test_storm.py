"""Many payments, many copies of every message, many senders at once: each is granted once."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from purchase import PROVE

from paydesk.errors import IdempotencyInProgress, PaydeskError, Unavailable
from paydesk.flows import checkout, inbox
from paydesk.flows.checkout import StartCheckout
from paydesk.ids import request_key
from paydesk.rules.money import USD

PAYMENTS = 1000 if PROVE else 100
COPIES = 20
SENDERS = 50


def opened(desk, count):
    def one(_):
        view = desk.open(desk.make.user())
        desk.pay(view)
        return view

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(one, range(count)))


@pytest.mark.slow
@pytest.mark.prove
@pytest.mark.timeout(3000)
def test_a_storm_of_repeated_webhooks_grants_each_payment_once(desk, seed):
    """I1 I29 C13 C14: 20 copies of every event, shuffled, 50 senders."""
    views = opened(desk, PAYMENTS)
    kinds = () if PROVE else ("checkout.session.completed", "payment_intent.succeeded")
    events = desk.sim.deliveries(*kinds)
    assert len(events) >= 2 * PAYMENTS
    copies = events * COPIES
    random.Random(seed).shuffle(copies)

    def send(one):
        while True:
            try:
                return desk.receive(one)
            except Unavailable:
                continue  # As the provider does: not acknowledged is sent again.

    with ThreadPoolExecutor(SENDERS) as pool:
        answers = list(pool.map(send, copies))
    assert len(answers) == len(copies)
    desk.clock.advance(minutes=5)
    desk.sweep("inbox", "fulfillment")
    granted = desk.all(
        "select payment_id, count(*) as n, sum(granted)::int as credits from batches"
        " where payment_id is not null group by payment_id"
    )
    assert len(granted) == PAYMENTS
    assert {(row["n"], row["credits"]) for row in granted} == {(1, 150)}
    assert all(desk.balance(view) == 150 for view in views)
    states = desk.all("select state, count(*) as n from provider_events group by state")
    assert [(row["state"], row["n"]) for row in states] == [("done", len(events))]
    copies_counted = desk.all("select sum(deliveries)::int as n from provider_events")
    assert copies_counted[0]["n"] == len(copies)


def test_a_group_of_webhooks_is_applied_together(desk):
    """S1.16 I1: set-oriented, and each of them once; the second delivery says so."""
    views = opened(desk, 20)
    batch = [(one.body, one.headers) for one in desk.sim.deliveries()]
    first = inbox.receive_many(desk.env, "stripe", batch)
    again = inbox.receive_many(desk.env, "stripe", batch)
    assert {r.state for answer in first for r in answer} == {"done"}
    assert not any(r.is_duplicate for answer in first for r in answer)
    assert all(r.is_duplicate and r.state == "done" for answer in again for r in answer)
    assert [desk.balance(view) for view in views] == [150] * 20


def test_two_hundred_parallel_starts_with_one_key_make_one_checkout(desk):
    """I27: one runs; the others hear that it runs, or get its answer."""
    user = desk.make.user()
    what = StartCheckout(
        customer_id=user.uuid, pack="creator", request_key=request_key("app", "order-1042")
    )

    def send(_):
        try:
            return checkout.start(desk.env, what).id
        except (IdempotencyInProgress, Unavailable) as exc:
            return exc

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(send, range(200)))
    ids = {one for one in answers if not isinstance(one, PaydeskError)}
    assert ids == {checkout.start(desk.env, what).id}
    assert len(desk.sim.objects("checkout.session")) == 1
    assert desk.all("select count(*)::int as n from payments")[0]["n"] == 1


def test_parallel_starts_with_one_key_take_one_use_of_a_code(desk):
    """I18 I27: also where the code has a single use left."""
    desk.make.promo("ONE", percent_off=10, cap=1, per_customer=1)
    user = desk.make.user()
    what = StartCheckout(
        customer_id=user.uuid, pack="creator", promo="ONE", request_key=request_key("app", "one")
    )

    def send(_):
        try:
            return checkout.start(desk.env, what).total
        except (IdempotencyInProgress, Unavailable) as exc:
            return exc

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(send, range(60)))
    assert {one for one in answers if not isinstance(one, PaydeskError)} == {USD("8.99")}
    assert desk.all("select used::int from promo_counts") == [{"used": 1}]
    assert len(desk.sim.objects("checkout.session")) == 1


def test_webhook_verify_and_success_page_at_once_grant_once(desk):
    """I1 S2.10: three ways to the same end, at the same moment."""
    for _ in range(3):
        view = desk.open()
        desk.pay(view)
        tasks = [
            *(lambda one=one: desk.receive(one) for one in desk.events(view)),
            *(lambda path=path, id=view.id: checkout.verify(desk.env, id, path=path)
              for path in ("verify", "success_page", "admin")),
        ]  # fmt: skip
        random.shuffle(tasks)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda task: task(), tasks))
        assert desk.balance(view) == 150
        assert desk.payment(view).fulfillment.path in (
            "webhook", "verify", "success_page", "admin")  # fmt: skip
