"""The bookings family's memberships: current, subscribe, cancel, credits and payments."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from http_support import problem_of
from stripe_run import StripeRun

from paydesk.flows import renewals

CARD, DECLINES = "pm_card_visa", "pm_card_chargeCustomerFail"
ROW = {
    "id", "userId", "membershipId", "membershipKey", "name", "status", "price", "currency",
    "interval", "intervalCount", "monthlyCredits", "creditsRemaining", "currentPeriodStart",
    "currentPeriodEnd", "trialEndsAt", "cancelAtPeriodEnd", "cancelledAt",
    "stripeSubscriptionId", "createdAt",
}  # fmt: skip


@pytest.fixture
def club(sim, http, clock):
    """Two memberships on sale: thirty credits a month for 29.00, and without any for 9.00."""
    clock.set(datetime(2026, 3, 10, 12, tzinfo=UTC))
    for key, amount, credits in (("gold", 2900, 30), ("plain", 900, 0)):
        body = {"name": key.title(), "kind": "membership", "amount": amount, "currency": "usd",
                "credits": credits, "family": key}  # fmt: skip
        assert http.put(f"/v1/plans/{key}", json=body).status_code == 200
    return sim


def card(http, token=CARD, user="user_123"):
    body = {"customer": user, "token": token, "default": True}
    assert http.post("/v1/payment_methods", json=body).status_code == 201


def subscribed(client, key="gold", **more):
    answer = client.post(f"/payment/memberships/{key}/subscribe", json=more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def current(client):
    return client.get("/payment/memberships/current").json()["membership"]


def history(client, query=""):
    """(type, amount, credits) of the transactions, newest first."""
    answer = client.get(f"/payment/credits/history?{query}")
    assert answer.status_code == 200, answer.text
    return [(r["type"], r["amount"], r["credits"]) for r in answer.json()["transactions"]]


# S4.15!
def test_a_saved_card_is_charged_and_credits_come(club, user, http):
    """S4.14 S4.15 S4.25 S4.26 S4.36 S4.37"""
    card(http)
    assert current(user) is None
    plan = user.get("/payment/memberships").json()["memberships"][0]
    made = subscribed(user, plan["id"])
    assert set(made) == {"membership", "checkoutUrl", "sessionId", "paymentId", "amount",
                         "currency", "credits", "expiresAt"}  # fmt: skip
    assert (made["amount"], made["currency"], made["credits"]) == (29.0, "USD", 30)
    assert (made["checkoutUrl"], made["expiresAt"]) == (None, None)
    row = made["membership"]
    assert set(row) == ROW and current(user) == row
    assert (row["status"], row["membershipId"], row["membershipKey"]) == (
        "ACTIVE", plan["id"], "gold")  # fmt: skip
    assert (row["monthlyCredits"], row["creditsRemaining"]) == (30, 30)
    assert row["currentPeriodEnd"] == "2026-04-10T12:00:00Z"
    assert user.get("/payment/credits/balance").json()["byType"]["membership"] == 30
    record = user.get("/payment/credits/history").json()["transactions"][0]
    assert record["id"].startswith("txn_") and record["userId"] == "user_123"
    assert (record["type"], record["amount"], record["credits"], record["status"]) == (
        "MEMBERSHIP_PAYMENT", 29.0, 30, "COMPLETED")  # fmt: skip
    assert record["stripePaymentIntentId"].startswith("pi_")
    assert record["metadata"] == {"membershipId": "gold", "subscriptionId": row["id"],
                                  "promoCode": None}  # fmt: skip


def test_an_applied_code_is_used_by_the_next_subscription(club, user, http):
    """S4.18 S4.40: the discount of a membership is kept for it, and counted once."""
    card(http)
    http.put("/v1/promos/TENTH", json={"percent_off": 10, "cap": 1})
    plan = user.get("/payment/memberships").json()["memberships"][0]["id"]
    asked = {"code": "TENTH", "membershipId": plan}
    applied = user.post("/payment/promo-codes/apply", json=asked)
    assert applied.status_code == 200, applied.text
    assert (applied.json()["applied"], applied.json()["amount"]) == (True, 26.1)
    assert applied.json()["expiresAt"].endswith("Z")
    assert user.post("/payment/promo-codes/apply", json=asked).json() == applied.json()
    made = subscribed(user, plan)
    assert made["amount"] == 26.1
    record = user.get("/payment/credits/history").json()["transactions"][0]
    assert (record["amount"], record["metadata"]["promoCode"]) == (26.1, "TENTH")
    assert http.get("/v1/promos/TENTH").json()["used"] == 1


def test_without_a_card_a_page_is_opened(club, user):
    """S4.15 S4.24 S4.25: the webhook brings the membership and its credits."""
    made = subscribed(user, successUrl="https://app.example.com/thanks")
    assert made["checkoutUrl"].startswith("http") and made["expiresAt"]
    assert (made["membership"]["status"], made["credits"]) == ("INCOMPLETE", 0)
    assert current(user) is None
    club.pay(made["sessionId"])
    for one in club.deliveries(about=made["sessionId"]):
        user.post("/payment/webhooks/stripe", content=one.body, headers=one.headers)
    assert current(user)["status"] == "ACTIVE"
    assert history(user) == [("MEMBERSHIP_PAYMENT", 29.0, 30)]


# S4.25!
def test_stripe_bills_it_month_after_month(club, user, http, clock):
    """S4.15 S4.25 S4.37: begun on Stripe's page, kept by its events at the document's address."""
    there = StripeRun(club, user, clock, "/payment/webhooks/stripe")
    made = subscribed(user, runner="provider", successUrl="https://app.example.com/thanks")
    assert made["checkoutUrl"].startswith("http") and made["sessionId"].startswith("cs_")
    assert (made["membership"]["status"], made["credits"], made["paymentId"]) == (
        "INCOMPLETE", 0, None)  # fmt: skip
    assert current(user) is None
    club.pay(made["sessionId"])
    assert current(user) is None
    there.deliver()
    row = current(user)
    assert (row["id"], row["status"]) == (made["membership"]["id"], "ACTIVE")
    assert row["stripeSubscriptionId"] == there.subscription()["id"]
    assert (row["monthlyCredits"], row["creditsRemaining"]) == (30, 30)
    assert history(user) == [("MEMBERSHIP_PAYMENT", 29.0, 30)]
    user.post("/v1/credits/spend", json={"credits": 12, "reference": "booking_3"})
    there.go_on(days=31, hours=2)
    assert history(user, "type=MEMBERSHIP_PAYMENT") == [("MEMBERSHIP_PAYMENT", 29.0, 30)]
    there.deliver()
    after = current(user)
    assert (after["id"], after["status"], after["creditsRemaining"]) == (row["id"], "ACTIVE", 30)
    assert after["stripeSubscriptionId"] == row["stripeSubscriptionId"]
    assert after["currentPeriodStart"] == row["currentPeriodEnd"]
    assert history(user, "type=MEMBERSHIP_PAYMENT") == [("MEMBERSHIP_PAYMENT", 29.0, 30)] * 2
    assert user.get("/payment/credits/balance").json()["balance"] == 30
    rows = user.get("/payment/credits/history?type=MEMBERSHIP_PAYMENT").json()["transactions"]
    assert len({one["stripePaymentIntentId"] for one in rows}) == 2
    assert all(one["stripePaymentIntentId"].startswith("pi_") for one in rows)
    assert {one["metadata"]["membershipId"] for one in rows} == {"gold"}
    assert {one["metadata"]["subscriptionId"] for one in rows} == {row["id"]}


# S4.25!
def test_each_month_is_paid_and_brings_its_credits(club, user, http, clock, env):
    """S4.25 S4.26: what is left of a month ends with it."""
    card(http)
    subscribed(user)
    user.post("/v1/credits/spend", json={"credits": 10, "reference": "booking_7"})
    clock.advance(days=31, minutes=1)
    renewals.run_due(env)
    assert current(user)["creditsRemaining"] == 30
    assert user.get("/payment/credits/balance").json()["balance"] == 30
    found = history(user)
    assert found.count(("MEMBERSHIP_PAYMENT", 29.0, 30)) == 2
    assert ("CREDIT_USAGE", 0, -10) in found and ("CREDIT_EXPIRY", 0, -20) in found
    usage = user.get("/payment/credits/history?type=CREDIT_USAGE").json()["transactions"][0]
    assert usage["metadata"] == {"reference": "booking_7"}


def test_one_payment_of_a_year_is_one_record_with_money(club, user, http, clock, env):
    """S4.26 S4.37: the months after the first are given, not paid for."""
    body = {"name": "Year", "kind": "membership", "amount": 29000, "currency": "usd",
            "credits": 30, "interval": "year"}  # fmt: skip
    assert http.put("/v1/plans/year", json=body).status_code == 200
    card(http)
    subscribed(user, "year")
    clock.advance(days=31, minutes=1)
    renewals.run_due(env)
    assert [one for one in history(user) if one[0] == "MEMBERSHIP_PAYMENT"] == [
        ("MEMBERSHIP_PAYMENT", 0, 30), ("MEMBERSHIP_PAYMENT", 290.0, 30)]  # fmt: skip


def test_a_payment_that_brings_no_credits_is_a_record_too(club, user, http, clock, env):
    """S4.37: page by page, newest first, each once."""
    card(http)
    subscribed(user, "plain")
    clock.advance(minutes=1)
    subscribed(user, "gold")
    clock.advance(days=31, minutes=5)
    renewals.run_due(env)
    found = history(user, "type=MEMBERSHIP_PAYMENT")
    assert sorted(found) == [("MEMBERSHIP_PAYMENT", 9.0, 0)] * 2 + [
        ("MEMBERSHIP_PAYMENT", 29.0, 30)] * 2  # fmt: skip
    assert history(user, "type=CREDIT_USAGE") == []
    pages, cursor = [], ""
    while cursor is not None:
        answer = user.get(f"/payment/credits/history?limit=1{cursor}").json()
        pages += [(r["type"], r["amount"], r["credits"]) for r in answer["transactions"]]
        cursor = answer["nextCursor"] and f"&startingAfter={answer['nextCursor']}"
    assert pages == history(user)
    plain = user.get("/payment/credits/history?limit=100").json()["transactions"][-1]
    assert plain["metadata"]["membershipId"] == "plain" and plain["amount"] == 9.0


def test_a_second_membership_is_refused(club, user, http):
    """S4.38 I21: PAY004, with the status and the body that refusals have here."""
    card(http)
    made = subscribed(user)
    answer = user.post("/payment/memberships/gold/subscribe")
    body = problem_of(answer, 409, "subscription_already_active")
    assert (body["legacy_code"], body["title"]) == ("PAY004", "A subscription is active already")
    assert body["subscription"].startswith("sub_")
    assert current(user) == made["membership"]
    assert len(history(user)) == 1


def test_of_two_at_once_one_wins(club, user, http):
    """S4.38 I21: charged once."""
    card(http)
    callers = [http.as_user("user_123") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(
            lambda one: one.post("/payment/memberships/gold/subscribe"), callers
        ))  # fmt: skip
    won = [one for one in answers if one.status_code == 200]
    lost = [one for one in answers if one.status_code != 200]
    assert len(won) == 1, [one.text for one in answers]
    assert {one.status_code for one in lost} <= {409, 503}
    assert {one.json().get("legacy_code") for one in lost if one.status_code == 409} <= {"PAY004"}
    assert current(user)["status"] == "ACTIVE"
    assert history(user) == [("MEMBERSHIP_PAYMENT", 29.0, 30)]


def test_a_declined_card_is_a_payment_failed(club, user, http):
    """S4.38 PAY002: nothing runs, and another card may be tried."""
    card(http, DECLINES)
    body = problem_of(user.post("/payment/memberships/gold/subscribe"), 402, "payment_failed")
    assert body["legacy_code"] == "PAY002"
    assert current(user) is None and history(user) == []
    card(http)
    assert subscribed(user)["membership"]["status"] == "ACTIVE"


# S4.40!
def test_a_free_trial_code_begins_a_trial(club, user, http, clock, env):
    """S4.40: no money and no credits until it ends."""
    assert http.put("/v1/promos/TRY", json={"free_trial_days": 14}).status_code == 200
    card(http)
    made = subscribed(user, promoCode="try")
    assert (made["membership"]["status"], made["amount"], made["credits"]) == ("TRIALING", 0, 0)
    assert made["membership"]["trialEndsAt"] == "2026-03-24T12:00:00Z"
    assert history(user) == []
    clock.advance(days=14, minutes=1)
    renewals.run_due(env)
    assert current(user)["status"] == "ACTIVE"
    assert history(user) == [("MEMBERSHIP_PAYMENT", 29.0, 30)]
    user.post("/payment/memberships/cancel", json={"atPeriodEnd": False})
    again = user.post("/payment/memberships/gold/subscribe", json={"promo_code": "TRY"})
    assert problem_of(again, 422, "invalid_promo_code")["legacy_code"] == "PAY003"


def test_a_code_shows_on_the_record_of_what_it_took_off(club, user, http):
    """S4.36 S4.40"""
    assert http.put("/v1/promos/SAVE", json={"percent_off": 50}).status_code == 200
    card(http)
    assert subscribed(user, promoCode="SAVE")["amount"] == 14.5
    record = user.get("/payment/credits/history").json()["transactions"][0]
    assert (record["amount"], record["metadata"]["promoCode"]) == (14.5, "SAVE")


# S4.16!
def test_a_membership_is_canceled_at_its_periods_end_or_at_once(club, user, http, clock, env):
    """S4.16 C12: credits that were given stay until they end."""
    problem_of(user.post("/payment/memberships/cancel"), 404, "not_found")
    card(http)
    subscribed(user)
    body = user.post("/payment/memberships/cancel", json={"reason": "too dear"}).json()
    assert body["success"] is True
    assert (body["membership"]["status"], body["membership"]["cancelAtPeriodEnd"]) == (
        "ACTIVE", True)  # fmt: skip
    now = user.post("/payment/memberships/cancel", json={"at_period_end": False}).json()
    assert (now["membership"]["status"], now["membership"]["cancelledAt"]) == (
        "CANCELLED", "2026-03-10T12:00:00Z")  # fmt: skip
    assert current(user) is None
    assert user.get("/payment/credits/balance").json()["balance"] == 30
    assert subscribed(user)["membership"]["status"] == "ACTIVE"
    user.post("/payment/memberships/cancel")
    clock.advance(days=31, minutes=1)
    renewals.run_due(env)
    assert current(user) is None


def test_servers_name_their_user_and_users_see_their_own(club, user, http):
    """S4.14 I33"""
    card(http)
    problem_of(http.post("/payment/memberships/gold/subscribe"), 422, "invalid_request")
    made = subscribed(http, userId="user_123")
    assert http.get("/payment/memberships/current?userId=user_123").json() == {
        "membership": made["membership"]}  # fmt: skip
    stranger = user.as_user("user_9")
    assert current(stranger) is None
    problem_of(stranger.get("/payment/memberships/current?userId=user_123"), 404, "not_found")
    problem_of(stranger.post("/payment/memberships/cancel", json={"userId": "user_123"}), 404,
               "not_found")  # fmt: skip
    problem_of(user.as_nobody().get("/payment/memberships/current"), 401, "not_authenticated")
    for body in ({"price": 1}, {"credits": 900}, {"promoCode": 7}):
        answer = stranger.post("/payment/memberships/gold/subscribe", json=body)
        problem_of(answer, 422, "invalid_request")
    problem_of(stranger.post("/payment/memberships/none/subscribe"), 404, "not_found")
