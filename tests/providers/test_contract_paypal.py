"""PayPal passes the contract: approve, capture, refund, dispute and webhooks as documented."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from paypal_certificates import trusted
from paypal_server import CLIENT_ID, SECRET, WEBHOOK_ID, PayPalServer

from paydesk import ids
from paydesk.errors import (
    InvalidRequest,
    InvalidSignature,
    NotSupported,
    OutcomeUnknown,
    ProviderRefused,
    ProviderUnavailable,
)
from paydesk.providers import Order, paypal_signature
from paydesk.providers.base import AnswerUnclear
from paydesk.providers.paypal import PayPal
from paydesk.providers.paypal_shapes import money_in, money_out
from paydesk.rules.money import EUR, JPY, USD, Money
from paydesk.settings import Settings
from paydesk.testing import ProviderBench, ProviderContract


def settings_of(server):
    return {"paypal_client_id": CLIENT_ID, "paypal_client_secret": SECRET,
            "paypal_webhook_id": WEBHOOK_ID, "paypal_url": server.url}  # fmt: skip


class PayPalBench(ProviderBench):
    provider = "paypal"
    price = USD("12.50")
    other_currency = "eur"
    secrets = (SECRET, "A21AA-")

    def __init__(self):
        self.server = PayPalServer()

    def settings(self):
        return settings_of(self.server)

    def pay(self, ref, amount):
        self.server.approve(ref, money_out(amount))

    def deliveries(self, ref):
        return self.server.deliveries(ref)

    def lose_answer(self):
        self.server.lose_next = True

    def echo_secrets(self):
        self.server.echo = True

    def sessions(self):
        return len(self.server.orders)

    def refunds(self):
        return len(self.server.refunds)

    def close(self):
        self.server.close()


@pytest.fixture(autouse=True)
def trust(monkeypatch):
    monkeypatch.setattr(paypal_signature, "authorities", trusted)


# S3.4 I10
class TestPayPal(ProviderContract):
    def make_bench(self):
        return PayPalBench()


@pytest.fixture
def server():
    made = PayPalServer()
    yield made
    made.close()


@pytest.fixture
def paypal(server):
    made = PayPal(Settings(**settings_of(server)))
    yield made
    made.close()


def order(amount=USD("12.50"), **more):
    payment_id = ids.show("payment", ids.new_owned(ids.customer_of_tag(7)))
    return Order(
        id=payment_id, customer="cus_x", key=f"key-{payment_id}", amount=amount,
        description="Lab", success_url="https://shop.example/thanks", **more,
    )  # fmt: skip


def captured(paypal, server, amount=USD("12.50")):
    opened = paypal.create_checkout(order(amount))
    server.approve(opened.id)
    return paypal.fetch(opened.id)


def test_an_order_carries_our_id_and_leads_to_paypals_page(paypal, server):
    what = order()
    opened = paypal.create_checkout(what)
    (unit,) = server.orders[opened.id]["purchase_units"]
    assert (unit["custom_id"], unit["invoice_id"]) == (what.id, what.id)
    assert unit["amount"] == {"currency_code": "USD", "value": "12.50"}
    assert opened.url.startswith("https://www.paypal.com/checkoutnow")


@pytest.mark.parametrize(
    "amount, value",
    [
        (USD("12.50"), "12.50"),
        (JPY("500"), "500"),
        (Money("1200", "huf"), "1200"),
        (Money("90", "twd"), "90"),
    ],
)
def test_amounts_have_the_decimals_that_paypal_takes(amount, value):
    out = money_out(amount)
    assert out == {"currency_code": amount.currency.upper(), "value": value}
    assert money_in(out) == amount


def test_a_fraction_that_paypal_does_not_take_is_refused_before_anything_is_sent(paypal, server):
    with pytest.raises(InvalidRequest, match="HUF"):
        paypal.checkout_request(order(Money("12.50", "huf")))
    with pytest.raises(ProviderRefused):
        paypal.refund("C", Money("0.50", "huf"), "k")
    assert server.requests == []


# I10
def test_reading_an_approved_order_takes_the_money_once(paypal, server):
    opened = paypal.create_checkout(order())
    assert paypal.fetch(opened.id).status == "pending"
    server.approve(opened.id)
    first, second = paypal.fetch(opened.id), paypal.fetch(opened.id)
    assert first == second and first.status == "succeeded"
    assert (first.amount, first.fee) == (USD("12.50"), USD("1.00"))
    assert len(server.captures) == 1
    assert paypal.fetch(first.payment_ref).capture_fact == first.capture_fact


def test_a_process_that_dies_after_the_capture_finds_it_again(paypal, server):
    opened = paypal.create_checkout(order())
    server.approve(opened.id)
    server.lose_next = True
    with pytest.raises(OutcomeUnknown):
        paypal.fetch(opened.id)
    assert paypal.fetch(opened.id).status == "succeeded"
    assert len(server.captures) == 1


def test_two_readers_of_an_approved_order_capture_it_once(paypal, server):
    opened = paypal.create_checkout(order())
    server.approve(opened.id)
    server.capture_status = "PENDING"
    assert paypal.fetch(opened.id).status == "processing"
    # Who read it as approved before now comes to the capture that is there.
    approved = {**server.orders[opened.id], "status": "APPROVED"}
    server.kept.clear()
    assert paypal._capture(opened.id, approved)["status"] == "COMPLETED"
    assert len(server.captures) == 1


# I10
def test_an_ended_order_is_not_captured_whatever_the_payer_does(paypal, server):
    what = order()
    opened = paypal.create_checkout(what)
    found = paypal.expire_checkout(opened.id, "end")
    assert (found.status, found.ended, found.payment_id) == ("expired", True, what.id)
    server.approve(opened.id)
    assert paypal.fetch(opened.id) == found
    assert not server.captures
    (body, headers), *_ = server.deliveries(opened.id)
    (event,) = paypal.parse_webhook(body, headers)
    assert (event.kind, event.payment_id) == ("charge.updated", what.id)


def test_a_capture_that_was_under_way_when_the_order_ended_is_told(paypal, server):
    opened = paypal.create_checkout(order())
    server.approve(opened.id)
    seen = dict(server.orders[opened.id])
    server.orders[opened.id]["status"] = "PAYER_ACTION_REQUIRED"
    assert paypal.expire_checkout(opened.id, "end").status == "expired"
    server.orders[opened.id]["status"] = "APPROVED"
    paypal._capture(opened.id, seen)  # By whoever had read it before it ended.
    found = paypal.fetch(opened.id)
    assert (found.status, found.amount) == ("succeeded", USD("12.50"))


def test_an_order_that_cannot_be_marked_stays_open(paypal, server):
    opened = paypal.create_checkout(order())
    server.is_rigid = True
    found = paypal.expire_checkout(opened.id, "end")
    assert (found.status, found.ended) == ("pending", False)


def test_a_declined_instrument_sends_the_payer_back(paypal, server):
    opened = paypal.create_checkout(order())
    server.approve(opened.id)
    server.decline = "INSTRUMENT_DECLINED"
    found = paypal.fetch(opened.id)
    assert (found.status, found.ended) == ("requires_action", False)
    assert found.action_url == opened.url
    server.decline = None
    server.approve(opened.id)
    assert paypal.fetch(opened.id).status == "succeeded"


@pytest.mark.parametrize(
    "status, ours, ended",
    [("PENDING", "processing", False), ("DECLINED", "failed", True), ("FAILED", "failed", True)],
)
def test_a_capture_that_did_not_go_through_is_no_money(paypal, server, status, ours, ended):
    server.capture_status = status
    found = captured(paypal, server)
    assert (found.status, found.ended, found.amount) == (ours, ended, None)


def test_an_order_that_paypal_has_forgotten_is_over(paypal, server):
    opened = paypal.create_checkout(order())
    del server.orders[opened.id]
    found = paypal.fetch(opened.id)
    assert (found.status, found.ended) == ("expired", True)


def test_a_refunded_capture_is_still_what_was_taken(paypal, server):
    found = captured(paypal, server)
    paypal.refund(found.payment_ref, USD("2.50"), "r1", metadata={"refund_id": "re_1"})
    paypal.refund(found.payment_ref, USD("10.00"), "r2")
    again = paypal.fetch(found.session_ref)
    assert (again.status, again.amount, again.refunded) == (
        "succeeded", USD("12.50"), USD("12.50"),
    )  # fmt: skip
    one, two = paypal.list_refunds(found.payment_ref)
    assert (one.refund_id, one.payment_ref, two.refund_id) == ("re_1", found.payment_ref, None)


def test_an_event_is_believed_for_its_very_bytes(paypal, server):
    found = captured(paypal, server)
    body, headers = server.deliveries(found.session_ref)[-1]
    (event,) = paypal.parse_webhook(body, headers)
    assert (event.kind, event.ref, event.payment_id) == (
        "charge.updated", found.session_ref, found.payment_id,
    )  # fmt: skip
    with pytest.raises(InvalidSignature):
        paypal.parse_webhook(json.dumps(json.loads(body), indent=1).encode(), headers)
    with pytest.raises(InvalidSignature):
        paypal.parse_webhook(body, {**headers, "PAYPAL-TRANSMISSION-SIG": "0"})


def test_what_paypal_cannot_confirm_now_is_neither_believed_nor_refused(paypal, server):
    found = captured(paypal, server)
    body, headers = server.deliveries(found.session_ref)[-1]
    server.fail_with = 503
    with pytest.raises(ProviderUnavailable):
        paypal.parse_webhook(body, headers)


def test_a_verification_that_takes_too_long_is_given_up(server):
    hasty = PayPal(Settings(**settings_of(server), provider_timeout_s=1))
    found = captured(hasty, server)
    body, headers = server.deliveries(found.session_ref)[-1]
    with server.lock, pytest.raises(ProviderUnavailable):
        hasty.parse_webhook(body, headers)  # The server answers nothing while it is held.
    assert hasty.parse_webhook(body, headers)
    hasty.close()


def test_without_a_webhook_id_no_event_is_believed(server):
    blind = PayPal(Settings(**{**settings_of(server), "paypal_webhook_id": ""}))
    with pytest.raises(InvalidSignature):
        blind.parse_webhook(b"{}", server.signed(b'{"id": "WH-1"}'))


def test_another_programs_orders_are_left_alone(paypal, server):
    resource = {"id": "X" * 17, "purchase_units": [{"custom_id": "booking-7"}]}
    body = json.dumps({"id": "WH-1", "event_type": "CHECKOUT.ORDER.APPROVED",
                       "resource": resource}).encode()  # fmt: skip
    (event,) = paypal.parse_webhook(body, server.signed(body))
    assert event.kind == "ignored"


def test_a_refunds_event_names_its_capture(paypal, server):
    found = captured(paypal, server)
    made = paypal.refund(found.payment_ref, USD("2.50"), "r1")
    ((body, headers),) = server.deliveries(made.id)
    (event,) = paypal.parse_webhook(body, headers)
    assert (event.kind, event.ref, event.payment_ref) == (
        "refund.updated", made.id, found.payment_ref,
    )  # fmt: skip


def walked(paypal, kind, days):
    now, cursor, found = datetime.now(UTC), None, []
    while True:
        page, cursor = paypal.books(now - timedelta(days=days), now + timedelta(days=1), kind,
                                    cursor)  # fmt: skip
        found += page
        if cursor is None:
            return found


def test_the_books_are_walked_span_by_span_and_page_by_page(paypal, server):
    server.page_size = 2
    paid = [captured(paypal, server) for _ in range(3)]
    paypal.refund(paid[0].payment_ref, USD("2.50"), "r1")
    found = walked(paypal, "charge", 75)
    assert sorted(one.ref for one in found) == sorted(one.payment_ref for one in paid)
    assert {(one.value.amount, one.value.fee) for one in found} == {(USD("12.50"), USD("1.00"))}
    (back,) = walked(paypal, "refund", 75)
    assert (back.value.amount, back.payment_ref) == (USD("2.50"), paid[0].payment_ref)
    assert walked(paypal, "fee", 75) == []


def test_an_app_that_may_not_search_lists_no_books(paypal, server):
    server.may_search = False
    with pytest.raises(NotSupported, match="transaction search"):
        walked(paypal, "charge", 1)


def dispute(found, **more):
    return {
        "dispute_id": "PP-D-27803", "reason": "MERCHANDISE_OR_SERVICE_NOT_RECEIVED",
        "status": "WAITING_FOR_SELLER_RESPONSE", "dispute_life_cycle_stage": "CHARGEBACK",
        "dispute_amount": {"currency_code": "USD", "value": "12.50"},
        "create_time": "2026-05-03T08:00:00.000Z",
        "seller_response_due_date": "2026-05-13T08:00:00.000Z",
        "disputed_transactions": [{"seller_transaction_id": found.payment_ref,
                                   "custom": found.payment_id}],
        "money_movements": [
            {"affected_party": "SELLER", "type": "DEBIT", "reason": "DISPUTE_SETTLEMENT",
             "amount": {"currency_code": "USD", "value": "12.50"}},
            {"affected_party": "SELLER", "type": "DEBIT", "reason": "DISPUTE_FEE",
             "amount": {"currency_code": "USD", "value": "20.00"}},
            {"affected_party": "BUYER", "type": "CREDIT", "reason": "DISPUTE_SETTLEMENT",
             "amount": {"currency_code": "USD", "value": "12.50"}}],
        **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    "told, ours",
    [
        ({}, "needs_response"),
        ({"status": "UNDER_REVIEW"}, "under_review"),
        ({"dispute_life_cycle_stage": "INQUIRY"}, "warning"),
        ({"dispute_life_cycle_stage": "INQUIRY", "status": "RESOLVED",
          "dispute_outcome": {"outcome_code": "CANCELED_BY_BUYER"}}, "closed"),
        ({"status": "RESOLVED",
          "dispute_outcome": {"outcome_code": "RESOLVED_SELLER_FAVOUR"}}, "won"),
        ({"status": "RESOLVED",
          "dispute_outcome": {"outcome_code": "RESOLVED_BUYER_FAVOUR"}}, "lost"),
    ],
)  # fmt: skip
def test_a_dispute_is_read_in_our_words(paypal, server, told, ours):
    found = captured(paypal, server)
    server.disputes["PP-D-27803"] = dispute(found, **told)
    read = paypal.fetch_dispute("PP-D-27803")
    assert (read.status, read.amount, read.withdrawn, read.reinstated) == (
        ours, USD("12.50"), USD("12.50"), None,
    )  # fmt: skip
    assert (read.payment_ref, read.payment_id) == (found.payment_ref, found.payment_id)
    assert read.due_at and read.due_at.tzinfo


def test_a_dispute_can_be_given_up_once(paypal, server):
    found = captured(paypal, server)
    server.disputes["PP-D-27803"] = dispute(found)
    assert paypal.accept_dispute("PP-D-27803", "a1").status == "lost"
    assert paypal.accept_dispute("PP-D-27803", "a2").status == "lost"


def test_evidence_is_given_in_texts_and_once(paypal, server):
    found = captured(paypal, server)
    server.disputes["PP-D-27803"] = dispute(found)
    told = {"access_activity_log": "used 3 credits\n" * 200, "uncategorized_text": "It came.",
            "service_date": "2026-05-01"}  # fmt: skip
    with pytest.raises(NotSupported):
        paypal.send_evidence("PP-D-27803", told, submit=False, key="e")
    done = paypal.send_evidence("PP-D-27803", told, submit=True, key="e")
    assert done.status == "under_review"
    kinds = [one["evidence_type"] for one in server.disputes["PP-D-27803"]["evidences"]]
    assert kinds == ["OTHER", "PROOF_OF_FULFILLMENT", "PROOF_OF_FULFILLMENT"]
    # Whoever heard no answer asks again, and finds it done.
    assert paypal.send_evidence("PP-D-27803", told, submit=True, key="e") == done
    with pytest.raises(ProviderRefused, match="Resolution Center"):
        paypal.upload_file("a.pdf", b"%PDF-", "application/pdf", "f")


def test_evidence_that_paypal_does_not_take_is_refused(paypal, server):
    found = captured(paypal, server)
    server.disputes["PP-D-27803"] = dispute(found, status="WAITING_FOR_BUYER_RESPONSE")
    with pytest.raises(ProviderRefused):
        paypal.send_evidence("PP-D-27803", {"uncategorized_text": "x"}, submit=True, key="e")


@pytest.mark.parametrize("raw", [None, [], {}, {"id": "A", "status": "COMPLETED"},
                                 {"id": "A", "status": "SURPRISE"}])  # fmt: skip
def test_an_answer_that_says_nothing_is_unclear(paypal, server, raw):
    server.routes.insert(0, ("GET", *_always(raw)))
    server.tokens.add("x")
    with pytest.raises(AnswerUnclear):
        paypal.fetch("A" * 17)


def _always(raw):
    import re

    return re.compile("/v2/checkout/orders/.*"), lambda request: (200, raw)


def test_the_sandbox_moves_no_real_money():
    told = {"paypal_client_id": "a", "paypal_client_secret": "b"}
    assert PayPal(Settings(**told)).livemode is True
    assert PayPal(Settings(paypal_url="https://api-m.sandbox.paypal.com", **told)).livemode is False


def test_money_of_an_euro_order_stays_in_euro(paypal, server):
    assert captured(paypal, server, EUR("9.99")).amount == EUR("9.99")
