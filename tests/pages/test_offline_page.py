"""The page of instructions: what to pay, with which reference, and what the payer may say."""

from __future__ import annotations

import re
from html import unescape

import pytest
from fastapi.testclient import TestClient

from paydesk.flows import checkout, offline
from paydesk.flows.checkout import StartCheckout
from paydesk.http.app import create_app


@pytest.fixture
def view(env, make):
    make.pack(key="small")
    who = make.user("user_1")
    return checkout.start(
        env, StartCheckout(customer_id=who.uuid, provider="manual", pack="small")
    )


@pytest.fixture
def browser(env):
    with TestClient(create_app(env), follow_redirects=False) as client:
        yield client


def local(url: str) -> str:
    return re.sub(r"^https?://[^/]+", "", url)


def test_it_shows_the_amount_and_the_reference(browser, view):
    # S3.19
    page = browser.get(local(view.url))
    assert page.status_code == 200
    assert view.payment.session_ref in page.text
    assert "$9.99" in page.text


def test_the_payers_number_is_noted_once_and_believed_by_nobody(env, browser, view):
    # S3.19 I35
    path = f"/checkout/{local(view.url).split('/')[2]}/reference"
    secret = local(view.url).partition("s=")[2]
    sent = browser.post(path, data={"s": secret, "reference": "R-77"})
    assert sent.status_code == 303
    assert "The reference was noted." in browser.get(sent.headers["location"]).text
    again = browser.post(path, data={"s": secret, "reference": "R-78"})
    assert again.status_code == 422
    assert "given for this payment before" in again.text
    assert checkout.get(env, view.customer_id, view.id).status == "open"
    wrong = browser.post(path, data={"s": "guess", "reference": "R-79"})
    assert wrong.status_code == 404


def test_once_the_money_has_come_it_leads_to_the_outcome(env, browser, view):
    # S3.19
    offline.confirm(env, view.customer_id, view.payment.id, by="rosa")
    answer = browser.get(local(view.url))
    assert answer.status_code == 303
    assert "Payment received" in browser.get(answer.headers["location"]).text


@pytest.mark.parametrize(
    ("locale", "told"),
    [("fr", ("Payer 9,99", "ou par virement", "Déjà payé", "Est-il arrivé", "Propulsé par")),
     ("ht", ("Peye 9,99", "transfè labank", "Ou peye deja?", "Èske li rive?", "Fonksyone ak"))],
)  # fmt: skip
def test_it_speaks_the_payers_language_to_the_last_word(browser, view, locale, told):
    # S3.19 S3.21
    path = local(view.url)
    page = unescape(browser.get(f"{path}&locale={locale}").text)
    assert f'<html lang="{locale}"' in page
    for sentence in told:
        assert sentence in page, sentence
    for english in ("Pay ", "Reference", "receipt", "Powered by", "until"):
        assert english not in page, english
    form = {"s": path.partition("s=")[2], "reference": "R-1", "locale": locale}
    place = f"/checkout/{path.split('/')[2]}/reference"
    sent = browser.post(place, data=form)
    assert sent.headers["location"].endswith(f"&told=1&locale={locale}")
    again = browser.post(place, data={**form, "reference": "R-2"})
    assert again.status_code == 422 and f'<html lang="{locale}"' in again.text



def test_what_the_business_wrote_stands_as_it_wrote_it(env, browser, view, monkeypatch):
    # S3.19
    known = type(env.providers["manual"])
    monkeypatch.setattr(known, "instructions", lambda self: "Bring it to 12 Wharf Street.")
    page = browser.get(f"{local(view.url)}&locale=fr").text
    assert "Bring it to 12 Wharf Street." in page and "par virement" not in page
