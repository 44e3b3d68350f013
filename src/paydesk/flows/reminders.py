"""Reminders: who has yet to pay by hand, or an invoice that nobody charges, is told so again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.flows import attempts, clock_sources, events, heads, invoice_books, notifications
from paydesk.flows.clock_sources import Due
from paydesk.flows.sweeps import WAIT_S, one_row
from paydesk.settings import Settings
from paydesk.tracker.stores.joined import JoinedStore

#: The providers whose payments a person confirms.
BY_HAND = ("manual", "natcash")
#: By kind of mail: what waits, since when, and its owner. Each begins at an index.
_PAYMENTS = """select p.customer_id, p.id, coalesce(r.last_at, p.created_at) as since
    from payments p left join reminders r on r.customer_id = p.customer_id and r.object_id = p.id
    where p.state = 'pending' and p.clock_id is null and p.provider = any(%(providers)s)
    and p.deleted_at is null and p.created_at <= %(before)s"""
_INVOICES = """select i.customer_id, i.id, coalesce(r.last_at, i.due_at, i.finalized_at) as since
    from invoices i left join reminders r on r.customer_id = i.customer_id and r.object_id = i.id
    where i.state = 'open' and i.clock_id is null and i.try_at is null and i.due_minor > 0
    and i.runner = 'paydesk' and i.finalized_at <= %(before)s
    and coalesce(i.due_at, i.finalized_at) <= %(before)s"""
_DUE = """ and coalesce(r.sent, 0) < %(most)s and coalesce(r.last_at, '-infinity') <= %(before)s
    order by since limit %(limit)s"""


def remind_due(env: Env, limit: int = 100) -> int:
    """Sweep: remind of what has waited for the days of the setting; answers of how much."""
    days, on = env.settings.payment_reminder_days, notifications.kinds_on(env.settings)
    if not days:
        return 0
    now, done = env.now(), 0
    values = {"before": now - timedelta(days=days), "limit": limit,
              "most": env.settings.payment_reminder_most, "providers": _by_hand(env)}  # fmt: skip
    with env.db.read() as tx:
        asked = tx.all(_PAYMENTS + _DUE, values) if "payment_reminder" in on else []
        open_ = tx.all(_INVOICES + _DUE, values) if "invoice_reminder" in on else []
    for row in asked:
        with one_row("reminders", row["id"]):
            done += remind(env, row["customer_id"], row["id"])
    for row in open_:
        with one_row("reminders", row["id"]):
            done += remind_of_invoice(env, row["customer_id"], row["id"])
    return done


def _by_hand(env: Env) -> Sequence[str]:
    return [name for name in env.providers if "offline" in env.providers[name].can]


def remind(env: Env, customer_id: UUID, payment_id: UUID) -> bool:
    """Remind of one payment if it still waits and its days are over; whether this call did."""
    with env.db.transaction(customer_id, wait_s=WAIT_S) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        payment = JoinedStore(tx.conn).get_many([(customer_id, payment_id)])[0]
        if payment is None or payment.state != "pending" or payment.created_at is None:
            return False
        number = _count(env, tx, now, customer_id, payment_id, payment.created_at)
        if number is None:
            return False
        told = attempts.state_event(payment, now, type="payment.reminder")
        events.emit(tx, customer_id, told.type, payment_id, {**told.data, "number": number}, at=now)
    return True


def remind_of_invoice(env: Env, customer_id: UUID, invoice_id: UUID) -> bool:
    """Remind of one open invoice if its days are over and nobody charges it."""
    with env.db.transaction(customer_id, wait_s=WAIT_S) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        row = invoice_books.get(tx, customer_id, invoice_id)
        waits = row.state == "open" and row.due_minor > 0 and row.try_at is None
        if not waits or row.finalized_at is None or _is_charged(tx, row):
            return False
        # Nobody is reminded before the day on which the money is expected.
        expected = row.due_at or row.finalized_at
        number = _count(env, tx, now, customer_id, invoice_id, expected)
        if number is None:
            return False
        data = {
            "status": row.state, "reason": row.reason, "total": row.total_minor,
            "due": row.due_minor, "currency": row.currency, "number": row.number,
            "subscription_id": str(row.subscription_id) if row.subscription_id else None,
            "reminder": number,
        }  # fmt: skip
        events.emit(tx, customer_id, "invoice.reminder", invoice_id, data, at=now)
    return True


def _is_charged(tx: Tx, row: Any) -> bool:
    """Whether money is on its way; a page that was opened and left is none."""
    return bool(tx.value(
        "select exists (select 1 from payments where customer_id = %(customer_id)s"
        " and payable = %(payable)s and state in ('processing', 'authorized'))",
        {"customer_id": row.customer_id, "payable": row.payable},
    ))  # fmt: skip


def _count(
    env: Env, tx: Tx, now: datetime, customer_id: UUID, object_id: UUID, since: datetime
) -> int | None:
    """Count one more reminder; its number, None where it is not its time or there were enough."""
    settings = env.settings
    before = now - timedelta(days=settings.payment_reminder_days)
    if not settings.payment_reminder_days or since > before:
        return None
    return tx.value(
        "insert into reminders as r (customer_id, object_id, sent, last_at)"
        " select %(customer_id)s, %(object_id)s, 1, %(now)s where %(most)s >= 1"
        " on conflict (customer_id, object_id) do update"
        " set sent = r.sent + 1, last_at = excluded.last_at"
        " where r.sent < %(most)s and r.last_at <= %(before)s returning sent",
        {"customer_id": customer_id, "object_id": object_id, "now": now, "before": before,
         "most": settings.payment_reminder_most},
    )  # fmt: skip


# Customers on clocks -----------------------------------------------------------------------------


def _values(kind: str, settings: Settings) -> dict[str, Any]:
    days = settings.payment_reminder_days
    return {"reminder_after": timedelta(days=days), "reminder_most": settings.payment_reminder_most,
            "reminder_by_hand": list(BY_HAND),
            f"tells_{kind}": days > 0 and kind in notifications.kinds_on(settings)}  # fmt: skip


clock_sources.register(Due(
    name="payment_reminders", rank=90, step=remind,
    values=lambda settings: _values("payment_reminder", settings),
    find="select coalesce(r.last_at, t.created_at) + %(reminder_after)s as due_at, t.customer_id,"
    " t.id from clock_customers k join payments t using (customer_id)"
    " left join reminders r on r.customer_id = t.customer_id and r.object_id = t.id"
    " where k.clock_id = %(clock_id)s and %(tells_payment_reminder)s and t.state = 'pending'"
    " and t.deleted_at is null and t.provider = any(%(reminder_by_hand)s)"
    " and coalesce(r.sent, 0) < %(reminder_most)s"
    " and coalesce(r.last_at, t.created_at) + %(reminder_after)s <= %(until)s",
))  # fmt: skip
clock_sources.register(Due(
    name="invoice_reminders", rank=90, step=remind_of_invoice,
    values=lambda settings: _values("invoice_reminder", settings),
    find="select coalesce(r.last_at, t.due_at, t.finalized_at) + %(reminder_after)s as due_at,"
    " t.customer_id, t.id from clock_customers k join invoices t using (customer_id)"
    " left join reminders r on r.customer_id = t.customer_id and r.object_id = t.id"
    " where k.clock_id = %(clock_id)s and %(tells_invoice_reminder)s and t.state = 'open'"
    " and t.try_at is null and t.due_minor > 0 and t.runner = 'paydesk'"
    " and coalesce(r.sent, 0) < %(reminder_most)s"
    " and not exists (select 1 from payments p where p.customer_id = t.customer_id"
    "  and p.payable = 'invoice:' || t.id and p.state in ('processing', 'authorized'))"
    " and coalesce(r.last_at, t.due_at, t.finalized_at) + %(reminder_after)s <= %(until)s",
))  # fmt: skip
