"""Holds: set aside once, used, released or expired once, and never more than was there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from purse import account, books, event_types, fill, wallet

from paydesk import ids
from paydesk.errors import (
    AmountTooLarge,
    HoldClosed,
    IdempotencyKeyReused,
    InsufficientCredits,
    InsufficientFunds,
    InvalidRequest,
    NotFound,
    TransactionLimit,
    WalletFrozen,
)
from paydesk.flows import credits, holds, ledger, wallets, withdrawals
from paydesk.rules.money import HTG


def balance(env, user) -> int:
    with env.db.read() as tx:
        return credits.balance_total(tx, user.uuid, env.now())


def remaining(env, user) -> list[int]:
    with env.db.read() as tx:
        return [one.remaining for one in credits.batches(tx, user.uuid, include_empty=True)]


def status(env, user, one) -> str:
    with env.db.read() as tx:
        return holds.get(tx, user.uuid, one.id).status(env.now())


@pytest.fixture
def user(make):
    """A customer with batches of 30 (ten days) and 40 (a year)."""
    made = make.user()
    make.credits(made, 30, days=10)
    make.credits(made, 40)
    return made


# Credits ----------------------------------------------------------------------------------------


def test_a_hold_takes_the_oldest_credits_out_of_reach(env, user):  # I8 I15
    one = holds.hold_now(env, user.uuid, 50, reason="chat")
    assert (balance(env, user), remaining(env, user)) == (20, [0, 20])
    assert account(env, user, "held", "CREDIT") == 50
    with pytest.raises(InsufficientCredits) as refused:
        holds.hold_now(env, user.uuid, 21)
    assert (refused.value.needed, refused.value.balance) == (21, 20)
    assert status(env, user, one) == "open"


def test_a_part_is_captured_and_the_rest_released_to_its_batches(env, user):  # I8 I15
    one = holds.hold_now(env, user.uuid, 50)
    done = holds.capture_now(env, user.uuid, one.id, 37)
    assert (done.state, done.ended_by, done.captured) == ("closed", "capture", 37)
    assert (balance(env, user), remaining(env, user)) == (33, [0, 33])
    assert books(env, user, "CREDIT") == {"credits": 33, "usage": 37, "issued": -70}
    assert event_types(env, user)[-2:] == ["hold.created", "hold.captured"]


@pytest.mark.parametrize(("amount", "left"), [(None, 20), (50, 20), (0, 70)])
def test_all_or_nothing_of_a_hold_can_be_captured(env, user, amount, left):
    one = holds.hold_now(env, user.uuid, 50)
    holds.capture_now(env, user.uuid, one.id, amount)
    assert balance(env, user) == left
    assert account(env, user, "held", "CREDIT") == 0


def test_a_released_hold_gives_everything_back(env, user):
    one = holds.hold_now(env, user.uuid, 50)
    assert holds.release_now(env, user.uuid, one.id).ended_by == "release"
    assert (balance(env, user), remaining(env, user)) == (70, [30, 40])


def test_a_capture_above_the_hold_changes_nothing(env, user):  # I8
    one = holds.hold_now(env, user.uuid, 50)
    with pytest.raises(InvalidRequest):
        holds.capture_now(env, user.uuid, one.id, 51)
    assert status(env, user, one) == "open"


def test_parts_are_captured_while_the_rest_stays_set_aside(env, user):  # I8 I15
    one = holds.hold_now(env, user.uuid, 50)
    for part, left in ((7, 43), (30, 13)):
        done = holds.capture_now(env, user.uuid, one.id, part, is_final=False)
        assert (done.state, done.left) == ("open", left)
    assert (balance(env, user), account(env, user, "held", "CREDIT")) == (20, 13)
    with pytest.raises(InvalidRequest):
        holds.capture_now(env, user.uuid, one.id, 14)
    for amount in (None, 0):
        with pytest.raises(InvalidRequest):
            holds.capture_now(env, user.uuid, one.id, amount, is_final=False)
    ended = holds.release_now(env, user.uuid, one.id)
    assert (ended.captured, ended.left, ended.ended_by) == (37, 0, "release")
    assert (balance(env, user), remaining(env, user)) == (33, [0, 33])
    assert books(env, user, "CREDIT") == {"credits": 33, "usage": 37, "issued": -70}
    assert event_types(env, user)[-3:] == ["hold.captured", "hold.captured", "hold.released"]


@pytest.mark.parametrize("is_final", [True, False])
def test_the_last_part_ends_a_hold(env, user, is_final):  # I8
    one = holds.hold_now(env, user.uuid, 50)
    holds.capture_now(env, user.uuid, one.id, 20, is_final=False)
    done = holds.capture_now(env, user.uuid, one.id, 30, is_final=is_final)
    assert (done.state, done.ended_by, done.captured) == ("closed", "capture", 50)


def test_what_was_captured_stays_so_when_the_rest_expires(env, user, clock):  # I8
    one = holds.hold_now(env, user.uuid, 50, minutes=5)
    holds.capture_now(env, user.uuid, one.id, 20, is_final=False)
    clock.advance(minutes=5)
    with pytest.raises(HoldClosed):
        holds.capture_now(env, user.uuid, one.id, 1, is_final=False)
    assert (balance(env, user), status(env, user, one)) == (50, "expired")
    assert books(env, user, "CREDIT")["usage"] == 20


def test_parts_that_many_capture_at_once_never_exceed_the_hold(env, user):  # I8
    one = holds.hold_now(env, user.uuid, 50)

    def take(n: int) -> int:
        try:
            holds.capture_now(env, user.uuid, one.id, 3, is_final=False,
                              request_key=ids.request_key("take", str(n // 2)))  # fmt: skip
        except (HoldClosed, InvalidRequest):
            return -1
        return n // 2

    with ThreadPoolExecutor(64) as pool:
        taken = {n for n in pool.map(take, range(64)) if n >= 0}
    assert len(taken) == 16
    with env.db.read() as tx:
        found = holds.get(tx, user.uuid, one.id)
    assert (found.captured, found.left) == (48, 2)
    holds.release_now(env, user.uuid, one.id)
    assert books(env, user, "CREDIT") == {"credits": 22, "usage": 48, "issued": -70}


def test_an_ended_hold_is_closed_to_everything(env, user):  # I8
    one = holds.hold_now(env, user.uuid, 10)
    holds.capture_now(env, user.uuid, one.id)
    other = holds.hold_now(env, user.uuid, 10)
    holds.release_now(env, user.uuid, other.id)
    for hold in (one, other):
        for end in (holds.capture_now, holds.release_now):
            with pytest.raises(HoldClosed):
                end(env, user.uuid, hold.id)
    assert balance(env, user) == 60


def test_of_many_captures_and_releases_one_wins(env, user):  # I8
    one = holds.hold_now(env, user.uuid, 50)

    def end(n: int) -> str | None:
        try:
            if n % 2:
                return holds.capture_now(env, user.uuid, one.id, n % 50).ended_by
            return holds.release_now(env, user.uuid, one.id).ended_by
        except HoldClosed:
            return None

    with ThreadPoolExecutor(64) as pool:
        ends = [how for how in pool.map(end, range(64)) if how]
    assert len(ends) == 1
    assert account(env, user, "held", "CREDIT") == 0


def test_nothing_is_captured_from_the_instant_of_expiry_on(env, user, clock):  # I8
    one = holds.hold_now(env, user.uuid, 50, minutes=5)
    other = holds.hold_now(env, user.uuid, 10, minutes=5)
    clock.advance(minutes=5, seconds=-0.000001)
    holds.capture_now(env, user.uuid, other.id)
    clock.advance(seconds=0.000001)
    assert status(env, user, one) == "expired"
    with pytest.raises(HoldClosed) as refused:
        holds.capture_now(env, user.uuid, one.id)
    assert refused.value.ended_by == "expiry"
    assert balance(env, user) == 60
    assert holds.expire_due(env) == 0


def test_the_sweep_ends_what_nobody_captured_once(env, user, clock):  # I8
    for _ in range(3):
        holds.hold_now(env, user.uuid, 10, minutes=5)
    assert holds.expire_due(env) == 0
    clock.advance(minutes=5)
    assert (holds.expire_due(env), holds.expire_due(env)) == (3, 0)
    assert balance(env, user) == 70
    assert event_types(env, user).count("hold.expired") == 3


def test_a_new_hold_may_use_what_an_expired_one_had(env, user, clock):
    holds.hold_now(env, user.uuid, 70, minutes=5)
    clock.advance(minutes=5)
    assert holds.hold_now(env, user.uuid, 70).amount == 70


def test_held_credits_can_be_captured_after_their_batch_has_ended(env, user, clock):  # I8 I16
    one = holds.hold_now(env, user.uuid, 50, minutes=20 * 24 * 60)
    clock.advance(days=11)
    holds.capture_now(env, user.uuid, one.id, 45)
    assert account(env, user, "usage", "CREDIT") == 45
    assert balance(env, user) == 25


def test_credits_released_after_their_batch_has_ended_lapse(env, user, clock):  # I8 I16
    one = holds.hold_now(env, user.uuid, 50, minutes=20 * 24 * 60)
    clock.advance(days=11)
    holds.release_now(env, user.uuid, one.id)
    assert (balance(env, user), remaining(env, user)) == (40, [0, 40])
    assert account(env, user, "breakage", "CREDIT") == 30
    with env.db.read() as tx:
        rows = tx.all("select type, data from events where customer_id = %(c)s order by seq desc"
                      " limit 2", {"c": user.uuid})  # fmt: skip
    assert [row["type"] for row in rows] == ["hold.released", "credits.expired"]
    assert (rows[0]["data"]["lapsed"], rows[0]["data"]["released"]) == (30, 20)
    assert (rows[1]["data"]["amount"], rows[1]["data"]["balance"]) == (30, 40)


def test_a_release_repays_what_its_batch_owes(env, make):  # I17
    user = make.user()
    granted = make.credits(user, 30)
    one = holds.hold_now(env, user.uuid, 30)
    with env.db.transaction(user.uuid) as tx:  # A clawback of ten that were set aside.
        ledger.post(tx, [
            ledger.Entry(customer_id=user.uuid, debit="debt", credit="issued", asset="CREDIT",
                         amount=10, reason="CREDIT_CLAWBACK", txn_id=granted.batch_id,
                         effective_at=env.now())
        ])  # fmt: skip
        ledger.owe(tx, [(user.uuid, granted.batch_id, 10)])
    holds.release_now(env, user.uuid, one.id)
    assert balance(env, user) == 20
    assert account(env, user, "debt", "CREDIT") == 0


def test_the_same_key_holds_once_and_captures_once(env, user):
    key, other = ids.request_key("hold"), ids.request_key("capture")
    one = holds.hold_now(env, user.uuid, 20, request_key=key)
    assert holds.hold_now(env, user.uuid, 20, request_key=key) == one
    with pytest.raises(IdempotencyKeyReused):
        holds.hold_now(env, user.uuid, 21, request_key=key)
    done = holds.capture_now(env, user.uuid, one.id, 5, request_key=other)
    assert holds.capture_now(env, user.uuid, one.id, 5, request_key=other) == done
    for told in ((6, other), (5, key)):
        with pytest.raises(HoldClosed):
            holds.capture_now(env, user.uuid, one.id, told[0], request_key=told[1])
    with pytest.raises(HoldClosed):
        holds.release_now(env, user.uuid, one.id, request_key=other)
    assert balance(env, user) == 65


def test_a_key_stands_for_one_request_whatever_it_does(env, user):
    key = ids.request_key("one")
    fill(env, user, HTG("100"))
    one = holds.hold_now(env, user.uuid, 20, request_key=key)
    spend = credits.new_spend(user.uuid, 20, request_key=key)
    assert credits.spend_now(env, spend).status == "reused"
    for wrong in (
        lambda: holds.capture_now(env, user.uuid, one.id, request_key=key),
        lambda: withdrawals.request(env, user.uuid, HTG("1"), "x", by="a", request_key=key),
        lambda: holds.hold_now(env, user.uuid, 20, "htg", request_key=key),
    ):
        with pytest.raises(IdempotencyKeyReused):
            wrong()
    assert status(env, user, one) == "open"


def test_limits_and_wrong_numbers_are_refused(env, user):
    tight = replace(env, settings=replace(env.settings, max_transaction_amount=40,
                                          max_daily_transactions=1))  # fmt: skip
    with pytest.raises(AmountTooLarge):
        holds.hold_now(tight, user.uuid, 41)
    holds.hold_now(tight, user.uuid, 1)
    with pytest.raises(TransactionLimit):
        holds.hold_now(tight, user.uuid, 1)
    for amount, minutes, asset in ((0, 1, "CREDIT"), (1, 0, "CREDIT"), (1, 10**9, "CREDIT"),
                                   (1, 1, "gold"), (True, 1, "CREDIT")):  # fmt: skip
        with pytest.raises(InvalidRequest):
            holds.hold_now(env, user.uuid, amount, asset, minutes=minutes)


def test_anothers_hold_is_a_missing_one(env, user, make):
    one = holds.hold_now(env, user.uuid, 10)
    for end in (holds.capture_now, holds.release_now):
        with pytest.raises(NotFound):
            end(env, make.user().uuid, one.id)


def test_holds_are_listed_by_state_and_page(env, user, clock):
    found = []
    for _ in range(4):
        clock.advance(minutes=1)
        found.append(holds.hold_now(env, user.uuid, 5, metadata={"job": "7"}).id)
    holds.release_now(env, user.uuid, found[0])
    with env.db.read() as tx:
        first = holds.list_(tx, user.uuid, limit=2)
        rest = holds.list_(tx, user.uuid, limit=2, after=first[-1].id)
        assert {one.id for one in [*first, *rest]} == set(found)
        assert [o.id for o in holds.list_(tx, user.uuid, state="closed")] == found[:1]
        assert first[0].metadata == {"job": "7"}
        with pytest.raises(InvalidRequest):
            holds.list_(tx, user.uuid, state="lost")


# Wallets ----------------------------------------------------------------------------------------


def test_money_of_a_wallet_is_set_aside_and_captured(env, make):  # I8
    user = make.user()
    fill(env, user, HTG("100"))
    one = holds.hold_now(env, user.uuid, 6_000, "htg", reference="order 7")
    assert (wallet(env, user, "htg").balance, wallet(env, user, "htg").held) == (4_000, 6_000)
    holds.capture_now(env, user.uuid, one.id, 2_500)
    assert books(env, user, "htg") == {"wallet": 7_500, "revenue": 2_500, "clearing": -10_000}
    other = holds.hold_now(env, user.uuid, 7_500, "htg")
    with pytest.raises(InsufficientFunds):
        holds.hold_now(env, user.uuid, 1, "htg")
    holds.release_now(env, user.uuid, other.id)
    assert wallet(env, user, "htg").balance == 7_500


def test_money_is_captured_part_by_part_once_for_one_key(env, make):  # I8
    user = make.user()
    fill(env, user, HTG("100"))
    one, key = holds.hold_now(env, user.uuid, 6_000, "htg"), ids.request_key("part")
    for _ in range(2):
        done = holds.capture_now(
            env, user.uuid, one.id, 2_000, is_final=False, request_key=key
        )
        assert (done.captured, done.left) == (2_000, 4_000)
    with pytest.raises(IdempotencyKeyReused):
        holds.capture_now(env, user.uuid, one.id, 1_000, is_final=False, request_key=key)
    assert (wallet(env, user, "htg").balance, wallet(env, user, "htg").held) == (4_000, 4_000)
    holds.capture_now(env, user.uuid, one.id, 500)
    assert books(env, user, "htg") == {"wallet": 7_500, "revenue": 2_500, "clearing": -10_000}


def test_a_frozen_wallet_sets_nothing_aside_and_ends_what_stands(env, make, clock):
    user = make.user()
    fill(env, user, HTG("100"))
    one, two = (holds.hold_now(env, user.uuid, 1_000, "htg", minutes=5) for _ in "ab")
    wallets.set_state(env, user.uuid, wallet(env, user, "htg").id, "freeze", actor="ann")
    with pytest.raises(WalletFrozen):
        holds.hold_now(env, user.uuid, 1_000, "htg")
    holds.capture_now(env, user.uuid, one.id)
    clock.advance(minutes=5)
    assert holds.expire_due(env) == 1
    assert wallet(env, user, "htg").balance == 9_000
    assert status(env, user, two) == "expired"


def test_a_hold_lasts_as_long_as_the_setting_says(env, user):
    one = holds.hold_now(env, user.uuid, 5)
    assert one.expires_at == env.now() + timedelta(minutes=env.settings.hold_expiry_minutes)
