"""The learning family's purchases: create, history, status with access, refund."""

from __future__ import annotations

from uuid import UUID

import pytest
from http_support import problem_of

from paydesk import ids
from paydesk.flows import checkout, items, payments
from paydesk.rules.money import USD


@pytest.fixture
def shop(sim, env):
    items.upsert(env, "python", name="Python from nothing", price=USD("49.99"),
                 grants=["course:python", {"type": "lab", "id": "python", "days": 90}],
                 rules=[{"name": "Team", "quantity_from": 2, "percent_off": 10}],
                 most_quantity=5)  # fmt: skip
    return sim


def bought(shop, client, **more):
    made = client.post("/api/purchases/create", json={"itemId": "python", **more})
    assert made.status_code == 201, made.text
    shop.pay(made.json()["sessionId"])
    for one in shop.deliveries(about=made.json()["sessionId"]):
        client.post("/api/webhooks/stripe", content=one.body, headers=one.headers)
    return made.json()


# S1.36!
def test_a_purchase_opens_a_session_at_the_servers_price(shop, user):
    """S1.36 S1.46 I35"""
    made = user.post("/api/purchases/create", json={"item_id": "python", "quantity": 2}).json()
    assert set(made) == {"purchaseId", "sessionId", "checkoutUrl", "paymentId", "status", "amount",
                         "currency", "expiresAt"}  # fmt: skip
    UUID(made["purchaseId"]), UUID(made["paymentId"])
    assert (made["amount"], made["currency"], made["status"]) == (89.98, "USD", "pending")
    for more in ({"price": 1}, {"amount": 1}, {"quantity": 6}, {"quantity": 1.5}, {"itemId": 7}):
        problem_of(user.post("/api/purchases/create", json={"itemId": "python", **more}), 422,
                   "invalid_request")  # fmt: skip


# S1.16!
def test_status_tells_of_the_purchase_and_its_access(shop, user):
    """S1.16 S1.23 S1.38 S1.49: before and after the webhook."""
    made = user.post("/api/purchases/create", json={"itemId": "python"}).json()
    before = user.get(f"/api/purchases/{made['purchaseId']}/status").json()
    assert (before["status"], before["hasAccess"], before["access"]) == ("pending", False, [])
    shop.pay(made["sessionId"])
    for one in shop.deliveries(about=made["sessionId"]):
        user.post("/api/webhooks/stripe", content=one.body, headers=one.headers)
    after = user.get(f"/api/purchases/{made['purchaseId']}/status").json()
    assert (after["status"], after["hasAccess"]) == ("completed", True)
    assert {(a["resourceType"], a["resourceId"], a["hasAccess"]) for a in after["access"]} == {
        ("course", "python", True), ("lab", "python", True)}  # fmt: skip
    assert {a["resourceType"]: bool(a["expiresAt"]) for a in after["access"]} == {
        "course": False, "lab": True}  # fmt: skip
    assert after["purchase"]["payment"] == {"id": made["paymentId"], "status": "succeeded"}


def test_history_is_the_users_with_the_context_of_the_payment(shop, user, http):
    """S1.37 S1.48"""
    made = bought(shop, user)
    found = user.get("/api/purchases/history/user_123").json()
    row = found["purchases"][0]
    assert (row["id"], row["userId"], row["itemKey"]) == (made["purchaseId"], "user_123", "python")
    assert (row["amount"], row["amountPaid"], row["status"]) == (49.99, 49.99, "completed")
    assert http.get("/api/purchases/history/user_123?status=completed").json() == found
    assert http.get("/api/purchases/history/user_123?status=refunded").json()["purchases"] == []
    problem_of(user.as_user("user_9").get("/api/purchases/history/user_123"), 404, "not_found")


def test_the_payment_history_names_the_purchase_and_uses_the_familys_words(shop, user, http):
    """S1.35 S1.48: succeeded, failed, refunded; with purchase context."""
    made = bought(shop, user)

    def row():
        return user.get("/api/payments/history/user_123").json()["payments"][0]

    one = row()
    assert (one["status"], one["purchaseId"], one["itemKey"], one["subscriptionId"]) == (
        "succeeded", made["purchaseId"], "python", None)  # fmt: skip
    path = f"/api/purchases/{made['purchaseId']}/refund"
    http.post(path, json={"amount": 9.99})
    assert (row()["status"], row()["amountRefunded"]) == ("succeeded", 9.99)
    http.post(path)
    assert (row()["status"], row()["amountRefunded"]) == ("refunded", 49.99)


def test_the_payment_history_is_filtered_by_the_words_that_it_shows(shop, user, http, env):
    """S1.35 S1.48: what expired or was canceled is shown as failed, and found so."""
    for key in ("one", "two", "three", "four"):
        items.upsert(env, key, name=key.title(), price=USD("5.00"))
    bought(shop, user, itemId="one")
    back = bought(shop, user, itemId="two")
    http.post(f"/api/purchases/{back['purchaseId']}/refund", json={"amount": 1})
    given_up = user.post("/api/purchases/create", json={"itemId": "three"}).json()
    payment_id = UUID(given_up["paymentId"])
    one = payments.get(env, ids.customer_of(payment_id), payment_id)
    checkout.expire_now(env, one.customer_id, one.checkout_id)
    user.post("/api/purchases/create", json={"itemId": "four"})

    def shown(word=None):
        path = "/api/payments/history/user_123" + (f"?status={word}" if word else "")
        answer = user.get(path).json()
        assert answer["total"] == len(answer["payments"])
        return [(one["id"], one["status"]) for one in answer["payments"]]

    everything = shown()
    words = [status for _, status in everything]
    assert sorted(words) == ["failed", "pending", "succeeded", "succeeded"]
    for word in ("failed", "pending", "succeeded", "refunded", "processing"):
        assert shown(word) == [one for one in everything if one[1] == word]
    problem_of(user.get("/api/payments/history/user_123?status=moon"), 422, "invalid_request")


def test_days_that_follow_are_access_while_those_before_last(shop, env, user):
    """S1.38 S1.49"""
    items.upsert(env, "pass", name="Lab pass", price=USD("5.00"), grants=["lab:gpu"],
                 access_days=30, repeatable=True)  # fmt: skip
    bought(shop, user, itemId="pass")
    second = bought(shop, user, itemId="pass")
    told = user.get(f"/api/purchases/{second['purchaseId']}/status").json()
    assert told["hasAccess"] and told["access"][0]["hasAccess"]


def test_what_is_owned_is_not_sold_again(shop, user):
    """S1.47"""
    bought(shop, user)
    problem_of(user.post("/api/purchases/create", json={"itemId": "python"}), 409,
               "already_purchased")  # fmt: skip


def test_a_refund_takes_the_access_with_the_money(shop, user, http):
    """S1.39 S1.48 S1.49 I20: asked for by the user, carried out by the business."""
    made = bought(shop, user)
    path = f"/api/purchases/{made['purchaseId']}/refund"
    part = http.post(path, json={"amount": 9.99, "reason": "late"}).json()
    assert (part["amount"], part["accessRevoked"]) == (9.99, False)
    whole = http.post(path).json()
    assert (whole["amount"], whole["status"], whole["accessRevoked"]) == (40.0, "succeeded", True)
    assert (whole["purchase"]["status"], whole["purchase"]["amountRefunded"]) == (
        "refunded", 49.99)  # fmt: skip
    status = user.get(f"/api/purchases/{made['purchaseId']}/status").json()
    assert (status["status"], status["hasAccess"]) == ("refunded", False)
    assert status["purchase"]["payment"]["status"] == "refunded"


def test_the_window_of_thirty_days_holds(shop, user, http, clock):
    """S1.39 C11"""
    made = bought(shop, user)
    path = f"/api/purchases/{made['purchaseId']}/refund"
    assert user.post(path).json()["status"] == "requested"
    clock.advance(days=30)
    service = http.as_user("worker", "service")
    problem_of(user.post(path, json={"amount": 1}), 409, "refund_window_closed")
    assert service.post(path, json={"amount": 1}).status_code in (403, 409)


def test_anothers_purchase_is_not_there(shop, user):
    """I33"""
    made = bought(shop, user)
    stranger = user.as_user("user_9")
    problem_of(stranger.get(f"/api/purchases/{made['purchaseId']}/status"), 404, "not_found")
    problem_of(stranger.post(f"/api/purchases/{made['purchaseId']}/refund"), 404, "not_found")
