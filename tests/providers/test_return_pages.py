"""Coming back from MonCash, PayPal and BTCPay: verified by asking, shown, and led on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
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


#: All that a stranger sees, whatever he names.
NOBODYS = "You are back from MonCash"


def questions(server):
    """What MonCash was asked about orders and transactions."""
    return server.seen("POST", ".*/Retrieve(Order|Transaction)Payment")


def goes_to_pay(shop, view):
    """The payer's browser follows the order's `url`; where it is sent."""
    answer = shop.get(view.url)
    assert answer.status_code == 303
    return answer.headers["location"]


def comes_back(shop, **told):
    answer = shop.get("/checkout/return/moncash", **told)
    assert answer.status_code == 303, answer.text
    return shop.get(answer.headers["location"])


def test_the_way_to_moncash_leads_over_a_page_of_ours(shop):
    # S3.19 I33: MonCash brings back nothing of ours, so the browser keeps the order's secret
    view = shop.open("moncash")
    assert view.url.startswith(f"{shop.env.settings.base_url}/checkout/")
    page = goes_to_pay(shop, view)
    server = shop.servers["moncash"]
    assert page.startswith(f"{server.url}/Moncash-middleware/Payment/Redirect?token=page-")
    wrong = view.url.replace(view.secret, "x" * len(view.secret))
    assert shop.get(wrong).status_code == 404
    assert shop.get(shop.open("paypal").page_url.replace("?", "/pay?")).status_code == 404


@pytest.mark.parametrize("name", ["transactionId", "transaction_id"])
def test_moncash_sends_the_payer_back_and_the_credits_are_there(shop, name):
    # S3.19 I10: nobody but MonCash's own answer is believed
    view = shop.open("moncash")
    goes_to_pay(shop, view)
    number = shop.servers["moncash"].pay(order_id(view), 1250.5)
    page = comes_back(shop, **{name: number})
    assert page.status_code == 200
    assert "Payment received" in page.text and "HTG\u00a01,250.50" in page.text
    assert "Lab Pack" in page.text
    leads = f"https://app.example.com/thanks?order={ids.show('checkout', view.id)}"
    assert f'href="{leads}"' in page.text
    assert (shop.state(view), shop.balance()) == ("succeeded", 10)
    assert "Payment received" in comes_back(shop, **{name: number}).text
    assert shop.balance() == 10


def test_a_payment_that_moncash_did_not_take_leads_back_to_its_page(shop):
    # S3.19
    view = shop.open("moncash")
    goes_to_pay(shop, view)
    number = shop.servers["moncash"].pay(order_id(view), 1250.5, message="failed")
    page = comes_back(shop, transactionId=number)
    assert "The payment did not go through" in page.text
    assert f'href="{view.url.replace("&", "&amp;")}"' in page.text and shop.balance() == 0


def test_who_has_only_a_number_learns_nothing_and_asks_nothing(shop):
    # I33 S3.25: MonCash counts its transactions up, so anybody can name another's
    view, paid = shop.open("moncash"), shop.open("paypal")
    server = shop.servers["moncash"]
    number = server.pay(order_id(view), 1250.5)
    told = [{"transactionId": number}, {"transaction_id": number}, {"orderId": order_id(view)},
            {"transactionId": "999999"}, {"transactionId": "1 or 1=1"}, {"orderId": ""},
            {"transactionId": "٣٣٣٣٣"}, {"orderId": ids.show("payment", paid.payment.id)},
            {"orderId": "pay_nothing"}, {}]  # fmt: skip
    seen = [shop.get("/checkout/return/moncash", **one) for one in told]
    checkout.verify(shop.env, view.id)
    asked = len(questions(server))
    seen += [shop.get("/checkout/return/moncash", **one) for one in told]
    assert {answer.status_code for answer in seen} == {200}
    assert len({answer.text for answer in seen}) == 1, "paid or not, known or not: one page"
    page = seen[0].text
    assert NOBODYS in page
    shown = ids.show("checkout", view.id), ids.show("payment", view.payment.id)
    for hidden in ("1,250.50", "HTG", "app.example.com", "Payment received", view.secret, *shown):
        assert hidden not in page
    assert len(questions(server)) == asked == 1, "verify asked, the pages did not"


def test_looking_uses_up_no_question_of_the_owners(shop):
    # S3.25
    view = shop.open("moncash")
    for _ in range(shop.env.settings.recovery_max_verification_attempts + 1):
        shop.get("/checkout/return/moncash", orderId=order_id(view))
    assert checkout.get(shop.env, shop.customer, view.id).verify_attempts == 0
    assert shop.state(view) == "pending"


def test_a_cookie_that_was_made_up_opens_nothing(shop):
    # I33
    view = shop.open("moncash")
    number = shop.servers["moncash"].pay(order_id(view), 1250.5)
    shown = ids.show("checkout", view.id)
    for word in (f"{shown}.", f"{shown}.{'x' * 22}", "~~~", shown, f"cs_.{view.secret}"):
        page = shop.browser.get(
            "/checkout/return/moncash", params={"transactionId": number},
            headers={"Cookie": f"paydesk_checkout={word}"},
        )  # fmt: skip
        assert page.status_code == 200 and NOBODYS in page.text
    assert not questions(shop.servers["moncash"])


def test_the_browser_that_opened_the_order_sees_all_of_it(shop):
    # S3.19
    view = shop.open("moncash")
    assert shop.get(view.page_url).status_code == 200
    number = shop.servers["moncash"].pay(order_id(view), 1250.5)
    page = comes_back(shop, transactionId=number)
    assert "Payment received" in page.text and "Lab Pack" in page.text


def test_of_two_orders_in_one_browser_the_paid_one_is_shown(shop):
    # S3.19: begun in two tabs, paid in the first
    one, other = shop.open("moncash"), shop.open("moncash")
    for view in (one, other):
        goes_to_pay(shop, view)
    number = shop.servers["moncash"].pay(order_id(one), 1250.5)
    for _ in range(2):  # Asked first, then known.
        answer = shop.get("/checkout/return/moncash", transactionId=number)
        assert ids.show("checkout", one.id) in answer.headers["location"]
        assert "Payment received" in shop.get(answer.headers["location"]).text
    assert (shop.state(one), shop.state(other)) == ("succeeded", "pending")


def test_a_browser_remembers_its_last_orders_only(shop):
    # S3.19: a cookie has its size
    views = [shop.open("moncash") for _ in range(7)]
    for view in views:
        goes_to_pay(shop, view)
    assert len(shop.browser.cookies["paydesk_checkout"]) < 500
    page = comes_back(shop, orderId=order_id(views[-5]))
    assert "Confirming your payment" in page.text


def test_who_gives_up_at_moncash_comes_back_to_the_order_it_began_with(shop):
    # S3.19: a return page that is told nothing
    assert NOBODYS in shop.get("/checkout/return/moncash").text
    view = shop.open("moncash")
    shop.get(view.page_url)
    page = comes_back(shop)
    assert "Confirming your payment" in page.text and shop.state(view) == "pending"


def test_the_stranger_is_led_to_the_businesss_own_page(shop):
    # S3.18: where the settings name one, and with no number of ours
    home = "https://app.example.com/done?c={CHECKOUT_SESSION_ID}"
    desk = replace(shop.env, settings=replace(shop.env.settings, stripe_return_url=home))
    browser = TestClient(create_app(desk), base_url=desk.settings.base_url)
    page = browser.get("/checkout/return/moncash?transactionId=12874820").text
    assert 'href="https://app.example.com/done?c="' in page


def test_another_providers_order_is_none_of_this_one(shop):
    # I33
    view = shop.open("paypal")
    shop.get(view.page_url)
    shown = ids.show("payment", view.payment.id)
    assert NOBODYS in shop.get("/checkout/return/moncash", orderId=shown).text
    assert shop.get("/checkout/return/nobody", orderId=shown).status_code == 404


def test_where_moncash_does_not_answer_the_page_says_so_and_asks_again(shop):
    # S3.25: the payer loses nothing
    view = shop.open("moncash")
    goes_to_pay(shop, view)
    number = shop.servers["moncash"].pay(order_id(view), 1250.5)
    shop.servers["moncash"].fail_with = 500
    page = comes_back(shop, transactionId=number)
    assert page.status_code == 200 and "Confirming your payment" in page.text
    shop.servers["moncash"].fail_with = None
    again = re.search(r'href="(/checkout/[^"]+)"', page.text).group(1)
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
    page = shop.get(f"/checkout/{ids.show('checkout', view.id)}/success?s={view.secret}")
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
    assert "You are back from PayPal" in shop.get("/checkout/return/paypal", token=theirs.id).text
    assert provider.fetch(theirs.id).status != "succeeded"
    assert server.orders[theirs.id]["status"] == "APPROVED" and not server.captures


def test_a_visit_captures_no_order_of_another_browser(shop):
    # S3.19: PayPal's order number alone has nothing asked, and so nothing taken
    view, server = shop.open("paypal"), shop.servers["paypal"]
    server.approve(view.payment.session_ref)
    page = shop.get("/checkout/return/paypal", token=view.payment.session_ref)
    assert "You are back from PayPal" in page.text and not server.captures
    assert shop.state(view) == "pending"


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
