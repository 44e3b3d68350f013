"""BTCPay Server passes the contract; what came late, over or under is told as it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from btcpay_server import KEY, STORE, WEBHOOK_SECRET, BTCPayServer, signed

from paydesk import ids
from paydesk.errors import InvalidSignature, MalformedRequest, ProviderUnavailable
from paydesk.providers import Order
from paydesk.providers.base import AnswerUnclear
from paydesk.providers.btcpay import PAGE, BTCPay
from paydesk.rules.money import EUR, JPY
from paydesk.settings import Settings
from paydesk.testing import ProviderBench, ProviderContract


def settings_of(server):
    return {"btcpay_url": server.url, "btcpay_api_key": KEY, "btcpay_store_id": STORE,
            "btcpay_webhook_secret": WEBHOOK_SECRET}  # fmt: skip


class BTCPayBench(ProviderBench):
    provider = "btcpay"
    price = EUR("12.50")
    secrets = (KEY, WEBHOOK_SECRET)

    def __init__(self):
        self.server = BTCPayServer()

    def settings(self):
        return settings_of(self.server)

    def pay(self, ref, amount):
        self.server.pay(ref, amount.decimal)

    def deliveries(self, ref):
        return self.server.deliveries(ref)

    def lose_answer(self):
        self.server.lose_next = True

    def echo_secrets(self):
        self.server.echo = True

    def sessions(self):
        return len(self.server.invoices)

    def close(self):
        self.server.close()


# S3.4 I10
class TestBTCPay(ProviderContract):
    def make_bench(self):
        return BTCPayBench()


@pytest.fixture
def server():
    made = BTCPayServer()
    yield made
    made.close()


@pytest.fixture
def btcpay(server):
    made = BTCPay(Settings(**settings_of(server)))
    yield made
    made.close()


def order(amount=EUR("12.50"), **more):
    payment_id = ids.show("payment", ids.new_owned(ids.customer_of_tag(7)))
    return Order(id=payment_id, customer="cus_x", key=f"key-{payment_id}", amount=amount,
                 description="Lab", success_url="https://shop.example/thanks", **more)  # fmt: skip


def test_an_invoice_carries_our_id_and_its_end(btcpay, server):
    what = order(expires_in_s=1801)
    opened = btcpay.create_checkout(what)
    invoice = server.invoices[opened.id]
    assert (invoice["metadata"]["orderId"], invoice["amount"]) == (what.id, "12.50")
    assert (invoice["currency"], opened.expires_in) == ("EUR", 31 * 60)
    assert opened.url == invoice["checkoutLink"]


def test_coins_that_are_not_confirmed_are_on_their_way(btcpay, server):
    opened = btcpay.create_checkout(order())
    server.pay(opened.id, Decimal("12.50"), confirmed=False)
    found = btcpay.fetch(opened.id)
    assert (found.status, found.amount, found.ended) == ("processing", None, False)
    server.confirm(opened.id)
    assert btcpay.fetch(opened.id).amount == EUR("12.50")


# I10
@pytest.mark.parametrize(
    "paid, told",
    [("12.50", "12.50"), ("20.00", "20.00"), ("12.4996", "12.50"), ("12.494", "12.49"),
     ("3.00", "3.00")],
)  # fmt: skip
def test_what_was_paid_is_told_to_the_minor_unit(btcpay, server, paid, told):
    # S4.48
    opened = btcpay.create_checkout(order())
    server.pay(opened.id, Decimal(paid))
    found = btcpay.fetch(opened.id)
    assert (found.status, found.amount) == ("succeeded", EUR(told))


@pytest.mark.parametrize("paid", ["12.50", "3.00"])
def test_coins_that_come_after_the_end_are_money_once_they_are_confirmed(btcpay, server, paid):
    opened = btcpay.create_checkout(order())
    server.end(opened.id, "Expired")
    assert btcpay.fetch(opened.id).status == "expired"
    server.pay(opened.id, Decimal(paid), confirmed=False, late=True)
    assert btcpay.fetch(opened.id).status == "processing"
    server.confirm(opened.id)
    found = btcpay.fetch(opened.id)
    assert (found.status, found.amount) == ("succeeded", EUR(paid))


@pytest.mark.parametrize(
    "status, more, ours",
    [("Expired", "None", "expired"), ("Invalid", "None", "failed"), ("Invalid", "Marked", "failed"),
     ("Expired", "PaidPartial", "expired")],
)  # fmt: skip
def test_an_ended_invoice_without_settled_coins_is_over(btcpay, server, status, more, ours):
    opened = btcpay.create_checkout(order())
    server.end(opened.id, status, more)
    found = btcpay.fetch(opened.id)
    assert (found.status, found.ended, found.amount) == (ours, True, None)


def test_an_invoice_that_the_shop_marked_settled_is_paid_in_full(btcpay, server):
    opened = btcpay.create_checkout(order())
    server.end(opened.id, "Settled", "Marked")
    assert btcpay.fetch(opened.id).amount == EUR("12.50")


@pytest.mark.parametrize("more, told", [("None", EUR("12.50")), ("PaidOver", None)])
def test_a_server_that_does_not_tell_what_was_paid(btcpay, server, more, told):
    opened = btcpay.create_checkout(order())
    server.end(opened.id, "Settled", more)
    del server.invoices[opened.id]["paidAmount"]
    if told:
        assert btcpay.fetch(opened.id).amount == told
    else:
        with pytest.raises(AnswerUnclear, match="how much"):
            btcpay.fetch(opened.id)


def test_currencies_without_decimals_are_whole(btcpay, server):
    opened = btcpay.create_checkout(order(JPY("1200")))
    assert server.invoices[opened.id]["amount"] == "1200"
    server.pay(opened.id, Decimal("1200.4"))
    assert btcpay.fetch(opened.id).amount == JPY("1200")


def test_of_two_invoices_of_a_payment_the_paid_one_is_found(btcpay, server):
    what = order()
    btcpay.create_checkout(what)
    second = btcpay.create_checkout(Order(**{**vars(what), "key": "another"}))
    server.pay(second.id, Decimal("12.50"))
    assert len(server.invoices) == 2
    assert btcpay.search(what.id, {}).session_ref == second.id


def test_the_books_come_in_pages_and_within_their_window(btcpay, server):
    ids_made = [btcpay.create_checkout(order()).id for _ in range(PAGE + 3)]
    now = datetime.now(UTC)
    first, after = btcpay.books(now - timedelta(days=1), now + timedelta(days=1), "charge", None)
    second, end = btcpay.books(now - timedelta(days=1), now + timedelta(days=1), "charge", after)
    assert sorted(one.ref for one in first + second) == sorted(ids_made)
    assert (len(first), end) == (PAGE, None)
    assert btcpay.books(now - timedelta(days=9), now - timedelta(days=1), "charge", None)[0] == []
    assert btcpay.books(now - timedelta(days=1), now, "refund", None) == ([], None)


def event(server, **more):
    told = {"deliveryId": "d-1", "type": "InvoiceSettled", "storeId": STORE, "invoiceId": "Inv1"}
    return json.dumps({**told, **more}).encode()


def test_a_redelivery_is_the_same_event(btcpay, server):
    again = event(server, deliveryId="d-2", originalDeliveryId="d-1", isRedelivery=True)
    (one,) = btcpay.parse_webhook(event(server), signed(event(server)))
    (two,) = btcpay.parse_webhook(again, signed(again))
    assert one.id == two.id == "d-1"


def test_another_stores_event_is_set_aside_and_another_programs_ignored(btcpay, server):
    strange = event(server, storeId="another")
    (found,) = btcpay.parse_webhook(strange, signed(strange))
    assert found.problem
    other = event(server, metadata={"orderId": "booking-7"})
    (found,) = btcpay.parse_webhook(other, signed(other))
    assert found.kind == "ignored"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"type": "InvoiceSettled"}'])
def test_a_signed_body_that_is_no_event_is_malformed(btcpay, body):
    with pytest.raises(MalformedRequest):
        btcpay.parse_webhook(body, signed(body))


def test_a_signature_of_another_secret_or_scheme_is_refused(btcpay, server):
    body = event(server)
    mac = signed(body)["BTCPay-Sig"].removeprefix("sha256=")
    for headers in (signed(body, "another"), {"BTCPay-Sig": mac}, {"BTCPay-Sig": f"sha1={mac}"}):
        with pytest.raises(InvalidSignature):
            btcpay.parse_webhook(body, headers)


def test_without_a_webhook_secret_no_event_is_believed(server):
    blind = BTCPay(Settings(**{**settings_of(server), "btcpay_webhook_secret": ""}))
    with pytest.raises(InvalidSignature):
        blind.parse_webhook(event(server), signed(event(server), ""))


def test_a_wrong_key_says_so(server):
    with pytest.raises(ProviderUnavailable, match="credentials"):
        BTCPay(Settings(**{**settings_of(server), "btcpay_api_key": "no"})).warm()
