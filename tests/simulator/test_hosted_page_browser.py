"""The hosted page in a real browser: both themes, two widths, with and without scripts."""

import shutil

import pytest
from simulator_support import session_params

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as engine:
        started = engine.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield started
        started.close()


@pytest.fixture
def session(sandbox):
    thanks = f"{sandbox.url}/?session={{CHECKOUT_SESSION_ID}}"  # any page that answers
    return sandbox.request("POST", "/v1/checkout/sessions", session_params(success_url=thanks))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_the_page_is_accessible_and_fits(sandbox, chromium, session, width, scheme):
    context = chromium.new_context(
        viewport={"width": width, "height": 844}, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    page.goto(session["url"])
    assert page.evaluate("document.documentElement.scrollWidth") == width
    # The form is on the first screen of a phone, its button included.
    assert page.locator("#pay").bounding_box()["y"] + 48 < 844
    assert page.evaluate("getComputedStyle(document.getElementById('number')).fontSize") == "16px"
    assert axe.Axe().run(page).violations_count == 0
    page.locator("summary", has_text="All test cards").click()
    assert axe.Axe().run(page).violations_count == 0
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_an_invoice_is_accessible_and_fits(sandbox, chromium, scheme):
    customer = sandbox.request("POST", "/v1/customers", {"name": "Maya Okafor", "balance": -300})
    made = sandbox.request("POST", "/v1/invoices", {"customer": customer["id"]})
    sandbox.request("POST", "/v1/invoiceitems", {
        "customer": customer["id"], "invoice": made["id"], "amount": 2500, "currency": "usd",
        "description": "Remaining time on a plan with a rather long name after 16 Apr 2026"})
    final = sandbox.request("POST", f"/v1/invoices/{made['id']}/finalize")
    context = chromium.new_context(
        viewport={"width": 390, "height": 844}, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    page.goto(final["hosted_invoice_url"])
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert axe.Axe().run(page).violations_count == 0
    page.get_by_role("button", name="Pay $22.00").click()
    page.get_by_role("heading", name="This invoice is paid").wait_for()
    assert axe.Axe().run(page).violations_count == 0
    context.close()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_purchase_with_a_decline_and_three_d_secure(sandbox, chromium, session, scripts):
    context = chromium.new_context(java_script_enabled=scripts)
    page = context.new_page()
    refused = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(session["url"])
    page.fill("#email", "maya@northwind.test")
    page.select_option("#test_card", "4000000000009995")
    page.click("#pay")
    assert "insufficient funds" in page.locator("[role=alert]").inner_text()
    page.select_option("#test_card", "4000002760003184")
    page.click("#pay")
    page.get_by_role("button", name="Complete authentication").click()
    page.wait_for_url(f"**/?session={session['id']}")
    assert sandbox.get(session["id"])["payment_status"] == "paid"
    assert not [text for text in refused if "Content Security Policy" in text]
    context.close()


def test_the_list_fills_in_the_card_where_scripts_run(chromium, session):
    page = chromium.new_page()
    page.goto(session["url"])
    page.select_option("#test_card", "378282246310005")
    assert page.input_value("#number") == "3782 822463 10005"
    assert page.locator("#brand").inner_text().lower() == "amex"
    page.close()
