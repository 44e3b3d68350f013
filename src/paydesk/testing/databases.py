"""Databases for tests: one server for all workers, a clone of the migrated template for each test,
or one that an earlier test gave back (reuse.py).

The server keeps no promise about power cuts (fsync is off) and goes away, data and all, with the
last process that uses it. `PAYDESK_TEST_ENGINE=system` takes the machine's own PostgreSQL,
`wheel` that of the package; unset takes the first found.
"""

from __future__ import annotations

import base64
import collections
import fcntl
import hashlib
import hmac
import itertools
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo, sql

from paydesk.db import embedded, migrate
from paydesk.db.binaries import Engine
from paydesk.db.cluster import Role
from paydesk.testing import sessions
from paydesk.testing.reuse import Keeper, NotEmptied

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
#: Dropping and emptying wait for sessions that are still closing; a little later there are none.
_LATER = 3

_state_lock = threading.RLock()
_servers: dict[tuple[int, str], embedded.Server] = {}
#: (process, port of the server) -> the name of its template.
_templates: dict[tuple[int, int], str] = {}
_to_drop: collections.deque[str] = collections.deque()
#: (process, template), name and session of the databases that may be handed on, oldest first.
_given_back: collections.deque[tuple[tuple[int, str], str, Keeper]] = collections.deque()
#: Sessions of the process that this one was forked from: closing them would end them for it.
_inherited: list[Keeper] = []
_numbers = itertools.count(1)


class TestDatabase:
    """One database: addresses for the application's role, the schema's owner, the superuser.

    Who asks for one of the latter two may change what every later test relies on: the database
    is then dropped after the test.
    """

    __test__ = False

    def __init__(self, name: str, server: embedded.Server, keeper: Keeper | None) -> None:
        self.name = name
        self.dsn = server.dsn_for("app", name)
        self.is_altered = keeper is None
        self.keeper = keeper
        self._server = server

    @property
    def owner_dsn(self) -> str:
        return self._altering("owner")

    @property
    def admin_dsn(self) -> str:
        return self._altering("admin")

    def _altering(self, role: Role) -> str:
        self.is_altered = True
        sessions.end_all(self.name)
        return self._server.dsn_for(role, self.name)


def engine() -> embedded.Server:
    """The server that all test processes of this user share. Started on first use."""
    choice: Engine = _choice()
    with _state_lock:
        key = (os.getpid(), choice)
        if key not in _servers:
            folder = scratch_place() / f"paydesk-tests-{os.getuid()}-{choice}"
            server = embedded.start(folder, engine=choice, settings=_SETTINGS, ephemeral=True)
            with _only_one(server.folder / "template.lock"):
                _ease_passwords(server)
            _servers[key] = server
        return _servers[key]


def template_database() -> str:
    """The name of a database with the present migrations applied; nobody may connect to it."""
    server = engine()
    key = (os.getpid(), server.port)
    if key in _templates:
        return _templates[key]
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
    _templates[key] = name
    return name


def fresh_database() -> TestDatabase:
    """The schema and nothing in it: a clone of the template, or what an earlier test gave back."""
    template = template_database()
    _leave_others((os.getpid(), template))
    while len(_given_back) > _LATER:
        _, name, keeper = _given_back.popleft()
        try:
            keeper.empty(sessions.waiting(name))
        except NotEmptied:
            keeper.close()
            _drop_later(name)
        else:
            return TestDatabase(name, engine(), keeper)
    name = _create(template)
    sessions.keep_for(name)
    admin_dsn = engine().dsn_for("admin", name)
    return TestDatabase(name, engine(), Keeper(admin_dsn, "paydesk_app"))


def _leave_others(mine: tuple[int, str]) -> None:
    """Take out of the row what cannot be handed on: databases of a server that is gone, and of the
    process that this one was forked from, whose sessions are left as they are."""
    for _ in range(len(_given_back)):
        key, name, keeper = _given_back.popleft()
        if key == mine:
            _given_back.append((key, name, keeper))
        elif key[0] == mine[0]:
            keeper.close()
            _drop_later(name)
        else:
            _inherited.append(keeper)


def empty_database() -> TestDatabase:
    """A database without any table, for tests of migrations."""
    return TestDatabase(_create("template0"), engine(), None)


def drop_database(database: TestDatabase) -> None:
    """Give it back. It is emptied or dropped a little later, at the latest with the server."""
    if database.keeper is None or database.is_altered:
        if database.keeper is not None:
            database.keeper.close()
        _drop_later(database.name)
    else:
        key = (os.getpid(), template_database())
        _given_back.append((key, database.name, database.keeper))


def _drop_later(name: str) -> None:
    sessions.end_all(name)
    _to_drop.append(name)
    if len(_to_drop) <= _LATER:
        return
    with _admin(engine()) as admin:
        while len(_to_drop) > _LATER:
            _drop(admin, _to_drop.popleft())


@contextmanager
def lent_database() -> Iterator[TestDatabase]:
    """A fresh database for a block."""
    database = fresh_database()
    try:
        yield database
    finally:
        drop_database(database)


def _create(template: str) -> str:
    server = engine()
    name = f"paydesk_test_{os.getpid()}_{next(_numbers)}"
    with _admin(server) as admin:
        _drop(admin, name)
        # Copying files makes two checkpoints: cheap in memory, dear on a disk.
        strategy = "file_copy" if _is_in_memory(server.folder) else "wal_log"
        statement = f"create database {{}} template {{}} owner paydesk_owner strategy {strategy}"
        _run(admin, statement, name, template)
    return name


def _ease_passwords(server: embedded.Server) -> None:
    """The same passwords, stretched once instead of 4,096 times, as every session of every test
    would have to."""
    with psycopg.connect(server.admin_dsn, autocommit=True) as admin:
        query = "select rolname from pg_authid where rolpassword like 'SCRAM-SHA-256$1:%'"
        eased = {name for (name,) in admin.execute(query)}
        for dsn in (server.owner_dsn, server.dsn, server.admin_dsn):
            told = conninfo.conninfo_to_dict(dsn)
            if told["user"] not in eased:
                statement = sql.SQL("alter role {} password {}").format(
                    sql.Identifier(str(told["user"])), sql.Literal(_verifier(str(told["password"])))
                )
                admin.execute(statement)


def _verifier(password: str) -> str:
    """What a server keeps of a password (RFC 5803), stretched once."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    parts = (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))
    return "SCRAM-SHA-256$1:{}${}:{}".format(*(base64.b64encode(one).decode() for one in parts))


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
