"""What was paid from a wallet goes back into it; a refunded service ends, and may come back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from goods_support import bought, membership, service
from purse import books, fill, wallet
from refunding import Refunding

from paydesk.errors import NotRefundable
from paydesk.flows import access, credits, refunds, wallet_payments
from paydesk.flows.checkout import StartCheckout
from paydesk.providers.base import RemoteRefund
from paydesk.rules.money import USD


@pytest.fixture
def back(desk):
    return Refunding(desk)


class Paid:
    """A pack paid from a wallet, shaped as a checkout's view."""

    def __init__(self, back, money: str = "25") -> None:
        self.user = back.desk.make.user()
        back.desk.make.pack()
        fill(back.env, self.user, USD(money))
        self.payment = wallet_payments.pay(
            back.env, StartCheckout(customer_id=self.user.uuid, pack="creator")
        )
        self.customer_id = self.user.uuid


def test_what_was_paid_from_a_wallet_goes_back_into_it_at_once(back):  # S3.20 S3.15 I7
    view = Paid(back)
    assert wallet(back.env, view.user, "usd").balance == 1_501
    part = back.refund(view, USD("3.33"))
    assert (part.state, part.provider, part.credits_taken_back) == ("succeeded", "wallet", 50)
    assert wallet(back.env, view.user, "usd").balance == 1_834
    rest = back.refund(view, key="rest")
    assert back.refund(view, key="rest").id == rest.id
    assert (rest.amount, rest.payment.state) == (USD("6.66"), "refunded")
    assert books(back.env, view.user, "usd") == {"wallet": 2_500, "clearing": -2_500}
    assert back.desk.balance(view) == 0
    with pytest.raises(NotRefundable):
        back.refund(view)
    assert not back.desk.all("select id from provider_calls where action = 'refund'")


def test_used_credits_of_a_wallets_payment_are_owed(back):  # I17
    view = Paid(back)
    item = credits.new_spend(view.customer_id, 60, "render")
    credits.raise_for(credits.spend_now(back.env, item))
    seen = refunds.preview(back.env, view.customer_id, view.payment.id)
    done = back.refund(view)
    assert (seen.credits_taken_back, seen.credits_missing) == (90, 60)
    assert (done.credits_taken_back, done.credits_owed) == (90, 60)
    assert wallet(back.env, view.user, "usd").balance == 2_500


def test_a_full_refund_ends_the_service_and_its_access(back):  # S1.51 I20
    membership(back.desk)
    view = bought(back.desk, back.desk.make.user(), service="premium_membership")
    back.refund(view, USD("100.00"))
    assert service(back.desk, view).state == "active"
    back.refund(view)
    assert service(back.desk, view).state == "canceled"
    assert not access.can(back.env, view.customer_id, "course:anything")
    taken = back.desk.all("select goods, taken from clawbacks where reversed_at is null")
    assert {"goods": "service", "taken": 1} in taken


def test_a_service_goes_on_once_only_a_part_stays_refunded(back):  # I17 I20
    """The first of two refunds fails: the second alone takes no service."""
    membership(back.desk)
    view = bought(back.desk, back.desk.make.user(), service="premium_membership")
    first, _ = back.refund(view, USD("100.00")), back.refund(view)
    assert service(back.desk, view).state == "canceled"
    failed = RemoteRefund(id=first.provider_ref, status="failed", amount=USD("100.00"),
                          payment_ref=back.desk.payment(view).payment_ref)  # fmt: skip
    for _ in range(2):
        back.apply(view, failed)
    assert service(back.desk, view).state == "active"
    assert access.can(back.env, view.customer_id, "course:anything")
    assert back.desk.all("select state from fulfillments") == [{"state": "done"}]
    back.apply(view, replace(failed, id="re_told", status="succeeded"))
    assert service(back.desk, view).state == "canceled"
