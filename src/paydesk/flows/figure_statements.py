"""The statements that a report ran, with their values, so that anybody can run them again."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, LiteralString

from psycopg import sql

if TYPE_CHECKING:
    from paydesk.db.postgres import Tx

Row = dict[str, Any]

_PLACE = re.compile(r"%%|%\((\w+)\)s")


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement with `%(name)s` places, and what stood in them."""

    query: Any
    params: Mapping[str, Any] | None

    @property
    def text(self) -> str:
        """As SQL that runs by itself, with every value written where it stood."""
        query = self.query
        text = query.as_string(None) if isinstance(query, sql.Composable) else str(query)
        if self.params is not None:
            text = _PLACE.sub(self._value, text)
        return textwrap.dedent(text).strip()

    def _value(self, place: re.Match[str]) -> str:
        if place[1] is None:
            return "%"
        assert self.params is not None
        return sql.Literal(self.params[place[1]]).as_string(None)


@dataclass(slots=True)
class Heard:
    """A transaction that only reads, and keeps what it was asked."""

    tx: Tx
    statements: list[Statement] = field(default_factory=list)

    def one(self, query: LiteralString, params: Any = None) -> Row | None:
        self.statements.append(Statement(query, params))
        return self.tx.one(query, params)

    def all(self, query: LiteralString, params: Any = None) -> list[Row]:
        self.statements.append(Statement(query, params))
        return self.tx.all(query, params)

    def value(self, query: LiteralString, params: Any = None) -> Any:
        self.statements.append(Statement(query, params))
        return self.tx.value(query, params)
