"""The library's front for clocks that are moved by hand: `pay.clocks`."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from paydesk.client_parts import CustomerRef, _as_is, _Part
from paydesk.errors import InvalidRequest
from paydesk.flows import clocks, customers
from paydesk.flows.clocks import ClockView
from paydesk.results import Listing
from paydesk.rules.durations import duration

#: A clock, or its id.
ClockRef = str | UUID | ClockView


class Clocks(_Part):
    """Clocks that are moved by hand, in the sandbox: whoever stands on one lives by it."""

    def create(self, at: datetime | None = None, *, name: str = "") -> ClockView:
        """A clock that stands at an instant, now unless told. Customers are put on it where they
        are made: `pay.customers.upsert("u1", clock=clock)`, or all by `use`."""
        return clocks.create(self._env, at=at, name=name)

    def get(self, clock: ClockRef) -> ClockView:
        """How a clock stands. Raises NotFound."""
        return clocks.get(self._env, clock)

    def of(self, customer: CustomerRef) -> ClockView | None:
        """The clock of a customer; None where it is everybody's."""
        return clocks.of_customer(self._env, customers.resolve(self._env, customer, create=False))

    def list(self, *, limit: int | None = None) -> Listing[ClockView]:
        """Clocks that are not deleted, newest first."""

        def page(last: ClockView | None, n: int) -> list[ClockView]:
            return clocks.list_(self._env, limit=n, after=last.uuid if last else None)

        return Listing(page, _as_is, limit)

    def advance(
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
        if isinstance(by, str):
            by = duration(by)
        more = timedelta(days=days, hours=hours, minutes=minutes)
        if by is not None and more:
            raise InvalidRequest("Give by, or days, hours and minutes.", param="by")
        if to is not None and more:
            raise InvalidRequest("Say where to, or by how much.", param="to")
        if to is None and by is None:
            by = more
        return clocks.advance(self._env, clock, to, by=by)

    def delete(self, clock: ClockRef) -> ClockView:
        """Never move it again; its customers stay as they are."""
        return clocks.delete(self._env, clock)

    def use(self, clock: ClockRef | None) -> None:
        """Put every customer that this object makes from now on on the clock; None: on none."""
        env = self._env
        env.hooks.clock_id = None if clock is None else clocks.get(env, clock).uuid
