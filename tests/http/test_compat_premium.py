"""The services family's premium membership as a subscription: paid, renewed, upgraded, refunded."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from http_support import problem_of

from paydesk.flows import renewals

BASE = "/api/v1/customers/services"


@pytest.fixture
def shop(sim, http, clock):
    """The premium membership of six months, and a greater one that it can be upgraded to."""
    clock.set(datetime(2025, 1, 2, 10, tzinfo=UTC))
    for key, name, amount in (("premium_membership", "Premium Membership", 54999),
                              ("premium_plus", "Premium Plus", 79999)):  # fmt: skip
        body = {"name": name, "amount": amount, "currency": "usd", "interval": "month",
                "interval_count": 6, "family": "premium", "upgrade": "full",
                "grants": [{"type": "premium", "id": "*"}]}  # fmt: skip
        assert http.put(f"/v1/plans/{key}", json=body).status_code == 200
    return sim


def applied(client, **body):
    answer = client.post(f"{BASE}/premium-membership", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def session_of(client, applied):
    handle = applied["payment"]["payment_id"]
    return client.as_key().get(f"/v1/payments/{handle}").json()["provider_session_id"]


def activated(shop, client):
    one = applied(client)
    shop.pay(session_of(client, one))
    done = client.post(f"{BASE}/payments/{one['payment']['payment_id']}/confirm")
    assert done.json()["status"] == "activated", done.text
    return one, done.json()


def rows(client, query="", of="payments/history"):
    answer = client.get(f"{BASE}/{of}?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()["payments"]


def test_an_application_answers_as_the_document_shows_it(shop, user):
    """S0.29 S0.30 S0.31: the same members, whether it renews itself or not."""
    one = applied(user, payment_method="stripe")
    assert one["status"] == "pending_payment"
    assert set(one["service"]) == {"id", "service_type", "active", "subscription_duration",
                                   "subscription_expires_at", "subscription_fee"}  # fmt: skip
    assert (one["service"]["service_type"], one["service"]["active"]) == (
        "premium_membership", False)  # fmt: skip
    assert one["service"]["subscription_duration"] == 6
    assert one["service"]["subscription_expires_at"] == "2025-07-02T10:00:00.000Z"
    assert one["service"]["subscription_fee"] == 549.99
    assert set(one["payment"]) == {"payment_id", "payment_url", "amount", "currency",
                                   "expires_at"}  # fmt: skip
    assert (one["payment"]["amount"], one["payment"]["currency"]) == (549.99, "USD")
    path = f"{BASE}/payments/{one['payment']['payment_id']}/confirm"
    early = user.post(path).json()
    assert (early["status"], early["service"]["active"]) == ("pending_payment", False)
    shop.pay(session_of(user, one))
    done = user.post(path).json()
    assert user.post(path).json() == done
    record = done.pop("payment_record")
    assert done == {"status": "activated", "payment_id": one["payment"]["payment_id"],
                    "service": {"id": one["service"]["id"], "active": True}}  # fmt: skip
    assert {k: record[k] for k in ("status", "amount", "payment_method", "paid_at")} == {
        "status": "succeeded", "amount": 549.99, "payment_method": "stripe",
        "paid_at": "2025-01-02T10:00:00.000Z"}  # fmt: skip
    again = problem_of(user.post(f"{BASE}/premium-membership"), 409,
                       "subscription_already_active")  # fmt: skip
    assert again["legacy_code"] == "PAY004"


def test_it_is_paid_renewed_upgraded_and_refunded(shop, user, http, clock, env):
    """S0.6 S0.22 S0.24! S0.32 S0.36 S0.37 S0.38: each is a record of its own type, with its plan,
    its period and its amounts."""
    one, _ = activated(shop, user)
    service_id = one["service"]["id"]
    clock.advance(days=182)
    renewals.run_due(env)
    clock.advance(days=1)
    changed = user.put(f"/api/subscriptions/{service_id}", json={"planId": "premium_plus"})
    assert changed.status_code == 200, changed.text
    upgrade = rows(user, "payment_type=upgrade")[0]
    back = http.post(f"{BASE}/payments/{upgrade['payment_intent_id']}/refund",
                     json={"amount": 100.00, "reason": "Customer request"})  # fmt: skip
    assert back.json()["status"] == "succeeded", back.text

    found = rows(user)
    assert rows(user, of=f"{service_id}/payments") == found
    assert {row["service_id"] for row in found} == {service_id}
    by_type = {row["payment_type"]: row for row in found}
    assert len(found) == len(by_type) == 4
    first, renewal, upgrade, refund = (
        by_type[name] for name in ("subscription", "renewal", "upgrade", "refund")
    )
    assert [(r["description"], r["amount"], r["status"]) for r in (first, renewal, refund)] == [
        ("Premium Membership - 6 months", 549.99, "succeeded"),
        ("Premium Membership - 6 months", 549.99, "succeeded"),
        ("Refund of Change to Premium Plus", 100.0, "succeeded"),
    ]
    assert (upgrade["description"], upgrade["status"], upgrade["refunded_amount"]) == (
        "Change to Premium Plus", "partially_refunded", 100.0)  # fmt: skip
    assert upgrade["amount"] == changed.json()["invoice"]["amountPaid"] > 100
    assert refund["refund_reason"] == "Customer request"
    told = [r["payment_metadata"] for r in (first, renewal, upgrade)]
    assert [one["plan"] for one in told] == [
        "premium_membership", "premium_membership", "premium_plus"]  # fmt: skip
    assert (told[0]["period_start"], told[0]["period_end"]) == (
        "2025-01-02T10:00:00.000Z", "2025-07-02T10:00:00.000Z")  # fmt: skip
    assert told[1]["period_end"] == "2026-01-02T10:00:00.000Z"
    assert [row["payment_type"] for row in rows(user, "payment_type=renewal")] == ["renewal"]
    with env.db.read() as tx:
        kept = tx.all("select payment_type::text as type, service_id::text as service_id, amount"
                      " from services.payments")  # fmt: skip
        service = tx.one("select * from services.customer_services")
    assert {row["type"] for row in kept} == set(by_type)
    assert {row["service_id"] for row in kept} == {service_id}
    assert (service["service_type"], service["active"], service["subscription_duration"]) == (
        "premium_plus", True, 6)  # fmt: skip
    assert str(service["subscription_fee"]) == "799.99"


def test_a_payment_that_ended_and_a_service_that_ended_say_so(shop, user, http):
    """S0.31 S0.34"""
    one = applied(user)
    handle = one["payment"]["payment_id"]
    checkout = http.get(f"/v1/payments/{handle}").json()["checkout"]
    user.post(f"/v1/checkouts/{checkout}/expire")
    body = user.post(f"{BASE}/payments/{handle}/confirm").json()
    assert (body["status"], body["payment_record"]["status"]) == ("failed", "canceled")
    one, _ = activated(shop, user)
    user.post(f"/api/subscriptions/{one['service']['id']}/cancel")
    body = user.post(f"{BASE}/payments/{one['payment']['payment_id']}/confirm").json()
    assert (body["status"], body["service"]["active"]) == ("ended", False)


def test_a_trial_asks_for_no_money(shop, user, http):
    """S0.30 S1.55: a card is saved first, or, where the plan asks for none, it begins at once."""
    trial = {"name": "Premium Membership", "amount": 54999, "currency": "usd", "trial_days": 30,
             "family": "premium"}  # fmt: skip
    assert http.put("/v1/plans/premium_membership", json=trial).status_code == 200
    one = applied(user)
    assert (one["status"], one["payment"]["payment_id"], one["payment"]["amount"]) == (
        "pending_payment", None, 0)  # fmt: skip
    assert one["payment"]["payment_url"].startswith("http")
    free = {**trial, "trial_needs_method": False}
    assert http.put("/v1/plans/premium_membership", json=free).status_code == 200
    body = applied(user.as_user("user_7"), email="ada@example.com")
    assert (body["status"], body["service"]["active"], body["payment"]) == (
        "activated", True, None)  # fmt: skip
    assert http.get("/v1/customers/user_7").json()["email"] == "ada@example.com"


def test_anothers_membership_is_not_there(shop, user):
    """I33"""
    one, _ = activated(shop, user)
    stranger = user.as_user("user_9")
    problem_of(stranger.get(f"{BASE}/{one['service']['id']}/payments"), 404, "not_found")
    path = f"{BASE}/payments/{one['payment']['payment_id']}/confirm"
    problem_of(stranger.post(path), 404, "not_found")
