"""Bad input: a 4xx problem with a stable code, no state change, never a 5xx."""

from __future__ import annotations

import json
import random
from typing import Any

from http_support import problem_of
from service_document import DOCUMENT

from paydesk.http import bodies

BODIED = sorted(
    (path, method)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if "application/json" in operation.get("requestBody", {}).get("content", {})
    and "public" not in operation["x-access"]["roles"]
)
CODES = {"malformed_request", "invalid_request", "not_found"}
KINDS = [
    "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16",
    "multipart/form-data; boundary=x", "", "x",
]  # fmt: skip
JSON = {"content-type": "application/json"}
CARD = "4242 4242 4242 4242"


def filled(path: str) -> str:
    for name in ("customer", "pack", "promo", "checkout", "payment", "event", "key"):
        path = path.replace(f"{{{name}}}", "creator")
    return path


def state(env: Any) -> dict[str, int]:
    """How many rows stand in every table but those that count requests."""
    with env.db.read() as tx:
        tables = tx.all(
            "select relname as name from pg_stat_user_tables where relname not in"
            " ('rate_windows', 'schema_migrations', 'heartbeats') order by 1"
        )
        from psycopg import sql

        cursor = tx.conn.cursor()
        return {
            row["name"]: next(
                iter(
                    cursor.execute(
                        sql.SQL("select count(*) as n from {}").format(sql.Identifier(row["name"]))
                    )
                    .fetchone()
                    .values()
                )
            )
            for row in tables
        }


MALFORMED = [
    b"{", b"", b"null", b"[]", b"1", b'"x"', b"tru", b"{'a': 1}", b'{"a": 1,}', b"\xff\xfe{}",
    b"\xef\xbb\xbf{}", b'{"a": NaN}', b'{"a": Infinity}', b'{"a": -Infinity}', b'{"a": 01}',
    b'{"a": 1, "a": 2}', b'{"a": "\\ud800"}', b'{"\\u0000": 1}', b'{"a": "\\u0000"}',
    b"[" * 100_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000, b'{"a": ' + b"9" * 5000 + b"}",
    b'{"a": 1e999999999999}', b'{"a": "' + b"x" * 20_000 + b'"}',
]  # fmt: skip


def test_bodies_that_cannot_be_read_are_refused_and_change_nothing(sim, env, http, make):
    # I38 S1.7
    make.pack()
    before = state(env)
    for path, method in BODIED:
        for raw in MALFORMED:
            if path.endswith("/purchase") and raw in (b"", b"null"):
                continue  # Its body may be left out.
            answer = http.request(method, filled(path), content=raw, headers=JSON)
            assert answer.headers["content-type"] == "application/problem+json", raw[:40]
            assert answer.status_code in (400, 404, 422), (path, raw[:40], answer.text)
            assert answer.json()["code"] in CODES, (path, raw[:40])
    assert state(env) == before


def test_other_kinds_of_bodies_are_refused(sim, http, make):
    make.pack()
    for path, method in BODIED:
        for kind in KINDS:
            headers = {"content-type": kind}
            answer = http.request(method, filled(path), content=b"{}", headers=headers)
            problem_of(answer, 415, "unsupported_media_type")


def test_a_body_above_the_limit_is_refused_with_and_without_its_length(http, env):
    # I31
    big = b'{"a": "' + b"x" * env.settings.max_body_bytes + b'"}'
    problem_of(http.post("/v1/checkouts", content=big, headers=JSON), 413, "body_too_large")

    def parts():
        for start in range(0, len(big), 10_000):
            yield big[start : start + 10_000]

    answer = http.post("/v1/checkouts", content=parts(), headers=JSON)
    problem_of(answer, 413, "body_too_large")


#: What is no whole number: on /v1 all of these are refused alike.
NO_INTEGERS = ["1e2", "10.0", '"10"', "true", "null", "[]", "{}", "-1", "0", "10.5", "1E2", "-0",
               "9223372036854775808", "99999999999999999999999999", "1e-2"]  # fmt: skip


INTEGERS = [
    ("/v1/credits/spend", '{"customer": "user_123", "credits": %s}'),
    ("/v1/credits/spend/bulk", '{"items": [{"customer": "user_123", "credits": %s}]}'),
    ("/v1/credits/grant", '{"customer": "user_123", "credits": %s}'),
    ("/v1/credits/transfer", '{"customer": "user_123", "to": "user_9", "credits": %s}'),
    ("/v1/checkouts", '{"customer": "user_123", "credits": %s}'),
    ("/v1/checkouts", '{"customer": "user_123", "amount": %s}'),
]


def test_only_plain_integers_are_amounts(env, http, make):
    # I11
    make.credits(make.user("user_123"), 100)
    make.user("user_9")
    before = state(env)
    for path, body in INTEGERS:
        for number in NO_INTEGERS:
            answer = http.post(path, content=body % number, headers=JSON)
            problem_of(answer, 422, "invalid_request")
    assert state(env) == before


def test_only_plain_decimals_are_amounts(http):
    # I11
    for text in ("1e2", "1.0.0", " 10", "+10", "0x1", "٣", "NaN", "-1.00", "1,00", ""):
        body = {"customer": "user_123", "amount_decimal": text}
        problem_of(http.post("/v1/checkouts", json=body), 422, "invalid_request")


def cards() -> list[str]:
    """A test number in every dress."""
    plain = CARD.replace(" ", "")
    wide = "".join(chr(ord(c) + 0xFEE0) for c in plain)  # Full-width digits.
    return [plain, CARD, CARD.replace(" ", "-"), f"card {CARD}!", f"x{plain}", f"{plain}\n12/34",
            "378282246310005", f"{CARD} 12", wide]  # fmt: skip


TEXTS: list[tuple[str, Any]] = [
    ("/v1/customers", {"external_id": "user_9", "name": "{}"}),
    ("/v1/customers", {"external_id": "user_9", "metadata": {"note": "{}"}}),
    ("/v1/customers", {"external_id": "user_9", "metadata": {"order_id": "{}"}}),
    ("/v1/customers", {"external_id": "user_9", "metadata": {"{}": "x"}}),
    ("/v1/checkouts", {"customer": "user_9", "credits": 20, "description": "{}"}),
    ("/v1/checkouts", {"customer": "user_9", "credits": 20, "reference": "{}"}),
    ("/v1/credits/spend", {"customer": "user_9", "credits": 1, "reason": "{}"}),
    ("/api/credits/checkout/package", {"package_id": "a", "coupon_code": "{}"}),
]


def test_card_numbers_are_refused_everywhere(env, http):
    # I37 S4.33
    before = state(env)
    for path, body in TEXTS:
        for text in cards():
            sent = json.loads(json.dumps(body).replace('"{}"', json.dumps(text)))
            answer = http.post(path, json=sent)
            problem_of(answer, 422, "card_number_refused")
            assert text.strip() not in answer.text
    assert state(env) == before


def test_numbers_that_are_no_cards_pass():
    # I37
    for text in ("4242 4242 4242 4241", "+49 151 23456789", "2026-11-21T11:22:33Z", "order 12345",
                 "00000000-0000-0000-0000-000000000000", "1" * 25):  # fmt: skip
        assert not bodies.looks_like_card(text), text
    assert bodies.looks_like_card("4242-4242-4242-4242")


def test_an_id_may_be_any_digits(http):
    # I37: ids are exempt.
    assert http.post("/v1/customers", json={"external_id": "4242424242424242"}).status_code == 201


NONSENSE = [
    "/v1/customers/%00", "/v1/payments/%00", "/v1/packs/%ff", "/v1/promos/%00", "/v1/events/x%00",
     "/v1/checkouts/" + "x" * 600, "/payment/credit-packs/%00", "/v1/customers/%ED%A0%80",
     "/v1/payments?reference=%00", "/v1/customers?q=%00", "/v1/events?type=%00",
     "/v1/credits/history?type=%00&customer=a", "/v1/payments?customer=%ED%A0%80",
     "/api/credits/payment-history?user_id=%00", "/api/credits/payment-history?page=99999999999",
     "/v1/payments?created_at[gte]=2026-13-45T99:99:99Z", "/v1/payments?unknown=1",
     "/v1/payments?currency=%00%00%00", "/v1/credits/balance?customer=%00&expand=x"]  # fmt: skip


def test_addresses_that_make_no_sense_are_refused(http):
    # I38
    for path in NONSENSE:
        answer = http.get(path)
        assert answer.status_code in (404, 422), (path, answer.status_code, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"


def wild(random_: random.Random, depth: int = 0) -> Any:
    """Any JSON value, and texts that JSON can carry and PostgreSQL cannot."""
    kinds: list[Any] = [
        None, True, False, 0, -1, 2**63, 10**30, 1.5, "", "x" * 300, "\u0000", "\ud800", "名前",
        "'; drop table payments; --", "{{7*7}}", "=cmd|' /C calc'!A0", "\r\nSet-Cookie: a=b", CARD,
    ]  # fmt: skip
    if depth < 3 and random_.random() < 0.3:
        return [wild(random_, depth + 1) for _ in range(random_.randrange(4))]
    if depth < 3 and random_.random() < 0.3:
        return {str(random_.choice(kinds)): wild(random_, depth + 1) for _ in range(3)}
    return random_.choice(kinds)


def members(path: str, method: str) -> list[str]:
    content = DOCUMENT["paths"][path][method]["requestBody"]["content"]["application/json"]
    schema = content["schema"]
    for one in schema.get("anyOf", [schema]):
        if "$ref" in one:
            named = DOCUMENT["components"]["schemas"][one["$ref"].rpartition("/")[2]]
            return list(named.get("properties", {}))
    return []


def test_wild_bodies_are_never_a_fault_of_ours(sim, http, make):
    # I38: every member of every body with values of every kind.
    make.pack()
    seed = 20260115
    for path, method in BODIED:
        random_ = random.Random(f"{seed}{path}")
        names = members(path, method)
        assert names, path
        for _ in range(12):
            body = {name: wild(random_) for name in names if random_.random() < 0.6}
            raw = json.dumps(body)
            answer = http.request(method, filled(path), content=raw, headers=JSON)
            assert answer.status_code < 500, (seed, path, body, answer.text)
            if answer.status_code >= 400:
                assert answer.json()["code"], answer.text
