"""Withdrawals: set aside, decided by another person, paid out or given back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from functools import partial

import pytest
from purse import account, books, event_types, fill, paid, take_back, wallet

from paydesk import ids
from paydesk.errors import (
    ApprovalRequired,
    Conflict,
    IdempotencyKeyReused,
    InsufficientFunds,
    InvalidRequest,
    NotFound,
    WalletFrozen,
)
from paydesk.flows import rates, wallets, withdrawals
from paydesk.rules.money import HTG


@pytest.fixture
def user(env, make):
    made = make.user()
    fill(env, made, HTG("100"))
    return made


def ask(env, user, amount: str = "40", **more):
    return withdrawals.request(env, user.uuid, HTG(amount), "MonCash 3700-0000",
                               **{"by": "user", **more})  # fmt: skip


def decide(env, user, one, decision: str = "approve", by: str = "ann"):
    return withdrawals.decide(env, user.uuid, one.id, decision, by=by)


def test_a_request_sets_the_money_aside_until_it_is_paid(env, user):  # S3.15
    one = ask(env, user)
    assert one.state == "requested"
    assert (wallet(env, user, "htg").balance, wallet(env, user, "htg").held) == (6_000, 4_000)
    assert decide(env, user, one).decided_by == "ann"
    paid = withdrawals.mark_paid(env, user.uuid, one.id, "MC-42", by="bob")
    assert (paid.state, paid.paid_reference) == ("paid", "MC-42")
    assert books(env, user, "htg") == {"wallet": 6_000, "clearing": -6_000}
    assert event_types(env, user)[-3:] == [
        "withdrawal.requested", "withdrawal.approved", "withdrawal.paid"]  # fmt: skip


def test_somebody_else_than_the_requester_decides(env, user):
    one = ask(env, user, by="ann")
    for decision in ("approve", "reject"):
        with pytest.raises(ApprovalRequired):
            decide(env, user, one, decision, by="ann")
    with pytest.raises(Conflict):
        withdrawals.mark_paid(env, user.uuid, one.id, "MC-42", by="ann")
    assert decide(env, user, one, by="bob").state == "approved"


def free_up_to(env, most: str, currency: str = "htg"):
    told = {"withdrawal_approval_threshold": Decimal(most), "default_currency": currency}
    return replace(env, settings=replace(env.settings, **told))


def test_up_to_the_threshold_of_a_day_nobody_needs_to_decide(env, user, clock):
    low = free_up_to(env, "40")
    assert ask(low, user, "25").state == "approved"
    assert ask(low, user, "15.01").state == "requested"
    assert ask(low, user, "0.01").state == "requested"
    clock.advance(days=1)
    assert ask(low, user, "40").state == "approved"


def test_what_was_taken_back_counts_toward_no_threshold(env, user):
    low = free_up_to(env, "40")
    one = ask(low, user, "40")
    withdrawals.cancel(env, user.uuid, one.id, by="ann", is_staff=True)
    assert ask(low, user, "40").state == "approved"


def test_the_threshold_is_one_of_the_default_currency(env, user, make):
    low = free_up_to(env, "1", "usd")
    assert ask(low, user, "1").state == "requested"
    rates.enter(env, "usd", "htg", "20", by="ann")
    other = make.user()
    fill(env, other, HTG("100"))
    assert ask(low, other, "20").state == "approved"
    assert ask(low, other, "0.20").state == "requested"


def test_nothing_leaves_a_frozen_wallet(env, user):
    approved, waiting = ask(env, user, "10"), ask(env, user, "10")
    decide(env, user, approved)
    wallets.set_state(env, user.uuid, wallet(env, user, "htg").id, "freeze", actor="ann")
    pay = partial(withdrawals.mark_paid, env, user.uuid, approved.id, "MC-42", by="bob")
    for change in (partial(decide, env, user, waiting), pay):
        with pytest.raises(WalletFrozen):
            change()
    decide(env, user, waiting, "reject")
    assert account(env, user, "held", "htg") == 1_000
    wallets.set_state(env, user.uuid, wallet(env, user, "htg").id, "unfreeze", actor="ann")
    assert pay().state == "paid"


def test_who_owes_is_not_paid_out_until_the_debt_is_repaid(env, user):
    approved, waiting = ask(free_up_to(env, "70"), user, "70"), ask(env, user, "30")
    take_back(env, user, paid(user, HTG("60")), 6_000)
    pay = partial(withdrawals.mark_paid, env, user.uuid, approved.id, "MC-42", by="bob")
    for change in (partial(decide, env, user, waiting), pay):
        with pytest.raises(Conflict):
            change()
    decide(env, user, approved, "reject")
    assert (wallet(env, user, "htg").balance, wallet(env, user, "htg").owed) == (1_000, 0)
    assert decide(env, user, waiting).state == "approved"


@pytest.mark.parametrize("is_approved", [False, True])
def test_a_rejected_request_gives_the_money_back(env, user, is_approved):
    one = ask(env, user)
    if is_approved:
        decide(env, user, one)
    assert decide(env, user, one, "reject", by="bob").state == "rejected"
    assert (wallet(env, user, "htg").balance, account(env, user, "held", "htg")) == (10_000, 0)
    for change in (lambda: decide(env, user, one),
                   lambda: withdrawals.cancel(env, user.uuid, one.id, by="user", is_staff=True),
                   lambda: withdrawals.mark_paid(env, user.uuid, one.id, "X", by="b")):  # fmt: skip
        with pytest.raises(Conflict):
            change()


def test_a_customer_cancels_only_what_is_not_approved(env, user):
    one = ask(env, user)
    assert withdrawals.cancel(env, user.uuid, one.id, by="user").state == "canceled"
    assert withdrawals.cancel(env, user.uuid, one.id, by="user").state == "canceled"
    other = ask(env, user)
    decide(env, user, other)
    with pytest.raises(Conflict):
        withdrawals.cancel(env, user.uuid, other.id, by="user")
    withdrawals.cancel(env, user.uuid, other.id, by="ann", is_staff=True)
    assert wallet(env, user, "htg").balance == 10_000


def test_the_same_key_asks_once(env, user):
    key = ids.request_key("k")
    assert ask(env, user, request_key=key) == ask(env, user, request_key=key)
    with pytest.raises(IdempotencyKeyReused):
        ask(env, user, "41", request_key=key)
    assert wallet(env, user, "htg").held == 4_000


def test_more_than_there_is_cannot_be_withdrawn(env, user, make):
    with pytest.raises(InsufficientFunds):
        ask(env, user, "100.01")
    with pytest.raises(InvalidRequest):
        ask(env, user, "0")
    with pytest.raises(NotFound):
        decide(env, make.user(), ask(env, user))


def test_money_that_comes_back_repays_a_debt_first(env, user):
    one = ask(env, user)
    with env.db.transaction(user.uuid) as tx:
        wallets.take_out(tx, env.now(), user.uuid, HTG("60"), "deposits", event=None,
                         reason="WALLET_PAYMENT", txn_id=ids.new_owned(user.uuid))  # fmt: skip
    take_back(env, user, paid(user, HTG("10")), 1_000)
    decide(env, user, one, "reject")
    assert (wallet(env, user, "htg").balance, wallet(env, user, "htg").owed) == (3_000, 0)


def test_of_many_who_pay_or_cancel_at_once_one_wins(env, user):  # I3
    one = ask(env, user)
    decide(env, user, one)

    def end(n: int) -> bool:
        try:
            if n % 2:
                withdrawals.mark_paid(env, user.uuid, one.id, f"MC-{n}", by="ann")
            else:
                withdrawals.decide(env, user.uuid, one.id, "reject", by=f"person {n}")
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(end, range(16))) == 1
    assert account(env, user, "held", "htg") == 0


def test_withdrawals_are_listed_by_state_and_page(env, user, make, clock):
    found = []
    for n in range(4):
        clock.advance(minutes=1)
        found.append(ask(env, user, str(n + 1)).id)
    withdrawals.cancel(env, user.uuid, found[0], by="user")
    with env.db.read() as tx:
        first = withdrawals.list_(tx, user.uuid, limit=2)
        rest = withdrawals.list_(tx, user.uuid, limit=2, after=first[-1].id)
        assert [one.id for one in [*first, *rest]] == found[::-1]
        assert [o.id for o in withdrawals.list_(tx, state="canceled")] == found[:1]
        assert withdrawals.list_(tx, make.user().uuid) == []
        with pytest.raises(InvalidRequest):
            withdrawals.list_(tx, state="lost")
