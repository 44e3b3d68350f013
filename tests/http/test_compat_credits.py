"""The credits family over HTTP: its addresses, words and shapes, to the letter."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from http_support import problem_of


@pytest.fixture
def bought(sim: Any, user: Any, make: Any) -> Any:
    """A checkout of the package `creator` that was paid at the provider; no webhook came."""
    make.pack()
    made = user.post("/api/credits/checkout/package", json={"package_id": "creator"})
    assert made.status_code == 200, made.text
    sim.pay(made.json()["session_id"])
    return made.json()


def deliver(http: Any, sim: Any, session_id: str, path: str = "/api/credits/webhook") -> list[Any]:
    return [
        http.as_nobody().post(path, content=one.body, headers=one.headers)
        for one in sim.deliveries(about=session_id)
    ]


def test_a_package_is_checked_out_with_a_coupon(sim, user, make):
    # S2.13 S2.9
    make.pack()
    make.promo()
    made = user.post(
        "/api/credits/checkout/package",
        json={"package_id": "creator", "coupon_code": "WELCOME10"},
    )
    assert made.status_code == 200, made.text
    body = made.json()
    assert set(body) == {"checkout_url", "session_id", "payment_id"}
    assert uuid.UUID(body["payment_id"])
    assert body["session_id"].startswith("cs_test_")
    assert body["checkout_url"].startswith(sim.url)
    row = user.get("/api/credits/payment-history").json()["payments"][0]
    assert (row["amount_cents"], row["status"], row["package_id"]) == (899, "pending", "creator")
    assert row["package_name"] == "Creator Pack" and row["credits_to_add"] == 150


def test_camel_case_bodies_are_understood(sim, user, make):
    # C30
    make.pack()
    body = {"packageId": "creator", "successUrl": "https://app.example.com/thanks"}
    made = user.post("/api/credits/checkout/package", json=body)
    assert made.status_code == 200, made.text


def test_the_webhook_answers_success_and_credits_arrive(sim, http, user, bought):
    # S2.14 S2.10
    answers = deliver(http, sim, bought["session_id"])
    assert answers
    assert [(one.status_code, one.json()) for one in answers] == [
        (200, {"status": "success"})
    ] * len(answers)
    assert user.get("/payment/credits/balance").json()["balance"] == 150


def test_verify_payment_makes_up_for_a_lost_webhook_once(sim, user, bought):
    # S2.15 I1
    for _ in range(3):
        answer = user.post("/api/credits/verify-payment", json={"session_id": bought["session_id"]})
        assert answer.status_code == 200, answer.text
        assert answer.json() == {
            "success": True, "payment_verified": True, "credits_added": 150, "new_balance": 150,
        }  # fmt: skip


def test_verify_payment_of_an_unpaid_session_adds_nothing(sim, user, make):
    # S2.15
    make.pack()
    made = user.post("/api/credits/checkout/package", json={"package_id": "creator"}).json()
    answer = user.post("/api/credits/verify-payment", json={"session_id": made["session_id"]})
    assert answer.json() == {
        "success": False, "payment_verified": False, "credits_added": 0, "new_balance": 0,
    }  # fmt: skip


def test_anothers_session_answers_like_a_missing_one(sim, http, bought):
    # I33
    stranger = http.as_user("user_999")
    theirs = stranger.post("/api/credits/verify-payment", json={"session_id": bought["session_id"]})
    missing = stranger.post("/api/credits/verify-payment", json={"session_id": "cs_test_nothing"})
    for answer, named in ((theirs, bought["session_id"]), (missing, "cs_test_nothing")):
        body = problem_of(answer, 404, "not_found")
        assert body["detail"] == f"No such payment: {named[:64]!r}."


def test_the_history_has_numbered_pages_and_the_documents_columns(sim, http, user, bought):
    # S2.16 S2.18
    deliver(http, sim, bought["session_id"])
    for _ in range(2):
        user.post("/api/credits/checkout/package", json={"package_id": "creator"})
    first = user.get("/api/credits/payment-history?page=1&page_size=2").json()
    assert set(first) == {"payments", "total_count", "page", "page_size", "has_more"}
    assert (first["total_count"], first["page"], first["page_size"]) == (3, 1, 2)
    assert first["has_more"] is True and len(first["payments"]) == 2
    second = user.get("/api/credits/payment-history?page=2&page_size=2").json()
    assert second["has_more"] is False and len(second["payments"]) == 1
    done = user.get("/api/credits/payment-history?page=1&page_size=20&status=completed").json()
    assert done["total_count"] == 1
    row = done["payments"][0]
    assert {
        "id", "user_id", "amount_cents", "amount_usd", "credits_to_add", "status", "provider",
        "provider_session_id", "provider_payment_id", "package_id", "package_name",
        "credits_added", "credits_added_at", "credit_transaction_id", "created_at", "updated_at",
        "completed_at", "expires_at", "error_message", "error_code", "metadata",
    } <= set(row)  # fmt: skip
    assert row["id"] == bought["payment_id"] and row["user_id"] == "user_123"
    assert row["status"] == "completed" and row["credits_added"] is True
    assert row["provider_session_id"] == bought["session_id"]
    assert uuid.UUID(row["credit_transaction_id"])


def test_decimals_are_rendered_from_exact_digits(sim, http, user, bought):
    # C3
    deliver(http, sim, bought["session_id"])
    text = user.get("/api/credits/payment-history").text
    assert '"amount_usd":9.99,' in text
    assert '"total_spent_usd":9.99,' in user.get("/api/credits/payment-stats").text


@pytest.mark.parametrize("word", ["completed", "succeeded", "COMPLETED", "paid"])
def test_every_alias_of_a_status_filters(sim, http, user, bought, word):
    # C2
    deliver(http, sim, bought["session_id"])
    found = user.get(f"/api/credits/payment-history?status={word}").json()
    assert found["total_count"] == 1


def test_stats_add_up_what_was_paid(sim, http, user, bought):
    # S2.17
    empty = http.as_user("user_9").get("/api/credits/payment-stats").json()
    assert empty["total_spent_usd"] == 0 and empty["completed_payments"] == 0
    deliver(http, sim, bought["session_id"])
    found = user.get("/api/credits/payment-stats").json()
    assert found["total_spent_usd"] == 9.99
    assert found["total_credits_purchased"] == 150
    assert found["completed_payments"] == 1


def test_an_unknown_package_and_an_unknown_coupon_are_refused(sim, user, make):
    # S2.13 S4.38
    make.pack()
    answer = user.post("/api/credits/checkout/package", json={"package_id": "nothing"})
    problem_of(answer, 404, "not_found")
    body = {"package_id": "creator", "coupon_code": "NOPE"}
    refused = problem_of(
        user.post("/api/credits/checkout/package", json=body), 422, "invalid_promo_code"
    )
    assert refused["legacy_code"] == "PAY003"
    assert user.get("/api/credits/payment-history").json()["total_count"] == 0
