"""The page of an offer: this customer's price, and the way to a checkout."""

from __future__ import annotations

import re
from html import unescape

import pytest
from fastapi.testclient import TestClient

from paydesk.flows import access, checkout, customers, items, payments, promos
from paydesk.http.app import create_app
from paydesk.pages import session
from paydesk.rules.money import USD


@pytest.fixture
def browser(env):
    with TestClient(create_app(env), follow_redirects=False) as client:
        yield client


@pytest.fixture
def maya(env, make, sim):
    """A student, and a course that costs students less."""
    items.upsert(
        env, "python", name="Python <from> Nothing", price=USD("50.00"), most_quantity=3,
        grants=["course:python", {"type": "lab", "id": "*", "days": 30}],
        rules=[{"name": "Students", "customer": {"segment": "student"}, "percent_off": 20}],
    )  # fmt: skip
    return customers.ensure(env, "maya", metadata={"segment": "student"})


def offer_of(env, who, resource="course:python") -> str:
    url = access.can(env, who.uuid, resource).offer_url
    return url.removeprefix(env.settings.base_url)


def form_of(page) -> dict[str, str]:
    """The hidden fields of the form that buys."""
    assert page.status_code == 200
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text)
    return {name: unescape(value) for name, value in found}


def paid_for(env, sim, place: str) -> None:
    opened = place.split("?")[0].removeprefix("/checkout/")
    view = checkout.get(env, None, opened)
    sim.pay(view.payment.session_ref)
    checkout.verify(env, view.payment.session_ref)


def test_the_offer_url_leads_to_the_customers_own_price_and_a_checkout(env, browser, sim, maya):
    # S1.36 S1.46 S1.49
    place = offer_of(env, maya)
    page = browser.get(place)
    for told in ("Python &lt;from&gt; Nothing", "$40.00", "$50.00", "Students", "−$10.00",
                 "Course python", "for good", "Every lab", "30 days"):  # fmt: skip
        assert told in page.text, told
    form = form_of(page)
    sent = [browser.post("/portal/offer", data=form) for _ in range(2)]
    assert [one.status_code for one in sent] == [303, 303]
    opened = sent[0].headers["location"]
    assert opened == sent[1].headers["location"] and opened.startswith("/checkout/cs_")
    assert "$40.00" in browser.get(opened).text
    assert len(payments.list_(env, customer_id=maya.uuid)) == 1
    again = browser.get(place)
    assert "You have begun to pay" in again.text and f'href="{opened}"' in again.text
    paid_for(env, sim, opened)
    assert access.can(env, maya.uuid, "course:python")
    assert "You have this already" in browser.get(place).text


def test_quantity_and_code_change_the_price_and_count_at_the_checkout(env, browser, maya):
    # S1.46 S4.17: what is shown is what is asked; a code that does not fit is said beside it
    promos.upsert_promo(env, "TEN", percent_off=10)
    promos.upsert_promo(env, "PACKS", percent_off=10, packs=[])
    place = offer_of(env, maya)
    page = browser.get(place + "&quantity=2&code=ten")
    assert "$72.00" in page.text and "TEN takes $8.00 off." in page.text
    sent = browser.post("/portal/offer", data={**form_of(page), "quantity": "2", "code": "ten"})
    assert "$72.00" in browser.get(sent.headers["location"]).text
    other = customers.ensure(env, "joe")
    place = offer_of(env, other)
    for wrong, why in (("NOPE", "There is no such code."), ("PACKS", "not for this product")):
        page = browser.get(f"{place}&code={wrong}")
        assert why in page.text and "$50.00" in page.text
        back = browser.post("/portal/offer", data={**form_of(page), "code": wrong})
        assert back.headers["location"].startswith("/portal/offer?")
        assert why in browser.get(back.headers["location"]).text
    assert payments.list_(env, customer_id=other.uuid) == []
    assert browser.get(f"{place}&quantity=4").status_code == 422
    assert browser.get(f"{place}&quantity=x").status_code == 422


def test_without_a_name_the_offer_is_shown_and_not_sold(env, browser, maya, clock):
    # I35: an old link, a changed one and a stranger see the list price
    place = offer_of(env, maya)
    stranger = browser.get("/portal?item=python")
    assert stranger.headers["location"] == "/portal/offer?item=python"
    own = form_of(browser.get(place))
    for url in ("/portal/offer?item=python", place + "x"):
        page = browser.get(url)
        assert "$50.00" in page.text and "list price" in page.text
        assert "Students" not in page.text and "<form method=\"post\" action=\"/portal" not in (
            page.text)  # fmt: skip
    assert browser.post("/portal/offer", data={"form": own["form"]}).status_code == 403
    other = customers.ensure(env, "joe")
    theirs = form_of(browser.get(offer_of(env, other)))
    mixed = {**own, "for": theirs["for"]}
    assert browser.post("/portal/offer", data=mixed).status_code == 403
    cross = {"sec-fetch-site": "cross-site"}
    assert browser.post("/portal/offer", data=own, headers=cross).status_code == 403
    clock.advance(hours=2)
    assert browser.post("/portal/offer", data=own).status_code == 403
    clock.advance(days=8)
    assert "list price" in browser.get(place).text
    assert payments.list_(env) == []


def test_what_is_not_on_sale_is_no_offer(env, browser, maya):
    place = offer_of(env, maya)
    items.deactivate(env, "python")
    assert browser.get(place).status_code == 404
    assert access.can(env, maya.uuid, "course:python").offer_url is None


def test_the_portal_lists_access_and_offers_and_its_session_buys(env, browser, maya):
    # S1.49
    items.upsert(env, "club", name="Club", price=USD("60.00"), kind="service", duration_months=6)
    access.grant(env, maya.uuid, "exports", by="ana", days=3)
    link = session.portal_link(env, "maya").removeprefix(env.settings.base_url)
    entered = browser.get(f"{link}&next=/portal/offer%3Fitem%3Dclub")
    assert entered.headers["location"] == "/portal/offer?item=club"
    away = browser.get(f"{link}&next=https://evil.example")
    assert away.headers["location"] == "/portal"
    home = browser.get("/portal").text
    assert "Exports" in home and 'href="/portal/offer?item=club"' in home
    page = browser.get("/portal/offer?item=club")
    assert "6 months, paid once" in page.text and "Everything" in page.text
    sent = browser.post("/portal/offer", data=form_of(page))
    assert sent.headers["location"].startswith("/checkout/")
    (one,) = payments.list_(env, customer_id=maya.uuid)
    assert one.amount == USD("60.00")
