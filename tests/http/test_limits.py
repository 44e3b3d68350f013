"""Rate limits: exact in a window over all processes, told in the fields of the draft."""

from __future__ import annotations

import multiprocessing
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest
from http_support import OWN_KEY, Client, problem_of, running
from starlette.testclient import WebSocketDenialResponse

from paydesk.errors import Unavailable
from paydesk.http import auth
from paydesk.http.app import create_app


def limited(env, **settings):
    return replace(env, settings=replace(env.settings, **settings))


def test_the_fields_tell_what_is_left(env):
    few = limited(env, rate_limit=3, rate_window_s=60)
    with Client(create_app(few)).as_user("user_1") as client:
        for left in (2, 1, 0):
            answer = client.get("/v1/packs")
            assert answer.status_code == 200
            own, address = answer.headers["ratelimit-policy"].split(", ")
            assert (own, address) == ('"default";q=3;w=60', '"address";q=60;w=60')
            assert re.match(rf'"default";r={left};t=\d+', answer.headers["ratelimit"])
        refused = client.get("/v1/packs")
        body = problem_of(refused, 429, "rate_limited")
        assert body["type"].endswith("http-problem-types#quota-exceeded")
        assert body["violated-policies"] == ["default"]
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert '"default";r=0;t=' in refused.headers["ratelimit"]
        assert client.as_user("user_2").get("/v1/packs").status_code == 200


def test_the_next_window_begins_anew(env, clock):
    few = limited(env, rate_limit=2, rate_window_s=60)
    with Client(create_app(few)).as_user("user_1") as client:
        assert [client.get("/v1/packs").status_code for _ in range(3)] == [200, 200, 429]
        clock.advance(seconds=60)
        assert [client.get("/v1/packs").status_code for _ in range(3)] == [200, 200, 429]


def test_addresses_without_credentials_are_limited_and_wrong_tokens_count(env):
    few = limited(env, rate_limit=3)
    with Client(create_app(few)) as nobody:
        guesses = [nobody.with_authorization(f"Bearer guess-{n}") for n in range(5)]
        assert [one.get("/v1/packs").status_code for one in guesses] == [401, 401, 401, 429, 429]
        assert nobody.as_user("user_1").get("/v1/packs").status_code == 200


def test_codes_cannot_be_guessed_at_full_rate(env, make):
    make.pack()
    few = limited(env, rate_limit=30)
    with Client(create_app(few)).as_user("user_1") as client:
        body = {"code": "GUESS", "packId": "creator"}
        codes = [
            client.post("/payment/promo-codes/validate", json=body).status_code for _ in range(5)
        ]
        assert codes == [422, 422, 422, 429, 429]
        assert client.get("/v1/packs").status_code == 200


def test_health_and_webhooks_are_never_limited(env):
    few = limited(env, rate_limit=1)
    with Client(create_app(few)) as nobody:
        for _ in range(5):
            assert nobody.get("/health/live").status_code == 200
            assert nobody.post("/api/credits/webhook", content=b"{}").status_code == 400


def test_the_opening_of_live_feeds_is_counted_by_address(env):
    # I39: a wrong key costs a look-up, over a WebSocket too.
    few = limited(env, rate_limit=3)
    with Client(create_app(few)) as nobody:
        for status in (401, 401, 401, 429, 429):
            with pytest.raises(WebSocketDenialResponse) as refused, nobody.websocket_connect(
                "/v1/credits/live", headers={"Authorization": "Bearer sk_test_guess"}
            ):
                pass
            assert refused.value.status_code == status


def test_without_a_count_reads_pass_and_writes_are_refused(env, make, monkeypatch):
    # I39
    make.credits(make.user("user_1"), 10)
    app = create_app(env)

    async def broken(*_: object) -> None:
        raise Unavailable("nothing counts")

    with Client(app).as_user("user_1") as client:
        monkeypatch.setattr(app.state.limiter, "_ask", broken)
        assert client.get("/v1/credits/balance").json()["balance"] == 10
        refused = client.post("/v1/credits/spend", json={"credits": 1})
        problem_of(refused, 503, "unavailable")
        assert client.get("/v1/credits/balance").json()["balance"] == 10


def _serve(dsn: str, limit: int, ready, stop) -> None:
    """One more process of the service, with its own pool and its own limiter."""
    from paydesk.assemble import build_env
    from paydesk.settings import Settings

    settings = Settings(
        database_url=dsn, jwt_secret="a-secret-of-the-tests-thirty-two-bytes-long",
        secret_key=OWN_KEY, rate_limit=limit, rate_window_s=86_400, simulator_url="http://127.0.0.1:9",
        redis_url="",
    )  # fmt: skip
    env = build_env(settings, start_missing=False)
    with running(env) as url:
        ready.put(url)
        stop.wait(60)
    env.close()


def storm(urls: list[str], token: str, requests: int) -> list[int]:
    with httpx.Client(limits=httpx.Limits(max_connections=16), timeout=30) as client:

        def send(number: int) -> int:
            headers = {"Authorization": f"Bearer {token}"}
            return client.get(urls[number % len(urls)] + "/v1/packs", headers=headers).status_code

        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(send, range(requests)))


def test_the_limit_is_exact_over_two_processes(env):
    # I39
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Queue(), context.Event()
    processes = [
        context.Process(target=_serve, args=(env.db.dsn, 100, ready, stop), daemon=True)
        for _ in range(2)
    ]
    for one in processes:
        one.start()
    try:
        urls = [ready.get(timeout=60) for _ in processes]
        codes = storm(urls, auth.make_token(env.settings, "user_1"), 260)
    finally:
        stop.set()
        for one in processes:
            one.join(60)
    assert codes.count(200) == 100
    assert codes.count(429) == 160


def test_the_limit_is_exact_with_redis_and_goes_on_without_it(env, valkey):
    # I39 I41
    redis_url = f"redis://127.0.0.1:{valkey.port}/0"
    few = limited(env, rate_limit=50, redis_url=redis_url, rate_window_s=86_400)
    token = auth.make_token(env.settings, "user_1")
    with running(few) as one, running(few) as two:
        codes = storm([one, two], token, 120)
    assert (codes.count(200), codes.count(429)) == (50, 70)
    with env.db.read() as tx:
        assert tx.value("select count(*) from rate_windows") == 0
    gone = limited(few, redis_url="redis://127.0.0.1:9/0", rate_limit=5)
    with Client(create_app(gone)).as_user("user_2") as client:
        assert [client.get("/v1/packs").status_code for _ in range(7)] == [200] * 5 + [429] * 2
