"""Records every statement that is sent, and finds those on a customer's rows without his key."""

from __future__ import annotations

import contextlib
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import sqlglot
from sqlglot import exp

ROOT = Path(__file__).resolve().parent.parent.parent
MAP = tomllib.loads((ROOT / "src/paydesk/db/distribution.toml").read_text(encoding="utf-8"))
OWNED = frozenset(MAP["owned"]["tables"])
OTHER = frozenset(MAP["other"])
KEY = "customer_id"
#: What is known to be one customer's, or a stated set of customers'.
GIVEN = "given"

Blocks = (exp.Select, exp.Update, exp.Delete)


@dataclass
class Recorder:
    """Statements by their text without needless blanks -> the place in the project that sent it."""

    sent: dict[str, str] = field(default_factory=dict)

    def note(self, query: Any) -> None:
        if isinstance(query, psycopg.sql.Composable):
            query = query.as_string(None)
        text = re.sub(r"\s+", " ", query.decode() if isinstance(query, bytes) else query).strip()
        if text not in self.sent:
            self.sent[text] = _sender()


def _sender() -> str:
    frame: Any = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("paydesk.") and name != "paydesk.db.postgres":
            return f"{name}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "test"


@contextlib.contextmanager
def recording() -> Iterator[Recorder]:
    """Everything that cursors of this process execute until the block ends, of any thread."""
    recorder = Recorder()
    cursor = psycopg.Cursor
    kept = {name: getattr(cursor, name) for name in ("execute", "executemany", "stream", "copy")}

    def wrapped(real: Any) -> Any:
        def call(self: Any, query: Any, *args: Any, **more: Any) -> Any:
            recorder.note(query)
            return real(self, query, *args, **more)

        return call

    for name, real in kept.items():
        setattr(cursor, name, wrapped(real))
    try:
        yield recorder
    finally:
        for name, real in kept.items():
            setattr(cursor, name, real)


def keyless(text: str, keys: frozenset[str] = frozenset({KEY})) -> set[str]:
    """The owned tables that a statement touches without an equality on the customer.

    A table is bound to its customer by `customer_id =` a value or `any(...)` of an array, or by
    the equality or USING with a source that is: an array unnested, an outer row, another owned
    table that is bound. A table with a key of its own binds nobody: its rows live elsewhere.
    `keys`: columns that name a customer's row.
    """
    found: set[str] = set()
    for statement in _parse(text):
        for block in statement.find_all(*Blocks):
            found |= _unbound(block, keys)
        for insert in statement.find_all(exp.Insert):
            target = insert.this
            table = target.this if isinstance(target, exp.Schema) else target
            if table.name in OWNED:
                columns = {c.name for c in target.expressions} if target is not table else set()
                if KEY not in columns:
                    found.add(table.name)
    return found


_STARTS = re.compile(r"\b(?:insert\s+into|update|delete\s+from|select|with)\b", re.I)
_INTO = re.compile(r"\binto\s+(?:strict\s+)?\w+(?:\s*,\s*\w+)*(?=\s+from\b)", re.I)


def of_function(text: str) -> list[str]:
    """The statements in a PL/pgSQL function's body, without INTO and without what is around."""
    body = re.sub(r"--[^\n]*", "", text).split("$$")[1]
    body = body.partition("begin")[2] or body
    found = []
    for part in re.split(r";|\bloop\s*\n|\bthen\s*\n|\belse\s*\n", body):
        start = _STARTS.search(part)
        if start is not None:
            found.append(" ".join(_INTO.sub("", part[start.start():]).split()))
    return found


#: The parser takes no join after an array in the FROM of an UPDATE, only after a subquery.
_UNNESTED = re.compile(
    r"(?<=\bfrom )(unnest\(\w+\) (?:as )?(\w+)\s*\([\w, ]+\))(?= cross join)", re.I
)
#: Parameters that are sent in binary or as text, which the parser does not know.
_FORMATS = re.compile(r"(%(?:\(\w+\))?)[bt]\b")


def _parse(text: str) -> list[exp.Expression]:
    text = _UNNESTED.sub(r"(select * from \1) \2", _FORMATS.sub(r"\1s", text))
    return [one for one in sqlglot.parse(text, dialect="postgres") if one is not None]


def touched(text: str) -> set[str]:
    """The owned tables that a statement names."""
    return {
        table.name
        for statement in _parse(text)
        for table in statement.find_all(exp.Table)
        if table.name in OWNED
    }


def _unbound(block: exp.Expression, keys: frozenset[str]) -> set[str]:
    sources = _sources(block)
    owned = {alias: node.name for alias, node in sources.items() if _is_owned(node, block)}
    if not owned:
        return set()
    groups = _Groups()
    for alias, node in sources.items():
        if alias not in owned and not (isinstance(node, exp.Table) and node.name in OTHER):
            groups.join(alias, GIVEN)
    for condition in _conditions(block):
        for one in _conjuncts(condition):
            _bind(one, sources, owned, groups, keys)
    for join in block.args.get("joins") or []:
        if KEY in {column.name for column in join.args.get("using") or []}:
            joined = join.this.alias_or_name
            for alias in sources:
                if alias == joined:
                    break
                if alias in owned or groups.same(alias, GIVEN):
                    groups.join(alias, joined)
                    break
    return {name for alias, name in owned.items() if not groups.same(alias, GIVEN)}


def _sources(block: exp.Expression) -> dict[str, exp.Expression]:
    """Alias -> what stands in FROM, JOIN or as the target, of this block alone."""
    nodes: list[exp.Expression] = []
    if isinstance(block, exp.Update | exp.Delete) and block.this is not None:
        nodes.append(block.this)
    if (from_ := block.args.get("from_") or block.args.get("from")) is not None:
        nodes.append(from_.this)
    using = block.args.get("using") if isinstance(block, exp.Delete) else None
    nodes += using or []
    nodes += [join.this for join in block.args.get("joins") or []]
    for node in list(nodes):
        nodes += [join.this for join in node.args.get("joins") or []]
    return {node.alias_or_name or str(index): node for index, node in enumerate(nodes)}


def _is_owned(node: exp.Expression, block: exp.Expression) -> bool:
    if not isinstance(node, exp.Table) or node.name not in OWNED:
        return False
    parent: exp.Expression | None = block
    while parent is not None:  # A CTE of that name is no table.
        with_ = parent.args.get("with_") or parent.args.get("with")
        if with_ is not None and node.name in {cte.alias for cte in with_.expressions}:
            return False
        parent = parent.parent
    return True


def _conditions(block: exp.Expression) -> list[exp.Expression]:
    found = [block.args["where"].this] if block.args.get("where") else []
    joins = list(block.args.get("joins") or [])
    for node in _sources(block).values():
        joins += node.args.get("joins") or []
    return found + [join.args["on"] for join in joins if join.args.get("on") is not None]


def _conjuncts(condition: exp.Expression) -> list[exp.Expression]:
    if isinstance(condition, exp.Paren):
        return _conjuncts(condition.this)
    if isinstance(condition, exp.And):
        return _conjuncts(condition.left) + _conjuncts(condition.right)
    return [condition]


def _bind(
    one: exp.Expression, sources: dict[str, exp.Expression], owned: dict[str, str],
    groups: _Groups, keys: frozenset[str],
) -> None:  # fmt: skip
    if isinstance(one, exp.In) and isinstance(one.this, exp.Column):
        alias = _alias_of(one.this, owned, keys)
        if alias is not None:
            groups.join(alias, GIVEN)
    if not isinstance(one, exp.EQ):
        return
    for side, other in ((one.left, one.right), (one.right, one.left)):
        alias = _alias_of(side, owned, keys)
        if alias is None:
            continue
        if isinstance(other, exp.Column) and other.table in sources:
            groups.join(alias, other.table)
        else:  # A value, an array's element, or a column of an outer row.
            groups.join(alias, GIVEN)


def _alias_of(
    node: exp.Expression, owned: dict[str, str], keys: frozenset[str]
) -> str | None:
    """The owned source whose customer this column names; unqualified, the only one there is."""
    if not isinstance(node, exp.Column) or node.name not in keys:
        return None
    if node.table:
        return node.table if node.table in owned else None
    return next(iter(owned)) if owned else None


class _Groups:
    """Sources that have one customer."""

    def __init__(self) -> None:
        self._up: dict[str, str] = {}

    def _top(self, name: str) -> str:
        while self._up.get(name, name) != name:
            name = self._up[name]
        return name

    def join(self, one: str, other: str) -> None:
        self._up[self._top(one)] = self._top(other)

    def same(self, one: str, other: str) -> bool:
        return self._top(one) == self._top(other)
