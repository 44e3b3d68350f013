"""What follows from a payment's record alone: no store, no clock."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from .exceptions import IllegalTransition, RefundTooLarge
from .models import PAID_STATES, PaymentRecord


def grantable(payment: PaymentRecord, now: datetime) -> bool:
    """Are there credits to grant, and does nobody else grant them at this moment?"""
    if payment.credits_added or payment.state == "refunded":
        return False
    return payment.claim_expires_at is None or payment.claim_expires_at <= now


def paid_changes(
    payment: PaymentRecord, provider_payment_id: str | None, captured_cents: int | None
) -> dict[str, Any]:
    """What else changes when the money comes: all of it unless `captured_cents` says how much."""
    return {
        "captured_cents": payment.amount_cents if captured_cents is None else captured_cents,
        "provider_payment_id": provider_payment_id or payment.provider_payment_id,
    }


def refund_state(payment: PaymentRecord, refunded_cents: int) -> str:
    """The state after so much has gone back in all. Raises TypeError for a float,
    IllegalTransition before the money came, RefundTooLarge beyond what was captured."""
    if type(refunded_cents) is not int:
        raise TypeError("refunded_cents is a whole number of the currency's minor unit")
    if payment.state not in PAID_STATES:
        raise IllegalTransition(payment.id, payment.state, "refunded")
    if not 0 <= refunded_cents <= payment.captured_cents:
        captured = payment.captured_cents
        raise RefundTooLarge(f"payment {payment.id}: {refunded_cents} of {captured} captured")
    if refunded_cents == 0:
        return "succeeded"
    return "refunded" if refunded_cents == payment.captured_cents else "partially_refunded"


def stamps(record: PaymentRecord, to_state: str, now: datetime) -> dict[str, datetime]:
    """The time of the first arrival in a state, where the record has a field for it."""
    column = {"succeeded": "completed_at", "failed": "failed_at", "canceled": "canceled_at"}.get(
        to_state
    )
    if column is None or to_state == record.state or column not in type(record).model_fields:
        return {}
    return {} if getattr(record, column) else {column: now}
