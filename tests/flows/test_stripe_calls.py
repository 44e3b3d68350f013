"""Stripe's adapter against the simulator: refunds, disputes, files, customers, methods, books."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import stripe

from paydesk.errors import ProviderRefused
from paydesk.providers.base import Order
from paydesk.rules.money import USD

OURS = {"refund_id": "re_1", "payment_id": "pay_1", "customer_id": "cus_1"}


@pytest.fixture
def adapter(env, sim):
    return env.providers["stripe"]


@pytest.fixture
def sdk(sim):
    return stripe.StripeClient(sim.secret_key, base_addresses={"api": sim.url})


def order(key="call_1", **more):
    told = {"amount": USD("10.00"), "description": "Render", **more}
    return Order(id="pay_1", customer="cus_1", key=key,
                 metadata={"payment_id": "pay_1", "customer_id": "cus_1"}, **told)


def paid(adapter):
    return adapter.charge(order(), "pm_card_visa", off_session=False).payment_ref


def test_a_refund_carries_our_ids_and_is_found_by_its_payment(adapter):
    # I40
    ref = paid(adapter)
    made = adapter.refund(ref, USD("4.00"), "k1", reason="duplicate", metadata=OURS)
    again = adapter.refund(ref, USD("4.00"), "k1", reason="duplicate", metadata=OURS)
    assert made == again and made.status == "succeeded"
    assert (made.refund_id, made.payment_id, made.reason) == ("re_1", "pay_1", "duplicate")
    other = adapter.refund(ref, USD("1.00"), "k2", reason="other")
    assert [one.id for one in adapter.list_refunds(ref)] == [made.id, other.id]
    assert adapter.fetch_refund(made.id) == made
    assert adapter.fetch(ref).refunded == USD("5.00")


def test_held_money_that_is_let_go_is_in_no_list_of_refunds(adapter):
    # I8
    ref = adapter.charge(order(), "pm_card_visa", off_session=False, capture=False).payment_ref
    found = adapter.capture(ref, USD("4.00"), "take")
    assert found.amount == USD("4.00") and found.refunded.minor == 0
    assert adapter.list_refunds(ref) == []


def test_a_dispute_takes_evidence_and_files_and_ends(adapter, sim):
    # I9
    ref = paid(adapter)
    raw = sim.dispute(ref)
    found = adapter.fetch_dispute(raw["id"])
    assert (found.status, found.amount, found.payment_ref) == ("needs_response", USD(10), ref)
    assert found.withdrawn == USD(10) and found.fee.minor > 0 and found.due_at
    file = adapter.upload_file("receipt.png", b"\x89PNG\r\n\x1a\n" + b"0" * 64, "image/png", "f1")
    told = {"receipt": file, "customer_name": "Maya"}
    kept = adapter.send_evidence(found.id, told, submit=False, key="e1")
    assert kept.evidence["customer_name"] == "Maya" and kept.status == "needs_response"
    assert adapter.send_evidence(found.id, {}, submit=True, key="e2").status == "under_review"
    sim.decide_dispute(found.id, "won")
    won = adapter.fetch_dispute(found.id)
    assert (won.status, won.reinstated) == ("won", USD(10))


def test_a_dispute_that_is_given_up_is_lost(adapter, sim):
    raw = sim.dispute(paid(adapter))
    assert adapter.accept_dispute(raw["id"], "close").status == "lost"


def test_a_customer_is_made_once_and_carries_our_id(adapter, sim):
    # S1.11
    first = adapter.ensure_customer(order("customer-cus_1"))
    assert adapter.ensure_customer(order("customer-cus_1")) == first
    assert sim.get(first)["metadata"] == {"customer_id": "cus_1"}


# S1.13! S1.45!
def test_methods_are_attached_chosen_listed_and_taken_away(adapter, sdk):
    # S1.13
    whose = adapter.ensure_customer(order("customer-cus_1"))
    token = sdk.v1.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}}).id
    made = adapter.attach_method(token, whose, "a1")
    assert (made.id, made.kind, made.brand, made.last4) == (token, "card", "visa", "4242")
    adapter.default_method(whose, token, "d1")
    assert adapter.list_methods(whose) == ([made], token)
    adapter.detach_method(token, "x1")
    assert adapter.detach_method(token, "x2").provider_customer is None
    assert adapter.list_methods(whose) == ([], None)
    with pytest.raises(ProviderRefused):
        adapter.attach_method("pm_missing", whose, "a2")


def test_a_setup_is_confirmed_at_once_or_on_a_page(adapter, sim):
    # S1.14
    whose = adapter.ensure_customer(order("customer-cus_1"))
    made = adapter.create_setup(order("s1", provider_customer=whose), "pm_card_visa")
    assert made.status == "succeeded"
    assert adapter.fetch_setup(made.id).method.last4 == "4242"
    page = adapter.create_setup(order(
        "s2", provider_customer=whose, success_url="https://app.example/ok",
        cancel_url="https://app.example/no",
    ))  # fmt: skip
    assert page.url and page.status == "pending"
    sim.pay(page.id)
    assert adapter.fetch_setup(page.id).status == "succeeded"


def test_the_books_list_payments_refunds_disputes_and_fees(adapter, sim):
    since, until = datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(days=1)
    ref = paid(adapter)
    refund = adapter.refund(ref, USD("1.00"), "k1")
    dispute = sim.dispute(ref)

    def book(kind):
        rows, cursor = adapter.books(since, until, kind, None)
        assert cursor is None and all(since <= row.created_at < until for row in rows)
        return rows

    (charge,) = book("charge")
    assert (charge.ref, charge.value.status, charge.value.payment_id) == (ref, "succeeded", "pay_1")
    assert charge.value.fee.minor > 0
    assert [(row.ref, row.payment_ref) for row in book("refund")] == [(refund.id, ref)]
    assert [(row.ref, row.payment_ref) for row in book("dispute")] == [(dispute["id"], ref)]
    (fee,) = book("fee")
    assert (fee.value, fee.payment_ref) == (charge.value.fee, ref)
    assert adapter.books(until, until + timedelta(days=1), "charge", None) == ([], None)


def test_the_books_are_read_page_by_page(adapter, sim):
    for n in range(101):
        sim.pay_directly(100 + n, silent=True)
    since, until = datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(days=1)
    first, cursor = adapter.books(since, until, "charge", None)
    rest, end = adapter.books(since, until, "charge", cursor)
    assert (len(first), len(rest), end) == (100, 1, None)
    assert len({row.ref for row in (*first, *rest)}) == 101
