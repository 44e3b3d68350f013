"""What we know that speaks against a dispute, as texts of evidence to start a draft from."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.flows import customers, dispute_views, payments
from paydesk.flows.dispute_views import DisputeView
from paydesk.flows.payments import PaymentView
from paydesk.rules.disputes import MAX_TEXT

#: So many lines of use tell enough.
_LINES = 200


def suggest(env: Env, customer_id: UUID, dispute_id: UUID) -> dict[str, str]:
    """Field -> text, of what is on record: who bought what when, and what was used since.

    Changes nothing: whoever drafts the evidence decides what of it is said.
    """
    who = customers.get(env, customer_id)
    with env.db.read() as tx:
        dispute = dispute_views.view(tx, customer_id, dispute_id)
        payment = payments.view(tx, customer_id, dispute.payment_id)
        log = _usage(tx, payment) + _access(tx, payment)
    found = {
        "customer_name": who.name,
        "customer_email_address": who.email,
        "product_description": _product(payment),
        "service_date": _day(payment.credits_added_at or payment.completed_at),
        "access_activity_log": "\n".join(sorted(log))[:MAX_TEXT],
        "uncategorized_text": _story(payment, dispute, len(log)),
    }
    return {field: text for field, text in found.items() if text}


def _usage(tx: Tx, payment: PaymentView) -> list[str]:
    """Spends that took credits of this very payment."""
    rows = tx.all(
        "select t.effective_at as at, sum(d.amount)::bigint as credits, t.note, t.reference"
        " from batches b join draws d on d.customer_id = b.customer_id and d.batch_id = b.id"
        " join transfers t on t.customer_id = d.customer_id and t.id = d.transfer_id"
        " where b.customer_id = %(customer_id)s and b.payment_id = %(payment_id)s"
        " and t.reason = 'CREDIT_USAGE' group by t.seq, t.effective_at, t.note, t.reference"
        " order by t.seq limit %(limit)s",
        {"customer_id": payment.customer_id, "payment_id": payment.id, "limit": _LINES},
    )
    return [
        " ".join(filter(None, (
            _instant(row["at"]), f"used {row['credits']} credits", row["note"] and
            f"for {row['note']}", row["reference"] and f"({row['reference']})",
        )))
        for row in rows
    ]  # fmt: skip


def _access(tx: Tx, payment: PaymentView) -> list[str]:
    rows = tx.all(
        "select starts_at as at, resource_type || ' ' || resource_id as resource"
        " from access_grants where customer_id = %(customer_id)s and payment_id = %(payment_id)s"
        " order by starts_at, id limit %(limit)s",
        {"customer_id": payment.customer_id, "payment_id": payment.id, "limit": _LINES},
    )
    return [f"{_instant(row['at'])} was given access to {row['resource']}" for row in rows]


def _product(payment: PaymentView) -> str:
    name = payment.package_name or payment.description or "Digital goods"
    return f"{name}, {payment.credits:,} credits" if payment.credits else name


def _story(payment: PaymentView, dispute: DisputeView, uses: int) -> str:
    """The payment in sentences."""
    said = [f"{payment.amount} was paid on {_day(payment.completed_at)}"
            + (f" by {payment.method}." if payment.method else ".")]  # fmt: skip
    goods: Any = payment.fulfillment
    if goods is not None and goods.done_at is not None:
        said.append(f"The order was delivered electronically on {_instant(goods.done_at)}.")
    if uses:
        said.append("The customer used it; the activity log lists when.")
    if payment.refunded:
        said.append(f"{payment.refunded} was refunded before.")
    elif dispute.state in ("warning", "needs_response"):
        said.append("No refund was made.")
    return " ".join(said)


def _day(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d") if at else ""


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
