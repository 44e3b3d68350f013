"""A bank that asks its holder: a change from the portal, a renewal from its invoice."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from browsing import examined, screenshot
from desk_process import Desk, eventually
from test_browser_purchase import THREE_D_SECURE, pay_by_hand

ASKS_THE_BANK = "pm_card_authenticationRequired"


@pytest.fixture(scope="module")
def plans(desk: Desk) -> None:
    for key, name, amount in (("solo", "Solo", 1500), ("band", "Band", 4500)):
        desk.api("PUT", f"/v1/plans/{key}", {
            "name": name, "family": "music", "amount": amount, "currency": "usd",
        })  # fmt: skip


def subscriber(desk: Desk, card: str, **more: Any) -> dict[str, Any]:
    who = f"player_{uuid.uuid4().hex[:8]}"
    clock = more.pop("clock", None)
    desk.api("POST", "/v1/customers", {
        "external_id": who, "name": "Rosa Lind", "email": f"{who}@lind.example",
        **({"clock": clock} if clock else {}),
    })  # fmt: skip
    desk.api("POST", "/v1/payment_methods", {"customer": who, "token": card, "default": True})
    return desk.api("POST", "/v1/subscriptions", {"customer": who, "plan": "solo", **more})


def waiting(desk: Desk) -> dict[str, Any]:
    """A subscriber whose next charge the bank asks about."""
    sub = subscriber(desk, "pm_card_visa")
    desk.api("POST", "/v1/payment_methods",
             {"customer": sub["customer"], "token": ASKS_THE_BANK, "default": True})  # fmt: skip
    return sub


def enter(desk: Desk, page: Any, sub: dict[str, Any]) -> None:
    page.goto(f"{desk.url}/dashboard/customers/{sub['customer']}")
    page.get_by_role("button", name="Open portal as customer").click()
    page.wait_for_url("**/portal")


def change(page: Any) -> None:
    page.get_by_role("link", name="Change plan").click()
    page.get_by_label(re.compile("^Band")).check()
    page.get_by_role("button", name="See what it costs").click()
    page.get_by_role("button", name=re.compile("^Change and pay")).click()
    page.get_by_role("heading", name="Confirm with your bank").wait_for()


@pytest.mark.parametrize("js", [True, False])
def test_a_change_is_confirmed_on_the_banks_page(desk, plans, visit, js):  # S1.29 S1.44
    sub, page = waiting(desk), visit(js=js)
    enter(desk, page, sub)
    change(page)
    page.get_by_role("link", name="Go to the bank’s page").click()
    page.get_by_role("button", name=re.compile("complete", re.I)).click()
    page.wait_for_url("**/portal?done=changed")
    assert page.get_by_text("Your plan was changed.").is_visible()
    assert desk.api("GET", f"/v1/subscriptions/{sub['id']}")["plan_key"] == "band"


def test_a_change_that_the_bank_refuses_may_be_tried_again_or_given_up(desk, plans, visit):
    # S1.29 S1.44
    sub, page = waiting(desk), visit(size="phone", theme="dark")
    enter(desk, page, sub)
    change(page)
    page.get_by_role("link", name="Go to the bank’s page").click()
    page.get_by_role("button", name=re.compile("fail", re.I)).click()
    page.wait_for_url("**/portal?done=unconfirmed")
    assert page.get_by_text("Your bank did not confirm the payment.").is_visible()
    change(page)
    page.goto(f"{desk.url}/portal")
    screenshot(page, "bank-waits")
    page.get_by_text(re.compile("^The change to Band waits")).wait_for()
    page.get_by_role("button", name="Keep the plan as it is").click()
    page.wait_for_url("**/portal?done=dropped")
    found = desk.api("GET", f"/v1/subscriptions/{sub['id']}")
    assert (found["plan_key"], found["next"], found["payment"]) == ("solo", None, None)


def test_the_way_to_the_bank_and_the_checkout_are_accessible(desk, plans, visit):
    sub, page = waiting(desk), visit()
    enter(desk, page, sub)
    change(page)
    bill = desk.api("POST", "/v1/invoices", {
        "customer": sub["customer"], "currency": "usd",
        "items": [{"description": "Atelier", "amount": 9_000, "quantity": 2}],
    })  # fmt: skip
    order = desk.api("POST", f"/v1/invoices/{bill['id']}/checkout", {})["page_url"]
    wrong = []
    for name, place in (("bank", page.url), ("portal-bank", f"{desk.url}/portal"),
                        ("checkout-fr", f"{order}&locale=fr"),
                        ("checkout-ht", f"{order}&locale=ht")):  # fmt: skip
        page.goto(place)
        wrong += examined(page, name)
    assert not wrong, "\n".join(wrong)
    assert page.locator("html").get_attribute("lang") == "ht"


def test_a_renewal_that_the_bank_asks_about_is_paid_from_its_invoice(desk, plans, visit):
    # S1.18 S1.50 S1.58 I26
    clock = desk.api("POST", "/v1/clocks", {"name": f"bank {uuid.uuid4().hex[:6]}"})["id"]
    sub = subscriber(desk, ASKS_THE_BANK, clock=clock, trial_days=3)
    assert sub["status"] == "trialing"

    def move(by: str) -> dict[str, Any]:
        desk.api("POST", f"/v1/clocks/{clock}/advance", {"by": by})
        eventually(lambda: desk.api("GET", f"/v1/clocks/{clock}")["status"] == "ready")
        return desk.api("GET", f"/v1/subscriptions/{sub['id']}")

    late = move("4d")
    assert late["status"] == "past_due"
    bill = desk.api("GET", f"/v1/invoices/{late['latest_invoice']}")
    assert (bill["status"], bill["error_code"]) == ("open", "authentication_required")
    page = visit()
    page.goto(bill["hosted_url"])
    page.get_by_role("button", name="Pay $15.00").click()
    page.wait_for_url("**/checkout/**")
    page.get_by_role("link", name="Pay $15.00").click()
    pay_by_hand(page, THREE_D_SECURE)
    page.get_by_role("button", name=re.compile("complete", re.I)).click()
    page.get_by_text("Payment received").wait_for()
    assert desk.api("GET", f"/v1/subscriptions/{sub['id']}")["status"] == "active"
    after = move("10d")
    assert after["status"] == "active"
    assert desk.api("GET", f"/v1/invoices/{bill['id']}")["attempts"] == bill["attempts"]
