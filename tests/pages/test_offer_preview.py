"""The offer of a plan: seats, codes and the first invoice, to the unit, in the reader's words."""

from __future__ import annotations

import re
from html import unescape

import pytest
from fastapi.testclient import TestClient

from paydesk.flows import (
    access,
    customers,
    invoices,
    plans,
    promos,
    subscription_offers,
    subscriptions,
    tax_rates,
)
from paydesk.flows.subscriptions import NewSubscription
from paydesk.http.app import create_app
from paydesk.pages.offer_words import OFFER_WORDS
from paydesk.pages.portal_words import WORDS
from paydesk.rules.money import USD


@pytest.fixture
def browser(env):
    with TestClient(create_app(env), follow_redirects=False) as client:
        yield client


def place_of(env, who, **more) -> str:
    url = access.can(env, who.uuid, "exports").offer_url.removeprefix(env.settings.base_url)
    return url + "".join(f"&{name}={value}" for name, value in more.items())


def shown(page) -> str:
    assert page.status_code == 200, page.text
    return re.sub(r"[ \u00a0\u202f]", " ", unescape(page.text))


CASES = [
    {},
    {"tax": ("20", False)},
    {"tax": ("8.875", True), "seats": 3},
    {"promo": {"percent_off": 33}, "tax": ("20", False), "seats": 7},
    {"promo": {"amount_off": USD("5.00")}, "seats": 2},
    {"promo": {"amount_off": USD("19.90")}},
    {"price": "900 JPY/month", "tax": ("10", True), "promo": {"percent_off": 15}},
    {"price": "9.990 KWD/month", "tax": ("5", False), "seats": 2},
    {"billing": "calendar", "tax": ("20", False), "promo": {"percent_off": 10}},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_preview_is_the_first_invoice(env, make, sim, clock, case):
    # S1.25 I13 I24: the same lines, and the same sum is asked for
    more = {"billing": case["billing"]} if "billing" in case else {}
    plans.upsert(env, "pro", price=case.get("price", "19.99 USD/month"), grants=["exports"],
                 most_quantity=20, **more)
    if "tax" in case:
        percent, inclusive = case["tax"]
        tax_rates.add(env, "VAT", percent, country="FR", inclusive=inclusive)
    if "promo" in case:
        promos.upsert_promo(env, "LESS", **case["promo"])
    who = customers.ensure(env, "maya", metadata={"country": "FR"})
    told = {"quantity": case.get("seats", 1), "promo": "less" if "promo" in case else None}
    seen = subscription_offers.preview(env, who.uuid, "pro", **told)
    assert subscriptions.list_(env, who.uuid) == []
    sub = subscriptions.start(
        env, NewSubscription(customer_id=who.uuid, plan="pro", is_hosted=True, **told)
    )
    bill = invoices.get(env, who.uuid, sub.latest_invoice_id)
    assert [(i.kind, i.description, i.amount.minor) for i in bill.items] == [
        (i.kind, i.description, i.amount_minor) for i in seen.lines
    ]
    # What cards cannot be charged of a rest is let go, here as there.
    assert seen.total == bill.total and seen.due == seen.due_now == bill.remaining + bill.paid


def test_seats_and_a_code_change_the_first_invoice_on_the_page(env, browser, make, sim):
    # S1.25 S4.17
    plans.upsert(env, "pro", price="19.00 USD/month", grants=["exports"], least_quantity=2,
                 most_quantity=9, credits=50)  # fmt: skip
    promos.upsert_promo(env, "TEN", percent_off=10)
    promos.upsert_promo(env, "PACKS", percent_off=10, packs=[], plans=[])
    who = customers.ensure(env, "maya")
    page = shown(browser.get(place_of(env, who, quantity=3, code="ten")))
    for told in ("a seat a month", "3 × Pro", "$57.00", "Code TEN", "−$5.70", "150 credits",
                 "TEN takes $5.70 off.", "Subscribe and pay $51.30"):  # fmt: skip
        assert told in page, told
    wrong = shown(browser.get(place_of(env, who, quantity=99, code="nonsense")))
    assert "Between 2 and 9 seats are sold." in wrong and "There is no such code." in wrong
    assert "Subscribe and pay $38.00" in wrong
    assert "This code is not for this product." in shown(
        browser.get(place_of(env, who, code="packs")))


def form_of(page) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page.text)
    return {name: unescape(value) for name, value in found}


def test_what_the_page_says_is_what_is_begun(env, browser, make, sim):
    # I35
    plans.upsert(env, "pro", price="19.00 USD/month", grants=["exports"], most_quantity=9)
    promos.upsert_promo(env, "TEN", percent_off=10)
    who = customers.ensure(env, "maya")
    place = place_of(env, who, quantity=3, code="ten")
    form = form_of(browser.get(place)) | {"quantity": "3", "code": "ten"}
    sent = [browser.post("/portal/offer", data=form) for _ in range(2)]
    assert sent[0].headers["location"] == sent[1].headers["location"]
    [sub] = subscriptions.list_(env, who.uuid)
    bill = invoices.get(env, who.uuid, sub.latest_invoice_id)
    assert (sub.quantity, bill.remaining.minor) == (3, 5130)
    refused = browser.post("/portal/offer", data=form | {"code": "nonsense"})
    assert "code=nonsense" in refused.headers["location"]
    assert len(subscriptions.list_(env, who.uuid)) == 1


@pytest.mark.parametrize(
    ("locale", "told"),
    [("en", ("Free for 14 days, then $19.00 a month", "Due today", "$0.00", "Start free trial")),
     ("fr", ("14 jours gratuits, puis 19,00 $US par mois", "À payer aujourd’hui",
             "0,00 $US", "Commencer l’essai gratuit", "TVA 20 %")),
     ("ht", ("14 jou gratis", "Pou peye jodi a", "Kòmanse esè gratis la"))],
)  # fmt: skip
def test_an_offer_speaks_the_readers_language(env, browser, make, locale, told):
    plans.upsert(env, "pro", price="19.00 USD/month", grants=["exports"], trial_days=14)
    tax_rates.add(env, "TVA", "20", country="FR")
    who = customers.ensure(env, "maya", metadata={"locale": locale, "country": "FR"})
    page = browser.get(place_of(env, who))
    for words in told:
        assert words in shown(page), words
    assert f'<html lang="{locale}"' in page.text
    stranger = browser.get("/portal/offer?plan=pro", headers={"accept-language": f"{locale}-CA"})
    assert f'<html lang="{locale}"' in stranger.text and "<form" not in stranger.text


def test_what_went_wrong_is_said_in_the_readers_language(env, browser):
    # S1.50: with the code and the request's number in every language
    for locale, title in (("fr", "Introuvable"), ("ht", "Nou pa jwenn li"), ("en", "Not found")):
        for path in ("/portal/offer?plan=none", "/invoice/none?s=x", "/checkout/cs_none?s=x"):
            page = browser.get(path, headers={"accept-language": locale})
            assert page.status_code == 404
            assert title in page.text and "not_found" in page.text and "req_" in page.text
    page = browser.get("/portal/enter?token=none", headers={"accept-language": "fr"})
    assert "Ce lien a expiré" in page.text
    desk = browser.get("/docs/errors/none", headers={"accept-language": "fr"})
    assert "Introuvable" not in desk.text


def test_every_word_of_an_offer_has_the_same_names_in_every_language():
    for key, told in OFFER_WORDS.items():
        assert set(told) == {"en", "fr", "ht"}, key
        names = {tuple(sorted(set(re.findall(r"{(\w+)}", text)))) for text in told.values()}
        assert len(names) == 1, key
        assert WORDS[key] == told, key
