"""Where old tables are read from: a running PostgreSQL, or a dump of PostgreSQL or MySQL.

A dump is read as text, statement by statement: `CREATE TABLE` for the columns, `COPY … FROM
stdin` and `INSERT INTO` for the rows. Nothing of it is executed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from paydesk.errors import InvalidRequest

Row = dict[str, Any]

_NAME = r"(?:[`\"\[]?[\w$]+[`\"\]]?\s*\.\s*)?[`\"\[]?([\w$]+)[`\"\]]?"
_COPY = re.compile(rf"COPY\s+{_NAME}\s*\(([^)]*)\)\s+FROM\s+stdin", re.IGNORECASE)
_INSERT = re.compile(
    rf"INSERT\s+(?:IGNORE\s+)?INTO\s+{_NAME}\s*(?:\(([^)]*)\))?\s*VALUES\s*", re.IGNORECASE
)
_CREATE = re.compile(rf"CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?{_NAME}\s*\(", re.IGNORECASE)
_VALUE = re.compile(
    r"\s*(?:(?P<null>NULL)\b|(?P<word>TRUE|FALSE)\b|(?P<number>[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?)"
    r"|(?P<text>[EN]?'(?:[^'\\]|\\.|'')*'))\s*(?:::\s*[\w\s.\"\[\]]+?)?\s*(?P<end>[,)])",
    re.IGNORECASE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "0": "", "Z": ""}
_COPY_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}
#: What begins a line of a table's definition and names no column.
_NO_COLUMN = frozenset({"primary", "unique", "key", "index", "constraint", "foreign", "check",
                        "fulltext", "exclude"})  # fmt: skip
#: One statement may be so long; dumps write a few megabytes into one.
MOST_STATEMENT = 256 * 1024 * 1024


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

    def rows(self, table: str, skip: int = 0) -> Iterator[Row]:
        """Rows in order of the first column, without the first `skip` of them."""
        query = sql.SQL("select * from {} order by 1 offset {}").format(
            self._of(table), sql.Literal(skip)
        )
        with self._conn.transaction(), self._conn.cursor("paydesk_legacy") as cursor:
            cursor.itersize = 1000
            yield from cursor.execute(query)

    def _of(self, table: str) -> sql.Composed:
        return sql.SQL("{}.{}").format(sql.Identifier(self._schema), sql.Identifier(table))

    def close(self) -> None:
        self._conn.close()


class DumpSource:
    """Tables of a plain SQL dump."""

    def __init__(self, path: Path) -> None:
        self.name = f"dump:{path.name}:{path.stat().st_size}"
        self._path = path
        with path.open("rb") as file:
            head = file.read(5)
        if head == b"PGDMP" or head[:2] == b"\x1f\x8b":
            raise InvalidRequest(
                "The dump must be plain SQL: pg_dump without -Fc, or unpacked.", param="source"
            )
        self._columns: dict[str, list[str]] | None = None
        self._counts: dict[str, int] = {}
        self._is_mysql = False

    def columns(self) -> dict[str, list[str]]:
        """Read once from end to end; counts the rows on the way."""
        if self._columns is None:
            self._columns = {}
            for table, columns, rows in self._walk(with_rows=False):
                if columns:
                    self._columns.setdefault(table, columns)
                self._counts[table] = self._counts.get(table, 0) + sum(rows)
        return self._columns

    def count(self, table: str) -> int | None:
        self.columns()
        return self._counts.get(table, 0)

    def rows(self, table: str, skip: int = 0) -> Iterator[Row]:
        left = skip
        for name, columns, found in self._walk(with_rows=True, only=table):
            if name != table:
                continue
            for values in found:
                if left:
                    left -= 1
                    continue
                if len(values) != len(columns):
                    raise InvalidRequest(f"A row of {table} has {len(values)} values.")
                yield dict(zip(columns, values, strict=True))

    def close(self) -> None:
        """Nothing is held open."""

    def _walk(
        self, *, with_rows: bool, only: str | None = None
    ) -> Iterator[tuple[str, list[str], Any]]:
        """(table, columns, rows), or counts instead of rows."""
        known: dict[str, list[str]] = dict(self._columns or {})
        with self._path.open(encoding="utf-8", errors="strict", newline="") as file:
            try:
                for text, copied in self._statements(file, known, only if with_rows else ""):
                    yield from self._read(text, copied, known, with_rows, only)
            except UnicodeDecodeError:
                raise InvalidRequest("The dump is not UTF-8.", param="source") from None

    def _read(
        self, text: str, copied: list[str] | None, known: dict[str, list[str]],
        with_rows: bool, only: str | None,
    ) -> Iterator[tuple[str, list[str], Any]]:  # fmt: skip
        if copied is not None:
            match = _COPY.search(text)
            assert match is not None
            columns = _names(match.group(2))
            rows = ([_copied(v) for v in line.split("\t")] for line in copied)
            yield match.group(1), columns, rows if with_rows else [len(copied)]
            return
        if (match := _CREATE.match(text)) is not None:
            known[match.group(1)] = _defined(text[match.end() :])
            yield match.group(1), known[match.group(1)], []
        elif (match := _INSERT.match(text)) is not None:
            table = match.group(1)
            columns = _names(match.group(2)) if match.group(2) else known.get(table, [])
            wanted = only in (None, table)
            rows = list(_tuples(text[match.end() :], self._is_mysql)) if wanted else []
            yield table, columns, rows if with_rows else [len(rows)]

    def _statements(
        self, file: Any, known: dict[str, list[str]], only: str | None
    ) -> Iterator[tuple[str, list[str] | None]]:
        """Whole statements; for COPY with the lines that follow it."""
        pending: list[str] = []
        size, in_text = 0, False
        for line in file:
            if not pending and not in_text:
                bare = line.strip()
                if not bare or bare.startswith(("--", "#", "/*", "\\")):
                    if "MySQL" in bare or "MariaDB" in bare:
                        self._is_mysql = True
                    continue
                if _COPY.match(bare):
                    yield bare, list(_copy_lines(file))
                    continue
            pending.append(line)
            size += len(line)
            if size > MOST_STATEMENT:
                raise InvalidRequest("A statement of the dump is too long.", param="source")
            in_text = _ends_in_text(line, in_text, self._is_mysql)
            if not in_text and line.rstrip().endswith(";"):
                text = "".join(pending).strip()
                self._is_mysql = self._is_mysql or "ENGINE=" in text
                yield text, None
                pending, size = [], 0


def _copy_lines(file: Any) -> Iterator[str]:
    for line in file:
        line = line.rstrip("\r\n")
        if line == "\\.":
            return
        yield line


def _ends_in_text(line: str, in_text: bool, is_mysql: bool) -> bool:
    """Whether a quoted text is open at the end of the line."""
    if "'" not in line:
        return in_text
    position = 0
    while position < len(line):
        char = line[position]
        if in_text and char == "\\" and is_mysql:
            position += 2
            continue
        if char == "'":
            in_text = not in_text
        position += 1
    return in_text


def _names(text: str) -> list[str]:
    return [one.strip().strip('`"[]') for one in text.split(",")]


def _defined(body: str) -> list[str]:
    """The columns of a table's definition."""
    names, depth, start = [], 0, 0
    for position, char in enumerate(body):
        if char == "(":
            depth += 1
        elif char == ")" and depth:
            depth -= 1
        elif (char == "," and depth == 0) or char == ")":
            part = body[start:position].split()
            start = position + 1
            if part and part[0].strip('`"').lower() not in _NO_COLUMN:
                names.append(part[0].strip('`"[]'))
            if char == ")":
                break
    return names


def _tuples(text: str, is_mysql: bool) -> Iterator[list[Any]]:
    position = 0
    while True:
        start = text.find("(", position)
        if start < 0:
            return
        between = text[position:start].strip()
        if between not in ("", ","):
            return
        values, position = [], start + 1
        while True:
            match = _VALUE.match(text, position)
            if match is None:
                raise InvalidRequest(
                    f"A value of the dump cannot be read: {text[position : position + 40]!r}.",
                    param="source",
                )
            values.append(_value(match, is_mysql))
            position = match.end()
            if match.group("end") == ")":
                break
        yield values


def _value(match: re.Match[str], is_mysql: bool) -> Any:
    if match.group("null"):
        return None
    if match.group("word"):
        return match.group("word").lower() == "true"
    if match.group("number"):
        return match.group("number")
    text = match.group("text")
    has_escapes = is_mysql or text[0] in "Ee"
    body = text[text.index("'") + 1 : -1].replace("''", "'")
    if not has_escapes:
        return body
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m.group(1), m.group(1)), body, flags=re.DOTALL)


def _copied(value: str) -> str | None:
    if value == "\\N":
        return None
    if "\\" not in value:
        return value
    return re.sub(r"\\(.)", lambda m: _COPY_ESCAPES.get(m.group(1), m.group(1)), value)


def open_source(source: str, schema: str = "public") -> DsnSource | DumpSource:
    """A DSN (`postgresql://…`) or the path of a dump. Raises InvalidRequest."""
    if source.startswith(("postgresql://", "postgres://")):
        return DsnSource(source, schema)
    path = Path(source)
    if not path.is_file():
        raise InvalidRequest(f"There is no file {source[:200]!r}.", param="source")
    return DumpSource(path)
