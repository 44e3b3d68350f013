"""What can fall due for a customer whose clock is moved by hand, and how each of it is done.

The ordinary sweeps leave these rows alone. A module whose rows have an instant of their own
registers here how the next one of a clock is found, and the step that does it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString, cast
from uuid import UUID

from paydesk.env import Env
from paydesk.flows import (
    access,
    checkout,
    credit_grants,
    disputes,
    fulfillment,
    holds,
    notifications,
    promos,
    services,
    setups,
)
from paydesk.rules.payments import DEAD_STATES
from paydesk.settings import Settings

#: Modules that register what is theirs when they are imported.
MODULES: tuple[str, ...] = (
    "paydesk.flows.provider_clocks", "paydesk.flows.refill_steps", "paydesk.flows.reminders",
    "paydesk.flows.renewals", "paydesk.flows.subscription_notices",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A kind of due work.

    `find`: a query that answers (due_at, customer_id, id) of a clock's due rows, in any order, for
    `%(clock_id)s`, up to `%(until)s`, with the `values` of the settings. It begins at
    `clock_customers k`, which has an index. `step(env, customer_id, id)` does what is due of that
    row at the customer's present, which is then `due_at`; it looks again under the head's lock and
    leaves the row due later, or never. At one instant the lower `rank` comes first.
    """

    name: str
    find: LiteralString
    step: Callable[[Env, UUID, UUID], Any]
    rank: int = 50
    values: Callable[[Settings], Mapping[str, Any]] | None = None


DUE: dict[str, Due] = {}


def register(due: Due) -> Due:
    """Make a kind of due work known; another of the same name takes its place."""
    assert due.name.replace("_", "").isalpha(), "a name is a word"
    DUE[due.name] = due
    return due


def next_due(env: Env, clock_id: UUID, until: datetime) -> dict[str, Any] | None:
    """The next due row of a clock's customers: name, due_at, customer_id, id."""
    for module in MODULES:
        importlib.import_module(module)
    values: dict[str, Any] = {"clock_id": clock_id, "until": until}
    for due in DUE.values():
        values |= due.values(env.settings) if due.values else {}
    parts = [
        _FIRST.replace("NAME", due.name).replace("RANK", str(due.rank)).replace("ROWS", due.find)
        for due in DUE.values()
    ]
    query = cast("LiteralString", _NEXT.replace("ALL", " union all ".join(parts)))
    with env.db.read() as tx:
        return tx.one(query, values)


_FIRST = """(select 'NAME' as name, RANK as rank, x.due_at, x.customer_id, x.id from (ROWS) x
    order by x.due_at, x.customer_id, x.id limit 1)"""
_NEXT = """select name, due_at, customer_id, id from (ALL) d
    order by due_at, rank, name, customer_id, id limit 1"""
_ROWS: LiteralString = """select t.AT as due_at, t.customer_id, t.id from clock_customers k
    join TABLE t using (customer_id) where k.clock_id = %(clock_id)s and t.AT <= %(until)s
    and """


def _of(table: LiteralString, at: LiteralString, where: LiteralString) -> LiteralString:
    """Rows of an owned table, by one of its own columns."""
    return _ROWS.replace("TABLE", table).replace("AT", at) + where


def _session(env: Env, customer_id: UUID, attempt_id: UUID) -> None:
    with env.db.read() as tx:
        payment_id = tx.value(
            "select payment_id from attempts where customer_id = %(customer_id)s and id = %(id)s",
            {"customer_id": customer_id, "id": attempt_id},
        )
    checkout.expire_one(env, customer_id, attempt_id, payment_id)


def _service(env: Env, customer_id: UUID, service_id: UUID) -> None:
    with env.db.read() as tx:
        kind = tx.value(
            "select service_type from customer_services where customer_id = %(customer_id)s"
            " and id = %(id)s",
            {"customer_id": customer_id, "id": service_id},
        )
    services.end_of(env, customer_id, kind)


def _expiring(env: Env, customer_id: UUID, batch_id: UUID) -> None:
    """One notice for all that ends on the batch's day."""
    with env.db.read() as tx:
        row = tx.one(
            "select (b.expires_at at time zone 'UTC')::date as on_day, (select"
            " sum(o.remaining)::bigint from batches o where o.customer_id = b.customer_id"
            " and o.open and (o.expires_at at time zone 'UTC')::date"
            "  = (b.expires_at at time zone 'UTC')::date) as credits"
            " from batches b where b.customer_id = %(customer_id)s and b.id = %(id)s",
            {"customer_id": customer_id, "id": batch_id},
        )
    if row is not None and row["credits"]:
        notifications.tell_one(env, customer_id, row["on_day"].isoformat(), row["credits"])


def _expiring_values(settings: Settings) -> dict[str, Any]:
    is_on = "credits_expiring" in notifications.kinds_on(settings)
    days = settings.credits_expiring_days if is_on else 0
    return {"expiring": timedelta(days=days), "tells_expiring": days > 0}


register(Due(
    name="fulfillment", rank=5, step=fulfillment.fulfil_one,
    find="select f.try_at as due_at, f.customer_id, f.payment_id as id from clock_customers k"
    " join fulfillments f using (customer_id) where k.clock_id = %(clock_id)s"
    " and f.state = 'due' and f.try_at <= %(until)s",
))  # fmt: skip
register(Due(
    name="holds", rank=10, step=holds.expire_one,
    find=_of("holds", "expires_at", "t.state = 'open'"),
))  # fmt: skip
register(Due(
    name="credit_expiry", rank=10,
    step=lambda env, customer_id, _: credit_grants.expire_of(env, customer_id),
    find=_of("batches", "expires_at", "t.open"),
))  # fmt: skip
register(Due(
    name="services", rank=20, step=_service,
    find=_of("customer_services", "expires_at", "t.state = 'active'"),
))  # fmt: skip
register(Due(
    name="access", rank=20, step=access.end_one,
    find=_of("access_grants", "expires_at", "t.ended_at is null and t.expires_at < 'infinity'"),
))  # fmt: skip
register(Due(
    name="sessions", rank=30, step=_session,
    find=_of("attempts", "expires_at", "t.ended_at is null"),
))  # fmt: skip
register(Due(
    name="setups", rank=30, step=setups.give_up,
    find=_of("setups", "expires_at", "t.state in ('pending', 'requires_action')"),
))  # fmt: skip
register(Due(
    name="promo_uses", rank=40, step=promos.release_one,
    find="select least(u.due_at, %(until)s) as due_at, u.customer_id, u.id from (select"
    " case when p.id is null then coalesce(r.expires_at, u.created_at + %(orphaned)s)"
    " else u.created_at end as due_at, u.customer_id, u.payment_id as id from clock_customers k"
    " join promo_uses u using (customer_id)"
    " left join payments p on p.customer_id = u.customer_id and p.id = u.payment_id"
    " left join promo_reservations r on r.customer_id = u.customer_id"
    "  and r.payment_id = u.payment_id"
    " where k.clock_id = %(clock_id)s and u.state = 'reserved' and (p.id is null"
    "  or (p.state = any(%(dead)s) and not exists (select 1 from attempts a"
    "   where a.customer_id = u.customer_id and a.payment_id = u.payment_id"
    "   and a.ended_at is null)))) u where u.due_at <= %(until)s",
    values=lambda _: {
        "orphaned": promos.ORPHAN_AGE + timedelta(seconds=1), "dead": sorted(DEAD_STATES),
    },
))  # fmt: skip
register(Due(
    name="disputes", rank=90, step=disputes.warn,
    find="select t.due_at - %(due_soon)s as due_at, t.customer_id, t.id from clock_customers k"
    " join disputes t using (customer_id) where k.clock_id = %(clock_id)s"
    " and t.due_at - %(due_soon)s <= %(until)s and t.state = 'needs_response'"
    " and t.warned_at is null",
    values=lambda settings: {"due_soon": timedelta(hours=settings.dispute_due_soon_hours)},
))  # fmt: skip
register(Due(
    name="credits_expiring", rank=90, step=_expiring, values=_expiring_values,
    find="select t.expires_at - %(expiring)s as due_at, t.customer_id, t.id from clock_customers k"
    " join batches t using (customer_id) where k.clock_id = %(clock_id)s and %(tells_expiring)s"
    " and t.open and t.expires_at < 'infinity' and t.expires_at - %(expiring)s <= %(until)s"
    " and t.granted_at < t.expires_at - %(expiring)s"
    " and not exists (select 1 from notifications n where n.customer_id = t.customer_id"
    "  and n.kind = 'credits_expiring'"
    "  and n.dedupe = to_char(t.expires_at at time zone 'UTC', 'YYYY-MM-DD'))",
))  # fmt: skip
