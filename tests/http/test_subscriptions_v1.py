"""/v1/subscriptions: begun, previewed, changed, paused, canceled, each by whom it is for."""

from __future__ import annotations

import pytest

PRO = {"name": "Pro", "amount": 2000, "currency": "usd", "family": "app",
       "grants": [{"type": "tier", "id": "pro"}]}  # fmt: skip
TEAM = {"name": "Team", "amount": 5000, "currency": "usd", "family": "app", "most_quantity": 5,
        "grants": [{"type": "tier", "id": "team"}]}  # fmt: skip


@pytest.fixture
def shop(http, sim):
    """Two plans, and a customer with a card."""
    assert http.put("/v1/plans/pro", json=PRO).status_code == 200
    assert http.put("/v1/plans/team", json=TEAM).status_code == 200
    card = {"customer": "user_1", "token": "pm_card_visa"}
    assert http.post("/v1/payment_methods", json=card).status_code == 201
    return http


# S1.27 S1.29 S4.38
def test_a_subscription_over_http(shop):
    made = shop.post("/v1/subscriptions", json={"customer": "user_1", "plan": "pro"})
    assert made.status_code == 201, made.text
    sub = made.json()
    assert (sub["status"], sub["amount"], sub["plan_key"]) == ("active", 2000, "pro")
    path = f"/v1/subscriptions/{sub['id']}"
    assert made.headers["Location"] == path
    again = shop.post("/v1/subscriptions", json={"customer": "user_1", "plan": "team"})
    assert (again.status_code, again.json()["legacy_code"]) == (409, "PAY004")
    seen = shop.post(f"{path}/preview", json={"plan": "team"}).json()
    assert sum(line["amount"] for line in seen["lines"]) == seen["due_now"]
    stale = shop.post(f"{path}/change", json={"plan": "team", "quantity": 2,
                                              "expect": seen["token"]})  # fmt: skip
    assert (stale.status_code, stale.json()["code"]) == (409, "preview_outdated")
    done = shop.post(f"{path}/change", json={"plan": "team", "expect": seen["token"]})
    assert (done.status_code, done.json()["plan_key"]) == (200, "team")
    bill = shop.get(f"/v1/invoices/{done.json()['latest_invoice']}").json()
    assert bill["amount_due"] == seen["due_now"]
    line = bill["items"][0]
    told = shop.get(f"/v1/invoice-items/{line['id']}/why").json()
    assert told["inputs"]["paid_minor"] == 2000
    paused = shop.post(f"{path}/pause", json={})
    assert paused.json()["status"] == "paused"
    assert shop.post(f"{path}/resume").json()["status"] == "active"
    ending = shop.post(f"{path}/cancel", json={"reason": "too_expensive"}).json()
    assert ending["cancel_at"] == ending["current_period_end"]
    assert shop.post(f"{path}/reactivate").json()["cancel_at"] is None
    assert shop.post(f"{path}/cancel", json={"at": "now"}).json()["status"] == "canceled"
    listed = shop.get("/v1/subscriptions?customer=user_1&status=canceled").json()
    assert [one["id"] for one in listed["data"]] == [sub["id"]]


def test_without_a_card_the_answer_has_the_page(shop):
    made = shop.post("/v1/subscriptions", json={
        "customer": "user_2", "plan": "pro", "success_url": "https://app.example.com/thanks",
    }).json()  # fmt: skip
    assert made["status"] == "incomplete"
    assert made["url"] == made["checkout"]["url"]
    trial = shop.post("/v1/subscriptions", json={
        "customer": "user_3", "plan": "pro", "trial_days": 14,
    }).json()  # fmt: skip
    assert (trial["status"], trial["checkout"]) == ("incomplete", None)
    assert trial["setup"]["url"]


# S1.12 S1.44 I24
def test_what_subscribing_would_cost_is_told_before(shop):
    wanted = {"customer": "user_1", "plan": "team", "quantity": 2}
    answer = shop.post("/v1/subscriptions/preview", json=wanted)
    assert answer.status_code == 200, answer.text
    seen = answer.json()
    assert (seen["object"], seen["way"], seen["trial_end"]) == (
        "subscription_preview", "charge", None)
    assert (seen["total"], seen["due_now"], seen["next_total"]) == (10_000,) * 3
    assert [(i["kind"], i["amount"]) for i in seen["lines"]] == [("recurring", 10_000)]
    assert shop.get("/v1/subscriptions?customer=user_1").json()["data"] == []
    stale = shop.post("/v1/subscriptions", json={**wanted, "quantity": 3, "expect": seen["token"]})
    assert (stale.status_code, stale.json()["code"]) == (409, "preview_outdated")
    made = shop.post("/v1/subscriptions", json={**wanted, "expect": seen["token"]}).json()
    assert (made["status"], made["current_period_end"]) == ("active", seen["next_at"])
    bill = shop.get(f"/v1/invoices/{made['latest_invoice']}").json()
    assert bill["amount_due"] == seen["due"]
    trial = shop.post("/v1/subscriptions/preview", json={
        "customer": "user_7", "plan": "pro", "trial_days": 14}).json()
    assert (trial["way"], trial["due_now"], trial["due"]) == ("setup", 0, 2000)
    assert trial["trial_end"] == trial["first_at"] < trial["next_at"]


def test_a_preview_that_cannot_be_is_refused_as_the_beginning(shop):
    def code(**more):
        told = {"customer": "user_1", "plan": "pro", **more}
        answer = shop.post("/v1/subscriptions/preview", json=told)
        return answer.status_code, answer.json()["code"]

    assert code(runner="provider")[1] == "not_supported"
    assert code(plan="none")[0] == 404
    assert code(promo="NONE")[1] == "invalid_promo_code"
    assert code(surprise=1)[0] == code(quantity=9)[0] == 422
    expect = shop.post("/v1/subscriptions/preview", json={"customer": "user_1", "plan": "pro"})
    refused = shop.post("/v1/subscriptions", json={
        "customer": "user_1", "plan": "pro", "runner": "provider",
        "expect": expect.json()["token"]})  # fmt: skip
    assert refused.json()["code"] == "not_supported"
    assert shop.post("/v1/subscriptions", json={"customer": "user_1", "plan": "pro"}).is_success
    assert code() == (409, "subscription_already_active")


# S1.42
def test_a_customer_says_neither_trial_nor_refund_and_sees_only_his_own(shop):
    made = shop.post("/v1/subscriptions", json={"customer": "user_1", "plan": "pro"}).json()
    path = f"/v1/subscriptions/{made['id']}"
    own, other = shop.as_user("user_1"), shop.as_user("user_9")
    assert own.get(path).status_code == 200
    assert other.get(path).status_code == 404
    assert other.post(f"{path}/cancel", json={"at": "now"}).status_code == 404
    assert own.post(f"{path}/cancel", json={"at": "now", "refund": "unused"}).status_code == 403
    free = other.post("/v1/subscriptions", json={"plan": "pro", "trial_days": 90})
    assert free.status_code == 403
    assert own.get("/v1/subscriptions").json()["data"][0]["id"] == made["id"]
    assert other.get("/v1/subscriptions").json()["data"] == []


# I27
def test_the_same_idempotency_key_subscribes_once(shop):
    key = {"Idempotency-Key": "sub-1"}
    body = {"customer": "user_1", "plan": "pro"}
    first = shop.post("/v1/subscriptions", json=body, headers=key).json()
    assert shop.post("/v1/subscriptions", json=body, headers=key).json()["id"] == first["id"]
    other = shop.post("/v1/subscriptions", json={**body, "plan": "team"}, headers=key)
    assert other.status_code == 422


# S1.27 S1.16: Stripe Billing runs it
def test_a_subscription_that_stripe_runs_over_http(shop, sim):
    told = {"customer": "user_7", "plan": "pro", "runner": "provider"}
    made = shop.post("/v1/subscriptions", json=told, headers={"Idempotency-Key": "one"})
    assert made.status_code == 201, made.text
    sub = made.json()
    assert (sub["status"], sub["runner"], sub["checkout"]) == ("incomplete", "provider", None)
    again = shop.post("/v1/subscriptions", json=told, headers={"Idempotency-Key": "one"})
    assert (again.json()["id"], again.json()["url"]) == (sub["id"], sub["url"])
    (page,) = sim.objects("checkout.session")
    assert page["url"] == sub["url"]
    sim.pay(page["id"])
    for one in sim.deliveries("checkout.session.completed"):
        assert shop.post("/v1/webhooks/stripe", content=one.body,
                         headers=one.headers).status_code == 200  # fmt: skip
    path = f"/v1/subscriptions/{sub['id']}"
    now = shop.get(path).json()
    assert (now["status"], now["url"]) == ("active", None)
    bill = shop.get(f"/v1/invoices/{now['latest_invoice']}").json()
    (there,) = sim.objects("invoice")
    assert (bill["runner"], bill["status"], bill["number"]) == (
        "provider", "paid", there["number"])  # fmt: skip
    later = {"plan": "team", "at": "period_end"}
    seen = shop.post(f"{path}/preview", json=later).json()
    assert (seen["at"], seen["due_now"], seen["next_amount"], seen["lines"]) == (
        "period_end", 0, 5000, [])  # fmt: skip
    done = shop.post(f"{path}/change", json={**later, "expect": seen["token"]})
    assert done.status_code == 200, done.text
    assert (done.json()["plan_key"], done.json()["next"]) == (
        "pro", {"plan": "team", "quantity": 1})  # fmt: skip
    assert shop.get(path).json()["next"] == done.json()["next"]
    assert sim.objects("subscription_schedule")[0]["status"] == "active"
    assert shop.delete(f"{path}/change").json()["next"] is None
    assert sim.objects("subscription_schedule")[0]["status"] == "released"
    assert shop.post(f"{path}/pause", json={}).json()["status"] == "paused"
    assert shop.post(f"{path}/resume").json()["status"] == "active"
    seen = shop.post(f"{path}/preview", json={"plan": "team"}).json()
    done = shop.post(f"{path}/change", json={"plan": "team", "expect": seen["token"]})
    assert (done.status_code, done.json()["plan_key"]) == (200, "team")
    assert shop.post(f"{path}/cancel", json={"at": "now"}).json()["status"] == "canceled"
    assert sim.objects("subscription")[0]["status"] == "canceled"
    pay = shop.post(f"/v1/invoices/{bill['id']}/void")
    assert (pay.status_code, pay.json()["code"]) == (409, "invoice_state")


@pytest.fixture
def asked(shop):
    """A change that the bank wants confirmed: (address of the subscription, the answer)."""
    sub = shop.post("/v1/subscriptions", json={"customer": "user_1", "plan": "pro"}).json()
    card = {"customer": "user_1", "token": "pm_card_authenticationRequired", "default": True}
    assert shop.post("/v1/payment_methods", json=card).status_code == 201
    path = f"/v1/subscriptions/{sub['id']}"
    done = shop.post(f"{path}/change", json={
        "plan": "team", "return_url": "https://app.example.com/plan",
    })  # fmt: skip
    assert done.status_code == 200, done.text
    return path, done.json()


# S1.29 S1.44
def test_a_change_that_the_bank_asks_about_tells_where_and_is_in_force_once_confirmed(
    shop, sim, asked
):
    path, told = asked
    assert (told["status"], told["plan_key"], told["next"]["plan"]) == ("active", "pro", "team")
    assert told["payment"]["status"] == "requires_action"
    assert told["url"] == told["payment"]["action_url"]
    assert shop.get(path).json()["payment"]["id"] == told["payment"]["id"]
    other = shop.post(f"{path}/change", json={"quantity": 1, "plan": "team"})
    assert (other.status_code, other.json()["code"]) == (409, "payment_in_flight")
    assert other.json()["invoice"] == told["latest_invoice"]
    sim.authenticate(told["payment"]["provider_payment_id"])
    shop.post(f"/v1/payments/{told['payment']['id']}/confirm")
    after = shop.get(path).json()
    assert (after["plan_key"], after["next"], after["payment"]) == ("team", None, None)


# S1.44
def test_a_change_that_waits_is_taken_back_over_http(shop, sim, asked):
    path, told = asked
    for _ in range(2):
        back = shop.delete(f"{path}/change")
        assert back.status_code == 200, back.text
        assert (back.json()["plan_key"], back.json()["next"]) == ("pro", None)
    assert shop.get(f"/v1/invoices/{told['latest_invoice']}").json()["status"] == "void"
    assert sim.objects("payment_intent")[-1]["status"] == "canceled"
