"""The process dies while a subscription that Stripe runs is begun, or heard of; once and twice."""

from __future__ import annotations

import contextlib

import pytest
from provider_run import There

from paydesk import crash
from paydesk.crash import CrashNow
from paydesk.errors import PaydeskError
from paydesk.ids import request_key

START = ["plan_price_made", "subscribe_before_commit", "subscribe_after_commit",
         "before_provider_call", "after_provider_call", "call_before_done_commit",
         "call_after_done"]  # fmt: skip
NEWS = ["webhook_before_store_commit", "webhook_after_store", "apply_after_fetch",
        "fulfil_before_goods", "fulfil_after_goods", "apply_before_commit", "apply_after_commit",
        "inbox_after_done"]  # fmt: skip


@pytest.fixture
def there(billing) -> There:
    return There(billing)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("point", START)
def test_a_page_whose_opening_dies_is_opened_once(there, point, times):
    # I5 I6: the same key comes to the same product, price, session and subscription
    there.plan("pro")
    who = there.user()
    key = request_key("app", "order")
    crash.arm(point)
    with pytest.raises(CrashNow):
        there.subscribe(who, request_key=key)
    if times == 2:
        crash.arm(point)
        with contextlib.suppress(CrashNow, PaydeskError):
            there.subscribe(who, request_key=key)
    crash.disarm()
    there.billing.clock.advance(minutes=2)
    sub = there.subscribe(who, request_key=key)
    assert sub.page_ref
    for kind in ("product", "price", "checkout.session"):
        assert len(there.sim.objects(kind)) == 1, kind
    there.sim.pay(sub.page_ref)
    there.deliver()
    assert there.look(sub).state == "active"
    assert len(there.billing.all("select id from subscriptions")) == 1
    assert {row["state"] for row in there.billing.all("select state from provider_calls")} == {
        "done"}  # fmt: skip


def test_a_page_that_nobody_comes_back_for_is_given_up(there):
    # I18: its call is older than a day; nothing stays open here
    there.plan("pro")
    who = there.user(on_clock=False)
    crash.arm("subscribe_after_commit")
    with pytest.raises(CrashNow):
        there.subscribe(who)
    there.billing.clock.advance(hours=24)
    there.billing.recover(rounds=1)
    (row,) = there.billing.all("select state, end_reason from subscriptions")
    assert tuple(row.values()) == ("expired", "not_opened")
    assert there.sim.objects("checkout.session") == []


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("point", NEWS)
def test_news_that_dies_is_taken_up_by_the_sweeps(there, point, times):
    # I2 I3: each payment, period and credit once, wherever it died
    there.plan("pro", credits=100)
    sub = there.subscribe(there.user())
    there.sim.pay(sub.page_ref)
    for _ in range(times):
        crash.arm(point)
        with pytest.raises(CrashNow):
            for one in there.sim.deliveries("checkout.session.completed", "invoice.paid"):
                there.receive(one)
    crash.disarm()
    there.billing.recover(rounds=2)
    there.heard.clear()
    there.deliver()
    assert there.look(sub).state == "active"
    assert there.billing.invoices(sub) == [(0, "paid", 2000, 2000)]
    assert there.billing.payments(sub) == ["succeeded"]
    assert there.billing.books(sub, "revenue") == 2000
    assert there.billing.balance(sub) == 100
    assert there.billing.can(sub, "tier:pro")
