"""A small server of PostgREST's documented HTTP interface, over a real PostgreSQL, for tests.

Served: GET with select, order, limit, offset and the filters eq, neq, lt, lte, gt, gte, in, is;
POST of one row or several; PATCH with filters; Prefer return=representation|minimal and
count=exact with its Content-Range; errors as {code, message, details, hint}. Rows travel as JSON
made and read by PostgreSQL itself, so that types behave as they do with PostgREST.
"""

from __future__ import annotations

import csv
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import psycopg
from psycopg import sql

OPERATORS = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
#: Query parameters that are no filters.
RESERVED = {"select", "order", "limit", "offset", "columns"}
#: HTTP status by SQLSTATE or its class, as PostgREST documents them.
STATUSES = {"23503": 409, "23505": 409, "42501": 403, "42P01": 404, "25006": 405, "53": 503}


class PostgrestServer:
    """Serves the public schema of the database at `dsn` on a free port of 127.0.0.1."""

    def __init__(self, dsn: str, key: str) -> None:
        self.key = key
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._http.daemon_threads = True
        self._http.dsn = dsn
        self._http.key = key
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)

    def __enter__(self) -> PostgrestServer:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(timeout=10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._serve(self._read)

    def do_POST(self) -> None:
        self._serve(self._insert)

    def do_PATCH(self) -> None:
        self._serve(self._update)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: a test's output is the test's."""

    def _serve(self, action: Any) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("apikey") != self.server.key:
            return self._answer(401, {"code": "PGRST301", "message": "no valid key"})
        parts = urlsplit(self.path)
        prefix, _, table = parts.path.rpartition("/")
        if prefix != "/rest/v1":
            return self._answer(404, {"code": "PGRST125", "message": "invalid path"})
        query = parse_qsl(parts.query, keep_blank_values=True)
        try:
            with psycopg.connect(self.server.dsn) as connection:
                status, rows, headers = action(connection, table, query, body)
        except psycopg.Error as exc:
            return self._refuse(exc)
        return self._answer(status, rows, headers)

    def _read(
        self, connection: psycopg.Connection, table: str, query: list, body: bytes
    ) -> tuple[int, Any, dict[str, str]]:
        connection.read_only = True
        options = dict(query)
        statement = sql.SQL("select {columns} from {table} where {filters}{order}{page}").format(
            columns=_columns(options.get("select", "*")),
            table=sql.Identifier(table),
            filters=_filters(query),
            order=_order(options.get("order")),
            page=_page(options),
        )
        rows = _as_json(connection, statement)
        total = "*"
        if "count=exact" in self.headers.get("Prefer", ""):
            counting = sql.SQL("select count(*) from {} where {}").format(
                sql.Identifier(table), _filters(query)
            )
            total = connection.execute(counting).fetchone()[0]
        first = int(options.get("offset", 0))
        span = f"{first}-{first + len(rows) - 1}" if rows else "*"
        return 200, rows, {"Content-Range": f"{span}/{total}"}

    def _insert(
        self, connection: psycopg.Connection, table: str, query: list, body: bytes
    ) -> tuple[int, Any, dict[str, str]]:
        given = json.loads(body)
        rows = given if isinstance(given, list) else [given]
        names = sql.SQL(", ").join(map(sql.Identifier, sorted({k for row in rows for k in row})))
        statement = sql.SQL(
            "insert into {table} ({names}) select {names} from"
            " jsonb_populate_recordset(null::{table}, {rows}) returning *"
        ).format(table=sql.Identifier(table), names=names, rows=sql.Literal(json.dumps(rows)))
        return self._changed(201, _as_json(connection, statement))

    def _update(
        self, connection: psycopg.Connection, table: str, query: list, body: bytes
    ) -> tuple[int, Any, dict[str, str]]:
        values = json.loads(body)
        statement = sql.SQL(
            "update {table} set {assignments} from"
            " jsonb_populate_record(null::{table}, {values}) as given"
            " where {filters} returning {table}.*"
        ).format(
            table=sql.Identifier(table),
            assignments=sql.SQL(", ").join(
                sql.SQL("{0} = given.{0}").format(sql.Identifier(name)) for name in values
            ),
            values=sql.Literal(json.dumps(values)),
            filters=_filters(query, table),
        )
        return self._changed(200, _as_json(connection, statement))

    def _changed(self, status: int, rows: list) -> tuple[int, Any, dict[str, str]]:
        if "return=representation" in self.headers.get("Prefer", ""):
            return status, rows, {}
        return (201 if status == 201 else 204), None, {}

    def _refuse(self, exc: psycopg.Error) -> None:
        state = exc.sqlstate or "XX000"
        status = STATUSES.get(state) or STATUSES.get(state[:2]) or 400
        problem = {
            "code": state,
            "message": exc.diag.message_primary or str(exc),
            "details": exc.diag.message_detail,
            "hint": exc.diag.message_hint,
        }
        self._answer(status, problem)

    def _answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _as_json(connection: psycopg.Connection, statement: sql.Composed) -> list:
    whole = sql.SQL("with r as ({}) select coalesce(json_agg(r), '[]') from r").format(statement)
    return connection.execute(whole).fetchone()[0]


def _columns(select: str) -> sql.Composable:
    if select == "*":
        return sql.SQL("*")
    return sql.SQL(", ").join(map(sql.Identifier, select.split(",")))


def _filters(query: list[tuple[str, str]], table: str | None = None) -> sql.Composed:
    clauses: list[sql.Composable] = [sql.SQL("true")]
    for name, condition in query:
        if name not in RESERVED:
            operator, _, value = condition.partition(".")
            column = sql.Identifier(*([table] if table else []), name)
            clauses.append(sql.SQL("{} {}").format(column, _condition(operator, value)))
    return sql.SQL(" and ").join(clauses)


def _condition(operator: str, value: str) -> sql.Composed:
    if operator == "in":
        listed = next(csv.reader([value.removeprefix("(").removesuffix(")")]), [])
        return sql.SQL("in ({})").format(sql.SQL(", ").join(map(sql.Literal, listed)))
    if operator == "is":
        return sql.SQL("is {}").format(sql.SQL({"null": "null", "true": "true"}[value]))
    return sql.SQL("{} {}").format(sql.SQL(OPERATORS[operator]), sql.Literal(value))


def _order(order: str | None) -> sql.Composable:
    if not order:
        return sql.SQL("")
    words = {"asc": sql.SQL("asc"), "desc": sql.SQL("desc")}
    terms = []
    for term in order.split(","):
        name, _, direction = term.partition(".")
        terms.append(sql.SQL("{} {}").format(sql.Identifier(name), words[direction or "asc"]))
    return sql.SQL(" order by {}").format(sql.SQL(", ").join(terms))


def _page(options: dict[str, str]) -> sql.Composed:
    limit = options.get("limit")
    return sql.SQL(" limit {} offset {}").format(
        sql.Literal(int(limit) if limit else None), sql.Literal(int(options.get("offset", 0)))
    )
