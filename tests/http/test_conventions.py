"""What holds on every address: problems, ids, times, money, pages, headers, health."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest
from http_support import Client, problem_of

from paydesk import ids
from paydesk.http.app import create_app


def test_every_answer_has_a_request_id_and_security_headers(http):
    # S1.3
    seen = set()
    for path in ("/v1/packs", "/nothing", "/health/live", "/v1/customers/none"):
        answer = http.get(path)
        assert re.fullmatch(r"req_[0-9A-HJKMNP-TV-Z]{26}", answer.headers["request-id"])
        seen.add(answer.headers["request-id"])
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
    assert len(seen) == 4


def test_unknown_addresses_and_methods_are_problems(http):
    problem_of(http.get("/v1/nothing"), 404, "not_found")
    answer = http.get("/v1/credits/spend")
    problem_of(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/payments", "GET, POST"), ("/v1/packs/creator", "GET, PUT"),
        ("/v1/risk/lists", "DELETE, GET, PUT"), ("/v1/promos/apply", "POST"),
        ("/v1/webhook_endpoints/we_1", "DELETE, GET, PATCH"), ("/v1/credits/spend", "POST"),
        ("/api/payments/methods/x", "DELETE, GET"),
    ],
)  # fmt: skip
def test_a_wrong_method_is_told_every_right_one(http, path, allowed):  # S3.18
    refused = http.request("OPTIONS", path)
    assert refused.headers["allow"] == allowed
    assert problem_of(refused, 405, "method_not_allowed")["allow"] == allowed


def test_a_fault_of_ours_is_a_problem_without_its_cause(http, env, monkeypatch):
    # S1.4
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the inside of the machine")

    monkeypatch.setattr("paydesk.http.v1.catalog.catalog.list_packs", broken)
    answer = http.get("/v1/packs")
    problem_of(answer, 500, "internal_error")
    assert "inside" not in answer.text


def test_cors_answers_the_named_origins_alone(env, settings):
    # S1.3
    from dataclasses import replace

    named = replace(env, settings=replace(env.settings, cors_origins="https://app.example.com"))
    with Client(create_app(named)) as client:
        headers = {
            "Origin": "https://app.example.com", "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,idempotency-key",
        }  # fmt: skip
        allowed = client.options("/v1/checkouts", headers=headers)
        assert allowed.headers["access-control-allow-origin"] == "https://app.example.com"
        stranger = client.options(
            "/v1/checkouts", headers={**headers, "Origin": "https://evil.example"}
        )
        assert "access-control-allow-origin" not in stranger.headers


def test_other_host_names_are_refused_where_hosts_are_named(env):
    from dataclasses import replace

    named = replace(env, settings=replace(env.settings, trusted_hosts="pay.example.com"))
    with Client(create_app(named)) as client:
        good = client.get("/health/live", headers={"host": "pay.example.com:8000"})
        assert good.status_code == 200
        bad = client.get("/health/live", headers={"host": "evil.example"})
        problem_of(bad, 421, "misdirected_request")


def test_amounts_are_minor_units_with_a_decimal_beside_them(http):
    # C3 I11
    pack = {"name": "Yen", "credits": 5, "currency": "JPY"}
    yen = http.put("/v1/packs/yen", json={**pack, "amount": 500}).json()
    assert (yen["amount"], yen["amount_decimal"], yen["currency"]) == (500, "500", "jpy")
    dollars = http.put(
        "/v1/packs/usd", json={"name": "A", "credits": 5, "amount_decimal": "49.05"}
    ).json()
    assert (dollars["amount"], dollars["amount_decimal"]) == (4905, "49.05")
    both = {"name": "A", "credits": 5, "amount": 4905, "amount_decimal": "49.05"}
    assert http.put("/v1/packs/usd", json=both).status_code == 200
    differ = http.put("/v1/packs/usd", json={**both, "amount": 4906})
    problem_of(differ, 422, "invalid_request")
    neither = http.put("/v1/packs/usd", json={"name": "A", "credits": 5})
    problem_of(neither, 422, "invalid_request")
    too_fine = http.put(
        "/v1/packs/usd", json={"name": "A", "credits": 5, "amount_decimal": "1.001"}
    )
    problem_of(too_fine, 422, "invalid_request")


def test_objects_have_prefixed_ids_times_with_z_and_livemode(http, make):
    make.pack()
    pack = http.get("/v1/packs/creator").json()
    assert ids.parse("pack", pack["id"])
    assert pack["object"] == "pack" and pack["livemode"] is False
    for name in ("created_at", "updated_at"):
        assert pack[name].endswith("Z")
        assert datetime.fromisoformat(pack[name]).tzinfo is not None


def test_lists_are_read_by_cursor(http, make):
    for number in range(7):
        make.user(f"user_{number}")
    seen, cursor = [], ""
    while True:
        page = http.get(f"/v1/customers?limit=3{cursor}").json()
        assert page["object"] == "list"
        seen += [one["external_id"] for one in page["data"]]
        assert page["has_more"] is (page["next_cursor"] is not None)
        if not page["has_more"]:
            break
        assert page["next_cursor"] == page["data"][-1]["id"]
        cursor = f"&starting_after={page['next_cursor']}"
    assert sorted(seen) == [f"user_{n}" for n in range(7)]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "page=2", "starting_after=%00"]
)
def test_parameters_that_make_no_sense_are_refused(http, query):
    answer = http.get(f"/v1/customers?{query}")
    assert answer.status_code in (404, 422), answer.text


def test_a_payment_tells_all_that_is_known_of_it_to_staff(sim, http, user, make):
    """S0.16 S0.18 S0.23 S3.19 C24 I46: who, through what, in which request; what the provider
    answered to each try; fee and worth in dollars."""
    make.pack()
    made = user.post("/v1/checkouts", json={"pack": "creator"})
    sim.pay(made.json()["payment"]["provider_session_id"])
    http.post(f"/v1/checkouts/{made.json()['id']}/verify")
    path = f"/v1/payments/{made.json()['payment']['id']}"
    told, public = http.get(path).json(), user.get(path).json()
    first, last = told["timeline"][0], told["timeline"][-1]
    assert (first["via"], first["actor"]) == ("http", "user:user_123")
    assert first["request_id"] == made.headers["request-id"]
    assert (last["type"], last["via"], last["actor"]) == ("fulfillment.done", "http", "key:own")
    (attempt,) = told["attempts"]
    assert attempt["provider_response"]["status"] == "succeeded"
    assert (attempt["error_code"], attempt["payment_url"][:4]) == (None, "http")
    assert (told["usd"], told["usd_decimal"], told["usd_rate"]) == (999, "9.99", None)
    assert {"fee", "fee_decimal", "risk_score"} <= told.keys()
    assert (told["country"], told["method_detail"]["brand"]) == ("US", "visa")
    assert "fee" not in public and "risk_score" not in public
    assert public["attempts"][0]["provider_response"] is None


def test_payments_are_read_page_by_page_in_both_directions(sim, http, user, make):
    """S3.7: pages stay the same while payments are added."""
    make.pack()
    ids_ = [user.post("/v1/checkouts", json={"pack": "creator"}).json()["payment"]["id"]
            for _ in range(5)][::-1]  # fmt: skip
    seen, cursor = [], None
    while cursor is not None or not seen:
        after = f"&starting_after={cursor}" if cursor else ""
        page = http.get(f"/v1/payments?limit=2{after}").json()
        seen += [one["id"] for one in page["data"]]
        cursor = page["next_cursor"]
        user.post("/v1/checkouts", json={"pack": "creator"})
    assert seen == ids_
    back = http.get(f"/v1/payments?limit=2&ending_before={ids_[4]}").json()
    assert ([one["id"] for one in back["data"]], back["has_more"]) == (ids_[2:4], True)
    back = http.get(f"/v1/payments?limit=2&ending_before={back['next_cursor']}").json()
    assert [one["id"] for one in back["data"]] == ids_[:2]
    both = http.get(f"/v1/payments?starting_after={ids_[0]}&ending_before={ids_[1]}")
    assert both.status_code == 422
    for query in ("payment_type=renewal", "disputed=true"):
        assert http.get(f"/v1/payments?{query}").json()["data"] == [], query


def test_a_payment_is_found_by_all_its_names_with_its_timeline(sim, http, user, make):
    # C17 S2.12
    make.pack()
    made = user.post("/v1/checkouts", json={"pack": "creator"}).json()
    sim.pay(made["payment"]["provider_session_id"])
    done = user.post(f"/v1/checkouts/{made['id']}/verify").json()
    assert done["status"] == "complete"
    payment = done["payment"]
    bare = str(ids.parse("payment", payment["id"]))
    names = [payment["id"], bare, payment["handle"], payment["provider_payment_id"],
             payment["provider_session_id"], payment["credit_transaction"]]  # fmt: skip
    for name in names:
        found = user.get(f"/v1/payments/{name}?expand=customer")
        assert found.status_code == 200, (name, found.text)
        assert found.json()["id"] == payment["id"]
    body = found.json()
    assert body["customer"]["external_id"] == "user_123"
    types = [step["type"] for step in body["timeline"]]
    own = {(step["via"], step["actor"], step["request_id"]) for step in body["timeline"]}
    assert own == {("http", None, None)}
    assert types[0] == "checkout.created" and "payment.succeeded" in types
    assert len(body["attempts"]) == 1
    assert body["fulfillment"]["state"] == "done" and body["fulfillment"]["path"] == "verify"
    problem_of(user.get(f"/v1/payments/{payment['id']}?expand=secrets"), 422, "invalid_request")


def test_payments_are_filtered(sim, http, user, make, clock):
    make.pack()
    user.post("/v1/checkouts", json={"pack": "creator", "reference": "order-1"})
    clock.advance(hours=1)
    later = user.post("/v1/checkouts", json={"pack": "creator"}).json()["payment"]
    since = later["created_at"].replace("+", "%2B")
    found = http.get(f"/v1/payments?created_at[gte]={since}").json()["data"]
    assert [one["id"] for one in found] == [later["id"]]
    assert len(http.get("/v1/payments?customer=user_123").json()["data"]) == 2
    assert http.get("/v1/payments?status=completed").json()["data"] == []
    assert len(http.get("/v1/payments?reference=order-1").json()["data"]) == 1
    problem_of(http.get("/v1/payments?status=strange"), 422, "invalid_request")
    problem_of(http.get("/v1/payments?created_at[gte]=yesterday"), 422, "invalid_request")


def test_validation_points_at_each_place(http):
    # S1.7
    body = {"items": [{"credits": 1, "customer": "a"}, {"credits": "ten", "customer": "a"}]}
    found = problem_of(http.post("/v1/credits/spend/bulk", json=body), 422, "invalid_request")
    assert [one["pointer"] for one in found["errors"]] == ["/items/1/credits"]
    found = problem_of(
        http.post("/v1/credits/grant", json={"credits": 1.5, "extra": 1}), 422, "invalid_request"
    )
    assert {one["pointer"] for one in found["errors"]} == {"/customer", "/credits", "/extra"}


def test_readiness_tells_apart_what_is_missing(http, env):
    # S1.5
    assert http.as_nobody().get("/health/live").json() == {"status": "ok"}
    before = http.get("/health/ready")
    assert before.status_code == 200 and before.json()["status"] == "degraded"
    from paydesk.worker import beat

    beat(env, "inbox")
    after = http.get("/health/ready").json()
    assert after["status"] == "ok"
    assert after["checks"] == {
        "database": "ok", "migrations": "ok", "worker": "ok", "disk": "ok",
    }  # fmt: skip


def test_the_service_s_name_is_in_its_health(env):
    # S4.20
    from dataclasses import replace

    named = replace(env, settings=replace(env.settings, service_name="payment"))
    with Client(create_app(named)) as client:
        assert client.get("/api/health").json()["service"] == "payment"


def test_figures_are_for_staff_and_hold_no_ids(http, user, make):
    make.pack()
    user.get("/v1/packs/creator")
    problem_of(http.as_nobody().get("/metrics"), 401, "not_authenticated")
    text = http.get("/metrics").text
    assert "paydesk_outbox_pending" in text
    assert 'route="/v1/packs/{pack}"' in text
    assert "user_123" not in text


def test_events_are_listed_newest_first(http, user, make):
    make.credits(make.user("user_123"), 10)
    found = user.get("/v1/events").json()["data"]
    assert [one["type"] for one in found] == ["credits.granted", "customer.created"]
    assert [one["sequence"] for one in found] == [2, 1]
    only = http.get("/v1/events?type=credits.granted&customer=user_123").json()["data"]
    assert [one["type"] for one in only] == ["credits.granted"]
    assert user.get(f"/v1/events/{only[0]['id']}").json() == only[0]


def test_keys_are_made_used_and_revoked(http, env):
    made = http.post("/v1/keys", json={"name": "shop", "role": "support"})
    assert made.status_code == 201
    key = made.json()
    assert key["secret"].startswith("sk_test_")
    with env.db.read() as tx:
        row = tx.one("select * from api_keys")
    assert key["secret"] not in str(row) and key["secret"].encode() not in bytes(row["key_hash"])
    shop = http.as_key(key["secret"])
    assert shop.get("/v1/customers").status_code == 200
    problem_of(shop.post("/v1/keys", json={"name": "x", "role": "admin"}), 403, "not_permitted")
    assert "secret" not in http.get("/v1/keys").json()["data"][0]
    assert http.delete(f"/v1/keys/{key['id']}").json()["revoked_at"] is not None
    problem_of(shop.get("/v1/customers"), 401, "not_authenticated")


def test_a_blocked_payment_is_resolved_by_an_admin_alone(sim, http, user, make):
    make.pack()
    made = user.post("/v1/checkouts", json={"pack": "creator"}).json()
    path = f"/v1/payments/{made['payment']['id']}/resolve"
    problem_of(user.post(path, json={"action": "waive"}), 403, "not_permitted")
    problem_of(http.post(path, json={"action": "retry"}), 409, "conflict")
    problem_of(http.post(path, json={"action": "refund"}), 422, "invalid_request")


def test_a_checkout_is_ended_at_the_provider(sim, user, make):
    make.pack()
    made = user.post("/v1/checkouts", json={"pack": "creator"}).json()
    ended = user.post(f"/v1/checkouts/{made['id']}/expire")
    assert ended.status_code == 200, ended.text
    assert ended.json()["status"] in ("canceled", "expired")
    assert sim.get(made["payment"]["provider_session_id"])["status"] == "expired"
    problem_of(user.post(f"/v1/checkouts/{made['id']}/expire"), 409, "conflict")


def test_a_customer_cannot_set_the_amount_of_a_checkout(sim, http, user):
    # I35
    answer = user.post("/v1/checkouts", json={"amount": 100})
    problem_of(answer, 422, "invalid_request")
    made = http.post("/v1/checkouts", json={"customer": "user_123", "amount": 2500})
    assert made.status_code == 201, made.text
    assert made.json()["amount_decimal"] == "25.00"
