"""Steps of many customers in one transaction, side by side, a statement for all of them.

A step is written for one customer: it reads, decides and writes through the `Tx` that it is given.
`each` runs it for many whose heads are locked. Every step goes on until it asks the database for
something; then what all of them ask is answered with as few statements as can be, and they go on.
So a step costs its share of a statement instead of a way to the server, and is written only once.

Selects become a lateral join over the parameters, inserts of one row inserts of many, updates of
one customer's row updates of many. What has another shape is run for each in turn, which is as
right and only slower; inside a savepoint a step is alone. The steps may not wait for one another:
they change rows of their own customers only. What one of them raises ends all, and the caller
rolls back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache, partial, wraps
from typing import Any, TypeVar, cast
from uuid import UUID

from greenlet import GreenletExit, getcurrent, greenlet
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from paydesk import causes
from paydesk.db.postgres import Params, Tx

__all__ = ["each", "in_sets"]

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])

#: Values that differ from step to step are sent as arrays of these types.
_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"), (int, "bigint"), (str, "text"), (UUID, "uuid"),
    (datetime, "timestamptz"), (date, "date"), (bytes, "bytea"), (Decimal, "numeric"),
    (Jsonb, "jsonb"), (dict, "jsonb"),
)  # fmt: skip
_PLACE = re.compile(r"%\((\w+)\)s")
_SELECT = re.compile(r"\s*select\s", re.I)
#: What a select may not have: locks, and an end of its own that another could not follow.
_NOT_SELECT = re.compile(r"\bfor\s+(no\s+key\s+)?(update|share)\b|\boffset\b|;", re.I)
_INSERT = re.compile(
    r"\s*(insert\s+into\s+\w+\s*\([^()]*\))\s*values\s*\((.*)\)\s*(?:returning\s([\w\s,]+))?$",
    re.I | re.S,
)
_NOT_INSERT = re.compile(r"\bon\s+conflict\b|\bselect\b", re.I)
#: One that answers the row: it is told by its owner whose it is.
_OWNED = re.compile(r"\(\s*customer_id\b.*?\bvalues\s*\(\s*%\(customer_id\)s", re.I | re.S)
_UPDATE = re.compile(
    r"\s*(update\s+\w+\s+set\s.+?)\swhere\s(.+?)(?:\sreturning\s(.+))?$", re.I | re.S
)
_NOT_UPDATE = re.compile(r"\b(from|select)\b|\bwhere\b.*\bwhere\b", re.I | re.S)
_OWNER = "customer_id"


def each(tx: Tx, works: Sequence[Callable[[Tx], T]], owners: Sequence[UUID]) -> list[T]:
    """Do every piece of work, each with a `Tx` of its own, inside `tx`; answers what each answers.

    `owners`: the customer that each is about; work for the same one is done in the order given.
    Raises what the first of them raises that does; `tx` is to be rolled back then, or the
    savepoint around this.
    """
    if len(works) < 2 or isinstance(tx, _Part):
        return [work(tx) for work in works]
    answers: dict[int, T] = {}
    left = list(enumerate(zip(works, owners, strict=True)))
    while left:
        first: dict[UUID, int] = {}
        for number, (_, owner) in left:
            first.setdefault(owner, number)
        now = set(first.values())
        made = _Group(tx).run([work for number, (work, _) in left if number in now])
        answers |= dict(zip(sorted(now), made, strict=True))
        left = [one for one in left if one[0] not in now]
    return [answers[number] for number in range(len(works))]


def in_sets(position: int = 1) -> Callable[[Function], Function]:
    """Of a function that takes `tx` first and a sequence of items at this position: steps side by
    side that call it have it called once, with all their items.

    It answers a list with one answer for each item, a mapping, which all of them get whole, or
    None.
    """

    def mark(function: Function) -> Function:
        @wraps(function)
        def shared(tx: Tx, *given: Any, **more: Any) -> Any:
            if not isinstance(tx, _Part) or tx.is_alone:
                return function(tx, *given, **more)
            items, rest = given[position - 1], (*given[: position - 1], *given[position:])
            return tx.share(_Set(function, position, list(items), rest, more))

        return cast(Function, shared)

    return mark


@dataclass(slots=True)
class _Statement:
    """A statement that a step waits for; `is_count`: it wants the number of rows alone."""

    query: Any
    params: Any
    is_count: bool

    @property
    def key(self) -> Any:
        return self.query, self.is_count


@dataclass(slots=True)
class _Set:
    """A call that a step waits for, with its part of the items."""

    function: Callable[..., Any]
    position: int
    items: list[Any]
    rest: tuple[Any, ...]
    more: dict[str, Any]

    @property
    def key(self) -> Any:
        others = (*self.rest, *self.more.values())
        return self.function, tuple(
            one if isinstance(one, str | int | datetime | None) else id(one) for one in others
        )

    def call(self, tx: Tx, items: list[Any]) -> Any:
        at = self.position - 1
        return self.function(tx, *self.rest[:at], items, *self.rest[at:], **self.more)


class _Part(Tx):
    """What one of the steps has for a transaction: the heads are everybody's."""

    __slots__ = ("_alone", "_group")

    def __init__(self, group: _Group) -> None:
        super().__init__(group.tx.conn)
        self.heads = group.tx.heads
        self.stale = group.tx.stale
        self.late = group.tx.late
        self._group = group
        self._alone = 0

    @property
    def is_alone(self) -> bool:
        """Whether what it asks is done at once, for it alone."""
        return bool(self._alone) or getcurrent() is self._group.main

    def one(self, query: Any, params: Params = None) -> Any:
        rows = self.all(query, params)
        assert len(rows) < 2, f"more than one row from: {query}"
        return rows[0] if rows else None

    def all(self, query: Any, params: Params = None) -> list[Any]:
        group = self._group
        if self._alone or getcurrent() is group.main:
            return group.tx.all(query, params)
        return group.main.switch(_Statement(query, params, False))

    def run(self, query: Any, params: Params = None) -> int:
        group = self._group
        if self._alone or getcurrent() is group.main:
            return group.tx.run(query, params)
        return group.main.switch(_Statement(query, params, True))

    def lock(self, *customers: UUID, free_only: bool = False) -> None:
        self._group.tx.lock(*customers, free_only=free_only)

    def settle(self) -> None:
        self._group.tx.settle()

    def share(self, wanted: _Set) -> Any:
        """Have it called with everybody's items; alone where the cause is this step's own."""
        if causes.seen() != self._group.cause:
            return wanted.call(self._group.tx, wanted.items)
        return self._group.wait(wanted)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        self._alone += 1
        try:
            with self._group.tx.savepoint():
                yield
        finally:
            self._alone -= 1


class _Group:
    """Steps side by side, each on a stack of its own, all in this thread."""

    def __init__(self, tx: Tx) -> None:
        self.tx = tx
        self.main = getcurrent()
        self.cause = causes.seen()
        self._waiting: dict[int, _Statement | _Set] = {}
        self._answers: dict[int, Any] = {}
        self._steps: list[greenlet] = []

    def run(self, works: Sequence[Callable[[Tx], Any]]) -> list[Any]:
        for work in works:
            step = greenlet(partial(work, _Part(self)))
            step.gr_context = copy_context()
            self._steps.append(step)
        try:
            for number in range(len(works)):
                self._go_on(number)
            while self._waiting:
                asked, self._waiting = self._waiting, {}
                for members in _alike(asked):
                    found = self._answer([asked[number] for number in members])
                    for number, answer in zip(members, found, strict=True):
                        self._go_on(number, answer)
        finally:
            self._end()
        return [self._answers[number] for number in range(len(works))]

    def wait(self, wanted: _Statement | _Set) -> Any:
        """Called by a step: stand still until this is answered."""
        return self.main.switch(wanted)

    def _go_on(self, number: int, *answer: Any) -> None:
        """Let a step run until it asks for something, or has ended."""
        step = self._steps[number]
        said = step.switch(*answer)
        if step.dead:
            self._answers[number] = said
        else:
            self._waiting[number] = said

    def _end(self) -> None:
        """Nobody is left standing on a stack that nothing comes back to."""
        for step in self._steps:
            while step and not step.dead:
                step.throw(GreenletExit)

    def _answer(self, asked: list[Any]) -> list[Any]:
        if isinstance(asked[0], _Set):
            return self._call(asked)
        if len(asked) > 1 and (made := _made(asked)) is not None:
            return self._execute(made, asked)
        tx = self.tx
        if len(asked) > 1 and _is_one_question(asked):
            rows = tx.all(asked[0].query, asked[0].params)
            return [[dict(row) for row in rows] for _ in asked]
        return [
            (tx.run if one.is_count else tx.all)(one.query, one.params) for one in asked
        ]

    def _call(self, asked: list[_Set]) -> list[Any]:
        said = asked[0].call(self.tx, [item for one in asked for item in one.items])
        if said is None or isinstance(said, Mapping):
            return [said] * len(asked)
        parts, at = [], 0
        for one in asked:
            parts.append(said[at : at + len(one.items)])
            at += len(one.items)
        assert at == len(said), f"{asked[0].function.__name__} answers one thing for each item"
        return parts

    def _execute(self, made: _Made, asked: list[_Statement]) -> list[Any]:
        cursor = self.tx.conn.cursor(row_factory=dict_row)
        # Planned each time: a plan kept from when a table was empty reads all of it later.
        cursor.execute(made.sql, made.params, prepare=False)
        if not made.has_rows:
            assert cursor.rowcount == len(asked), "each of these inserts one row"
            return [1] * len(asked)
        found: list[list[Any]] = [[] for _ in asked]
        rows = cursor.fetchall()
        if rows and "_n" in rows[0]:
            for row in rows:
                found[row.pop("_n")].append(row)
        elif rows:
            whose = {one.params.get(_OWNER): number for number, one in enumerate(asked)}
            for row in rows:
                found[whose[row.pop("_owner")]].append(row)
        return [len(rows) for rows in found] if asked[0].is_count else found


@dataclass(slots=True)
class _Made:
    """A statement for all of them. `has_rows`: it answers rows, each with the place `_n` of whom
    it is for, or with the customer, `_owner`."""

    sql: Any
    params: dict[str, Any]
    has_rows: bool


def _alike(asked: dict[int, Any]) -> list[list[int]]:
    """Who asks for the same."""
    found: dict[Any, list[int]] = {}
    for number, one in asked.items():
        found.setdefault(one.key, []).append(number)
    return list(found.values())


def _is_one_question(asked: list[_Statement]) -> bool:
    """Whether all ask the very same of a table that is nobody's own."""
    one = asked[0]
    return bool(
        not one.is_count and isinstance(one.params, Mapping) and _OWNER not in one.params
        and _SELECT.match(one.query) and not _NOT_SELECT.search(one.query)
        and all(other.params == one.params for other in asked)
    )  # fmt: skip


def _made(asked: list[_Statement]) -> _Made | None:
    """One statement in the place of these, which differ in their parameters; None where there is
    none."""
    first = asked[0].params
    if not isinstance(first, Mapping):
        return None
    fixed: dict[str, Any] = {}
    columns: dict[str, str] = {}
    for name, value in first.items():
        values = [one.params[name] for one in asked]
        if not isinstance(value, Jsonb | dict) and all(one == value for one in values):
            fixed[name] = value
            continue
        kind = _type_of(values)
        if kind is None:
            return None
        columns[name] = kind
        fixed[name] = [Jsonb(one) if isinstance(one, dict) else one for one in values]
    shape = _shape(asked[0].query, tuple(columns.items())) if columns else None
    if shape is None:
        return None
    sql, has_rows = shape
    if not _SELECT.match(sql) and len({one.params.get(_OWNER) for one in asked}) != len(asked):
        return None
    return _Made(sql, {**fixed, "_n": list(range(len(asked)))}, has_rows)


def _type_of(values: list[Any]) -> str | None:
    """The type of the array that holds these; None where it is not certain."""
    known = {type(one) for one in values if one is not None}
    names = {
        next((name for kind, name in _TYPES if issubclass(one, kind)), None) for one in known
    }
    return names.pop() if len(names) == 1 else None


@lru_cache(maxsize=1024)
def _shape(query: str, columns: tuple[tuple[str, str], ...]) -> tuple[str, bool] | None:
    """The statement for many, and whether it answers rows."""
    arrays = ", ".join(["%(_n)s::int[]", *(f"%({name})s::{kind}[]" for name, kind in columns)])
    names = ", ".join(["_n", *(f"p_{name}" for name, _ in columns)])
    many = f"unnest({arrays}) as _k({names})"
    own = {name for name, _ in columns}

    def place(found: re.Match[str]) -> str:
        return f"_k.p_{found[1]}" if found[1] in own else found[0]

    if _SELECT.match(query):
        if _NOT_SELECT.search(query):
            return None
        # `offset 0` holds the planner to one look-up for each, by the index it was written for.
        body = _PLACE.sub(place, query)
        wrapped = f"cross join lateral ({body} offset 0) _r"
        return " ".join(["select _k._n, _r.* from", many, wrapped]), True
    if _OWNER not in own:
        return None
    if (found := _INSERT.match(query)) and not _NOT_INSERT.search(query):
        made = [found[1], "select", _PLACE.sub(place, found[2]), "from", many]
        if found[3] is None:
            return " ".join(made), False
        if not _OWNED.search(query):
            return None
        return " ".join([*made, "returning", f"{_OWNER} as _owner,", found[3]]), True
    if (found := _UPDATE.match(query)) and not _NOT_UPDATE.search(query):
        head, where = _PLACE.sub(place, found[1]), _PLACE.sub(place, found[2])
        told = f", {found[3]}" if found[3] else ""
        return " ".join([head, "from", many, "where", where, f"returning _k._n{told}"]), True
    return None
