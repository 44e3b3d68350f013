"""A customer's head: the instant that decisions are taken at, and the day's count.

What time it is for a customer is asked here and nowhere else: `decide` under the head's lock,
`now` to look at something. For a customer whose clock is moved by hand both answer that clock.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.errors import TransactionLimit
from paydesk.rules.money import Money, times

if TYPE_CHECKING:
    from paydesk.env import Env


def decide(tx: Tx, now: datetime, customer_id: UUID) -> datetime:
    """The instant to decide at: `now`, or what the customer's own clock says, but never before
    the customer's last decision.

    The head must be locked. The instant is kept there and written with the next event.
    """
    head = tx.heads[customer_id]
    head.asked_at = now
    head.last_at = head.instant(now)
    return head.last_at


def real(tx: Tx, now: datetime, customer_id: UUID) -> datetime:
    """As `decide`, for what happens outside, such as calls of a provider: no clock that is moved
    by hand moves it. `now` is the instant that `decide` answered."""
    head = tx.heads[customer_id]
    if head.clock_id is None:
        return now
    return head.asked_at or now


def now(env: Env, customer_id: UUID | None, tx: Tx | None = None) -> datetime:
    """The present as this customer sees it; everybody's where no customer is meant.

    Costs a look-up only for customers whose clock is moved by hand: their ids tell who they are.
    """
    at = env.now()
    if customer_id is None or not ids.may_have_clock(customer_id):
        return at
    if tx is not None:
        return seen(tx, at, customer_id)
    with env.db.read() as own:
        return seen(own, at, customer_id)


def seen(tx: Tx, now: datetime, customer_id: UUID) -> datetime:
    """As `now`, for what has no environment."""
    return clock_at(tx, customer_id) or now


def clock_at(tx: Tx, customer_id: UUID) -> datetime | None:
    """Where the customer's clock stands; None where it is everybody's."""
    if not ids.may_have_clock(customer_id):
        return None
    return tx.value(
        "select c.now_at from heads h join clocks c on c.id = h.clock_id"
        " where h.customer_id = %(customer_id)s",
        {"customer_id": customer_id},
    )


def is_on_its_way(tx: Tx, customer_id: UUID) -> bool:
    """Whether the customer's clock is being advanced: a provider may be ahead of the desk then."""
    return ids.may_have_clock(customer_id) and bool(tx.value(
        "select exists (select from heads h join clocks c on c.id = h.clock_id"
        " where h.customer_id = %(customer_id)s and c.advancing_to is not null"
        " and c.error is null and c.deleted_at is null)",
        {"customer_id": customer_id},
    ))  # fmt: skip


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
