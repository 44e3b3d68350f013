"""The dashboard's page of a payment shows whatever became of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from paydesk import ids
from paydesk.flows import api_keys
from paydesk.http.app import create_app
from paydesk.rules.money import USD

sys.path.insert(0, str(Path(__file__).parent.parent / "flows"))

from purchase import Desk
from refunding import Refunding


@pytest.fixture
def refunding(env, sim, make, clock):
    make.pack()
    return Refunding(Desk(env, sim, make, clock))


@pytest.fixture
def look(env):
    """The page of a payment as an administrator sees it."""
    _, key = api_keys.create(env, "ana", "admin")
    with TestClient(create_app(env), base_url="http://localhost:8000") as browser:
        form = browser.get("/dashboard/sign-in").text
        csrf = form.split('name="csrf" value="')[1].partition('"')[0]
        browser.post("/dashboard/sign-in", data={"key": key, "csrf": csrf})

        def open(view) -> str:
            page = browser.get(f"/dashboard/payments/{ids.show('payment', view.payment.id)}")
            assert page.status_code == 200
            return page.text

        yield open


@pytest.mark.parametrize("card, words", [
    (None, ["refunds", "clearing", "Refunded"]),
    ("pm_card_refundFail", ["refunds", "clearing"]),
])
def test_a_refunded_payment_shows_its_postings(refunding, look, card, words):  # S3.20
    view = refunding.bought(card=card)
    refunding.refund(view, USD("3.00"))
    refunding.deliver(view)
    page = look(view)
    for word in (*words, "revenue", "Balanced"):
        assert word in page, word


def test_a_disputed_payment_shows_its_postings(refunding, look):  # S3.20
    view = refunding.desk.open()
    refunding.desk.pay(view, card="4000000000000259")
    for one in refunding.sim.deliveries():
        refunding.desk.receive(one)
    page = look(view)
    for word in ("disputes", "losses", "clearing", "Balanced"):
        assert word in page, word
