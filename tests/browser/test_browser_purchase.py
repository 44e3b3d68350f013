"""A purchase by hand: our checkout page, the provider's page, our success page."""

from __future__ import annotations

import re

import pytest
from browsing import screenshot
from desk_process import KEY, eventually

DECLINED = "4000 0000 0000 0002"
THREE_D_SECURE = "4000 0025 0000 3155"


def pay_by_hand(page, card: str = "4242 4242 4242 4242") -> None:
    """Fill the provider's page as a person would."""
    page.get_by_label("Card number").fill(card)
    page.get_by_label(re.compile("Expir", re.I)).fill("04 / 40")
    page.get_by_label(re.compile("CVC|Security", re.I)).fill("123")
    name = page.get_by_label(re.compile("Name", re.I))
    if name.count():
        name.first.fill("Maya Okafor")
    page.get_by_role("button", name=re.compile("^Pay", re.I)).click()


def start(desk, customer: str, **more) -> dict:
    body = {"customer": customer, "pack": "creator", "promo": "WELCOME10",
            "email": f"{customer}@northwind.example", **more}  # fmt: skip
    return desk.api("POST", "/v1/checkouts", body)


def lose_webhooks(desk, wanted: bool) -> None:
    switches = {"lose_fraction": 1.0 if wanted else 0.0}
    desk.client.post(f"{desk.simulator}/_sim/config", json=switches).raise_for_status()


def balance(desk, customer: str) -> int:
    return desk.api("GET", f"/v1/credits/balance?customer={customer}")["balance"]


@pytest.mark.parametrize(("size", "js"), [("wide", True), ("phone", True), ("wide", False)])
def test_a_purchase_by_hand_ends_with_credits(desk, visit, size, js):  # S2.9 S2.10 S4.17
    customer = f"hand-{size}-{js}"
    made = start(desk, customer)
    page = visit("light", size, js)
    page.goto(made["page_url"])
    assert page.get_by_text("$8.99").first.is_visible()
    if size == "phone":
        assert not page.get_by_text("WELCOME10").is_visible()
        page.get_by_text("Order details").click()
    assert page.get_by_text("WELCOME10").is_visible()
    page.get_by_role("link", name="Pay $8.99").click()
    pay_by_hand(page)
    page.wait_for_url("**/success?s=*")
    page.get_by_role("heading", name="Payment received").wait_for()
    page.get_by_text("150 credits", exact=True).wait_for()
    eventually(lambda: balance(desk, customer) == 150)
    screenshot(page, f"purchase-{size}{'' if js else '-plain'}")


def test_the_sandbox_starts_a_purchase_with_one_click(desk, visit):
    page = visit()
    page.goto(desk.url)
    page.wait_for_url("**/dev")
    page.get_by_role("button", name="Buy with WELCOME10").click()
    page.get_by_role("link", name="Pay $8.99").click()
    pay_by_hand(page)
    page.get_by_role("heading", name="Payment received").wait_for()
    page.goto(f"{desk.url}/dashboard")
    assert page.get_by_text("Succeeded", exact=True).first.is_visible()


def test_the_success_page_asks_by_itself_where_no_webhook_came(desk, visit):  # S2.19 I1
    """Deliveries are lost; the page the customer comes back to finds the money."""
    customer = "no-webhook"
    made = start(desk, customer)
    lose_webhooks(desk, True)
    try:
        page = visit()
        page.goto(made["page_url"])
        page.get_by_role("link", name="Pay $8.99").click()
        pay_by_hand(page)
        page.get_by_role("heading", name="Payment received").wait_for()
        assert balance(desk, customer) == 150
        seen = desk.api("GET", f"/v1/checkouts/{made['id']}")
        assert seen["payment"]["fulfillment"]["path"] == "success_page"
    finally:
        lose_webhooks(desk, False)


def test_a_declined_card_is_told_on_the_providers_page_and_another_may_be_tried(desk, visit):
    customer = "declined-first"
    made = start(desk, customer)
    page = visit("dark", "phone")
    page.goto(made["page_url"])
    page.get_by_role("link", name="Pay $8.99").click()
    pay_by_hand(page, DECLINED)
    page.get_by_role("alert").filter(has_text=re.compile("declined", re.I)).wait_for()
    assert balance(desk, customer) == 0
    pay_by_hand(page)
    page.get_by_role("heading", name="Payment received").wait_for()
    eventually(lambda: balance(desk, customer) == 150)


def test_an_ended_checkout_says_so(desk, visit):
    made = start(desk, "gave-up")
    desk.api("POST", f"/v1/checkouts/{made['id']}/expire")
    page = visit()
    page.goto(made["page_url"])
    assert page.get_by_role("heading", name=re.compile("expired|canceled")).is_visible()
    assert page.get_by_role("link", name=re.compile("^Pay")).count() == 0


def test_a_checkout_page_opens_only_with_its_secret(desk, visit):
    made = start(desk, "private-order")
    page = visit()
    answer = page.goto(made["page_url"].partition("?")[0])
    assert answer.status == 404
    answer = page.goto(made["page_url"][:-1])
    assert answer.status == 404
    assert "private-order" not in page.content()


def test_the_webhooks_secret_and_the_key_are_what_the_desk_says(desk):
    """The key on the screen opens the API."""
    assert desk.api("GET", "/v1/payments?limit=1", key=KEY)["object"] == "list"
