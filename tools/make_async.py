"""Writes src/paydesk/client_async.py from the library's synchronous front; `--check` compares.

Every public method becomes one that runs in a worker thread, with the same parameters, types and
docstring. A method that answers a Listing answers an AsyncListing; one that answers Joined, an
AsyncJoined; decorators and properties of the front stay as they are.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import textwrap
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "paydesk"
TARGET = SOURCE / "client_async.py"
FRONT = "Paydesk"
PARTS = ["Packs", "Promos", "Credits", "Payments", "Customers", "Events", "Joined"]
#: Methods that do no I/O, or are written by hand below.
AS_THEY_ARE = {"on"}
BY_HAND = {"open", "close"}

HEADER = '''"""AsyncPaydesk: every method of Paydesk in a thread. Made by tools/make_async.py."""

# Do not edit: run `python tools/make_async.py`.

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import psycopg

from paydesk import client_parts
from paydesk.client import Paydesk
from paydesk.client_parts import CustomerRef, PackRef
from paydesk.clock import Clock
from paydesk.delivery import Handler
from paydesk.env import Env
from paydesk.flows.customers import Customer
from paydesk.results import (
    Balance,
    Batch,
    CreditLine,
    Discount,
    Event,
    Granted,
    Listing,
    Pack,
    Payment,
    Promo,
    Refunded,
    Reservation,
    Session,
    Spent,
    Transferred,
)
from paydesk.rules.money import Money
from paydesk.settings import Settings

T = TypeVar("T")

#: Calls under way at once; more wait for a thread.
MAX_THREADS = 40


class Threads:
    """Where calls run. Context variables go with them."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="paydesk-async")

    async def run(self, call: Callable[..., T], *given: Any, **named: Any) -> T:
        """The call's result, or what it raised. A cancelled wait does not stop the call."""
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._pool, lambda: context.run(call, *given, **named)
        )

    def close(self) -> None:
        self._pool.shutdown(wait=False)


class AsyncListing(Generic[T]):
    """A list that is read page by page: `async for one in ...`."""

    def __init__(self, threads: Threads, listing: Listing[T]) -> None:
        self._threads = threads
        self._listing = listing

    async def __aiter__(self) -> AsyncIterator[T]:
        found: Iterator[T | Any] = iter(self._listing)
        end: Any = object()
        while (one := await self._threads.run(lambda: next(found, end))) is not end:
            yield one

    async def first(self) -> T | None:
        """The first one, or None."""
        return await self._threads.run(self._listing.first)

    def __repr__(self) -> str:
        return "<AsyncListing: loop over it with async for>"


class AsyncPaydesk:
    """Paydesk for asynchronous applications: the same methods, each in a worker thread.

    `paydesk` is the synchronous object under it, for code that runs in threads anyway.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        clock: Clock | None = None,
        env: Env | None = None,
        background: bool = True,
        paydesk: Paydesk | None = None,
        **overrides: Any,
    ) -> None:
        """As Paydesk, or around one. Nothing is opened before the first use."""
        self.paydesk = paydesk or Paydesk(
            settings, clock=clock, env=env, background=background, **overrides
        )
        self._threads = Threads()
        self.packs = AsyncPacks(self._threads, self.paydesk.packs)
        self.promos = AsyncPromos(self._threads, self.paydesk.promos)
        self.credits = AsyncCredits(self._threads, self.paydesk.credits)
        self.payments = AsyncPayments(self._threads, self.paydesk.payments)
        self.customers = AsyncCustomers(self._threads, self.paydesk.customers)
        self.events = AsyncEvents(self._threads, self.paydesk.events)

    @property
    def env(self) -> Env:
        """Everything with side effects; opened by the first use, in the calling thread."""
        return self.paydesk.env

    async def open(self) -> None:
        """Open now what the first use would open; handlers run in this event loop from now on."""
        self.paydesk.delivery.loop = asyncio.get_running_loop()
        await self._threads.run(self.paydesk.open)

    async def close(self) -> None:
        """End handlers and everything that was started. A later use opens anew."""
        await self._threads.run(self.paydesk.close)
        self.paydesk.delivery.loop = None

    async def __aenter__(self) -> AsyncPaydesk:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Async{repr(self.paydesk)[1:]}"
'''


def classes() -> dict[str, ast.ClassDef]:
    """The synchronous classes by name."""
    found = {}
    for file in ("client.py", "client_parts.py"):
        for node in ast.parse((SOURCE / file).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = node
    return found


def methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    """Public methods, without properties."""
    return [
        one
        for one in node.body
        if isinstance(one, ast.FunctionDef)
        and not one.name.startswith("_")
        and not one.decorator_list
        and one.name not in BY_HAND
    ]


def method(node: ast.FunctionDef, target: str) -> str:
    """The asynchronous twin's text, indented for a class."""
    answer = ast.unparse(node.returns) if node.returns else "None"
    listing = re.fullmatch(r"Listing\[(.+)\]", answer)
    docstring = ast.get_docstring(node, clean=False) or ""
    call = f"{target}.{node.name}"
    given = "".join(f", {a}" for a in passed(node))
    body = [f'        """{docstring}"""'] if docstring else []
    if listing:
        answer = f"AsyncListing[{listing[1]}]"
        body += wrapped("return AsyncListing(self._threads, ", call, given, ")")
    elif answer == "Joined":
        answer = "AsyncJoined"
        body += wrapped("return AsyncJoined(self._threads, ", call, given, ")")
    elif node.name in AS_THEY_ARE:
        body += wrapped("return ", call, given, "")
    else:
        body += wrapped("return await ", "self._threads.run", f", {call}{given}", "")
        return "\n".join([*signature(node, "async def", answer), *body])
    return "\n".join([*signature(node, "def", answer), *body])


def wrapped(before: str, call: str, given: str, after: str) -> list[str]:
    """One line where it fits, else the arguments in lines that are as full as can be."""
    line = f"        {before}{call}({given[2:]}){after}"
    if len(line) <= 100:
        return [line]
    return [
        f"        {before}{call}(",
        *textwrap.wrap(given[2:] + ",", 100, initial_indent=" " * 12, subsequent_indent=" " * 12),
        f"        ){after}  # fmt: skip",
    ]


def passed(node: ast.FunctionDef) -> list[str]:
    """How the parameters are handed on."""
    found = [a.arg for a in node.args.args[1:]]
    if node.args.vararg:
        found.append(f"*{node.args.vararg.arg}")
    return found + [f"{a.arg}={a.arg}" for a in node.args.kwonlyargs]


def signature(node: ast.FunctionDef, how: str, answer: str) -> list[str]:
    """The head of the method, a parameter a line."""
    parts = ["self"]
    plain = node.args.args[1:]
    defaults = [None] * (len(plain) - len(node.args.defaults)) + list(node.args.defaults)
    for one, default in zip(plain, defaults, strict=True):
        parts.append(parameter(one, default))
    if node.args.vararg:
        parts.append("*" + parameter(node.args.vararg, None))
    elif node.args.kwonlyargs:
        parts.append("*")
    for one, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        parts.append(parameter(one, default))
    line = f"    {how} {node.name}({', '.join(parts)}) -> {answer}:"
    if len(line) <= 100:
        return [line]
    return [f"    {how} {node.name}(", *(f"        {p}," for p in parts), f"    ) -> {answer}:"]


def parameter(one: ast.arg, default: ast.expr | None) -> str:
    text = one.arg + (f": {ast.unparse(one.annotation)}" if one.annotation else "")
    return text + (f" = {ast.unparse(default)}" if default is not None else "")


def part(node: ast.ClassDef) -> str:
    """The class of a group of methods."""
    docstring = ast.get_docstring(node, clean=False) or ""
    head = f'''class Async{node.name}:
    """{docstring}"""

    def __init__(self, threads: Threads, part: client_parts.{node.name}) -> None:
        self._threads = threads
        self._part = part
'''
    return head + "".join(f"\n{method(m, 'self._part')}\n" for m in methods(node))


def generated() -> str:
    found = classes()
    front = HEADER + "".join(f"\n{method(m, 'self.paydesk')}\n" for m in methods(found[FRONT]))
    text = "\n\n".join([front, *(part(found[name]) for name in PARTS)])
    return text.replace("\n\n\n\n", "\n\n\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the file is not current")
    text = generated()
    if parser.parse_args().check:
        is_current = TARGET.exists() and TARGET.read_text(encoding="utf-8") == text
        print("current" if is_current else "client_async.py is not current: run make_async.py")
        return 0 if is_current else 1
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
