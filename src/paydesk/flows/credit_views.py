"""What a customer has and what became of it: balance, batches, history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from paydesk.db.postgres import Tx
from paydesk.flows import heads

_HISTORY_MAX = 500


@dataclass(frozen=True, slots=True)
class Balance:
    """Whole credits that can be spent now; `by_expiry` soonest first, None (never) last."""

    total: int
    by_kind: dict[str, int]
    by_expiry: list[tuple[datetime | None, int]]
    next_expiry: datetime | None


@dataclass(frozen=True, slots=True)
class BatchView:
    """A batch as its owner sees it. `remaining` is 0 from the instant of its expiry on."""

    id: UUID
    kind: str
    granted: int
    remaining: int
    owed: int
    granted_at: datetime
    expires_at: datetime | None
    payment_id: UUID | None
    source_id: UUID | None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the history: `amount` is signed, `type` one of `rules.ledger.CREDIT_TYPES`.

    `reason` and `reference` are the caller's words; `kind`, `expires_at` and `payment_id` are the
    batch's where the line concerns one.
    """

    id: UUID
    seq: int
    type: str
    amount: int
    balance_after: int
    reason: str | None
    reference: str | None
    kind: str | None
    batch_ids: list[UUID]
    expires_at: datetime | None
    at: datetime
    payment_id: UUID | None
    txn_id: UUID
    reverses_id: UUID | None
    metadata: dict | None


def balance_total(tx: Tx, customer_id: UUID, now: datetime) -> int:
    """Spendable credits: the stored figure while no batch has ended since, else the sum."""
    now = heads.seen(tx, now, customer_id)
    row = tx.one(
        "select a.balance, a.next_expiry > greatest(%(now)s, h.last_at) as is_current"
        " from accounts a join heads h using (customer_id)"
        " where customer_id = %(customer_id)s and a.code = 1 and a.asset = 'CREDIT'",
        {"customer_id": customer_id, "now": now},
    )
    if row is None:
        return 0
    if row["is_current"]:
        return row["balance"]
    return tx.value(
        "select coalesce(sum(b.remaining), 0)::bigint from batches b join heads h"
        " using (customer_id) where customer_id = %(customer_id)s and b.open"
        " and b.expires_at > greatest(%(now)s, h.last_at)",
        {"customer_id": customer_id, "now": now},
    )


def balance(tx: Tx, customer_id: UUID, now: datetime) -> Balance:
    """Spendable credits by kind and by expiry, from the batches in one snapshot."""
    now = heads.seen(tx, now, customer_id)
    rows = tx.all(
        "select b.kind, nullif(b.expires_at, 'infinity') as expires_at,"
        " sum(b.remaining)::bigint as amount from batches b join heads h using (customer_id)"
        " where customer_id = %(customer_id)s and b.open"
        " and b.expires_at > greatest(%(now)s, h.last_at)"
        " group by b.kind, b.expires_at order by b.expires_at, b.kind",
        {"customer_id": customer_id, "now": now},
    )
    by_kind: dict[str, int] = {}
    by_expiry: dict[datetime | None, int] = {}
    for row in rows:
        by_kind[row["kind"]] = by_kind.get(row["kind"], 0) + row["amount"]
        by_expiry[row["expires_at"]] = by_expiry.get(row["expires_at"], 0) + row["amount"]
    soonest = rows[0]["expires_at"] if rows else None
    return Balance(sum(by_kind.values()), by_kind, list(by_expiry.items()), soonest)


def batches(
    tx: Tx, customer_id: UUID, now: datetime | None = None, *, limit: int = 200,
    include_empty: bool = False,
) -> list[BatchView]:  # fmt: skip
    """Batches in order of taking; with `now`, ended ones count as empty."""
    now = now and heads.seen(tx, now, customer_id)
    rows = tx.all(
        "select b.id, b.kind, b.granted, b.owed, b.granted_at,"
        " case when b.expires_at <= %(now)s::timestamptz then 0 else b.remaining end as remaining,"
        " nullif(b.expires_at, 'infinity') as expires_at, b.payment_id, b.source_id"
        " from batches b where b.customer_id = %(customer_id)s"
        " and (%(include_empty)s or (b.open and"
        "  (%(now)s::timestamptz is null or b.expires_at > %(now)s::timestamptz)))"
        " order by b.take_at, b.id limit %(limit)s",
        {"customer_id": customer_id, "now": now, "limit": limit, "include_empty": include_empty},
    )
    return [BatchView(**row) for row in rows]


def history(
    tx: Tx,
    customer_id: UUID,
    *,
    limit: int = 50,
    before_seq: int | None = None,
    kind: str | None = None,
) -> list[Line]:
    """What changed the credit balance, newest first. `kind`: one type only. The next page begins
    at `before_seq` = the last line's `seq`."""
    rows = tx.all(
        "select t.id, t.seq, t.reason as type, t.debit, t.amount, t.debit_after, t.credit_after,"
        " t.note, t.reference, t.subject_id, t.effective_at, t.txn_id, t.reverses_id, t.metadata"
        " from transfers t where t.customer_id = %(customer_id)s and t.asset = 'CREDIT'"
        " and (t.debit = 1 or t.credit = 1)"
        " and (%(before)s::bigint is null or t.seq < %(before)s::bigint)"
        " and (%(kind)s::text is null or t.reason = %(kind)s::text)"
        " order by t.seq desc limit %(limit)s",
        {"customer_id": customer_id, "before": before_seq, "kind": kind,
         "limit": max(1, min(limit, _HISTORY_MAX))},
    )  # fmt: skip
    found = _batches_of(tx, customer_id, [row["id"] for row in rows])
    return [_line(row, found.get(row["id"], [])) for row in rows]


def _batches_of(tx: Tx, customer_id: UUID, transfers: list[UUID]) -> dict[UUID, list[dict]]:
    """The batches that transfers drew on, put back into, or filled."""
    if not transfers:
        return {}
    rows = tx.all(
        "select p.id as transfer_id, b.* from unnest(%(transfers)s::uuid[]) p(id)"
        " cross join lateral ("
        "  select x.batch_id from draws x"
        "   where x.customer_id = %(customer_id)s and x.transfer_id = p.id"
        "  union select t.subject_id from transfers t"
        "   where t.customer_id = %(customer_id)s and t.id = p.id and t.credit = 1"
        "    and t.subject_id is not null) d"
        " cross join lateral (select x.id, x.kind, nullif(x.expires_at, 'infinity') as expires_at,"
        "  x.payment_id, x.take_at from batches x"
        "  where x.customer_id = %(customer_id)s and x.id = d.batch_id limit 1) b"
        " order by b.take_at, b.id",
        {"customer_id": customer_id, "transfers": transfers},
    )
    found: dict[UUID, list[dict]] = {}
    for row in rows:
        found.setdefault(row["transfer_id"], []).append(row)
    return found


def _line(row: dict, found: list[dict]) -> Line:
    is_out = row["debit"] == 1
    one = found[0] if found else None
    return Line(
        id=row["id"], seq=row["seq"], type=row["type"],
        amount=-row["amount"] if is_out else row["amount"],
        balance_after=row["debit_after"] if is_out else row["credit_after"],
        reason=row["note"], reference=row["reference"],
        kind=one["kind"] if one else None, batch_ids=[batch["id"] for batch in found],
        expires_at=one["expires_at"] if one else None, at=row["effective_at"],
        payment_id=one["payment_id"] if one else None, txn_id=row["txn_id"],
        reverses_id=row["reverses_id"], metadata=row["metadata"],
    )  # fmt: skip
