"""Every page in both themes and two widths: no accessibility fault, nothing beside the screen."""

from __future__ import annotations

import re

import pytest
from browsing import examined, faults_of, sideways

PAGES = {
    "sandbox": "/dev",
    "overview": "/dashboard",
    "overview-year": "/dashboard?days=365",
    "payments": "/dashboard/payments",
    "payments-none": "/dashboard/payments?q=nobody-has-this",
    "payment": "{payment}",
    "customers": "/dashboard/customers",
    "customer": "/dashboard/customers/{customer}",
    "packs": "/dashboard/packs",
    "promos": "/dashboard/promos",
    "subscriptions": "/dashboard/subscriptions",
    "subscription": "/dashboard/subscriptions/{subscription}",
    "subscription-ending": "/dashboard/subscriptions/{ending}",
    "subscription-change":
        "/dashboard/subscriptions/{subscription}/change?plan=agency&quantity=2&at=now",
    "invoices": "/dashboard/invoices",
    "invoice": "/dashboard/invoices/{invoice}",
    "invoice-open": "/dashboard/invoices/{open_invoice}",
    "plans": "/dashboard/plans",
    "plan": "/dashboard/plans/{plan}",
    "refunds": "/dashboard/refunds",
    "refund": "/dashboard/refunds/{refund}",
    "disputes": "/dashboard/disputes",
    "dispute": "/dashboard/disputes/{dispute}",
    "wallets": "/dashboard/wallets",
    "wallet": "/dashboard/wallets/{wallet}",
    "risk": "/dashboard/risk",
    "reports": "/dashboard/reports",
    "reports-revenue": "/dashboard/reports?show=revenue&currency=all&last=6mo",
    "risk-lists": "/dashboard/risk/lists",
    "subscriber": "/dashboard/customers/{subscriber}",
    "events": "/dashboard/events",
    "webhooks": "/dashboard/webhooks",
    "keys": "/dashboard/keys",
    "sign-in": "/dashboard/sign-in",
    "reference": "/docs",
    "error": "/docs/errors/insufficient_credits",
    "checkout": "{checkout}",
    "success": "{success}",
    "problem": "/checkout/cs_00000000000000000000000000?s=none",
}


def addresses(desk, shop) -> dict[str, str]:
    """The pages with this shop's ids in them."""
    return {
        name: desk.url + path.format(
            payment=f"/dashboard/payments/{shop['paid']['payment']['id']}",
            customer=shop["customer"],
            checkout=shop["waiting"]["page_url"].removeprefix(desk.url),
            success=shop["paid"]["page_url"].removeprefix(desk.url).replace("?", "/success?"),
            **shop["billing"],
        )
        for name, path in PAGES.items()
    }  # fmt: skip


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.timeout(600)  # Twenty pages, each examined whole: a busy machine takes its time.
def test_every_page_is_accessible_and_fits_the_screen(desk, shop, visit, half):
    """And asks nobody else for anything: fonts, styles and scripts come from this process; the
    policy refuses the rest. A page is opened once for all that is to be seen of it."""
    page, asked = visit(), []
    page.on("request", lambda request: asked.append(request.url))
    wrong = []
    for name, address in list(addresses(desk, shop).items())[half::2]:
        policy = page.goto(address).headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy, name
        # The reference is very long, and all that it has to open is the same.
        is_long = name == "reference"
        wrong += faults_of(page) if is_long else examined(page, name)
    assert not wrong, "\n".join(wrong)
    assert asked
    assert all(url.startswith((desk.url, "data:")) for url in asked), asked


def enter_portal(page, desk, customer: str) -> None:
    page.goto(f"{desk.url}/dashboard/customers/{customer}")
    page.get_by_role("button", name="Open portal as customer").click()
    page.wait_for_url("**/portal")


def test_the_portal_shows_a_customer_only_their_own_credits(desk, shop, visit):
    page = visit()
    enter_portal(page, desk, shop["customer"])
    assert page.get_by_role("heading", name="Your account").is_visible()
    assert "jonas@lichtung.example" not in page.content()
    assert examined(page, "portal") == []


def test_the_portals_pages_of_a_plan_are_accessible_and_fit_the_screen(desk, shop, visit):
    page = visit()
    enter_portal(page, desk, shop["billing"]["subscriber"])
    wrong = examined(page, "portal-plan")
    plan = f"{desk.url}/portal/plan/{shop['billing']['subscription']}"
    for name, path in (("change", "/change?plan=agency&quantity=2"), ("cancel", "/cancel")):
        page.goto(plan + path)
        wrong += examined(page, f"portal-{name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("locale", ["en", "fr", "ht"])
def test_the_offer_of_a_plan_is_accessible_and_fits_the_screen(desk, shop, visit, locale):
    # S1.25 I35
    who = desk.api("POST", "/v1/customers", {
        "external_id": f"looker-{locale}", "name": "Ada Roy",
        "metadata": {"locale": locale, "country": "FR"},
    })  # fmt: skip
    page = visit(js=locale != "fr")
    enter_portal(page, desk, who["id"])
    page.goto(f"{desk.url}/portal/offer?plan=agency&quantity=3&code=welcome10")
    assert page.get_by_label(re.compile("^(Seats|Places|Plas)")).input_value() == "3"
    assert page.locator("html").get_attribute("lang") == locale
    if locale != "fr":  # The rules are run by a script, which this browser has none of.
        assert examined(page, f"offer-plan-{locale}") == []
    assert sideways(page, f"offer-plan-{locale}") == []


def test_the_theme_can_be_chosen_and_is_kept(desk, visit):
    page = visit("light")
    page.goto(f"{desk.url}/dashboard")
    page.get_by_role("button", name="Dark colors").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.goto(f"{desk.url}/dashboard/payments")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(13, 16, 21)"


def test_a_slash_goes_to_the_search_and_an_id_to_its_page(desk, shop, visit):
    page = visit()
    page.goto(f"{desk.url}/dashboard")
    page.keyboard.press("/")
    page.keyboard.type(shop["paid"]["id"])
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/dashboard/payments/{shop['paid']['payment']['id']}")
    page.goto(f"{desk.url}/dashboard/search?q=jonas")
    assert page.get_by_role("link", name="jonas@lichtung.example").first.is_visible()
    assert page.get_by_role("link", name="priya@kite.example").count() == 0


def test_a_payment_tells_its_story_and_its_books_balance(desk, shop, visit):
    page = visit()
    page.goto(addresses(desk, shop)["payment"])
    timeline = page.get_by_role("list").filter(has_text="Checkout created")
    text = timeline.inner_text()
    for words in ("Checkout created", "Payment succeeded", "credits granted", "Goods handed over"):
        assert words in text
    assert page.get_by_text("Balanced", exact=True).is_visible()
    amounts = page.get_by_role("region", name="Ledger entries").inner_text()
    assert "clearing" in amounts and "revenue" in amounts


def test_pages_work_without_scripts(desk, shop, visit):
    page = visit(js=False)
    for name in ("overview", "payments", "payment", "checkout", "success", "reference",
                 "subscription", "subscription-change", "invoice", "dispute"):  # fmt: skip
        page.goto(addresses(desk, shop)[name])
        assert page.locator("h1").first.is_visible(), name
    page.goto(f"{desk.url}/dashboard/payments")
    page.get_by_role("link", name="Failed").click()
    assert re.search(r"tab=failed", page.url)
