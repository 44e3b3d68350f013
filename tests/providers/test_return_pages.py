"""Coming back from MonCash, PayPal and BTCPay: verified by asking, shown, and led on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from btcpay_server import BTCPayServer
from fastapi.testclient import TestClient
from moncash_server import CLIENT_ID, SECRET, MonCashServer
from paypal_server import CLIENT_ID as PAYPAL_ID
from paypal_server import SECRET as PAYPAL_SECRET
from paypal_server import WEBHOOK_ID, PayPalServer
from test_contract_btcpay import settings_of as btcpay_settings

from paydesk import crash, ids
from paydesk.assemble import build_env
from paydesk.clock import FixedClock
from paydesk.flows import catalog, checkout, credits, customers, doctor
from paydesk.flows.checkout import StartCheckout
from paydesk.http.app import create_app
from paydesk.providers.base import Order
from paydesk.rules.money import HTG, USD
from paydesk.settings import Settings
from paydesk.testing import databases

THANKS = "https://app.example.com/thanks?order={CHECKOUT_SESSION_ID}"
PRICES = "https://app.example.com/prices"


class Shop:
    """A desk with MonCash, PayPal and BTCPay, and a browser of its customer."""

    def __init__(self, env, servers, browser) -> None:
        self.env, self.servers, self.browser = env, servers, browser
        self.customer = customers.ensure(env, "user_1").uuid

    def open(self, provider):
        return checkout.start(self.env, StartCheckout(
            customer_id=self.customer, pack="gourdes" if provider == "moncash" else "dollars",
            provider=provider, success_url=THANKS, cancel_url=PRICES,
        ))

    def state(self, view):
        return checkout.get(self.env, self.customer, view.id).payment.state

    def balance(self):
        with self.env.db.read() as tx:
            return credits.balance_total(tx, self.customer, self.env.now())

    def get(self, url, **params):
        return self.browser.get(re.sub(r"^https?://[^/]+", "", url), params=params or None)


@pytest.fixture
def shop(tmp_path) -> Iterator[Shop]:
    servers = {"moncash": MonCashServer(), "paypal": PayPalServer(), "btcpay": BTCPayServer()}
    clock = FixedClock(datetime.now(UTC).replace(second=0, microsecond=0))
    with databases.lent_database() as made:
        env = build_env(
            Settings(
                database_url=made.dsn, data_dir=str(tmp_path / "paydesk"), pool_size=8,
                simulator_url="http://127.0.0.1:9", provider_timeout_s=5,
                moncash_client_id=CLIENT_ID, moncash_client_secret=SECRET,
                moncash_url=servers["moncash"].url,
                paypal_client_id=PAYPAL_ID, paypal_client_secret=PAYPAL_SECRET,
                paypal_webhook_id=WEBHOOK_ID, paypal_url=servers["paypal"].url,
                **btcpay_settings(servers["btcpay"]),
            ),
            start_missing=False, clock=clock,
        )  # fmt: skip
        catalog.upsert_pack(env, "gourdes", name="Lab Pack", credits=10, price=HTG("1250.50"))
        catalog.upsert_pack(env, "dollars", name="Creator Pack", credits=10, price=USD("12.50"))
        try:
            with TestClient(
                create_app(env), base_url=env.settings.base_url, follow_redirects=False
            ) as browser:
                yield Shop(env, servers, browser)
            findings = [f for f in doctor.check(env.db) if not f.ok]
            assert not findings, findings
        finally:
            crash.disarm()
            env.close()
            for server in servers.values():
                server.close()


def order_id(view):
    return view.payment.session_ref.partition(".")[0]


@pytest.mark.parametrize("name", ["transactionId", "transaction_id"])
def test_moncash_sends_the_payer_back_and_the_credits_are_there(shop, name):
    # S3.19 I10: nobody but MonCash's own answer is believed
    view = shop.open("moncash")
    number = shop.servers["moncash"].pay(order_id(view), 1250.5)
    page = shop.get("/checkout/return/moncash", **{name: number})
    assert page.status_code == 200
    assert "Payment received" in page.text and "HTG 1,250.50" in page.text
    leads = f"https://app.example.com/thanks?order={ids.show('checkout', view.id)}"
    assert f'href="{leads}"' in page.text
    assert (shop.state(view), shop.balance()) == ("succeeded", 10)
    assert shop.get("/checkout/return/moncash", **{name: number}).status_code == 200
    assert shop.balance() == 10


def test_our_own_order_number_leads_back_too(shop):
    # S3.19
    view = shop.open("moncash")
    page = shop.get("/checkout/return/moncash", orderId=order_id(view))
    assert "Confirming your payment" in page.text and shop.state(view) == "pending"
    shop.servers["moncash"].pay(order_id(view), 1250.5)
    page = shop.get("/checkout/return/moncash", orderId=order_id(view))
    assert "Payment received" in page.text and shop.balance() == 10


def test_a_payment_that_moncash_did_not_take_leads_back_to_its_page(shop):
    # S3.19
    view = shop.open("moncash")
    shop.servers["moncash"].pay(order_id(view), 1250.5, message="failed")
    page = shop.get("/checkout/return/moncash", orderId=order_id(view))
    assert "The payment did not go through" in page.text
    assert f'href="{view.url}"' in page.text and shop.balance() == 0


def test_who_knows_a_number_sees_the_sum_and_not_what_was_bought(shop):
    # I33
    view = shop.open("moncash")
    number = shop.servers["moncash"].pay(order_id(view), 1250.5)
    page = shop.get("/checkout/return/moncash", transactionId=number)
    for hidden in ("Lab Pack", view.secret, ids.show("payment", view.payment.id), "Balance"):
        assert hidden not in page.text


def test_the_browser_that_opened_the_order_sees_all_of_it(shop):
    # S3.19
    view = shop.open("moncash")
    assert shop.get(view.page_url).status_code == 200
    number = shop.servers["moncash"].pay(order_id(view), 1250.5)
    answer = shop.get("/checkout/return/moncash", transactionId=number)
    assert answer.status_code == 303
    page = shop.get(answer.headers["location"])
    assert "Payment received" in page.text and "Lab Pack" in page.text


def test_who_gives_up_at_moncash_comes_back_to_the_order_it_began_with(shop):
    # S3.19: a return page that is told nothing
    assert shop.get("/checkout/return/moncash").status_code == 404
    view = shop.open("moncash")
    shop.get(view.page_url)
    answer = shop.get("/checkout/return/moncash")
    page = shop.get(answer.headers["location"])
    assert "Confirming your payment" in page.text and shop.state(view) == "pending"


@pytest.mark.parametrize(
    "told",
    [{"transactionId": "999999"}, {"transactionId": "1 or 1=1"}, {"orderId": "pay_nothing"},
     {"transactionId": "٣٣٣٣٣"}, {"orderId": ""}, {}],
)  # fmt: skip
def test_numbers_that_lead_nowhere_are_a_page_that_says_so(shop, told):
    # S3.25
    answer = shop.get("/checkout/return/moncash", **told)
    assert answer.status_code == 404
    assert "leads to no payment that we know" in answer.text


def test_another_providers_payment_is_none_of_this_one(shop):
    # I33
    view = shop.open("paypal")
    shown = ids.show("payment", view.payment.id)
    assert shop.get("/checkout/return/moncash", orderId=shown).status_code == 404
    assert shop.get("/checkout/return/nobody", orderId=shown).status_code == 404


def test_where_moncash_does_not_answer_the_page_says_so_and_asks_again(shop):
    # S3.25: the payer loses nothing
    view = shop.open("moncash")
    number = shop.servers["moncash"].pay(order_id(view), 1250.5)
    shop.servers["moncash"].fail_with = 500
    page = shop.get("/checkout/return/moncash", transactionId=number)
    assert page.status_code == 200 and "MonCash does not answer just now" in page.text
    shop.servers["moncash"].fail_with = None
    again = re.search(r'href="(/checkout/return/[^"]+)"', page.text).group(1)
    assert "Payment received" in shop.get(again.replace("&amp;", "&")).text


def test_paypals_payer_comes_back_agreed_and_the_money_is_taken(shop):
    # S3.19: token and PayerID as PayPal adds them to the page that the order names
    view = shop.open("paypal")
    ref = view.payment.session_ref
    shop.servers["paypal"].approve(ref)
    (order,) = shop.servers["paypal"].orders.values()
    assert order["status"] == "APPROVED"
    sent = shop.servers["paypal"].seen("POST", "/v2/checkout/orders")[0].json
    home = sent["payment_source"]["paypal"]["experience_context"]
    assert home["cancel_url"] == PRICES
    page = shop.get(f"{home['return_url']}&token={ref}&PayerID=QYR5Z8XDVJNXQ")
    assert "Payment received" in page.text and "Creator Pack" in page.text
    assert (order["status"], shop.balance()) == ("COMPLETED", 10)


def test_a_process_that_dies_after_paypals_capture_loses_nothing(shop):
    # I10: the next one who asks reads the capture, and none is made twice
    view = shop.open("paypal")
    shop.servers["paypal"].approve(view.payment.session_ref)
    crash.arm("apply_after_fetch")
    with pytest.raises(crash.CrashNow):
        checkout.verify(shop.env, view.id)
    assert len(shop.servers["paypal"].captures) == 1 and shop.state(view) == "pending"
    page = shop.get("/checkout/return/paypal", token=view.payment.session_ref)
    assert "Payment received" in page.text and shop.balance() == 10
    assert len(shop.servers["paypal"].captures) == 1


def test_a_visit_captures_no_order_of_another_program(shop):
    # S3.19: whoever comes may have written any order's id into the address
    server, provider = shop.servers["paypal"], shop.env.providers["paypal"]
    theirs = provider.create_checkout(Order(
        id="booking-7", customer="c", key="booking-7", amount=USD("99.00"), description="Booking",
        success_url=THANKS, cancel_url=PRICES,
    ))  # fmt: skip
    server.approve(theirs.id)
    assert shop.get("/checkout/return/paypal", token=theirs.id).status_code == 404
    assert server.orders[theirs.id]["status"] == "APPROVED" and not server.captures


def test_a_declined_instrument_leads_back_to_paypals_page(shop):
    # S3.19
    view = shop.open("paypal")
    shop.servers["paypal"].approve(view.payment.session_ref)
    shop.servers["paypal"].decline = "INSTRUMENT_DECLINED"
    page = shop.get(f"/checkout/{ids.show('checkout', view.id)}/success?s={view.secret}")
    assert "The payment did not go through" in page.text or "One more step" in page.text
    assert f'href="{view.url}"' in page.text and shop.balance() == 0


def test_who_goes_back_at_paypal_is_led_to_the_order(shop):
    # S3.19: with no page of the application's own, ours is shown and can be paid
    view = checkout.start(shop.env, StartCheckout(
        customer_id=shop.customer, pack="dollars", provider="paypal",
    ))
    sent = shop.servers["paypal"].seen("POST", "/v2/checkout/orders")[0].json
    cancel = sent["payment_source"]["paypal"]["experience_context"]["cancel_url"]
    page = shop.get(f"{cancel}&token={view.payment.session_ref}")
    assert page.status_code == 200 and "PayPal account or card" in page.text
    assert shop.state(view) == "pending"


def test_btcpays_redirect_shows_how_the_invoice_stands(shop):
    # S3.19
    view = shop.open("btcpay")
    sent = shop.servers["btcpay"].seen("POST", ".*/invoices")[0].json
    home = sent["checkout"]["redirectURL"]
    assert "Confirming your payment" in shop.get(home).text
    shop.servers["btcpay"].pay(view.payment.session_ref, Decimal("12.50"))
    assert "Payment received" in shop.get(home).text and shop.balance() == 10


def test_an_order_page_says_what_is_paid_with(shop):
    # S3.19
    for provider, words in (("moncash", "MonCash account"), ("btcpay", "Bitcoin")):
        page = shop.get(shop.open(provider).page_url)
        assert words in page.text and "4242" not in page.text
