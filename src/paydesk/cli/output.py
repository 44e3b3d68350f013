"""How commands answer: tables on a terminal, JSON lines in a pipe, one line for a refusal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from paydesk.errors import InvalidRequest, Misconfigured, PaydeskError, Unavailable
from paydesk.rules.money import Money

#: `-o`: table for people, json for programs; without it, whoever reads decides.
Output = Annotated[
    str, typer.Option("--output", "-o", help="table or json (JSON lines); json when piped.")
]
OK, PROBLEM, USAGE, NOT_REACHABLE = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. Those with a lower `rank` stay when the terminal is narrow."""

    head: str
    key: str
    right: bool = False
    rank: int = 0


def console(stderr: bool = False) -> Console:
    """Colors only where a terminal reads and NO_COLOR is not set."""
    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def is_table(output: str) -> bool:
    """Raises typer.BadParameter for another word."""
    if output in ("table", "json"):
        return output == "table"
    if output:
        raise typer.BadParameter("-o takes table or json")
    return sys.stdout.isatty()


def rows(
    items: Iterable[dict[str, Any]], columns: Sequence[Column], output: str = ""
) -> list[str]:
    """Print a list. JSON lines hold every member, tables the columns that fit; answers the heads
    of those that do not."""
    found = list(items)
    if not is_table(output):
        for item in found:
            print_json(item)
        return []
    if not found:
        console().print("[dim]Nothing.[/dim]")
        return []
    texts = [{c.key: text(item.get(c.key)) for c in columns} for item in found]
    shown = _fitting(columns, texts)
    table = Table(box=None, pad_edge=False, header_style="dim", show_edge=False)
    for column in shown:
        width = max(len(column.head), *(len(t[column.key]) for t in texts))
        table.add_column(
            column.head, no_wrap=True, min_width=width,
            justify="right" if column.right else "left",
        )  # fmt: skip
    for item in texts:
        table.add_row(*(_escaped(item[c.key]) for c in shown))
    console().print(table)
    return [c.head for c in columns if c not in shown]


def _fitting(columns: Sequence[Column], texts: list[dict[str, str]]) -> list[Column]:
    """Columns are left out, the least important first; a cell is never cut."""
    shown = list(columns)
    space = int(os.environ.get("COLUMNS", 0)) or console().width
    while len(shown) > 1:
        widths = [max(len(c.head), *(len(t[c.key]) for t in texts)) + 2 for c in shown]
        if sum(widths) <= space or max(c.rank for c in shown) == 0:
            break
        worst = max(c.rank for c in shown)
        shown.remove(next(c for c in reversed(shown) if c.rank == worst))
    return shown


def one(item: dict[str, Any], output: str = "") -> None:
    """Print one object: a line for each member, or one JSON line."""
    if not is_table(output):
        print_json(item)
        return
    width = max((len(name) for name in item), default=0)
    lists = {name: value for name, value in item.items() if _is_rows(value)}
    for name, value in item.items():
        if name not in lists:
            console().print(f"[dim]{name.ljust(width)}[/dim]  {_escaped(text(value))}")
    for name, value in lists.items():
        console().print(f"\n[dim]{name}[/dim]")
        keys = [key for key, cell in value[0].items() if not isinstance(cell, dict | list)]
        rows(value, [Column(k.upper().replace("_", " "), k, isinstance(value[0][k], int | Money))
                     for k in keys], "table")  # fmt: skip


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def print_json(item: Any) -> None:
    sys.stdout.write(json.dumps(plain(item), ensure_ascii=False) + "\n")


def plain(value: Any) -> Any:
    """A value as JSON has it, like over HTTP: times in UTC; an amount in minor units, with its
    decimal text and its currency beside it."""
    if isinstance(value, dict):
        return {k: v for name, one in value.items() for k, v in _members(str(name), one)}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, Money):
        return dict(_members("amount", value))
    if isinstance(value, str | int | bool) or value is None:
        return value
    return str(value)


def _members(name: str, value: Any) -> list[tuple[str, Any]]:
    if not isinstance(value, Money):
        return [(name, plain(value))]
    return [(name, value.minor), (f"{name}_decimal", _decimal(value)), ("currency", value.currency)]


def _decimal(value: Money) -> str:
    return str(value).partition(" ")[2]


def text(value: Any) -> str:
    """A value in a table's cell."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Money):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, list | tuple) and not any(isinstance(v, dict | list) for v in value):
        return ", ".join(text(v) for v in value) or "–"
    if isinstance(value, dict | list | tuple):
        return json.dumps(plain(value), ensure_ascii=False) if value else "–"
    return str(value)


def _escaped(cell: str) -> str:
    return cell.replace("[", "\\[")


def note(message: str) -> None:
    """Something to know that is not the answer; on standard error, so that pipes stay clean."""
    console(stderr=True).print(message)


def fail(exc: Exception) -> NoReturn:
    """Say what is wrong and leave with the code that fits. Bugs keep their stack trace."""
    if isinstance(exc, PaydeskError):
        say = console(stderr=True)
        say.print(f"[red]{exc.code}[/red]: {_escaped(exc.detail)}")
        if not isinstance(exc, Misconfigured):
            say.print(f"[dim]paydesk explain {exc.code}[/dim]")
        if isinstance(exc, Unavailable):
            raise SystemExit(NOT_REACHABLE) from None
        is_usage = isinstance(exc, InvalidRequest | Misconfigured)
        raise SystemExit(USAGE if is_usage else PROBLEM) from None
    if isinstance(exc, ConnectionError):
        console(stderr=True).print(f"[red]not reachable[/red]: {exc}")
        raise SystemExit(NOT_REACHABLE) from None
    raise exc
