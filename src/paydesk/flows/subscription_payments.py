"""What payments for subscriptions were for: the plan, the period, the code, and whose they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

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
    "select p.customer_id, p.id as payment_id, i.id as invoice_id, i.subscription_id, i.reason,"
    " s.zone, g.id as plan_id, g.key as plan_key, g.name as plan_name, g.kind, v.interval_unit,"
    " v.interval_count, i.period_start, i.period_end,"
    " case when i.discount_minor > 0 then s.discount ->> 'code' end as code"
    " from unnest(%(customers)s::uuid[], %(ids)s::uuid[]) as k(c, p)"
    " join payments p on p.customer_id = k.c and p.id = k.p"
    " join invoices i on i.customer_id = p.customer_id"
    "  and i.id = (p.terms -> 'goods' ->> 'invoice')::uuid"
    " join subscriptions s on s.customer_id = i.customer_id and s.id = i.subscription_id",
    _PLAN,
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

    customer_id: UUID
    payment_id: UUID
    invoice_id: UUID
    subscription_id: UUID
    reason: str
    plan_id: UUID
    plan_key: str
    plan_name: str
    kind: str
    zone: str
    interval_unit: str
    interval_count: int
    period_start: datetime | None
    period_end: datetime | None
    code: str | None

    @property
    def words(self) -> str:
        """What was paid for, for people."""
        return _words(self.reason, self.plan_name, self.interval_unit, self.interval_count)

    @property
    def is_change(self) -> bool:
        return self.reason == "subscription_update"

    @property
    def text(self) -> str:
        """What was paid for and for which time: `Pro, Nov 21 – Dec 21, 2026`, by the calendar of
        the subscription."""
        name = f"Change to {self.plan_name}" if self.is_change else self.plan_name
        if self.period_start is None or self.period_end is None:
            return name
        return f"{name}, {_span(self.period_start, self.period_end, ZoneInfo(self.zone))}"


def _span(start: datetime, end: datetime, zone: ZoneInfo) -> str:
    """`Nov 21 – Dec 21, 2026`, with both years where they differ."""
    first, last = start.astimezone(zone), end.astimezone(zone)
    year = "" if first.year == last.year else f", {first.year}"
    return f"{first:%b} {first.day}{year} – {last:%b} {last.day}, {last.year}"


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
    found = of_payments(tx, [(customer_id, one) for one in payment_ids])
    return {key[1]: one for key, one in found.items()}


def of_payments(tx: Tx, keys: Sequence[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], PaidFor]:
    """By (customer, payment), in one statement; payments for other things are not in it."""
    if not keys:
        return {}
    rows = tx.all(
        _PAID_FOR,
        {"customers": [one[0] for one in keys], "ids": [one[1] for one in keys]},
    )
    return {(row["customer_id"], row["payment_id"]): PaidFor(**row) for row in rows}


def words_of(tx: Tx, customer_id: UUID, invoice_id: UUID) -> str | None:
    """What an invoice of a subscription asks money for, as whoever pays reads it at the provider;
    None for one of no subscription."""
    row = tx.one(
        _NAMED,
        {"customer_id": customer_id, "id": invoice_id},
    )
    return _words(**row) if row else None
