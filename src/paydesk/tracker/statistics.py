"""A user's payments in sums."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from .models import PHASE, PaymentRecord, PaymentStatistics


def summarize(payments: Iterable[PaymentRecord]) -> PaymentStatistics:
    """What each sum counts is written at PaymentStatistics."""
    spent: dict[str, int] = {}
    total = completed = pending = failed = refunded = credits = 0
    last: datetime | None = None
    for payment in payments:
        total += 1
        completed += payment.state in ("succeeded", "partially_refunded")
        pending += PHASE[payment.state] <= 1
        failed += PHASE[payment.state] == 2
        refunded += payment.state in ("refunded", "partially_refunded")
        credits += payment.credits_to_add if payment.credits_added else 0
        kept = payment.captured_cents - payment.refunded_cents
        if kept:
            spent[payment.currency] = spent.get(payment.currency, 0) + kept
        if payment.created_at and (last is None or payment.created_at > last):
            last = payment.created_at
    return PaymentStatistics(
        total_payments=total,
        completed_payments=completed,
        pending_payments=pending,
        failed_payments=failed,
        refunded_payments=refunded,
        total_credits_purchased=credits,
        total_spent_usd=Decimal(spent.get("usd", 0)).scaleb(-2),
        spent_cents=spent,
        last_payment_at=last,
    )
