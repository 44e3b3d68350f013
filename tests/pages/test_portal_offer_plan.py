"""The page of a plan's offer: where a resource that only a plan opens is bought."""

from __future__ import annotations

import re
from html import unescape

import pytest
from fastapi.testclient import TestClient

from paydesk.flows import access, checkout, customers, items, payments, plans, subscriptions
from paydesk.http.app import create_app
from paydesk.rules.money import EUR, USD


@pytest.fixture
def browser(env):
    with TestClient(create_app(env), follow_redirects=False) as client:
        yield client


@pytest.fixture
def maya(env, make, sim):
    """Somebody who may not export yet, and plans that would let her."""
    plans.upsert(env, "yearly", price="120.00 USD/year", grants=["exports"])
    plans.upsert(env, "pro", price="19.00 USD/month", grants=["exports", "course:*"], credits=200)
    plans.upsert(env, "euro", price=EUR(1), grants=["exports"])
    plans.upsert(env, "secret", price="1.00 USD/month", grants=["exports"], public=False)
    plans.archive(env, plans.upsert(env, "old", price="2.00 USD/month", grants=["exports"]))
    return customers.ensure(env, "maya")


def place_of(env, who, resource) -> str:
    url = access.can(env, who.uuid, resource).offer_url
    return url.removeprefix(env.settings.base_url)


def form_of(page) -> dict[str, str]:
    assert page.status_code == 200, page.text
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text)
    return {name: unescape(value) for name, value in found}


def test_the_cheapest_public_plan_that_opens_it_is_offered(env, maya):
    # S1.49: by the price of a year; an item that gives it comes first
    assert "/portal/offer?plan=yearly&for=" in place_of(env, maya, "exports")
    assert "/portal/offer?plan=pro&for=" in place_of(env, maya, "course:python")
    assert access.can(env, maya.uuid, "lab:gpu").offer_url is None
    items.upsert(env, "python", name="Python", price=USD(50), grants=["course:python"])
    assert "/portal/offer?item=python&for=" in place_of(env, maya, "course:python")


def test_the_offer_leads_to_the_checkout_that_begins_the_plan(env, browser, sim, maya):
    # S1.25 S1.49 I21
    place = place_of(env, maya, "course:python")
    page = browser.get(place)
    for told in ("Pro", "$19.00", "a month", "Exports", "200 credits"):
        assert told in unescape(page.text), told
    sent = [browser.post("/portal/offer", data=form_of(page)) for _ in range(2)]
    opened = sent[0].headers["location"]
    assert opened == sent[1].headers["location"] and opened.startswith("/checkout/cs_")
    assert len(payments.list_(env, customer_id=maya.uuid)) == 1
    view = checkout.get(env, None, opened.split("?")[0].removeprefix("/checkout/"))
    sim.pay(view.payment.session_ref)
    checkout.verify(env, view.payment.session_ref)
    may = access.can(env, maya.uuid, "course:python")
    assert may and may.source.startswith("sub_")
    again = browser.get(place)
    assert "You have a subscription already" in again.text and "<form" not in again.text


def test_a_trial_begins_where_a_method_is_saved(env, browser, maya):
    # S1.25: nothing is charged; the way to another site is a link
    plans.upsert(env, "lab", price="9.00 USD/month", grants=["lab:*"], trial_days=14)
    page = browser.get(place_of(env, maya, "lab:gpu"))
    assert "14 days" in page.text and "Start free trial" in page.text
    sent = browser.post("/portal/offer", data=form_of(page))
    assert sent.status_code == 200
    [sub] = subscriptions.list_(env, maya.uuid)
    assert (sub.plan_key, sub.state) == ("lab", "incomplete")
    assert payments.list_(env, customer_id=maya.uuid) == []


def test_changed_terms_are_shown_before_they_are_agreed_on(env, browser, maya):
    # I35: what the page said is what is begun
    place = place_of(env, maya, "course:python")
    form = form_of(browser.get(place))
    plans.upsert(env, "pro", price="29.00 USD/month", grants=["exports", "course:*"])
    sent = browser.post("/portal/offer", data=form)
    assert sent.headers["location"].startswith("/portal/offer?plan=pro&for=")
    assert subscriptions.list_(env, maya.uuid) == []
    assert "$29.00" in browser.get(sent.headers["location"]).text


def test_strangers_and_forged_forms_begin_nothing(env, browser, maya):
    # I35
    place = place_of(env, maya, "course:python")
    own = form_of(browser.get(place))
    page = browser.get("/portal/offer?plan=pro")
    assert "$19.00" in page.text and "<form" not in page.text
    assert browser.post("/portal/offer", data={"form": own["form"]}).status_code == 403
    theirs = form_of(browser.get(place_of(env, customers.ensure(env, "joe"), "course:python")))
    mixed = {**own, "for": theirs["for"]}
    assert browser.post("/portal/offer", data=mixed).status_code == 403
    cross = {"sec-fetch-site": "cross-site"}
    assert browser.post("/portal/offer", data=own, headers=cross).status_code == 403
    assert browser.get("/portal/offer?plan=old").status_code == 404
    assert subscriptions.list_(env, None) == []
