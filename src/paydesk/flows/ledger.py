"""The books: double entry, append-only, a small set of accounts for every customer.

A transfer takes an amount from one account and adds it to another of the same customer, so the
books balance by construction. Everything here is a step inside the caller's transaction, which
holds the heads of all customers named (`db.transaction(*customer_ids)`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from paydesk import causes, ids
from paydesk.db.postgres import Tx
from paydesk.db.together import in_sets
from paydesk.errors import Conflict, IdempotencyKeyReused, InvalidRequest
from paydesk.rules.ledger import CODES, CREDIT, MAX_AMOUNT, NAMES

__all__ = [
    "CODES", "CREDIT", "NAMES", "BalanceTooLow", "BatchRow", "Entry", "Event", "balances",
    "by_instant", "draw", "emit", "hash_of", "known", "last_instant", "open_batches", "owe", "post",
    "uuid_array",
]  # fmt: skip


class BalanceTooLow(Conflict):
    """Credits, wallet, held funds or the balance would fall below zero. Nothing was posted."""

    code = "balance_too_low"
    title = "A balance would fall below zero"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One transfer to post. `debit` and `credit` are names of accounts (`CODES`).

    `asset` is a currency, lower case, or CREDIT; `amount` in its minor units, above zero. `reason`
    is one of the ledger's words. Entries of one event share `txn_id`.
    """

    customer_id: UUID
    debit: str
    credit: str
    asset: str
    amount: int
    reason: str
    txn_id: UUID
    effective_at: datetime
    id: UUID | None = None
    subject_id: UUID | None = None
    request_key: UUID | None = None
    request_hash: int | None = None
    reverses_id: UUID | None = None
    note: str | None = None
    reference: str | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRow:
    """A batch of credits to open. `expires_at` None: never. `origin`: the kind it had before."""

    customer_id: UUID
    id: UUID
    kind: str
    amount: int
    take_at: datetime | None
    granted_at: datetime
    expires_at: datetime | None
    origin: str | None = None
    payment_id: UUID | None = None
    source_id: UUID | None = None
    cost_minor: int | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A change that others hear of. `cause` says what led to it."""

    customer_id: UUID
    type: str
    subject_id: UUID
    data: Mapping[str, Any]
    cause: Mapping[str, Any] | None = None


def hash_of(*parts: Any) -> int:
    """63 bits over the canonical JSON of the parts, as signed bigint: what a key was used with."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@in_sets()
def post(tx: Tx, entries: Sequence[Entry]) -> list[UUID]:
    """Post transfers in order; answers the id of each.

    An entry whose `request_key` this customer used before with the same hash is not posted again
    and answers the stored id. Raises IdempotencyKeyReused for another hash, BalanceTooLow,
    InvalidRequest at the 64-bit edge.
    """
    if not entries:
        return []
    for one in entries:
        assert one.debit != one.credit, "a transfer needs two accounts"
        if not 0 < one.amount <= MAX_AMOUNT:
            raise InvalidRequest(f"{one.amount} cannot be posted.", param="amount")
    stored = known(tx, [(e.customer_id, e.request_key) for e in entries if e.request_key])
    answer: list[UUID] = []
    fresh: list[tuple[UUID, Entry]] = []
    for one in entries:
        found = stored.get((one.customer_id, one.request_key)) if one.request_key else None
        if found is None:
            found = (one.id or ids.new_owned(one.customer_id), one.request_hash)
            fresh.append((found[0], one))
            if one.request_key:
                stored[one.customer_id, one.request_key] = found
        elif found[1] != one.request_hash:
            raise IdempotencyKeyReused("This key stands for another posting.")
        answer.append(found[0])
    if fresh:
        _post(tx, fresh)
    return answer


@in_sets()
def known(
    tx: Tx, keys: Sequence[tuple[UUID, UUID]]
) -> dict[tuple[UUID, UUID], tuple[UUID, int | None]]:
    """Transfers that these (customer, request key) made: id and request hash."""
    if not keys:
        return {}
    rows = tx.all(
        "select i, id, request_hash from known_v1(%(customers)s::uuid[], %(keys)s::uuid[])",
        {"customers": [k[0] for k in keys], "keys": [k[1] for k in keys]},
    )
    return {keys[row["i"] - 1]: (row["id"], row["request_hash"]) for row in rows}


@in_sets()
def balances(
    tx: Tx, customers: Iterable[UUID], account: str, asset: str = CREDIT
) -> dict[UUID, int]:
    """The stored balance of one account for each customer; 0 where it was never used."""
    wanted = list(dict.fromkeys(customers))
    rows = tx.all(
        "select customer_id, balance from books_v1(%(customers)s::uuid[], %(code)s::smallint,"
        " %(asset)s, '-infinity')",
        {"customers": wanted, "code": CODES[account], "asset": asset},
    )
    return {**dict.fromkeys(wanted, 0), **{r["customer_id"]: r["balance"] for r in rows}}


def last_instant(tx: Tx, customer_id: UUID, now: datetime) -> datetime:
    """The time to decide by: `now` (or what the customer's own clock says), or the customer's
    last decision where that was later."""
    return tx.heads[customer_id].instant(now) if customer_id in tx.heads else now


def by_instant(
    tx: Tx, customers: Iterable[UUID], now: datetime
) -> list[tuple[datetime, set[UUID]]]:
    """Customers with the instant to decide by: all together, but for those whose clocks are moved
    by hand."""
    found: dict[datetime, set[UUID]] = {}
    for one in customers:
        head = tx.heads.get(one)
        is_clocked = head is not None and head.clock_at is not None
        found.setdefault(last_instant(tx, one, now) if is_clocked else now, set()).add(one)
    return list(found.items())


@in_sets(2)
def emit(tx: Tx, now: datetime, events: Sequence[Event]) -> None:
    """Append events with the next numbers of their customers, and news for the publisher."""
    tx.settle()
    groups = by_instant(tx, (one.customer_id for one in events), now)
    for at, customers in groups:
        is_all = len(groups) == 1
        _emit(tx, at, events if is_all else [e for e in events if e.customer_id in customers])


def _emit(tx: Tx, now: datetime, events: Sequence[Event]) -> None:
    tx.all(
        "select emit_v1(%(now)s, %(customers)s::uuid[], %(ids)s::uuid[], %(types)s::text[],"
        " %(subjects)s::uuid[], %(data)s::text[], %(causes)s::text[])",
        {
            "now": now,
            "customers": [e.customer_id for e in events],
            "ids": [ids.new_owned(e.customer_id) for e in events],
            "types": [e.type for e in events],
            "subjects": [e.subject_id for e in events],
            "data": [_json(e.data) for e in events],
            "causes": [_json(causes.merged(e.cause, e.customer_id)) for e in events],
        },
    )


def open_batches(tx: Tx, rows: Sequence[BatchRow]) -> None:
    """Write batches. The transfer that fills each is posted apart, with it as `subject_id`."""
    if not rows:
        return
    tx.all(
        "select batches_v2(%(customers)s::uuid[], %(ids)s::uuid[], %(kinds)s::text[],"
        " %(origins)s::text[], %(amounts)s::bigint[], %(take_at)s::timestamptz[],"
        " %(granted_at)s::timestamptz[], %(expires_at)s::timestamptz[], %(payments)s::uuid[],"
        " %(sources)s::uuid[], %(costs)s::bigint[], %(currencies)s::text[])",
        {
            "customers": [r.customer_id for r in rows],
            "ids": [r.id for r in rows],
            "kinds": [r.kind for r in rows],
            "origins": [r.origin for r in rows],
            "amounts": [r.amount for r in rows],
            "take_at": [_instant(r.take_at) for r in rows],
            "granted_at": [_instant(r.granted_at) for r in rows],
            "expires_at": [_instant(r.expires_at) for r in rows],
            "payments": [r.payment_id for r in rows],
            "sources": [r.source_id for r in rows],
            "costs": [r.cost_minor for r in rows],
            "currencies": [r.currency for r in rows],
        },
    )


def draw(tx: Tx, rows: Sequence[tuple[UUID, UUID, UUID, int]]) -> None:
    """(customer, transfer, batch, amount): take from batches, or put back where amount < 0."""
    if not rows:
        return
    tx.all(
        "select draw_v1(%(customers)s::uuid[], %(transfers)s::uuid[], %(batches)s::uuid[],"
        " %(amounts)s::bigint[])",
        {
            "customers": [r[0] for r in rows],
            "transfers": [r[1] for r in rows],
            "batches": [r[2] for r in rows],
            "amounts": [r[3] for r in rows],
        },
    )


def end_batches(tx: Tx, customer_id: UUID, ends: Mapping[str, str]) -> None:
    """Let these batches end at other instants, by id, and be taken from in that order where they
    were. The head is locked. Whoever spends looks for ended ones from the soonest end on."""
    values = {"customer_id": customer_id, "ids": list(ends), "ends": list(ends.values())}
    tx.run(
        "update batches b set expires_at = n.ends,"
        " take_at = case when b.take_at = b.expires_at then n.ends else b.take_at end"
        " from unnest(%(ids)s::uuid[], %(ends)s::timestamptz[]) as n (id, ends)"
        " where b.customer_id = %(customer_id)s and b.id = n.id and b.open",
        values,
    )
    tx.run(
        "update accounts set next_expiry = least(next_expiry, (select min(n.ends)"
        "  from unnest(%(ends)s::timestamptz[]) as n (ends)))"
        " where customer_id = %(customer_id)s and code = 1 and asset = 'CREDIT'",
        values,
    )


def owe(tx: Tx, rows: Sequence[tuple[UUID, UUID, int]]) -> None:
    """(customer, batch, change): what is owed on a batch grows, or shrinks where change < 0."""
    if not rows:
        return
    tx.all(
        "select owe_v1(%(customers)s::uuid[], %(batches)s::uuid[], %(amounts)s::bigint[])",
        {
            "customers": [r[0] for r in rows],
            "batches": [r[1] for r in rows],
            "amounts": [r[2] for r in rows],
        },
    )


def uuid_array(values: Iterable[UUID | None]) -> str:
    """The text form of a uuid[]: several times quicker than handing the driver the objects."""
    return "{" + ",".join(["null" if v is None else v.hex for v in values]) + "}"


def _post(tx: Tx, fresh: Sequence[tuple[UUID, Entry]]) -> None:
    rows = [e for _, e in fresh]
    values = {
        "customers": [e.customer_id for e in rows],
        "ids": [made for made, _ in fresh],
        "txns": [e.txn_id for e in rows],
        "debits": [CODES[e.debit] for e in rows],
        "credits": [CODES[e.credit] for e in rows],
        "assets": [e.asset for e in rows],
        "amounts": [e.amount for e in rows],
        "reasons": [e.reason for e in rows],
        "subjects": [e.subject_id for e in rows],
        "reverses": [e.reverses_id for e in rows],
        "keys": [e.request_key for e in rows],
        "hashes": [e.request_hash for e in rows],
        "notes": [e.note for e in rows],
        "refs": [e.reference for e in rows],
        "metadata": [_json(e.metadata) for e in rows],
        "effective": [e.effective_at for e in rows],
    }
    try:
        tx.all(
            "select post_v3(%(customers)s::uuid[], %(ids)s::uuid[], %(txns)s::uuid[],"
            " %(debits)s::smallint[], %(credits)s::smallint[], %(assets)s::text[],"
            " %(amounts)s::bigint[], %(reasons)s::text[], %(subjects)s::uuid[],"
            " %(reverses)s::uuid[], %(keys)s::uuid[], %(hashes)s::bigint[], %(notes)s::text[],"
            " %(refs)s::text[], %(metadata)s::text[], %(effective)s::timestamptz[])",
            values,
        )
    except psycopg.errors.CheckViolation as exc:
        raise BalanceTooLow("Not enough on the account; nothing was posted.") from exc
    except psycopg.errors.NumericValueOutOfRange as exc:
        raise InvalidRequest("The balance would become too large.", param="amount") from exc


def _json(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value, default=str, separators=(",", ":"))


def _instant(value: datetime | None) -> str:
    return "infinity" if value is None else value.isoformat()
