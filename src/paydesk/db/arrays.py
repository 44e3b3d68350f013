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

_NOTHING = type(None)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _document(value: Jsonb) -> str:
    return _quoted(msgspec.json.encode(value.obj).decode())


#: How elements of exactly these types are written.
_WRITERS: dict[type, Callable[[Any], str]] = {
    str: _quoted,
    int: str,
    bool: lambda one: "t" if one else "f",
    datetime: datetime.isoformat,
    Jsonb: _document,
}
#: Types of which each value is sent as the same type of PostgreSQL.
_PLAIN = frozenset({UUID, str, bool, Jsonb})


class Array(ListDumper):
    """A list whose elements are all of one plain type, or null; any other goes the usual way."""

    def get_key(self, obj: Any, format: Any) -> Any:
        for one in obj:
            if one is not None:
                kind = type(one)
                return (self.cls, kind) if kind in _PLAIN else super().get_key(obj, format)
        return super().get_key(obj, format)

    def dump(self, obj: Any) -> Any:
        kinds = set(map(type, obj))
        kinds.discard(_NOTHING)
        kind = kinds.pop() if len(kinds) == 1 else None
        if kind is UUID:
            found = ["null" if one is None else f"{one.int:032x}" for one in obj]
        elif (write := _WRITERS.get(kind) if kind else None) is not None:
            found = ["null" if one is None else write(one) for one in obj]
        else:
            return super().dump(obj)
        return f"{{{','.join(found)}}}".encode()


def adapt(conn: psycopg.Connection[Any]) -> None:
    """Have this connection write lists so."""
    conn.adapters.register_dumper(list, Array)
