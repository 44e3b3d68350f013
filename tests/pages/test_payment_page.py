"""The dashboard's page of a payment shows whatever became of it."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from paydesk import ids
from paydesk.flows import api_keys, checkout, payments
from paydesk.flows.checkout import StartCheckout
from paydesk.http.app import create_app
from paydesk.providers import Charge, Provider, RemoteCheckout
from paydesk.providers.base import Providers
from paydesk.rules.money import USD

sys.path.insert(0, str(Path(__file__).parent.parent / "flows"))

from purchase import Desk
from refunding import Refunding


@pytest.fixture
def refunding(env, sim, make, clock):
    make.pack()
    return Refunding(Desk(env, sim, make, clock))


class Plain(Provider):
    """Has a page and answers questions; it ends no sessions and gives nothing back."""

    name, title = "plain", "Plain"
    can = frozenset({"checkout", "fetch"})

    def create_checkout(self, order):
        return RemoteCheckout(id=f"plain-{order.id}", url="https://plain.example.com/pay")

    def fetch(self, ref):
        return Charge(ref=ref, status="pending", session_ref=ref)


class Dashboard:
    """A browser signed in to the dashboard by a key of some role."""

    def __init__(self, browser, env, role):
        self.browser = browser
        _, key = api_keys.create(env, f"key of {role}", role)
        csrf = self._csrf("/dashboard/sign-in")
        browser.post("/dashboard/sign-in", data={"key": key, "csrf": csrf})

    def _csrf(self, path):
        return self.browser.get(path).text.split('name="csrf" value="')[1].partition('"')[0]

    def page(self, view):
        return f"/dashboard/payments/{ids.show('payment', view.payment.id)}"

    def buttons(self, view):
        """What the page of a payment offers, by the last word of each form's address."""
        text = self.browser.get(self.page(view)).text
        return set(re.findall(rf'action="{self.page(view)}/([a-z]+)"', text))

    def press(self, view, button):
        # The word of another form of this session: the button may not be on this page.
        csrf = self._csrf(f"/dashboard/customers/{ids.show('customer', view.customer_id)}")
        return self.browser.post(f"{self.page(view)}/{button}", data={"csrf": csrf})


@pytest.fixture
def desk_of_three(env, sim, make):
    """Stripe, cash, and a provider that can do little."""
    make.pack()
    known = {**env.providers, "plain": Plain(env.settings)}
    return replace(env, providers=Providers(env.settings, known, env.providers.default))


@pytest.fixture
def open_with(desk_of_three, make):
    def open(provider):
        who = make.user(f"user_{provider}")
        return checkout.start(
            desk_of_three,
            StartCheckout(customer_id=who.uuid, amount=USD("9.99"), provider=provider),
        )

    return open


@pytest.fixture
def dashboard(desk_of_three):
    with TestClient(create_app(desk_of_three), base_url="http://localhost:8000") as browser:
        yield lambda role: Dashboard(browser, desk_of_three, role)


@pytest.mark.parametrize("provider, offered", [
    ("stripe", {"verify", "end"}), ("plain", {"verify"}), ("manual", {"end"}),
])  # fmt: skip
def test_only_what_the_provider_can_do_has_a_button(dashboard, open_with, provider, offered):
    # S3.19: fetch and expire of `can`
    view = open_with(provider)
    assert dashboard("admin").buttons(view) == offered


def test_who_may_not_press_a_button_does_not_see_it(dashboard, open_with):  # S3.19 I33
    view = open_with("stripe")
    assert dashboard("support").buttons(view) == set()
    finance = dashboard("finance")
    assert finance.buttons(view) == {"verify"}
    assert finance.press(view, "end").status_code == 403


def test_ending_is_refused_where_the_provider_ends_nothing(dashboard, open_with, desk_of_three):
    # S3.19: a form can be sent without its button
    view = open_with("plain")
    answer = dashboard("admin").press(view, "end")
    assert answer.status_code == 422 and "ends no sessions" in answer.text
    assert payments.get(desk_of_three, None, view.payment.id).state == "pending"


@pytest.mark.parametrize("provider", ["stripe", "manual"])
def test_an_ended_payment_says_so_and_offers_nothing_more(
    dashboard, open_with, desk_of_three, provider
):  # S2.11
    view, board = open_with(provider), dashboard("admin")
    answer = board.press(view, "end")
    assert answer.status_code == 200 and "The checkout was ended" in answer.text
    assert payments.get(desk_of_three, None, view.payment.id).state == "canceled"
    assert board.buttons(view) == set()


def test_a_provider_that_is_offered_no_more_has_no_button(desk_of_three, open_with, env):
    # S3.19: its payments can still be looked at
    view = open_with("plain")
    with TestClient(create_app(env), base_url="http://localhost:8000") as browser:
        assert Dashboard(browser, env, "admin").buttons(view) == set()


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
