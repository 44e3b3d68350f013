"""Group commit: calls that arrive while a group is in flight become the next group, one commit.

A lane is a thread with a connection of its own; a customer always has the same lane, so the order
per customer holds. A step is a function that works off many items in one transaction and answers
one verdict for each; it may answer BUSY (somebody else holds the customer) or SLOW (needs a
patient turn), and such items go on, first to the next groups, then to the waiting lane.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any
from uuid import UUID

from paydesk.db.lane import BUSY, SLOW, How, Kind, Lane, LoopSlot, Step, WaitingLane, Work
from paydesk.db.postgres import Database, in_transaction
from paydesk.errors import Unavailable

if TYPE_CHECKING:
    from paydesk.clock import Clock
    from paydesk.settings import Settings

__all__ = ["BUSY", "KINDS", "SLOW", "How", "Kind", "Lanes", "Step", "register"]

#: Every kind of work by name; the module that owns the step registers it.
KINDS: dict[str, Kind] = {}

#: Lanes of a parent process: kept, never closed, since closing would end the parent's sessions.
_inherited: list[object] = []


def register(
    name: str, step: Step, *, max_group: int = 256, is_one_call: bool = False
) -> Kind:
    """Make a kind of work known to all lanes."""
    KINDS[name] = kind = Kind(name, step, max_group, is_one_call)
    return kind


class Lanes:
    """The lanes of one process and database. Started on first use, keyed by process id.

    A queue holds about ten groups; beyond that, and beyond a quarter of it for one customer,
    `submit` raises Unavailable with `retry_after_s`: nothing was taken.
    """

    def __init__(
        self,
        db: Database,
        settings: Settings,
        clock: Clock,
        *,
        capacity: int = 2560,
        busy_tries: int = 3,
        busy_wait_s: float = 2.0,
        outage_s: float = 15.0,
    ) -> None:
        """`busy_wait_s` bounds the waiting lane's wait for a lock, `outage_s` the time that a
        group waits for a lost database before its callers are told."""
        self.db = db
        self.settings = settings
        self.clock = clock
        self.capacity = capacity
        self.busy_tries = busy_tries
        self.busy_wait_s = busy_wait_s
        self.outage_s = outage_s
        self._reset()

    def submit(self, kind: str, key: UUID, item: Any) -> Future[Any]:
        """Queue an item of a customer. The future has its verdict once it is committed."""
        future: Future[Any] = Future()
        self._lane_for(key).put((Work(KINDS[kind], key, item, future),))
        return future

    def submit_to_loop(self, kind: str, key: UUID, item: Any) -> asyncio.Future[Any]:
        """The same for the running event loop, which is woken once for a whole group."""
        slot = LoopSlot(asyncio.get_running_loop())
        self._lane_for(key).put((Work(KINDS[kind], key, item, slot),))
        return slot.future

    def submit_many(self, kind: str, items: Iterable[tuple[UUID, Any]]) -> Future[list[Any]]:
        """Queue many items of any customers; the future has all verdicts in order, with an
        exception in the place of an item that failed. All are taken or none."""
        pairs = list(items)
        bundle = _Bundle(len(pairs))
        found = KINDS[kind]
        parts: dict[Lane, list[Work]] = {}
        for index, (key, item) in enumerate(pairs):
            work = Work(found, key, item, _BundleSlot(bundle, index))
            parts.setdefault(self._lane_for(key), []).append(work)
        for lane, part in parts.items():
            lane.check_room(part)
        for lane, part in parts.items():
            lane.put(part, is_checked=True)
        return bundle.future

    def close(self, timeout_s: float = 30.0) -> None:
        """Take nothing more, work off what is queued, end threads and connections."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._is_closed = True
            lanes, waiting = list(self._lanes), self._waiting
        until = time.monotonic() + timeout_s
        for lane in lanes:
            lane.stop()
        for lane in lanes:
            lane.join(max(0.1, until - time.monotonic()))
        if waiting is not None:
            waiting.stop()
            waiting.join(max(0.1, until - time.monotonic()))

    @property
    def depth(self) -> int:
        """Items queued now, for readiness and tests."""
        return sum(lane.depth for lane in self._lanes)

    @property
    def waiting(self) -> WaitingLane:
        """The one lane that waits for locks."""
        assert self._waiting is not None, "lanes are started together"
        return self._waiting

    def _lane_for(self, key: UUID) -> Lane:
        if self._pid != os.getpid():
            _inherited.append((self._lanes, self._waiting))
            self._reset()
        if in_transaction():
            raise RuntimeError(
                "a lane commits by itself: inside a transaction call the step directly"
            )
        if self._is_closed:
            raise Unavailable("This process is shutting down.", retry_after_s=1)
        if not self._lanes:
            self._start()
        # These bits of an id are its customer's tag, which is random.
        return self._lanes[(key.int >> 34) % len(self._lanes)]

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._lanes: list[Lane] = []
        self._waiting: WaitingLane | None = None
        self._is_closed = False

    def _start(self) -> None:
        with self._lock:
            if not self._lanes:
                self._waiting = WaitingLane(self, "waiting lane")
                self._lanes = [Lane(self, f"lane {n}") for n in range(self.settings.lanes)]


class _Bundle:
    """Many items that one caller waits for together."""

    def __init__(self, size: int) -> None:
        self.future: Future[list[Any]] = Future()
        self.future.set_running_or_notify_cancel()
        self._answers: list[Any] = [None] * size
        self._left = size
        self._lock = threading.Lock()
        if not size:
            self.future.set_result([])

    def put(self, index: int, answer: Any) -> None:
        self._answers[index] = answer
        with self._lock:
            self._left -= 1
            is_last = self._left == 0
        if is_last:
            self.future.set_result(self._answers)


class _BundleSlot:
    """One item's place in a bundle; what a Future is for a single item."""

    __slots__ = ("bundle", "index")

    def __init__(self, bundle: _Bundle, index: int) -> None:
        self.bundle = bundle
        self.index = index

    def set_running_or_notify_cancel(self) -> bool:
        return True

    def set_result(self, value: Any) -> None:
        self.bundle.put(self.index, value)

    def set_exception(self, error: BaseException) -> None:
        self.bundle.put(self.index, error)
