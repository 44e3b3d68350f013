"""Tokens: signed by an outside library, and everything that must not pass for one."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from typing import Any

import pytest
from http_support import Client, problem_of
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from paydesk.http.app import create_app

PATH = "/v1/credits/balance"


def claims(**more: Any) -> dict[str, Any]:
    return {"sub": "user_123", "exp": int(time.time()) + 600, **more}


def signed(secret: str, payload: dict[str, Any], **header: Any) -> str:
    key = OctKey.import_key(secret)
    algorithm = header.setdefault("alg", "HS256")
    return jwt.encode(header, payload, key, algorithms=[algorithm])


def raw(header: Any, payload: Any, signature: bytes = b"x") -> str:
    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    return ".".join(
        [part(json.dumps(header).encode()), part(json.dumps(payload).encode()), part(signature)]
    )


@pytest.fixture
def secret(env: Any) -> str:
    return env.settings.jwt_secret


def get(http: Client, token: str) -> Any:
    return http.with_authorization(f"Bearer {token}").get(PATH)


def test_a_token_of_an_outside_library_is_a_customer(http, secret, make):
    # S1.42 S4.6
    make.credits(make.user("user_123"), 7)
    answer = get(http, signed(secret, claims()))
    assert answer.status_code == 200, answer.text
    assert answer.json()["balance"] == 7
    by_our_id = get(http, signed(secret, claims(sub=make.user("user_123").id)))
    assert by_our_id.json()["balance"] == 7  # C25


@pytest.mark.parametrize(
    ("named", "status"),
    [
        ({}, 403), ({"role": "customer"}, 403), ({"role": "owner"}, 403), ({"roles": []}, 403),
        ({"role": "support"}, 200), ({"role": "admin"}, 200), ({"role": "finance"}, 200),
        ({"roles": ["user", "service"]}, 200), ({"roles": {"admin": False}}, 403),
        ({"role": ["admin"]}, 200), ({"role": 1}, 403), ({"role": None}, 403),
    ],
)  # fmt: skip
def test_the_role_is_read_from_the_token(http, secret, named, status):
    # I33
    token = signed(secret, claims(**named))
    answer = http.with_authorization(f"Bearer {token}").get("/v1/customers")
    assert answer.status_code == status, answer.text


def test_other_algorithms_are_refused(http, secret):
    # I34: one pinned algorithm.
    for algorithm in ("HS384", "HS512"):
        problem_of(get(http, signed(secret, claims(), alg=algorithm)), 401, "not_authenticated")
    rsa = RSAKey.generate_key(2048, private=True)
    token = jwt.encode({"alg": "RS256"}, claims(), rsa)
    problem_of(get(http, token), 401, "not_authenticated")


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"}, {"alg": "None"}, {"alg": "NONE"}, {"alg": ""}, {}, {"alg": None},
        {"alg": ["HS256"]}, {"alg": "RS256"}, {"alg": "ES256"}, {"typ": "JWT"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("signature", [b"", b"x"])
def test_unsigned_tokens_are_refused(http, header, signature):
    # I34
    problem_of(get(http, raw(header, claims(), signature)), 401, "not_authenticated")


@pytest.mark.parametrize(
    "header",
    [
        {"jwk": {"kty": "oct", "k": "c2VjcmV0"}}, {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/cert"}, {"kid": "../../../dev/null"}, {"kid": "a b"},
        {"kid": "' or 1=1 --"}, {"crit": ["exp"]},
    ],
)  # fmt: skip
def test_headers_that_choose_the_key_are_refused_though_the_signature_is_right(
    http, secret, header
):
    # I34
    import hashlib
    import hmac

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    body = f"{part({'alg': 'HS256', **header})}.{part(claims())}"
    mac = hmac.new(secret.encode(), body.encode(), hashlib.sha256).digest()
    token = f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    problem_of(get(http, token), 401, "not_authenticated")


def test_a_plain_key_id_does_no_harm(http, secret):
    assert get(http, signed(secret, claims(), kid="main-2026")).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"exp": 1}, {"exp": "soon"}, {"exp": None}, {"exp": 1e400}, {"nbf": 99_999_999_999},
        {"iat": 99_999_999_999}, {"sub": ""}, {"sub": None}, {"sub": 5}, {"sub": "a\x00b"},
        {"sub": "x" * 256},
    ],
)  # fmt: skip
def test_wrong_claims_are_refused(http, secret, wrong):
    # I34
    import hashlib
    import hmac

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    body = f"{part({'alg': 'HS256'})}.{part({**claims(), **wrong})}"
    mac = hmac.new(secret.encode(), body.encode(), hashlib.sha256).digest()
    token = f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    problem_of(get(http, token), 401, "not_authenticated")


@pytest.mark.parametrize("missing", ["exp", "sub"])
def test_required_claims_must_be_there(http, secret, missing):
    # I34
    payload = {name: value for name, value in claims().items() if name != missing}
    problem_of(get(http, signed(secret, payload)), 401, "not_authenticated")


def test_a_wrong_secret_an_altered_payload_and_an_expired_token_are_refused(http, secret):
    # I34
    token = signed(secret, claims())
    head, payload, mac = token.split(".")
    other = raw({}, claims(sub="user_999")).split(".")[1]
    for wrong in (
        signed("another secret of thirty-two bytes", claims()),
        f"{head}.{other}.{mac}",
        f"{head}.{payload}.",
        f"{head}.{payload}",
        token + ".x",
        signed(secret, claims(exp=int(time.time()) - 60)),
    ):
        problem_of(get(http, wrong), 401, "not_authenticated")


def test_audience_and_issuer_are_checked_where_they_are_set(env, secret):
    # I34
    named = replace(env.settings, jwt_audience="desk", jwt_issuer="https://id.example.com")
    with Client(create_app(replace(env, settings=named))) as http:
        good = claims(aud="desk", iss="https://id.example.com")
        assert get(http, signed(secret, good)).status_code == 200
        for wrong in (
            claims(), {**good, "aud": "shop"}, {**good, "iss": "https://evil.example"},
            {**good, "aud": None},
        ):  # fmt: skip
            token = signed(secret, {k: v for k, v in wrong.items() if v is not None})
            problem_of(get(http, token), 401, "not_authenticated")


def test_without_a_secret_no_token_is_accepted(env):
    empty = replace(env, settings=replace(env.settings, jwt_secret=""))
    with Client(create_app(empty)) as http:
        problem_of(get(http, signed("x", claims())), 401, "not_authenticated")


def test_a_revoked_token_is_refused_at_once(http, secret):
    # I34
    token = signed(secret, claims(jti="token-1"))
    assert get(http, token).status_code == 200
    done = http.post("/v1/tokens/revoke", json={"jti": "token-1"})
    assert done.status_code == 204
    problem_of(get(http, token), 401, "not_authenticated")
    assert get(http, signed(secret, claims(jti="token-2"))).status_code == 200


def test_a_remembered_token_still_ends(http, secret, monkeypatch):
    # I34: remembered claims do not outlive the token.
    from paydesk.http import auth

    token = signed(secret, claims(exp=int(time.time()) + 5))
    assert get(http, token).status_code == 200
    later = time.time() + 60
    monkeypatch.setattr(auth.time, "time", lambda: later)
    problem_of(get(http, token), 401, "not_authenticated")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "bearer x y", "Bearer sk_test_wrong",
     "Bearer " + "x" * 9000, "Bearer \u00e9\u00e9", "Bearer a.b.c", "Bearer ...",
     "sk_test_of_the_tests"],
)  # fmt: skip
def test_other_credentials_are_refused_and_told_how(http, header):
    answer = http.as_nobody().get(PATH, headers=[(b"authorization", header.encode("latin-1"))])
    problem_of(answer, 401, "not_authenticated")
    assert answer.headers["www-authenticate"] == 'Bearer realm="paydesk"'


def test_two_authorization_headers_are_refused(http, secret):
    token = f"Bearer {signed(secret, claims())}".encode()
    answer = http.as_nobody().get(
        PATH,
        headers=[(b"authorization", token), (b"authorization", b"Bearer sk_test_of_the_tests")],
    )
    problem_of(answer, 401, "not_authenticated")
