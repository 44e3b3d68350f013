"""Where old tables are read from: a running PostgreSQL, or a dump."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from paydesk.errors import InvalidRequest
from paydesk.flows.legacy_dump import DumpSource, Line


class DsnSource:
    """Tables of a running PostgreSQL, read in pages by their id; nothing is changed there."""

    def __init__(self, dsn: str, schema: str = "public") -> None:
        self.name = "dsn:" + re.sub(r"//[^@/]*@", "//", dsn).partition("?")[0]
        self._schema = schema
        try:
            self._conn = psycopg.connect(dsn, row_factory=dict_row, autocommit=True)
        except psycopg.Error as exc:
            detail = f"The old database cannot be reached: {type(exc).__name__}."
            raise InvalidRequest(detail, param="source") from None
        self._conn.execute("set default_transaction_read_only = on")

    def columns(self) -> dict[str, list[str]]:
        rows = self._conn.execute(
            "select table_name, column_name from information_schema.columns"
            " where table_schema = %s order by table_name, ordinal_position",
            (self._schema,),
        ).fetchall()
        found: dict[str, list[str]] = {}
        for row in rows:
            found.setdefault(row["table_name"], []).append(row["column_name"])
        return found

    def count(self, table: str) -> int | None:
        query = sql.SQL("select count(*) as n from {}").format(self._of(table))
        row = self._conn.execute(query).fetchone()
        return row["n"] if row else 0

    def rows(self, table: str, skip: int = 0) -> Iterator[Line]:
        """Rows in order of the first column, without the first `skip` of them."""
        query = sql.SQL("select * from {} order by 1 offset {}").format(
            self._of(table), sql.Literal(skip)
        )
        with self._conn.transaction(), self._conn.cursor("paydesk_legacy") as cursor:
            cursor.itersize = 1000
            for row in cursor.execute(query):
                yield Line(None, row)

    def _of(self, table: str) -> sql.Composed:
        return sql.SQL("{}.{}").format(sql.Identifier(self._schema), sql.Identifier(table))

    def close(self) -> None:
        self._conn.close()


def open_source(source: str, schema: str = "public") -> DsnSource | DumpSource:
    """A DSN (`postgresql://…`) or the path of a dump. Raises InvalidRequest."""
    if source.startswith(("postgresql://", "postgres://")):
        return DsnSource(source, schema)
    if "://" in source:
        raise InvalidRequest(
            "Only PostgreSQL is read where it runs; of others bring a dump.", param="source"
        )
    path = Path(source)
    if not path.is_file():
        raise InvalidRequest(f"There is no file {source[:200]!r}.", param="source")
    return DumpSource(path)
