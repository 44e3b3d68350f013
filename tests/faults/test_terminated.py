"""Sessions that the server ends, and connections that are used up: the desk recovers by itself."""

from __future__ import annotations

import os
import random
import threading
import time
from dataclasses import replace

import psycopg
import pytest
from load import Load, check, owners_with_credits, paid_checkouts, wait_for
from psycopg import sql

from paydesk.assemble import build_env
from paydesk.clock import SystemClock
from paydesk.db.postgres import Database, DatabaseUnavailable
from paydesk.worker import Worker

PROVE = os.environ.get("PAYDESK_PROVE") == "1"
ROUNDS = 60 if PROVE else 5
CHECKOUTS = 120 if PROVE else 16
#: All sessions were ended, or there were no connections: so soon it works again.
BACK_WITHIN_S = 5.0


@pytest.fixture
def service(settings, sim):
    """A process under load, with its worker."""
    env = build_env(
        replace(settings, simulator_url=sim.url, max_daily_transactions=10**9,
                max_credit_balance=10**12, pool_size=8),
        start_missing=False, clock=SystemClock(), name="under load",
    )  # fmt: skip
    worker = Worker(env)
    yield env, worker
    worker.stop()
    env.close()


def terminate_all(db) -> int:
    with psycopg.connect(db.admin_dsn, autocommit=True) as admin:
        return len(admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
            " and application_name = 'under load'"
        ).fetchall())  # fmt: skip


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_ended_sessions_lose_and_double_nothing(service, db, sim):
    """I1 I5 I42: at any moment of spends, webhooks and sweeps."""
    env, worker = service
    owners = owners_with_credits(env)
    views = paid_checkouts(env, sim, CHECKOUTS)
    deliveries = [d for d in sim.deliveries() for _ in range(2)]
    random.Random(7).shuffle(deliveries)
    worker.start()
    ended = 0
    with Load(env, owners, deliveries, seed=7) as load:
        for _ in range(ROUNDS):
            load.wait_for(40, 30)
            ended += terminate_all(db)
            assert load.wait_for(10, BACK_WITHIN_S * 4) < BACK_WITHIN_S
    assert ended >= ROUNDS * 2
    worker.stop()
    check(env, load, views)


@pytest.mark.timeout(300)
def test_a_server_without_connections_means_waiting_and_nothing_lost(service, db, sim):
    """I5 I42: sessions are ended and none can be had; then the limit goes up again."""
    env, worker = service
    owners = owners_with_credits(env)
    views = paid_checkouts(env, sim, 6)
    worker.start()
    name = sql.Identifier(db.made.name)
    with (
        psycopg.connect(db.admin_dsn, autocommit=True) as admin,
        Load(env, owners, sim.deliveries(), seed=8) as load,
    ):
        load.wait_for(40, 30)
        admin.execute(sql.SQL("alter database {} connection limit 0").format(name))
        terminate_all(db)
        try:
            with pytest.raises(DatabaseUnavailable):
                Database(db.dsn, wait_timeout_s=1.0).open()
            time.sleep(1.0)
            stood_at = load.count
        finally:
            admin.execute(sql.SQL("alter database {} connection limit -1").format(name))
        assert load.wait_for(20, BACK_WITHIN_S * 4) < BACK_WITHIN_S
        assert load.count > stood_at
    worker.stop()
    check(env, load, views)


def test_a_pool_that_is_used_up_refuses_in_time_and_serves_again(db):
    """I42 I44: who finds no connection is told so within the stated wait, and nobody hangs."""
    small = Database(db.dsn, max_size=2, wait_timeout_s=0.3)
    hold, held = threading.Event(), threading.Semaphore(0)

    def keep() -> None:
        with small.read():
            held.release()
            hold.wait(60)

    threads = [threading.Thread(target=keep) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert held.acquire(timeout=10)
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable), small.read():
        pass
    assert time.monotonic() - began < 3
    hold.set()
    for thread in threads:
        thread.join()

    def serves() -> bool:
        with small.read() as tx:
            return tx.value("select true")

    wait_for(serves, 5)
    small.close()
