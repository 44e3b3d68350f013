"""Access: what was given, revocations beside it, and the question who may see what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from paydesk import ids
from paydesk.cache import access_key
from paydesk.db.postgres import Tx
from paydesk.db.together import in_sets
from paydesk.env import Env
from paydesk.errors import Conflict, IdempotencyKeyReused, InvalidRequest, NotFound
from paydesk.flows import access_records as records
from paydesk.flows import heads, items, offer_links, plans
from paydesk.flows.access_records import event, shown_source
from paydesk.flows.events import emit_many
from paydesk.flows.sweeps import WAIT_S, one_row
from paydesk.rules import access as rules
from paydesk.rules import fields

if TYPE_CHECKING:
    from paydesk.tracker.stores.joined import ServicePayment

#: How old the records may be that `can` decides on, in seconds; of a customer with more grants
#: than that none are kept.
KEEP_S = 5.0
MOST_KEPT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Whether a customer may, and why: `reason` is granted, not_purchased, expired, revoked,
    not_yet, or past_due or unpaid where the subscription that gave it owes. `source` is the id of
    what gave it; true where allowed."""

    allowed: bool
    reason: str
    resource: str
    source: str | None = None
    expires_at: datetime | None = None
    offer_url: str | None = None

    def __bool__(self) -> bool:
        return self.allowed

    def __repr__(self) -> str:
        return f"<Access {self.resource} {self.reason}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantView:
    """A grant. `status` is active, coming, expired or revoked at the instant it was read."""

    id: UUID
    customer_id: UUID
    type: str
    resource: str
    source: str
    source_id: UUID | None
    payment_id: UUID | None
    starts_at: datetime
    expires_at: datetime | None
    reason: str | None
    granted_by: str | None
    revoked_at: datetime | None
    revoked_by: str | None
    revoked_reason: str | None
    status: str
    created_at: datetime

    @property
    def name(self) -> str:
        """The resource as `type:id`."""
        return rules.show(self.type, self.resource)

    @property
    def source_ref(self) -> str:
        """The prefixed id of what gave it."""
        return shown_source(self.source, self.source_id, self.id)

    def __repr__(self) -> str:
        return f"<Grant {ids.show('access', self.id)} {self.name} {self.status}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGrant:
    """Access to be given; `expires_at` None: for ever. Days that were bought follow present access
    to the same resource."""

    customer_id: UUID
    type: str
    resource: str
    source: str
    source_id: UUID | None
    payment_id: UUID | None
    starts_at: datetime
    expires_at: datetime | None
    reason: str | None = None
    by: str | None = None
    request_key: UUID | None = None


# Asking ----------------------------------------------------------------------------------------


def can(env: Env, customer_id: UUID, resource: str, at: datetime | None = None) -> Access:
    """Whether the customer has access to `course:python`, now or at an instant.

    Of what holds now the records may be up to KEEP_S old, in a process that hears what others
    change; the instant never is. What this process changed it sees at once.
    """
    kind, name = rules.parse(resource)
    kept = _kept(env, customer_id) if at is None and env.cache.is_hearing else None
    if kept is not None:
        moment = heads.now(env, customer_id)
        found = rules.decide(*kept, kind, name, moment)
        if rules.asks_subscription(found):
            with env.db.read() as tx:
                found = _why(tx, customer_id, found, moment)
        return shaped(env, customer_id, kind, name, found)
    with env.db.read() as tx:
        moment = at or heads.now(env, customer_id, tx)
        found = _why(tx, customer_id, verdict(tx, customer_id, kind, name, moment), moment)
    return shaped(env, customer_id, kind, name, found)


def _why(tx: Tx, customer_id: UUID, found: rules.Verdict, at: datetime) -> rules.Verdict:
    """The verdict; where a subscription gave what has ended and owes for the time asked about,
    with its state. A statement more, and only where it gave it."""
    given_by = rules.asks_subscription(found)
    if given_by is None:
        return found
    state = tx.value(
        "select state from subscriptions where customer_id = %(customer_id)s and id = %(id)s"
        " and period_start <= %(at)s",
        {"customer_id": customer_id, "id": given_by, "at": at},
    )
    return rules.owing(found, state)


def _kept(env: Env, customer_id: UUID) -> records.Records | None:
    """A customer's records from this process's cache; None where there are too many to keep."""

    def load() -> records.Records | None:
        with env.db.read() as tx:
            rows = tx.all(
                records.GRANTS + " limit %(limit)s",
                {"customer_id": customer_id, "limit": MOST_KEPT + 1},
            )
            return records.read(tx, customer_id, rows) if len(rows) <= MOST_KEPT else None

    return env.cache.read(access_key(customer_id), load, ttl_s=KEEP_S, shared=False)


def shaped(
    env: Env, customer: UUID | str | None, kind: str, name: str, found: rules.Verdict
) -> Access:
    """A verdict with its source's id, and where access can be bought when there is none."""
    grant = found.grant
    return Access(
        allowed=found.allowed, reason=found.reason, resource=rules.show(kind, name),
        source=grant and shown_source(grant.source, grant.source_id, grant.id),
        expires_at=found.expires_at,
        offer_url=None if found.allowed else _offer(env, customer, kind, name),
    )  # fmt: skip


def verdict(tx: Tx, customer_id: UUID, kind: str, name: str, at: datetime) -> rules.Verdict:
    """What the records say; inside a transaction. Two statements."""
    grants = tx.all(
        records.GRANTS + " and resource_type = any(%(types)s) and resource_id = any(%(names)s)",
        {
            "customer_id": customer_id,
            "types": [kind, rules.PLATFORM],
            "names": [name, rules.ALL],
        },
    )
    if not grants:
        return rules.Verdict(reason="not_purchased")
    return rules.decide(*records.read(tx, customer_id, grants), kind, name, at)


def _offer(env: Env, customer: UUID | str | None, kind: str, name: str) -> str | None:
    found = items.offering(env, kind, name) or plans.opening(env, kind, name)
    return offer_links.url(env, found, customer) if found else None


def get(env: Env, customer_id: UUID, grant_id: UUID) -> GrantView:
    """One grant. Raises NotFound."""
    with env.db.read() as tx:
        return _one(tx, customer_id, grant_id, heads.now(env, customer_id, tx))


def list_(
    env: Env,
    customer_id: UUID,
    *,
    type: str | None = None,
    active: bool | None = None,
    source_id: UUID | None = None,
    limit: int = 100,
    after: UUID | None = None,
) -> list[GrantView]:
    """A customer's grants, newest first. `active`: only those that hold now, or only others."""
    now = heads.now(env, customer_id)
    with env.db.read() as tx:
        rows = tx.all(
            _VIEW + _PAGE,
            {"customer_id": customer_id, "type": type, "active": active, "now": now,
             "source_id": source_id, "after": after, "limit": limit},
        )  # fmt: skip
    return [_view(row, now) for row in rows]


_VIEW = """
    select g.id, g.customer_id, g.resource_type as type, g.resource_id as resource, g.source,
        g.source_id, g.payment_id, g.starts_at, nullif(g.expires_at, 'infinity') as expires_at,
        g.reason, g.granted_by, g.created_at, v.revoked_at, v.revoked_by,
        v.reason as revoked_reason
    from access_grants g left join lateral (
        select r.revoked_at, r.revoked_by, coalesce(r.reason, r.cause) as reason
        from access_revocations r where r.customer_id = g.customer_id and r.grant_id = g.id
        and r.reinstated_at is null order by r.revoked_at, r.id limit 1) v on true
    where g.customer_id = %(customer_id)s
"""
_PAGE = """ and (%(type)s::text is null or g.resource_type = %(type)s)
    and (%(source_id)s::uuid is null or g.source_id = %(source_id)s)
    and (%(active)s::boolean is null or %(active)s = (g.starts_at <= %(now)s
        and g.expires_at > %(now)s and v.revoked_at is null))
    and (%(after)s::uuid is null or (g.created_at, g.id) < (select created_at, id
        from access_grants where customer_id = %(customer_id)s and id = %(after)s))
    order by g.created_at desc, g.id desc limit %(limit)s"""


def _one(tx: Tx, customer_id: UUID, grant_id: UUID, now: datetime) -> GrantView:
    row = tx.one(
        _VIEW + " and g.id = %(id)s", {"customer_id": customer_id, "id": grant_id}
    )
    if row is None:
        raise NotFound(f"No such access: {ids.show('access', grant_id)}.")
    return _view(row, now)


def _view(row: Mapping[str, Any], now: datetime) -> GrantView:
    until = row["expires_at"]
    if row["revoked_at"] is not None and (until is None or row["revoked_at"] < until):
        status = "revoked"
    elif until is not None and until <= now:
        status = "expired"
    else:
        status = "active" if row["starts_at"] <= now else "coming"
    return GrantView(**row, status=status)


# Giving and taking -----------------------------------------------------------------------------


def grant(
    env: Env,
    customer_id: UUID,
    resource: str,
    *,
    by: str,
    reason: str | None = None,
    days: int | None = None,
    expires_at: datetime | None = None,
    starts_at: datetime | None = None,
    request_key: UUID | None = None,
) -> GrantView:
    """Give access by hand, for `days`, until `expires_at`, or for ever; `by` names who did it.

    The same `request_key` is the same grant. Raises InvalidRequest, IdempotencyKeyReused.
    """
    kind, name = rules.parse(resource)
    if days is not None and expires_at is not None:
        raise InvalidRequest("Give days or expires_at, not both.", param="days")
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        start = starts_at or now
        until = expires_at
        if days is not None:
            until = start + timedelta(days=fields.whole(days, "days", most=36_500))
        if until is not None and until <= start:
            raise InvalidRequest("Access cannot end before it begins.", param="expires_at")
        known = _by_key(tx, customer_id, request_key)
        if known is not None:
            found = _one(tx, customer_id, known, now)
            if (found.type, found.resource) != (kind, name):
                raise IdempotencyKeyReused("This key gave access to something else.")
            return found
        made = give(
            tx, now,
            [
                NewGrant(
                    customer_id=customer_id, type=kind, resource=name, source="admin",
                    source_id=None, payment_id=None, starts_at=start, expires_at=until,
                    reason=fields.optional_text(reason, "reason", most=255),
                    by=fields.text(by, "by", most=255), request_key=request_key,
                )
            ],
        )  # fmt: skip
        return _one(tx, customer_id, made[0], now)


def _by_key(tx: Tx, customer_id: UUID, request_key: UUID | None) -> UUID | None:
    if request_key is None:
        return None
    return tx.value(
        "select id from access_grants where customer_id = %(customer_id)s"
        " and request_key = %(key)s",
        {"customer_id": customer_id, "key": request_key},
    )


def revoke(
    env: Env, customer_id: UUID, grant_id: UUID, *, by: str, reason: str | None = None
) -> GrantView:
    """Take a grant away by hand, for good. Raises NotFound, Conflict where it holds no more."""
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        found = _one(tx, customer_id, grant_id, now)
        if found.status not in ("active", "coming"):
            raise Conflict(f"This access is {found.status} already.")
        _revoke(tx, now, [_of_view(found)], "admin", None, by=fields.text(by, "by", most=255),
                reason=fields.optional_text(reason, "reason", most=255))  # fmt: skip
        return _one(tx, customer_id, grant_id, now)


def _of_view(found: GrantView) -> dict[str, Any]:
    return {"id": found.id, "customer_id": found.customer_id, "resource_type": found.type,
            "resource_id": found.resource, "source": found.source, "source_id": found.source_id,
            "is_void": found.status == "revoked"}  # fmt: skip


@in_sets(2)
def give(tx: Tx, now: datetime, grants: Sequence[NewGrant]) -> list[UUID]:
    """Write grants and their events; the heads are locked. Answers their ids."""
    if not grants:
        return []
    made = [ids.new_owned(one.customer_id) for one in grants]
    tx.stale |= {access_key(one.customer_id) for one in grants}
    tx.run(
        "insert into access_grants (customer_id, id, resource_type, resource_id, source,"
        " source_id, payment_id, starts_at, expires_at, reason, granted_by, request_key,"
        " clock_id, created_at) select n.customer_id, n.id, n.type, n.resource, n.source,"
        "  n.source_id, n.payment_id, n.starts_at, coalesce(n.expires_at, 'infinity'),"
        "  n.reason, n.granted_by, n.key, n.clock_id, %(now)s"
        " from unnest(%(customers)s::uuid[], %(ids)s::uuid[], %(types)s::text[],"
        "  %(resources)s::text[], %(sources)s::text[], %(source_ids)s::uuid[],"
        "  %(payments)s::uuid[], %(starts)s::timestamptz[], %(ends)s::timestamptz[],"
        "  %(reasons)s::text[], %(by)s::text[], %(keys)s::uuid[], %(clocks)s::uuid[])"
        "  as n(customer_id, id, type, resource, source, source_id, payment_id, starts_at,"
        "   expires_at, reason, granted_by, key, clock_id)",
        {
            "now": now, "ids": made, "customers": [one.customer_id for one in grants],
            "types": [one.type for one in grants], "resources": [one.resource for one in grants],
            "sources": [one.source for one in grants],
            "source_ids": [one.source_id for one in grants],
            "payments": [one.payment_id for one in grants],
            "starts": [one.starts_at for one in grants],
            "ends": [one.expires_at for one in grants],
            "reasons": [one.reason for one in grants], "by": [one.by for one in grants],
            "keys": [one.request_key for one in grants],
            "clocks": [tx.heads[one.customer_id].clock_id for one in grants],
        },
    )  # fmt: skip
    moved = records.settle(
        tx, now,
        [(one.customer_id, one.type, one.resource) for one in grants if one.source == "purchase"],
        told=made,
    )  # fmt: skip
    ends = {one.id: one.expires_at for one in moved}
    emit_many(
        tx,
        [
            event("access.granted", now, one.customer_id, grant_id, one.type, one.resource,
                  shown_source(one.source, one.source_id, grant_id), by=one.by,
                  expires_at=_text(ends.get(grant_id, one.expires_at)))
            for grant_id, one in zip(made, grants, strict=True)
        ],
    )  # fmt: skip
    return made


# Taking back with the money, and giving back ---------------------------------------------------


def revoke_for(
    tx: Tx, now: datetime, payment: ServicePayment, cause: str, cause_id: UUID
) -> list[UUID]:
    """Take away all that a payment gave access to, because of a refund or dispute.

    The head is locked. The same cause takes once. Answers the grants that it made void.
    """
    rows = tx.all(
        "select g.id, g.customer_id, g.resource_type, g.resource_id, g.source, g.source_id,"
        " g.expires_at <= %(now)s as is_over, exists (select 1 from access_revocations r"
        "  where r.customer_id = g.customer_id and r.grant_id = g.id and r.reinstated_at is null)"
        " as is_void from access_grants g where g.customer_id = %(customer_id)s"
        " and g.payment_id = %(payment_id)s and not exists ("
        "  select 1 from access_revocations r where r.customer_id = g.customer_id"
        "  and r.grant_id = g.id and r.cause_id = %(cause_id)s and r.reinstated_at is null)"
        # Bought days that are over come again where an earlier grant's revocation is undone.
        " and (g.expires_at > %(now)s or (g.source = 'purchase' and exists ("
        "  select 1 from access_grants e join access_revocations v"
        "  on v.customer_id = e.customer_id and v.grant_id = e.id"
        "  where e.customer_id = g.customer_id and e.resource_type = g.resource_type"
        "  and e.resource_id = g.resource_id and (e.created_at, e.id) < (g.created_at, g.id)"
        "  and e.expires_at < 'infinity' and v.reinstated_at is null))) order by g.id",
        {
            "customer_id": payment.customer_id, "payment_id": payment.key[1], "now": now,
            "cause_id": cause_id,
        },
    )  # fmt: skip
    _revoke(tx, now, rows, cause, cause_id)
    return [row["id"] for row in rows]


def reinstate_for(tx: Tx, now: datetime, customer_id: UUID, cause_id: UUID) -> list[UUID]:
    """Undo what this cause took away; what another cause holds stays away. The head is locked.

    Answers the grants that hold again.
    """
    tx.stale.add(access_key(customer_id))
    undone = tx.all(
        "update access_revocations set reinstated_at = %(now)s"
        " where customer_id = %(customer_id)s and cause_id = %(cause_id)s"
        " and reinstated_at is null returning grant_id",
        {"customer_id": customer_id, "cause_id": cause_id, "now": now},
    )
    again = [row["grant_id"] for row in undone]
    records.settle(tx, now, records.resources_of(tx, customer_id, again), told=again)
    rows = tx.all(
        "select g.id, g.customer_id, g.resource_type, g.resource_id, g.source, g.source_id,"
        " nullif(g.expires_at, 'infinity') as expires_at"
        " from access_grants g where g.customer_id = %(customer_id)s and g.id = any(%(ids)s)"
        " and g.expires_at > %(now)s and not exists ("
        "  select 1 from access_revocations r where r.customer_id = g.customer_id"
        "  and r.grant_id = g.id and r.reinstated_at is null) order by g.id",
        {"customer_id": customer_id, "ids": again, "now": now},
    )
    emit_many(
        tx,
        [
            event("access.granted", now, customer_id, row["id"], row["resource_type"],
                  row["resource_id"], shown_source(row["source"], row["source_id"], row["id"]),
                  expires_at=_text(row["expires_at"]), reinstated=True)
            for row in rows
        ],
    )  # fmt: skip
    return [row["id"] for row in rows]


def revoke_source(
    tx: Tx, now: datetime, customer_id: UUID, source_id: UUID, cause: str, *,
    unpaid: tuple[datetime, datetime] | None = None,
) -> list[UUID]:  # fmt: skip
    """End all that a subscription opens, for good. The head is locked. Answers the grants.

    `unpaid`: only what was given without a payment since the first instant, beyond the second."""
    rows = tx.all(
        "select g.id, g.customer_id, g.resource_type, g.resource_id, g.source, g.source_id,"
        " exists (select 1 from access_revocations r where r.customer_id = g.customer_id"
        "  and r.grant_id = g.id and r.reinstated_at is null) as is_void"
        " from access_grants g where g.customer_id = %(customer_id)s"
        " and g.source_id = %(source_id)s and g.expires_at > %(now)s and not exists ("
        "  select 1 from access_revocations r where r.customer_id = g.customer_id"
        "  and r.grant_id = g.id and r.cause_id = %(source_id)s and r.reinstated_at is null)"
        " and (%(since)s::timestamptz is null or (g.payment_id is null"
        "  and g.created_at >= %(since)s and g.expires_at > %(until)s)) order by g.id",
        {"customer_id": customer_id, "source_id": source_id, "now": now,
         "since": unpaid[0] if unpaid else None, "until": unpaid[1] if unpaid else None},
    )  # fmt: skip
    _revoke(tx, now, rows, cause, source_id)
    return [row["id"] for row in rows]


def _revoke(
    tx: Tx, now: datetime, rows: Iterable[Mapping[str, Any]], cause: str, cause_id: UUID | None,
    *, by: str | None = None, reason: str | None = None,
) -> None:  # fmt: skip
    rows = list(rows)
    tx.stale |= {access_key(row["customer_id"]) for row in rows}
    for row in rows:
        tx.run(
            "insert into access_revocations (customer_id, id, grant_id, cause, cause_id, reason,"
            " revoked_by, revoked_at, created_at) values (%(customer_id)s, %(id)s, %(grant_id)s,"
            " %(cause)s, %(cause_id)s, %(reason)s, %(by)s, %(now)s, %(now)s)",
            {
                "customer_id": row["customer_id"], "id": ids.new_owned(row["customer_id"]),
                "grant_id": row["id"], "cause": cause, "cause_id": cause_id, "reason": reason,
                "by": by, "now": now,
            },
        )  # fmt: skip
    emit_many(
        tx,
        [
            event("access.revoked", now, row["customer_id"], row["id"], row["resource_type"],
                  row["resource_id"], shown_source(row["source"], row["source_id"], row["id"]),
                  cause=cause, by=by)
            for row in rows
            if not row["is_void"] and not row.get("is_over")
        ],
    )  # fmt: skip
    records.settle(
        tx, now, [(row["customer_id"], row["resource_type"], row["resource_id"]) for row in rows]
    )


# The end of time -------------------------------------------------------------------------------


def end_due(env: Env, limit: int = 100) -> int:
    """Sweep: tell once of access that has ended. Access itself ended on time, sweep or not."""
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, id from access_grants where clock_id is null"
            " and ended_at is null and expires_at < 'infinity' and expires_at <= %(now)s"
            " order by expires_at limit %(limit)s",
            {"now": env.now(), "limit": limit},
        )
    done = 0
    for row in rows:
        with one_row("access", row["id"]):
            done += end_one(env, row["customer_id"], row["id"])
    return done


def end_one(env: Env, customer_id: UUID, grant_id: UUID) -> int:
    """Mark a grant's end; the event only where nothing else goes on giving that access."""
    with env.db.transaction(customer_id, wait_s=WAIT_S) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        row = tx.one(
            "update access_grants set ended_at = %(now)s where customer_id = %(customer_id)s"
            " and id = %(id)s and ended_at is null and expires_at <= %(now)s"
            " returning resource_type, resource_id, source, source_id, expires_at",
            {"customer_id": customer_id, "id": grant_id, "now": now},
        )
        if row is None:
            return 0
        kind, name = row["resource_type"], row["resource_id"]
        found = verdict(tx, customer_id, kind, name, now)
        if found.reason == "expired" and found.grant is not None and found.grant.id == grant_id:
            source = shown_source(row["source"], row["source_id"], grant_id)
            emit_many(tx, [event("access.expired", now, customer_id, grant_id, kind, name, source,
                                 expires_at=_text(row["expires_at"]))])  # fmt: skip
        return 1


def _text(until: datetime | None) -> str | None:
    return until and until.isoformat()
