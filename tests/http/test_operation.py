"""Stopping in order, logs without secrets, and what happens beyond capacity."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from typing import Any

import pytest
from http_support import OWN_KEY, problem_of

from paydesk.errors import PaydeskError, Unavailable
from paydesk.http import logs

SERVE = """
import sys
from paydesk.assemble import build_env
from paydesk.http import logs
from paydesk.http.app import create_app
from paydesk.http.server import serve
from paydesk.settings import Settings

logs.configure("info")
env = build_env(Settings(database_url=sys.argv[1], secret_key=sys.argv[2],
                         simulator_url="http://127.0.0.1:9"), start_missing=False)
serve(create_app(env, with_worker=True), port=int(sys.argv[3]))
env.close()
print("closed in order", flush=True)
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@pytest.fixture
def process(env: Any) -> Any:
    port = free_port()
    child = subprocess.Popen(
        [sys.executable, "-c", SERVE, env.db.dsn, OWN_KEY, str(port)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ},
    )  # fmt: skip
    until = time.monotonic() + 60
    while True:
        assert child.poll() is None and time.monotonic() < until, "the service did not start"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.02)
    yield child, port
    if child.poll() is None:
        child.kill()
    child.wait(60)


def test_sigterm_finishes_what_is_under_way_and_takes_nothing_new(process, make):
    # S1.6 I43
    make.credits(make.user("user_1"), 10)
    child, port = process
    body = json.dumps({"customer": "user_1", "credits": 4}).encode()
    head = (
        "POST /v1/credits/spend HTTP/1.1\r\nHost: desk\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {OWN_KEY}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=30) as under_way:
        under_way.sendall(head.encode() + body[:5])
        time.sleep(0.3)  # Until the request's first half has reached the application.
        child.send_signal(signal.SIGTERM)
        until = time.monotonic() + 60
        while True:  # The door closes first.
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                break
            assert time.monotonic() < until, "new connections are still taken"
            time.sleep(0.02)
        under_way.sendall(body[5:])
        answer = b""
        while part := under_way.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
    assert b'"balance":6' in answer
    out, err = child.communicate(timeout=30)
    assert "closed in order" in out and child.returncode == 0
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    spend = next(one for one in lines if one.get("path") == "/v1/credits/spend")
    assert spend["request_id"].startswith("req_") and spend["status"] == 200
    assert OWN_KEY not in err and "Bearer" not in err


def test_logs_hide_secrets_tokens_and_cards():
    # I37 S1.4
    planted = {
        "authorization": "Bearer abc", "event": "key sk_live_abcdef1234 and whsec_zzzz",
        "nested": {"client_secret": "x", "note": "4242 4242 4242 4242"},
        "dsn": "postgresql://user:pw@host/db", "url": "postgresql://user:pw@host/db",
        "token": "t", "list": ["eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"], "number": 5,
    }  # fmt: skip
    shown = logs.redact(None, "info", dict(planted))
    text = json.dumps(shown)
    for secret in ("abc", "zzzz", "4242", "pw@", "eyJ", "user:pw"):
        assert secret not in text, text
    assert shown["number"] == 5
    assert logs.hide("order 12345 of user_1") == "order 12345 of user_1"


def test_logs_follow_standard_error_when_it_is_exchanged():
    # S1.4: a closed stream must not make whatever logs next fail.
    code = """
import contextlib, io, logging, structlog
from paydesk.http import logs

log = structlog.get_logger("x")
first, second = io.StringIO(), io.StringIO()
with contextlib.redirect_stderr(first):
    logs.configure("info")
    log.info("one")
assert "one" in first.getvalue()
first.close()
with contextlib.redirect_stderr(second):
    log.info("two")
    logging.getLogger("library").warning("three")
assert "two" in second.getvalue() and "three" in second.getvalue()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_fault_is_logged_with_its_cause(http, monkeypatch):
    # S1.4
    seen: list[Any] = []

    class Log:
        def error(self, event: str, **more: Any) -> None:
            seen.append((event, more))

        info = warning = error

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("inside")

    monkeypatch.setattr("paydesk.http.edge.log", Log())
    monkeypatch.setattr("paydesk.http.v1.catalog.customers.list_", broken)
    answer = http.get("/v1/customers")
    problem_of(answer, 500, "internal_error")
    assert seen[0][0] == "fault" and isinstance(seen[0][1]["exc_info"], RuntimeError)


def test_beyond_capacity_the_answer_is_503_with_a_time_to_come_again(http, make, monkeypatch):
    # I44
    make.credits(make.user("user_1"), 10)

    def full(*_: Any) -> Future[Any]:
        raise Unavailable("Too many requests wait; nothing happened.", retry_after_s=2)

    monkeypatch.setattr("paydesk.http.hot.credits.spend_soon", full)
    answer = http.post("/v1/credits/spend", json={"customer": "user_1", "credits": 1})
    problem_of(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "2"


def test_a_full_batcher_refuses_at_once_and_recovers():
    # I44
    import asyncio

    from paydesk.http.batches import Batcher

    gate = threading.Event()

    def step(items: Any) -> list[int]:
        gate.wait(60)
        return [item * 2 for item in items]

    async def play() -> None:
        batcher = Batcher[int, int]("test", step, max_waiting=5)
        first = asyncio.create_task(batcher.ask(1, timeout_s=60))
        await asyncio.sleep(0.05)
        waiting = [asyncio.create_task(batcher.ask(n, timeout_s=60)) for n in range(5)]
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable):
            await batcher.ask(99)
        gate.set()
        assert await first == 2
        assert [await one for one in waiting] == [0, 2, 4, 6, 8]
        assert await batcher.ask(21) == 42
        batcher.close()

    asyncio.run(play())


def test_a_slow_provider_takes_no_thread_from_the_others(sim, http, user, make):
    # I40: provider calls have threads of their own.
    make.pack()
    make.credits(make.user("user_123"), 10)
    sim.fault("slow", "/v1/checkout/sessions", seconds=6, times=40)
    answers: list[int] = []

    def buy() -> None:
        answers.append(user.post("/v1/checkouts", json={"pack": "creator"}).status_code)

    threads = [threading.Thread(target=buy) for _ in range(4)]
    for one in threads:
        one.start()
    try:
        arrived = time.monotonic() + 5
        while sim.stats()["counts"].get("fault_slow", 0) < 4 and time.monotonic() < arrived:
            time.sleep(0.02)
        assert user.get("/v1/packs").status_code == 200
        assert user.get("/v1/credits/balance").json()["balance"] == 10
        assert not answers, "the provider answered before the others did"
    finally:
        for one in threads:
            one.join()
    assert len(answers) == 4 and all(status < 500 or status == 503 for status in answers)


def test_errors_are_all_distinct_and_well_formed():
    # S4.38
    from paydesk.errors import all_errors

    found = all_errors()
    legacy = {k.legacy_code: code for code, k in found.items() if k.legacy_code}
    assert legacy == {
        "PAY001": "insufficient_credits", "PAY002": "payment_failed",
        "PAY003": "invalid_promo_code", "PAY004": "subscription_already_active",
        "PAY005": "webhook_signature_invalid",
        "PAY006": "credit_limit_exceeded", "PAY007": "transfer_not_allowed",
    }  # fmt: skip
    for code, kind in found.items():
        assert issubclass(kind, PaydeskError) and 400 <= kind.http_status < 600, code
