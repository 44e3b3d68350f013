"""What follows for a subscription when its invoice is paid, a try failed, or a method was saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.errors import AlreadyPurchased, NotFound, SubscriptionAlreadyActive
from paydesk.flows import (
    dunning,
    invoice_books,
    invoices,
    memberships,
    subscription_promos,
    subscription_trials,
)
from paydesk.flows import subscription_steps as steps
from paydesk.flows.invoice_books import InvoiceRow
from paydesk.flows.subscription_steps import Sub
from paydesk.rules import periods
from paydesk.rules import subscriptions as rules
from paydesk.rules.plans import Terms
from paydesk.settings import Settings
from paydesk.tracker.stores.joined import ServicePayment

#: In these a try that failed is followed by another, or by the plan's last action.
_ASKED = frozenset({"active", "past_due", "unpaid", "trialing", "paused"})


def paid(
    tx: Tx, now: datetime, row: InvoiceRow, payment: ServicePayment | None, settings: Settings
) -> None:
    """An invoice is paid: what it was for is given. The head is locked.

    Raises AlreadyPurchased where the subscription is over, or another one runs: a person gives
    the money back.
    """
    if row.subscription_id is None or row.runner != "paydesk":
        return
    sub = steps.read(tx, row.customer_id, row.subscription_id)
    if not rules.may(sub.state, "paid"):
        raise AlreadyPurchased(f"This subscription is {sub.state}: refund the payment.")
    payment_id = payment.key[1] if payment is not None else None
    if row.reason == "subscription_update":
        from paydesk.flows import subscription_changes

        subscription_changes.paid(tx, now, sub, row, payment_id, settings)
    elif row.cycle is not None:
        _period_paid(tx, now, sub, row, payment_id, settings)
    steps.save(tx, now, sub)


def _period_paid(
    tx: Tx, now: datetime, sub: Sub, row: InvoiceRow, payment_id: UUID | None, settings: Settings
) -> None:
    before, shown = sub.state, ids.show("invoice", row.id)
    told = steps.terms(tx, sub)
    if before in ("incomplete", "expired"):
        try:
            steps.check_free(tx, sub.customer_id, sub.family, but=sub.id)
        except SubscriptionAlreadyActive as exc:
            raise AlreadyPurchased(f"{exc.detail} Refund the payment.") from exc
        subscription_promos.confirm(tx, sub)
    still_open = steps.open_invoices(tx, sub, but=[row.id])
    if before == "unpaid" and row.cycle == sub.period and not still_open:
        _begin_again(sub, told, now)
    if row.cycle == sub.period:
        start, end = sub.period_start, sub.period_end
        if before != "paused":  # What is open is opened when it is resumed.
            steps.give_access(tx, now, sub, told, steps.until_of(told, end), payment_id)
        if start <= now:
            memberships.give(tx, now, _as_if_resumed(sub, now), told, 0, payment_id, settings)
    elif row.cycle is not None and row.cycle < sub.period and row.period_start is not None:
        # Paid after the next one began: what rolls over is given all the same, by what was sold.
        then = replace(sub, period=row.cycle, anchor_period=row.cycle, anchor=row.period_start,
                       period_start=row.period_start, period_end=row.period_end,
                       **_sold(tx, row))  # fmt: skip
        memberships.give(tx, now, then, steps.terms(tx, then), 0, payment_id, settings)
    if before == "unpaid" and row.cycle != sub.period and not still_open:
        _go_on(tx, now, sub, told, settings)
    if row.cycle == 0 or before in ("incomplete", "expired"):
        memberships.give_bonus(tx, now, sub, payment_id, settings)
    if before in ("past_due", "unpaid") and still_open:
        return
    if before == "paused":
        memberships.stand_still(tx, now, sub)
        return
    type = {"incomplete": "activated", "expired": "activated"}.get(before, "renewed")
    steps.move(tx, now, sub, "paid", type, invoice=shown)
    if before in ("past_due", "unpaid"):
        steps.tell(tx, now, sub, "recovered", was=before, invoice=shown)


def _sold(tx: Tx, row: InvoiceRow) -> Mapping[str, Any]:
    """The plan, its version and the seats that an invoice bills; empty where it names none."""
    return tx.one(
        "select plan_id, plan_version, quantity from invoice_items"
        " where customer_id = %(customer_id)s and invoice_id = %(id)s and kind = 'recurring'"
        " and plan_id is not null order by position limit 1",
        {"customer_id": row.customer_id, "id": row.id},
    ) or {}


def _as_if_resumed(sub: Sub, now: datetime) -> Sub:
    """In a pause the time that credits are for begins when it was paused."""
    if sub.state != "paused" or sub.paused_at is None:
        return sub
    stood = now - sub.paused_at
    return replace(sub, anchor=sub.anchor + stood, period_start=sub.period_start + stood,
                   period_end=sub.period_end + stood)  # fmt: skip


def _begin_again(sub: Sub, told: Terms, now: datetime) -> None:
    """It stood still unpaid: what is paid for at last begins now."""
    sub.anchor, sub.anchor_period, sub.period_start = now, sub.period, now
    sub.period_end = periods.boundary(now, told.interval_unit, told.interval_count, 1, sub.zone)
    sub.credits_month = 0
    sub.told = {name: value for name, value in sub.told.items() if name != "stood"}


def _go_on(tx: Tx, now: datetime, sub: Sub, told: Terms, settings: Settings) -> None:
    """It stood still unpaid, and an earlier period was the last to be paid: the running one, paid
    before, begins now if it gave nothing when it was; else the next one does, once it is over. So
    no period that nobody was served in is billed."""
    newest = tx.one(
        "select payment_id, paid_at from invoices where customer_id = %(customer_id)s"
        " and subscription_id = %(id)s and cycle = %(cycle)s and state = 'paid'",
        {"customer_id": sub.customer_id, "id": sub.id, "cycle": sub.period},
    )
    if newest is not None and newest["paid_at"] >= sub.period_end:
        _begin_again(sub, told, now)
        until = steps.until_of(told, sub.period_end)
        steps.give_access(tx, now, sub, told, until, newest["payment_id"])
        if told.credits_rollover == "none":  # What rolls over was given when it was paid.
            memberships.give(tx, now, sub, told, 0, newest["payment_id"], settings)
    elif sub.period_end <= now:
        sub.anchor, sub.anchor_period, sub.period_end = now, sub.period + 1, now
        sub.period_start = min(sub.period_start, now - steps.INSTANT)


def failed(tx: Tx, now: datetime, row: InvoiceRow, payment: ServicePayment) -> None:
    """A payment for an invoice ended without money. The head is locked."""
    if row.subscription_id is None or row.runner != "paydesk":
        return
    sub = steps.read(tx, row.customer_id, row.subscription_id)
    if row.reason == "subscription_update":
        from paydesk.flows import subscription_changes

        subscription_changes.failed(tx, now, sub, row)
    elif sub.state in _ASKED and row.state == "open":
        is_page = payment.checkout_id is not None
        if is_page and payment.state != "failed" and row.first_failed_at is None:
            return  # A page that nobody paid on is no failed try.
        code = row.error_code if payment.state == "failed" else payment.error_code
        dunning.failed(tx, now, sub, row, code)
    else:
        return
    steps.save(tx, now, sub)


def voided(tx: Tx, now: datetime, row: InvoiceRow, settings: Settings) -> None:
    """A period's invoice is void: nothing is owed for it, and its dunning is over. What the plan
    opens is open, its credits are of what is paid. The head is locked."""
    if row.subscription_id is None or row.runner != "paydesk" or row.cycle is None:
        return
    sub = steps.read(tx, row.customer_id, row.subscription_id)
    before = sub.state
    if before not in ("past_due", "unpaid") or row.reason == "subscription_update":
        return
    told, still_open = steps.terms(tx, sub), steps.open_invoices(tx, sub)
    if before == "unpaid" and not still_open:
        _go_on(tx, now, sub, told, settings)
    if row.cycle == sub.period and (before == "past_due" or not still_open):
        steps.give_access(tx, now, sub, told, steps.until_of(told, sub.period_end), None)
    if not still_open:
        steps.move(tx, now, sub, "paid", "recovered", invoice=ids.show("invoice", row.id))
    steps.save(tx, now, sub)


def method_saved(
    tx: Tx, now: datetime, customer_id: UUID, setup: Mapping[str, Any]
) -> None:
    """A setup is finished; where a subscription waits for it, its trial begins."""
    shown = (setup["metadata"] or {}).get("subscription_id")
    if not shown:
        return
    try:
        sub = steps.read(tx, customer_id, ids.parse("subscription", shown))
    except NotFound:
        return
    if sub.state != "incomplete" or not sub.told.get("trial_days"):
        return
    try:
        steps.check_free(tx, sub.customer_id, sub.family, but=sub.id)
    except SubscriptionAlreadyActive:
        return  # The method is saved all the same; this one lapses.
    subscription_trials.begin(tx, now, sub, sub.told["trial_days"])
    steps.save(tx, now, sub)


invoices.ON_PAID.append(paid)
invoices.ON_FAILED.append(failed)
invoice_books.ON_VOIDED.append(voided)
