"""Idempotency-Key: one effect and one answer, however often and however parallel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest
from http_support import OWN_KEY, Client, problem_of, running

from paydesk.http.app import create_app
from paydesk.http.idempotency import parse_key


def count(env, table: str) -> int:
    with env.db.read() as tx:
        return {
            "payments": lambda: tx.value("select count(*) from payments"),
            "transfers": lambda: tx.value("select count(*) from transfers"),
            "answers": lambda: tx.value("select count(*) from answers"),
        }[table]()


def test_a_repeat_answers_the_same_bytes(sim, env, http, make):
    # I27 S4.4
    make.pack()
    headers = {"Idempotency-Key": '"order-1042"'}
    body = {"customer": "user_123", "pack": "creator"}
    first = http.post("/v1/checkouts", json=body, headers=headers)
    assert first.status_code == 201 and "idempotent-replayed" not in first.headers
    again = http.post("/v1/checkouts", json=body, headers=headers)
    assert again.status_code == 201 and again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert count(env, "payments") == 1


def test_quoted_and_bare_keys_are_the_same_and_order_of_members_does_not_matter(sim, http, make):
    # I27
    make.pack()
    quoted = http.post(
        "/v1/checkouts", headers={"Idempotency-Key": '"k-1"'},
        json={"customer": "user_123", "pack": "creator"},
    )  # fmt: skip
    bare = http.post(
        "/v1/checkouts", headers={"Idempotency-Key": "k-1"},
        json={"pack": "creator", "customer": "user_123"},
    )  # fmt: skip
    assert bare.content == quoted.content


def test_another_body_under_the_same_key_is_refused(sim, env, http, make):
    # I27
    make.pack()
    headers = {"Idempotency-Key": "k-1"}
    http.post("/v1/checkouts", json={"customer": "user_123", "pack": "creator"}, headers=headers)
    other = http.post(
        "/v1/checkouts", json={"customer": "user_123", "credits": 20}, headers=headers
    )
    problem_of(other, 422, "idempotency_key_reused")
    assert count(env, "payments") == 1


def test_the_same_key_of_another_caller_is_another_key(sim, env, http, make):
    # I27
    make.pack()
    headers = {"Idempotency-Key": "k-1"}
    for name in ("user_1", "user_2"):
        answer = http.as_user(name).post("/v1/checkouts", json={"pack": "creator"}, headers=headers)
        assert answer.status_code == 201 and "idempotent-replayed" not in answer.headers
    assert count(env, "payments") == 2


def test_a_refusal_that_changed_nothing_may_succeed_later(env, http, make):
    # I27
    who = make.user("user_123")
    headers, body = {"Idempotency-Key": "spend-1"}, {"customer": "user_123", "credits": 5}
    problem_of(
        http.post("/v1/credits/spend", json=body, headers=headers), 402, "insufficient_credits"
    )
    make.credits(who, 10)
    assert http.post("/v1/credits/spend", json=body, headers=headers).json()["balance"] == 5
    unknown = {"customer": "user_123", "pack": "creator"}
    problem_of(http.post("/v1/checkouts", json=unknown, headers=headers), 404, "not_found")
    assert count(env, "answers") == 0


def test_the_key_outlives_its_kept_answer(sim, env, http, make, clock):
    # I27: money keys never expire; afterwards the object itself is rendered.
    make.pack()
    headers, body = {"Idempotency-Key": "k-1"}, {"customer": "user_123", "pack": "creator"}
    first = http.post("/v1/checkouts", json=body, headers=headers).json()
    clock.advance(hours=25)
    again = http.post("/v1/checkouts", json=body, headers=headers)
    assert again.status_code == 201 and again.json()["id"] == first["id"]
    assert count(env, "payments") == 1
    clock.advance(hours=25)
    other = http.post(
        "/v1/checkouts", json={"customer": "user_123", "credits": 20}, headers=headers
    )
    problem_of(other, 422, "idempotency_key_reused")


def test_a_request_under_way_is_told_to_wait_and_resumed_after_its_lease(env, http, make, clock):
    # I27
    from paydesk.http import idempotency

    who = make.user("user_123")
    attempt = idempotency.Attempt(key=who.uuid, digest=b"d" * 32)
    # A process that died here left its lease.
    idempotency._claim(env, who.uuid, attempt, env.now() + idempotency.LEASE)
    with pytest.raises(idempotency.IdempotencyInProgress):
        idempotency.once(env, attempt, who.uuid, lambda: None)  # type: ignore[arg-type]
    clock.advance(seconds=21)
    from paydesk.http.fields import reply

    done = idempotency.once(env, attempt, who.uuid, lambda: reply({"ok": True}))
    assert done.body == b'{"ok":true}'


def test_a_key_is_demanded_where_the_settings_say_so(sim, env, make):
    # experience 1.4
    make.pack()
    strict = replace(env, settings=replace(env.settings, require_idempotency=True))
    with Client(create_app(strict), f"Bearer {OWN_KEY}") as client:
        body = {"customer": "user_123", "pack": "creator"}
        problem_of(client.post("/v1/checkouts", json=body), 400, "idempotency_key_missing")
        spend = client.post("/v1/credits/spend", json={"customer": "user_123", "credits": 1})
        problem_of(spend, 400, "idempotency_key_missing")
        asked = {"customer": "user_123", "code": "X", "pack": "creator"}
        assert client.post("/v1/promos/validate", json=asked).status_code == 422


@pytest.mark.parametrize("key", ["", '""', '"a', 'a"b', "a b", '"a\\b"', "é", "x" * 300])
def test_keys_that_are_no_structured_strings_are_refused(http, key):
    answer = http.post(
        "/v1/credits/spend", json={"customer": "user_123", "credits": 1},
        headers=[(b"idempotency-key", key.encode())],
    )  # fmt: skip
    problem_of(answer, 400, "invalid_idempotency_key")


def test_two_keys_are_refused(http):
    answer = http.post(
        "/v1/credits/spend", json={"customer": "user_123", "credits": 1},
        headers=[(b"idempotency-key", b"a"), (b"idempotency-key", b"b")],
    )  # fmt: skip
    problem_of(answer, 400, "invalid_idempotency_key")


def test_escapes_in_quoted_keys_are_undone():
    assert parse_key(r'"a\"b\\c"') == 'a"b\\c'
    assert parse_key(' "order-1" ') == parse_key("order-1") == "order-1"


@pytest.mark.parametrize(
    ("path", "body", "wanted"),
    [
        ("/v1/credits/spend", {"customer": "user_123", "credits": 7}, 200),
        ("/v1/credits/grant", {"customer": "user_123", "credits": 7}, 201),
        ("/v1/checkouts", {"customer": "user_123", "pack": "creator"}, 201),
    ],
)
def test_200_parallel_requests_with_one_key_have_one_effect(sim, env, make, path, body, wanted):
    # I27 S4.4 S4.31: without any Redis.
    make.pack()
    make.credits(make.user("user_123"), 1000)
    transfers, payments = count(env, "transfers"), count(env, "payments")
    headers = {"Authorization": f"Bearer {OWN_KEY}", "Idempotency-Key": '"once"'}
    with running(env) as url, ThreadPoolExecutor(40) as pool, httpx.Client(
        limits=httpx.Limits(max_connections=40), timeout=60
    ) as client:  # fmt: skip

        def send(_: int) -> httpx.Response:
            return client.post(url + path, json=body, headers=headers)

        answers = list(pool.map(send, range(200)))
        last = send(0)
    assert {one.status_code for one in answers} <= {wanted, 409}
    bodies = {one.content for one in answers if one.status_code == wanted}
    assert bodies == {last.content} and last.status_code == wanted
    refused = [one.json()["code"] for one in answers if one.status_code == 409]
    assert set(refused) <= {"idempotency_in_progress"}
    made = count(env, "transfers") - transfers + count(env, "payments") - payments
    assert made == 1


def test_bulk_items_are_repeatable_as_a_whole_and_one_by_one(env, http, make):
    # I27
    make.credits(make.user("user_123"), 100)
    items = [
        {"customer": "user_123", "credits": 1, "key": "a"},
        {"customer": "user_123", "credits": 2},
    ]
    headers = {"Idempotency-Key": "bulk-1"}
    first = http.post("/v1/credits/spend/bulk", json={"items": items}, headers=headers)
    again = http.post("/v1/credits/spend/bulk", json={"items": items}, headers=headers)
    assert first.status_code == 200 and again.content == first.content
    alone = http.post("/v1/credits/spend/bulk", json={"items": items[:1]})
    assert alone.json()["data"] == first.json()["data"][:1]
    other = http.post(
        "/v1/credits/spend/bulk", json={"items": [{**items[0], "credits": 3}]}
    ).json()["data"][0]
    assert other["status"] == "refused" and other["error"]["code"] == "idempotency_key_reused"
    assert http.get("/v1/credits/balance?customer=user_123").json()["balance"] == 97
