"""The wallets family over HTTP: its addresses, words and shapes, to the letter."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import stripe
from http_support import problem_of

pytestmark = pytest.mark.usefixtures("sim")

FIELDS = {
    "id", "user_id", "amount", "currency", "method", "status", "description", "reference",
    "stripe_payment_intent_id", "metadata", "completed_at", "created_at", "updated_at",
}  # fmt: skip


@pytest.fixture
def card(sim: Any) -> Any:
    """Makes tokens as the provider's form does."""
    sdk = stripe.StripeClient(sim.secret_key, base_addresses={"api": sim.url})
    return lambda kind="tok_visa": sdk.v1.payment_methods.create(
        {"type": "card", "card": {"token": kind}}
    ).id


def wallet(env: Any, user: str, currency: str) -> int:
    with env.db.read() as tx:
        return tx.value(
            "select coalesce(sum(a.balance), 0)::bigint from accounts a join customer_refs r"
            " on r.customer_id = a.customer_id where r.external_id = %(user)s and a.code = 2"
            " and a.asset = %(currency)s",
            {"user": user, "currency": currency},
        )


def create(who: Any, **more: Any) -> Any:
    body = {"amount": 100.00, "method": "STRIPE", "description": "Wallet top-up", **more}
    return who.post("/payments", json=body)


def test_a_payment_is_created_in_gourdes_and_fills_the_wallet_once_paid(env, sim, http, user):
    # S3.1 S3.4 S3.9 S3.10 S3.15 C4 S3.14 S3.25 S4.43
    made = create(user, reference="top-up 1", metadata={"shop": "Jacmel"})
    assert made.status_code == 201, made.text
    body = made.json()
    assert body.keys() >= FIELDS and uuid.UUID(body["id"]) and body["user_id"] == "user_123"
    assert '"amount":100.0,' in made.text
    assert (body["currency"], body["method"], body["status"]) == ("HTG", "STRIPE", "PENDING")
    assert body["reference"] == "top-up 1" and body["metadata"] == {"shop": "Jacmel"}
    assert body["payment_url"] and body["completed_at"] is None
    session = sim.objects("checkout.session")[0]["id"]
    sim.pay(session)
    for one in sim.deliveries(about=session):
        answer = http.as_nobody().post(
            "/payments/stripe/webhook", content=one.body, headers=one.headers
        )
        assert answer.json() == {"received": True}
    after = user.get(f"/payments/{body['id']}").json()
    assert after["status"] == "COMPLETED" and after["completed_at"]
    assert after["stripe_payment_intent_id"].startswith("pi_")
    assert wallet(env, "user_123", "htg") == 10_000
    assert user.get(f"/payments/{after['stripe_payment_intent_id']}").json()["id"] == body["id"]


def test_a_card_is_charged_and_the_wallet_filled(env, user, card):
    # S3.3 S3.8 S3.12
    body = {"amount": 100.00, "currency": "USD", "paymentMethodId": card(),
            "description": "Wallet deposit"}  # fmt: skip
    made = user.post("/payments/stripe/process", json=body)
    assert made.status_code == 201, made.text
    assert (made.json()["status"], made.json()["currency"]) == ("COMPLETED", "USD")
    assert wallet(env, "user_123", "usd") == 10_000
    snake = {"amount": 1, "payment_method_id": card()}
    assert user.post("/payments/stripe/process", json=snake).json()["currency"] == "HTG"


def test_a_declined_card_is_a_402_that_names_the_payment(user, card):
    # S3.8
    body = {"amount": 100, "currency": "USD", "paymentMethodId": card("tok_chargeDeclined")}
    problem = problem_of(user.post("/payments/stripe/process", json=body), 402, "payment_failed")
    one = user.get(f"/payments/{problem['payment_id']}").json()
    assert one["status"] == "FAILED" and one["failure_reason"]


def test_3d_secure_has_a_page_to_open_and_confirm_asks_the_provider(env, sim, user, card):
    # S3.8 S3.9 C7
    body = {"amount": 5, "currency": "USD", "returnUrl": "https://app.example/back",
            "paymentMethodId": card("tok_threeDSecureRequired")}  # fmt: skip
    made = user.post("/payments/stripe/process", json=body).json()
    assert made["status"] == "PENDING" and made["action_url"]
    assert user.post(f"/payments/{made['id']}/confirm").json()["status"] == "PENDING"
    assert wallet(env, "user_123", "usd") == 0
    sim.authenticate(sim.objects("payment_intent")[0]["id"])
    assert user.post(f"/payments/{made['id']}/confirm").json()["status"] == "COMPLETED"
    assert wallet(env, "user_123", "usd") == 500


def test_amounts_are_read_from_their_own_digits(user):
    # C3 S3.4
    for amount in ("1e2", "100.001", "-1", "0", '"100"', "10000000000000"):
        answer = user.post(
            "/payments", content=f'{{"amount": {amount}, "method": "STRIPE"}}',
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
        assert answer.status_code == 422, (amount, answer.text)
    # DECIMAL(15,2) has no room for a third digit, whatever the currency has.
    refused = create(user, amount=100.005, currency="KWD", method="CASH")
    assert (refused.status_code, refused.json()["param"]) == (422, "amount")
    assert create(user, amount=100.25, currency="KWD", method="CASH").status_code == 201
    assert create(user, method="SHELLS").status_code == 422
    assert create(user, method="CRYPTO").status_code == 422


def test_lists_are_pages_of_the_callers_own(http, user):
    # S3.7 S3.12 S3.13 S3.17 C2 S3.6
    made = [create(user, amount=n).json()["id"] for n in (10, 20, 30)]
    create(http.as_user("user_456"))
    page = user.get("/payments?limit=2").json()
    assert [one["id"] for one in page["data"]] == [made[2], made[1]]
    assert (page["total"], page["page"], page["limit"], page["totalPages"]) == (3, 1, 2, 2)
    last = user.get("/payments?limit=2&page=2").json()
    assert [one["id"] for one in last["data"]] == [made[0]]
    assert user.get("/payments/user/user_123").json()["total"] == 3
    assert user.get("/payments?status=PENDING&method=STRIPE").json()["total"] == 3
    assert user.get("/payments?status=COMPLETED").json()["total"] == 0
    assert user.get("/payments?startDate=2024-01-01&endDate=2024-12-31").json()["total"] == 0
    for day in ("9999-12-31", "0001-01-01", "9999-12-31T23:59:59-12:00", "2024-13-01", "now"):
        problem_of(user.get("/payments", params={"endDate": day}), 422, "invalid_request")
    assert http.get("/payments").json()["total"] == 4
    problem_of(user.get("/payments?status=SHIPPED"), 422, "invalid_request")
    problem_of(user.get("/payments?startDate=yesterday"), 422, "invalid_request")


def test_another_users_payments_are_not_there(http, user):
    # S3.13 I33
    made = create(user)
    assert made.status_code == 201, made.text
    made = made.json()["id"]
    other = http.as_user("user_456")
    problem_of(other.get(f"/payments/{made}"), 404, "not_found")
    problem_of(other.post(f"/payments/{made}/confirm"), 404, "not_found")
    problem_of(other.get("/payments/user/user_123"), 404, "not_found")
    problem_of(http.as_nobody().get("/payments"), 401, "not_authenticated")


def test_a_range_of_figures_is_refused_by_the_documents_names(http):
    admin = http.as_user("root", "admin")
    query = {"startDate": "2026-02-01", "endDate": "2026-01-01"}
    refused = admin.get("/payments/analytics", params=query).json()
    assert (refused["param"], refused["detail"]) == ("startDate", "startDate lies after endDate.")
    refused = admin.get("/payments/analytics", params={"endDate": "soon"}).json()
    assert refused["param"] == "endDate"


def test_only_administrators_change_and_delete(http, user):
    # S3.2 S3.12 C6 C27
    made = create(user)
    assert made.status_code == 201, made.text
    made = made.json()["id"]
    change = {"description": "Top-up, June", "metadata": {"a": "b"}}
    problem_of(user.patch(f"/payments/{made}", json=change), 403, "not_permitted")
    problem_of(user.delete(f"/payments/{made}"), 403, "not_permitted")
    admin = http.as_user("boss", role="admin")
    assert admin.patch(f"/payments/{made}", json=change).json()["description"] == "Top-up, June"
    path = f"/payments/{made}"
    problem_of(admin.patch(path, json={"status": "COMPLETED"}), 409, "use_confirm")
    problem_of(admin.patch(path, json={"status": "REFUNDED"}), 409, "use_refund")
    assert admin.patch(path, json={"status": "PENDING"}).json()["status"] == "PENDING"
    assert admin.patch(path, json={"status": "CANCELLED"}).json()["status"] == "CANCELLED"
    assert admin.delete(path).json()["status"] == "CANCELLED"
    problem_of(user.get(path), 404, "not_found")
    assert user.get("/payments").json()["total"] == 0
    assert admin.get(path).json()["id"] == made


def test_a_repeat_with_its_key_pays_once(env, user, card):
    # I40
    body = {"amount": 7, "currency": "USD", "paymentMethodId": card()}
    key = {"Idempotency-Key": "pay-7"}
    first = user.post("/payments/stripe/process", json=body, headers=key)
    again = user.post("/payments/stripe/process", json=body, headers=key)
    assert first.status_code == 201 and first.content == again.content
    assert wallet(env, "user_123", "usd") == 700


def test_cash_is_confirmed_by_an_administrator_alone(env, http, user):
    # S3.19 C7 C16
    made = create(user, method="CASH").json()
    assert (made["method"], made["status"]) == ("CASH", "PENDING")
    path = f"/payments/{made['id']}"
    problem_of(user.post(f"{path}/confirm"), 403, "not_permitted")
    problem_of(http.as_user("help", role="support").post(f"{path}/confirm"), 403, "not_permitted")
    assert wallet(env, "user_123", "htg") == 0
    done = http.as_user("boss", role="finance").post(f"{path}/confirm")
    assert (done.json()["status"], done.json()["method"]) == ("COMPLETED", "CASH")
    assert wallet(env, "user_123", "htg") == 10_000
    assert user.get("/payments?method=CASH").json()["total"] == 1
    bank = create(user, method="BANK_TRANSFER").json()
    admin = http.as_user("boss", role="admin")
    failed = admin.patch(f"/payments/{bank['id']}", json={"status": "FAILED"})
    assert failed.json()["status"] == "FAILED"
