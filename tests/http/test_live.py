"""Live feeds: the present balance first, then every change, from any process."""

from __future__ import annotations

import json
import multiprocessing
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from http_support import OWN_KEY, running
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from paydesk.flows import credits, events
from paydesk.http import auth


def spend(env: Any, customer: Any, amount: int) -> None:
    verdict = credits.spend_now(env, credits.new_spend(customer.uuid, amount))
    assert verdict.status == "done"


def ws(url: str, path: str = "/v1/credits/live") -> str:
    return url.replace("http://", "ws://") + path


def until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


@pytest.mark.parametrize("path", ["/v1/credits/live", "/payment/credits/live"])
def test_the_balance_comes_first_and_then_each_change(env, make, path):
    # S4.5
    who = make.user("user_1")
    make.credits(who, 100)
    token = auth.make_token(env.settings, "user_1")
    headers = {"Authorization": f"Bearer {token}"}
    with running(env) as url, connect(ws(url, path), additional_headers=headers) as socket:
        first = json.loads(socket.recv(timeout=10))
        assert (first["type"], first["balance"], first["customer"]) == ("balance", 100, who.id)
        for amount, left in ((10, 90), (5, 85)):
            spend(env, who, amount)
            events.publish(env)
            change = json.loads(socket.recv(timeout=10))
            assert (change["type"], change["balance"]) == ("balance.changed", left)
            assert change["cause"] == {"type": "credits.spent", "amount": amount}


def test_every_change_of_the_balance_names_its_cause_while_spends_go_on(env, make):
    # S4.5
    who = make.user("user_1")
    make.credits(who, 200)
    headers = {"Authorization": f"Bearer {auth.make_token(env.settings, 'user_1')}"}

    def spend_on() -> None:
        for _ in range(100):
            spend(env, who, 1)
            events.publish(env)

    with running(env) as url, connect(ws(url), additional_headers=headers) as socket:
        assert json.loads(socket.recv(timeout=10))["balance"] == 200
        thread = threading.Thread(target=spend_on)
        thread.start()
        balances = []
        while not balances or balances[-1] > 100:
            change = json.loads(socket.recv(timeout=30))
            assert change["cause"] == {"type": "credits.spent", "amount": 1}
            balances.append(change["balance"])
        thread.join()
    assert balances == list(range(199, 99, -1))


def test_browsers_send_the_token_as_a_protocol(env, make):
    # S4.5
    make.credits(make.user("user_1"), 3)
    token = auth.make_token(env.settings, "user_1")
    with running(env) as url, connect(ws(url), subprotocols=["bearer", token]) as socket:
        assert socket.subprotocol == "bearer"
        assert json.loads(socket.recv(timeout=10))["balance"] == 3


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "x"}])
def test_a_feed_needs_credentials(env, headers):
    with running(env) as url:
        with pytest.raises(InvalidStatus) as refused:
            connect(ws(url), additional_headers=headers)
        assert refused.value.response.status_code == 401
        assert httpx.get(url + "/v1/events/stream", headers=headers).status_code == 401


def test_anothers_feed_answers_like_a_missing_one(env, make):
    # I33
    make.user("user_2")
    token = auth.make_token(env.settings, "user_1")
    headers = {"Authorization": f"Bearer {token}"}
    with running(env) as url:
        for named in ("user_2", "user_nobody"):
            with pytest.raises(InvalidStatus) as refused:
                connect(ws(url, f"/v1/credits/live?customer={named}"), additional_headers=headers)
            assert refused.value.response.status_code == 404


def test_a_feed_ends_with_its_token(env, make):
    make.user("user_1")
    token = auth.make_token(env.settings, "user_1", expires_in_s=-auth.LEEWAY_S + 2)
    headers = {"Authorization": f"Bearer {token}"}
    with running(env) as url, connect(ws(url), additional_headers=headers) as socket:
        socket.recv(timeout=10)
        time.sleep(2.1)  # A token's end is told by the real clock.
        make.credits(make.user("user_1"), 1)
        events.publish(env)
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=10)


def lines(response: httpx.Response) -> Any:
    """(event, data, id) of each message."""
    event: dict[str, str] = {}
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if line and not line.startswith(":"):
            event[name] = value
        elif event:
            yield event.get("event"), json.loads(event["data"]), event.get("id")
            event = {}


def test_events_are_streamed_and_resumed_after_a_number(env, make):
    # S4.5
    who = make.user("user_1")
    make.credits(who, 50)
    token = auth.make_token(env.settings, "user_1")
    with running(env) as url:
        address = f"{url}/v1/events/stream?token={token}"
        with httpx.stream("GET", address, timeout=10) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            told = lines(response)
            name, data, _ = next(told)
            assert (name, data["balance"]) == ("balance", 50)
            spend(env, who, 8)
            events.publish(env)
            name, data, number = next(told)
            assert (name, data["type"], data["sequence"]) == (
                "credits.spent", "credits.spent", int(number),
            )  # fmt: skip
            assert next(told)[1]["balance"] == 42
        headers = {"Last-Event-ID": "1"}
        with httpx.stream("GET", address, headers=headers, timeout=10) as response:
            told = lines(response)
            assert [next(told)[0] for _ in range(3)] == [
                "credits.granted", "credits.spent", "balance",
            ]  # fmt: skip


def test_streams_end_when_the_service_stops(env, make):
    # S1.6 I43
    make.user("user_1")
    token = auth.make_token(env.settings, "user_1")
    done = threading.Event()
    with running(env) as url:

        def read() -> None:
            address = f"{url}/v1/events/stream?token={token}"
            with httpx.stream("GET", address, timeout=30) as response:
                for _ in response.iter_lines():
                    ready.set()
            done.set()

        ready = threading.Event()
        threading.Thread(target=read, daemon=True).start()
        assert ready.wait(60)
        started = time.monotonic()
    assert time.monotonic() - started < 20
    assert done.wait(60)


def _serve(dsn: str, ready: Any, stop: Any) -> None:
    from paydesk.assemble import build_env
    from paydesk.settings import Settings

    settings = Settings(
        database_url=dsn, jwt_secret="a-secret-of-the-tests-thirty-two-bytes-long",
        secret_key=OWN_KEY, simulator_url="http://127.0.0.1:9",
    )  # fmt: skip
    env = build_env(settings, start_missing=False)
    with running(env) as url:
        ready.put(url)
        stop.wait(60)
    env.close()


def test_a_change_made_by_one_process_is_told_by_another(env, make):
    # S4.5: the socket is in one process, the spend in a second, the publisher here.
    who = make.user("user_1")
    make.credits(who, 100)
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Queue(), context.Event()
    processes = [
        context.Process(target=_serve, args=(env.db.dsn, ready, stop), daemon=True)
        for _ in range(2)
    ]
    for one in processes:
        one.start()
    try:
        here, there = ready.get(timeout=60), ready.get(timeout=60)
        token = auth.make_token(env.settings, "user_1")
        headers = {"Authorization": f"Bearer {token}"}
        with connect(ws(here), additional_headers=headers) as socket:
            assert json.loads(socket.recv(timeout=10))["balance"] == 100
            answer = httpx.post(f"{there}/v1/credits/spend", json={"credits": 30}, headers=headers)
            assert answer.status_code == 200, answer.text
            events.publish(env)
            assert json.loads(socket.recv(timeout=10))["balance"] == 70
    finally:
        stop.set()
        for one in processes:
            one.join(60)
