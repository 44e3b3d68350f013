"""The one clock: every decision takes its `now` from here, never from the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The present as an aware UTC datetime."""
        ...


class SystemClock:
    """Monotonic time plus an offset against the database's clock, measured anew each minute.

    A step of the machine's wall clock does not move it; `heads.last_at` makes skew harmless.
    """

    def __init__(self, *, measure_every_s: float = 60.0) -> None:
        self._base_s = time.time() - time.monotonic()
        self._measure_every_s = measure_every_s
        self._measured_at: float | None = None

    def now(self) -> datetime:
        return datetime.fromtimestamp(time.monotonic() + self._base_s, UTC)

    def measure(self, database_now: Callable[[], datetime]) -> None:
        """Set the offset from the database when the last measurement is old. Never raises."""
        mono = time.monotonic()
        if self._measured_at is not None and mono - self._measured_at < self._measure_every_s:
            return
        before = time.monotonic()
        there = database_now()
        middle = (before + time.monotonic()) / 2
        self._base_s = there.timestamp() - middle
        self._measured_at = mono


class FixedClock:
    """Stands until it is moved; for tests and demonstrations."""

    def __init__(self, at: datetime | None = None) -> None:
        self._at = at or datetime(2026, 1, 15, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self._at

    def advance(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0):
        """Move forward by this much; a negative sum moves back."""
        self._at += timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        return self._at

    def set(self, at: datetime) -> None:
        self._at = at
