"""MonCash passes the contract, and asks the questions that its interface documents."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
from moncash_server import CLIENT_ID, SECRET, MonCashServer

from paydesk import ids
from paydesk.errors import ProviderRefused, ProviderUnavailable
from paydesk.providers import Order
from paydesk.providers.base import AnswerUnclear
from paydesk.providers.moncash import MARGIN_S, PAGE_S, MonCash
from paydesk.rules.money import HTG
from paydesk.settings import Settings
from paydesk.testing import ProviderBench, ProviderContract


class MonCashBench(ProviderBench):
    provider = "moncash"
    price = HTG("1250.50")
    secrets = (SECRET, "token-")

    def __init__(self):
        self.server = MonCashServer()

    def settings(self):
        return {"moncash_client_id": CLIENT_ID, "moncash_client_secret": SECRET,
                "moncash_url": self.server.url}  # fmt: skip

    def pay(self, ref, amount):
        self.server.pay(ref.partition(".")[0], float(amount.decimal))

    def lose_answer(self):
        self.server.lose_next = True

    def echo_secrets(self):
        self.server.echo = True

    def sessions(self):
        return len(self.server.orders)

    def close(self):
        self.server.close()


# S3.4 I10
class TestMonCash(ProviderContract):
    def make_bench(self):
        return MonCashBench()

    def test_who_paid_and_never_came_back_is_found_when_the_page_has_ended(self, desk):
        view = desk.open()
        desk.pay(view)
        desk.clock.advance(minutes=9)
        desk.sweep("sessions")
        assert desk.payment(view).state == "pending"
        desk.clock.advance(minutes=2)
        desk.sweep("sessions")
        assert desk.payment(view).state == "succeeded"


@pytest.fixture
def server():
    with_server = MonCashServer()
    yield with_server
    with_server.close()


@pytest.fixture
def moncash(server):
    told = {"moncash_client_id": CLIENT_ID, "moncash_client_secret": SECRET}
    made = MonCash(Settings(moncash_url=server.url, **told))
    yield made
    made.close()


def order(amount="1250.50", **more):
    payment_id = ids.show("payment", ids.new_owned(ids.customer_of_tag(7)))
    return Order(id=payment_id, customer="cus_x", key="k", amount=HTG(amount),
                 description="Lab", **more)  # fmt: skip


def test_the_payer_is_sent_to_the_page_of_the_token(moncash, server):
    opened = moncash.create_checkout(order())
    assert opened.url.startswith(f"{server.url}/Moncash-middleware/Payment/Redirect?token=page-")
    assert opened.expires_in == 600


@pytest.mark.parametrize("amount, sent", [("1250.50", b"1250.50"), ("100", b"100.00")])
def test_the_amount_is_sent_as_a_number_with_its_very_digits(moncash, server, amount, sent):
    moncash.create_checkout(order(amount))
    (request,) = server.seen("POST", ".*/CreatePayment")
    assert b'"amount": ' + sent in request.body
    assert request.json["amount"] == Decimal(amount)


@pytest.mark.parametrize("cost", [10, 10.0, "10", "10.00"])
def test_the_cost_may_come_as_any_kind_of_number(moncash, server, cost):
    opened = moncash.create_checkout(order("10"))
    server.pay(opened.id.partition(".")[0], cost)
    assert moncash.fetch(opened.id).amount == HTG("10")


@pytest.mark.parametrize("cost", [None, "ten", "10.001", {}])
def test_a_cost_that_is_no_amount_of_gourdes_is_unclear(moncash, server, cost):
    opened = moncash.create_checkout(order("10"))
    server.pay(opened.id.partition(".")[0], cost)
    with pytest.raises(AnswerUnclear):
        moncash.fetch(opened.id)


def test_a_transaction_leads_back_to_our_payment(moncash, server):
    what = order()
    moncash.create_checkout(what)
    transaction = server.pay(what.id, 1250.5)
    found = moncash.fetch(transaction)
    assert (found.payment_id, found.payment_ref, found.amount) == (
        what.id, transaction, HTG("1250.50"),
    )  # fmt: skip
    assert found.capture_fact == moncash.fetch(what.id).capture_fact


def test_a_session_ends_when_its_page_has(moncash):
    what = order()
    moncash.create_checkout(what)
    over = int(time.time()) - MARGIN_S - 1
    found = moncash.fetch(f"{what.id}.{over}")
    assert (found.status, found.ended) == ("expired", True)
    found = moncash.fetch(f"{what.id}.{over + PAGE_S}")
    assert (found.status, found.ended) == ("pending", False)


def test_a_declined_payer_may_try_again(moncash, server):
    what = order()
    opened = moncash.create_checkout(what)
    declined = server.pay(what.id, 1250.5, message="failed")
    found = moncash.fetch(opened.id)
    assert (found.status, found.decline_ref, found.amount) == ("pending", declined, None)
    server.pay(what.id, 1250.5)
    assert moncash.fetch(opened.id).status == "succeeded"


def test_a_token_serves_until_shortly_before_its_end(moncash, server):
    for _ in range(3):
        moncash.create_checkout(order())
    assert len(server.seen("POST", ".*/oauth/token")) == 1
    server.tokens.clear()
    moncash.create_checkout(order())
    assert len(server.seen("POST", ".*/oauth/token")) == 2


def test_wrong_credentials_say_so_and_nothing_more(server):
    wrong = Settings(moncash_url=server.url, moncash_client_id=CLIENT_ID,
                     moncash_client_secret="mistyped-secret")  # fmt: skip
    with pytest.raises(ProviderUnavailable, match="credentials") as caught:
        MonCash(wrong).create_checkout(order())
    assert "mistyped" not in str(caught.value)


def test_a_refusal_carries_the_providers_own_sentence(moncash, server):
    what = order()
    moncash.create_checkout(what)
    server.pay(what.id, 1250.5)
    with pytest.raises((ProviderRefused, ProviderUnavailable)):
        moncash.create_checkout(what)


def test_the_sandbox_moves_no_real_money():
    told = {"moncash_client_id": "a", "moncash_client_secret": "b"}
    sandbox = "https://sandbox.moncashbutton.digicelgroup.com"
    assert MonCash(Settings(**told)).livemode is True
    assert MonCash(Settings(moncash_url=sandbox, **told)).livemode is False
