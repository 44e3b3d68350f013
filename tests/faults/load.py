"""Load for tests of faults: clients that repeat what was not answered with the same key."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg

from paydesk import ids
from paydesk.env import Env
from paydesk.errors import PaydeskError
from paydesk.flows import (
    catalog,
    checkout,
    credit_grants,
    credits,
    customers,
    doctor,
    inbox,
)
from paydesk.flows.checkout import CheckoutView, StartCheckout
from paydesk.rules.money import USD
from paydesk.worker import Worker


class Load:
    """Threads that spend, and threads that deliver webhooks, until they are told to stop.

    `acknowledged`: (customer, key) -> (amount, transfer) of every spend that was answered.
    `refusals`: the names of the errors that clients saw. `slowest_s`: the longest answer.
    """

    def __init__(self, env: Env, owners: Sequence[UUID], deliveries: Sequence[Any] = (), *,
                 seed: int = 1, spenders: int = 6) -> None:  # fmt: skip
        print(f"seed {seed}")
        self.env = env
        self.owners = list(owners)
        self.acknowledged: dict[tuple[UUID, UUID], tuple[int, UUID]] = {}
        self.refusals: dict[str, int] = {}
        self.slowest_s = 0.0
        self.count = 0
        self.surprises: list[BaseException] = []
        self._stopping = threading.Event()
        self._deliveries: queue.Queue[Any] = queue.Queue()
        for one in deliveries:
            self._deliveries.put(one)
        tasks: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
            (self._spend, (seed * 1000 + n,)) for n in range(spenders)
        ]
        if deliveries:
            tasks += [(self._deliver, ())] * 2
        self._threads = [
            threading.Thread(target=self._guarded, args=task, daemon=True) for task in tasks
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Every client ends with an answer to its last request, every webhook is delivered."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads)
        assert not self.surprises, self.surprises

    def wait_for(self, more: int, timeout_s: float) -> float:
        """Seconds until so many more spends were acknowledged."""
        began, before = time.monotonic(), self.count
        wait_for(lambda: self.surprises or self.count >= before + more, timeout_s)
        return time.monotonic() - began

    def _guarded(self, task: Callable[..., None], args: tuple[Any, ...]) -> None:
        try:
            task(*args)
        except BaseException as exc:
            self.surprises.append(exc)
            raise

    def _spend(self, seed: int) -> None:
        dice, number = random.Random(seed), 0
        while not self._stopping.is_set():
            number += 1
            key = ids.request_key("load", f"{seed}-{number}")
            owner, amount = dice.choice(self.owners), dice.randint(1, 9)
            began = time.monotonic()
            verdict = self._repeated(
                lambda owner=owner, amount=amount, key=key: credits.spend_now(
                    self.env, credits.new_spend(owner, amount, "load", request_key=key)
                )
            )
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            assert verdict.status in ("done", "same"), verdict
            self.acknowledged[owner, key] = (amount, verdict.transfer_id)
            self.count += 1

    def _deliver(self) -> None:
        while True:
            try:
                one = self._deliveries.get(timeout=0.1)
            except queue.Empty:
                if self._stopping.is_set():
                    return
                continue
            self._repeated(
                lambda one=one: inbox.receive(self.env, "stripe", one.body, one.headers)
            )

    def _repeated(self, request: Callable[[], Any]) -> Any:
        """What a client sees must be an error of ours, or of the connection; then it repeats."""
        until = time.monotonic() + 60
        while True:
            try:
                return request()
            except (PaydeskError, psycopg.OperationalError) as exc:
                name = type(exc).__name__
                self.refusals[name] = self.refusals.get(name, 0) + 1
                if time.monotonic() > until:
                    raise
                time.sleep(0.03)


def owners_with_credits(env: Env, count: int = 8) -> list[UUID]:
    owners = [customers.ensure(env, f"load_{n}").uuid for n in range(count)]
    expires = env.now() + timedelta(days=30)
    for owner in owners:
        credit_grants.grant_now(env, owner, 1_000_000, kind="promotional", expires_at=expires)
    return owners


def paid_checkouts(env: Env, sim: Any, count: int) -> list[CheckoutView]:
    """Sessions that are paid at the provider, and of which we have not heard yet."""
    catalog.upsert_pack(env, "creator", name="Creator Pack", credits=150, price=USD("9.99"))

    def buy(number: int) -> CheckoutView:
        buyer = customers.ensure(env, f"buyer_{number}").uuid
        view = checkout.start(env, StartCheckout(customer_id=buyer, pack="creator"))
        sim.pay(view.payment.session_ref)
        return view

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(buy, range(count)))


def check(env: Env, load: Load, views: Sequence[CheckoutView] = ()) -> None:
    """Every acknowledged spend is there once, each purchase was granted once, the books balance."""
    if views:
        settle(env)
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, request_key, id, amount from transfers"
            " where reason = 'CREDIT_USAGE'"
        )
        grants = tx.all(
            "select payment_id, count(*) as n, sum(granted) as credits from batches"
            " where payment_id is not null group by 1"
        )
    stored = {(r["customer_id"], r["request_key"]): (r["amount"], r["id"]) for r in rows}
    assert len(stored) == len(rows)
    assert stored == load.acknowledged
    assert load.acknowledged
    granted = {g["payment_id"]: (g["n"], int(g["credits"])) for g in grants}
    assert granted == {view.payment.id: (1, 150) for view in views}
    assert not [f for f in doctor.check(env.db) if not f.ok]


def settle(env: Env) -> None:
    """Let the sweeps work until no event waits. Who held a lease of a minute is gone by now."""
    worker = Worker(env)
    with env.db.transaction() as tx:
        tx.run(
            "update provider_events set try_at = %(now)s where state in ('new', 'waiting')",
            {"now": env.now()},
        )

    def waiting() -> int:
        worker.run_once("inbox")
        worker.run_once("fulfillment")
        with env.db.read() as tx:
            return tx.value("select count(*) from provider_events where state in ('new','waiting')")

    wait_for(lambda: waiting() == 0, 75)


def wait_for(is_so: Callable[[], Any], timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until, f"it did not happen within {timeout_s:g} s"
        time.sleep(0.01)
