"""A customer's head: the instant that decisions are taken at, and the day's count."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from paydesk.db.postgres import Tx
from paydesk.errors import TransactionLimit
from paydesk.rules.money import Money, times


def decide(tx: Tx, now: datetime, customer_id: UUID) -> datetime:
    """The instant to decide at: `now`, but never before the customer's last decision.

    The head must be locked. The instant is kept there and written with the next event.
    """
    head = tx.heads[customer_id]
    head.last_at = max(head.last_at, now)
    return head.last_at


def count_day(tx: Tx, customer_id: UUID, now: datetime, n: int, limit: int) -> int:
    """Count `n` more transactions of the UTC day; answers the day's number with them.

    Raises TransactionLimit, and counts nothing, when the day would have more than `limit`.
    """
    assert customer_id in tx.heads, "the head must be locked"
    day = now.astimezone(UTC).date()
    used = tx.value(
        "update heads set day = greatest(day, %(day)s),"
        " day_used = case when day < %(day)s then 0 else day_used end + %(n)s"
        " where customer_id = %(customer_id)s"
        " and case when day < %(day)s then 0 else day_used end + %(n)s <= %(limit)s"
        " returning day_used",
        {"day": day, "n": n, "limit": limit, "customer_id": customer_id},
    )
    if used is None:
        raise TransactionLimit(
            f"This customer may make {limit} transactions a day (UTC).", limit=limit
        )
    return used


def count_amount(tx: Tx, customer_id: UUID, now: datetime, amount: Money, most: Decimal) -> None:
    """Count an amount towards what a customer may pay on the UTC day; `most` in major units of
    its currency, 0 for no limit.

    Raises TransactionLimit, and counts nothing, where the day would have more.
    """
    if not most:
        return
    assert customer_id in tx.heads, "the head must be locked"
    limit = times(most, 1, amount.currency).minor
    used = tx.value(
        "insert into daily_amounts as d (customer_id, day, currency, amount_minor)"
        " select %(customer_id)s, %(day)s, %(currency)s, %(amount)s where %(amount)s <= %(limit)s"
        " on conflict (customer_id, day, currency) do update"
        " set amount_minor = d.amount_minor + excluded.amount_minor"
        " where d.amount_minor + excluded.amount_minor <= %(limit)s returning amount_minor",
        {
            "customer_id": customer_id, "day": now.astimezone(UTC).date(), "limit": limit,
            "currency": amount.currency, "amount": amount.minor,
        },
    )  # fmt: skip
    if used is None:
        raise TransactionLimit(
            f"This customer may pay {most} {amount.currency.upper()} a day (UTC).", limit=limit
        )
