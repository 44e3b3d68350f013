"""Databases that tests hand on: emptied, which takes a tenth of the work of a new one.

A clone is a thousand files to copy and to remove, and every session of it reads its catalogs
anew. So a database that only the application's role has used, which cannot change the schema, is
given to a later test. What the owner or the superuser had their hands in is dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from paydesk.db.postgres import Tx

#: A database is handed on this often: what is deleted leaves its room behind.
_MOST_USES = 100
#: After more rows than this it is not handed on.
_MOST_ROWS = 5_000

_TABLES = (
    "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
    " order by relname"
)
_OTHERS = (
    "select pid from pg_stat_activity"
    " where datname = current_database() and pid <> pg_backend_pid()"
)
_AGAIN = "insert into {0} select * from jsonb_populate_record(null::{0}, {1})"


class NotEmptied(Exception):
    """The database cannot be handed on."""


class Keeper:
    """A lasting session in one database, which looks into it and empties it.

    It remembers the rows that migrations write. `admin_dsn` is the superuser's.
    """

    def __init__(self, admin_dsn: str, role: str) -> None:
        self._dsn = admin_dsn
        self._role = role
        self._conn = self._connected()
        self._uses = 1
        self._tables = [row["relname"] for row in self._all(_TABLES)]
        self._written: dict[str, list[dict[str, Any]]] = {}
        for name in self._filled():
            query = sql.SQL("select to_jsonb(t)::text as line from {} t")
            self._written[name] = self._all(query.format(sql.Identifier(name)))

    def close(self) -> None:
        self._conn.close()

    @contextmanager
    def looking(self) -> Iterator[Tx]:
        """One instant of the database, read as the application would. Nothing can be written."""
        try:
            self._conn.execute("select 1")
        except psycopg.OperationalError:  # A test ended every session of its database.
            self._conn = self._connected()
        self._conn.execute("begin isolation level repeatable read read only")
        try:
            self._conn.execute(sql.SQL("set local role {}").format(sql.Identifier(self._role)))
            yield Tx(self._conn)
        finally:
            self._conn.execute("rollback")

    def empty(self, waiting: Collection[int] = ()) -> None:
        """As the migrations left it. `waiting`: the server's numbers of sessions nobody has.

        Raises NotEmptied where that takes longer than a new database would, and where another
        session is still open: whoever has it may write once more.
        """
        self._uses += 1
        if self._uses > _MOST_USES:
            raise NotEmptied
        try:
            if {row["pid"] for row in self._all(_OTHERS)} - {*waiting}:
                raise NotEmptied
            self._delete()
        except psycopg.Error as exc:
            raise NotEmptied from exc

    def _delete(self) -> None:
        """In one go: each question to a busy server waits for its turn."""
        filled = sorted({*self._filled(), *self._written})
        steps = [sql.SQL("delete from {}").format(sql.Identifier(name)) for name in filled]
        steps += [
            sql.SQL(_AGAIN).format(sql.Identifier(name), sql.Literal(line["line"]))
            for name, lines in self._written.items() for line in lines
        ]  # fmt: skip
        steps.append(sql.SQL("select pg_stat_reset()"))
        done = self._conn.execute(sql.SQL("; ").join(steps))
        rows = done.rowcount
        while done.nextset():
            rows += done.rowcount
        if rows > _MOST_ROWS:  # They are gone, but their room is not.
            raise NotEmptied

    def _filled(self) -> list[str]:
        """The tables that have rows. One statement, whose plan the session keeps."""
        each = [
            sql.SQL("case when exists (select from {}) then {} end").format(
                sql.Identifier(name), sql.Literal(name)
            )
            for name in self._tables
        ]
        query = sql.SQL("select array_remove(array[{}], null) as names").format(
            sql.SQL(", ").join(each)
        )
        return self._conn.execute(query, prepare=True).fetchone()["names"]

    def _all(self, query: Any) -> list[dict[str, Any]]:
        return self._conn.execute(query).fetchall()

    def _connected(self) -> psycopg.Connection[Any]:
        conn = psycopg.connect(
            self._dsn, autocommit=True, row_factory=dict_row,
            application_name="paydesk test keeper",
        )  # fmt: skip
        # No trigger holds it back, neither of keys nor of what is only ever appended to.
        conn.execute("set session_replication_role = replica")
        conn.execute("set timezone = 'UTC'")
        return conn
