"""The services family: the premium membership, its records and refunds, in the document's words."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from uuid import UUID

import pytest
from http_support import problem_of

from paydesk.errors import Conflict, InvalidRequest, UseRefund
from paydesk.flows import direct, inbox, items, payment_records, services
from paydesk.http.compat import payment_records as records
from paydesk.rules.money import USD

BASE = "/api/v1/customers/services"
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
COLUMNS = {
    "id", "customer_id", "service_id", "payment_intent_id", "payment_type", "payment_method",
    "status", "amount", "currency", "description", "external_payment_id", "payment_url",
    "payment_url_expires_at", "paid_at", "failed_at", "canceled_at", "failure_reason",
    "payment_metadata", "provider_response", "refunded_amount", "refunded_at", "refund_reason",
    "created_at", "updated_at",
}  # fmt: skip


@pytest.fixture
def shop(sim, env, clock):
    """A desk that sells a membership of six months."""
    clock.set(datetime(2025, 1, 2, 10, tzinfo=UTC))
    items.upsert(env, "premium_membership", name="Premium Membership", price=USD("549.99"),
                 kind="service", duration_months=6)  # fmt: skip
    return sim


def session_of(client, applied):
    """The provider's session of an application, as staff see it."""
    handle = applied["payment"]["payment_id"]
    return client.as_key().get(f"/v1/payments/{handle}").json()["provider_session_id"]


def applied(shop, client, **body):
    answer = client.post(f"{BASE}/premium-membership", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def activated(shop, client):
    one = applied(shop, client)
    shop.pay(session_of(client, one))
    done = client.post(f"{BASE}/payments/{one['payment']['payment_id']}/confirm")
    assert done.json()["status"] == "activated", done.text
    return one, done.json()


def test_an_application_answers_as_the_document_shows_it(shop, user):
    """S0.29 S0.30 C31: literally these members, decimals from exact digits."""
    answer = user.post(f"{BASE}/premium-membership", json={"payment_method": "stripe"})
    body = answer.json()
    assert list(body) == ["status", "service", "payment"]
    assert body["status"] == "pending_payment"
    UUID(body["service"].pop("id"))
    assert body["service"] == {
        "service_type": "premium_membership",
        "active": False,
        "subscription_duration": 6,
        "subscription_expires_at": "2025-07-02T10:00:00.000Z",
        "subscription_fee": 549.99,
    }
    assert '"subscription_fee":549.99}' in answer.text
    assert set(body["payment"]) == {"payment_id", "payment_url", "amount", "currency",
                                    "expires_at"}  # fmt: skip
    assert re.fullmatch(r"payment_\d+_[0-9a-z]+", body["payment"]["payment_id"])
    assert body["payment"]["payment_url"].startswith("http")
    assert (body["payment"]["amount"], body["payment"]["currency"]) == (549.99, "USD")
    assert body["payment"]["expires_at"] == "2025-01-02T10:30:00.000Z"


def test_a_confirmation_answers_as_the_document_shows_it(shop, user):
    """S0.25 S0.31 C7: the provider is asked; the caller is not believed."""
    one = applied(shop, user)
    path = f"{BASE}/payments/{one['payment']['payment_id']}/confirm"
    early = user.post(path).json()
    assert (early["status"], early["service"]["active"]) == ("pending_payment", False)
    shop.pay(session_of(user, one))
    answer = user.post(path)
    body = answer.json()
    assert user.post(path).json() == body
    record = body.pop("payment_record")
    UUID(record.pop("id"))
    assert body == {
        "status": "activated",
        "service": {"id": one["service"]["id"], "active": True},
        "payment_id": one["payment"]["payment_id"],
    }
    assert record == {
        "status": "succeeded",
        "paid_at": "2025-01-02T10:00:00.000Z",
        "amount": 549.99,
        "payment_method": "stripe",
    }


def test_a_payment_that_ended_confirms_as_failed(shop, user, http):
    """S0.34 S0.14: the page is good for its time."""
    one = applied(shop, user)
    checkout = http.get(f"/v1/payments/{one['payment']['payment_id']}").json()["checkout"]
    user.post(f"/v1/checkouts/{checkout}/expire")
    body = user.post(f"{BASE}/payments/{one['payment']['payment_id']}/confirm").json()
    assert (body["status"], body["payment_record"]["status"]) == ("failed", "canceled")


def test_one_membership_at_a_time(shop, user):
    """I21 S1.47"""
    applied(shop, user)
    problem_of(user.post(f"{BASE}/premium-membership"), 409, "payment_in_flight")
    stranger = user.as_user("user_7")
    activated(shop, stranger)
    problem_of(stranger.post(f"{BASE}/premium-membership"), 409, "already_purchased")


def test_no_client_sets_the_fee_or_the_state(shop, user, http):
    """I35: and a server names its customer."""
    for more in ({"amount": 1}, {"subscription_fee": 1}, {"active": True}, {"status": "activated"},
                 {"payment_method": "cheque"}, {"paymentMethod": "moncash"}):  # fmt: skip
        problem_of(user.post(f"{BASE}/premium-membership", json=more), 422, "invalid_request")
    problem_of(http.post(f"{BASE}/premium-membership"), 422, "invalid_request")
    made = http.post(f"{BASE}/premium-membership", json={"customerId": "user_123"})
    assert made.status_code == 201


def test_the_history_is_narrowed_by_status_type_and_time(shop, user, http):
    """S0.32 S0.36 S0.37"""
    one, _ = activated(shop, user)
    path = f"{BASE}/payments/{one['payment']['payment_id']}/refund"
    http.post(path, json={"amount": 100.00})

    def found(query, of=f"{BASE}/payments/history"):
        answer = user.get(f"{of}?{query}")
        assert answer.status_code == 200, answer.text
        return [(r["payment_type"], r["status"]) for r in answer.json()["payments"]]

    paid, back = ("subscription", "partially_refunded"), ("refund", "succeeded")
    assert found("") == [back, paid]
    assert found("payment_type=refund") == [back]
    assert found("payment_type=subscription") == [paid]
    assert found("status=partially_refunded") == [paid]
    assert found("status=succeeded") == [back]
    assert found("status=failed") == []
    assert found("created_at[gte]=2025-01-03T00:00:00Z") == []
    assert found("created_at[lt]=2025-01-03T00:00:00Z") == [back, paid]
    own = f"{BASE}/{one['service']['id']}/payments"
    assert found("status=succeeded", own) == [back]
    assert user.get(f"{own}?status=paid").status_code == 422
    record = http.get(f"{BASE}/payments/history?customer_id=user_123&payment_type=refund").json()
    assert record["payments"][0]["provider_response"]["id"].startswith("re_")


def test_the_history_has_every_column_and_every_refund(shop, env, user, http):
    """S0.1 S0.2 S0.3 S0.4 S0.5 S0.6 S0.7 S0.8 S0.9 S0.10 S0.11 S0.12 S0.13 S0.15 S0.16 S0.17
    S0.18 S0.19 S0.20 S0.22 S0.32 S0.36 S0.38 C5: rows of the document's table."""
    one, _ = activated(shop, user)
    path = f"{BASE}/payments/{one['payment']['payment_id']}/refund"
    told = http.post(path, json={"amount": 100.00, "reason": "Customer requested partial refund"})
    assert told.status_code == 200, told.text
    assert told.json()["refund"]["amount"] == 100.0
    found = user.get(f"{BASE}/payments/history").json()
    assert found["has_more"] is False and len(found["payments"]) == 2
    by_type = {row["payment_type"]: row for row in found["payments"]}
    payment, refund = by_type["subscription"], by_type["refund"]
    for row in (payment, refund):
        assert set(row) == COLUMNS
        assert all(INSTANT.fullmatch(row[k]) for k in ("created_at", "updated_at", "paid_at"))
        assert (row["service_id"], row["currency"]) == (one["service"]["id"], "USD")
    assert payment["payment_intent_id"] == one["payment"]["payment_id"]
    assert refund["payment_intent_id"] == f"refund_{refund['id'].replace('-', '')}"
    with env.db.read() as tx:
        rows = tx.all("select id::text, payment_intent_id from services.payments")
    assert {row["id"]: row["payment_intent_id"] for row in rows} == {
        row["id"]: row["payment_intent_id"] for row in (payment, refund)
    }, "the table that reports read says the same, each once"
    assert (payment["status"], payment["amount"]) == ("partially_refunded", 549.99)
    assert (payment["refunded_amount"], payment["refund_reason"]) == (
        100.0, "Customer requested partial refund")  # fmt: skip
    assert payment["external_payment_id"].startswith("pi_")
    assert payment["payment_method"] == "stripe" and payment["description"] == "Premium Membership"
    assert (refund["status"], refund["amount"]) == ("succeeded", 100.0)
    of_service = user.get(f"{BASE}/{one['service']['id']}/payments").json()
    assert of_service == found
    first = user.get(f"{BASE}/payments/history?limit=1").json()
    assert first["has_more"] is True
    rest = user.get(
        f"{BASE}/payments/history?limit=1&starting_after={first['next_cursor']}"
    ).json()
    assert first["payments"] + rest["payments"] == found["payments"]


def test_a_full_refund_ends_the_service_and_its_access(shop, user, http):
    """S0.22 S0.38 I20"""
    one, _ = activated(shop, user)
    path = f"{BASE}/payments/{one['payment']['payment_id']}/refund"
    assert http.post(path, json={"reason": "moved away"}).json()["payment"]["status"] == "refunded"
    assert user.get(f"/v1/services/{one['service']['id']}").json()["status"] == "canceled"
    assert user.get("/v1/access/check?resource=platform").json()["reason"] == "revoked"
    assert user.post(path.replace("refund", "confirm")).json()["status"] == "ended"


def test_a_customer_asks_for_a_refund_and_another_person_decides(shop, user):
    """S0.38 C11: nothing moves by the customer's word."""
    one, _ = activated(shop, user)
    path = f"{BASE}/payments/{one['payment']['payment_id']}/refund"
    answer = user.post(path, json={"amount": 5}, headers={"Idempotency-Key": "r1"})
    assert answer.json()["status"] == "requested"
    assert answer.json()["payment"]["status"] == "succeeded"
    again = user.post(path, json={"amount": 5}, headers={"Idempotency-Key": "r1"})
    assert again.json() == answer.json()
    for wrong in ({"amount": 0}, {"amount": "5"}, {"amount": 5.001}, {"reason": "x" * 256},
                  {"note": "x"}):  # fmt: skip
        problem_of(user.post(path, json=wrong), 422, "invalid_request")


def test_anothers_services_and_payments_are_not_there(shop, user):
    """I33"""
    one, _ = activated(shop, user)
    stranger = user.as_user("user_9")
    pay = one["payment"]["payment_id"]
    problem_of(stranger.post(f"{BASE}/payments/{pay}/confirm"), 404, "not_found")
    problem_of(stranger.post(f"{BASE}/payments/{pay}/refund", json={}), 404, "not_found")
    problem_of(stranger.get(f"{BASE}/{one['service']['id']}/payments"), 404, "not_found")
    problem_of(stranger.get(f"{BASE}/payments/history?customer_id=user_123"), 404, "not_found")
    assert stranger.get(f"{BASE}/payments/history").json()["payments"] == []


# The document's class, as functions ------------------------------------------------------------


def record_of(make, **more):
    told = {"customer_id": make.user("user_5").id, "amount": "549.99", "currency": "USD",
            "payment_type": "subscription", "payment_method": "stripe",
            "description": "Premium Membership - 6 months", **more}  # fmt: skip
    return told


def test_create_payment_records_a_payment_of_a_new_or_an_unpaid_service(shop, env, make):
    """S0.24 S0.26 S0.29: the service is inactive, the amount the catalogue's, the key repeats."""
    one = records.create_payment(env, record_of(make, service_type="premium_membership"), "k1")
    same = records.create_payment(env, record_of(make, service_type="premium_membership"), "k1")
    assert one == same and one.url
    assert (one.payment.state, one.payment.amount, one.payment.payment_type) == (
        "pending", USD("549.99"), "subscription")  # fmt: skip
    service_id = one.payment.service_id
    assert not services.get(env, None, service_id).active
    with pytest.raises(InvalidRequest):
        records.create_payment(env, record_of(make, service_type="premium_membership",
                                              amount="1.00"))  # fmt: skip
    records.update_payment_status(env, one.payment.handle, "CANCELED")
    again = records.create_payment(env, record_of(make, service_id=service_id))
    assert again.payment.service_id == service_id and again.payment.id != one.payment.id
    shop.pay(again.payment.session_ref)
    done = records.update_payment_status(env, again.payment.handle, "SUCCEEDED")
    assert done.payment.paid
    assert services.get(env, None, service_id).payment_id == again.payment.id
    with pytest.raises(Conflict):
        records.create_payment(env, record_of(make, service_id=service_id))


def test_a_payments_type_is_one_of_the_documents_and_kept(shop, env, make):
    """S0.6 S0.24 S0.26"""
    for word in ("subscription", "renewal", "upgrade"):
        made = records.create_payment(env, record_of(make, amount="20.00", payment_type=word))
        assert records.shape(made)["payment_type"] == word
    told = record_of(make, service_type="premium_membership", payment_type="upgrade")
    assert records.shape(records.create_payment(env, told))["payment_type"] == "upgrade"
    with pytest.raises(InvalidRequest):
        records.create_payment(env, record_of(make, amount="20.00", payment_type="gift"))
    with pytest.raises(UseRefund):
        records.create_payment(env, record_of(make, amount="20.00", payment_type="refund"))


def test_a_record_says_when_and_why_it_came_to_nothing(shop, env, make):
    """S0.13 S0.14 S0.15 S0.16 S0.23 S0.34"""
    one = records.create_payment(env, record_of(make, amount="20.00"))
    begun = records.shape(one)
    assert begun["payment_url"].startswith("http") and begun["external_payment_id"] is None
    assert begun["payment_url_expires_at"] > begun["created_at"]
    assert (begun["paid_at"], begun["failed_at"], begun["canceled_at"]) == (None, None, None)
    assert begun["failure_reason"] is None
    shop.pay(one.payment.session_ref, card="4000000000000002")
    for told in shop.deliveries(about=one.payment.session_ref):
        inbox.receive(env, "stripe", told.body, told.headers)
    declined = records.shape(payment_records.get(env, one.payment.customer_id, one.payment.id))
    assert (declined["status"], declined["failure_reason"]) == (
        "pending", "Your card was declined.")  # fmt: skip
    failed = records.shape(records.update_payment_status(env, one.payment.handle, "FAILED"))
    assert (failed["status"], failed["canceled_at"]) == ("failed", None)
    assert failed["failed_at"] and failed["failure_reason"] == "Your card was declined."
    other = records.create_payment(env, record_of(make, amount="20.00"))
    ended = records.shape(records.update_payment_status(env, other.payment.handle, "CANCELED"))
    assert (ended["status"], ended["failed_at"]) == ("canceled", None)
    assert ended["canceled_at"] and ended["updated_at"] >= ended["created_at"]


def test_update_payment_status_believes_the_provider_alone(shop, env, make):
    """S0.21 S0.27 C27 I35"""
    one = records.create_payment(env, record_of(make, amount="20.00"))
    for word, problem in (("succeeded", Conflict), ("REFUNDED", UseRefund),
                          ("partially_refunded", UseRefund), ("gone", InvalidRequest)):
        with pytest.raises(problem):
            records.update_payment_status(env, one.payment.handle, word)
    same = records.update_payment_status(env, one.payment.handle, "pending")
    assert (same.id, same.payment.state) == (one.id, "pending")
    other = records.create_payment(env, record_of(make, amount="20.00"))
    ended = records.update_payment_status(env, other.payment.handle, "FAILED").payment
    assert (ended.state, ended.failed_at is not None) == ("failed", True)
    cash = direct.create(env, direct.NewPayment(
        customer_id=one.payment.customer_id, amount=USD("20.00"), method="cash"))  # fmt: skip
    assert records.update_payment_status(env, cash.handle, "CANCELED").payment.state == "canceled"
    shop.pay(one.payment.session_ref)
    assert records.update_payment_status(env, one.payment.handle, "SUCCEEDED").payment.paid
    with pytest.raises(Conflict):
        records.update_payment_status(env, one.payment.handle, "failed")


def test_create_refund_gives_back_a_part_and_then_the_rest(shop, env, make):
    """S0.22 S0.28"""
    one = records.create_payment(env, record_of(make, amount="150.00"))
    shop.pay(one.payment.session_ref)
    records.update_payment_status(env, one.payment.handle, "succeeded")
    first = records.create_refund(env, one.payment.handle, "100.00", "Customer request")
    assert (first.amount, first.state) == (USD("100.00"), "succeeded")
    rest = records.create_refund(env, one.payment.handle)
    assert rest.amount == USD("50.00") and rest.payment.state == "refunded"
