"""Saved methods, setups and direct payments over HTTP: /v1, and /api/payments of learning."""

from __future__ import annotations

from typing import Any

import pytest
import stripe
from http_support import problem_of

from paydesk import USD


@pytest.fixture
def sdk(sim: Any) -> Any:
    return stripe.StripeClient(sim.secret_key, base_addresses={"api": sim.url})


@pytest.fixture
def card(sdk: Any) -> Any:
    return lambda kind="tok_visa": sdk.v1.payment_methods.create(
        {"type": "card", "card": {"token": kind}}
    ).id


def test_methods_are_saved_listed_chosen_and_removed(http, user, card):
    # S1.30 S1.31 S1.32 S1.33
    made = user.post("/v1/payment_methods", json={"token": card(), "metadata": {"a": "b"}})
    assert made.status_code == 201, made.text
    first = made.json()
    assert first["id"].startswith("pm_") and first["default"] and first["last4"] == "4242"
    second = user.post("/v1/payment_methods", json={"token": card("tok_mastercard")}).json()
    one = user.patch(f"/v1/payment_methods/{second['id']}", json={"default": True}).json()
    assert one["default"]
    listed = user.get("/v1/payment_methods?refresh=true").json()["data"]
    assert [one["id"] for one in listed] == [second["id"], first["id"]]
    gone = user.delete(f"/v1/payment_methods/{second['provider_method_id']}").json()
    assert gone["removed_at"]
    assert http.get("/v1/payment_methods?customer=user_123").json()["data"][0]["default"]
    other = http.as_user("user_456")
    problem_of(other.get(f"/v1/payment_methods/{first['id']}"), 404, "not_found")
    assert other.get("/v1/payment_methods").json()["data"] == []
    assert http.get(f"/v1/payment_methods/{first['id']}").json()["id"] == first["id"]


def test_a_card_number_is_refused_and_not_repeated(user):
    # I37
    answer = user.post("/v1/payment_methods", json={"token": "4242424242424242"})
    assert answer.status_code == 422 and "4242424242424242" not in answer.text


def test_a_setup_is_started_verified_and_read(http, user, sdk):
    # S1.34
    made = user.post("/v1/setups", json={"default": True})
    assert made.status_code == 201, made.text
    assert made.json()["client_secret"] and made.json()["status"] == "pending"
    ref = made.json()["provider_setup_id"]
    sdk.v1.setup_intents.confirm(ref, {"payment_method": "pm_card_visa"})
    path = f"/v1/setups/{made.json()['id']}"
    assert user.post(f"{path}/verify").json()["payment_method"].startswith("pm_")
    assert user.get(path).json()["status"] == "succeeded"
    problem_of(http.as_user("user_456").get(path), 404, "not_found")


def test_a_pack_is_bought_with_the_saved_card(user, make, card):
    # S3.8
    make.pack("creator", price=USD("8.99"), credits=150)
    user.post("/v1/payment_methods", json={"token": card()})
    made = user.post("/v1/payments", json={"pack": "creator"})
    assert made.status_code == 201, made.text
    body = made.json()
    assert (body["status"], body["credits_added"]) == ("succeeded", True)
    assert body["payment_method"].startswith("pm_") and body["method_detail"]["brand"] == "visa"
    assert body["country"] == "US" and made.headers["location"] == f"/v1/payments/{body['id']}"


def test_customers_set_no_amounts_and_hold_nothing(user, card):
    # I34
    body = {"amount": 100, "payment_method": card()}
    problem_of(user.post("/v1/payments", json=body), 422, "invalid_request")
    held = {"wallet": True, "amount": 100, "capture": False, "payment_method": card()}
    problem_of(user.post("/v1/payments", json=held), 403, "not_permitted")
    ok = user.post("/v1/payments", json=held | {"capture": True})
    assert ok.json()["status"] == "succeeded"


def test_the_application_holds_takes_and_lets_go(http, card):
    # I8
    def hold():
        body = {"customer": "user_123", "amount": 1000, "capture": False, "payment_method": card()}
        return http.post("/v1/payments", json=body).json()

    one = hold()
    assert one["status"] == "authorized"
    taken = http.post(f"/v1/payments/{one['id']}/capture", json={"amount": 400})
    assert (taken.json()["status"], taken.json()["captured"]) == ("succeeded", 400)
    other = hold()
    assert http.post(f"/v1/payments/{other['id']}/void").json()["status"] == "canceled"
    problem_of(http.post(f"/v1/payments/{other['id']}/capture", json={}), 409, "conflict")


def test_payments_are_changed_hidden_and_found(http, user, sim, card):
    # S3.7 C6 C27
    make = {"customer": "user_123", "amount": 1000, "confirm": False, "reference": "order 42"}
    one = http.post("/v1/payments", json=make).json()
    assert one["status"] == "pending" and one["payment_url"] and one["payment_url_expires_at"]
    path = f"/v1/payments/{one['id']}"
    assert http.patch(path, json={"description": "June"}).json()["description"] == "June"
    assert http.post(f"{path}/confirm").json()["status"] == "pending"
    for query in ("q=order 42", "q=user_123", f"q={one['id']}", f"q={one['handle']}",
                  "amount[gte]=1000&amount[lte]=1000", "provider=stripe", "purpose=payment"):
        assert [p["id"] for p in http.get(f"/v1/payments?{query}").json()["data"]] == [one["id"]]
    assert http.get("/v1/payments?q=nobody").json()["data"] == []
    assert http.delete(path).json()["deleted_at"]
    assert http.get("/v1/payments").json()["data"] == []
    admin = http.as_user("boss", role="admin")
    assert [p["id"] for p in admin.get("/v1/payments?deleted=true").json()["data"]] == [one["id"]]
    problem_of(user.get("/v1/payments?deleted=true"), 403, "not_permitted")
    assert "provider_response" in admin.get(path).json()


def test_learnings_routes_serve_their_words(http, user, sdk, card):
    # S1.30 S1.31 S1.32 S1.33 S1.34 S1.35
    made = user.post("/api/payments/methods", json={"paymentMethodId": card()})
    assert made.status_code == 201, made.text
    one = made.json()["paymentMethod"]
    assert set(one) == {
        "id", "userId", "provider", "paymentMethodId", "type", "brand", "last4", "expMonth",
        "expYear", "isDefault", "isExpired", "createdAt",
    }  # fmt: skip
    assert one["userId"] == "user_123" and one["isDefault"]
    two = user.post(
        "/api/payments/methods",
        json={"payment_method_id": card("tok_amex"), "set_as_default": True},
    ).json()["paymentMethod"]
    listed = user.get("/api/payments/methods/user_123").json()["paymentMethods"]
    assert [row["id"] for row in listed] == [two["id"], one["id"]]
    back = user.post(f"/api/payments/methods/{one['id']}/default")
    assert back.json()["paymentMethod"]["isDefault"]
    assert user.delete(f"/api/payments/methods/{two['id']}").json() == {"success": True}
    setup = user.post("/api/payments/setup-intent")
    assert setup.status_code == 201 and setup.json()["clientSecret"]
    user.post("/payments/stripe/process", json={"amount": 3, "paymentMethodId": one["id"]})
    history = user.get("/api/payments/history/user_123").json()
    assert history["total"] == 1 and history["payments"][0]["status"] == "succeeded"
    problem_of(http.as_user("user_456").get("/api/payments/methods/user_123"), 404, "not_found")
