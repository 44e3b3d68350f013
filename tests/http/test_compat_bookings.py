"""The bookings family over HTTP: its addresses, words and shapes, to the letter."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from http_support import problem_of

from paydesk import USD
from paydesk.flows import credits


@pytest.fixture
def holder(user: Any, make: Any) -> Any:
    """`user_123` with 100 credits."""
    make.credits(make.user("user_123"), 100)
    return user


def use(http: Any, amount: int, reference: str = "booking_9") -> str:
    """Credits pay for a booking; the transaction's id."""
    body = {"customer": "user_123", "credits": amount, "reference": reference}
    answer = http.post("/v1/credits/spend", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def test_the_balance_is_shown_by_type_and_by_expiry(env, user, make, clock):
    # S4.6 S4.26 S4.28
    who = make.user("user_123")
    make.credits(who, 30, days=10)
    make.credits(who, 20, days=None, kind="purchased")
    body = user.get("/payment/credits/balance").json()
    assert body["userId"] == "user_123" and body["balance"] == 50
    assert body["byType"] == {"purchased": 20, "membership": 0, "promotional": 30, "refunded": 0}
    soonest = (clock.now() + timedelta(days=10)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert body["expiring"] == [
        {"credits": 30, "expiresAt": soonest}, {"credits": 20, "expiresAt": None},
    ]  # fmt: skip


def test_a_purchase_is_the_documents_transaction_record(sim, http, user, make):
    # S4.36 S4.7 S4.12 S4.24
    make.pack("starter", name="Starter", credits=50, price=USD("50.00"))
    make.promo("SAVE20", percent_off=20, packs=["starter"])
    body = {"promoCode": "SAVE20"}
    made = user.post("/payment/credit-packs/starter/purchase", json=body)
    assert made.status_code == 200, made.text
    assert made.json()["amount"] == 40.0 and made.json()["currency"] == "USD"
    assert uuid.UUID(made.json()["paymentId"])
    sim.pay(made.json()["sessionId"])
    for one in sim.deliveries(about=made.json()["sessionId"]):
        answer = http.as_nobody().post(
            "/payment/webhooks/stripe", content=one.body, headers=one.headers
        )
        assert answer.status_code == 200
    text = user.get("/payment/credits/history").text
    record = user.get("/payment/credits/history").json()["transactions"][0]
    assert set(record) == {
        "id", "userId", "type", "amount", "credits", "status", "stripePaymentIntentId",
        "metadata", "createdAt",
    }  # fmt: skip
    assert record["id"].startswith("txn_") and record["userId"] == "user_123"
    assert record["type"] == "CREDIT_PURCHASE" and record["status"] == "COMPLETED"
    assert '"amount":40.0,' in text and record["credits"] == 50
    assert record["stripePaymentIntentId"].startswith("pi_")
    assert record["metadata"] == {"packId": "starter", "promoCode": "SAVE20"}
    assert record["createdAt"].endswith("Z")


# S4.37!
def test_a_usage_names_its_booking(http, holder):
    # S4.37 S4.7
    use(http, 12)
    page = holder.get("/payment/credits/history?type=CREDIT_USAGE").json()
    (record,) = page["transactions"]
    assert (record["type"], record["credits"]) == ("CREDIT_USAGE", -12)
    assert record["metadata"]["reference"] == "booking_9"
    assert page["hasMore"] is False and page["nextCursor"] is None


def test_the_history_is_read_in_pages(http, holder):
    # S4.7
    for number in range(5):
        use(http, 1, f"booking_{number}")
    seen: list[str] = []
    cursor = ""
    while True:
        page = holder.get(f"/payment/credits/history?limit=2{cursor}").json()
        seen += [one["id"] for one in page["transactions"]]
        if not page["hasMore"]:
            break
        cursor = f"&startingAfter={page['nextCursor']}"
    assert len(seen) == len(set(seen)) == 6


def test_a_usage_is_refunded_in_part_and_then_wholly(http, holder):
    # S4.9 S4.30
    spent = use(http, 10)
    part = http.post("/payment/credits/refund", json={"transactionId": spent, "credits": 4.0})
    assert part.status_code == 200, part.text
    assert part.json()["balance"] == 94
    assert part.json()["transaction"]["type"] == "CREDIT_REFUND"
    assert part.json()["transaction"]["credits"] == 4
    rest = http.post("/payment/credits/refund", json={"transaction_id": spent})
    assert rest.json()["balance"] == 100
    again = http.post("/payment/credits/refund", json={"transactionId": spent})
    problem_of(again, 409, "spend_not_refundable")


def test_a_user_cannot_undo_his_own_usage(http, holder):
    # S4.9 I33
    spent = use(http, 10)
    answer = holder.post("/payment/credits/refund", json={"transactionId": spent})
    problem_of(answer, 403, "not_permitted")
    assert holder.get("/payment/credits/balance").json()["balance"] == 90


def test_credits_do_not_move_between_strangers(http, holder, make):
    # S4.8 S4.29
    make.user("user_456")
    answer = holder.post("/payment/credits/transfer", json={"to_user_id": "user_456", "credits": 5})
    assert problem_of(answer, 403, "transfer_not_allowed")["legacy_code"] == "PAY007"
    assert holder.get("/payment/credits/balance").json()["balance"] == 100


def test_a_user_cannot_find_out_who_else_is_a_customer(holder, http, make):
    """S4.8: a stranger and nobody at all are refused in the same words; a server hears which."""
    make.user("user_456")
    told = []
    for path in ("/payment/credits/transfer", "/v1/credits/transfer"):
        name = "to_user_id" if path.startswith("/payment") else "to"
        for ref in ("user_456", "nobody_7"):
            answer = holder.post(path, json={name: ref, "credits": 5}).json()
            told.append({k: v for k, v in answer.items() if k != "request_id"})
    assert told[0]["legacy_code"] == "PAY007"
    assert all(one == told[0] for one in told)
    body = {"user_id": "user_123", "to_user_id": "nobody_7", "credits": 5}
    problem_of(http.post("/payment/credits/transfer", json=body), 404, "not_found")


def test_credits_move_between_customers_of_one_owner(env, http, holder, make):
    # S4.8
    make.user("user_456")
    changed = http.patch("/v1/customers/user_456", json={"owner": "user_123"})
    assert changed.status_code == 200, changed.text
    make.credits(make.user("user_123"), 40, kind="purchased")
    answer = http.post(
        "/payment/credits/transfer",
        json={"userId": "user_123", "toUserId": "user_456", "credits": 50.0},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["transaction"]["type"] == "CREDIT_TRANSFER"
    assert answer.json()["transaction"]["credits"] == -50
    with env.db.read() as tx:
        assert credits.balance_total(tx, make.user("user_456").uuid, env.now()) == 50


@pytest.mark.parametrize("credits_text", ["1e1", "NaN", '"10"', "true", "10.5", "-1", "0", "null"])
def test_credits_are_read_from_their_own_digits(http, holder, credits_text):
    # I11
    body = f'{{"userId": "user_123", "toUserId": "user_456", "credits": {credits_text}}}'
    answer = http.post(
        "/payment/credits/transfer", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code in (400, 422), answer.text


def test_packs_are_listed_and_shown(user, make):
    # S4.10 S4.11 C17
    made = make.pack()
    make.pack("hidden", active=False)
    (only,) = user.get("/payment/credit-packs").json()["packs"]
    assert only == {
        "id": str(made.uuid), "key": "creator", "name": "Creator Pack", "description": None,
        "credits": 150, "price": 9.99, "currency": "USD", "expiryDays": None, "active": True,
    }  # fmt: skip
    for ref in (str(made.uuid), "creator", made.id):
        assert user.get(f"/payment/credit-packs/{ref}").json() == only
    problem_of(user.get("/payment/credit-packs/hidden"), 404, "not_found")
    problem_of(user.get(f"/payment/credit-packs/{uuid.uuid4()}"), 404, "not_found")


def test_the_price_never_comes_from_the_client(sim, user, make):
    # I35
    make.pack()
    for name in ("amount", "price", "credits", "currency", "status"):
        answer = user.post("/payment/credit-packs/creator/purchase", json={name: 1})
        body = problem_of(answer, 422, "invalid_request")
        assert body["errors"] == [
            {"pointer": f"/{name}", "detail": "This member is not known here."}
        ]


def test_a_code_for_a_number_of_credits_is_priced_as_its_checkout_will_be(user, make):
    # S4.30
    make.promo()
    for way in ("validate", "apply"):
        body = {"code": "WELCOME10", "credits": 100}
        answer = user.post(f"/payment/promo-codes/{way}", json=body)
        assert answer.status_code == 200, answer.text
        odd = user.post(f"/payment/promo-codes/{way}", json={"code": "NONE", "credits": 1})
        assert odd.status_code == 422, odd.text


def test_a_code_is_validated_for_a_pack_for_an_amount_and_by_itself(user, make):
    # S4.17 S4.40
    make.pack()
    make.promo()
    for_pack = user.post(
        "/payment/promo-codes/validate", json={"code": "welcome10", "packId": "creator"}
    ).json()
    assert for_pack == {
        "valid": True, "code": "WELCOME10", "type": "PERCENTAGE", "discount": 1.0,
        "amount": 8.99, "currency": "USD", "bonusCredits": 0,
    }  # fmt: skip
    answer = user.post(
        "/payment/promo-codes/validate",
        content=b'{"code": "WELCOME10", "amount": 50.00}',
        headers={"content-type": "application/json"},
    )
    assert answer.json()["discount"] == 5.0 and answer.json()["amount"] == 45.0
    alone = user.post("/payment/promo-codes/validate", json={"code": "WELCOME10"}).json()
    assert alone["valid"] is True and alone["percentOff"] == 10


def test_an_invalid_code_is_pay003(user, make):
    # S4.17 S4.38
    make.pack()
    for body in ({"code": "NOPE"}, {"code": "NOPE", "packId": "creator"}):
        answer = user.post("/payment/promo-codes/validate", json=body)
        found = problem_of(answer, 422, "invalid_promo_code")
        assert found["legacy_code"] == "PAY003" and found["valid"] is False


@pytest.mark.parametrize("amount", ["1e2", "NaN", '"50"', "true", "50.001", "-5", "0"])
def test_amounts_are_read_from_their_own_digits(user, make, amount):
    # I11
    make.promo()
    answer = user.post(
        "/payment/promo-codes/validate",
        content=f'{{"code": "WELCOME10", "amount": {amount}}}',
        headers={"content-type": "application/json"},
    )
    assert answer.status_code in (400, 422), answer.text


def test_an_applied_code_is_used_by_the_next_purchase(sim, user, make):
    # S4.18
    make.pack()
    make.promo()
    applied = user.post(
        "/payment/promo-codes/apply", json={"code": "WELCOME10", "packId": "creator"}
    )
    assert applied.json()["applied"] is True and applied.json()["expiresAt"].endswith("Z")
    bought = user.post("/payment/credit-packs/creator/purchase").json()
    assert bought["amount"] == 8.99


def test_too_few_credits_are_pay001(http, holder):
    # S4.38
    body = {"customer": "user_123", "credits": 101}
    found = problem_of(http.post("/v1/credits/spend", json=body), 402, "insufficient_credits")
    assert (found["legacy_code"], found["balance"], found["needed"]) == ("PAY001", 100, 101)


def test_above_the_highest_balance_is_pay006(sim, http, user, make, env):
    # S4.38
    make.pack("big", credits=env.settings.max_credit_balance + 1)
    answer = user.post("/payment/credit-packs/big/purchase")
    assert problem_of(answer, 422, "credit_limit_exceeded")["legacy_code"] == "PAY006"


def test_the_days_transactions_are_limited(http, make, settings, env):
    # S4.34
    who = make.user("user_123")
    make.credits(who, 500)
    limit = env.settings.max_daily_transactions
    for start in range(0, limit, 50):
        items = [{"customer": "user_123", "credits": 1}] * min(50, limit - start)
        done = http.post("/v1/credits/spend/bulk", json={"items": items}).json()["data"]
        assert {one["status"] for one in done} == {"done"}
    body = {"customer": "user_123", "credits": 1}
    problem_of(http.post("/v1/credits/spend", json=body), 429, "transaction_limit")


def test_the_document_s_health_address_answers_without_credentials(http):
    # S1.41 S1.5 C8
    answer = http.as_nobody().get("/api/health")
    assert answer.status_code == 200
    assert answer.json()["status"] in ("ok", "degraded")
    assert answer.json()["checks"]["database"] == "ok"
