"""Databases for tests: one server for all workers, a clone of the migrated template for each test.

The server keeps no promise about power cuts (fsync is off) and goes away, data and all, with the
last process that uses it. `PAYDESK_TEST_ENGINE=system` takes the machine's own PostgreSQL,
`wheel` that of the package; unset takes the first found.
"""

from __future__ import annotations

import collections
import fcntl
import itertools
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from paydesk.db import embedded, migrate
from paydesk.db.binaries import Engine

_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    # Work in the background would make one test's plans depend on another's timing.
    "autovacuum": "off",
    "max_connections": "300",
    "max_wal_size": "512MB",
    "checkpoint_timeout": "1h",
}
#: Memory is used as the disk where there is this much of it to spare.
_MEMORY = Path("/dev/shm")
_ROOM_BYTES = 2 * 2**30
#: Dropping waits for sessions that are still closing; a little later there are none.
_DROP_LATER = 3

_state_lock = threading.RLock()
_servers: dict[tuple[int, str], embedded.Server] = {}
_to_drop: collections.deque[str] = collections.deque()
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class TestDatabase:
    """One database: addresses for the application's role, the schema's owner, the superuser."""

    __test__ = False

    name: str
    dsn: str
    owner_dsn: str
    admin_dsn: str


def engine() -> embedded.Server:
    """The server that all test processes of this user share. Started on first use."""
    choice: Engine = _choice()
    with _state_lock:
        key = (os.getpid(), choice)
        if key not in _servers:
            folder = scratch_place() / f"paydesk-tests-{os.getuid()}-{choice}"
            _servers[key] = embedded.start(
                folder, engine=choice, settings=_SETTINGS, ephemeral=True
            )
        return _servers[key]


def template_database() -> str:
    """The name of a database with the present migrations applied; nobody may connect to it."""
    server = engine()
    name = f"paydesk_template_{migrate.fingerprint()}"
    with _only_one(server.folder / "template.lock"), _admin(server) as admin:
        if not _exists(admin, name):
            half = f"{name}_half"
            _drop(admin, half)
            _run(admin, "create database {} owner paydesk_owner", half)
            migrate.migrate(server.dsn_for("owner", half))
            # Whoever connects to a template makes every clone of it wait.
            _run(admin, "alter database {} allow_connections false", half)
            _run(admin, "alter database {} rename to {}", half, name)
    return name


def fresh_database() -> TestDatabase:
    """A clone of the template, with the schema and nothing in it. Takes about 30 ms."""
    return _create(template_database())


def empty_database() -> TestDatabase:
    """A database without any table, for tests of migrations."""
    return _create("template0")


def drop_database(database: TestDatabase) -> None:
    """Give it back; it goes a little later, at the latest with the server."""
    _to_drop.append(database.name)
    if len(_to_drop) <= _DROP_LATER:
        return
    with _admin(engine()) as admin:
        while len(_to_drop) > _DROP_LATER:
            _drop(admin, _to_drop.popleft())


@contextmanager
def lent_database() -> Iterator[TestDatabase]:
    """A fresh database for a block."""
    database = fresh_database()
    try:
        yield database
    finally:
        drop_database(database)


def _create(template: str) -> TestDatabase:
    server = engine()
    name = f"paydesk_test_{os.getpid()}_{next(_numbers)}"
    with _admin(server) as admin:
        _drop(admin, name)
        # Copying files makes two checkpoints: cheap in memory, dear on a disk.
        strategy = "file_copy" if _is_in_memory(server.folder) else "wal_log"
        statement = f"create database {{}} template {{}} owner paydesk_owner strategy {strategy}"
        _run(admin, statement, name, template)
    return TestDatabase(
        name,
        server.dsn_for("app", name),
        server.dsn_for("owner", name),
        server.dsn_for("admin", name),
    )


def scratch_place() -> Path:
    """A folder in memory when there is room: a clone is hundreds of files, dear on a disk."""
    if os.access(_MEMORY, os.W_OK) and embedded.free_space(_MEMORY) > _ROOM_BYTES:
        return _MEMORY
    return Path(tempfile.gettempdir())


def _is_in_memory(folder: Path) -> bool:
    return _MEMORY in folder.parents


def _choice() -> Engine:
    wanted = os.environ.get("PAYDESK_TEST_ENGINE", "auto")
    if wanted not in ("auto", "wheel", "system"):
        raise ValueError(f"PAYDESK_TEST_ENGINE is auto, wheel or system, not {wanted!r}")
    return wanted  # type: ignore[return-value]


_connections: dict[tuple[int, int], psycopg.Connection[Any]] = {}


@contextmanager
def _admin(server: embedded.Server) -> Iterator[psycopg.Connection[Any]]:
    """One lasting superuser connection per process; a new one after the server was restarted."""
    with _state_lock:
        key = (os.getpid(), server.port)
        conn = _connections.get(key)
        with suppress(psycopg.OperationalError):
            if conn is not None and not conn.closed:
                conn.execute("select 1")
        if conn is None or conn.closed:
            conn = psycopg.connect(server.admin_dsn, autocommit=True)
            _connections[key] = conn
        yield conn


def _run(admin: psycopg.Connection[Any], statement: Any, *names: str) -> None:
    admin.execute(sql.SQL(statement).format(*(sql.Identifier(name) for name in names)))


def _drop(admin: psycopg.Connection[Any], name: str) -> None:
    _run(admin, "drop database if exists {} with (force)", name)


def _exists(admin: psycopg.Connection[Any], name: str) -> bool:
    found = admin.execute("select 1 from pg_database where datname = %s", (name,)).fetchone()
    return found is not None


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """One process at a time; the lock goes with the process."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
