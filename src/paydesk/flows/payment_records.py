"""Payment records as the services family keeps them: each payment, and each refund as its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.flows import payments
from paydesk.flows.payments import PaymentView
from paydesk.flows.subscription_payments import PaidFor, paid_for
from paydesk.rules.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundEntry:
    """A refund as an entry of a payment's history."""

    id: UUID
    payment_id: UUID
    amount: Money
    state: str
    reason: str | None
    provider_ref: str | None
    error_message: str | None
    response: dict[str, Any] | None
    succeeded_at: datetime | None
    failed_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A payment, or a refund of it. `url` is the page of its last session; `refunded_at` and
    `refund_reason` are of the payment's last refund; `response` is the provider's last answer, of
    a refund what it answered to that. `paid_for` tells of a subscription's payment."""

    payment: PaymentView
    refund: RefundEntry | None
    url: str | None
    response: dict[str, Any] | None
    refunded_at: datetime | None
    refund_reason: str | None
    paid_for: PaidFor | None = None

    @property
    def id(self) -> UUID:
        return self.refund.id if self.refund else self.payment.id

    @property
    def service_id(self) -> UUID | None:
        """The service, or the subscription, that the payment is for."""
        return self.paid_for.subscription_id if self.paid_for else self.payment.service_id


def get(
    env: Env, customer_id: UUID, payment_id: UUID, refund_id: UUID | None = None
) -> Record:
    """The record of one payment, or of one refund of it. Raises NotFound."""
    with env.db.read() as tx:
        payment = payments.view(tx, customer_id, payment_id)
        refund = _refunds(tx, customer_id, [refund_id])[refund_id] if refund_id else None
        return _records(tx, customer_id, [(payment, refund)])[0]


def history(
    env: Env,
    customer_id: UUID,
    *,
    service_id: UUID | None = None,
    states: Sequence[str] | None = None,
    refund_states: Sequence[str] | None = None,
    payment_type: str | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    limit: int = 20,
    after: UUID | None = None,
) -> list[Record]:
    """A customer's payments and refunds in one list, newest first. `after`: older than the
    payment or refund of this id. `service_id`: only what was paid for this service or this
    subscription. `states` are payments', `refund_states` refunds'; `payment_type` refund: no
    payments."""
    values = {
        "customer_id": customer_id, "service_id": service_id, "limit": limit, "after": after,
        "states": None if states is None else list(states),
        "refund_states": None if refund_states is None else list(refund_states),
        "type": payment_type, "from": created_from, "to": created_to,
    }  # fmt: skip
    with env.db.read() as tx:
        rows = tx.all(_ENTRIES, values)
        found = payments.views(tx, [(customer_id, row["payment_id"]) for row in rows])
        by_id = {one.id: one for one in found}
        refunds = _refunds(tx, customer_id, [r["id"] for r in rows if r["id"] != r["payment_id"]])
        return _records(
            tx, customer_id,
            [(by_id[row["payment_id"]], refunds.get(row["id"])) for row in rows],
        )  # fmt: skip


_ENTRIES = """
    with entries as (
        select p.id, p.id as payment_id, p.created_at from payments p
        where p.customer_id = %(customer_id)s and p.deleted_at is null
        and (%(service_id)s::uuid is null or p.service_id = %(service_id)s
            or (p.terms -> 'goods' ->> 'subscription')::uuid = %(service_id)s)
        and (%(states)s::text[] is null or p.state = any(%(states)s))
        and (%(type)s::text is null or p.payment_type = %(type)s)
        union all
        select r.id, r.payment_id, r.created_at from refunds r
        join payments p on p.customer_id = r.customer_id and p.id = r.payment_id
        where r.customer_id = %(customer_id)s and p.deleted_at is null
        and (%(service_id)s::uuid is null or p.service_id = %(service_id)s
            or (p.terms -> 'goods' ->> 'subscription')::uuid = %(service_id)s)
        and (%(refund_states)s::text[] is null or r.state = any(%(refund_states)s))
        and coalesce(%(type)s, 'refund') = 'refund'
    )
    select e.id, e.payment_id from entries e
    where (%(after)s::uuid is null
        or (e.created_at, e.id) < (select created_at, id from entries where id = %(after)s))
    and (%(from)s::timestamptz is null or e.created_at >= %(from)s)
    and (%(to)s::timestamptz is null or e.created_at < %(to)s)
    order by e.created_at desc, e.id desc limit %(limit)s
"""


def _refunds(tx: Tx, customer_id: UUID, refund_ids: list[UUID]) -> dict[UUID, RefundEntry]:
    if not refund_ids:
        return {}
    rows = tx.all(
        "select r.id, r.payment_id, r.amount_minor, r.currency, r.state, r.reason, r.provider_ref,"
        " r.error_message, c.result as response, r.succeeded_at, r.failed_at, r.created_at,"
        " r.updated_at from refunds r left join provider_calls c"
        "  on c.customer_id = r.customer_id and c.id = r.call_id"
        " where r.customer_id = %(customer_id)s and r.id = any(%(ids)s)",
        {"customer_id": customer_id, "ids": refund_ids},
    )
    return {
        row["id"]: RefundEntry(
            amount=Money(row.pop("amount_minor"), row.pop("currency"), minor=True), **row
        )
        for row in rows
    }


def _records(
    tx: Tx, customer_id: UUID, wanted: list[tuple[PaymentView, RefundEntry | None]]
) -> list[Record]:
    """With the last session's page, the last answer, and the last refund of each payment."""
    rows = tx.all(
        "select k.id, a.url, b.response, r.reason, r.succeeded_at"
        " from unnest(%(ids)s::uuid[]) as k(id)"
        " left join lateral (select url from attempts where customer_id = %(customer_id)s"
        "  and payment_id = k.id and url is not null order by created_at desc, id desc limit 1)"
        "  a on true"
        " left join lateral (select response from attempts where customer_id = %(customer_id)s"
        "  and payment_id = k.id and response is not null order by created_at desc, id desc"
        "  limit 1) b on true"
        " left join lateral (select reason, succeeded_at from refunds"
        "  where customer_id = %(customer_id)s and payment_id = k.id and state = 'succeeded'"
        "  order by succeeded_at desc, id desc limit 1) r on true",
        {"customer_id": customer_id, "ids": list({payment.id for payment, _ in wanted})},
    )
    more = {row["id"]: row for row in rows}
    plans = paid_for(tx, customer_id, [payment.id for payment, _ in wanted])
    return [
        Record(
            payment=payment, refund=refund, url=more[payment.id]["url"],
            response=refund.response if refund else more[payment.id]["response"],
            refunded_at=more[payment.id]["succeeded_at"],
            refund_reason=more[payment.id]["reason"], paid_for=plans.get(payment.id),
        )
        for payment, refund in wanted
    ]  # fmt: skip
