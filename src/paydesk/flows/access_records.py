"""The records of access: grants and revocations as the rules read them, and where grants lie.

A grant's time is a function of the records, `rules.place`. The columns hold what it says as things
stand, for lists and sweeps, and are set anew by whatever changes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.flows.events import NewEvent, emit_many
from paydesk.rules import access as rules

#: Kinds of ids that a grant's source has.
SOURCES = {"purchase": "purchase", "service": "service", "payment": "payment", "admin": "access",
           "subscription": "subscription"}  # fmt: skip

GRANTS = """
    select id, resource_type as type, resource_id as resource, source, source_id, starts_at,
        nullif(expires_at, 'infinity') as expires_at, created_at as given_at,
        source = 'purchase' and expires_at < 'infinity' as follows
    from access_grants where customer_id = %(customer_id)s"""

Records = tuple[tuple[rules.Grant, ...], tuple[rules.Revocation, ...]]


def read(tx: Tx, customer_id: UUID, grants: Sequence[Mapping[str, Any]]) -> Records:
    """Rows of `GRANTS` with their revocations, as `rules.decide` wants them."""
    voids = tx.all(
        "select grant_id, revoked_at, reinstated_at from access_revocations"
        " where customer_id = %(customer_id)s and grant_id = any(%(grants)s)",
        {"customer_id": customer_id, "grants": [row["id"] for row in grants]},
    )
    return (
        tuple(rules.Grant(**row) for row in grants),
        tuple(rules.Revocation(**row) for row in voids),
    )


def settle(
    tx: Tx, now: datetime, changed: Iterable[tuple[UUID, str, str]], *,
    told: Sequence[UUID] = (),
) -> list[rules.Grant]:  # fmt: skip
    """Write down where the grants of these (customer, type, resource) lie now; the heads are
    locked. Answers those that moved; of them, but for `told`, an event says so."""
    moved: list[rules.Grant] = []
    for customer_id, kind, name in sorted(set(changed)):
        rows = tx.all(
            GRANTS + " and resource_type = %(type)s and resource_id = %(name)s",
            {"customer_id": customer_id, "type": kind, "name": name},
        )
        if not any(row["follows"] for row in rows):
            continue
        before = {row["id"]: row["starts_at"] for row in rows}
        found = [
            one for one in rules.place(*read(tx, customer_id, rows), now)
            if one.grant.starts_at != before[one.grant.id]
        ]  # fmt: skip
        for one in found:
            tx.run(
                "update access_grants set starts_at = %(starts_at)s, expires_at = %(expires_at)s,"
                " ended_at = case when %(expires_at)s <= %(now)s then ended_at end"
                " where customer_id = %(customer_id)s and id = %(id)s",
                {"customer_id": customer_id, "id": one.grant.id, "now": now,
                 "starts_at": one.grant.starts_at, "expires_at": one.grant.expires_at},
            )  # fmt: skip
        emit_many(
            tx,
            [
                event("access.moved", now, customer_id, g.id, kind, name,
                      shown_source(g.source, g.source_id, g.id),
                      starts_at=g.starts_at.isoformat(),
                      expires_at=g.expires_at and g.expires_at.isoformat())
                for g in (one.grant for one in found if one.void_since is None)
                if g.id not in told
            ],
        )  # fmt: skip
        moved += [one.grant for one in found]
    return moved


def resources_of(
    tx: Tx, customer_id: UUID, grants: Sequence[UUID]
) -> list[tuple[UUID, str, str]]:
    """What grants are of, as `settle` wants it."""
    rows = tx.all(
        "select distinct customer_id, resource_type, resource_id from access_grants"
        " where customer_id = %(customer_id)s and id = any(%(ids)s)",
        {"customer_id": customer_id, "ids": list(grants)},
    )
    return [(row["customer_id"], row["resource_type"], row["resource_id"]) for row in rows]


def shown_source(source: str, source_id: UUID | None, grant_id: UUID) -> str:
    """The prefixed id of what gave access; the grant's own where a person did."""
    kind = SOURCES.get(source)
    if kind is None or source_id is None:
        return ids.show("access", grant_id)
    return ids.show(kind, source_id)


def event(
    type: str, now: datetime, customer_id: UUID, grant_id: UUID, kind: str, name: str,
    source: str, *, by: str | None = None, **more: Any,
) -> NewEvent:  # fmt: skip
    data = {"resource": rules.show(kind, name), "source": source}
    return NewEvent(
        customer_id=customer_id, type=type, subject_id=grant_id,
        data=data | {key: value for key, value in more.items() if value is not None},
        cause={"by": by} if by else None, at=now,
    )  # fmt: skip
