"""Sixty-four callers refund one payment over HTTP, through timeouts and the death of the service.

`PAYDESK_PROVE=1` runs the long form: more payments, more kills.
"""

from __future__ import annotations

import os
import random
import threading
from dataclasses import replace

import httpx
import pytest
from load import wait_for
from service import Service
from test_shutdown import let_leases_end

from paydesk.flows import doctor, refunds
from paydesk.worker import Worker

PROVE = os.environ.get("PAYDESK_PROVE") == "1"
CALLERS = 64
PRICE = 999
#: What a caller asks again for: the desk, the provider or the same request is busy.
BUSY = frozenset({"provider_unavailable", "outcome_unknown", "idempotency_in_progress",
                  "unavailable", "rate_limited", "overloaded", "busy"})  # fmt: skip


class Callers:
    """Each wants a part of the payment back and asks with his key until he is answered."""

    def __init__(self, service: Service, payment: str, seed: int) -> None:
        self.service, self.payment = service, payment
        self.answers: dict[int, dict] = {}
        self.broken = 0
        self.seen = threading.Event()
        self._start = threading.Barrier(CALLERS)
        rng = random.Random(seed)
        amounts = [rng.randint(1, 90) for _ in range(CALLERS)]
        self._threads = [threading.Thread(target=self._ask, args=(n, amount), daemon=True)
                         for n, amount in enumerate(amounts)]  # fmt: skip

    def __enter__(self) -> Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join(240)
        assert len(self.answers) == CALLERS, sorted(set(range(CALLERS)) - self.answers.keys())

    def _ask(self, number: int, amount: int) -> None:
        self._start.wait()
        while number not in self.answers:
            try:
                with self.service.client() as client:
                    self._until_answered(client, number, amount)
            except httpx.TransportError:
                self.broken += 1
                self.seen.wait(0.2)

    def _until_answered(self, client: httpx.Client, number: int, amount: int) -> None:
        while True:
            answer = client.post(
                f"/v1/payments/{self.payment}/refunds", json={"amount": amount},
                headers={"Idempotency-Key": f"caller-{self.payment}-{number}"},
            )  # fmt: skip
            told = answer.json()
            if answer.status_code == 201 or told.get("code") == "not_refundable":
                self.answers[number] = {**told, "asked": amount}
                return
            assert told.get("code") in BUSY, told
            threading.Event().wait(0.1)


def check(env, desk, sim, view, callers) -> None:
    """Ours, the provider's and what the callers were told are the same, and never too much."""
    found = refunds.list_(env, view.customer_id, payment_id=view.payment.id, limit=100)
    assert {one.state for one in found} <= {"succeeded", "failed"}
    live = [one for one in found if one.state == "succeeded"]
    total = sum(one.amount.minor for one in live)
    ref = desk.payment(view).payment_ref
    there = [one for one in sim.objects("refund") if one["payment_intent"] == ref]
    assert sorted(one["amount"] for one in there) == sorted(one.amount.minor for one in live)
    assert {one["status"] for one in there} == {"succeeded"}
    assert desk.payment(view).refunded.minor == total <= PRICE
    told = [one for one in callers.answers.values() if one.get("object") == "refund"]
    assert sum(one["asked"] for one in told) == total and len(told) == len(live)
    refused = [one["asked"] for one in callers.answers.values() if one.get("object") != "refund"]
    assert refused and all(amount > PRICE - total for amount in refused)


def let_it_end(env, db) -> None:
    worker = Worker(env)

    def is_quiet() -> bool:
        let_leases_end(db)
        with env.db.transaction() as tx:
            tx.run("update provider_calls set try_at = %(now)s where state <> 'done'",
                   {"now": env.now()})  # fmt: skip
        worker.run_once("provider_calls")
        with env.db.read() as tx:
            return not tx.value("select count(*) from provider_calls"
                                " where state in ('intended', 'unknown')")  # fmt: skip

    wait_for(is_quiet, 90)


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", range(4 if PROVE else 1))
def test_sixty_four_refund_at_once_through_timeouts_and_a_kill(
    env, db, desk, sim, settings, tmp_path, number
):
    """I6 I7 I40: never more than was captured, once for each key, and the books are the
    provider's."""
    view = desk.open()
    desk.pay(view)
    desk.deliver(view)
    service = Service(replace(settings, simulator_url=sim.url), tmp_path,
                      PAYDESK_PROVIDER_TIMEOUT_S=3)  # fmt: skip
    sim.fault("timeout_after", "/v1/refunds", times=3, seconds=6)
    with service.running():
        with Callers(service, desk.payment(view).handle, seed=51 + number) as callers:
            for _ in range(3 if PROVE else 1):
                wait_for(lambda: sim.objects("refund"), 60)
                service.kill()
                let_leases_end(db)
                service.start()
        let_it_end(env, db)
    assert callers.broken
    check(env, desk, sim, view, callers)
    assert not [one for one in doctor.check(env.db) if not one.ok]
