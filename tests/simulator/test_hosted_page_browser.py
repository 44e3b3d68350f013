"""The hosted page in a real browser: both themes, two widths, with and without scripts."""

import shutil
import sys
from pathlib import Path

import pytest
from simulator_support import session_params

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kit"))

import browsing

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("axe_playwright_python.sync_playwright")
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


@pytest.fixture
def page(chromium):
    """On a wide screen, in light colors."""
    width, height = browsing.WIDTHS["wide"]
    context = chromium.new_context(viewport={"width": width, "height": height}, bypass_csp=True)
    yield context.new_page()
    context.close()


def test_the_page_is_accessible_and_fits(sandbox, page, session):
    page.goto(session["url"])
    for name, size in browsing.WIDTHS.items():
        page.set_viewport_size({"width": size[0], "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == size[0]
        # The form is on the first screen of a phone, its button included.
        assert page.locator("#pay").bounding_box()["y"] + 48 < 844, name
        font = page.evaluate("getComputedStyle(document.getElementById('number')).fontSize")
        assert font == "16px"
    page.set_viewport_size({"width": 1440, "height": 844})
    # The test cards are closed at first, open in dark colors and on the phone.
    assert browsing.examined(page, "hosted") == []
    cards = page.locator("details").filter(has_text="All test cards")
    assert cards.get_attribute("open") is not None
    assert browsing.faults_of(page) == []


def test_the_page_of_an_invoice_is_accessible_and_fits(sandbox, page):
    customer = sandbox.request("POST", "/v1/customers", {"name": "Maya Okafor", "balance": -300})
    made = sandbox.request("POST", "/v1/invoices", {"customer": customer["id"]})
    sandbox.request("POST", "/v1/invoiceitems", {
        "customer": customer["id"], "invoice": made["id"], "amount": 2500, "currency": "usd",
        "description": "Remaining time on a plan with a rather long name after 16 Apr 2026"})
    final = sandbox.request("POST", f"/v1/invoices/{made['id']}/finalize")
    page.goto(final["hosted_invoice_url"])
    assert browsing.examined(page, "hosted-invoice") == []
    page.get_by_role("button", name="Pay $22.00").click()
    page.get_by_role("heading", name="This invoice is paid").wait_for()
    assert browsing.examined(page, "hosted-invoice-paid") == []


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
