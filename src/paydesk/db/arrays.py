"""Lists as PostgreSQL's arrays, written in one go: the driver's own way looks at each element."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg.types.array import ListDumper
from psycopg.types.json import Jsonb

__all__ = ["adapt"]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _document(value: Jsonb) -> str:
    return _quoted(msgspec.json.encode(value.obj).decode())


#: How elements of exactly these types are written.
_WRITERS: dict[type, Callable[[Any], str]] = {
    UUID: lambda one: one.hex,
    str: _quoted,
    int: str,
    bool: lambda one: "t" if one else "f",
    datetime: lambda one: f'"{one}"',
    Jsonb: _document,
}


class Array(ListDumper):
    """A list whose elements are all of one plain type, or null; any other goes the usual way."""

    def dump(self, obj: Any) -> Any:
        kinds = {type(one) for one in obj if one is not None}
        write = _WRITERS.get(kinds.pop()) if len(kinds) == 1 else None
        if write is None:
            return super().dump(obj)
        text = ",".join(["null" if one is None else write(one) for one in obj])
        return f"{{{text}}}".encode()


def adapt(conn: psycopg.Connection[Any]) -> None:
    """Have this connection write lists so."""
    conn.adapters.register_dumper(list, Array)
