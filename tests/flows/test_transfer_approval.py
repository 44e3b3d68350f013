"""Transfers between wallets above a threshold: set aside, and moved once by another person."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal

import pytest
from purse import account, books, event_types, fill, paid, take_back, wallet

from paydesk import crash, ids
from paydesk.crash import CrashNow
from paydesk.errors import (
    ApprovalRequired,
    Conflict,
    IdempotencyKeyReused,
    InsufficientFunds,
    TransactionLimit,
    TransferNotAllowed,
    WalletFrozen,
)
from paydesk.flows import customers, rates, wallet_history, wallet_moves, wallets, withdrawals
from paydesk.rules.money import HTG, USD


def strict(env, most: str = "30", currency: str = "htg", **more):
    told = {"transfer_approval_threshold": Decimal(most), "default_currency": currency, **more}
    return replace(env, settings=replace(env.settings, **told))


@pytest.fixture
def pair(env, make):
    """Two customers of one owner, the first with HTG 100.00."""
    one, two = make.user(), make.user()
    fill(env, one, HTG("100"))
    return one, customers.update(env, two.uuid, owner=one)


def give(env, pair, amount: str = "40", **more):
    return wallet_moves.transfer_now(
        env, pair[0].uuid, pair[1].uuid, HTG(amount), **{"by": "user", **more}
    )


def decide(env, pair, done, decision: str = "approve", by: str = "ann"):
    return withdrawals.decide(env, pair[0].uuid, done.withdrawal_id, decision, by=by)


def stands(env, pair) -> tuple[int, int, int]:
    """The giver's wallet, what is set aside of it, and the other's wallet."""
    other = wallet(env, pair[1], "htg")
    mine = wallet(env, pair[0], "htg")
    return mine.balance, mine.held, other.balance if other else 0


def test_nobody_is_asked_unless_a_threshold_is_set(env, pair):
    done = give(env, pair, "100")
    assert (done.state, done.withdrawal_id) == ("paid", None)
    assert stands(env, pair) == (0, 0, 10_000)


def test_a_transfer_above_it_waits_and_is_moved_by_another_person(env, pair):  # S3.15 I2
    low = strict(env)
    done = give(low, pair, note="lunch", reference="R-1")
    assert (done.state, done.balance) == ("requested", 6_000)
    assert stands(env, pair) == (6_000, 4_000, 0)
    with pytest.raises(InsufficientFunds):
        give(low, pair, "60.01")
    moved = decide(low, pair, done)
    assert (moved.state, moved.decided_by, moved.to_id) == ("paid", "ann", pair[1].uuid)
    assert stands(env, pair) == (6_000, 0, 4_000)
    assert books(env, pair[0], "htg") == {"wallet": 6_000, "transit": 4_000, "clearing": -10_000}
    assert books(env, pair[1], "htg") == {"wallet": 4_000, "transit": -4_000}
    assert event_types(env, pair[0])[-3:] == [
        "withdrawal.requested", "wallet.transferred", "withdrawal.paid"]  # fmt: skip
    assert event_types(env, pair[1])[-1] == "wallet.transferred"
    with env.db.read() as tx:
        line = wallet_history.history(tx, pair[1].uuid, "htg")[0]
    assert (line.type, line.subject_id) == ("WALLET_TRANSFER", pair[0].uuid)
    assert (line.reason, line.reference) == ("lunch", "R-1")


def test_somebody_else_than_who_asked_decides(env, pair):
    low = strict(env)
    done = give(low, pair, by="ann")
    for decision in ("approve", "reject"):
        with pytest.raises(ApprovalRequired):
            decide(low, pair, done, decision)
    assert decide(low, pair, done, by="bob").state == "paid"
    unnamed = give(low, pair, "1", by=None)
    with env.db.read() as tx:
        assert withdrawals.get(tx, pair[0].uuid, unnamed.withdrawal_id).requested_by


def test_a_rejected_or_canceled_transfer_gives_the_money_back(env, pair):
    low = strict(env)
    for end in (
        lambda done: decide(low, pair, done, "reject"),
        lambda done: withdrawals.cancel(low, pair[0].uuid, done.withdrawal_id, by="user"),
    ):
        done = give(low, pair)
        assert end(done).state in ("rejected", "canceled")
        assert end(done).state in ("rejected", "canceled")
        with pytest.raises(Conflict):
            decide(low, pair, done, by="bob")
        assert stands(env, pair) == (10_000, 0, 0)
    assert wallet(env, pair[1], "htg") is None


def test_a_waiting_transfer_is_never_paid_out(env, pair):
    low = strict(env)
    done = give(low, pair)
    for _ in range(2):
        with pytest.raises(Conflict):
            withdrawals.mark_paid(low, pair[0].uuid, done.withdrawal_id, "MC-1", by="ann")
        decide(low, pair, done)
    assert stands(env, pair) == (6_000, 0, 4_000)


def test_many_small_transfers_of_a_day_reach_the_threshold(env, pair, clock):
    low = strict(env)
    assert give(low, pair, "25").state == "paid"
    assert give(low, pair, "5").state == "paid"
    waits = give(low, pair, "0.01")
    assert waits.state == "requested"
    decide(low, pair, waits, "reject")
    clock.advance(days=1)
    waits = give(low, pair, "30.01")
    assert waits.state == "requested"
    decide(low, pair, waits)
    assert give(low, pair, "0.01").state == "requested"
    clock.advance(days=1)
    assert give(low, pair, "30").state == "paid"


def test_transfers_and_withdrawals_reach_thresholds_of_their_own(env, pair):
    low = strict(env, withdrawal_approval_threshold=Decimal("30"))
    assert give(low, pair, "40").state == "requested"
    asked = withdrawals.request(low, pair[0].uuid, HTG("30"), "MonCash", by="user")
    assert asked.state == "approved"


def test_the_threshold_is_one_of_the_default_currency(env, pair):
    low = strict(env, "1", "usd")
    assert give(low, pair, "1").state == "requested"
    rates.enter(env, "usd", "htg", "20", by="ann")
    fill(env, pair[1], USD("5"))
    back = wallet_moves.transfer_now(low, pair[1].uuid, pair[0].uuid, USD("1"))
    assert back.state == "paid"
    assert give(low, pair, "19").state == "paid"
    assert give(low, pair, "0.20").state == "requested"


def test_the_same_key_asks_once_and_tells_what_became_of_it(env, pair):
    low, key = strict(env), ids.request_key("k")
    first = give(low, pair, request_key=key)
    assert give(low, pair, request_key=key) == replace(first, same=True)
    decide(low, pair, first)
    assert give(low, pair, request_key=key) == replace(first, same=True, state="paid")
    assert give(env, pair, request_key=key).withdrawal_id == first.withdrawal_id
    with pytest.raises(IdempotencyKeyReused):
        give(low, pair, "41", request_key=key)
    with pytest.raises(IdempotencyKeyReused):
        withdrawals.request(low, pair[0].uuid, HTG("40"), "MonCash", by="user", request_key=key)
    assert stands(env, pair) == (6_000, 0, 4_000)


def test_an_approval_asks_anew_whether_money_may_move(env, pair):
    low = strict(env)
    done, mine = give(low, pair), wallet(env, pair[0], "htg").id
    with pytest.raises(TransferNotAllowed):
        decide(strict(env, wallet_transfer_policy="none"), pair, done)
    wallets.set_state(env, pair[0].uuid, mine, "freeze", actor="ann")
    with pytest.raises(WalletFrozen):
        decide(low, pair, done)
    wallets.set_state(env, pair[0].uuid, mine, "unfreeze", actor="ann")
    theirs = wallets.make(env, pair[1].uuid, "htg").id
    wallets.set_state(env, pair[1].uuid, theirs, "freeze", actor="ann")
    with pytest.raises(WalletFrozen):
        decide(low, pair, done)
    assert stands(env, pair) == (6_000, 4_000, 0)
    wallets.set_state(env, pair[1].uuid, theirs, "unfreeze", actor="ann")
    assert decide(low, pair, done).state == "paid"


def test_who_owes_gives_nothing_and_who_is_given_repays_first(env, pair):
    low = strict(env)
    first, second = give(low, pair, "40"), give(low, pair, "60")
    take_back(env, pair[0], paid(pair[0], HTG("50")), 5_000)
    take_back(env, pair[1], paid(pair[1], HTG("10")), 1_000)
    with pytest.raises(Conflict):
        decide(low, pair, first)
    decide(low, pair, second, "reject")
    assert stands(env, pair) == (1_000, 4_000, 0)
    decide(low, pair, first)
    assert stands(env, pair) == (1_000, 0, 3_000)
    assert wallet(env, pair[1], "htg").owed == 0


def test_what_is_refused_leaves_nothing_waiting(env, pair, make):
    low = strict(env)
    with pytest.raises(InsufficientFunds):
        give(low, pair, "100.01")
    with pytest.raises(TransferNotAllowed):
        give(low, (pair[0], make.user()))
    with pytest.raises(TransactionLimit):
        give(strict(env, max_daily_transactions=0), pair)
    with env.db.read() as tx:
        assert withdrawals.list_(tx, pair[0].uuid) == []


def test_of_many_who_decide_at_once_one_wins(env, pair):  # I3
    low = strict(env)
    done = give(low, pair)

    def end(n: int) -> str | None:
        try:
            return decide(low, pair, done, ("approve", "reject")[n % 2], f"person {n}").state
        except Conflict:
            return None

    with ThreadPoolExecutor(8) as pool:
        found = [state for state in pool.map(end, range(16)) if state]
    assert len(found) == 1
    assert stands(env, pair) == ((6_000, 0, 4_000) if found == ["paid"] else (10_000, 0, 0))


def test_approvals_there_and_back_at_once_lose_no_money(env, pair):  # I3
    low, back = strict(env, "0.01"), (pair[1], pair[0])
    fill(env, pair[1], HTG("100"))
    waiting = [(way, give(low, way, "10")) for way in (pair, back) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        moved = list(pool.map(lambda one: decide(low, *one), waiting * 2))
    assert {one.state for one in moved} == {"paid"}
    assert stands(env, pair) == (10_000, 0, 10_000)
    assert account(env, pair[1], "held", "htg") == 0


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_death_in_the_middle_of_a_decision_leaves_it_waiting(env, pair, decision):  # I40
    low = strict(env)
    done = give(low, pair)
    crash.arm("withdrawal_before_commit")
    with pytest.raises(CrashNow):
        decide(low, pair, done, decision)
    assert not crash.armed()
    assert stands(env, pair) == (6_000, 4_000, 0)
    decide(low, pair, done, decision)
    assert stands(env, pair) == ((6_000, 0, 4_000) if decision == "approve" else (10_000, 0, 0))


def test_what_waits_is_listed_with_who_gets_it(env, pair):
    low = strict(env)
    done = give(low, pair)
    with env.db.read() as tx:
        found = withdrawals.list_(tx, state="requested")
        assert withdrawals.list_(tx, pair[1].uuid) == []
    assert [(one.id, one.to_id) for one in found] == [(done.withdrawal_id, pair[1].uuid)]
    assert found[0].destination == ids.show("customer", pair[1].uuid)
