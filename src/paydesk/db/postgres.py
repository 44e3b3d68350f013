"""Connections and transactions on PostgreSQL: one door through which all SQL goes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, LiteralString

import msgspec
import psycopg
from psycopg import IsolationLevel, errors, sql
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg.types.json import Jsonb, JsonbDumper, set_json_loads
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from paydesk.db import arrays
from paydesk.db.errors import (
    CommitUnknown,
    ConnectionLost,
    DatabaseUnavailable,
    UnknownCustomer,
)
from paydesk.errors import Busy

__all__ = [
    "BEGINNING",
    "CommitUnknown",
    "ConnectionLost",
    "Database",
    "DatabaseUnavailable",
    "Head",
    "Late",
    "Tx",
    "UnknownCustomer",
    "in_transaction",
    "jsonb",
    "marked",
]

Params = Mapping[str, Any] | Sequence[Any] | None

#: What a head's `last_at` of minus infinity is here: Python has no such instant.
BEGINNING = datetime.min.replace(tzinfo=UTC)

#: The server says that it takes no work now; the statement did nothing.
_REFUSALS = (
    errors.TooManyConnections, errors.CannotConnectNow, errors.DiskFull, errors.OutOfMemory,
    errors.ReadOnlySqlTransaction, errors.ConfigurationLimitExceeded,
)  # fmt: skip
#: Somebody else holds what the statement needs; the transaction is rolled back.
_COLLISIONS = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)

#: Heads are always locked in this order, so that no two transactions wait for each other.
_LOCK: LiteralString = """
    select customer_id, seq, nullif(last_at, '-infinity') as last_at, clock_id
    from heads where customer_id = any(%(wanted)s)
    order by customer_id for no key update
"""
_LOCK_FREE: LiteralString = _LOCK + " skip locked"
#: Only for those who have one, and read after the lock.
_CLOCKS: LiteralString = "select id, now_at from clocks where id = any(%(ids)s)"

#: How every connection is opened.
_CONNECTION: dict[str, Any] = {
    "autocommit": True,
    "row_factory": dict_row,
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}

#: The open transaction of this thread or task, with the process that opened it.
_open_tx: ContextVar[tuple[int, Tx] | None] = ContextVar("paydesk_open_tx", default=None)


def in_transaction() -> bool:
    """Whether this thread or task has a transaction open. Providers are never called in one."""
    found = _open_tx.get()
    return found is not None and found[0] == os.getpid()


def _document(data: str | bytes) -> Any:
    """A JSON value out of a row."""
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError:  # Half a pair of surrogates, which the other one takes.
        return json.loads(data)


def jsonb(value: Any) -> Jsonb:
    """A parameter of type jsonb; dicts become one by themselves, lists would become arrays."""
    return Jsonb(value)


@dataclass(slots=True)
class Head:
    """A customer's locked head. `seq` is the last event's number; `last_at` never goes back.

    `clock_at`: where the customer's clock stands, if it is moved by hand. `asked_at`: the real
    instant at which a decision was asked for.
    """

    customer_id: uuid.UUID
    seq: int
    last_at: datetime
    clock_id: uuid.UUID | None
    clock_at: datetime | None = None
    asked_at: datetime | None = None

    def instant(self, now: datetime) -> datetime:
        """The instant to decide at: `now` or what the customer's own clock says, but never before
        the last decision."""
        return max(self.last_at, now if self.clock_at is None else self.clock_at)


class Late:
    """What a transaction holds back, to write it with fewer statements, and how it is written.
    Without `write` nothing is held back."""

    __slots__ = ("items", "write")

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.write: Callable[[Tx, list[Any]], object] | None = None

    def settle(self, tx: Tx) -> None:
        if self.items and self.write is not None:
            items, self.items = self.items, []
            self.write(tx, items)


class Tx:
    """One open transaction (or, from `Database.read`, single statements without one).

    `heads` holds the heads locked so far. Rows are dicts. `stale`: keys that caches have to forget
    once this is committed; where it was joined, they hear of the customer's events instead.
    `late`: what `flows.events.gathered` holds back; whoever writes events by a way of his own
    writes them first, by `settle`.
    """

    __slots__ = ("_is_foreign", "conn", "heads", "late", "stale")

    def __init__(self, conn: psycopg.Connection[Any], *, is_foreign: bool = False) -> None:
        self.conn = conn
        self.heads: dict[uuid.UUID, Head] = {}
        self.stale: set[str] = set()
        self.late = Late()
        self._is_foreign = is_foreign

    @classmethod
    def joined(cls, conn: psycopg.Connection[Any]) -> Tx:
        """Work inside the caller's own open transaction; the caller commits.

        Only READ COMMITTED: at a higher level a locked head could show a stale state. Raises
        ValueError for another level, and for a connection in autocommit mode without an open
        transaction.
        """
        if conn.autocommit and conn.info.transaction_status == TransactionStatus.IDLE:
            raise ValueError("the connection has no open transaction to join: it is in autocommit")
        tx = cls(conn, is_foreign=True)
        level = tx.value("select current_setting('transaction_isolation')")
        if level != "read committed":
            raise ValueError(f"only a READ COMMITTED transaction can be joined, not {level}")
        return tx

    def one(self, query: LiteralString, params: Params = None) -> DictRow | None:
        """The only row, or None. Two rows are a bug and raise AssertionError."""
        rows = self._execute(query, params).fetchmany(2)
        assert len(rows) < 2, f"more than one row from: {query}"
        return rows[0] if rows else None

    def all(self, query: LiteralString, params: Params = None) -> list[DictRow]:
        return self._execute(query, params).fetchall()

    def value(self, query: LiteralString, params: Params = None) -> Any:
        """The first column of the only row, or None."""
        row = self.one(query, params)
        return next(iter(row.values())) if row else None

    def run(self, query: LiteralString, params: Params = None) -> int:
        """Answers how many rows were changed."""
        return self._execute(query, params).rowcount

    def lock(self, *customers: uuid.UUID, free_only: bool = False) -> None:
        """Lock the heads of customers, in sorted order; those already locked are passed over.

        `free_only`: wait for none; `heads` tells which were to be had. Raises UnknownCustomer
        when one has no head, AssertionError when the order over all calls of this transaction
        would not be sorted: two such transactions could wait for each other.
        """
        wanted = sorted(set(customers) - self.heads.keys())
        if not wanted:
            return
        assert not self.heads or wanted[0] > max(self.heads), "heads must be locked in sorted order"
        rows = self.all(_LOCK_FREE if free_only else _LOCK, {"wanted": wanted})
        for row in rows:
            row["last_at"] = row["last_at"] or BEGINNING
            self.heads[row["customer_id"]] = Head(**row)
        if clocked := [row for row in rows if row["clock_id"] is not None]:
            self._read_clocks([row["customer_id"] for row in clocked])
        missing = [one for one in wanted if one not in self.heads]
        if missing and not free_only:
            raise UnknownCustomer(f"No such customer: {missing[0]}")

    def _read_clocks(self, customers: list[uuid.UUID]) -> None:
        found = self.all(_CLOCKS, {"ids": [self.heads[one].clock_id for one in customers]})
        instants = {row["id"]: row["now_at"] for row in found}
        for one in customers:
            self.heads[one].clock_at = instants[self.heads[one].clock_id]

    def settle(self) -> None:
        """Write what was held back so far."""
        self.late.settle(self)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what is done inside when it raises, and nothing before; its locks go too."""
        self.settle()
        heads = dict(self.heads)
        try:
            with self.conn.transaction():
                yield
        except BaseException:
            self.late.items.clear()
            self.heads = heads
            raise

    def _execute(self, query: LiteralString, params: Params) -> psycopg.Cursor[DictRow]:
        cursor = self.conn.cursor(row_factory=dict_row)
        if self._is_foreign:  # The caller's connection keeps its own ways; only this cursor adapts.
            cursor.adapters.register_dumper(dict, JsonbDumper)
        return cursor.execute(query, params)


@contextmanager
def marked(tx: Tx) -> Iterator[Tx]:
    """Make `in_transaction()` true for the block; for transactions that were joined."""
    token = _open_tx.set((os.getpid(), tx))
    try:
        yield tx
    finally:
        _open_tx.reset(token)


class Database:
    """A pool of connections to one database.

    Opened on first use. A process forked from this one gets connections of its own and leaves
    the inherited ones alone.
    """

    def __init__(
        self,
        dsn: str,
        *,
        min_size: int = 1,
        max_size: int = 10,
        name: str = "paydesk",
        wait_timeout_s: float = 5.0,
        lock_timeout_s: float = 10.0,
        role: str | None = None,
    ) -> None:
        """`wait_timeout_s` bounds the wait for a free connection, `lock_timeout_s` that for rows
        which another transaction holds. `role` is put on after connecting, where the DSN's own
        user owns the tables and so could not be held to append-only."""
        self.dsn = dsn
        self.name = name
        #: Told what caches have to forget, after the commit that changed it.
        self.forget: Callable[[set[str]], None] | None = None
        self._sizes = (min_size, max(max_size, min_size))
        self._wait_timeout_s = wait_timeout_s
        self._lock_timeout_s = lock_timeout_s
        self._role = role
        self._pool: ConnectionPool[psycopg.Connection[Any]] | None = None
        self._lock = threading.Lock()
        _databases.add(self)

    def open(self) -> None:
        """Connect now. Raises DatabaseUnavailable when the server does not answer."""
        try:
            self._ready_pool().wait(timeout=self._wait_timeout_s)
        except PoolTimeout as exc:
            self.close()
            raise DatabaseUnavailable(self._why_not()) from exc

    def close(self) -> None:
        """Close every connection of this process. The next use opens anew."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close(timeout=1.0)

    def connect(self, *, lock_timeout_s: float | None = None) -> psycopg.Connection[Any]:
        """A connection of one's own, outside the pool, set up like those in it; the caller closes
        it. Raises DatabaseUnavailable."""
        try:
            conn = psycopg.connect(self.dsn, **_CONNECTION, application_name=self.name)
            self._configure(conn, lock_timeout_s)
        except psycopg.OperationalError as exc:
            raise DatabaseUnavailable(f"The database cannot be reached: {exc}".strip()) from exc
        return conn

    def ping(self) -> float:
        """Seconds that a statement takes to the server and back; raises DatabaseUnavailable."""
        before = time.perf_counter()
        with self.read() as tx:
            tx.value("select 1")
        return time.perf_counter() - before

    @contextmanager
    def transaction(self, *customers: uuid.UUID, wait_s: float | None = None) -> Iterator[Tx]:
        """READ COMMITTED, with the heads of the customers locked first.

        `wait_s`: how long each lock is waited for, where the usual wait is too long.
        Commits when the block ends, rolls back when it raises. Raises ConnectionLost when the
        connection broke before the commit, CommitUnknown when it broke during it, Busy when a
        lock could not be had in time.
        """
        stale: set[str] = set()
        try:
            with self._begun("begin isolation level read committed") as tx:
                stale = tx.stale
                if wait_s is not None:
                    tx.one("select set_config('lock_timeout', %(wait)s, true)",
                           {"wait": f"{max(1, int(wait_s * 1000))}ms"})  # fmt: skip
                if customers:
                    tx.lock(*customers)
                yield tx
        except CommitUnknown:
            self._forgotten(stale)
            raise
        self._forgotten(stale)

    def _forgotten(self, stale: set[str]) -> None:
        if stale and self.forget is not None:
            self.forget(stale)

    @contextmanager
    def read(self) -> Iterator[Tx]:
        """Single statements, each its own snapshot, no locks."""
        with self._connection() as conn:
            try:
                yield Tx(conn)
            except psycopg.OperationalError as exc:
                raise _translated(exc, conn) from exc

    @contextmanager
    def snapshot(self) -> Iterator[Tx]:
        """Several reads that all see one instant; nothing can be written."""
        with self._begun("begin isolation level repeatable read read only") as tx:
            yield tx

    @contextmanager
    def _begun(self, begin: LiteralString) -> Iterator[Tx]:
        with self._connection() as conn:
            is_committing = False
            try:
                conn.execute(begin)
                with marked(Tx(conn)) as tx:
                    yield tx
                    is_committing = True
                    conn.execute("commit")
            except BaseException as exc:
                _roll_back(conn)
                if isinstance(exc, psycopg.OperationalError):
                    raise _translated(exc, conn, is_committing=is_committing) from exc
                raise

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        pool = self._ready_pool()
        conn = self._living(pool)
        try:
            yield conn
        finally:
            pool.putconn(conn)

    def _living(self, pool: ConnectionPool[psycopg.Connection[Any]]) -> psycopg.Connection[Any]:
        """A connection that the server has not left. The pool's own check would pause for a
        second after each dead one, and a restart of the server leaves a pool full of them."""
        deadline = time.monotonic() + self._wait_timeout_s
        while True:
            try:
                conn = pool.getconn(timeout=max(deadline - time.monotonic(), 0.001))
            except (PoolTimeout, PoolClosed, psycopg.OperationalError) as exc:
                raise DatabaseUnavailable(self._why_not()) from exc
            if _is_alive(conn):
                return conn
            pool.putconn(conn)  # Sees that it is dead and connects anew.

    def _ready_pool(self) -> ConnectionPool[psycopg.Connection[Any]]:
        pool = self._pool
        if pool is not None:
            return pool
        with self._lock:
            if self._pool is None:
                self._pool = self._new_pool()
            return self._pool

    def _new_pool(self) -> ConnectionPool[psycopg.Connection[Any]]:
        least, most = self._sizes
        return ConnectionPool(
            self.dsn,
            kwargs={**_CONNECTION, "application_name": self.name},
            min_size=least,
            max_size=most,
            name=self.name,
            open=True,
            configure=self._configure,
            # The pool waits ever longer between attempts; give up early, and the next caller
            # tries at once, so that a server that is back is used within a second or two.
            reconnect_timeout=2.0,
            num_workers=2,
        )

    def _configure(
        self, conn: psycopg.Connection[Any], lock_timeout_s: float | None = None
    ) -> None:
        timeout_s = self._lock_timeout_s if lock_timeout_s is None else lock_timeout_s
        conn.adapters.register_dumper(dict, JsonbDumper)
        arrays.adapt(conn)
        set_json_loads(_document, conn)
        conn.isolation_level = IsolationLevel.READ_COMMITTED
        conn.execute(
            "select set_config('timezone', 'UTC', false), set_config('lock_timeout', %s, false)",
            (f"{int(timeout_s * 1000)}ms",),
        )
        if self._role:
            conn.execute(sql.SQL("set role {}").format(sql.Identifier(self._role)))

    def _why_not(self) -> str:
        """One direct attempt tells why the pool has nothing to give."""
        try:
            psycopg.connect(self.dsn, connect_timeout=2).close()
        except psycopg.OperationalError as exc:
            return f"The database cannot be reached: {str(exc).strip()}"
        return f"No connection was free within {self._wait_timeout_s:g} s."

    def _forget(self) -> None:
        """In a forked child: the parent's connections are kept, unused, and never closed."""
        if self._pool is not None:
            _inherited.append(self._pool)
        self._pool = None
        self._lock = threading.Lock()


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_inherited: list[object] = []


def _forget_all() -> None:
    for database in list(_databases):
        database._forget()


os.register_at_fork(after_in_child=_forget_all)


def _is_alive(conn: psycopg.Connection[Any]) -> bool:
    """Whether the server is still there, told without asking it in the usual case.

    Something to read on an idle connection is the server's farewell or the end of the stream.
    """
    poller = select.poll()
    poller.register(conn.pgconn.socket, select.POLLIN | select.POLLHUP)
    if not poller.poll(0):
        return True
    try:
        conn.execute("select 1")
    except psycopg.OperationalError:
        return False
    return True


def _roll_back(conn: psycopg.Connection[Any]) -> None:
    if conn.closed or conn.info.transaction_status == TransactionStatus.IDLE:
        return
    with contextlib.suppress(psycopg.Error):
        if conn.info.transaction_status == TransactionStatus.ACTIVE:
            conn.close()  # Interrupted in the middle of a statement: not worth saving.
        else:
            conn.execute("rollback")


def _translated(
    exc: psycopg.OperationalError, conn: psycopg.Connection[Any], *, is_committing: bool = False
) -> Exception:
    """Our own error for a driver's, by what the caller may do next."""
    if conn.closed or conn.broken:
        if is_committing:
            return CommitUnknown("The connection was lost while committing; repeat with the key.")
        return ConnectionLost("The connection to the database was lost; nothing was committed.")
    if isinstance(exc, _COLLISIONS):
        return Busy("Another operation holds this account; nothing happened, try again.")
    if isinstance(exc, _REFUSALS):
        return DatabaseUnavailable(f"The database takes no work now: {str(exc).strip()}")
    return exc
