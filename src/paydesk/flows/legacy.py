"""Brings the families' old tables over: payments with their books, services, methods, access.

A dry run reads and judges everything and writes nothing. Each row is written once, by a key made
of its family and old id, so that a second run, or one that was broken off, only adds what is
missing. What was paid is posted as it was: captured, sold, refunded, on the old dates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

import psycopg

from paydesk import causes, ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import InvalidRequest, PaydeskError, Unavailable
from paydesk.flows import attempts, ledger, legacy_beside, trail
from paydesk.flows.events import NewEvent, emit_many
from paydesk.flows.legacy_dump import DumpSource, Line
from paydesk.flows.legacy_source import DsnSource, open_source
from paydesk.rules import legacy
from paydesk.rules.legacy import OldPayment
from paydesk.rules.payments import handle_of
from paydesk.tracker.exceptions import DuplicatePayment
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment

#: So many rows are written in one transaction.
BATCH = 200
#: So many refused rows are kept to be shown.
MOST_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that could not be brought over, and why. `line`: where it stands in a dump."""

    table: str
    old_id: str
    why: str
    line: int | None = None


@dataclass(slots=True)
class TableResult:
    """How one table went. `known` rows were here from before."""

    family: str
    table: str
    total: int | None
    read: int = 0
    imported: int = 0
    known: int = 0
    skipped: int = 0
    refused: int = 0


@dataclass(slots=True)
class Result:
    """How all of it went."""

    source: str
    is_dry: bool
    tables: list[TableResult] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not any(t.refused for t in self.tables)


#: Told after each batch: (result of the table).
Progress = Callable[[TableResult], None]


def import_tables(
    env: Env, source: str, *, by: str, dry_run: bool = True, schema: str = "public",
    progress: Progress = lambda _: None,
) -> Result:  # fmt: skip
    """Bring over every table of the documents that `source` has: a DSN or a plain SQL dump.

    Raises InvalidRequest where nothing of it is known. A row that cannot be is left out and told.
    """
    old = open_source(source, schema)
    try:
        result = Result(source=old.name, is_dry=dry_run)
        found = _found(old)
        if not found:
            raise InvalidRequest("No table of the documents was found there.", param="source")
        with causes.by(by, "import"):
            for family, table in found:
                _table(env, old, family, table, result, progress)
            if not dry_run:
                with env.db.transaction() as tx:
                    about = {t.family: t.imported for t in result.tables}
                    trail.record(tx, env.now(), "legacy.imported", old.name[:255], about)
        return result
    finally:
        old.close()


def _found(old: DsnSource | DumpSource) -> list[tuple[str, str]]:
    found = [
        (family, table)
        for table, columns in old.columns().items()
        if (family := legacy.family_of(table, columns)) is not None
    ]
    return sorted(found, key=lambda one: legacy.ORDER.index(one[0]))


def _table(
    env: Env, old: DsnSource | DumpSource, family: str, table: str, result: Result,
    progress: Progress,
) -> None:  # fmt: skip
    done = TableResult(family=family, table=table, total=old.count(table))
    result.tables.append(done)
    # A dump stays as it is; the rows of a running database may have moved since.
    goes_on = isinstance(old, DumpSource) and not result.is_dry
    skip, refused = _position(env, result.source, table) if goes_on else (0, 0)
    done.read, done.refused, done.known = skip, refused, skip - refused
    write = _payments if family in _PAYMENTS else legacy_beside.write
    for batch in _batches(old.rows(table, skip)):
        good = []
        for line in batch:
            try:
                read = _read(family, line)
            except (PaydeskError, KeyError, TypeError, ValueError, ArithmeticError) as exc:
                _refuse(result, done, line, exc)
                continue
            if read is None:
                done.skipped += 1
            else:
                good.append((line, read))
        _write(env, family, write, good, result, done)
        done.read += len(batch)
        if goes_on:
            _keep_position(env, result.source, done, done.read)
        progress(done)
    if goes_on:
        # Whole: the next run looks at every row again, those refused in this one too.
        _keep_position(env, result.source, done, 0)


def _read(family: str, line: Line) -> Any:
    if line.problem is not None:
        raise InvalidRequest(line.problem)
    return legacy.payment_of(family, line.row) if family in _PAYMENTS else line.row


def _write(
    env: Env, family: str, write: Any, good: Sequence[tuple[Line, Any]], result: Result,
    done: TableResult,
) -> None:  # fmt: skip
    """A batch at once; where that fails, each row alone, so that one fault stays one's own."""
    if not good:
        return
    try:
        imported, known = write(env, family, [read for _, read in good], result.is_dry)
        done.imported += imported
        done.known += known
    except (Unavailable, psycopg.OperationalError):
        raise  # No fault of a row's: the next run goes on from here.
    except Exception as exc:  # Whatever a row holds, the others are brought over.
        if len(good) == 1:
            _refuse(result, done, good[0][0], exc)
            return
        for one in good:
            _write(env, family, write, [one], result, done)


def _refuse(result: Result, done: TableResult, line: Line, exc: Exception) -> None:
    done.refused += 1
    if len(result.refused) < MOST_SHOWN:
        old_id = str(line.row.get("id") or "?")[:64]
        result.refused.append(Refused(done.table, old_id, _why(exc), line.number))


def _why(exc: Exception) -> str:
    if isinstance(exc, PaydeskError):
        return exc.detail
    if isinstance(exc, KeyError):
        return f"The column {exc} is missing."
    if isinstance(exc, DuplicatePayment | psycopg.errors.UniqueViolation):
        name = getattr(exc, "constraint", None) or exc.diag.constraint_name  # type: ignore[union-attr]
        return _TWICE.get(name, f"It stands there already: {name}.")
    return f"{type(exc).__name__}: {exc}"[:200]


#: Constraint -> what a row that breaks it is told.
_TWICE = {
    "payments_customer_id_handle_key": "Another payment of this customer has its intent's id.",
    "customer_services_once": "Another service of this type runs for this customer.",
}


def _batches(rows: Iterator[Line]) -> Iterator[list[Line]]:
    while batch := list(islice(rows, BATCH)):
        yield batch


def _position(env: Env, source: str, table: str) -> tuple[int, int]:
    """How many rows a run that was broken off had looked at, and how many of them it refused."""
    with env.db.read() as tx:
        row = tx.one(
            "select rows_done, refused from legacy_imports where source = %(source)s"
            " and tbl = %(tbl)s and rows_done > 0",
            {"source": source, "tbl": table},
        )
    return (row["rows_done"], row["refused"]) if row else (0, 0)


def _keep_position(env: Env, source: str, done: TableResult, rows_done: int) -> None:
    with env.db.transaction() as tx:
        tx.run(
            "insert into legacy_imports (source, tbl, rows_done, imported, known, refused)"
            " values (%(source)s, %(tbl)s, %(rows)s, %(imported)s, %(known)s, %(refused)s)"
            " on conflict (source, tbl) do update set rows_done = excluded.rows_done,"
            " imported = excluded.imported, known = excluded.known, refused = excluded.refused",
            {"source": source, "tbl": done.table, "rows": rows_done, "imported": done.imported,
             "known": done.known, "refused": done.refused},
        )  # fmt: skip


# Payments ----------------------------------------------------------------------------------------


def _payments(env: Env, family: str, rows: Sequence[OldPayment], is_dry: bool) -> tuple[int, int]:
    if is_dry:
        known = legacy_beside.known_owners(env, {row.customer for row in rows})
        return _judge(env, family, rows, known)
    owners = legacy_beside.owners(env, {row.customer for row in rows})
    with env.db.transaction(*set(owners.values())) as tx:
        wanted = [(owners[row.customer], legacy_beside.key_of(family, row.old_id)) for row in rows]
        known = _known(tx, wanted)
        fresh = [row for row, key in zip(rows, wanted, strict=True) if key not in known]
        _write_payments(env, tx, family, fresh, owners)
    return len(fresh), len(rows) - len(fresh)


def _judge(
    env: Env, family: str, rows: Sequence[OldPayment], known: dict[str, UUID]
) -> tuple[int, int]:
    wanted = [
        (known[row.customer], legacy_beside.key_of(family, row.old_id))
        for row in rows
        if row.customer in known
    ]
    with env.db.read() as tx:
        there = len(_known(tx, wanted))
    for row in rows:
        _payment(row, ids.customer_of_tag(0), family, ids.new_owned(ids.customer_of_tag(0)))
    return len(rows) - there, there


def _known(tx: Tx, wanted: Sequence[tuple[UUID, UUID]]) -> set[tuple[UUID, UUID]]:
    rows = tx.all(
        "select p.customer_id, p.request_key from unnest(%(customers)s::uuid[], %(keys)s::uuid[])"
        " as k(c, key) cross join lateral (select customer_id, request_key from payments"
        "  where customer_id = k.c and request_key = k.key limit 1) p",
        {"customers": [c for c, _ in wanted], "keys": [k for _, k in wanted]},
    )
    return {(row["customer_id"], row["request_key"]) for row in rows}


def _payment(
    row: OldPayment, owner: UUID, family: str, made: UUID, is_live: bool = False,
    service_id: UUID | None = None,
) -> ServicePayment:  # fmt: skip
    paid = row.state in legacy.PAID
    return ServicePayment(
        id=str(made), customer_id=owner, user_id=str(owner), amount_cents=row.amount_minor,
        currency=row.currency, state=row.state, provider=row.provider, purpose="payment",
        handle=row.handle or handle_of(made), method=row.method, description=row.description,
        reference=row.reference, price_minor=row.amount_minor,
        captured_cents=row.amount_minor if paid else 0, refunded_cents=row.refunded_minor,
        credits_to_add=row.credits, credits_added=row.credits_added_at is not None,
        credits_added_at=row.credits_added_at if paid else None, package_id=row.package_id,
        package_name=row.package_name, session_id=row.session_ref,
        provider_payment_id=row.payment_ref, payment_type=row.payment_type, service_id=service_id,
        completed_at=(row.completed_at or row.updated_at) if paid else None,
        failed_at=row.failed_at, canceled_at=row.canceled_at, error_code=row.error_code,
        error_message=row.error_message, livemode=is_live,
        metadata={**row.metadata, "imported_from": family, "imported_id": row.old_id},
        request_key=legacy_beside.key_of(family, row.old_id), request_hash=row.old_id.encode()[:64],
        created_at=row.created_at, updated_at=row.updated_at,
    )  # fmt: skip


def _write_payments(
    env: Env, tx: Tx, family: str, rows: Sequence[OldPayment], owners: dict[str, UUID]
) -> None:
    if not rows:
        return
    now = env.now()
    pairs = []
    bought = legacy_beside.found(
        tx, "services.customer_services", [row.service for row in rows if row.service]
    )
    for row in rows:
        owner = owners[row.customer]
        made = ids.new_owned(owner, int(row.created_at.timestamp() * 1000))
        service = bought.get((owner, row.service or ""))
        pairs.append((row, _payment(row, owner, family, made, env.settings.live, service)))
    JoinedStore(tx.conn).create_many([payment for _, payment in pairs])
    paid = [(row, payment, ids.new_owned(payment.customer_id)) for row, payment in pairs
            if row.state in legacy.PAID]  # fmt: skip
    refunded = [(row, payment, ids.new_owned(payment.customer_id)) for row, payment, _ in paid
                if row.refunded_minor]  # fmt: skip
    ledger.post(tx, [*_sales(paid), *_backs(refunded)])
    _write_goods(tx, paid)
    _write_refunds(tx, refunded)
    _link_services(tx, [payment for _, payment, _ in paid])
    refs = []
    for row, payment in pairs:
        for ref in (row.session_ref, row.payment_ref):
            if ref:
                refs.append((row.provider, "", ref, *payment.key))
        for number in (row.handle, row.old_id):
            if number:
                refs.append((legacy_beside.SELF, legacy_beside.ACCOUNT, number, *payment.key))
    attempts.add_refs(tx, refs)
    emit_many(
        tx,
        [
            NewEvent(
                customer_id=p.customer_id, type="payment.imported", subject_id=p.key[1], at=now,
                data={"amount": p.amount_cents, "currency": p.currency, "status": p.state,
                      "from": family},
            )
            for _, p in pairs
        ],
    )  # fmt: skip


def _entry(
    payment: ServicePayment, debit: str, credit: str, reason: str, amount: int, txn: UUID,
    at: datetime,
) -> ledger.Entry:  # fmt: skip
    return ledger.Entry(
        customer_id=payment.customer_id, debit=debit, credit=credit, asset=payment.currency,
        amount=amount, reason=reason, txn_id=txn, subject_id=payment.key[1], effective_at=at,
        request_key=ids.request_key("import", str(payment.request_key), reason), note="imported",
    )  # fmt: skip


def _sales(paid: Iterable[tuple[OldPayment, ServicePayment, UUID]]) -> Iterator[ledger.Entry]:
    for row, payment, txn in paid:
        at = payment.completed_at or row.updated_at
        amount = row.amount_minor
        yield _entry(payment, "clearing", "deposits", "PAYMENT_CAPTURE", amount, txn, at)
        yield _entry(payment, "deposits", "revenue", "SALE", amount, txn, at)


def _backs(refunded: Iterable[tuple[OldPayment, ServicePayment, UUID]]) -> Iterator[ledger.Entry]:
    for row, payment, txn in refunded:
        at = row.refunded_at or row.updated_at
        amount = row.refunded_minor
        yield _entry(payment, "revenue", "refunds", "REFUND", amount, txn, at)
        yield _entry(payment, "refunds", "clearing", "REFUND_PAID", amount, txn, at)


def _write_goods(tx: Tx, paid: Sequence[tuple[OldPayment, ServicePayment, UUID]]) -> None:
    if not paid:
        return
    tx.run(
        "insert into fulfillments (customer_id, payment_id, purpose, state, path, txn_id, tries,"
        " done_at, created_at) select n.c, n.p, 'payment', 'done', 'import', n.txn, 1, n.at, n.at"
        " from unnest(%(customers)s::uuid[], %(payments)s::uuid[], %(txns)s::uuid[],"
        "  %(at)s::timestamptz[]) as n(c, p, txn, at)",
        {
            "customers": [p.customer_id for _, p, _ in paid],
            "payments": [p.key[1] for _, p, _ in paid], "txns": [txn for _, _, txn in paid],
            "at": [p.completed_at for _, p, _ in paid],
        },
    )  # fmt: skip


def _write_refunds(tx: Tx, refunded: Sequence[tuple[OldPayment, ServicePayment, UUID]]) -> None:
    if not refunded:
        return
    tx.run(
        "insert into refunds (customer_id, id, payment_id, amount_minor, currency, state, origin,"
        " reason, provider, requested_by, txn_id, succeeded_at, request_key, request_hash,"
        " created_at) select n.c, n.id, n.p, n.amount, n.currency, 'succeeded', 'desk', n.reason,"
        "  n.provider, 'import', n.txn, n.at, n.key, 'imported'::bytea, n.at"
        " from unnest(%(customers)s::uuid[], %(ids)s::uuid[], %(payments)s::uuid[],"
        "  %(amounts)s::bigint[], %(currencies)s::text[], %(reasons)s::text[],"
        "  %(providers)s::text[], %(txns)s::uuid[], %(at)s::timestamptz[], %(keys)s::uuid[])"
        "  as n(c, id, p, amount, currency, reason, provider, txn, at, key)",
        {
            "customers": [p.customer_id for _, p, _ in refunded],
            "ids": [ids.new_owned(p.customer_id) for _, p, _ in refunded],
            "payments": [p.key[1] for _, p, _ in refunded],
            "amounts": [r.refunded_minor for r, _, _ in refunded],
            "currencies": [r.currency for r, _, _ in refunded],
            "reasons": [r.refund_reason for r, _, _ in refunded],
            "providers": [r.provider for r, _, _ in refunded],
            "txns": [txn for _, _, txn in refunded],
            "at": [r.refunded_at or r.updated_at for r, _, _ in refunded],
            "keys": [ids.request_key("import refund", p.id) for _, p, _ in refunded],
        },
    )  # fmt: skip


def _link_services(tx: Tx, paid: Sequence[ServicePayment]) -> None:
    """A service says which payment it runs by: the last that was not given back."""
    for payment in sorted(paid, key=lambda one: one.completed_at or one.updated_at):
        if payment.service_id is None or payment.state == "refunded":
            continue
        tx.run(
            "update customer_services set payment_id = %(payment_id)s"
            " where customer_id = %(customer_id)s and id = %(id)s",
            {"customer_id": payment.customer_id, "id": payment.service_id,
             "payment_id": payment.key[1]},
        )  # fmt: skip


_PAYMENTS = frozenset({"services.payments", "credits.payment_transactions", "wallets.payments",
                       "learning.payments"})  # fmt: skip
