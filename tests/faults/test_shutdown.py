"""SIGTERM, and kill -9 of the service: what was answered is there, the rest ends by itself."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from datetime import timedelta

import httpx
import psycopg
import pytest
from load import owners_with_credits, wait_for
from purchase import Desk
from service import Clients, Service

from paydesk import ids
from paydesk.flows import doctor

PROVE = os.environ.get("PAYDESK_PROVE") == "1"
KILLS = 12 if PROVE else 2
#: From SIGTERM to the end of the process: what is under way has 10 s, the rest is quick.
ENDS_WITHIN_S = 20.0


@pytest.fixture
def users(env, make):
    make.pack()
    wide = replace(env, settings=replace(env.settings, max_credit_balance=10**12))
    owners_with_credits(wide, 6)
    return [f"load_{n}" for n in range(6)]


@pytest.fixture
def service(settings, sim, tmp_path):
    made = Service(replace(settings, simulator_url=sim.url), tmp_path)
    with made.running():
        yield made


def check(env, sim, clients) -> None:
    """Every 2xx answer is in the database as it was given, and there is nothing else."""
    with env.db.read() as tx:
        spends = tx.all("select id, amount, customer_id from transfers"
                        " where reason = 'CREDIT_USAGE'")  # fmt: skip
        payments = tx.all("select id, checkout_id, session_ref from payments")
    told = {
        (ids.parse("transfer", one["id"]), one["credits"], ids.parse("customer", one["customer"]))
        for one in clients.spends()
    }
    assert {(row["id"], row["amount"], row["customer_id"]) for row in spends} == told
    assert len(spends) == len(clients.spends()) > 0
    told_checkouts = {ids.parse("checkout", one["id"]) for one in clients.checkouts()}
    assert {row["checkout_id"] for row in payments} == told_checkouts
    assert len(payments) == len(clients.checkouts()) > 0
    sessions = [one["id"] for one in sim.objects("checkout.session")]
    assert sorted(sessions) == sorted(row["session_ref"] for row in payments)
    assert not [f for f in doctor.check(env.db) if not f.ok]


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_kill_9_of_the_service_loses_no_answer_and_doubles_nothing(
    env, db, sim, users, service
):
    """I5 I27: spends and checkouts with keys, repeated by their clients until answered."""
    with Clients(service, users, seed=41) as clients:
        for _ in range(KILLS):
            clients.wait_for(40, 60)
            service.kill()
            let_leases_end(db)
            service.start()
        clients.wait_for(40, 90)
    assert clients.broken
    check(env, sim, clients)


@pytest.mark.timeout(300)
def test_sigterm_under_load_ends_in_order_and_a_kill_after_it_loses_nothing(
    env, db, sim, users, service
):
    """I5 I43: once left to end by itself, once killed in the middle of it."""
    with Clients(service, users, seed=42) as clients:
        clients.wait_for(40, 60)
        service.terminate()
        assert service.ended(ENDS_WITHIN_S) == 0, service.tail()
        service.start()
        clients.wait_for(40, 90)
        service.terminate()
        time.sleep(0.02)
        service.kill()
        let_leases_end(db)
        service.start()
        clients.wait_for(20, 90)
    check(env, sim, clients)


def let_leases_end(db) -> None:
    """Nothing is under way any more: a repeated request need not wait for the leases of the dead
    process to end (20 s for a request, a minute for a provider's call)."""
    with psycopg.connect(db.owner_dsn) as conn:
        conn.execute("update answers set expires_at = now() where status = 0")
        conn.execute("update provider_calls set try_at = now() where state = 'intended'")


def pending(env) -> int:
    with env.db.read() as tx:
        return tx.value("select count(*) from provider_calls where state <> 'done'")


@pytest.mark.timeout(120)
def test_sigterm_takes_nothing_new_and_finishes_what_is_under_way(env, sim, users, service):
    """I43: a checkout at a slow provider is answered, a feed is ended, new callers are refused."""
    sim.fault("slow", "/v1/checkout/sessions", seconds=3.0)
    answers, feed = [], []

    def start_checkout() -> None:
        with service.client() as client:
            answers.append(client.post("/v1/checkouts", json={"customer": "load_0",
                                                              "pack": "creator"}))  # fmt: skip

    def listen() -> None:
        with service.client() as client, client.stream(
            "GET", "/v1/events/stream?customer=load_0"
        ) as stream:
            feed.append("open")
            for _ in stream.iter_bytes():
                pass
            feed.append("ended")

    threads = [threading.Thread(target=task) for task in (start_checkout, listen)]
    for thread in threads:
        thread.start()
    wait_for(lambda: feed and pending(env), 20)
    began = time.monotonic()
    service.terminate()

    def is_refused() -> bool:
        try:
            httpx.get(f"{service.url}/health/live", timeout=1)
        except httpx.TransportError:
            return True
        return False

    wait_for(is_refused, 5)
    assert not answers, "the provider was too quick for this test"
    assert service.ended(ENDS_WITHIN_S) == 0, service.tail()
    for thread in threads:
        thread.join(10)
    assert [one.status_code for one in answers] == [201]
    assert feed == ["open", "ended"]
    assert time.monotonic() - began < ENDS_WITHIN_S
    with env.db.read() as tx:
        assert tx.value("select count(*) from payments where session_ref is not null") == 1


@pytest.mark.timeout(240)
def test_what_a_killed_service_left_open_ends_by_the_sweeps_alone(
    env, sim, make, clock, users, service
):
    """I6: clients that never come back; nothing stays pending here or there."""
    stop = threading.Event()
    paid: list[str] = []

    def buy(number: int) -> None:
        with service.client() as client:
            while not stop.is_set():
                try:
                    body = {"customer": f"load_{number}", "pack": "creator"}
                    answer = client.post("/v1/checkouts", json=body)
                    if answer.status_code == 201 and len(paid) < 5:
                        sim.pay(session := answer.json()["payment"]["provider_session_id"])
                        paid.append(session)
                except (httpx.TransportError, KeyError):
                    return

    threads = [threading.Thread(target=buy, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(paid) >= 3, 60)
    service.kill()
    stop.set()
    for thread in threads:
        thread.join(40)
    desk = Desk(env, sim, make, clock)
    clock.set(clock.now() + timedelta(minutes=2))
    desk.recover(rounds=14)
    with env.db.read() as tx:
        rows = tx.all("select state, session_ref from payments")
        calls = tx.all("select distinct state from provider_calls")
    by_session = {row["session_ref"]: row["state"] for row in rows}
    assert {by_session[one] for one in paid} == {"succeeded"}
    assert {row["state"] for row in rows} <= {"succeeded", "expired"}
    assert {row["state"] for row in calls} == {"done"}
    there = {one["status"] for one in sim.objects("checkout.session")}
    assert there <= {"complete", "expired"}
