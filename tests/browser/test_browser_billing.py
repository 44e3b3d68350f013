"""Billing by hand: an operator changes a plan, a customer cancels one and takes that back."""

from __future__ import annotations

import re

import pytest
from browsing import screenshot


@pytest.fixture(scope="module")
def subscriber(desk, shop):
    """A fresh subscription, which the other tests' pages do not show."""
    made = desk.api("POST", "/v1/customers", {"external_id": "by-hand", "name": "Ida Holm",
                                              "email": "ida@holm.example"})  # fmt: skip
    desk.api("POST", "/v1/payment_methods",
             {"customer": "by-hand", "token": "pm_card_visa", "default": True})  # fmt: skip
    return {"customer": made["id"], "plan": desk.api(
        "POST", "/v1/subscriptions", {"customer": "by-hand", "plan": "studio", "trial_days": 0}
    )["id"]}  # fmt: skip


def plan_of(desk, subscriber) -> dict:
    return desk.api("GET", f"/v1/subscriptions/{subscriber['plan']}")


def test_an_operator_previews_a_change_and_makes_it(desk, subscriber, visit):  # S1.44 I24
    page = visit()
    page.goto(f"{desk.url}/dashboard/subscriptions?q=ida")
    page.get_by_role("link", name="ida@holm.example").first.click()
    page.get_by_role("link", name="Change plan").click()
    page.get_by_label(re.compile("^Agency")).check()
    page.get_by_label("Seats").fill("2")
    page.get_by_label("When").select_option("now")
    page.get_by_role("button", name="Preview").click()
    page.get_by_text("Unused time on Studio").wait_for()
    assert page.get_by_text("Remaining time on 2 × Agency").is_visible()
    assert plan_of(desk, subscriber)["plan_key"] == "studio"
    screenshot(page, "change-by-hand")
    page.get_by_role("button", name=re.compile("^Change and charge")).click()
    page.get_by_text("The subscription was changed.").wait_for()
    assert page.get_by_role("heading", name=re.compile("^Agency")).is_visible()
    found = plan_of(desk, subscriber)
    assert (found["plan_key"], found["quantity"]) == ("agency", 2)


@pytest.mark.parametrize("js", [True, False])
def test_a_customer_cancels_and_takes_it_back(desk, subscriber, visit, js):  # S1.43 S1.44
    page = visit("dark", "phone", js)
    page.goto(f"{desk.url}/dashboard/customers/{subscriber['customer']}")
    page.get_by_role("button", name="Open portal as customer").click()
    page.wait_for_url("**/portal")
    page.get_by_role("link", name="Cancel…").click()
    page.get_by_label("Too expensive").check()
    page.get_by_role("button", name="Cancel my plan").click()
    page.get_by_text("Your plan is canceled").wait_for()
    found = plan_of(desk, subscriber)
    assert found["cancel_at"] == found["current_period_end"]
    assert found["cancel_reason"] == "too_expensive"
    page.get_by_role("button", name="Reactivate").click()
    page.get_by_text("Your plan goes on as before.").wait_for()
    assert plan_of(desk, subscriber)["cancel_at"] is None


def test_what_a_button_would_do_is_said_before_it_is_done(desk, shop, visit):
    """The panel opens beside the button, and leaving it alone changes nothing."""
    page = visit()
    invoice = shop["billing"]["open_invoice"]
    page.goto(f"{desk.url}/dashboard/invoices/{invoice}")
    button = page.get_by_role("button", name="Void the invoice")
    assert not button.is_visible()
    page.get_by_text("Void…").click()
    assert button.is_visible()
    assert page.get_by_text("It asks for nothing any more.").is_visible()
    assert desk.api("GET", f"/v1/invoices/{invoice}")["status"] == "open"


LONG = "Professional Studio for Agencies and Cooperatives with Unlimited Shared Libraries"


@pytest.mark.parametrize("size", ["wide", "phone"])
def test_a_long_name_hides_no_sum_beside_it(desk, visit, size):  # S1.52
    desk.api("POST", "/v1/customers", {
        "external_id": "long-" + "winded" * 12, "name": LONG,
        "email": "accounts.payable.of.all.our.many.workshops@cooperative-of-bookbinders.example",
    })  # fmt: skip
    desk.api("PUT", "/v1/plans/long-winded", {
        "name": LONG, "family": "long", "amount": 12_345_678, "currency": "usd", "public": False,
        "trial_days": 30, "trial_needs_method": False,
    })  # fmt: skip
    who = "long-" + "winded" * 12
    known = desk.api("GET", f"/v1/subscriptions?customer={who}")["data"]
    sub = known[0] if known else desk.api(
        "POST", "/v1/subscriptions", {"customer": who, "plan": "long-winded"}
    )  # fmt: skip
    page = visit(size=size)
    for place in ("subscriptions?q=long-", f"customers/{sub['customer']}", "plans"):
        page.goto(f"{desk.url}/dashboard/{place}")
        price = page.locator("td.amount, td.prices").filter(has_text="$123,456.78").first
        box = price.bounding_box()
        assert box and box["x"] + box["width"] <= page.viewport_size["width"], place
        assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth"), place
