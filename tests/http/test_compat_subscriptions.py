"""The learning family's subscriptions: status, checkout, cancel, upgrade and downgrade."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest
from http_support import problem_of
from stripe_run import StripeRun

from paydesk.flows import renewals

CARD = "pm_card_visa"
PLANS = {
    "pro": {"name": "Pro", "amount": 2000, "currency": "usd", "upgrade": "seconds",
            "grants": [{"type": "platform", "id": "*"}]},
    "team": {"name": "Team", "amount": 5000, "currency": "usd", "most_quantity": 9,
             "grants": [{"type": "platform", "id": "*"}, {"type": "lab", "id": "gpu"}]},
    "trial": {"name": "Trial", "amount": 1000, "currency": "usd", "trial_days": 14,
              "family": "extra"},
}  # fmt: skip
ROW = {
    "id", "userId", "planId", "planKey", "planName", "status", "quantity", "amount", "currency",
    "interval", "intervalCount", "currentPeriodStart", "currentPeriodEnd", "trialStart",
    "trialEnd", "cancelAtPeriodEnd", "cancelledAt", "endedAt", "nextPlan",
    "stripeSubscriptionId", "createdAt", "updatedAt",
}  # fmt: skip


@pytest.fixture
def shop(sim, http, clock):
    """Three plans on sale, on a day in the middle of a month of thirty-one."""
    clock.set(datetime(2026, 3, 10, 12, tzinfo=UTC))
    for key, body in PLANS.items():
        assert http.put(f"/v1/plans/{key}", json=body).status_code == 200
    return sim


def opened(client, plan="pro", **more):
    answer = client.post("/api/subscriptions/checkout-session", json={"planId": plan, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def delivered(shop, client, about):
    for one in shop.deliveries(about=about):
        sent = client.post("/api/webhooks/stripe", content=one.body, headers=one.headers)
        assert sent.status_code == 200, sent.text


def subscribed(shop, client, plan="pro", **more):
    """Paid for, and looked at: no test here waits for a webhook."""
    made = opened(client, plan, **more)
    shop.pay(made["sessionId"])
    assert client.post(f"/v1/checkouts/{made['paymentId']}/verify").status_code == 200
    return made["subscriptionId"]


def stands(client, user="user_123"):
    answer = client.get(f"/api/subscriptions/status/{user}")
    assert answer.status_code == 200, answer.text
    return answer.json()


# S1.16! S1.27!
def test_a_session_is_opened_paid_and_makes_the_subscription(shop, user, http):
    """S1.12 S1.16 S1.23 S1.26 S1.27: access comes with the money, at the catalogue's price."""
    assert stands(user) == {"userId": "user_123", "hasActiveSubscription": False,
                            "status": "none", "subscription": None,
                            "subscriptions": []}  # fmt: skip
    made = opened(user, successUrl="https://app.example.com/thanks",
                  cancelUrl="https://app.example.com/plans")  # fmt: skip
    assert set(made) == {"sessionId", "checkoutUrl", "subscriptionId", "paymentId", "status",
                         "amount", "currency", "trialEnd", "expiresAt"}  # fmt: skip
    UUID(made["subscriptionId"]), UUID(made["paymentId"])
    assert made["checkoutUrl"].startswith("http") and made["sessionId"].startswith("cs_")
    assert (made["status"], made["amount"], made["currency"]) == ("incomplete", 20.0, "USD")
    assert stands(user)["hasActiveSubscription"] is False
    shop.pay(made["sessionId"])
    delivered(shop, user, made["sessionId"])
    found = stands(user)
    assert (found["status"], found["hasActiveSubscription"]) == ("active", True)
    row = found["subscription"]
    assert set(row) == ROW and found["subscriptions"] == [row]
    assert (row["id"], row["userId"], row["planKey"]) == (
        made["subscriptionId"], "user_123", "pro")  # fmt: skip
    assert (row["amount"], row["currency"], row["interval"]) == (20.0, "USD", "month")
    assert row["currentPeriodStart"] == "2026-03-10T12:00:00Z"
    assert row["currentPeriodEnd"] == "2026-04-10T12:00:00Z"
    assert stands(http) == found
    assert user.get("/v1/access/check?resource=platform:courses").json()["allowed"] is True


def test_a_plan_is_named_by_its_id_too_and_no_client_sets_a_price(shop, user, http):
    """S1.27 I35 C30"""
    plan = user.as_nobody().get("/api/subscriptions/plans").json()["plans"][0]
    made = opened(user, plan["id"], user_id="user_123")
    assert made["amount"] == plan["price"]
    for more in ({"amount": 1}, {"price": 1}, {"status": "active"}, {"quantity": 0},
                 {"quantity": 1.5}, {"planId": 7}):  # fmt: skip
        body = {"planId": "pro", **more}
        problem_of(user.post("/api/subscriptions/checkout-session", json=body), 422,
                   "invalid_request")  # fmt: skip
    problem_of(user.post("/api/subscriptions/checkout-session", json={"planId": "no"}), 404,
               "not_found")  # fmt: skip
    free = {"planId": "pro", "trialDays": 90}
    problem_of(user.post("/api/subscriptions/checkout-session", json=free), 403, "not_permitted")
    trial = opened(http, "pro", userId="user_7", trialDays=7)
    assert (trial["amount"], trial["paymentId"]) == (0.0, None) and trial["checkoutUrl"]


def test_one_runs_at_a_time(shop, user):
    """I21 S4.38"""
    subscribed(shop, user)
    again = user.post("/api/subscriptions/checkout-session", json={"planId": "team"})
    body = problem_of(again, 409, "subscription_already_active")
    assert body["legacy_code"] == "PAY004"


def test_the_same_key_opens_one_session(shop, user):
    """I27"""
    key = {"Idempotency-Key": "one"}
    path, body = "/api/subscriptions/checkout-session", {"planId": "pro"}
    first = user.post(path, json=body, headers=key)
    again = user.post(path, json=body, headers=key)
    assert (first.status_code, again.content) == (201, first.content)


# S1.28!
def test_a_cancellation_takes_the_access_at_once(shop, user):
    """S1.21 S1.23 S1.28! S1.43 S1.49 C12: spelled as the document spells it."""
    sub = subscribed(shop, user)
    answer = user.post(f"/api/subscriptions/{sub}/cancel")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["success"], body["accessRevoked"]) == (True, True)
    assert body["subscription"]["status"] == "cancelled"
    assert body["subscription"]["cancelledAt"] == body["subscription"]["endedAt"]
    assert user.get("/v1/access/check?resource=platform:courses").json()["allowed"] is False
    found = stands(user)
    assert (found["status"], found["hasActiveSubscription"]) == ("cancelled", False)
    assert (found["subscription"]["id"], found["subscriptions"]) == (sub, [])
    assert user.post(f"/api/subscriptions/{sub}/cancel").json()["accessRevoked"] is True


def test_a_cancellation_may_wait_for_the_period_and_be_taken_back(shop, user, clock, env):
    """S1.28 S1.29 S1.43 C12"""
    sub = subscribed(shop, user)
    path = f"/api/subscriptions/{sub}"
    body = user.post(f"{path}/cancel", json={"atPeriodEnd": True, "reason": "dear"}).json()
    row = body["subscription"]
    assert (body["accessRevoked"], row["status"], row["cancelAtPeriodEnd"]) == (
        False, "active", True)  # fmt: skip
    back = user.put(path, json={"cancelAtPeriodEnd": False}).json()
    assert (back["subscription"]["cancelAtPeriodEnd"], back["invoice"]) == (False, None)
    ends = user.put(path, json={"cancel_at_period_end": True}).json()
    assert ends["subscription"]["cancelAtPeriodEnd"] is True
    clock.advance(days=31, minutes=1)
    renewals.run_due(env)
    assert stands(user)["status"] == "cancelled"


# S1.29!
def test_an_upgrade_is_charged_for_what_is_left(shop, user, clock):
    """S1.20 S1.29 S1.44 S1.50: half a month of the difference, on an invoice with its lines."""
    sub = subscribed(shop, user)
    clock.advance(days=15, hours=12)
    answer = user.put(f"/api/subscriptions/{sub}", json={"planId": "team"})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["success"], body["subscription"]["planKey"]) == (True, "team")
    assert (body["subscription"]["amount"], body["subscription"]["id"]) == (50.0, sub)
    bill = body["invoice"]
    assert (bill["status"], bill["amount"], bill["amountPaid"]) == ("paid", 15.0, 15.0)
    assert [(line["kind"], line["amount"]) for line in bill["lines"]] == [
        ("proration_credit", -10.0), ("proration_charge", 25.0)]  # fmt: skip
    assert bill["periodEnd"] == body["subscription"]["currentPeriodEnd"]
    assert stands(user)["subscription"]["planKey"] == "team"
    assert user.get("/v1/access/check?resource=lab:gpu").json()["allowed"] is True
    wrong = {"planId": "team", "cancelAtPeriodEnd": True}
    for body in ({}, wrong, {"planId": "team"}, {"quantity": 10}, {"amount": 1}):
        problem_of(user.put(f"/api/subscriptions/{sub}", json=body), 422, "invalid_request")


def test_what_the_balance_paid_of_a_change_is_paid_in_the_answer_as_in_the_table(
    shop, user, clock, db
):
    """S1.29 S1.50: of half a month of two seats of 50.00, less 10.00, a downgrade left 15.00."""
    sub = subscribed(shop, user, "team")
    path = f"/api/subscriptions/{sub}"
    clock.advance(days=15, hours=12)
    down, up = (user.put(path, json={**told, "atPeriodEnd": False}).json()["invoice"] for told in (
        {"planId": "pro"}, {"planId": "team", "quantity": 2}))  # fmt: skip
    assert (down["amount"], down["amountPaid"]) == (-15.0, 0.0)
    assert (up["amount"], up["amountPaid"]) == (40.0, 40.0)
    with db.read() as tx:
        rows = tx.all("select id, amount_paid from learning.invoices")
        paid = tx.one("select paid_minor from invoices where id = %(id)s", {"id": up["id"]})
    assert paid["paid_minor"] == 2500
    shown = {str(row["id"]): float(row["amount_paid"]) for row in rows}
    assert (shown[down["id"]], shown[up["id"]]) == (0.0, 40.0)


def test_a_downgrade_stands_to_the_users_credit_or_waits(shop, user, clock, env):
    """S1.29 S1.44"""
    sub = subscribed(shop, user, "team")
    path = f"/api/subscriptions/{sub}"
    waits = user.put(path, json={"planId": "pro", "atPeriodEnd": True}).json()
    assert (waits["invoice"], waits["subscription"]["planKey"]) == (None, "team")
    assert waits["subscription"]["nextPlan"] == "pro"
    clock.advance(days=31, minutes=1)
    renewals.run_due(env)
    row = stands(user)["subscription"]
    assert (row["planKey"], row["nextPlan"], row["amount"]) == ("pro", None, 20.0)
    user.put(path, json={"planId": "team", "quantity": 2})
    down = user.put(path, json={"planId": "pro", "quantity": 1, "atPeriodEnd": False}).json()
    assert down["invoice"]["amount"] < 0
    assert (down["subscription"]["planKey"], down["subscription"]["status"]) == ("pro", "active")


def test_a_declined_upgrade_changes_nothing(shop, user, http):
    """S1.29: 402, and the plan is what it was."""
    sub = subscribed(shop, user)
    http.post("/v1/payment_methods", json={"customer": "user_123", "default": True,
                                           "token": "pm_card_chargeCustomerFail"})  # fmt: skip
    path = f"/api/subscriptions/{sub}"
    body = problem_of(user.put(path, json={"planId": "team"}), 402, "payment_failed")
    assert body["legacy_code"] == "PAY002"
    assert stands(user)["subscription"]["planKey"] == "pro"


# S1.29 S1.44
def test_an_upgrade_that_the_bank_asks_about_is_no_success_yet_and_names_its_page(
    shop, user, http
):
    sub = subscribed(shop, user)
    http.post("/v1/payment_methods", json={
        "customer": "user_123", "token": "pm_card_authenticationRequired", "default": True,
    })  # fmt: skip
    path = f"/api/subscriptions/{sub}"
    told = user.put(path, json={"planId": "team", "returnUrl": "https://learn.example/plan"})
    assert told.status_code == 200, told.text
    body = told.json()
    assert (body["success"], body["requiresAction"]) == (False, True)
    assert "/3d_secure/" in body["actionUrl"]
    assert body["subscription"]["planKey"] == "pro"
    assert body["invoice"]["status"] == "open"
    back = user.put(path, json={"planId": "pro"}).json()
    assert (back["success"], back["actionUrl"], back["invoice"]) == (True, None, None)
    again = user.put(path, json={"planId": "team"}).json()
    intent = shop.objects("payment_intent")[-1]
    assert intent["id"] in again["actionUrl"]
    shop.authenticate(intent["id"])
    assert http.post(f"/v1/payments/{again['paymentId']}/confirm").status_code == 200
    assert stands(user)["subscription"]["planKey"] == "team"


# S1.55!
def test_a_trial_saves_a_card_and_charges_nothing(shop, user, clock, env):
    """S1.27 S1.55: the page saves a card, and the trial's end charges it."""
    made = opened(user, "trial")
    assert (made["amount"], made["paymentId"], made["status"]) == (0.0, None, "incomplete")
    shop.pay(made["sessionId"])
    delivered(shop, user, made["sessionId"])
    found = stands(user)
    assert (found["status"], found["hasActiveSubscription"]) == ("trialing", True)
    assert found["subscription"]["trialEnd"] == "2026-03-24T12:00:00Z"
    clock.advance(days=14, minutes=1)
    renewals.run_due(env)
    assert stands(user)["status"] == "active"


def test_a_code_takes_off_what_it_is_for(shop, user, http):
    """S1.27 S4.40"""
    assert http.put("/v1/promos/HALF", json={"percent_off": 50}).status_code == 200
    assert opened(user, promoCode="HALF")["amount"] == 10.0
    wrong = {"planId": "pro", "promo_code": "NOPE"}
    body = problem_of(user.post("/api/subscriptions/checkout-session", json=wrong), 422,
                      "invalid_promo_code")  # fmt: skip
    assert body["legacy_code"] == "PAY003"


# S1.43!
def test_what_is_overdue_is_past_due_and_paid_again(shop, user, http, clock, env):
    """S1.18 S1.43 S1.48: past_due while the card is declined; the history says what failed."""
    sub = subscribed(shop, user)
    bad = {"customer": "user_123", "default": True, "token": "pm_card_chargeCustomerFail"}
    http.post("/v1/payment_methods", json=bad)
    clock.advance(days=31, minutes=1)
    renewals.run_due(env)
    found = stands(user)
    assert (found["status"], found["hasActiveSubscription"]) == ("past_due", True)
    rows = user.get("/api/payments/history/user_123").json()["payments"]
    assert [(row["status"], row["type"], row["subscriptionId"]) for row in rows] == [
        ("failed", "subscription", sub), ("succeeded", "subscription", sub)]  # fmt: skip
    http.post("/v1/payment_methods", json=bad | {"token": CARD})
    renewals.run_due(env)
    assert stands(user)["status"] == "active"


# S1.26! S1.52!
def test_the_status_is_kept_and_every_change_is_seen_at_once(shop, user, http, env):
    """S1.26 S1.52: the second look asks the database for nothing; each change is there with it."""
    until = time.monotonic() + 60
    while not env.cache.is_hearing:
        assert time.monotonic() < until, "nobody listens for changes"
        time.sleep(0.01)
    assert stands(user)["status"] == "none"
    sub = subscribed(shop, user)
    assert stands(user)["status"] == "active"
    assert kept(user)["status"] == "active"
    path = f"/api/subscriptions/{sub}"
    waits = {"planId": "team", "atPeriodEnd": True}
    for change, word, then in (
        (lambda: user.put(path, json=waits), "active", ("team", False)),
        (lambda: http.post(f"/v1/subscriptions/{sub}/pause", json={}), "paused", ("team", False)),
        (lambda: http.post(f"/v1/subscriptions/{sub}/resume"), "active", ("team", False)),
        (lambda: user.put(path, json={"cancelAtPeriodEnd": True}), "active", ("team", True)),
        (lambda: user.post(f"{path}/cancel"), "cancelled", (None, False)),
    ):
        kept(user)
        answer = change()
        assert answer.status_code == 200, answer.text
        seen = stands(user)
        row = seen["subscription"]
        assert (seen["status"], (row["nextPlan"], row["cancelAtPeriodEnd"])) == (word, then)
        assert kept(user) == seen


def kept(client):
    """The status from a look that asked the database nothing. What was just told of a change may
    still make one look ask anew."""
    until = time.monotonic() + 60
    while True:
        with asking() as asked:
            seen = stands(client)
        if not asked:
            return seen
        assert time.monotonic() < until, asked


@contextmanager
def asking():
    """Statements about customers and subscriptions meanwhile; requests are counted besides."""
    asked, real = [], psycopg.Cursor.execute

    def execute(self, query, *args, **more):
        if "subscriptions" in str(query) or "customer" in str(query):
            asked.append(str(query))
        return real(self, query, *args, **more)

    psycopg.Cursor.execute = execute
    try:
        yield asked
    finally:
        psycopg.Cursor.execute = real


def test_the_familys_tables_tell_of_subscriptions(shop, user, db):
    """S1.8 S1.48 S1.50: a view of each, in the document's words."""
    sub = subscribed(shop, user)
    user.post(f"/api/subscriptions/{sub}/cancel")
    with db.read() as tx:
        row = tx.one("select * from learning.subscriptions")
        paid = tx.one("select subscription_id, status from learning.payments")
        bill = tx.one("select subscription_id, status, period_end from learning.invoices")
    assert (str(row["id"]), row["user_id"], row["status"]) == (sub, "user_123", "cancelled")
    assert (row["amount"], row["currency"]) == (20, "USD")
    assert row["current_period_end"] == datetime(2026, 4, 10, 12, tzinfo=UTC)
    assert (str(paid["subscription_id"]), paid["status"]) == (sub, "succeeded")
    assert (str(bill["subscription_id"]), bill["status"]) == (sub, "paid")
    assert bill["period_end"] == row["current_period_end"]


def test_the_provider_may_bill_it_from_then_on(shop, user, clock):
    """S1.12 S1.16 S1.17 S1.18 S1.19 S1.20 S1.21: each event at the document's address, and what
    its routes answer after it."""
    there = StripeRun(shop, user, clock, "/api/webhooks/stripe")
    made = opened(user, runner="provider")
    assert (made["status"], made["amount"], made["paymentId"]) == ("incomplete", 20.0, None)
    assert made["sessionId"].startswith("cs_") and made["checkoutUrl"].startswith("http")
    wrong = {"planId": "pro", "runner": "moon"}
    problem_of(user.post("/api/subscriptions/checkout-session", json=wrong), 422,
               "invalid_request")  # fmt: skip
    assert (stands(user)["hasActiveSubscription"], opens(user)) == (False, False)
    shop.pay(made["sessionId"])
    heard = there.deliver()
    assert {"checkout.session.completed", "customer.subscription.created",
            "invoice.payment_succeeded"} <= heard  # fmt: skip
    row = stands(user)["subscription"]
    assert (row["id"], row["status"], row["planKey"]) == (made["subscriptionId"], "active", "pro")
    assert row["stripeSubscriptionId"] == there.subscription()["id"]
    assert (stands(user)["hasActiveSubscription"], opens(user)) == (True, True)
    assert paid(user) == [("succeeded", 20.0, row["id"])]
    there.go_on(days=31, hours=2)
    assert "invoice.payment_succeeded" in there.deliver()
    renewed = stands(user)["subscription"]
    assert (renewed["status"], renewed["currentPeriodStart"]) == ("active", row["currentPeriodEnd"])
    assert paid(user) == [("succeeded", 20.0, row["id"])] * 2
    there.reissue("chargeCustomerFail")
    there.go_on(days=31, hours=2)
    heard = there.deliver()
    assert {"invoice.payment_failed", "customer.subscription.updated"} <= heard
    late = stands(user)
    assert (late["status"], late["hasActiveSubscription"], opens(user)) == ("past_due", True, True)
    assert sorted(paid(user)) == [("failed", 20.0, row["id"])] + [
        ("succeeded", 20.0, row["id"])] * 2  # fmt: skip
    there.reissue("visa")
    there.go_on(days=8)
    assert {"invoice.payment_succeeded", "customer.subscription.updated"} <= there.deliver()
    assert (stands(user)["status"], opens(user)) == ("active", True)
    assert paid(user) == [("succeeded", 20.0, row["id"])] * 3
    there.steer("POST", cancel_at_period_end=True)
    assert there.deliver() == {"customer.subscription.updated"}
    ends = stands(user)["subscription"]
    assert (ends["status"], ends["cancelAtPeriodEnd"], opens(user)) == ("active", True, True)
    there.steer("DELETE")
    assert "customer.subscription.deleted" in there.deliver()
    over = stands(user)
    assert (over["status"], over["hasActiveSubscription"], opens(user)) == (
        "cancelled", False, False)  # fmt: skip
    assert (over["subscription"]["id"], over["subscriptions"]) == (row["id"], [])


def opens(client):
    """Whether what the plan opens is open."""
    return client.get("/v1/access/check?resource=platform:courses").json()["allowed"]


def paid(client, user="user_123"):
    """(status, amount, subscription) of the payments."""
    found = client.get(f"/api/payments/history/{user}").json()["payments"]
    return [(one["status"], one["amount"], one["subscriptionId"]) for one in found]


# S1.42!
def test_anothers_subscription_is_not_there(shop, user):
    """S1.42 I33"""
    sub = subscribed(shop, user)
    stranger = user.as_user("user_9")
    path = f"/api/subscriptions/{sub}"
    problem_of(stranger.get("/api/subscriptions/status/user_123"), 404, "not_found")
    problem_of(stranger.post(f"{path}/cancel"), 404, "not_found")
    problem_of(stranger.put(path, json={"planId": "team"}), 404, "not_found")
    problem_of(user.as_nobody().get("/api/subscriptions/status/user_123"), 401,
               "not_authenticated")  # fmt: skip
    assert stands(user)["status"] == "active"
