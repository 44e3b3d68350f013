"""Refunds as they are read: one, those of a payment, lists; and what is left to refund."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import InvalidRequest, NotFound
from paydesk.flows import payments
from paydesk.flows.payments import PaymentView
from paydesk.rules.money import Money
from paydesk.rules.refunds import LIVE_STATES, refundable
from paydesk.tracker.stores.joined import ServicePayment

Key = tuple[UUID, UUID]

STATES = ("requested", "rejected", "pending", "succeeded", "failed", "canceled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of `refunds`, amounts in minor units of `currency`."""

    customer_id: UUID
    id: UUID
    payment_id: UUID
    amount_minor: int
    currency: str
    state: str
    origin: str
    reason: str | None
    note: str | None
    forced: bool
    provider: str
    provider_account: str
    provider_ref: str | None
    call_id: UUID | None
    requested_by: str | None
    decided_by: str | None
    decided_at: datetime | None
    decision_note: str | None
    loss_minor: int
    txn_id: UUID | None
    reversal_txn_id: UUID | None
    error_code: str | None
    error_message: str | None
    metadata: dict[str, Any]
    succeeded_at: datetime | None
    failed_at: datetime | None
    request_hash: bytes
    charge_ref: str | None
    requested_persons: list[str] | None
    clock_id: UUID | None
    created_at: datetime
    updated_at: datetime

    @property
    def covered_minor(self) -> int:
        """What of it is captured money; the rest is a loss."""
        return self.amount_minor - self.loss_minor


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundView:
    """A refund and its payment as they stand. `loss`: refunded beyond what was captured.

    `credits_taken_back`, `credits_owed` and `credits_forgiven` are whole credits and zero once
    the refund has failed; `access_revoked` counts what a full refund took of access.
    """

    id: UUID
    customer_id: UUID
    payment_id: UUID
    amount: Money
    state: str
    origin: str
    reason: str | None
    note: str | None
    forced: bool
    provider: str
    provider_ref: str | None
    requested_by: str | None
    decided_by: str | None
    decided_at: datetime | None
    decision_note: str | None
    loss: Money
    error_code: str | None
    error_message: str | None
    metadata: dict[str, Any]
    credits_taken_back: int
    credits_owed: int
    credits_forgiven: int
    access_revoked: int
    succeeded_at: datetime | None
    failed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    payment: PaymentView

    @property
    def currency(self) -> str:
        return self.amount.currency

    def __repr__(self) -> str:
        return f"<Refund {ids.show('refund', self.id)} {self.state} {self.amount}>"


#: Every column of a Row; the statements below say which rows.
_ROWS: LiteralString = (
    "select r.customer_id, r.id, r.payment_id, r.amount_minor, r.currency, r.state, r.origin,"
    " r.reason, r.note, r.forced, r.provider, r.provider_account, r.provider_ref, r.call_id,"
    " r.requested_by, r.decided_by, r.decided_at, r.decision_note, r.loss_minor, r.txn_id,"
    " r.reversal_txn_id, r.error_code, r.error_message, r.metadata, r.succeeded_at, r.failed_at,"
    " r.request_hash, r.charge_ref, r.requested_persons, r.clock_id, r.created_at,"
    " r.updated_at from refunds r where "
)


def row(tx: Tx, customer_id: UUID, refund_id: UUID) -> Row:
    """Raises NotFound, also for another customer's."""
    found = tx.one(
        _ROWS + "r.customer_id = %(customer_id)s and r.id = %(id)s",
        {"customer_id": customer_id, "id": refund_id},
    )
    if found is None:
        raise NotFound(f"No such refund: {ids.show('refund', refund_id)}.")
    return Row(**found)


def of_request(tx: Tx, customer_id: UUID, request_key: UUID) -> Row | None:
    """The refund that was asked for with this key."""
    found = tx.one(
        _ROWS + "r.customer_id = %(customer_id)s and r.request_key = %(key)s",
        {"customer_id": customer_id, "key": request_key},
    )
    return Row(**found) if found else None


def rows_of_payment(tx: Tx, key: Key) -> list[Row]:
    """Every refund of a payment, oldest first."""
    found = tx.all(
        _ROWS + "r.customer_id = %(customer_id)s and r.payment_id = %(payment_id)s"
        " order by r.created_at, r.id limit 1000",
        {"customer_id": key[0], "payment_id": key[1]},
    )
    return [Row(**one) for one in found]


def left(tx: Tx, payment: ServicePayment, rows: Sequence[Row] | None = None) -> int:
    """What may still be refunded of a payment, in minor units: captured, less what is refunded or
    on its way, less what disputes hold. A loss took nothing of what was captured."""
    rows = rows_of_payment(tx, payment.key) if rows is None else rows
    held = tx.value(
        "select coalesce(sum(greatest(withdrawn_minor - reinstated_minor - loss_minor, 0)), 0)"
        "::bigint from disputes where customer_id = %(customer_id)s"
        " and payment_id = %(payment_id)s and currency = %(currency)s",
        {
            "customer_id": payment.customer_id, "payment_id": payment.key[1],
            "currency": payment.currency,
        },
    )  # fmt: skip
    live = [(one.state, one.covered_minor) for one in rows if one.currency == payment.currency]
    return refundable(payment.captured_cents, live, held)


def credited(tx: Tx, payment: ServicePayment, rows: Sequence[Row] | None = None) -> int:
    """What of `left` may not go back to the payer, because credit notes of the invoice that was
    paid gave it to the customer's balance: both together are never more than was asked for."""
    if payment.purpose != "invoice":
        return 0
    asked = tx.value(
        "select (i.total_minor - sum(n.written_off_minor + n.balance_minor))::bigint"
        " from invoices i join credit_notes n on n.customer_id = i.customer_id"
        "  and n.invoice_id = i.id and n.state = 'issued'"
        " where i.customer_id = %(customer_id)s and i.payment_id = %(payment_id)s"
        " and i.state = 'paid' and i.currency = %(currency)s group by i.total_minor",
        {
            "customer_id": payment.customer_id, "payment_id": payment.key[1],
            "currency": payment.currency,
        },
    )  # fmt: skip
    if asked is None:
        return 0
    rows = rows_of_payment(tx, payment.key) if rows is None else rows
    given = sum(one.covered_minor for one in rows
                if one.state in LIVE_STATES and one.currency == payment.currency)  # fmt: skip
    there = left(tx, payment, rows)
    return there - min(there, max(0, asked - given))


def get(env: Env, customer_id: UUID | None, refund_id: UUID) -> RefundView:
    """`customer_id`: whose it must be, None for any. Raises NotFound."""
    owner = ids.customer_of(refund_id)
    if customer_id is not None and owner != customer_id:
        raise NotFound(f"No such refund: {ids.show('refund', refund_id)}.")
    with env.db.read() as tx:
        return view(tx, owner, refund_id)


def view(tx: Tx, customer_id: UUID, refund_id: UUID) -> RefundView:
    """One refund as it stands in this transaction. Raises NotFound."""
    return views(tx, [row(tx, customer_id, refund_id)])[0]


def views(tx: Tx, rows: Sequence[Row]) -> list[RefundView]:
    """Refunds with their payments and what they took back; a few statements for any number."""
    if not rows:
        return []
    keys = list(dict.fromkeys((one.customer_id, one.payment_id) for one in rows))
    paid = {(one.customer_id, one.id): one for one in payments.views(tx, keys)}
    goods = tx.all(
        "select c.* from unnest(%(customers)s::uuid[], %(refunds)s::uuid[]) as k(c, r)"
        " cross join lateral (select customer_id, cause_id, goods, sum(taken)::bigint as taken,"
        "  sum(owed)::bigint as owed, sum(forgiven)::bigint as forgiven from clawbacks"
        "  where customer_id = k.c and cause_id = k.r and reversed_at is null"
        "  group by customer_id, cause_id, goods) c",
        {"customers": [one.customer_id for one in rows], "refunds": [one.id for one in rows]},
    )
    taken = {(one["cause_id"], one["goods"]): one for one in goods}
    return [_view(one, paid[one.customer_id, one.payment_id], taken) for one in rows]


def _view(one: Row, payment: PaymentView, taken: Mapping[Any, Mapping[str, Any]]) -> RefundView:
    credits = taken.get((one.id, "credits"), {"taken": 0, "owed": 0, "forgiven": 0})
    return RefundView(
        id=one.id, customer_id=one.customer_id, payment_id=one.payment_id,
        amount=Money(one.amount_minor, one.currency, minor=True), state=one.state,
        origin=one.origin, reason=one.reason, note=one.note, forced=one.forced,
        provider=one.provider, provider_ref=one.provider_ref, requested_by=one.requested_by,
        decided_by=one.decided_by, decided_at=one.decided_at, decision_note=one.decision_note,
        loss=Money(one.loss_minor, one.currency, minor=True), error_code=one.error_code,
        error_message=one.error_message, metadata=one.metadata,
        credits_taken_back=credits["taken"], credits_owed=credits["owed"],
        credits_forgiven=credits["forgiven"],
        access_revoked=taken.get((one.id, "access"), {"taken": 0})["taken"],
        succeeded_at=one.succeeded_at, failed_at=one.failed_at, created_at=one.created_at,
        updated_at=one.updated_at, payment=payment,
    )  # fmt: skip


def list_(
    env: Env,
    customer_id: UUID | None = None,
    *,
    payment_id: UUID | None = None,
    status: str | None = None,
    limit: int = 20,
    after: UUID | None = None,
) -> list[RefundView]:
    """Refunds, newest first: a payment's, a customer's, or everybody's.

    `after`: a refund's id, older than that. Raises InvalidRequest for an unknown status.
    """
    if status is not None and status not in STATES:
        raise InvalidRequest(f"status is one of {', '.join(STATES)}.", param="status")
    if payment_id is not None:
        owner = ids.customer_of(payment_id)
        if customer_id is not None and customer_id != owner:
            raise NotFound(f"No such payment: {ids.show('payment', payment_id)}.")
        customer_id = owner
    values: dict[str, Any] = {
        "customer_id": customer_id, "payment_id": payment_id, "status": status, "limit": limit,
        "cursor": after, "cursor_at": None,
    }  # fmt: skip
    with env.db.read() as tx:
        if after is not None:
            mark = row(tx, ids.customer_of(after), after)
            if customer_id is not None and mark.customer_id != customer_id:
                raise NotFound(f"No such refund: {ids.show('refund', after)}.")
            values["cursor_at"] = mark.created_at
        found = tx.all(_ONES if customer_id is not None else _EVERYBODYS, values)
        return views(tx, [Row(**one) for one in found])


_FILTERS: LiteralString = (
    " and (%(status)s::text is null or r.state = %(status)s::text)"
    " and (%(cursor)s::uuid is null"
    "  or (r.created_at, r.id) < (%(cursor_at)s::timestamptz, %(cursor)s::uuid))"
    " order by r.created_at desc, r.id desc limit %(limit)s"
)
_ONES = (
    _ROWS + "r.customer_id = %(customer_id)s"
    " and (%(payment_id)s::uuid is null or r.payment_id = %(payment_id)s::uuid)" + _FILTERS
)
_EVERYBODYS = _ROWS + "true" + _FILTERS
