"""Credits: grants, spends oldest first, refunds to their own batches, moves, expiry, history."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta

import pytest

from paydesk import errors, ids
from paydesk.flows import credits, doctor
from paydesk.flows.credits import Grant, Limits, new_spend
from paydesk.flows.ledger import Entry, post


def balance(env, customer_id) -> int:
    with env.db.read() as tx:
        return credits.balance_total(tx, customer_id, env.now())


def history(env, customer_id, **more):
    with env.db.read() as tx:
        return credits.history(tx, customer_id, limit=more.pop("limit", 50), **more)


def remaining(env, customer_id) -> list[int]:
    """What is left in each batch, in order of taking, empty ones too."""
    with env.db.read() as tx:
        found = credits.batches(tx, customer_id, env.now(), include_empty=True)
    return [batch.remaining for batch in found]


def spend(env, customer_id, amount, **more):
    return credits.spend_now(env, new_spend(customer_id, amount, "render", **more))


@pytest.fixture
def user(make):
    return make.user().uuid


# Grants -----------------------------------------------------------------------------------------


def test_a_grant_is_a_batch_a_transfer_and_an_event(env, make, user):  # S4.26 S4.28 C18
    granted = make.credits(user, 120, days=30, kind="promotional")
    line = history(env, user)[0]
    assert (line.type, line.amount, line.balance_after) == ("CREDIT_GRANT", 120, 120)
    assert line.kind == "promotional" and line.batch_ids == [granted.batch_id]
    assert line.expires_at == env.now() + timedelta(days=30)
    with env.db.read() as tx:
        event = tx.one(
            "select * from events where customer_id = %s and type = 'credits.granted'", (user,)
        )
        assert tx.value("select count(*) from news where customer_id = %s", (user,)) == 1
    assert event["subject_id"] == granted.transfer_id
    assert (event["data"]["amount"], event["data"]["balance"]) == (120, 120)


@pytest.mark.parametrize("kind", ["purchased", "membership", "promotional", "refunded"])
def test_every_kind_of_credits_can_be_granted_and_is_shown_apart(env, make, user, kind):  # S4.26
    make.credits(user, 7, kind=kind)
    with env.db.read() as tx:
        found = credits.balance(tx, user, env.now())
    assert found.by_kind == {kind: 7} and found.total == 7


def test_a_grant_with_the_same_key_happens_once(env, user):  # I27
    key = uuid.uuid4()
    first = credits.grant_now(env, user, 50, request_key=key)
    again = credits.grant_now(env, user, 50, request_key=key)
    assert again.same and again.batch_id == first.batch_id and not first.same
    with pytest.raises(errors.IdempotencyKeyReused):
        credits.grant_now(env, user, 60, request_key=key)
    assert balance(env, user) == 50


def test_a_payment_is_granted_once_however_often_it_is_fulfilled(env, user):  # I1
    payment = ids.new_owned(user)
    one = Grant(
        customer_id=user, amount=150, kind="purchased", expires_at=None, payment_id=payment,
        reason="CREDIT_PURCHASE", cost_minor=999, currency="usd",
    )  # fmt: skip
    bonus = replace(one, kind="promotional", reason="CREDIT_GRANT", amount=10, cost_minor=None)
    with env.db.transaction(user) as tx:
        first = credits.grant(tx, [one, bonus, one], env.now())
    with env.db.transaction(user) as tx:
        again = credits.grant(tx, [bonus, one], env.now())
    assert [g.same for g in first] == [False, False, True]
    assert [g.same for g in again] == [True, True]
    assert again[1].txn_id == first[0].txn_id
    assert balance(env, user) == 160
    assert {line.payment_id for line in history(env, user)} == {payment}


def test_a_grant_by_hand_above_the_highest_balance_is_refused(env, make, user):  # S4.22
    make.credits(user, 9_990)
    with pytest.raises(errors.CreditLimitExceeded) as caught:
        make.credits(user, 11)
    assert (caught.value.limit, caught.value.balance) == (10_000, 9_990)
    assert balance(env, user) == 9_990


def test_a_grant_for_captured_money_is_never_refused_but_flagged(env, make, user):  # C19
    make.credits(user, 9_990)
    paid = Grant(customer_id=user, amount=150, kind="purchased", expires_at=None,
                 payment_id=ids.new_owned(user), reason="CREDIT_PURCHASE")  # fmt: skip
    with env.db.transaction(user) as tx:
        granted = credits.grant(tx, [paid], env.now(), settings=env.settings)[0]
    assert granted.over_limit and balance(env, user) == 10_140


@pytest.mark.parametrize("amount", [0, -5, 1.0, True, "10", 2**63])
def test_an_amount_that_is_no_whole_credits_is_refused(env, user, amount):  # I11
    with pytest.raises(errors.InvalidRequest):
        credits.grant_now(env, user, amount)
    with pytest.raises(errors.InvalidRequest):
        new_spend(user, amount)


def test_a_grant_that_has_ended_already_is_refused(env, make, user):
    with pytest.raises(errors.InvalidRequest):
        make.credits(user, 5, days=0)


def test_sixty_four_customers_are_granted_in_one_transaction(wide, make):
    users = sorted(make.user().uuid for _ in range(64))
    wanted = [Grant(customer_id=u, amount=5 + i, kind="purchased", expires_at=None)
              for i, u in enumerate(users)]  # fmt: skip
    with wide.db.transaction(*users) as tx:
        made = credits.grant(tx, wanted, wide.now())
    assert [g.balance for g in made] == [5 + i for i in range(64)]
    assert [balance(wide, u) for u in users[:3]] == [5, 6, 7]


# Spending ---------------------------------------------------------------------------------------


def test_the_oldest_batch_is_taken_first(wide, make, clock, user):  # S4.27 I15 C20
    first = make.credits(user, 100, days=300)
    clock.advance(days=1)
    second = make.credits(user, 50, days=10)
    verdict = spend(wide, user, 120)
    assert verdict.status == "done" and verdict.balance == 30
    assert verdict.draws == [(first.batch_id, 100), (second.batch_id, 20)]
    line = history(wide, user)[0]
    assert (line.type, line.amount, line.balance_after) == ("CREDIT_USAGE", -120, 30)
    assert line.batch_ids == [first.batch_id, second.batch_id] and line.reason == "render"


def test_expiring_first_takes_the_batch_that_ends_soonest(env, make, clock, user):  # C20
    env = replace(env, settings=replace(env.settings, credit_order="expiring_first"))
    now = env.now()
    late = credits.grant_now(env, user, 100, expires_at=now + timedelta(days=300))
    clock.advance(days=1)
    never = credits.grant_now(env, user, 30)
    soon = credits.grant_now(env, user, 50, expires_at=now + timedelta(days=10))
    verdict = spend(env, user, 160)
    assert verdict.draws == [(soon.batch_id, 50), (late.batch_id, 100), (never.batch_id, 10)]


def test_a_spend_above_the_balance_changes_nothing_and_says_what_is_missing(env, make, user):
    make.credits(user, 12)
    verdict = spend(env, user, 40)
    assert (verdict.status, verdict.balance, verdict.needed) == ("insufficient", 12, 40)
    with pytest.raises(errors.InsufficientCredits) as caught:
        credits.raise_for(verdict)
    assert (caught.value.needed, caught.value.balance) == (40, 12)
    assert caught.value.legacy_code == "PAY001"
    assert len(history(env, user)) == 1


def test_a_spend_with_the_same_key_is_done_once_and_answers_the_same(env, make, user):  # I27
    make.credits(user, 100)
    key = uuid.uuid4()
    first = spend(env, user, 30, request_key=key)
    spend(env, user, 5)
    again = spend(env, user, 30, request_key=key)
    assert again.status == "same" and again[1:] == first[1:]
    assert spend(env, user, 31, request_key=key).status == "reused"
    assert balance(env, user) == 65


def test_a_refused_spend_may_succeed_later_with_its_key(env, make, user):  # I27
    key = uuid.uuid4()
    assert spend(env, user, 30, request_key=key).status == "insufficient"
    make.credits(user, 100)
    assert spend(env, user, 30, request_key=key).status == "done"


def test_another_customers_equal_key_is_another_key(env, make, user):  # I27
    other, key = make.user().uuid, uuid.uuid4()
    for one in (user, other):
        make.credits(one, 10)
        assert spend(env, one, 4, request_key=key).status == "done"


def test_a_key_of_a_grant_cannot_be_used_for_a_spend(env, user):  # I27
    key = uuid.uuid4()
    credits.grant_now(env, user, 50, request_key=key, request_hash=7)
    verdict = spend(env, user, 50, request_key=key, request_hash=7)
    assert verdict.status == "reused" and balance(env, user) == 50


def test_equal_keys_in_one_group_are_one_spend(wide, make, user):  # I27
    make.credits(user, 100)
    key = uuid.uuid4()
    items = [new_spend(user, 10, request_key=key) for _ in range(4)]
    items.append(new_spend(user, 11, request_key=key))
    with wide.db.transaction(user) as tx:
        found = credits.spend(tx, items, wide.now())
    assert [v.status for v in found] == ["done", "same", "same", "same", "reused"]
    assert {v.transfer_id for v in found[:4]} == {items[0].transfer_id}
    assert balance(wide, user) == 90


def test_a_spend_larger_than_the_limit_of_one_transaction_is_refused(env, user):  # S4.23
    verdict = spend(env, user, 5_001)
    assert verdict.status == "too_large"
    with pytest.raises(errors.AmountTooLarge):
        credits.raise_for(verdict)


def test_the_days_number_of_transactions_is_kept_and_starts_anew_at_utc_midnight(
    env, make, clock, user
):  # S4.23
    clock.set(env.now().replace(hour=23, minute=0))
    make.credits(user, 500)
    items = [new_spend(user, 1) for _ in range(102)]
    found = credits.spend_many_now(env, items)
    assert [v.status for v in found].count("done") == 100
    assert [v.status for v in found[-2:]] == ["limit", "limit"]
    with pytest.raises(errors.TransactionLimit):
        credits.raise_for(found[-1])
    clock.advance(hours=1)
    assert spend(env, user, 1).status == "done"


def test_many_spends_of_many_customers_answer_in_order(wide, make):
    users = [make.user().uuid for _ in range(5)]
    for one in users[:4]:
        make.credits(one, 10)
    items = [new_spend(users[i % 5], 3) for i in range(25)]
    found = credits.spend_many_now(wide, items)
    assert [v.transfer_id for v in found] == [item.transfer_id for item in items]
    assert [v.balance for v in found if v.status == "done"][:4] == [7, 7, 7, 7]
    for i, verdict in enumerate(found):
        assert verdict.status == ("done" if i % 5 < 4 and i < 15 else "insufficient")


def test_a_spend_of_an_unknown_customer_is_not_found(env):
    verdict = spend(env, ids.new_customer(), 1)
    with pytest.raises(errors.NotFound):
        credits.raise_for(verdict)


def test_a_spend_over_many_batches_takes_page_after_page(wide, make, clock, user):  # I15
    for _ in range(150):
        make.credits(user, 2, days=None)
        clock.advance(seconds=1)
    verdict = spend(wide, user, 299)
    assert len(verdict.draws) == 150 and verdict.balance == 1
    assert remaining(wide, user) == [0] * 149 + [1]
    assert [v.status for v in credits.spend_many_now(
        wide, [new_spend(user, 1), new_spend(user, 1)])] == ["done", "insufficient"]  # fmt: skip


def test_several_spends_of_a_group_share_batches(wide, make, clock, user):  # I15
    for _ in range(12):
        make.credits(user, 5, days=None)
        clock.advance(seconds=1)
    with wide.db.transaction(user) as tx:
        found = credits.spend(tx, [new_spend(user, 7) for _ in range(9)], wide.now())
    assert [v.status for v in found] == ["done"] * 8 + ["insufficient"]
    assert remaining(wide, user) == [0] * 11 + [4]


def test_a_spend_keeps_the_callers_words(env, make, user):  # S4.37
    make.credits(user, 10)
    spend(env, user, 4, reference="booking_81", metadata={"room": "é\"b"})
    line = history(env, user)[0]
    assert (line.reason, line.reference) == ("render", "booking_81")
    assert line.metadata == {"room": 'é"b'}
    with env.db.read() as tx:
        data = tx.value(
            "select data from events where customer_id = %s and type = 'credits.spent'", (user,)
        )
    assert data["reference"] == "booking_81" and data["metadata"] == {"room": 'é"b'}


def test_a_spend_inside_a_transaction_is_undone_with_it(env, make, user):
    make.credits(user, 10)
    with pytest.raises(ZeroDivisionError), env.db.transaction(user) as tx:
        assert credits.spend(tx, [new_spend(user, 4)], env.now())[0].status == "done"
        raise ZeroDivisionError
    assert balance(env, user) == 10


def test_a_direct_step_locks_in_the_order_of_all_locks(env, make):
    """Two transactions that took customers in different orders would wait for each other."""
    first, second = sorted(make.user().uuid for _ in range(2))
    make.credits(second, 10)
    with env.db.transaction() as tx:
        spent = credits.spend(tx, [new_spend(second, 4)], env.now())
        assert [spent[0].status, *tx.heads] == ["done", second]
        with pytest.raises(AssertionError, match="sorted order"):
            tx.lock(first)
        nobody = uuid.UUID(int=second.int + 1)
        items = [new_spend(second, 1), new_spend(nobody, 1)]
        assert [v.status for v in credits.spend(tx, items, env.now())] == ["done", "missing"]


def test_limits_hold_for_a_direct_step_that_names_them(env, make, user):
    make.credits(user, 10)
    with env.db.transaction(user) as tx:
        items = [new_spend(user, 4), new_spend(user, 1), new_spend(user, 1)]
        found = credits.spend(tx, items, env.now(), limits=Limits(3, 1))
    assert [v.status for v in found] == ["too_large", "done", "limit"]


# Expiry -----------------------------------------------------------------------------------------


def test_credits_are_gone_at_the_very_instant_of_their_expiry(env, make, clock, user):  # I16 S4.28
    make.credits(user, 10, days=1)
    clock.advance(days=1, seconds=-0.000001)
    assert balance(env, user) == 10
    clock.advance(seconds=0.000001)
    assert balance(env, user) == 0
    assert spend(env, user, 1).status == "insufficient"
    line = history(env, user)[0]
    assert (line.type, line.amount, line.balance_after) == ("CREDIT_EXPIRY", -10, 0)
    assert line.at == env.now()


def test_the_sweep_books_every_expiry_once(wide, make, clock):  # I16
    users = [make.user().uuid for _ in range(3)]
    for one in users:
        make.credits(one, 10, days=1)
        make.credits(one, 20, days=2)
    clock.advance(days=1)
    assert credits.expire_due(wide, 100) == 3
    assert credits.expire_due(wide, 100) == 0
    assert [balance(wide, one) for one in users] == [20, 20, 20]
    with wide.db.read() as tx:
        assert tx.value("select count(*) from events where type = 'credits.expired'") == 3


def test_a_spend_passes_over_ended_batches_and_takes_the_living(wide, make, clock, user):  # I16
    make.credits(user, 10, days=1)
    living = make.credits(user, 10, days=9)
    clock.advance(days=2)
    verdict = spend(wide, user, 6)
    assert verdict.status == "done" and verdict.draws == [(living.batch_id, 6)]
    assert verdict.balance == 4


def test_a_customer_with_hundreds_of_ended_batches_is_served_by_the_patient_lane(
    wide, clock, user
):  # I16
    now = wide.now()
    with wide.db.transaction(user) as tx:
        credits.grant(tx, [
            Grant(customer_id=user, amount=1, kind="promotional",
                  expires_at=now + timedelta(hours=1)) for _ in range(200)
        ], now)  # fmt: skip
    credits.grant_now(wide, user, 5)
    clock.advance(hours=2)
    verdict = spend(wide, user, 5)
    assert verdict.status == "done" and verdict.balance == 0
    assert len(history(wide, user, limit=500, kind="CREDIT_EXPIRY")) == 200


def test_time_that_goes_back_revives_nothing(wide, make, clock, user):  # I16 I25
    make.credits(user, 10, days=1)
    make.credits(user, 10, days=30)
    clock.advance(days=1)
    assert spend(wide, user, 1).balance == 9
    clock.advance(days=-1, minutes=-5)
    assert spend(wide, user, 10).status == "insufficient"
    assert balance(wide, user) == 9


# Refunds ----------------------------------------------------------------------------------------


def test_a_refunded_spend_goes_back_to_its_own_batches(wide, make, clock, user):  # S4.9 I17
    make.credits(user, 100, days=20)
    clock.advance(days=1)
    make.credits(user, 50, days=20)
    verdict = spend(wide, user, 120)
    refunded = credits.refund_spend_now(wide, user, verdict.transfer_id)
    assert (refunded.amount, refunded.put_back, refunded.balance) == (120, 120, 150)
    assert refunded.refundable == 0
    assert remaining(wide, user) == [100, 50]
    line = history(wide, user)[0]
    assert (line.type, line.amount) == ("CREDIT_REFUND", 120)
    assert line.reverses_id == verdict.transfer_id  # I4


def test_parts_of_a_spend_can_be_refunded_until_nothing_is_left(wide, make, clock, user):  # S4.30
    make.credits(user, 10)
    clock.advance(days=1)
    make.credits(user, 10)
    verdict = spend(wide, user, 15)
    assert credits.refund_spend_now(wide, user, verdict.transfer_id, 7).refundable == 8
    assert remaining(wide, user) == [2, 10]  # As if 8 had been spent.
    with pytest.raises(errors.SpendNotRefundable) as caught:
        credits.refund_spend_now(wide, user, verdict.transfer_id, 9)
    assert caught.value.refundable == 8
    credits.refund_spend_now(wide, user, verdict.transfer_id, 8)
    with pytest.raises(errors.SpendNotRefundable):
        credits.refund_spend_now(wide, user, verdict.transfer_id)
    assert remaining(wide, user) == [10, 10]


def test_a_refund_with_the_same_key_happens_once(wide, make, user):  # I27
    make.credits(user, 10)
    verdict = spend(wide, user, 8)
    key = uuid.uuid4()
    first = credits.refund_spend_now(wide, user, verdict.transfer_id, 3, request_key=key)
    again = credits.refund_spend_now(wide, user, verdict.transfer_id, 3, request_key=key)
    assert again == replace(first, same=True)
    with pytest.raises(errors.IdempotencyKeyReused):
        credits.refund_spend_now(wide, user, verdict.transfer_id, 4, request_key=key)
    assert balance(wide, user) == 5


def test_credits_refunded_after_their_end_lapse_at_once_without_grace(wide, make, clock, user):
    make.credits(user, 10, days=1)  # I17
    verdict = spend(wide, user, 8)
    clock.advance(days=2)
    refunded = credits.refund_spend_now(wide, user, verdict.transfer_id)
    assert (refunded.lapsed, refunded.put_back, refunded.balance) == (8, 0, 0)
    assert balance(wide, user) == 0
    types = [line.type for line in history(wide, user)]
    assert types == ["CREDIT_EXPIRY", "CREDIT_REFUND", "CREDIT_EXPIRY", "CREDIT_USAGE",
                     "CREDIT_GRANT"]  # fmt: skip
    with pytest.raises(errors.SpendNotRefundable):
        credits.refund_spend_now(wide, user, verdict.transfer_id)


def test_credits_refunded_after_their_end_last_for_the_stated_grace(wide, make, clock, user):
    env = replace(wide, settings=replace(wide.settings, refund_grace_days=3))  # I17 S4.26
    make.credits(user, 10, days=1)
    clock.advance(hours=1)
    make.credits(user, 10, days=50)
    verdict = spend(env, user, 15)
    clock.advance(days=2)
    refunded = credits.refund_spend_now(env, user, verdict.transfer_id, 12)
    assert (refunded.put_back, refunded.regranted, refunded.refundable) == (5, 7, 3)
    with env.db.read() as tx:
        found = credits.balance(tx, user, env.now())
    assert found.by_kind == {"promotional": 10, "refunded": 7}
    assert found.by_expiry[0] == (env.now() + timedelta(days=3), 7)
    clock.advance(days=3)
    assert balance(env, user) == 10


def test_only_ones_own_spends_can_be_refunded(wide, make, user):
    other = make.user().uuid
    granted = make.credits(user, 10)
    verdict = spend(wide, user, 8)
    for who, what in ((other, verdict.transfer_id), (user, granted.transfer_id)):
        with pytest.raises(errors.NotFound):
            credits.refund_spend_now(wide, who, what)


# Transfers --------------------------------------------------------------------------------------


@pytest.fixture
def family(env, make, user):
    """Two customers of one owner."""
    other = make.user().uuid
    with env.db.transaction(other) as tx:
        tx.run("update customers set owner_id = %s where customer_id = %s", (user, other))
    return user, other


def test_user_to_user_is_refused_by_default(wide, make, user):  # C1 S4.8 S4.29
    make.credits(user, 10)
    other = make.user().uuid
    with pytest.raises(errors.TransferNotAllowed) as caught:
        credits.transfer_now(wide, user, other, 5)
    assert caught.value.legacy_code == "PAY007" and balance(wide, user) == 10


def test_moved_credits_keep_kind_age_expiry_and_lineage(wide, make, clock, family):  # C1 S4.8
    one, other = family
    first = make.credits(one, 10, days=10, kind="purchased")
    clock.advance(days=1)
    make.credits(one, 10, days=20)
    clock.advance(hours=1)
    make.credits(other, 3)
    moved = credits.transfer_now(wide, one, other, 14)
    assert (moved.balance, moved.to_balance) == (6, 17)
    with wide.db.read() as tx:
        there = credits.batches(tx, other, wide.now())
    assert [(b.kind, b.remaining) for b in there] == [
        ("purchased", 10), ("promotional", 4), ("promotional", 3),
    ]  # fmt: skip
    assert there[0].source_id == first.batch_id
    assert there[0].expires_at == wide.now() + timedelta(days=9, hours=-1)
    assert [line.amount for line in history(wide, one, kind="CREDIT_TRANSFER")] == [-14]
    assert [line.amount for line in history(wide, other, kind="CREDIT_TRANSFER")] == [4, 10]


def test_credits_of_promotions_never_leave_their_owner(wide, make, clock, user):  # C1
    env = replace(wide, settings=replace(wide.settings, credit_transfer_policy="any",
                                         refund_grace_days=30))  # fmt: skip
    other = make.user().uuid
    make.credits(user, 10, days=1, kind="promotional")
    verdict = spend(env, user, 10)
    clock.advance(days=2)
    credits.refund_spend_now(env, user, verdict.transfer_id)  # 10 refunded ones of a promotion
    make.credits(user, 4, kind="purchased")
    with pytest.raises(errors.InsufficientCredits) as caught:
        credits.transfer_now(env, user, other, 5)
    assert caught.value.balance == 4
    assert credits.transfer_now(env, user, other, 4).to_balance == 4
    assert balance(env, user) == 10


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [("none", False), ("same_owner", False), ("organization", True), ("any", True)],
)
def test_the_policy_says_who_may_move_credits(wide, make, user, policy, allowed):  # C1
    env = replace(wide, settings=replace(wide.settings, credit_transfer_policy=policy))
    other, organization = make.user().uuid, uuid.uuid4()
    with env.db.transaction() as tx:
        tx.run("update customers set organization_id = %s", (organization,))
    make.credits(user, 10, kind="purchased")
    if allowed:
        assert credits.transfer_now(env, user, other, 5).balance == 5
    else:
        with pytest.raises(errors.TransferNotAllowed):
            credits.transfer_now(env, user, other, 5)


def test_a_transfer_with_the_same_key_happens_once(wide, make, family):  # I27
    one, other = family
    make.credits(one, 10)
    key = uuid.uuid4()
    first = credits.transfer_now(wide, one, other, 4, request_key=key)
    again = credits.transfer_now(wide, one, other, 4, request_key=key)
    assert again == replace(first, same=True)
    with pytest.raises(errors.IdempotencyKeyReused):
        credits.transfer_now(wide, one, other, 5, request_key=key)
    assert (balance(wide, one), balance(wide, other)) == (6, 4)


def test_a_transfer_minds_balance_limits_and_the_day(env, make, family):  # S4.22 S4.23
    one, other = family
    make.credits(one, 10_000)
    make.credits(other, 9_000)
    for amount, error in ((1_001, errors.CreditLimitExceeded), (5_001, errors.AmountTooLarge)):
        with pytest.raises(error):
            credits.transfer_now(env, one, other, amount)
    with pytest.raises(errors.InvalidRequest):
        credits.transfer_now(env, one, one, 1)
    env = replace(env, settings=replace(env.settings, max_daily_transactions=1))
    credits.transfer_now(env, one, other, 5)
    with pytest.raises(errors.TransactionLimit):
        credits.transfer_now(env, one, other, 5)
    assert (balance(env, one), balance(env, other)) == (9_995, 9_005)


# Debts ------------------------------------------------------------------------------------------


def owe(env, customer_id, batch_id, amount) -> None:
    """What was spent of a batch that was taken back: the customer owes it."""
    from paydesk.flows import ledger

    with env.db.transaction(customer_id) as tx:
        txn = ids.new_owned(customer_id)
        post(tx, [Entry(customer_id=customer_id, debit="debt", credit="issued", asset="CREDIT",
                        amount=amount, reason="CREDIT_REFUND", txn_id=txn, subject_id=batch_id,
                        effective_at=env.now())])  # fmt: skip
        ledger.owe(tx, [(customer_id, batch_id, amount)])


def test_a_grant_repays_what_is_owed_first(wide, make, clock, user):  # I17
    old = make.credits(user, 10)
    spend(wide, user, 10)
    owe(wide, user, old.batch_id, 7)
    granted = make.credits(user, 5)
    assert (granted.repaid, granted.balance) == (5, 0)
    granted = make.credits(user, 5)
    assert (granted.repaid, granted.balance) == (2, 3)
    assert spend(wide, user, 3).status == "done"


def test_a_refunded_spend_repays_what_is_owed_on_its_batch_first(wide, make, user):  # I17
    old = make.credits(user, 10)
    verdict = spend(wide, user, 10)
    owe(wide, user, old.batch_id, 7)
    refunded = credits.refund_spend_now(wide, user, verdict.transfer_id, 9)
    assert (refunded.repaid, refunded.put_back, refunded.balance) == (7, 2, 2)
    assert refunded.refundable == 1
    assert credits.refund_spend_now(wide, user, verdict.transfer_id).put_back == 1


# History and balance ----------------------------------------------------------------------------


def test_the_history_comes_in_pages_without_gaps(wide, make, clock, user):  # S4.7
    make.credits(user, 100)
    for _ in range(7):
        spend(wide, user, 2)
    seen, before = [], None
    while page := history(wide, user, limit=3, before_seq=before):
        seen += page
        before = page[-1].seq
    assert [line.seq for line in seen] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert [line.balance_after for line in seen][:2] == [86, 88]
    assert len(history(wide, user, kind="CREDIT_GRANT")) == 1


def test_the_balance_is_shown_by_kind_and_by_expiry(wide, make, user):  # S4.6
    make.credits(user, 5, days=None)
    make.credits(user, 7, days=9, kind="purchased")
    make.credits(user, 8, days=9)
    with wide.db.read() as tx:
        found = credits.balance(tx, user, wide.now())
    end = wide.now() + timedelta(days=9)
    assert (found.total, found.next_expiry) == (20, end)
    assert found.by_expiry == [(end, 15), (None, 5)]
    assert found.by_kind == {"purchased": 7, "promotional": 13}


def test_a_customer_without_credits_has_a_balance_of_zero(env, user):
    with env.db.read() as tx:
        assert credits.balance(tx, user, env.now()).total == 0
        assert credits.balance_total(tx, user, env.now()) == 0
        assert credits.history(tx, user, limit=5) == []
    assert all(finding.ok for finding in doctor.check(env.db))
