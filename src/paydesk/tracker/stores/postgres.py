"""Payments in PostgreSQL (Supabase's database too), in the table `payment_transactions`."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from ..exceptions import AmountTooLarge, ConfigError, DuplicatePayment, PaymentNotFound
from ..migrations import migration_sql
from ..models import COLUMNS, PaymentRecord
from .base import PaymentStore, Records

# The values travel as one JSON document that PostgreSQL reads as rows of the table: an older
# table may have its user_id as uuid or text and its times with or without a zone.
_INSERT = sql.SQL(
    "insert into payment_transactions ({columns})"
    " select {columns} from jsonb_populate_recordset(null::payment_transactions, %(rows)s)"
).format(columns=sql.SQL(", ").join(map(sql.Identifier, COLUMNS)))
_UPDATE = sql.SQL(
    "update payment_transactions p set {assignments}"
    " from jsonb_populate_recordset(null::payment_transactions, %(rows)s) n"
    " join unnest(%(ids)s::uuid[], %(expect)s::int[]) as e(id, version) on e.id = n.id"
    " where p.id = n.id and p.version = coalesce(e.version, p.version)"
    " returning p.id"
)
_BY_ID = "select * from payment_transactions where id = %(value)s limit 1"
_BY_SESSION = (
    "select * from payment_transactions where provider_session_id = %(value)s"
    " order by created_at desc limit 1"
)
# Parameters go as text of unknown type, so that each takes its column's type, index and all.
_FILTERS = {
    "user_id": sql.SQL("user_id = %(user_id)s"),
    "statuses": sql.SQL("status = any(%(statuses)s)"),
    "expires_before": sql.SQL("expires_at <= %(expires_before)s"),
    "claims_before": sql.SQL("claim_expires_at <= %(claims_before)s and credits_added is not true"),
}
_LIST = sql.SQL(
    "select * from payment_transactions where {filters}"
    " order by created_at desc, id desc limit %(limit)s offset %(offset)s"
)
_COUNT = sql.SQL("select count(*) as n from payment_transactions where {filters}")


class PostgresPaymentStore(PaymentStore):
    """Give one of `dsn`, `pool` (a psycopg_pool.ConnectionPool) or `connection`.

    With a `connection` whose transaction is open, every change belongs to that transaction:
    committed together with what the application writes there, the grant of credits included.
    Otherwise every call is a transaction of its own.
    """

    def __init__(
        self,
        *,
        dsn: str | None = None,
        pool: Any = None,
        connection: psycopg.Connection[Any] | None = None,
    ) -> None:
        if sum(given is not None for given in (dsn, pool, connection)) != 1:
            raise ConfigError("the postgres store needs one of dsn=, pool= or connection=")
        self._dsn = dsn
        self._pool = pool
        self._connection = connection
        self._lock = threading.RLock()

    def migrate(self) -> None:
        """Run `002_payment_tracking.sql`: creates the table or adds what it lacks."""
        with self._transaction() as cursor:
            cursor.execute(migration_sql().encode())

    def create(self, payment: PaymentRecord) -> PaymentRecord:
        with self._transaction() as cursor:
            cursor.execute(_INSERT, {"rows": json.dumps([payment.to_row()])})
        return payment

    def get_by_id(self, payment_id: str) -> PaymentRecord | None:
        try:
            value = UUID(payment_id)
        except ValueError:
            return None
        return self._one(_BY_ID, value)

    def get_by_session_id(self, session_id: str) -> PaymentRecord | None:
        return None if "\x00" in session_id else self._one(_BY_SESSION, session_id)

    def update(self, payment: PaymentRecord) -> PaymentRecord:
        if not self._write([payment], [None], COLUMNS):
            raise PaymentNotFound(f"no payment {payment.id}")
        return payment

    def compare_and_set(self, payment: PaymentRecord, expect_version: int) -> bool:
        return bool(self._write([payment], [expect_version], COLUMNS))

    def update_many(self, pairs: Sequence[tuple[PaymentRecord, PaymentRecord]]) -> list[bool]:
        rows = [(old.to_row(), new.to_row()) for old, new in pairs]
        changed = [name for name in COLUMNS if any(o[name] != n[name] for o, n in rows)]
        written = self._write([new for _, new in pairs], [old.version for old, _ in pairs], changed)
        return [new.id in written for _, new in pairs]

    def list(
        self,
        *,
        user_id: str | None = None,
        statuses: Collection[str] | None = None,
        expires_before: datetime | None = None,
        claims_before: datetime | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> Records:
        values = {
            "user_id": user_id,
            "statuses": None if statuses is None else [*statuses],
            "expires_before": expires_before and expires_before.isoformat(),
            "claims_before": claims_before and claims_before.isoformat(),
        }
        page = {"limit": limit, "offset": offset}
        return [PaymentRecord.from_dict(row) for row in self._filtered(_LIST, values, page)]

    def count(self, *, user_id: str, statuses: Collection[str] | None = None) -> int:
        values = {"user_id": user_id, "statuses": None if statuses is None else [*statuses]}
        return sum(row["n"] for row in self._filtered(_COUNT, values, {}))

    def _filtered(
        self, query: sql.SQL, values: dict[str, Any], page: dict[str, int]
    ) -> Sequence[dict[str, Any]]:
        given = {name: value for name, value in values.items() if value is not None}
        filters = sql.SQL(" and ").join([sql.SQL("true"), *(_FILTERS[name] for name in given)])
        try:
            with self._transaction() as cursor:
                return cursor.execute(query.format(filters=filters), {**given, **page}).fetchall()
        except psycopg.errors.InvalidTextRepresentation:
            return []  # A user id of another shape than the column's: such a user has none.

    def _one(self, query: Any, value: object) -> PaymentRecord | None:
        with self._transaction() as cursor:
            row = cursor.execute(query, {"value": value}).fetchone()
        return None if row is None else PaymentRecord.from_dict(row)

    def _write(
        self,
        payments: Sequence[PaymentRecord],
        expect: Sequence[int | None],
        columns: Sequence[str],
    ) -> set[str]:
        """Write `columns` of each payment still at its expected version; returns their ids."""
        names = [sql.Identifier(name) for name in columns if name != "id"]
        assignments = sql.SQL(", ").join(sql.SQL("{0} = n.{0}").format(name) for name in names)
        values = {
            "rows": json.dumps([payment.to_row() for payment in payments]),
            "ids": [UUID(payment.id) for payment in payments],
            "expect": [*expect],
        }
        with self._transaction() as cursor:
            cursor.execute(_UPDATE.format(assignments=assignments), values)
            return {str(row["id"]) for row in cursor.fetchall()}

    @contextmanager
    def _transaction(self) -> Iterator[psycopg.Cursor[dict[str, Any]]]:
        with (
            self._connected() as connection,
            _translating(),
            connection.transaction(),
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            yield cursor

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection[Any]]:
        if self._connection is not None:
            with self._lock:
                yield self._connection
        elif self._pool is not None:
            with self._pool.connection() as connection:
                yield connection
        else:
            with psycopg.connect(str(self._dsn), autocommit=True) as connection:
                yield connection


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.UniqueViolation as exc:
        name = exc.diag.constraint_name
        raise DuplicatePayment(f"already recorded ({name})", constraint=name) from exc
    except psycopg.errors.NumericValueOutOfRange as exc:
        raise AmountTooLarge(str(exc.diag.message_primary)) from exc
