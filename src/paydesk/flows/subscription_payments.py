"""What payments for subscriptions were for: the plan, the period, the code, and whose they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk.db.postgres import Tx

#: The plan that an invoice `i` of the subscription `s` charges, and its terms.
_PLAN = (
    "left join lateral (select x.plan_id, x.plan_version from invoice_items x"
    "  where x.customer_id = i.customer_id and x.invoice_id = i.id and x.plan_id is not null"
    "  order by (x.amount_minor > 0) desc, x.position limit 1) l on true"
    " join plans g on g.id = coalesce(l.plan_id, s.plan_id)"
    " join plan_versions v on v.plan_id = g.id"
    "  and v.version = coalesce(l.plan_version, s.plan_version)"
)
_PAID_FOR: Any = " ".join([
    "select p.id as payment_id, i.id as invoice_id, i.subscription_id, i.reason,"
    " g.id as plan_id, g.key as plan_key, g.name as plan_name, g.kind, v.interval_unit,"
    " v.interval_count, i.period_start, i.period_end,"
    " case when i.discount_minor > 0 then s.discount ->> 'code' end as code"
    " from payments p"
    " join invoices i on i.customer_id = p.customer_id"
    "  and i.id = (p.terms -> 'goods' ->> 'invoice')::uuid"
    " join subscriptions s on s.customer_id = i.customer_id and s.id = i.subscription_id",
    _PLAN, "where p.customer_id = %(customer_id)s and p.id = any(%(ids)s)",
])  # fmt: skip
_NAMED: Any = " ".join([
    "select i.reason, g.name, v.interval_unit as unit, v.interval_count as count"
    " from invoices i"
    " join subscriptions s on s.customer_id = i.customer_id and s.id = i.subscription_id",
    _PLAN, "where i.customer_id = %(customer_id)s and i.id = %(id)s",
])  # fmt: skip
_MONTHS = {"month": 1, "year": 12}


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidFor:
    """What an invoice of a subscription asked money for. `plan_*` is the plan that it charges, of
    a change the new one; `period_*` the time that it is for; `code` what took something off."""

    payment_id: UUID
    invoice_id: UUID
    subscription_id: UUID
    reason: str
    plan_id: UUID
    plan_key: str
    plan_name: str
    kind: str
    interval_unit: str
    interval_count: int
    period_start: datetime | None
    period_end: datetime | None
    code: str | None

    @property
    def words(self) -> str:
        """What was paid for, for people."""
        return _words(self.reason, self.plan_name, self.interval_unit, self.interval_count)


def _words(reason: str, name: str, unit: str, count: int) -> str:
    """`Premium Membership - 6 months`, `Change to Plus`."""
    if reason == "subscription_update":
        return f"Change to {name}"
    return f"{name} - {count} {unit}{'s' if count > 1 else ''}"


def months_of(unit: str, count: int) -> int:
    """A plan's interval in whole months; 0 for one that is shorter."""
    return _MONTHS.get(unit, 0) * count


def paid_for(tx: Tx, customer_id: UUID, payment_ids: Iterable[UUID]) -> dict[UUID, PaidFor]:
    """By payment; payments for other things are not in it."""
    wanted = list(payment_ids)
    if not wanted:
        return {}
    rows = tx.all(
        _PAID_FOR,
        {"customer_id": customer_id, "ids": wanted},
    )
    return {row["payment_id"]: PaidFor(**row) for row in rows}


def words_of(tx: Tx, customer_id: UUID, invoice_id: UUID) -> str | None:
    """What an invoice of a subscription asks money for, as whoever pays reads it at the provider;
    None for one of no subscription."""
    row = tx.one(
        _NAMED,
        {"customer_id": customer_id, "id": invoice_id},
    )
    return _words(**row) if row else None
