"""Pay from a wallet: money, payment and goods together, or nothing at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from purse import account, books, event_types, fill, wallet

from paydesk import ids
from paydesk.errors import (
    AlreadyPurchased,
    IdempotencyKeyReused,
    InsufficientFunds,
    InvalidPromoCode,
    InvalidRequest,
    PaydeskError,
    WalletFrozen,
)
from paydesk.flows import credits, items, payments, wallet_history, wallet_payments, wallets
from paydesk.flows.checkout import StartCheckout
from paydesk.rules.money import HTG, USD


@pytest.fixture
def user(env, make):
    made = make.user()
    make.pack()
    fill(env, made, USD("25"))
    return made


def pay(env, user, **more):
    told = more if {"pack", "item", "credits", "amount", "wallet"} & more.keys() else {
        "pack": "creator", **more}  # fmt: skip
    return wallet_payments.pay(env, StartCheckout(customer_id=user.uuid, **told))


def balance(env, user) -> int:
    with env.db.read() as tx:
        return credits.balance_total(tx, user.uuid, env.now())


def payments_of(env, user) -> int:
    with env.db.read() as tx:
        return tx.value("select count(*) from payments where customer_id = %(c)s",
                        {"c": user.uuid})  # fmt: skip


def test_a_pack_is_paid_from_the_wallet_and_handed_over_at_once(env, user):  # S3.15 I1
    paid = pay(env, user, reference="order-7")
    assert (paid.state, paid.provider, paid.captured) == ("succeeded", "wallet", USD("9.99"))
    assert (paid.fulfillment.state, paid.fulfillment.path) == ("done", "wallet")
    assert balance(env, user) == 150
    assert books(env, user, "usd") == {"wallet": 1_501, "revenue": 999, "clearing": -2_500}
    types = event_types(env, user)
    for kind in ("payment.created", "wallet.paid", "payment.succeeded", "fulfillment.done"):
        assert types.count(kind) == 1, kind
    with env.db.read() as tx:
        line = wallet_history.history(tx, user.uuid, "usd")[0]
    assert (line.type, line.amount, line.payment_id) == ("WALLET_PAYMENT", -999, paid.id)


def test_money_that_was_counted_when_it_came_is_not_spent_again(env, user):  # S2.17
    pay(env, user)
    found = payments.stats(env, user.uuid)
    assert (found.total_payments, found.by_status) == (1, {"completed": 1})
    assert (found.spent, found.spent_usd, found.credits_purchased) == ({}, USD(0), 150)


def test_too_little_money_leaves_nothing(env, user, make):  # I3
    make.pack("big", price=USD("25.01"), credits=400)
    with pytest.raises(InsufficientFunds) as refused:
        pay(env, user, pack="big")
    assert (refused.value.http_status, refused.value.balance) == (402, 2_500)
    with pytest.raises(InsufficientFunds):
        pay(env, user, amount=HTG("1"))
    assert (payments_of(env, user), balance(env, user)) == (0, 0)
    assert wallet(env, user, "usd").balance == 2_500


def test_the_same_key_pays_once_however_many_ask(env, user):
    key = ids.request_key("k")
    with ThreadPoolExecutor(8) as pool:
        found = {p.id for p in pool.map(lambda _: pay(env, user, request_key=key), range(16))}
    assert len(found) == 1
    assert wallet(env, user, "usd").balance == 1_501
    with pytest.raises(IdempotencyKeyReused):
        pay(env, user, amount=USD("1"), request_key=key)


def test_of_many_orders_only_those_are_paid_that_the_wallet_holds(env, user):  # I3
    def one(_: int) -> bool:
        try:
            pay(env, user)
        except InsufficientFunds:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(12))) == 2
    assert wallet(env, user, "usd").balance == 502
    assert balance(env, user) == 300


def test_a_promo_code_counts_and_is_free_again_after_a_refusal(env, user, make):
    make.promo("TENOFF", percent_off=10, cap=1)
    make.pack("big", price=USD("100"), credits=400)
    with pytest.raises(InsufficientFunds):
        pay(env, user, pack="big", promo="TENOFF")
    paid = pay(env, user, promo="TENOFF")
    assert paid.captured == USD("8.99")
    with pytest.raises(InvalidPromoCode):
        pay(env, user, promo="TENOFF")


def test_an_item_is_bought_once_from_the_wallet(env, user):
    items.upsert(env, "course", name="Course", price=USD("5"))
    paid = pay(env, user, item="course")
    assert paid.fulfillment.state == "done"
    with pytest.raises(AlreadyPurchased):
        pay(env, user, item="course")
    assert account(env, user, "revenue", "usd") == 500


def test_a_frozen_wallet_pays_nothing_and_none_fills_itself(env, user):
    with pytest.raises(InvalidRequest):
        pay(env, user, wallet=USD("5"))
    wallets.set_state(env, user.uuid, wallet(env, user, "usd").id, "freeze", actor="ann")
    with pytest.raises(WalletFrozen):
        pay(env, user)
    assert payments_of(env, user) == 0


def test_goods_that_cannot_be_handed_over_take_no_money(env, user, monkeypatch):  # I1
    from paydesk.flows import fulfillment

    def fail(*_):
        raise InvalidRequest("The pack is gone.")

    monkeypatch.setitem(fulfillment.FULFILL, "credits", fail)
    with pytest.raises(PaydeskError, match="gone"):
        pay(env, user)
    assert (payments_of(env, user), wallet(env, user, "usd").balance) == (0, 2_500)


def test_a_top_up_that_is_paid_fills_the_wallet_once_and_pays_a_pack(desk):  # S3.9 S3.15 I1
    view = desk.open(wallet=USD("30"))
    desk.pay(view)
    for _ in range(2):
        desk.deliver(view)
    user = desk.make.user("user_1")
    assert user.uuid == view.customer_id
    assert wallet(desk.env, user, "usd").balance == 3_000
    assert account(desk.env, user, "revenue", "usd") == 0
    pay(desk.env, user)
    assert books(desk.env, user, "usd") == {"wallet": 2_001, "revenue": 999, "clearing": -3_000}
