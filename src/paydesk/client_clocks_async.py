"""client_clocks, each method in a thread. Made by tools/make_async.py."""

# Do not edit: run `python tools/make_async.py`.

from __future__ import annotations

from datetime import datetime, timedelta

from paydesk import client_clocks
from paydesk.client_clocks import ClockRef
from paydesk.client_parts import CustomerRef
from paydesk.client_threads import AsyncListing, Threads
from paydesk.flows.clocks import ClockView


class AsyncClocks:
    """Clocks that are moved by hand, in the sandbox: whoever stands on one lives by it."""

    def __init__(self, threads: Threads, part: client_clocks.Clocks) -> None:
        self._threads = threads
        self._part = part

    async def create(self, at: datetime | None = None, *, name: str = '') -> ClockView:
        """A clock that stands at an instant, now unless told. Customers are put on it where they
        are made: `pay.customers.upsert("u1", clock=clock)`, or all by `use`."""
        return await self._threads.run(self._part.create, at, name=name)

    async def get(self, clock: ClockRef) -> ClockView:
        """How a clock stands. Raises NotFound."""
        return await self._threads.run(self._part.get, clock)

    async def of(self, customer: CustomerRef) -> ClockView | None:
        """The clock of a customer; None where it is everybody's."""
        return await self._threads.run(self._part.of, customer)

    def list(self, *, limit: int | None = None) -> AsyncListing[ClockView]:
        """Clocks that are not deleted, newest first."""
        return AsyncListing(self._threads, self._part.list(limit=limit))

    async def advance(
        self,
        clock: ClockRef,
        to: datetime | None = None,
        *,
        by: str | timedelta | None = None,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
    ) -> ClockView:
        """Move a clock to an instant, or ahead by `days=31` or `by="31d"`. Once this returns,
        everything that fell due on the way is done, in due order.

        Raises InvalidRequest for an earlier instant, Conflict while it is on its way elsewhere.
        """
        return await self._threads.run(
            self._part.advance, clock, to, by=by, days=days, hours=hours, minutes=minutes,
        )  # fmt: skip

    async def delete(self, clock: ClockRef) -> ClockView:
        """Never move it again; its customers stay as they are."""
        return await self._threads.run(self._part.delete, clock)

    async def use(self, clock: ClockRef | None) -> None:
        """Put every customer that this object makes from now on on the clock; None: on none."""
        return await self._threads.run(self._part.use, clock)
