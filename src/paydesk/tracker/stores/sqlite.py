"""Payments in a SQLite file: the standard library only, several threads and processes."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..exceptions import AmountTooLarge, DuplicatePayment, PaymentNotFound
from ..models import COLUMNS, PaymentRecord
from .base import PaymentStore, Records

#: Each column's SQL, in the order of COLUMNS; the migration adds those an older file lacks.
DECLARATIONS: dict[str, str] = {
    "id": "text primary key",
    "user_id": "text not null",
    "amount_cents": "integer not null",
    "amount_usd": "text",
    "credits_to_add": "integer not null default 0",
    "status": "text not null",
    "provider": "text not null",
    "provider_session_id": "text",
    "provider_payment_id": "text",
    "package_id": "text",
    "package_name": "text",
    "credits_added": "integer default 0",
    "credits_added_at": "text",
    "credit_transaction_id": "text",
    "created_at": "text",
    "updated_at": "text",
    "completed_at": "text",
    "expires_at": "text",
    "error_message": "text",
    "error_code": "text",
    "metadata": "text default '{}'",
    "state": "text",
    "version": "integer not null default 0",
    "currency": "text not null default 'usd'",
    "captured_cents": "integer not null default 0",
    "refunded_cents": "integer not null default 0",
    "claim_expires_at": "text",
    "status_history": "text not null default '[]'",
}
INDEXES = (
    "create unique index if not exists payment_transactions_session"
    " on payment_transactions (provider_session_id)",
    "create index if not exists payment_transactions_user"
    " on payment_transactions (user_id, created_at)",
    "create index if not exists payment_transactions_expiry"
    " on payment_transactions (expires_at) where status = 'pending'",
    "create index if not exists payment_transactions_claims"
    " on payment_transactions (claim_expires_at) where claim_expires_at is not null",
)

# Built from the two tables of constants above, never from input.
_INSERT = (
    f"insert into payment_transactions ({', '.join(COLUMNS)})"  # noqa: S608
    f" values ({', '.join(':' + name for name in COLUMNS)})"
)
_REPLACE = (
    "update payment_transactions set "  # noqa: S608
    + ", ".join(f"{name} = :{name}" for name in COLUMNS if name != "id")
    + " where id = :id"
)
_FILTER = """
    from payment_transactions
    where (:user_id is null or user_id = :user_id)
      and (:statuses is null or status in (select value from json_each(:statuses)))
      and (:expires_before is null or expires_at <= :expires_before)
      and (:claims_before is null or (claim_expires_at <= :claims_before and not credits_added))
"""


class SQLitePaymentStore(PaymentStore):
    """One table `payment_transactions` in `path`, created or completed when first opened."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._owner = 0
        with self._writing() as db:
            _migrate(db)

    def create(self, payment: PaymentRecord) -> PaymentRecord:
        with self._writing() as db:
            db.execute(_INSERT, _to_row(payment))
        return payment

    def get_by_id(self, payment_id: str) -> PaymentRecord | None:
        return self._one("select * from payment_transactions where id = ?", payment_id)

    def get_by_session_id(self, session_id: str) -> PaymentRecord | None:
        query = "select * from payment_transactions where provider_session_id = ?"
        return self._one(query, session_id)

    def update(self, payment: PaymentRecord) -> PaymentRecord:
        with self._writing() as db:
            if db.execute(_REPLACE, _to_row(payment)).rowcount == 0:
                raise PaymentNotFound(f"no payment {payment.id}")
        return payment

    def compare_and_set(self, payment: PaymentRecord, expect_version: int) -> bool:
        with self._writing() as db:
            return _replace_at(db, payment, expect_version)

    def update_many(self, pairs: Sequence[tuple[PaymentRecord, PaymentRecord]]) -> list[bool]:
        with self._writing() as db:
            return [_replace_at(db, new, old.version) for old, new in pairs]

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
        query = f"select * {_FILTER} order by created_at desc, id desc limit :limit offset :offset"
        values = {
            **_filter_values(user_id, statuses),
            "expires_before": expires_before and _stored(expires_before),
            "claims_before": claims_before and _stored(claims_before),
            "limit": limit,
            "offset": offset,
        }
        with self._lock:
            rows = self._db().execute(query, values).fetchall()
        return [_from_row(row) for row in rows]

    def count(self, *, user_id: str, statuses: Collection[str] | None = None) -> int:
        values = {
            **_filter_values(user_id, statuses),
            "expires_before": None,
            "claims_before": None,
        }
        with self._lock:
            return self._db().execute(f"select count(*) {_FILTER}", values).fetchone()[0]

    def close(self) -> None:
        """Close this process's connection; the next call opens another."""
        with self._lock:
            if self._connection is not None and self._owner == os.getpid():
                self._connection.close()
            self._connection = None

    def _one(self, query: str, value: str) -> PaymentRecord | None:
        with self._lock:
            row = self._db().execute(query, (value,)).fetchone()
        return None if row is None else _from_row(row)

    def _db(self) -> sqlite3.Connection:
        # A forked child must not touch the connection it inherited, not even to close it.
        if self._connection is None or self._owner != os.getpid():
            self._connection = sqlite3.connect(
                self.path, timeout=30, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            self._owner = os.getpid()
        return self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A write transaction, one at a time over all processes; rolled back on any error."""
        with self._lock:
            db = self._db()
            db.execute("begin immediate")
            try:
                yield db
                db.execute("commit")
            except BaseException as exc:
                if db.in_transaction:
                    db.execute("rollback")
                raise _translated(exc) from exc


def _migrate(db: sqlite3.Connection) -> None:
    declared = ", ".join(f"{name} {kind}" for name, kind in DECLARATIONS.items())
    db.execute(f"create table if not exists payment_transactions ({declared})")
    present = {row["name"] for row in db.execute("pragma table_info(payment_transactions)")}
    for name, kind in DECLARATIONS.items():
        if name not in present:
            db.execute(f"alter table payment_transactions add column {name} {kind}")
    for index in INDEXES:
        db.execute(index)


def _replace_at(db: sqlite3.Connection, payment: PaymentRecord, expect_version: int) -> bool:
    values = {**_to_row(payment), "expect_version": expect_version}
    return db.execute(f"{_REPLACE} and version = :expect_version", values).rowcount == 1


def _to_row(payment: PaymentRecord) -> dict[str, Any]:
    row = payment.to_row()
    for name in ("metadata", "status_history"):
        row[name] = json.dumps(row[name], ensure_ascii=False)
    for name in row:
        if name.endswith("_at") and row[name] is not None:
            row[name] = _stored(datetime.fromisoformat(row[name]))
    return row


def _from_row(row: sqlite3.Row) -> PaymentRecord:
    return PaymentRecord.from_dict({name: row[name] for name in row.keys()})  # noqa: SIM118


def _stored(instant: datetime) -> str:
    """UTC text of fixed width, so that its order is the order of time."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds")


def _filter_values(user_id: str | None, statuses: Collection[str] | None) -> dict[str, Any]:
    words = None if statuses is None else json.dumps(sorted(statuses))
    return {"user_id": user_id, "statuses": words}


def _translated(exc: BaseException) -> BaseException:
    if isinstance(exc, sqlite3.IntegrityError):
        return DuplicatePayment(f"already recorded: {exc}")
    if isinstance(exc, OverflowError):
        return AmountTooLarge(str(exc))
    return exc
