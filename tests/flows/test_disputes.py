"""Disputes: money moves once a stage, goods follow it, in whatever order the news comes."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from purchase import Desk

from paydesk.errors import Conflict, NotFound, PaydeskError
from paydesk.flows import credits, disputes, fulfillment, payments, refund_facts, refunds
from paydesk.providers.base import RemoteDispute, RemoteRefund
from paydesk.rules.ledger import CODES
from paydesk.rules.money import EUR, USD

FRAUD, INQUIRY = "4000000000000259", "4000000000001976"
FEE = 1500


def bought(desk: Desk, card: str = FRAUD):
    view = desk.open()
    desk.pay(view, card=card)
    return view


def book(desk: Desk, view, name: str, asset: str = "usd") -> int:
    rows = desk.all(
        "select balance from accounts where customer_id = %(c)s and code = %(code)s"
        " and asset = %(asset)s", c=view.customer_id, code=CODES[name], asset=asset,
    )  # fmt: skip
    return rows[0]["balance"] if rows else 0


def books(desk: Desk, view) -> dict[str, int]:
    """Balances that are not 0; the provider's fee for the charge apart."""
    names = ("revenue", "deposits", "disputes", "losses", "clearing")
    found = {name: book(desk, view, name) for name in names}
    found["clearing"] += book(desk, view, "fees")
    return {name: amount for name, amount in found.items() if amount}


def one_of(desk: Desk, view):
    return disputes.list_(desk.env, view.customer_id)[0]


def remote(desk: Desk, view, **more) -> RemoteDispute:
    told = {"id": "du_told", "status": "needs_response", "amount": USD("9.99"),
            "withdrawn": USD("9.99"), "reinstated": USD(0), "fee": USD(15),
            "payment_ref": desk.payment(view).payment_ref, **more}  # fmt: skip
    return RemoteDispute(**told)


def tell(desk: Desk, view, **more):
    return disputes.apply_remote(
        desk.env, "stripe", "", remote(desk, view, **more), (view.customer_id, view.payment.id),
        "webhook",
    )  # fmt: skip


def paid(desk: Desk, **more):
    view = desk.open(**more)
    desk.pay(view)
    desk.deliver(view)
    return view


def test_a_disputed_payment_gives_up_money_fee_and_goods_once(desk):  # S3.23 I9
    view = bought(desk)
    for one in [*desk.events(view), *desk.events(view)]:
        desk.receive(one)
    found = one_of(desk, view)
    assert (found.state, found.reason) == ("needs_response", "fraudulent")
    assert (found.withdrawn, found.fee, found.loss) == (USD("9.99"), USD(15), USD(0))
    assert found.due_at is not None
    assert books(desk, view) == {"losses": -FEE, "clearing": FEE}
    assert desk.balance(view) == 0
    one = desk.payment(view)
    assert (one.state, one.captured) == ("succeeded", USD("9.99"))
    assert desk.all("select disputed from payments")[0]["disputed"]
    told = desk.events_of(view)
    for type in ("dispute.opened", "dispute.evidence_needed", "dispute.withdrawn"):
        assert told.count(type) == 1


def test_a_won_dispute_gives_back_exactly_what_it_took(desk):  # I9
    view = bought(desk)
    desk.deliver(view)
    spent = credits.new_spend(view.customer_id, 1, "render")
    with pytest.raises(Exception, match="credits"):
        credits.raise_for(credits.spend_now(desk.env, spent))
    desk.sim.decide_dispute(one_of(desk, view).ref, "won")
    desk.deliver(view)
    found = one_of(desk, view)
    assert (found.state, found.reinstated, found.fee) == ("won", USD("9.99"), USD(0))
    assert books(desk, view) == {"revenue": 999, "clearing": -999}
    assert desk.balance(view) == 150
    assert not desk.all("select disputed from payments")[0]["disputed"]
    assert desk.events_of(view).count("dispute.won") == 1


def test_credits_used_before_the_dispute_are_owed_and_forgotten_when_it_is_won(desk):  # I17
    view = paid(desk)
    item = credits.new_spend(view.customer_id, 60, "render")
    credits.raise_for(credits.spend_now(desk.env, item))
    dispute = desk.sim.dispute(desk.payment(view).payment_ref)
    desk.deliver(view)
    assert desk.balance(view) == 0
    assert book(desk, view, "debt", "CREDIT") == -60
    desk.sim.decide_dispute(dispute["id"], "won")
    desk.deliver(view)
    assert desk.balance(view) == 90
    assert book(desk, view, "debt", "CREDIT") == 0


def test_a_lost_dispute_leaves_things_as_they_were_taken_and_may_be_won_late(desk):  # I9
    view = bought(desk)
    desk.deliver(view)
    ref = one_of(desk, view).ref
    desk.sim.decide_dispute(ref, "lost")
    desk.deliver(view)
    assert one_of(desk, view).state == "lost"
    assert one_of(desk, view).closed_at is not None
    assert books(desk, view) == {"losses": -FEE, "clearing": FEE}
    assert desk.balance(view) == 0
    desk.sim.decide_dispute(ref, "won")
    desk.deliver(view)
    assert one_of(desk, view).state == "won"
    assert books(desk, view) == {"revenue": 999, "clearing": -999}
    assert desk.balance(view) == 150


def test_an_inquiry_moves_no_money_until_it_becomes_a_dispute(desk):  # S3.23
    view = bought(desk, INQUIRY)
    desk.deliver(view)
    found = one_of(desk, view)
    assert (found.state, found.withdrawn) == ("warning", USD(0))
    assert desk.balance(view) == 150
    assert not desk.all("select disputed from payments")[0]["disputed"]
    desk.sim.decide_dispute(found.ref, "escalated")
    desk.deliver(view)
    assert one_of(desk, view).state == "needs_response"
    assert desk.balance(view) == 0
    told = desk.events_of(view)
    assert [t for t in told if t in ("dispute.warning", "dispute.opened")] == [
        "dispute.warning", "dispute.opened",
    ]  # fmt: skip


def test_an_inquiry_that_ends_closes(desk):
    view = bought(desk, INQUIRY)
    desk.deliver(view)
    desk.sim.decide_dispute(one_of(desk, view).ref, "warning_closed")
    desk.deliver(view)
    assert one_of(desk, view).state == "closed"
    assert books(desk, view) == {"revenue": 999, "clearing": -999}
    assert "dispute.closed" in desk.events_of(view)


STAGES = {
    "opened": {"withdrawn": USD(0), "fee": USD(0)},
    "taken": {},
    "review": {"status": "under_review"},
    "lost": {"status": "lost"},
    "won": {"status": "won", "reinstated": USD("9.99"), "fee": USD(0)},
}


@pytest.mark.parametrize("order", random.Random(1).sample(list(itertools.permutations(STAGES)), 8))
def test_stages_heard_in_any_order_and_twice_end_the_same(desk, order):  # I9 I10
    view = paid(desk)
    for name in (*order, *order):
        tell(desk, view, **STAGES[name])
    found = one_of(desk, view)
    assert (found.state, found.withdrawn, found.reinstated) == ("won", USD("9.99"), USD("9.99"))
    assert books(desk, view) == {"revenue": 999, "clearing": -999}
    assert desk.balance(view) == 150
    assert desk.events_of(view).count("dispute.won") == 1


def test_a_dispute_that_outruns_its_payment_waits_for_it(desk):  # I10
    view = bought(desk)
    created = desk.events(view, "charge.dispute.created")[0]
    assert desk.receive(created)[0].state == "waiting"
    assert disputes.list_(desk.env) == []
    desk.deliver(view, "checkout.session.completed")
    desk.clock.advance(minutes=1)
    desk.sweep("inbox")
    assert one_of(desk, view).withdrawn == USD("9.99")
    desk.deliver(view)
    assert desk.balance(view) == 0
    assert books(desk, view) == {"losses": -FEE, "clearing": FEE}


def test_a_dispute_that_names_our_payment_asks_for_its_money_first(desk):  # I10
    view = desk.open()
    desk.pay(view)
    intent = desk.sim.get(view.payment.session_ref)["payment_intent"]
    tell(desk, view, payment_ref=intent, fee=None)
    assert desk.payment(view).captured == USD("9.99")
    assert books(desk, view) == {}
    assert desk.balance(view) == 0


def test_a_dispute_of_what_nobody_paid_waits(desk):
    view = desk.open()
    with pytest.raises(Conflict, match="not recorded"):
        tell(desk, view, payment_ref=None)


@pytest.mark.parametrize(
    "told",
    [{"payment_ref": "pi_another"}, {"livemode": True},
     {"payment_id": "pay_00000000000000000000000000"}],
)  # fmt: skip
def test_a_dispute_that_is_not_the_payments_is_refused(desk, told):
    view = paid(desk)
    with pytest.raises(Conflict):
        tell(desk, view, **told)
    assert disputes.list_(desk.env) == []


def test_what_no_money_covers_is_a_loss(desk):  # I9
    view = paid(desk)
    found = tell(desk, view, amount=USD("14.99"), withdrawn=USD("14.99"), fee=None)
    assert (found.loss, found.withdrawn) == (USD(5), USD("14.99"))
    assert books(desk, view) == {"losses": -500, "clearing": 500}
    tell(desk, view, amount=USD("14.99"), withdrawn=USD("14.99"), fee=None, status="won",
         reinstated=USD("14.99"))  # fmt: skip
    assert books(desk, view) == {"revenue": 999, "clearing": -999}
    assert one_of(desk, view).loss == USD(0)


def test_a_part_that_comes_back_is_posted_as_a_part(desk):  # I9
    view = paid(desk)
    tell(desk, view, fee=None)
    tell(desk, view, fee=None, status="lost", reinstated=USD(4))
    assert books(desk, view) == {"revenue": 400, "clearing": -400}
    assert desk.balance(view) == 0
    tell(desk, view, fee=None, status="lost", reinstated=USD(4))
    assert books(desk, view) == {"revenue": 400, "clearing": -400}


def test_two_disputes_of_one_payment_share_its_money(desk):  # I9
    view = paid(desk)
    tell(desk, view, amount=USD(6), withdrawn=USD(6), fee=None)
    tell(desk, view, id="du_other", amount=USD(6), withdrawn=USD(6), fee=None)
    assert books(desk, view) == {"losses": -201, "clearing": 201}
    assert sorted(one.loss.minor for one in disputes.list_(desk.env)) == [0, 201]
    assert desk.balance(view) == 0


def test_money_booked_in_the_accounts_own_currency_counts_as_what_is_disputed(desk):
    view = paid(desk)
    found = tell(desk, view, withdrawn=EUR("9.10"), fee=EUR(15))
    assert found.withdrawn == USD("9.99")
    assert book(desk, view, "losses", "eur") == -1500


def test_money_that_is_withdrawn_again_after_it_came_back_is_looked_at(desk):
    view = paid(desk)
    tell(desk, view, fee=None, status="won", reinstated=USD("9.99"))
    found = tell(desk, view, fee=None, status="lost", withdrawn=USD("19.98"),
                 reinstated=USD("9.99"))  # fmt: skip
    assert (found.state, found.withdrawn) == ("lost", USD("19.98"))
    assert books(desk, view) == {}


def test_staff_are_reminded_once_before_the_deadline(desk):
    view = bought(desk)
    desk.deliver(view)
    assert disputes.warn_due(desk.env) == 0
    found = one_of(desk, view)
    desk.clock.set(found.due_at - timedelta(hours=desk.env.settings.dispute_due_soon_hours))
    assert disputes.warn_due(desk.env) == 1
    assert disputes.warn_due(desk.env) == 0
    assert desk.events_of(view).count("dispute.due_soon") == 1
    assert one_of(desk, view).warned_at is not None


def test_disputes_are_found_and_listed(desk):
    view, other = bought(desk), bought(desk, INQUIRY)
    desk.deliver(view)
    desk.deliver(other)
    env, found = desk.env, one_of(desk, view)
    assert disputes.get(env, None, found.ref).id == found.id
    assert disputes.get(env, view.customer_id, found.id).id == found.id
    with pytest.raises(NotFound):
        disputes.get(env, other.customer_id, found.id)
    with pytest.raises(NotFound):
        disputes.get(env, None, "du_nobody")
    assert [one.id for one in disputes.list_(env, status="needs_response")] == [found.id]
    assert [one.id for one in disputes.list_(env, payment_id=view.payment.id)] == [found.id]
    assert len(disputes.list_(env, is_open=True)) == 2
    assert len(disputes.list_(env, due_before=found.due_at)) == 0
    everything = disputes.list_(env)
    assert [one.id for one in disputes.list_(env, after=everything[0].id)] == [everything[1].id]
    assert [one.id for one in disputes.list_(env, before=everything[1].id)] == [everything[0].id]
    assert payments.get(env, None, found.ref).id == view.payment.id


def test_goods_not_yet_handed_over_wait_for_the_end_of_the_dispute(desk, monkeypatch):
    def broken(*args, **more):
        raise RuntimeError("the shelf is empty")

    with monkeypatch.context() as patched:
        patched.setitem(fulfillment.FULFILL, "credits", broken)
        view = paid(desk)
    assert desk.payment(view).fulfillment.state == "due"
    tell(desk, view, fee=None)
    assert books(desk, view) == {}
    desk.clock.advance(minutes=5)
    desk.sweep("fulfillment")
    assert desk.payment(view).fulfillment.state == "blocked"
    assert desk.balance(view) == 0
    tell(desk, view, fee=None, status="won", reinstated=USD("9.99"))
    assert books(desk, view) == {"deposits": 999, "clearing": -999}
    desk.sweep("fulfillment")
    assert desk.payment(view).fulfillment.state == "done"
    assert books(desk, view) == {"revenue": 999, "clearing": -999}
    assert desk.balance(view) == 150


def wallet_of(desk, view) -> int:
    return book(desk, view, "wallet")


def test_a_disputed_top_up_leaves_the_wallet_and_comes_back(desk):  # I9 S3.24
    view = paid(desk, wallet=USD("9.99"))
    assert wallet_of(desk, view) == 999
    tell(desk, view, fee=None)
    assert (wallet_of(desk, view), books(desk, view)) == (0, {})
    tell(desk, view, fee=None, status="won", reinstated=USD("9.99"))
    assert (wallet_of(desk, view), books(desk, view)) == (999, {"clearing": -999})


def test_a_refund_of_what_a_dispute_holds_is_refused(desk):  # I7 I9
    view = paid(desk)
    tell(desk, view, fee=None, amount=USD(6), withdrawn=USD(6))
    want = refunds.WantRefund(
        customer_id=view.customer_id, payment_id=view.payment.id, by="ada", amount=USD(5),
        request_key=uuid4(), request_hash=b"",
    )  # fmt: skip
    with pytest.raises(PaydeskError) as raised:
        refunds.request(desk.env, want)
    assert raised.value.http_status in (409, 422)
    refunds.request(desk.env, replace(want, amount=USD("3.99")))
    assert desk.payment(view).refunded == USD("3.99")
    assert desk.balance(view) == 0


def test_a_dispute_after_a_refund_takes_what_is_left_and_loses_the_rest(desk):  # I9 I17
    view = paid(desk)
    refund = RemoteRefund(id="re_told", status="succeeded", amount=USD(4),
                          payment_ref=desk.payment(view).payment_ref)  # fmt: skip
    refund_facts.apply_remote(desk.env, "stripe", "", refund, (view.customer_id, view.payment.id),
                              "webhook")  # fmt: skip
    found = tell(desk, view, fee=None)
    assert (found.withdrawn, found.loss) == (USD("9.99"), USD(4))
    assert books(desk, view) == {"losses": -400, "clearing": 400}
    assert desk.balance(view) == 0
    tell(desk, view, fee=None, status="won", reinstated=USD("9.99"))
    assert books(desk, view) == {"revenue": 599, "clearing": -599}
    assert desk.balance(view) == 90
