"""SQLite keeps the objects: one thread does all the work, one transaction at a time."""

from __future__ import annotations

import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
Work = tuple[Callable[..., Any], "Future[Any]"]

SCHEMA = """
create table if not exists objects (
    seq integer primary key autoincrement,
    id text not null unique,
    kind text not null,
    customer text,
    payment_intent text,
    charge text,
    due_at integer,
    hidden integer not null default 0,
    data text not null
);
create index if not exists objects_kind on objects (kind, seq);
create index if not exists objects_customer on objects (customer, kind, seq)
    where customer is not null;
create index if not exists objects_payment_intent on objects (payment_intent, kind, seq)
    where payment_intent is not null;
create index if not exists objects_charge on objects (charge, kind, seq)
    where charge is not null;
create index if not exists objects_due on objects (due_at) where due_at is not null;
create table if not exists deliveries (
    seq integer primary key autoincrement,
    event text not null,
    endpoint text not null,
    state text not null,
    due_at real not null,
    attempts integer not null default 0,
    last_status integer,
    last_error text
);
create index if not exists deliveries_due on deliveries (state, due_at);
create index if not exists deliveries_event on deliveries (event);
create table if not exists idempotency (
    key text primary key,
    fingerprint text not null,
    request text not null,
    status integer not null,
    body blob not null,
    created integer not null
);
create table if not exists clock_due (
    id text primary key,
    clock text not null,
    due_at integer not null
);
create index if not exists clock_due_clock on clock_due (clock, due_at);
create table if not exists contents (
    id text primary key,
    body blob not null
);
"""
TABLES = ("objects", "deliveries", "idempotency", "contents", "clock_due")
BATCH = 200
#: Units of work that share a commit, where so many are waiting.
SHARED = 32
#: Pages of 4 kB in the log, after which they are moved into the file.
WAL_PAGES = 8_000
_PUT = (
    "insert into objects (id, kind, customer, payment_intent, charge, due_at, hidden, data)"
    " values (?, ?, ?, ?, ?, ?, ?, ?) on conflict (id) do update set"
    " customer = excluded.customer, payment_intent = excluded.payment_intent,"
    " charge = excluded.charge, due_at = excluded.due_at, hidden = excluded.hidden,"
    " data = excluded.data"
)


def encode(value: Any) -> str:
    """JSON as it is kept and sent: without spaces, in plain characters."""
    try:
        return msgspec.json.encode(value).decode()
    except (OverflowError, TypeError):  # Numbers beyond 64 bits.
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


decode = msgspec.json.decode


class Transaction:
    """What one unit of work sees: objects by id, newest first by kind, deliveries, replays.

    What is put is written when the tables are looked at, or at the end: most objects are put
    several times while a call runs.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._unwritten: dict[str, tuple[Any, ...]] = {}
        self._endpoints: list[dict[str, Any]] | None = None

    @property
    def sql(self) -> sqlite3.Connection:
        """The tables, with all that was put so far."""
        self.write()
        return self._connection

    def write(self) -> None:
        if self._unwritten:
            self._connection.executemany(_PUT, self._unwritten.values())
            self._unwritten.clear()

    def begin(self) -> None:
        """A unit of work begins: `undo` leads back to here."""
        self._endpoints = None
        self._connection.execute("savepoint unit")

    def end(self) -> None:
        """The unit is over, and what it did is kept as far as those before it are."""
        self._connection.execute("release unit")

    def undo(self) -> None:
        """All that the unit did so far comes to nothing."""
        self.forget()
        self._connection.execute("rollback to unit")

    def forget(self) -> None:
        """What was put and is not written comes to nothing."""
        self._unwritten.clear()
        self._endpoints = None

    def endpoints(self) -> list[dict[str, Any]]:
        """All webhook endpoints, newest first, read once for each unit: every event asks for them.
        Nobody changes what is in them."""
        if self._endpoints is None:
            self._endpoints = list(self.scan("webhook_endpoint"))
        return self._endpoints

    def get(self, object_id: str, kind: str | None = None) -> dict[str, Any] | None:
        """The object with its private fields (names with `_` in front), or None."""
        if not object_id:
            return None
        if (put := self._unwritten.get(object_id)) is not None:
            return decode(put[-1]) if kind in (None, put[1]) else None
        found = self._connection.execute(
            "select kind, data from objects where id = ?", (object_id,)
        )
        row = found.fetchone()
        if row is None or (kind is not None and row[0] != kind):
            return None
        return decode(row[1])

    def put(self, item: dict[str, Any], *, due_at: int | None = None, hidden: bool = False) -> None:
        """Insert or replace; `due_at` is when the background timer has to look at it.

        What belongs to a test clock is due by that clock alone, so the timer leaves it.
        """
        kind = item["object"]
        if kind == "webhook_endpoint":
            self._endpoints = None
        if item.get("test_clock") and kind != "event":
            self._put_on_clock(item, due_at)
            due_at = None
        self._unwritten[item["id"]] = (
            item["id"], kind, item.get("customer"), item.get("payment_intent"),
            item.get("charge"), due_at, int(hidden), encode(item),
        )  # fmt: skip

    def _put_on_clock(self, item: dict[str, Any], due_at: int | None) -> None:
        if due_at is None:
            self.sql.execute("delete from clock_due where id = ?", (item["id"],))
            return
        self.sql.execute(
            "insert or replace into clock_due (id, clock, due_at) values (?, ?, ?)",
            (item["id"], item["test_clock"], due_at),
        )

    def next_on_clock(self, clock: str, until: int) -> tuple[str, int] | None:
        """What is due next by a test clock, and when; None where nothing is up to then."""
        return self.sql.execute(
            "select id, due_at from clock_due where clock = ? and due_at <= ?"
            " order by due_at, id limit 1",
            (clock, until),
        ).fetchone()

    def due_of(self, object_id: str) -> int | None:
        """When something happens to an object by itself."""
        row = self.sql.execute(
            "select coalesce((select due_at from clock_due where id = :id),"
            " (select due_at from objects where id = :id))",
            {"id": object_id},
        ).fetchone()
        return row[0]

    def remove(self, object_id: str) -> None:
        self._endpoints = None
        self.sql.execute("delete from objects where id = ?", (object_id,))
        self.sql.execute("delete from clock_due where id = ?", (object_id,))

    def keep_content(self, object_id: str, content: bytes) -> None:
        """The bytes of an uploaded file, beside the object that tells of it."""
        self.sql.execute("insert into contents (id, body) values (?, ?)", (object_id, content))

    def content(self, object_id: str) -> bytes | None:
        row = self.sql.execute("select body from contents where id = ?", (object_id,)).fetchone()
        return row[0] if row else None

    def position(self, object_id: str, kind: str) -> int | None:
        """Where an object stands in the order of creation."""
        row = self.sql.execute(
            "select seq from objects where id = ? and kind = ?", (object_id, kind)
        ).fetchone()
        return row[0] if row else None

    def scan(
        self,
        kind: str,
        *,
        link: tuple[str, str] | None = None,
        before: int | None = None,
        after: int | None = None,
        created: tuple[int, int] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Objects of a kind, newest first; oldest first when `after` gives where to start.

        `link` is an indexed column (customer, payment_intent, charge) and the id it must have;
        `created` are the first and the last second it may have been made in.
        """
        forward = after is not None
        clause, value = "", None
        if link is not None:
            assert link[0] in ("customer", "payment_intent", "charge")
            clause, value = f" and {link[0]} = :value", link[1]
        if created is not None:
            clause += " and json_extract(data, '$.created') between :first and :last"
        first, last = created or (None, None)
        compare, order = (">", "asc") if forward else ("<", "desc")
        # Only the fixed words above are put in; every value is a parameter.
        query = (
            "select seq, data from objects where kind = :kind and hidden = 0"  # noqa: S608
            f" and seq {compare} :seq{clause} order by seq {order} limit {BATCH}"
        )
        seq = after if after is not None else before if before is not None else 2**62
        while True:
            if any(put[1] == kind for put in self._unwritten.values()):
                self.write()
            rows = self._connection.execute(
                query, {"kind": kind, "seq": seq, "value": value, "first": first, "last": last}
            ).fetchall()
            for row in rows:
                yield decode(row[1])
            if len(rows) < BATCH:
                return
            seq = rows[-1][0]

    def due(self, now: int, limit: int = 100) -> list[dict[str, Any]]:
        """Objects whose timer has run out, the earliest first."""
        rows = self.sql.execute(
            "select data from objects where due_at <= ? order by due_at limit ?", (now, limit)
        ).fetchall()
        return [decode(row[0]) for row in rows]


class Store:
    """A thread with a connection of its own; work is handed to it as functions of a Transaction."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.after_commit: Callable[[], None] = lambda: None
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="simulator-store", daemon=True)
        self._thread.start()
        self._ready.result()

    def submit(self, work: Callable[[Transaction], T]) -> Future[T]:
        """Run `work`, whole or not at all; it is committed when the future has its result.

        What is waiting shares a commit: each sees what those before it did.
        """
        future: Future[T] = Future()
        self._work.put((work, future))
        return future

    def call(self, work: Callable[[Transaction], T]) -> T:
        """The same for callers outside an event loop: waits for the result."""
        return self.submit(work).result()

    def clear(self) -> None:
        def empty(tx: Transaction) -> None:
            for name in TABLES:
                tx.sql.execute(f"delete from {name}")  # noqa: S608  (the names above)

        self.call(empty)

    def close(self) -> None:
        self._work.put(None)
        self._thread.join(10)

    def _run(self) -> None:
        try:
            connection = self._open()
        except Exception as error:
            self._ready.set_exception(error)
            return
        self._ready.set_result(None)
        transaction = Transaction(connection)
        is_open = True
        while is_open:
            waiting, is_open = self._waiting()
            ready = [one for one in waiting if one[1].set_running_or_notify_cancel()]
            if ready:
                self._do(connection, transaction, ready)
        connection.close()

    def _waiting(self) -> tuple[list[Work], bool]:
        """The work that is there, at least one unit; whether more may come."""
        found: list[Work] = []
        item = self._work.get()
        while item is not None:
            found.append(item)
            if len(found) == SHARED or self._work.empty():
                return found, True
            item = self._work.get()
        return found, False

    def _do(
        self, connection: sqlite3.Connection, transaction: Transaction, ready: list[Work]
    ) -> None:
        said: list[tuple[Any, BaseException | None]] = []
        try:
            connection.execute("begin immediate")
            said = [_one(connection, transaction, work) for work, _ in ready]
            connection.execute("commit")
        except BaseException as error:  # None of it was kept.
            transaction.forget()
            if connection.in_transaction:
                connection.execute("rollback")
            said = [(None, error) for _ in ready]
        else:
            self.after_commit()
        for (_, future), (result, error) in zip(ready, said, strict=True):
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=10)
        # With WAL, `normal` survives the death of the process; only a power cut could lose the
        # last transactions, never the file.
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")
        # What savepoints set aside, which is every page that a unit of work changes.
        connection.execute("pragma temp_store = memory")
        # A page that is written again and again goes into the file itself the more seldom.
        connection.execute(f"pragma wal_autocheckpoint = {WAL_PAGES}")
        connection.executescript(SCHEMA)
        return connection


def _one(
    connection: sqlite3.Connection, transaction: Transaction, work: Callable[..., Any]
) -> tuple[Any, BaseException | None]:
    """What a unit of work answers, or why nothing of it was kept."""
    transaction.begin()
    try:
        result = work(transaction)
        transaction.write()
    except BaseException as error:
        if not connection.in_transaction:  # Everything was rolled back, what came before too.
            transaction.forget()
            raise
        transaction.undo()
        transaction.end()
        return None, error
    transaction.end()
    return result, None
