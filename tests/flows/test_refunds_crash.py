"""The process dies at every named place of a refund; whoever comes next ends it once."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
from refunding import Refunding

from paydesk import crash
from paydesk.crash import CrashNow
from paydesk.errors import IdempotencyInProgress, NotRefundable, PaydeskError
from paydesk.flows import refunds
from paydesk.rules.money import USD

#: Where a refund can die, by the part of it.
REQUEST = ["refund_before_commit", "refund_after_commit", "before_provider_call",
           "after_provider_call", "call_before_done_commit", "call_after_done"]  # fmt: skip
NEWS = ["apply_after_fetch", "apply_before_commit", "apply_after_commit"]


@pytest.fixture
def back(desk):
    return Refunding(desk)


def is_settled(back, view, amount):
    found = refunds.list_(back.env, view.customer_id)
    assert [(r.state, r.amount) for r in found] == [("succeeded", amount)]
    assert back.desk.payment(view).refunded == amount
    assert back.desk.balance(view) == 75
    assert [r["amount"] for r in back.sim.objects("refund")] == [amount.minor]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("point", REQUEST)
def test_a_repeated_request_ends_what_died(back, point, times):
    # I6 I40
    view = back.bought()
    for _ in range(times):
        crash.arm(point)
        with contextlib.suppress(CrashNow, PaydeskError):
            back.refund(view, USD("5.00"), key="once")
        back.desk.clock.advance(minutes=2)
    crash.disarm()
    assert back.refund(view, USD("5.00"), key="once").state == "succeeded"
    is_settled(back, view, USD("5.00"))


@pytest.mark.parametrize("point", REQUEST[1:])
def test_sweeps_end_what_died_when_nobody_asks_again(back, point):
    # I6 I40
    view = back.bought()
    crash.arm(point)
    with pytest.raises(CrashNow):
        back.refund(view, USD("5.00"))
    back.desk.recover(rounds=3)
    is_settled(back, view, USD("5.00"))


@pytest.mark.parametrize("point", REQUEST)
def test_an_approval_that_died_is_carried_out_once(back, point):
    view = back.bought()
    asked = back.refund(view, USD("5.00"), actor_role="support")
    crash.arm(point)
    with pytest.raises(CrashNow):
        back.decide(asked, "approve", by="omar@example.com")
    back.desk.clock.advance(minutes=2)
    back.decide(asked, "approve", by="omar@example.com")
    is_settled(back, view, USD("5.00"))


@pytest.mark.parametrize("point", NEWS)
def test_news_of_a_refund_that_died_is_laid_down_once(back, point):
    view = back.bought()
    back.sdk.v1.refunds.create(
        {"payment_intent": back.desk.payment(view).payment_ref, "amount": 500}
    )
    crash.arm(point)
    with pytest.raises(CrashNow):
        back.deliver(view)
    back.deliver(view)
    is_settled(back, view, USD("5.00"))


def test_a_refund_that_was_never_sent_stands_as_if_it_had_not_been(back):
    # I6
    view = back.bought()
    crash.arm("before_provider_call")
    with pytest.raises(CrashNow):
        back.refund(view, USD("5.00"))
    back.desk.clock.advance(hours=24)
    back.desk.sweep("provider_calls")
    found = refunds.list_(back.env, view.customer_id)
    assert [(r.state, r.error_code) for r in found] == [("failed", "never_sent")]
    assert back.desk.payment(view).refunded == USD(0) and back.desk.balance(view) == 150


def test_an_old_refund_is_found_again_and_never_sent_twice(back):
    # I40
    view = back.bought()
    crash.arm("after_provider_call")
    with pytest.raises(CrashNow):
        back.refund(view, USD("5.00"))
    back.desk.clock.advance(hours=24)
    back.desk.sweep("provider_calls")
    is_settled(back, view, USD("5.00"))


def test_a_provider_that_times_out_leaves_it_pending_until_it_is_known(back):
    # I40
    view = back.bought()
    back.sim.fault("timeout_after", "/v1/refunds")
    found = back.refund(view, USD("5.00"))
    assert found.state == "pending" and back.desk.payment(view).refunded == USD("5.00")
    back.desk.recover(rounds=3)
    is_settled(back, view, USD("5.00"))


def test_sixty_four_at_once_never_refund_more_than_was_captured(back):
    # I7
    view = back.bought()
    start, results = threading.Barrier(64), []

    def one(i):
        start.wait()
        for _ in range(200):
            try:
                results.append(back.refund(view, USD("0.40"), key=f"k{i}").state)
            except NotRefundable:
                results.append("none")
            except IdempotencyInProgress:
                # On a busy machine the answer found no connection: a sweep goes on with it.
                results.append("under way")
            except PaydeskError:
                time.sleep(0.05)
                continue
            return

    threads = [threading.Thread(target=one, args=(i,)) for i in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    back.desk.recover(rounds=4)
    done = refunds.list_(back.env, view.customer_id, limit=100)
    assert {r.state for r in done} == {"succeeded"} and len(done) == 24
    assert results.count("none") == 40 and len(results) == 64
    assert set(results) <= {"none", "succeeded", "under way"}
    assert back.desk.payment(view).refunded == USD("9.60")
    assert sum(r["amount"] for r in back.sim.objects("refund")) == 960
