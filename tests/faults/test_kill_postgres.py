"""kill -9 of PostgreSQL under load: nothing acknowledged is lost, nothing is done twice."""

from __future__ import annotations

import os
import queue
import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from paydesk import ids
from paydesk.assemble import build_env
from paydesk.clock import SystemClock
from paydesk.db import embedded, migrate
from paydesk.flows import catalog, checkout, credit_grants, credits, customers, doctor, inbox
from paydesk.flows.checkout import StartCheckout
from paydesk.rules.money import USD
from paydesk.settings import Settings
from paydesk.worker import Worker

PROVE = os.environ.get("PAYDESK_PROVE") == "1"
ROUNDS = 20 if PROVE else 2
CHECKOUTS = 120 if PROVE else 24
SPENDERS = 8
BACK_WITHIN_S = 10.0


class Load:
    """Clients that repeat what was not answered, with the same key, as good clients do."""

    def __init__(self, env, owners, deliveries) -> None:
        self.env = env
        self.owners = owners
        self.stopping = threading.Event()
        self.acknowledged: dict[tuple, tuple[int, object]] = {}
        self.last_ack_at = time.monotonic()
        self.count = 0
        self.deliveries: queue.Queue = queue.Queue()
        for delivery in deliveries:
            self.deliveries.put(delivery)
        self.delivered: Counter = Counter()
        self.surprises: list[BaseException] = []

    def spend_on(self, seed: int) -> None:
        chooser = random.Random(seed)
        number = 0
        while not self.stopping.is_set():
            owner, amount = chooser.choice(self.owners), chooser.randint(1, 9)
            number += 1
            key = ids.request_key("kill", str(seed), str(number))
            self.repeat_until_settled(owner, amount, key)

    def repeat_until_settled(self, owner, amount, key) -> None:
        while True:
            try:
                item = credits.new_spend(owner, amount, "load", request_key=key)
                verdict = credits.spend_now(self.env, item)
            except Exception:
                if self.stopping.is_set() and time.monotonic() - self.last_ack_at > 30:
                    raise
                time.sleep(0.05)
                continue
            assert verdict.status in ("done", "same"), verdict
            self.acknowledged[(owner, key)] = (amount, verdict.transfer_id)
            self.last_ack_at = time.monotonic()
            self.count += 1
            return

    def deliver(self) -> None:
        while True:
            try:
                delivery = self.deliveries.get(timeout=0.2)
            except queue.Empty:
                if self.stopping.is_set():
                    return
                continue
            try:
                inbox.receive(self.env, "stripe", delivery.body, delivery.headers)
                self.delivered[delivery.event_id] += 1
            except Exception:
                time.sleep(0.05)
                self.deliveries.put(delivery)


@pytest.fixture
def desk(tmp_path_factory, sim, tmp_path):
    """A server of its own, with every promise about the disk kept."""
    folder = tmp_path / "desk"
    server = embedded.start(folder)
    migrate.migrate(server.owner_dsn)
    settings = Settings(
        database_url=server.dsn, data_dir=str(folder), simulator_url=sim.url,
        stripe_webhook_secret=sim.webhook_secret, max_daily_transactions=10**9,
        max_credit_balance=10**12, pool_size=24,
    )
    env = build_env(settings, start_missing=False, clock=SystemClock())
    yield server, env
    env.close()
    server.stop()


def prepare(env, sim):
    owners = [customers.ensure(env, f"load_{n}").uuid for n in range(12)]
    expires = env.now() + timedelta(days=30)
    for owner in owners:
        credit_grants.grant_now(env, owner, 1_000_000, kind="promotional", expires_at=expires)
    catalog.upsert_pack(env, "creator", name="Creator Pack", credits=150, price=USD("9.99"))
    buyers = [customers.ensure(env, f"buyer_{n}").uuid for n in range(CHECKOUTS)]

    def buy(owner):
        view = checkout.start(env, StartCheckout(customer_id=owner, pack="creator"))
        sim.pay(view.payment.session_ref)
        return view

    with ThreadPoolExecutor(4) as pool:
        views = list(pool.map(buy, buyers))
    return owners, views


@pytest.mark.prove
@pytest.mark.timeout(1800)
def test_kill_9_of_postgresql_under_load_loses_and_doubles_nothing(desk, sim, seed):
    # I1 I5 I42
    server, env = desk
    owners, views = prepare(env, sim)
    deliveries = [d for d in sim.deliveries() for _ in range(2)]
    random.Random(seed).shuffle(deliveries)
    load = Load(env, owners, deliveries)
    threads = [threading.Thread(target=load.spend_on, args=(seed + n,)) for n in range(SPENDERS)]
    threads += [threading.Thread(target=load.deliver) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(ROUNDS):
            before = load.count
            wait_for(lambda before=before: load.count >= before + 200, 30)
            os.kill(server.pid, signal.SIGKILL)
            killed_at = time.monotonic()
            count = load.count
            time.sleep(0.2)
            wait_for(lambda count=count: load.count > count + 20, BACK_WITHIN_S)
            assert time.monotonic() - killed_at < BACK_WITHIN_S
    finally:
        load.stopping.set()
        for thread in threads:
            thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    check(env, load, owners, views)


def check(env, load, owners, views) -> None:
    worker = Worker(env)
    for _ in range(50):
        worker.run_once()
        with env.db.read() as tx:
            waiting = tx.value(
                "select count(*) from provider_events where state in ('new', 'waiting')"
            )
        if not waiting:
            break
        time.sleep(0.2)
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
    granted = {g["payment_id"]: (g["n"], int(g["credits"])) for g in grants}
    assert granted == {view.payment.id: (1, 150) for view in views}
    assert not [f for f in doctor.check(env.db) if not f.ok]


def wait_for(is_so, timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < until, "it did not come back in time"
        time.sleep(0.02)
