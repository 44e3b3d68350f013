"""Commands on subscriptions that Stripe runs: given there, and what comes back is shown here."""

from __future__ import annotations

from datetime import timedelta

import pytest
from provider_run import There

from paydesk import crash
from paydesk.crash import CrashNow
from paydesk.errors import (
    Conflict,
    InvalidRequest,
    NotSupported,
    PaydeskError,
    PaymentFailed,
    PreviewOutdated,
)
from paydesk.flows import invoices, refunds
from paydesk.flows import subscription_changes as changes
from paydesk.flows import subscription_pauses as pauses
from paydesk.flows.invoice_books import InvoiceStateConflict
from paydesk.flows.refunds import WantRefund
from paydesk.ids import request_key
from paydesk.rules.money import USD


@pytest.fixture
def there(billing) -> There:
    return There(billing)


@pytest.fixture
def pro(there):
    """A customer's running subscription of pro, beside a bigger plan of its family."""
    there.plan("pro", most_quantity=50)
    there.plan("max", price=USD("50.00"), most_quantity=50)
    return there.begin(there.user())


def test_canceled_at_the_periods_end_and_taken_back_and_canceled_after_all(there, pro):
    # S1.28 C12
    after = changes.cancel(there.env, pro.customer_id, pro.id, reason="too_expensive")
    assert (after.state, after.cancel_at, after.cancel_reason) == (
        "active", pro.period_end, "too_expensive")  # fmt: skip
    assert there.remote(pro)["cancel_at_period_end"] is True
    after = changes.reactivate(there.env, pro.customer_id, pro.id)
    assert (after.cancel_at, there.remote(pro)["cancel_at_period_end"]) == (None, False)
    changes.cancel(there.env, pro.customer_id, pro.id)
    there.go_on(days=32)
    assert there.look(pro).state == "active"
    there.deliver()
    assert there.look(pro).state == "canceled"
    assert not there.billing.can(pro, "tier:pro")
    assert there.billing.invoices(pro) == [(0, "paid", 2000, 2000)]
    with pytest.raises(Conflict):
        changes.reactivate(there.env, pro.customer_id, pro.id)


# S1.28!
def test_canceled_now_it_shuts_at_once_and_gives_back_what_is_unused(there, pro):
    # S1.21 S1.28 S1.23
    there.go_on(days=10)
    half = (pro.period_end - there.env.now()) / (pro.period_end - pro.period_start)
    after = changes.cancel(there.env, pro.customer_id, pro.id, at="now", refund="unused")
    assert after.state == "canceled"
    assert not there.billing.can(pro, "tier:pro")
    assert there.sim.get(after.provider_ref)["status"] == "canceled"
    (back,) = there.sim.objects("refund")
    assert abs(back["amount"] - 2000 * half) < 2
    again = changes.cancel(there.env, pro.customer_id, pro.id, at="now", refund="unused")
    assert (again.state, len(there.sim.objects("refund"))) == ("canceled", 1)


def test_a_change_is_previewed_and_made_as_stripe_reckons_it(there, pro):
    # S1.29 S1.44 S0.24: an upgrade in the middle of the period
    there.go_on(days=10)
    seen = changes.preview(there.env, pro.customer_id, pro.id, plan="max")
    assert seen.due_now.minor > 0
    assert sum(line.amount.minor for line in seen.lines) == seen.total.minor
    there.go_on(hours=0, minutes=20)
    after = changes.change(there.env, pro.customer_id, pro.id, plan="max", expect=seen)
    assert (after.plan_key, after.price) == ("max", USD("50.00"))
    assert there.billing.can(pro, "tier:max")
    assert not there.billing.can(pro, "tier:pro")
    assert there.billing.invoices(pro)[1][2:] == (seen.total.minor, seen.due_now.minor)
    kinds = there.billing.all(
        "select p.payment_type, p.captured_minor from payments p where customer_id = %(c)s"
        " order by created_at, id", c=pro.customer_id)
    assert [row["payment_type"] for row in kinds] == ["subscription", "upgrade"]
    assert kinds[1]["captured_minor"] == seen.due_now.minor
    items = there.billing.all(
        "select kind, sign(amount_minor)::int as sign from invoice_items i join invoices v"
        " on v.customer_id = i.customer_id and v.id = i.invoice_id"
        " where v.reason = 'subscription_update' order by position")
    assert sorted((row["kind"], row["sign"]) for row in items) == [
        ("proration_charge", 1), ("proration_credit", -1)]  # fmt: skip
    there.deliver()
    assert len(there.billing.invoices(pro)) == 2


def test_an_outdated_preview_is_refused(there, pro):
    there.go_on(days=10)
    seen = changes.preview(there.env, pro.customer_id, pro.id, plan="max")
    changes.change(there.env, pro.customer_id, pro.id, quantity=3)
    with pytest.raises(PreviewOutdated):
        changes.change(there.env, pro.customer_id, pro.id, plan="max", expect=seen)
    later = changes.preview(there.env, pro.customer_id, pro.id, plan="max")
    there.billing.clock.advance(hours=2)
    with pytest.raises(PreviewOutdated):
        changes.change(there.env, pro.customer_id, pro.id, plan="max", expect=later)


def test_a_downgrade_is_credited_there_and_pays_for_the_next_period(there, pro):
    # S1.44: cash is what is booked here; the credit stands at Stripe
    changes.change(there.env, pro.customer_id, pro.id, quantity=5)
    before = there.billing.books(pro, "revenue")
    there.go_on(days=10)
    changes.change(there.env, pro.customer_id, pro.id, quantity=1, at="now")
    after = there.look(pro)
    assert (after.quantity, there.billing.books(pro, "revenue")) == (1, before)
    (credit,) = [one for one in there.billing.invoices(pro) if one[2] < 0]
    assert credit[1:] == ("paid", credit[2], 0)
    there.months()
    renewal = there.billing.invoices(pro)[-1]
    assert renewal[:3] == (1, "paid", 2000)
    assert renewal[3] < 2000
    assert there.billing.books(pro, "revenue") == before + renewal[3]


def test_a_change_whose_charge_fails_changes_nothing(there, pro):
    from types import SimpleNamespace

    there.go_on(days=10)
    method = there.remote(pro)["default_payment_method"]
    there.billing.reissue(SimpleNamespace(ref=method), "chargeCustomerFail")
    with pytest.raises(PaymentFailed):
        changes.change(there.env, pro.customer_id, pro.id, plan="max")
    after = there.look(pro)
    assert (after.plan_key, after.state) == ("pro", "active")
    assert len(there.billing.invoices(pro)) == 1


def test_the_same_change_is_made_once(there, pro):
    # S2.9 I6
    key = request_key("app", "upgrade")
    for _ in range(2):
        changes.change(there.env, pro.customer_id, pro.id, plan="max", request_key=key)
    assert len(there.billing.invoices(pro)) == 2


def test_a_cycle_that_begins_anew_is_a_period_of_its_own(there, pro):
    # An interval change restarts the cycle: what is left is credited, the new one charged in full.
    there.plan("year", price=USD("200.00"), interval="year", credits=50)
    there.go_on(days=10)
    after = changes.change(there.env, pro.customer_id, pro.id, plan="year", at="now")
    assert (after.plan_key, after.period) == ("year", 1)
    assert after.period_start == there.env.now().replace(microsecond=0)
    assert after.period_end - after.period_start >= timedelta(days=365)
    assert there.billing.invoices(pro)[1][:2] == (1, "paid")
    assert there.billing.balance(pro) == 50
    there.billing.renew(days=31)  # Months within a longer period are given here.
    assert there.billing.balance(pro) == 50
    rows = there.billing.all("select granted from batches where customer_id = %(c)s",
                             c=pro.customer_id)
    assert [row["granted"] for row in rows] == [50, 50]


def test_paused_it_collects_nothing_and_opens_nothing(there, pro):
    # What was paid for is open again after it.
    after = pauses.pause(there.env, pro.customer_id, pro.id)
    assert (after.state, there.remote(pro)["pause_collection"]["behavior"]) == ("paused", "void")
    assert not there.billing.can(pro, "tier:pro")
    back = pauses.resume(there.env, pro.customer_id, pro.id)
    assert (back.state, there.remote(pro)["pause_collection"]) == ("active", None)
    assert there.billing.can(pro, "tier:pro")
    until = there.env.now() + timedelta(days=40)
    again = pauses.pause(there.env, pro.customer_id, pro.id, resume_at=until)
    assert again.resume_at == until.replace(microsecond=0)
    there.go_on(days=32)
    there.deliver()
    assert there.billing.invoices(pro)[-1][:2] == (1, "void")
    there.go_on(days=9)
    there.deliver()
    after = there.look(pro)
    assert (after.state, after.resume_at) == ("active", None)
    assert not there.billing.can(pro, "tier:pro")  # Nothing was paid for this period.
    there.months()
    assert there.billing.can(pro, "tier:pro")


def test_what_stripe_cannot_do_is_refused_with_its_code(there, pro):
    there.plan("short", price=USD("5.00"), billing="calendar")
    with pytest.raises(NotSupported) as refused:
        changes.change(there.env, pro.customer_id, pro.id, plan="short")
    assert (refused.value.code, refused.value.param) == ("not_supported", "plan")
    with pytest.raises(NotSupported):
        there.subscribe(there.user(), "short")
    with pytest.raises(NotSupported):
        there.subscribe(there.user(), zone="Europe/Paris")
    with pytest.raises(NotSupported):
        there.subscribe(there.user(), provider="manual")
    with pytest.raises(InvalidRequest):
        there.subscribe(there.user(), method="pm_card_visa")
    with pytest.raises(InvalidRequest):
        changes.change(there.env, pro.customer_id, pro.id, plan="pro")


def test_an_invoice_that_stripe_collects_is_not_paid_or_voided_here(there, pro):
    (row,) = there.billing.all("select id from invoices where customer_id = %(c)s",
                               c=pro.customer_id)
    for do in (invoices.pay, invoices.void, invoices.mark_uncollectible, invoices.checkout_for):
        with pytest.raises(InvoiceStateConflict):
            do(there.env, pro.customer_id, row["id"])


# S1.51!
def test_a_refund_takes_back_what_the_payment_opened(there):
    # S1.51 S1.48 S0.28: as of any payment; nothing opens it again by itself
    there.plan("pro", credits=100)
    sub = there.begin(there.user())
    (row,) = there.billing.all("select id from payments where customer_id = %(c)s",
                               c=sub.customer_id)
    refunds.request(there.env, WantRefund(
        customer_id=sub.customer_id, payment_id=row["id"], by="desk", reason="duplicate",
        request_key=request_key("app", "back"), request_hash=b"1",
    ))  # fmt: skip
    assert there.billing.payments(sub) == ["refunded"]
    assert not there.billing.can(sub, "tier:pro")
    assert there.billing.balance(sub) == 0
    there.deliver()
    assert not there.billing.can(sub, "tier:pro")
    assert len(there.sim.objects("refund")) == 1
    there.months()
    assert there.billing.can(sub, "tier:pro")


# S1.45!
def test_another_method_is_charged_from_now_on(there, pro):
    # S1.45
    there.card(pro.customer_id)
    there.deliver()
    saved = there.billing.all(
        "select id, ref from payment_methods where customer_id = %(c)s and is_default",
        c=pro.customer_id)[0]
    after = changes.set_method(there.env, pro.customer_id, pro.id, saved["id"])
    assert after.method_id == saved["id"]
    assert there.remote(pro)["default_payment_method"] == saved["ref"]


POINTS = ["change_before_commit", "change_after_commit", "before_provider_call",
          "after_provider_call", "call_before_done_commit", "call_after_done",
          "apply_after_fetch", "apply_before_commit", "apply_after_commit"]  # fmt: skip


@pytest.mark.parametrize("point", POINTS)
def test_a_command_that_dies_is_carried_out_once(there, pro, point):
    # I5 I6: the sweeps and the events bring it to its end
    there.go_on(days=10)
    key = request_key("app", "upgrade")
    crash.arm(point)
    with pytest.raises(CrashNow):
        changes.change(there.env, pro.customer_id, pro.id, plan="max", request_key=key)
    crash.disarm()
    there.billing.recover(rounds=3)
    there.deliver()
    for _ in range(3):
        try:
            changes.change(there.env, pro.customer_id, pro.id, plan="max", request_key=key)
            break
        except PaydeskError:
            there.billing.recover(rounds=1)
    assert there.look(pro).plan_key == "max"
    assert [one[1] for one in there.billing.invoices(pro)] == ["paid", "paid"]
    assert len(there.sim.objects("invoice")) == 2
    assert {row["state"] for row in there.billing.all("select state from provider_calls")} == {
        "done"}  # fmt: skip


# S1.28 I6
@pytest.mark.parametrize("point", ["change_after_commit", "before_provider_call",
                                   "after_provider_call", "call_after_done"])
def test_a_death_once_it_is_to_be_canceled_there_loses_no_refund(there, pro, point):
    there.go_on(days=10)
    crash.arm(point)
    with pytest.raises(CrashNow):
        changes.cancel(there.env, pro.customer_id, pro.id, at="now", refund="unused", by="eve")
    there.billing.recover(rounds=4)
    assert there.look(pro).state == "canceled"
    (back,) = there.sim.objects("refund")
    assert 1300 < back["amount"] < 1400
    (kept,) = refunds.list_(there.env, pro.customer_id)
    assert (kept.state, kept.requested_by) == ("succeeded", "eve")
    changes.cancel(there.env, pro.customer_id, pro.id, at="now", refund="unused", by="eve")
    assert len(there.sim.objects("refund")) == 1


# S1.28 I32
def test_what_is_unused_waits_for_a_second_person_as_any_refund_does(there, pro):
    from dataclasses import replace
    from decimal import Decimal

    from paydesk.errors import ApprovalRequired

    there.go_on(days=10)
    settings = replace(there.env.settings, refund_approval_threshold=Decimal("5"))
    strict = replace(there.env, settings=settings)
    changes.cancel(strict, pro.customer_id, pro.id, at="now", refund="unused",
                   by="key:1", persons=["eve@example.com"])  # fmt: skip
    (asked,) = refunds.list_(strict, pro.customer_id)
    assert (asked.state, there.sim.objects("refund")) == ("requested", [])
    with pytest.raises(ApprovalRequired):
        refunds.decide(strict, pro.customer_id, asked.id, "approve", by="user:eve",
                       persons=["eve@example.com"])  # fmt: skip
    done = refunds.decide(strict, pro.customer_id, asked.id, "approve", by="user:max",
                          persons=["max@example.com"])  # fmt: skip
    assert done.state == "succeeded"
