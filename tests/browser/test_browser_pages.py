"""Every page in both themes and two widths: no accessibility fault, nothing beside the screen."""

from __future__ import annotations

import re

import pytest
from browsing import screenshot

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
        )
        for name, path in PAGES.items()
    }  # fmt: skip


def faults_of(page) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['nodes'][0]['html'][:160]}" for v in found]


@pytest.mark.parametrize("size", ["wide", "phone"])
@pytest.mark.timeout(300)  # Twenty pages, each examined whole: a busy machine takes its time.
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_accessible_and_fits_the_screen(desk, shop, visit, theme, size):
    page = visit(theme, size)
    wrong = []
    for name, address in addresses(desk, shop).items():
        page.goto(address)
        if (name, size) != ("reference", "phone"):  # Very long, and the same page in both sizes.
            wrong += [f"{name}: {fault}" for fault in faults_of(page)]
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            wrong.append(f"{name}: scrolls sideways")
        screenshot(page, f"{name}-{theme}-{size}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_portal_shows_a_customer_only_their_own_credits(desk, shop, visit, theme):
    page = visit(theme, "phone")
    page.goto(f"{desk.url}/dashboard/customers/{shop['customer']}")
    page.get_by_role("button", name="Open portal as customer").click()
    page.wait_for_url("**/portal")
    assert page.get_by_role("heading", name="Your account").is_visible()
    assert "jonas@lichtung.example" not in page.content()
    assert not faults_of(page)
    assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    screenshot(page, f"portal-{theme}-phone")


def test_pages_ask_nobody_else_for_anything(desk, shop, visit):
    """Fonts, styles and scripts come from this process; the policy refuses the rest."""
    page, asked = visit(), []
    page.on("request", lambda request: asked.append(request.url))
    for address in addresses(desk, shop).values():
        answer = page.goto(address)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    assert asked
    assert all(url.startswith((desk.url, "data:")) for url in asked), asked


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
    for name in ("overview", "payments", "payment", "checkout", "success", "reference"):
        page.goto(addresses(desk, shop)[name])
        assert page.locator("h1").first.is_visible(), name
    page.goto(f"{desk.url}/dashboard/payments")
    page.get_by_role("link", name="Failed").click()
    assert re.search(r"tab=failed", page.url)
