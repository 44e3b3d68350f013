"""Refunds: money goes back once, with the goods it bought, whoever asks and whatever happens."""

from __future__ import annotations

import itertools
from dataclasses import replace
from decimal import Decimal

import pytest
from refunding import Refunding

from paydesk import ids
from paydesk.errors import (
    ApprovalRequired,
    Conflict,
    GoodsUsed,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    NotPermitted,
    NotRefundable,
    ProviderRefused,
    RefundWindowClosed,
)
from paydesk.flows import rates, refunds
from paydesk.rules.money import EUR, USD, Money


@pytest.fixture
def back(desk):
    return Refunding(desk)


def test_a_refund_gives_the_money_back_and_takes_the_credits(back):
    # S0.22 I7 I17
    view = back.bought()
    found = back.refund(view, reason="requested_by_customer")
    assert (found.state, found.amount, found.credits_taken_back) == ("succeeded", USD("9.99"), 150)
    assert found.provider_ref == back.sim.objects("refund")[0]["id"]
    paid = back.desk.payment(view)
    assert (paid.state, paid.refunded, back.desk.balance(view)) == ("refunded", USD("9.99"), 0)
    assert back.accounts(view, "usd") == {}


def test_the_provider_is_told_our_ids_and_the_reason(back):
    view = back.bought()
    found = back.refund(view, USD("1.00"), reason="duplicate")
    there = back.sim.objects("refund")[0]
    assert there["reason"] == "duplicate" and there["metadata"] == {
        "refund_id": ids.show("refund", found.id),
        "payment_id": ids.show("payment", view.payment.id),
        "customer_id": ids.show("customer", view.customer_id),
    }


def test_partial_refunds_take_their_share_and_add_up_to_the_whole(back):
    # S4.30 I17
    view = back.bought()
    taken = [back.refund(view, USD(part)).credits_taken_back
             for part in ("3.33", "3.33", "0.01", "3.32")]  # fmt: skip
    assert taken == [50, 50, 0, 50]
    paid = back.desk.payment(view)
    assert (paid.state, back.desk.balance(view)) == ("refunded", 0)
    assert len(refunds.list_(back.env, view.customer_id, payment_id=view.payment.id)) == 4


def test_a_part_leaves_the_payment_partially_refunded(back):
    # C5
    view = back.bought()
    found = back.refund(view, USD("4.00"), reason="changed my mind")
    assert found.payment.state == "partially_refunded"
    assert back.desk.payment(view).refunded == USD("4.00")
    assert back.desk.balance(view) == 90
    events = back.desk.events_of(view)
    assert events[-4:] == ["refund.created", "credits.clawed_back", "payment.partially_refunded",
                           "refund.succeeded"]  # fmt: skip


def test_more_than_is_left_is_refused(back):
    # I7
    view = back.bought()
    back.refund(view, USD("9.00"))
    with pytest.raises(NotRefundable) as told:
        back.refund(view, USD("1.00"))
    assert told.value.refundable == 99
    with pytest.raises(InvalidRequest):
        back.refund(view, EUR("0.10"))
    with pytest.raises(InvalidRequest):
        back.refund(view, USD("0.00"))
    back.refund(view)
    with pytest.raises(NotRefundable):
        back.refund(view)


def test_a_sum_that_nobody_can_be_asked_for_leaves_no_refund(back):
    view = back.bought(pack=None, amount=Money("100.01", "kwd"))
    for ask in (back.refund, lambda *args: refunds.preview(
        back.env, view.customer_id, view.payment.id, args[1],
    )):  # fmt: skip
        with pytest.raises(InvalidRequest):
            ask(view, Money("0.005", "kwd"))
    assert refunds.list_(back.env, view.customer_id, payment_id=view.payment.id) == []
    assert back.refund(view, Money("0.010", "kwd")).state == "succeeded"


def test_what_was_not_paid_is_not_refunded(back):
    view = back.desk.open()
    with pytest.raises(NotRefundable):
        back.refund(view)
    other = back.desk.make.user()
    with pytest.raises(NotFound):
        back.refund(view, customer_id=other.uuid)


def test_used_credits_are_owed_and_the_next_grant_repays_them(back):
    # I17
    view = back.bought()
    back.spend(view, 120)
    found = back.refund(view)
    assert (found.credits_taken_back, found.credits_owed) == (30, 120)
    assert back.desk.balance(view) == 0
    back.desk.make.credits(view.customer_id, 200)
    assert back.desk.balance(view) == 80


def test_used_credits_are_forgiven_where_the_policy_clamps(back):
    back.use(clawback_policy="clamp")
    view = back.bought()
    back.spend(view, 120)
    found = back.refund(view)
    assert (found.credits_taken_back, found.credits_owed, found.credits_forgiven) == (30, 0, 120)


def test_used_credits_stand_in_the_way_where_the_policy_blocks(back):
    back.use(clawback_policy="block")
    view = back.bought()
    back.spend(view, 120)
    before = back.desk.standing(view)
    with pytest.raises(GoodsUsed) as told:
        back.refund(view)
    assert told.value.missing == 120
    assert back.desk.standing(view) == before and not back.sim.objects("refund")
    assert back.refund(view, USD("1.99")).credits_taken_back == 30


def test_other_purchases_keep_their_credits(back):
    # I17
    user = back.desk.make.user()
    first, second = back.bought(user), back.bought(user)
    back.spend(first, 100)
    found = back.refund(first)
    assert (found.credits_taken_back, found.credits_owed) == (50, 100)
    assert back.desk.balance(second) == 150


def test_a_bonus_goes_back_in_the_same_proportion(back):
    # I17
    back.desk.make.promo("BONUS50", bonus_credits=50)
    view = back.bought(promo="BONUS50")
    assert back.desk.balance(view) == 200
    back.refund(view, USD("5.00"))
    rows = back.desk.all("select kind, remaining from batches order by kind")
    assert [tuple(r.values()) for r in rows] == [("promotional", 25), ("purchased", 75)]


def test_credits_that_ended_unused_are_not_taken_a_second_time(back):
    view = back.bought()
    back.spend(view, 50)
    back.desk.clock.advance(days=366)
    back.use(refund_window_days=0)
    found = back.refund(view)
    assert (found.credits_taken_back, found.credits_owed) == (0, 50)


# S1.51!
def test_the_window_closes_and_only_an_administrator_goes_past_it(back):
    # S1.51 C11
    view = back.bought()
    ended = back.env.now()
    back.desk.clock.advance(days=31)
    with pytest.raises(RefundWindowClosed) as told:
        back.refund(view)
    assert told.value.window_ended_at[:10] in told.value.detail
    assert told.value.window_ended_at > ended.isoformat()
    with pytest.raises(NotPermitted):
        back.refund(view, force=True, actor_role="finance")
    found = back.refund(view, force=True, actor_role="admin", by="rosa@example.com")
    assert found.forced and found.state == "succeeded"
    cause = back.cause(view, "refund.created")
    assert cause["actor"] == "rosa@example.com" and cause["forced"]


def test_no_window_never_closes(back):
    back.use(refund_window_days=0)
    view = back.bought()
    back.desk.clock.advance(days=360)
    assert back.refund(view).state == "succeeded"


def test_a_large_refund_waits_for_another_person(back):
    # S3.20 C11
    back.use(refund_approval_threshold=Decimal("5"))
    view = back.bought()
    assert back.refund(view, USD("5.00")).state == "succeeded"
    back.use(refund_approval_threshold=Decimal("4"))
    asked = back.refund(view, by="rosa@example.com", key="big")
    assert asked.state == "requested" and back.desk.payment(view).refunded == USD("5.00")
    with pytest.raises(ApprovalRequired):
        back.decide(asked, "approve", by="rosa@example.com")
    done = back.decide(asked, "approve", by="omar@example.com", note="checked")
    assert (done.state, done.decided_by, done.decision_note) == (
        "succeeded", "omar@example.com", "checked")
    assert back.decide(asked, "approve", by="omar@example.com").state == "succeeded"
    with pytest.raises(Conflict):
        back.decide(asked, "reject", by="omar@example.com")
    assert back.refund(view, by="rosa@example.com", key="big").id == asked.id


def test_refunds_in_small_parts_reach_the_threshold_together(back):
    # S3.20 C11
    back.use(refund_approval_threshold=Decimal("5"))
    view = back.bought()
    assert back.refund(view, USD("3.00")).state == "succeeded"
    assert back.refund(view, USD("2.01"), key="more").state == "requested"
    assert back.refund(view, USD("2.00"), key="last").state == "succeeded"


def test_the_threshold_is_one_of_the_default_currency(back):
    # S3.20 C11
    back.use(refund_approval_threshold=Decimal("5"), default_currency="eur")
    view = back.bought()
    assert back.refund(view, USD("0.01"), by="omar@example.com").state == "requested"
    rates.enter(back.desk.env, "eur", "usd", "1.25", by="rosa@example.com")
    assert back.refund(view, USD("6.25"), key="at").state == "succeeded"
    assert back.refund(view, USD("0.01"), key="above").state == "requested"


def test_a_refused_or_withdrawn_request_moves_nothing(back):
    # S3.20
    view = back.bought()
    asked = back.refund(view, actor_role="support", by="rosa@example.com")
    assert asked.state == "requested"
    assert back.decide(asked, "reject", by="omar@example.com", note="used").state == "rejected"
    with pytest.raises(Conflict):
        back.decide(asked, "approve", by="omar@example.com")
    again = back.refund(view, actor_role="support", by="rosa@example.com")
    with pytest.raises(NotPermitted):
        refunds.cancel(back.env, view.customer_id, again.id, by="omar@example.com")
    for _ in range(2):
        done = refunds.cancel(back.env, view.customer_id, again.id, by="rosa@example.com")
        assert done.state == "canceled"
    with pytest.raises(Conflict):
        back.decide(again, "approve", by="omar@example.com")
    assert back.desk.payment(view).refunded == USD("0.00") and back.desk.balance(view) == 150


def test_an_approval_checks_everything_anew(back):
    # I7
    view = back.bought()
    asked = back.refund(view, actor_role="support", by="rosa@example.com")
    back.refund(view, USD("1.00"))
    with pytest.raises(NotRefundable):
        back.decide(asked, "approve", by="omar@example.com")
    assert refunds.get(back.env, view.customer_id, asked.id).state == "requested"


def test_the_same_key_is_the_same_refund(back):
    # I6
    view = back.bought()
    first = back.refund(view, USD("2.00"), key="once")
    assert back.refund(view, USD("2.00"), key="once").id == first.id
    with pytest.raises(IdempotencyKeyReused):
        back.refund(view, USD("3.00"), key="once")
    assert back.desk.payment(view).refunded == USD("2.00")
    assert len(back.sim.objects("refund")) == 1


def test_a_provider_that_refuses_changes_nothing(back):
    view = back.bought()
    before = back.desk.standing(view)
    back.sdk.v1.refunds.create({"payment_intent": back.desk.payment(view).payment_ref})
    with pytest.raises(ProviderRefused) as told:
        back.refund(view, USD("1.00"), key="late")
    assert told.value.refund_id.startswith("re_")
    with pytest.raises(ProviderRefused):
        back.refund(view, USD("1.00"), key="late")
    after = back.desk.standing(view)
    assert {**after, "events": 0, "transfers": 0} == {**before, "events": 0, "transfers": 0}
    assert refunds.list_(back.env, view.customer_id)[0].state == "failed"


def test_a_refund_that_fails_later_gives_everything_back(back):
    # I7 I17
    view = back.bought(card="pm_card_refundFail")
    back.spend(view, 20)
    found = back.refund(view)
    assert found.state == "succeeded" and back.desk.balance(view) == 0
    back.sim.advance(10)
    back.deliver(view)
    failed = refunds.get(back.env, view.customer_id, found.id)
    assert (failed.state, failed.error_code) == ("failed", "expired_or_canceled_card")
    paid = back.desk.payment(view)
    assert (paid.state, paid.refunded, back.desk.balance(view)) == ("succeeded", USD(0), 130)
    assert back.accounts(view, "usd") == {"clearing": -999, "revenue": 999}
    assert back.desk.all("select state from fulfillments")[0]["state"] == "done"
    assert "payment.refund_reversed" in back.desk.events_of(view)


def test_a_pending_refund_is_asked_about_until_it_is_through(back):
    view = back.bought(card="pm_card_pendingRefund")
    found = back.refund(view)
    assert found.state == "pending" and back.desk.payment(view).state == "refunded"
    assert back.accounts(view, "usd")["refunds"] == 999
    back.sim.advance(10)
    assert refunds.ask_pending(back.env) == 0
    back.desk.clock.advance(hours=2)
    assert refunds.ask_pending(back.env) == 1
    assert refunds.get(back.env, view.customer_id, found.id).state == "succeeded"
    assert back.accounts(view, "usd") == {}


def test_a_refund_made_in_the_dashboard_is_recorded_with_its_goods(back):
    view = back.bought()
    back.spend(view, 100)
    back.use(clawback_policy="block")
    back.sdk.v1.refunds.create(
        {"payment_intent": back.desk.payment(view).payment_ref, "amount": 500}
    )
    for _ in range(3):
        back.deliver(view)
    found = refunds.list_(back.env, view.customer_id)
    assert [(r.origin, r.state, r.amount) for r in found] == [
        ("provider", "succeeded", USD("5.00"))]
    assert (found[0].credits_taken_back, found[0].credits_owed) == (50, 25)
    assert back.desk.payment(view).refunded == USD("5.00")


def test_news_in_any_order_ends_alike(back):
    # I5 I7
    ends = set()
    for order in itertools.permutations(range(3)):
        view = back.bought(card="pm_card_refundFail")
        back.refund(view, USD("9.00"))
        back.sim.advance(10)
        back.sdk.v1.refunds.create({"payment_intent": back.desk.payment(view).payment_ref})
        ours, failed, theirs = back.snapshots(view)
        for i in order:
            back.apply(view, (ours, failed, theirs)[i])
            back.apply(view, (ours, failed, theirs)[i])
        paid = back.desk.payment(view)
        ends.add((
            paid.state, paid.refunded, paid.review, back.desk.balance(view),
            str(back.accounts(view, "usd")),
            tuple(sorted((r.state, r.loss) for r in refunds.list_(back.env, view.customer_id))),
        ))  # fmt: skip
    assert len(ends) == 1


def test_more_than_was_taken_is_recorded_as_a_loss(back):
    # I7 I9
    view = back.bought()
    back.refund(view, USD("9.00"))
    remote = replace(back.snapshots(view)[0], id="re_elsewhere", refund_id=None, amount=USD("2.00"))
    found = back.apply(view, remote)
    assert (found.loss, found.payment.review) == (USD("1.01"), "over_refunded")
    assert found.payment.refunded == USD("11.00") and found.payment.state == "refunded"
    assert back.accounts(view, "usd")["losses"] == -101


def test_a_preview_says_what_the_refund_then_does(back):
    view = back.bought()
    back.spend(view, 100)
    for amount in (USD("1.00"), USD("4.44"), None):
        seen = refunds.preview(back.env, view.customer_id, view.payment.id, amount)
        done = back.refund(view, amount)
        assert (seen.amount, seen.credits_taken_back, seen.credits_missing) == (
            done.amount, done.credits_taken_back, done.credits_owed)
        assert seen.obstacle is None and not seen.needs_approval
    with pytest.raises(NotRefundable):
        refunds.preview(back.env, view.customer_id, view.payment.id)


def test_a_preview_says_what_stands_in_the_way(back):
    back.use(clawback_policy="block", refund_approval_threshold=Decimal("1"))
    view = back.bought()
    back.spend(view, 100)
    seen = refunds.preview(back.env, view.customer_id, view.payment.id)
    assert (seen.obstacle, seen.credits_missing, seen.needs_approval) == ("goods_used", 100, True)
    back.desk.clock.advance(days=40)
    small = refunds.preview(
        back.env, view.customer_id, view.payment.id, USD("0.10"), role="finance"
    )
    assert (small.obstacle, small.is_window_open) == ("refund_window_closed", False)
    assert small.fee_lost == USD("0.00") and not small.access_revoked


def test_what_was_asked_for_ends_when_all_has_gone_back_otherwise(back):
    # S3.20: nobody is left to decide about nothing.
    view = back.bought()
    asked = back.refund(view, USD("5.00"), by="user_1", actor_role="customer")
    back.refund(view, USD("4.99"))
    assert refunds.get(back.env, asked.customer_id, asked.id).state == "requested"
    back.refund(view)
    ended = refunds.get(back.env, asked.customer_id, asked.id)
    assert (ended.state, ended.decided_by) == ("canceled", "paydesk")
    assert ended.decision_note == "The whole payment has been refunded otherwise."
    for action in ("approve", "reject"):
        with pytest.raises(Conflict, match="is canceled"):
            back.decide(asked, action, by="omar@example.com")
    told = back.desk.all("select type from events where subject_id = %(id)s order by seq",
                         id=asked.id)  # fmt: skip
    assert [row["type"] for row in told] == ["refund.requested", "refund.canceled"]


def test_what_was_asked_for_waits_while_the_other_refund_may_still_fail(back):
    # S3.20
    view = back.bought(card="pm_card_pendingRefund")
    asked = back.refund(view, by="user_1", actor_role="customer")
    other = back.refund(view)
    assert other.state == "pending"
    assert refunds.get(back.env, asked.customer_id, asked.id).state == "requested"
    with pytest.raises(NotRefundable):
        back.decide(asked, "approve", by="omar@example.com")


def test_a_refund_made_at_the_provider_ends_what_was_asked_for(back):
    # S3.20
    view = back.bought()
    asked = back.refund(view, by="user_1", actor_role="customer")
    back.sdk.v1.refunds.create({"payment_intent": back.desk.payment(view).payment_ref})
    back.deliver(view)
    assert refunds.get(back.env, asked.customer_id, asked.id).state == "canceled"
