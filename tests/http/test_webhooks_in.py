"""Webhooks over HTTP: four paths, one inbox, signed by the official library."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import stripe
from http_support import problem_of

PATHS = [
    "/api/credits/webhook", "/payment/webhooks/stripe", "/api/webhooks/stripe",
    "/v1/webhooks/stripe",
]  # fmt: skip


def signature(body: bytes, secret: str, at: int | None = None) -> str:
    """A Stripe-Signature made by Stripe's own library."""
    at = int(time.time()) if at is None else at
    mac = stripe.WebhookSignature._compute_signature(f"{at}.{body.decode()}", secret)
    return f"t={at},v1={mac}"


def event(name: str = "evt_1", kind: str = "customer.updated", **item: Any) -> bytes:
    return json.dumps(
        {"id": name, "object": "event", "type": kind, "livemode": False, "account": None,
         "created": int(time.time()), "api_version": "2025-01-01",
         "data": {"object": {"id": "cus_1", "object": "customer", **item}}}
    ).encode()  # fmt: skip


def stored(env: Any) -> int:
    with env.db.read() as tx:
        return tx.value("select count(*) from provider_events")


# S1.15!
@pytest.mark.parametrize("path", PATHS)
def test_each_path_takes_what_the_official_library_signed(http, env, path):  # S4.42
    # S1.15 S1.40 S2.14 S4.3 S4.19 C13
    body = event()
    headers = {"Stripe-Signature": signature(body, env.settings.stripe_webhook_secret)}
    answer = http.as_nobody().post(path, content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    expected = {"status": "success"} if path == "/api/credits/webhook" else {"received": True}
    assert answer.json() == expected
    assert stored(env) == 1


def test_one_event_over_four_paths_is_one_row(http, env):
    # C13
    body = event()
    headers = {"Stripe-Signature": signature(body, env.settings.stripe_webhook_secret)}
    for path in PATHS:
        assert http.as_nobody().post(path, content=body, headers=headers).status_code == 200
    assert stored(env) == 1


@pytest.mark.parametrize(
    "header",
    [
        None, "", "t=1", "v1=abc", "t=x,v1=y", "t=99999999999999999999,v1=aa", "\u00e9",
        "t=1,v1=\u00e9", "t=,v1=", ",,,", "t=1,t=2,v1=a", "v0=a,t=1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/api/credits/webhook", "/v1/webhooks/stripe"])
def test_wrong_signatures_are_refused_and_nothing_is_stored(http, env, path, header):
    # I31 S4.38
    headers = [] if header is None else [(b"stripe-signature", header.encode("latin-1"))]
    answer = http.as_nobody().post(path, content=event(), headers=headers)
    assert problem_of(answer, 400, "webhook_signature_invalid")["legacy_code"] == "PAY005"
    assert stored(env) == 0


def test_forged_old_future_and_foreign_signatures_are_refused(http, env):
    # I31 I32
    body, secret, now = event(), env.settings.stripe_webhook_secret, int(time.time())
    wrong = [
        (body, signature(body, "whsec_of_somebody_else")),
        (body + b" ", signature(body, secret)),
        (event("evt_2"), signature(body, secret)),
        (body, signature(body, secret, now - 3600)),
        (body, signature(body, secret, now + 3600)),
        (body, signature(body, "")),
    ]
    for sent, header in wrong:
        answer = http.as_nobody().post(
            "/v1/webhooks/stripe", content=sent, headers={"Stripe-Signature": header}
        )
        problem_of(answer, 400, "webhook_signature_invalid")
    assert stored(env) == 0


def signed(http: Any, env: Any, body: bytes) -> Any:
    """Post bytes of any kind with a signature that is right."""
    at = int(time.time())
    secret = env.settings.stripe_webhook_secret.encode()
    mac = hmac.new(secret, f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"Stripe-Signature": f"t={at},v1={mac}"}
    return http.as_nobody().post("/v1/webhooks/stripe", content=body, headers=headers)


@pytest.mark.parametrize(
    "body",
    [b"[]", b"null", b"1", b'"x"', b"{", b"", b"\xff\xfe", b"[" * 20_000, b'{"id": NaN}'],
)
def test_signed_bodies_that_are_no_objects_are_refused(http, env, body):
    # I31 I38: neither a signed `[]` nor a deep body is a fault of ours.
    answer = signed(http, env, body)
    assert 400 <= answer.status_code < 500, answer.text
    assert stored(env) == 0


@pytest.mark.parametrize("body", [b'{"id": {}}', b'{"id": "evt_1"}', b'{"id": "evt\\u0000"}'])
def test_signed_objects_that_lack_what_an_event_has_change_nothing(http, env, body):
    # I30: they are refused, or stored for a person to see; never applied.
    answer = signed(http, env, body)
    assert answer.status_code < 500, answer.text
    with env.db.read() as tx:
        assert tx.value("select count(*) from provider_events where state = 'done'") == 0
        assert tx.value("select count(*) from payments") == 0


def test_unknown_types_of_events_are_stored_and_acknowledged(http, env):
    # I30
    body = event("evt_9", "planet.aligned")
    headers = {"Stripe-Signature": signature(body, env.settings.stripe_webhook_secret)}
    assert http.as_nobody().post(PATHS[0], content=body, headers=headers).status_code == 200
    assert stored(env) == 1


def test_a_body_above_the_limit_is_refused_before_it_is_hashed(http, env):
    # I31
    body = b"x" * (env.settings.max_body_bytes + 1)
    answer = http.as_nobody().post(PATHS[0], content=body, headers={"Stripe-Signature": "t=1,v1=a"})
    problem_of(answer, 413, "body_too_large")


def test_an_unknown_provider_has_no_inbox(http):
    problem_of(http.as_nobody().post("/v1/webhooks/teller", content=b"{}"), 404, "not_found")


def test_a_storm_of_one_event_grants_once(sim, http, user, env, make):
    # S1.16 S1.22 S4.24 I1
    make.pack()
    made = user.post("/api/credits/checkout/package", json={"package_id": "creator"}).json()
    sim.pay(made["session_id"])
    deliveries = sim.deliveries(about=made["session_id"]) * 20
    nobody = http.as_nobody()
    with ThreadPoolExecutor(8) as pool:
        codes = list(
            pool.map(
                lambda one: (
                    nobody.post(PATHS[0], content=one.body, headers=one.headers).status_code
                ),
                deliveries,
            )
        )
    assert set(codes) == {200}
    assert user.get("/v1/credits/balance").json()["balance"] == 150
