"""Brings a database's schema up to date: numbered SQL files, forward only, each applied once.

`migrations/NNNN_what.sql` run in order, each in a transaction of its own; a file whose first line
is `-- no transaction` runs statement by statement outside one and must be repeatable, because it
starts again from its top when it was interrupted. `functions/*.sql` run after them: their names
carry a version (`spend_v1.sql`), and an applied one is never replaced, so that old and new code
work side by side. Grants to the application's role are left out where that role could not be made.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import psycopg
from psycopg import errors, sql

from paydesk.db.errors import DatabaseUnavailable, MigrationRefused

#: Any number, as long as it stays: who migrates holds it. From sha256("paydesk migrations").
_LOCK_KEY = int.from_bytes(hashlib.sha256(b"paydesk migrations").digest()[:8], "big", signed=True)
_LOCK_WAIT_S = 120.0
#: A migration waits this long for a table's lock, while others queue behind it, then steps back.
_LOCK_TIMEOUT_MS = 2_000
_STATEMENT_TIMEOUT_MS = 60_000
#: An index built concurrently blocks nobody while it waits for transactions that were there before.
_CONCURRENT_LOCK_TIMEOUT_MS = 60_000
_ATTEMPTS = 10
#: A statement that took too long once will hardly be quick the next time.
_TIMEOUT_COUNTS = 5
_APP_ROLE = "paydesk_app"
_NO_TRANSACTION = "-- no transaction"
_GRANT = re.compile(rf"(grant|revoke|alter\s+default\s+privileges)\b.*\b{_APP_ROLE}\b", re.I | re.S)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)

_TABLE = """
create table if not exists schema_migrations (
    name text primary key,
    kind text not null check (kind in ('migration', 'function')),
    checksum text not null,
    duration_ms integer not null,
    applied_at timestamptz not null default now()
)
"""


@dataclass(frozen=True, slots=True)
class Script:
    """One SQL file. `name` is its file name without `.sql`."""

    name: str
    kind: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def is_transactional(self) -> bool:
        return not self.text.lstrip().startswith(_NO_TRANSACTION)


@dataclass(slots=True)
class Status:
    """What a database has. `unknown` names what newer code applied; old code runs beside it."""

    applied: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    has_app_role: bool = False

    @property
    def is_current(self) -> bool:
        return not self.pending and not self.changed

    @property
    def warnings(self) -> list[str]:
        found = [f"{name} was changed after it had been applied" for name in self.changed]
        if self.unknown:
            found.append(f"applied by a newer version: {', '.join(self.unknown)}")
        if not self.has_app_role:
            found.append(
                f"the role {_APP_ROLE} does not exist: append-only holds by trigger, "
                "not by privilege"
            )
        return found


def migrate(
    owner_dsn: str,
    *,
    on_step: Callable[[str], None] | None = None,
    scripts: list[Script] | None = None,
) -> list[str]:
    """Apply what is missing and answer its names; a second run answers none.

    Any number of processes may call it at once: one works, the others wait and find it done.
    Raises MigrationRefused when an applied file was changed or a file fails (its transaction is
    rolled back, earlier files stay), DatabaseUnavailable when the server cannot be reached or
    another migration takes too long.
    """
    wanted = packaged() if scripts is None else scripts
    try:
        with _connected(owner_dsn) as conn, _sole_migrator(conn):
            return _bring_up(conn, wanted, on_step or (lambda name: None))
    except psycopg.OperationalError as exc:
        raise DatabaseUnavailable(f"The schema could not be migrated: {str(exc).strip()}") from exc


def status(dsn: str, *, scripts: list[Script] | None = None) -> Status:
    """What is applied, missing, changed or unknown. Changes nothing."""
    wanted = packaged() if scripts is None else scripts
    try:
        with _connected(dsn) as conn:
            known = _applied(conn)
            has_role = _has_role(conn)
    except psycopg.OperationalError as exc:
        raise DatabaseUnavailable(f"The schema could not be read: {str(exc).strip()}") from exc
    names = {script.name for script in wanted}
    return Status(
        applied=[script.name for script in wanted if script.name in known],
        pending=[script.name for script in wanted if script.name not in known],
        changed=[s.name for s in wanted if known.get(s.name, s.checksum) != s.checksum],
        unknown=sorted(known.keys() - names),
        has_app_role=has_role,
    )


def packaged() -> list[Script]:
    """The files that come with this version, in the order in which they apply."""
    home = files("paydesk.db")
    found = [*_read(home / "migrations", "migration"), *_read(home / "functions", "function")]
    for script in found:
        if script.kind == "migration" and not re.fullmatch(r"\d{4}_[a-z0-9_]+", script.name):
            raise AssertionError(f"a migration is named NNNN_what.sql, not {script.name}.sql")
    return found


def fingerprint(scripts: list[Script] | None = None) -> str:
    """One short checksum over all files, for the names of template databases."""
    digest = hashlib.sha256()
    for script in packaged() if scripts is None else scripts:
        digest.update(f"{script.name} {script.checksum}\n".encode())
    return digest.hexdigest()[:12]


def _read(folder: Traversable, kind: str) -> list[Script]:
    if not folder.is_dir():
        return []
    entries = sorted((one for one in folder.iterdir() if one.name.endswith(".sql")), key=_name)
    return [
        Script(_name(entry).removesuffix(".sql"), kind, entry.read_text(encoding="utf-8"))
        for entry in entries
    ]


def _name(entry: Traversable) -> str:
    return entry.name


def _connected(dsn: str) -> psycopg.Connection[Any]:
    return psycopg.connect(dsn, autocommit=True, application_name="paydesk migrate")


@contextmanager
def _sole_migrator(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """Poll for the lock: a session that waits inside `pg_advisory_lock` keeps a snapshot open,
    which an index built concurrently would wait for in turn."""
    deadline = time.monotonic() + _LOCK_WAIT_S
    while not _value(conn, "select pg_try_advisory_lock(%s)", _LOCK_KEY):
        if time.monotonic() > deadline:
            raise DatabaseUnavailable(
                f"Another process has been migrating this database for {_LOCK_WAIT_S:.0f} s."
            )
        time.sleep(0.1)
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute("select pg_advisory_unlock(%s)", (_LOCK_KEY,))


def _bring_up(
    conn: psycopg.Connection[Any], wanted: list[Script], on_step: Callable[[str], None]
) -> list[str]:
    known = _applied(conn)
    for script in wanted:
        if script.name in known and known[script.name] != script.checksum:
            advice = (
                "a function file gets a new version in its name"
                if script.kind == "function"
                else "write a new migration"
            )
            raise MigrationRefused(
                f"{script.name}.sql was changed after it had been applied to this database; "
                f"put it back as it was, and {advice} for the change. Nothing was done."
            )
    pending = [script for script in wanted if script.name not in known]
    if not pending:
        return []
    conn.execute("set client_min_messages to warning")
    conn.execute(_TABLE)
    with_grants = _ensure_app_role(conn)
    for script in pending:
        on_step(script.name)
        _apply(conn, script, with_grants=with_grants)
    if with_grants:  # The application reads what is applied; a wide grant must not give more.
        role = sql.Identifier(_APP_ROLE)
        conn.execute(sql.SQL("revoke all on schema_migrations from {}").format(role))
        conn.execute(sql.SQL("grant select on schema_migrations to {}").format(role))
    return [script.name for script in pending]


def _applied(conn: psycopg.Connection[Any]) -> dict[str, str]:
    """Checksum by name."""
    if _value(conn, "select to_regclass('schema_migrations') is null"):
        return {}
    return dict(conn.execute("select name, checksum from schema_migrations").fetchall())


def _apply(conn: psycopg.Connection[Any], script: Script, *, with_grants: bool) -> None:
    """One file; again, after a pause, when a table's lock was not to be had or time ran out."""
    tried = 0
    while True:
        try:
            _apply_once(conn, script, with_grants=with_grants)
            return
        except (errors.LockNotAvailable, errors.DeadlockDetected, errors.QueryCanceled) as exc:
            tried += _TIMEOUT_COUNTS if isinstance(exc, errors.QueryCanceled) else 1
            if tried >= _ATTEMPTS:
                raise MigrationRefused(
                    f"{script.name}.sql was given up after several attempts and is not applied: "
                    f"{_told(exc)}. Try again when the database is less busy."
                ) from exc
            # Writers that queued behind us go on meanwhile.
            time.sleep(min(0.05 * 2**tried, 5.0))
        except psycopg.OperationalError:
            raise
        except psycopg.Error as exc:
            raise MigrationRefused(f"{script.name}.sql failed: {_told(exc)}") from exc


def _apply_once(conn: psycopg.Connection[Any], script: Script, *, with_grants: bool) -> None:
    started_s = time.monotonic()
    text = script.text if with_grants else _without_grants(script.text)
    if script.is_transactional:
        with conn.transaction():
            _limit(conn, "local", _LOCK_TIMEOUT_MS, _STATEMENT_TIMEOUT_MS)
            conn.execute(text.encode())
            _remember(conn, script, started_s)
        return
    # An index on a large table takes as long as it takes; nobody waits behind it.
    _limit(conn, "session", _CONCURRENT_LOCK_TIMEOUT_MS, 0)
    for statement in statements(text):
        conn.execute(statement.encode())
    _remember(conn, script, started_s)


def _limit(conn: psycopg.Connection[Any], where: str, lock_ms: int, statement_ms: int) -> None:
    conn.execute(
        f"set {where} lock_timeout to {lock_ms};"
        f" set {where} statement_timeout to {statement_ms}".encode()
    )


def _remember(conn: psycopg.Connection[Any], script: Script, started_s: float) -> None:
    conn.execute(
        "insert into schema_migrations (name, kind, checksum, duration_ms) values (%s, %s, %s, %s)",
        (script.name, script.kind, script.checksum, int((time.monotonic() - started_s) * 1000)),
    )


#: A comment, a quoted word or text, a dollar-quoted body, or the end of a statement.
_TOKENS = re.compile(
    r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"[^\"]*\"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|(?P<end>;)",
    re.DOTALL,
)


def statements(text: str) -> list[str]:
    """The single statements of a script: together the server would run them in one transaction."""
    found: list[str] = []
    start = 0
    for token in _TOKENS.finditer(text):
        if token["end"]:
            found.append(text[start : token.start()])
            start = token.end()
    found.append(text[start:])
    return [one.strip() for one in found if _COMMENT.sub("", one).strip()]


def _without_grants(text: str) -> str:
    kept = [one for one in statements(text) if not _GRANT.match(_COMMENT.sub("", one).strip())]
    return ";\n".join(kept)


def _ensure_app_role(conn: psycopg.Connection[Any]) -> bool:
    """Whether the application's role is there or could be made, so that grants can be given."""
    if not _has_role(conn):
        role = sql.Identifier(_APP_ROLE)
        try:
            conn.execute(sql.SQL("create role {} nologin").format(role))
        except errors.InsufficientPrivilege:
            return False
        except (errors.DuplicateObject, errors.UniqueViolation):
            pass  # Another database's migration on this server was quicker.
        if _value(conn, "select current_user") != _APP_ROLE:
            conn.execute(sql.SQL("grant {} to current_user").format(role))
    return True


def _has_role(conn: psycopg.Connection[Any]) -> bool:
    return bool(_value(conn, "select exists (select from pg_roles where rolname = %s)", _APP_ROLE))


def _value(conn: psycopg.Connection[Any], query: str, *params: Any) -> Any:
    row = conn.execute(query.encode(), params or None).fetchone()
    return row[0] if row else None


def _told(exc: psycopg.Error) -> str:
    """The server's words, with the place it points at."""
    parts = [str(exc).strip(), exc.diag.message_detail, exc.diag.message_hint]
    return "; ".join(part for part in parts if part)
