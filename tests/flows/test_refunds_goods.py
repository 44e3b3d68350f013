"""What goes back with the money: wallets, access, services, purchases, and goods not there yet."""

from __future__ import annotations

import inspect

import pytest
from refunding import Refunding

from paydesk.errors import Conflict, GoodsUsed, NotSupported
from paydesk.flows import access, fulfillment, items, payments, refunds, wallets
from paydesk.providers.base import Provider, Providers
from paydesk.rules.money import USD


@pytest.fixture
def back(desk):
    return Refunding(desk)


def topped_up(back, amount="20.00"):
    return back.bought(wallet=USD(amount))


def in_wallet(back, view):
    with back.env.db.read() as tx:
        return wallets.balance(tx, view.customer_id, "usd")


def take_out(back, view, amount):
    with back.env.db.transaction(view.customer_id) as tx:
        wallets.take_out(tx, back.env.now(), view.customer_id, amount, "revenue", reason="SALE",
                         txn_id=view.payment.id, event=None)  # fmt: skip


def test_a_top_up_goes_back_out_of_the_wallet(back):
    view = topped_up(back)
    seen = refunds.preview(back.env, view.customer_id, view.payment.id, USD("5.00"))
    assert (seen.wallet_taken_back, seen.wallet_missing) == (USD("5.00"), USD(0))
    assert back.refund(view, USD("5.00")).state == "succeeded"
    assert in_wallet(back, view) == USD("15.00")
    assert back.accounts(view, "usd") == {"clearing": -1500, "wallet": 1500}


def test_what_is_spent_of_a_top_up_is_owed_or_in_the_way(back):
    view = topped_up(back)
    take_out(back, view, USD("15.00"))
    seen = refunds.preview(back.env, view.customer_id, view.payment.id)
    assert (seen.wallet_taken_back, seen.wallet_missing) == (USD("5.00"), USD("15.00"))
    back.use(clawback_policy="block")
    with pytest.raises(GoodsUsed):
        back.refund(view)
    assert in_wallet(back, view) == USD("5.00")
    back.use(clawback_policy="debt")
    back.refund(view)
    assert back.accounts(view, "usd")["debt"] == -1500


def test_a_failed_refund_of_a_top_up_fills_the_wallet_again(back):
    view = topped_up(back)
    take_out(back, view, USD("15.00"))
    found = back.refund(view)
    remote = back.snapshots(view)[0]
    back.apply(view, type(remote)(**{
        **{n: getattr(remote, n) for n in inspect.signature(type(remote)).parameters},
        "status": "failed",
    }))  # fmt: skip
    assert refunds.get(back.env, view.customer_id, found.id).state == "failed"
    assert in_wallet(back, view) == USD("5.00") and "debt" not in back.accounts(view, "usd")


def item_bought(back):
    items.upsert(back.env, "python", name="Python course", price=USD("30.00"),
                 grants=[{"type": "course", "id": "python"}])  # fmt: skip
    return back.bought(item="python")


# S1.49! S1.51!
def test_a_full_refund_ends_access_and_the_purchase(back):
    # S1.51 I20
    view = item_bought(back)
    assert access.can(back.env, view.customer_id, "course:python").allowed
    half = back.refund(view, USD("15.00"))
    assert not half.access_revoked
    assert access.can(back.env, view.customer_id, "course:python").allowed
    seen = refunds.preview(back.env, view.customer_id, view.payment.id)
    assert seen.access_revoked == ["course:python"]
    assert back.refund(view).access_revoked == 1
    assert not access.can(back.env, view.customer_id, "course:python").allowed
    assert back.desk.all("select state from purchases") == [{"state": "refunded"}]
    assert back.desk.all("select state from fulfillments") == [{"state": "reversed"}]


def test_a_refund_that_fails_gives_access_again(back):
    # I20
    view = item_bought(back)
    back.refund(view)
    remote = back.snapshots(view)[0]
    back.apply(view, type(remote)(**{
        **{n: getattr(remote, n) for n in inspect.signature(type(remote)).parameters},
        "status": "failed",
    }))  # fmt: skip
    assert access.can(back.env, view.customer_id, "course:python").allowed
    assert back.desk.all("select state from purchases") == [{"state": "completed"}]
    assert back.desk.all("select state from fulfillments") == [{"state": "done"}]


def test_goods_that_were_not_handed_over_wait_for_a_person(back, monkeypatch):
    # I1 I17
    def broken(*more):
        raise Conflict("The shelf is locked.")

    with monkeypatch.context() as patch:
        patch.setitem(fulfillment.FULFILL, "credits", broken)
        view = back.bought()
    assert back.desk.payment(view).fulfillment.state == "due"
    seen = refunds.preview(back.env, view.customer_id, view.payment.id)
    assert seen.credits_taken_back == 0
    back.refund(view, USD("4.00"))
    back.desk.recover(rounds=2)
    paid = back.desk.payment(view)
    assert (paid.fulfillment.state, paid.fulfillment.error_code) == ("blocked", "refunded")
    with pytest.raises(Conflict):
        fulfillment.resolve(back.env, view.customer_id, view.payment.id, "retry", actor="rosa")
    fulfillment.resolve(back.env, view.customer_id, view.payment.id, "waive", actor="rosa")
    assert back.desk.balance(view) == 150
    assert back.accounts(view, "usd") == {"clearing": -599, "revenue": 599}


class Cash(Provider):
    """Somebody takes the money; nobody can be asked."""

    name = "cash"
    can = frozenset({"offline"})


class Mute(Provider):
    name = "mute"
    can = frozenset({"fetch"})


def paid_elsewhere(back, kind):
    """A paid payment, handed over to a provider of another kind."""
    view = back.bought()
    known = {**back.env.providers, kind.name: kind(back.env.settings)}
    back.desk.env = type(back.env)(**{
        **vars(back.env), "providers": Providers(back.env.settings, known, "stripe")})
    with back.env.db.transaction(view.customer_id) as tx:
        tx.run("update payments set provider = %s where customer_id = %s and id = %s",
               (kind.name, view.customer_id, view.payment.id))  # fmt: skip
    return view


def test_a_refund_by_hand_is_pending_until_somebody_paid_it(back):
    # S3.20
    view = paid_elsewhere(back, Cash)
    found = back.refund(view, USD("4.00"))
    assert found.state == "pending" and back.desk.balance(view) == 90

    def settle(action, reference):
        return refunds.settle_offline(
            back.env, view.customer_id, found.id, action, by="omar", reference=reference
        )

    for _ in range(2):
        assert settle("paid", "MC-20260114").state == "succeeded"
    with pytest.raises(Conflict):
        settle("paid", "MC-1")
    with pytest.raises(Conflict):
        settle("failed", None)
    assert back.accounts(view, "usd") == {"clearing": -599, "revenue": 599}
    other = back.refund(view)
    done = refunds.settle_offline(
        back.env, view.customer_id, other.id, "failed", by="omar", reference="no such number"
    )
    assert done.state == "failed" and back.desk.balance(view) == 90


def test_a_provider_without_refunds_says_so(back):
    view = paid_elsewhere(back, Mute)
    with pytest.raises(NotSupported):
        back.refund(view)
    seen = refunds.preview(back.env, view.customer_id, view.payment.id)
    assert seen.obstacle == "not_supported"
    assert payments.get(back.env, view.customer_id, view.payment.id).refunded == USD(0)
