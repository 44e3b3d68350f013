"""What AsyncPaydesk stands on: calls in threads, lists and holds that are awaited."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from paydesk.client_wallets import Hold
from paydesk.results import Listing
from paydesk.rules.money import Money

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


class AsyncHold:
    """`async with pay.hold(...) as hold: await hold.capture(n)`, or `hold = await pay.hold(...)`.

    `hold` is the synchronous object with what is known of it.
    """

    def __init__(self, threads: Threads, begin: Callable[[], Hold]) -> None:
        self._threads = threads
        self._begin = begin
        self._hold: Hold | None = None

    @property
    def hold(self) -> Hold:
        assert self._hold is not None, "the hold has not begun: await it, or use async with"
        return self._hold

    async def capture(
        self, amount: int | Money | None = None, *, final: bool = True
    ) -> AsyncHold:
        """Use all of it or a part; the rest goes back at once, or, without `final`, stays set
        aside for captures to come. Raises HoldClosed."""
        await self._threads.run(self.hold.capture, amount, final=final)
        return self

    async def release(self) -> AsyncHold:
        """Give back what is left of it. Raises HoldClosed."""
        await self._threads.run(self.hold.release)
        return self

    def __await__(self) -> Generator[Any, None, AsyncHold]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> AsyncHold:
        if self._hold is None:
            self._hold = await self._threads.run(self._begin)
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self._threads.run(self.hold.__exit__, *exc)

    def __repr__(self) -> str:
        return f"<Async{repr(self._hold)[1:]}" if self._hold else "<AsyncHold not begun>"
