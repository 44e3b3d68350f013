"""A clock for tests of applications: moving it does what falls due in the desk that goes by it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from paydesk.clock import FixedClock

if TYPE_CHECKING:
    from paydesk import Paydesk
    from paydesk.flows.clocks import ClockView


class DeskClock(FixedClock):
    """Stands until it is moved. With a desk, never back."""

    def __init__(self, at: datetime) -> None:
        super().__init__(at)
        self._desk: Paydesk | None = None
        self._clock: ClockView | None = None

    def move_with_it(self, desk: Paydesk) -> None:
        """From now on this desk's new customers stand on this clock."""
        self._desk, self._clock = desk, desk.clocks.create(self.now(), name="the test's")
        desk.clocks.use(self._clock)

    def advance(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> datetime:
        """Move forward by this much, and do on the way what falls due, in due order."""
        self.set(self.now() + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds))
        return self.now()

    def set(self, at: datetime) -> None:
        """Move to an instant. Raises InvalidRequest for an earlier one, with a desk."""
        if self._desk is not None and self._clock is not None:
            self._desk.clocks.advance(self._clock, at)
        super().set(at)
