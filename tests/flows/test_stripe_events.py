"""What Stripe's events are about, in the shapes of old and new API versions."""

from __future__ import annotations

import json

import pytest

from paydesk import ids
from paydesk.providers.stripe_more import of_dispute, of_refund
from paydesk.providers.stripe_shapes import of_charge, of_intent, read_event
from paydesk.rules.money import EUR, USD

PAY = ids.show("payment", ids.new_owned(ids.customer_of_tag(7)))
CUS = ids.show("customer", ids.customer_of_tag(7))


def event(type, **object):
    return read_event(json.dumps({
        "id": "evt_1", "type": type, "livemode": False, "data": {"object": object},
    }).encode())  # fmt: skip


@pytest.mark.parametrize(
    "type", ["refund.created", "refund.updated", "refund.failed", "charge.refund.updated"]
)
def test_a_refund_event_names_its_refund_and_payment(type):
    # C26
    found = event(type, id="re_1", object="refund", status="pending", payment_intent="pi_1",
                  metadata={"payment_id": PAY, "customer_id": CUS})  # fmt: skip
    assert (found.kind, found.ref, found.payment_ref) == ("refund.updated", "re_1", "pi_1")
    assert (found.payment_id, found.customer_id) == (PAY, CUS)


@pytest.mark.parametrize("more", [{}, {"refunds": {"data": [{"id": "re_9"}]}}])
def test_a_refunded_charge_asks_for_its_payments_refunds(more):
    # C26: charge.refunded of old versions lists refunds, that of new ones does not.
    found = event("charge.refunded", id="ch_1", object="charge", payment_intent="pi_1", **more)
    assert (found.kind, found.ref, found.payment_ref) == ("refund.updated", None, "pi_1")


def test_held_money_that_is_let_go_is_no_refund():
    # I8
    raw = {"id": "re_1", "object": "refund", "status": "succeeded", "payment_intent": "pi_1",
           "balance_transaction": None, "amount": 5, "currency": "usd"}  # fmt: skip
    assert event("refund.created", **raw).kind == "ignored"
    assert of_refund(raw).status == "canceled"
    assert of_refund(raw | {"balance_transaction": "txn_1"}).status == "succeeded"


@pytest.mark.parametrize("type", ["refund.updated", "charge.dispute.created"])
def test_a_refund_or_dispute_that_lacks_its_payment_is_asked_about(type):
    # C26: shapes before 2019
    found = event(type, id="x_1", object="refund")
    assert (found.ref, found.payment_ref, found.problem) == ("x_1", None, None)
    assert event(type, id="x_1", payment_intent=None).kind == "ignored"


@pytest.mark.parametrize("type", ["charge.refund.updated", "charge.dispute.created"])
def test_a_refund_or_dispute_of_2018_names_a_charge(type):
    # C26: which payment it is of, Stripe is asked; one that stands alone is the payment itself
    found = event(type, id="x_1", charge="ch_1")
    assert (found.ref, found.payment_ref, found.charge_ref) == ("x_1", None, "ch_1")
    found = event(type, id="x_1", charge="ch_1", payment_intent=None)
    assert (found.ref, found.payment_ref, found.charge_ref) == ("x_1", "ch_1", None)
    found = event(type, id="x_1", charge={"id": "ch_1"}, payment_intent="pi_1")
    assert (found.ref, found.payment_ref, found.charge_ref) == ("x_1", "pi_1", None)


def test_a_refunded_charge_of_2018_names_itself():
    # C26
    found = event("charge.refunded", id="ch_1", metadata={"payment_id": PAY})
    assert (found.ref, found.payment_ref, found.charge_ref) == (None, None, "ch_1")
    assert (found.payment_id, found.problem) == (PAY, None)
    alone = event("charge.refunded", id="ch_1", payment_intent=None)
    assert (alone.payment_ref, alone.charge_ref) == ("ch_1", None)


@pytest.mark.parametrize("word", ["created", "updated", "closed", "funds_withdrawn",
                                  "funds_reinstated"])  # fmt: skip
def test_a_dispute_event_names_its_dispute_and_payment(word):
    found = event(f"charge.dispute.{word}", id="du_1", payment_intent={"id": "pi_1"})
    assert (found.kind, found.ref, found.payment_ref) == ("dispute.updated", "du_1", "pi_1")


def test_a_method_event_is_found_by_its_customer_or_by_itself():
    # S1.13
    gone = event("payment_method.detached", id="pm_1", object="payment_method", customer=None)
    assert (gone.kind, gone.ref, gone.payment_ref) == ("method.updated", "pm_1", None)
    come = event("payment_method.attached", id="pm_1", object="payment_method", customer="cus_1")
    assert come.payment_ref == "cus_1"
    who = event("customer.updated", id="cus_1", object="customer")
    assert (who.kind, who.payment_ref) == ("method.updated", "cus_1")


def test_a_setup_event_carries_our_own_id():
    # S1.14
    setup = ids.new_owned(ids.customer_of_tag(7))
    metadata = {"setup_id": ids.show("setup", setup), "customer_id": CUS}
    found = event("setup_intent.succeeded", id="seti_1", metadata=metadata)
    assert (found.kind, found.payment_id) == ("setup.updated", str(setup))
    page = event("checkout.session.completed", id="cs_1", mode="setup", metadata=metadata)
    assert (page.kind, page.ref, page.payment_id) == ("setup.updated", "cs_1", str(setup))
    assert event("setup_intent.created", id="seti_2", metadata={}).payment_id is None


CARD = {
    "id": "ch_1", "object": "charge", "payment_intent": "pi_1", "currency": "usd", "amount": 1000,
    "amount_captured": 400, "amount_refunded": 650, "captured": True, "paid": True,
    "status": "succeeded", "payment_method": "pm_1",
    "balance_transaction": {"id": "txn_1", "fee": 59, "currency": "usd"},
    "payment_method_details": {"type": "card", "card": {
        "brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2031, "country": "US",
        "funding": "credit", "wallet": {"type": "apple_pay"}}},
}  # fmt: skip


@pytest.mark.parametrize("old", [True, False])
def test_a_charge_says_what_was_paid_with_and_what_was_kept(old):
    # S1.12 C26: `charges.data` before 2022-11-15, `latest_charge` since.
    intent = {"id": "pi_1", "status": "succeeded", "amount_received": 400, "currency": "usd",
              **({"charges": {"data": [CARD]}} if old else {"latest_charge": CARD})}  # fmt: skip
    found = of_intent(intent)
    assert found.fee == USD("0.59") and found.refunded == USD("0.50")
    assert found.method_detail == {
        "type": "card", "brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2031,
        "country": "US", "funding": "credit", "wallet": "apple_pay", "method": "pm_1",
    }  # fmt: skip
    assert of_charge(CARD | {"balance_transaction": "txn_1"}).fee is None
    assert of_charge({k: v for k, v in CARD.items() if k != "payment_method_details"})


def test_a_dispute_says_what_it_took_and_gave_back():
    # I9
    moves = [{"amount": -500, "fee": 1500, "currency": "usd"},
             {"amount": 500, "fee": 0, "currency": "usd"}]  # fmt: skip
    raw = {"id": "du_1", "status": "won", "amount": 500, "currency": "usd", "reason": "fraudulent",
           "payment_intent": "pi_1", "created": 1_700_000_000, "balance_transactions": moves,
           "evidence_details": {"due_by": 1_700_600_000}, "evidence": {"receipt": "f", "x": None}}
    found = of_dispute(raw)
    assert (found.withdrawn, found.reinstated, found.fee) == (USD(5), USD(5), USD(15))
    assert found.due_at.timestamp() == 1_700_600_000 and found.evidence == {"receipt": "f"}
    inquiry = of_dispute(raw | {"status": "warning_needs_response", "balance_transactions": []})
    assert (inquiry.status, inquiry.withdrawn.minor, inquiry.fee) == ("warning", 0, None)
    euro = of_dispute(raw | {"balance_transactions": [
        {"amount": -460, "fee": 1400, "currency": "eur"}]})  # fmt: skip
    assert (euro.withdrawn, euro.fee) == (USD(5), EUR(14))
    with pytest.raises(ValueError, match="no status"):
        of_dispute(raw | {"status": "unheard_of"})


def test_what_a_bank_asks_for_is_a_page_to_open():
    # S3.8
    found = of_intent({"id": "pi_1", "status": "requires_action", "next_action": {
        "type": "redirect_to_url", "redirect_to_url": {"url": "https://bank.example/3ds"}}})
    assert found.action_url == "https://bank.example/3ds"
    assert of_intent({"id": "pi_1", "status": "requires_action"}).action_url is None
