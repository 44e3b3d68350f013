"""Refills over HTTP: set by who may, seen by who may, turned off."""

from __future__ import annotations

import pytest
from http_support import problem_of

PACK = {"name": "Creator Pack", "credits": 150, "amount": 999, "currency": "usd"}


@pytest.fixture(autouse=True)
def _provider(sim):
    """Methods are saved at a provider."""


def ready(http, user):
    assert http.put("/v1/packs/creator", json=PACK).status_code in (200, 201)
    assert user.post("/v1/payment_methods", json={"token": "pm_card_visa"}).status_code == 201


# S3.21
def test_a_customer_sets_changes_sees_and_ends_his_refill(http, user):
    ready(http, user)
    made = user.post("/v1/refills", json={"threshold": 50, "pack": "creator", "day_count": 2})
    assert made.status_code == 200, made.text
    one = made.json()
    assert (one["object"], one["status"], one["fills"]) == ("refill", "active", "credits")
    assert (one["threshold"], one["pack"], one["day_count"]) == (50, "creator", 2)
    again = user.post("/v1/refills", json={"threshold": 60, "credits": 80, "month_amount": 50000})
    assert again.json()["id"] == one["id"] and again.json()["month_amount"] == 50000
    assert user.get(f"/v1/refills/{one['id']}").json() == again.json()
    assert user.get("/v1/refills").json()["data"] == [again.json()]
    assert http.get("/v1/refills?customer=user_123&status=active").json()["data"][0] == again.json()
    for _ in range(2):
        off = user.delete(f"/v1/refills/{one['id']}")
        assert off.status_code == 200 and off.json()["status"] == "off"


# S3.21 I36
def test_another_customers_refill_is_not_there(http, user):
    ready(http, user)
    one = user.post("/v1/refills", json={"threshold": 50, "pack": "creator"}).json()
    other = http.as_user("user_456")
    problem_of(other.get(f"/v1/refills/{one['id']}"), 404, "not_found")
    problem_of(other.delete(f"/v1/refills/{one['id']}"), 404, "not_found")
    problem_of(other.get(f"/v1/refills?starting_after={one['id']}"), 404, "not_found")
    problem_of(
        other.post("/v1/refills", json={"customer": "user_123", "threshold": 5, "pack": "creator"}),
        404, "not_found",
    )  # fmt: skip
    assert other.get("/v1/refills").json()["data"] == []
    assert http.get(f"/v1/refills/{one['id']}").json()["status"] == "active"


# S3.21
def test_a_wallets_refill_is_in_its_currency(http, user):
    ready(http, user)
    body = {"customer": "user_123", "threshold": 500, "amount_decimal": "20.00", "currency": "usd",
            "day_amount": 4000}  # fmt: skip
    one = http.post("/v1/refills", json=body)
    assert one.status_code == 200, one.text
    shown = one.json()
    assert (shown["fills"], shown["currency"], shown["threshold"]) == ("wallet", "usd", 500)
    assert (shown["amount"], shown["day_amount"]) == (2000, 4000)
    problem_of(http.post("/v1/refills", json={**body, "day_amount": 100}), 422, "invalid_request")


# S3.21
def test_what_cannot_be_set_says_why(http, user):
    problem_of(user.post("/v1/refills", json={"threshold": 5}), 422, "invalid_request")
    both = {"threshold": 5, "pack": "creator", "credits": 50}
    problem_of(user.post("/v1/refills", json=both), 422, "invalid_request")
    http.put("/v1/packs/creator", json=PACK)
    no_card = user.post("/v1/refills", json={"threshold": 5, "pack": "creator"})
    problem_of(no_card, no_card.status_code, "payment_method_not_usable")
