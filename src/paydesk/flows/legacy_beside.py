"""What stands beside old payments: services, saved methods, the provider's customers, access.

Each row is written once: its old id is remembered beside it, under its family.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.env import Env
from paydesk.flows import attempts, customers
from paydesk.flows.legacy_dump import Row
from paydesk.rules import legacy

#: Provider and account under which old numbers are looked up (`payments.find`).
SELF = "self"
ACCOUNT = "imported"


@dataclass(frozen=True, slots=True)
class _New:
    """A row in our words: whose it is, and the statement that writes it."""

    old_id: str
    customer: str
    query: str
    values: dict[str, Any]


def write(env: Env, family: str, rows: Sequence[Row], is_dry: bool) -> tuple[int, int]:
    """Bring rows of one table over; answers how many were new, and how many known or over."""
    now = env.now()
    wanted = [one for row in rows if (one := _READ[family](row, now)) is not None]
    with env.db.read() as tx:
        known = _known(tx, family, [one.old_id for one in wanted])
    fresh = [one for one in wanted if one.old_id not in known]
    if is_dry or not fresh:
        return len(fresh), len(rows) - len(fresh)
    whose = owners(env, {one.customer for one in fresh})
    with env.db.transaction(*set(whose.values())) as tx:
        known = _known(tx, family, [one.old_id for one in fresh])
        written = 0
        for one in {one.old_id: one for one in fresh if one.old_id not in known}.values():
            written += _write(tx, family, one, whose[one.customer])
    return written, len(rows) - written


def _write(tx: Tx, family: str, one: _New, owner: UUID) -> int:
    made = ids.new_owned(owner)
    values = {
        **one.values, "owner": owner, "id": made, "key": key_of(family, one.old_id),
        "metadata": jsonb({"imported_id": one.old_id}),
    }  # fmt: skip
    attempts.add_refs(tx, [(SELF, ACCOUNT, _ref(family, one.old_id), owner, made)])
    return tx.run(one.query, values)


def key_of(family: str, old_id: str) -> UUID:
    """The request key under which a row is written once."""
    return ids.request_key("import", family, old_id)


def _ref(family: str, old_id: str) -> str:
    return f"{family}:{old_id}"[:500]


def _known(tx: Tx, family: str, old_ids: Sequence[str]) -> set[str]:
    return {old_id for _, old_id in found(tx, family, old_ids)}


def found(tx: Tx, family: str, old_ids: Sequence[str]) -> dict[tuple[UUID, str], UUID]:
    """(customer, old id) -> the row that was brought over."""
    rows = tx.all(
        "select r.customer_id, r.object_id, k.old_id"
        " from unnest(%(refs)s::text[], %(ids)s::text[]) as k(ref, old_id)"
        " cross join lateral (select customer_id, object_id from provider_refs"
        "  where provider = %(self)s and account = %(account)s and ref = k.ref limit 1) r",
        {"refs": [_ref(family, one) for one in old_ids], "ids": list(old_ids), "self": SELF,
         "account": ACCOUNT},
    )  # fmt: skip
    return {(row["customer_id"], row["old_id"]): row["object_id"] for row in rows}


def owners(env: Env, names: set[str]) -> dict[str, UUID]:
    """The customers of the application's ids, made where absent: they are taken at their word."""
    there = known_owners(env, names)
    return there | {one: customers.ensure_imported(env, one) for one in names - there.keys()}


def known_owners(env: Env, names: set[str]) -> dict[str, UUID]:
    with env.db.read() as tx:
        rows = tx.all(
            "select external_id, customer_id from customer_refs where external_id = any(%(names)s)",
            {"names": sorted(names)},
        )
    return {row["external_id"]: row["customer_id"] for row in rows}


# One table after the other -----------------------------------------------------------------------


def _service(row: Row, now: datetime) -> _New:
    """A service without `payment_status`: whether one runs says `active` and its end."""
    currency = legacy.currency_of(row, "USD")
    ends = legacy.maybe_at(row.get("subscription_expires_at"))
    is_active = legacy.truth_of(row.get("active"))
    is_running = is_active and (ends is None or ends > now)
    return _New(
        legacy.id_of(row["id"]), legacy.id_of(row["customer_id"]),
        "insert into customer_services (customer_id, id, service_type, state, duration_months,"
        " fee_minor, currency, starts_at, expires_at, activated_at, metadata, created_at)"
        " values (%(owner)s, %(id)s, %(type)s, %(state)s, %(months)s, %(fee)s, %(currency)s,"
        " %(created)s, %(ends)s, case when %(state)s <> 'pending' then %(created)s end,"
        " %(metadata)s, %(created)s)",
        {
            "type": legacy.text_of(row["service_type"], 100),
            "state": "active" if is_running else "ended" if is_active or ends else "pending",
            "fee": legacy.money_of(row.get("subscription_fee") or 0, currency),
            "months": max(1, legacy.whole_of(row.get("subscription_duration") or 1)),
            "currency": currency, "created": legacy.at(row.get("created_at"), now), "ends": ends,
        },
    )  # fmt: skip


def _method(row: Row, now: datetime) -> _New:
    ref = legacy.id_of(row["stripe_payment_method_id"])
    month = row.get("card_exp_month") or row.get("exp_month")
    year = row.get("card_exp_year") or row.get("exp_year")
    return _New(
        legacy.id_of(row.get("id") or ref), legacy.id_of(row["user_id"]),
        "insert into payment_methods (customer_id, id, provider, ref, kind, brand, last4,"
        " exp_month, exp_year, metadata) values (%(owner)s, %(id)s, 'stripe', %(ref)s,"
        " %(kind)s, %(brand)s, %(last4)s, %(month)s, %(year)s, %(metadata)s)"
        " on conflict do nothing",
        {
            "ref": ref, "kind": legacy.word_of(row.get("type")) or "card",
            "brand": legacy.word_of(row.get("card_brand") or row.get("brand")),
            "last4": legacy.text_of(row.get("card_last4") or row.get("last4"), 4),
            "month": legacy.whole_of(month) if month else None,
            "year": legacy.whole_of(year) if year else None,
        },
    )  # fmt: skip


def _mapping(row: Row, now: datetime) -> _New:
    name = legacy.id_of(row["user_id"])
    return _New(
        name, name,
        "insert into provider_customers (customer_id, provider, ref) values"
        " (%(owner)s, 'stripe', %(ref)s) on conflict do nothing",
        {"ref": legacy.id_of(row["stripe_customer_id"])},
    )  # fmt: skip


def _access(row: Row, now: datetime) -> _New | None:
    """None for access that had ended."""
    kind, what = legacy.id_of(row["resource_type"]), legacy.id_of(row["resource_id"])
    name = legacy.id_of(row["user_id"])
    values = {
        "kind": kind, "what": what, "ends": legacy.maybe_at(row.get("expires_at")),
        "starts": legacy.at(row.get("granted_at") or row.get("created_at")),
    }  # fmt: skip
    if row.get("is_active") is not None and not legacy.truth_of(row["is_active"]):
        return None
    return _New(
        legacy.id_of(row.get("id") or f"{name}:{kind}:{what}"), name,
        "insert into access_grants (customer_id, id, resource_type, resource_id, source,"
        " starts_at, expires_at, reason, granted_by, request_key) values (%(owner)s, %(id)s,"
        " %(kind)s, %(what)s, 'admin', %(starts)s, coalesce(%(ends)s::timestamptz, 'infinity'),"
        " 'imported', 'import', %(key)s) on conflict do nothing",
        values,
    )  # fmt: skip


_READ: dict[str, Callable[[Row, datetime], _New | None]] = {
    "services.customer_services": _service,
    "learning.payment_methods": _method,
    "learning.user_stripe_mapping": _mapping,
    "learning.user_access": _access,
}
