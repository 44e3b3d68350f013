"""One lane of group commit: a thread, a connection, and what happens when either fails."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

import psycopg
from prometheus_client import Histogram
from psycopg import errors
from psycopg.pq import TransactionStatus

from paydesk import crash, telemetry
from paydesk.db.postgres import CommitUnknown, DatabaseUnavailable, Tx, marked
from paydesk.errors import Busy, Unavailable

if TYPE_CHECKING:
    from paydesk.db.group_commit import Lanes
    from paydesk.settings import Settings

log = logging.getLogger("paydesk.lanes")

#: Somebody else held what the group needed; the group was rolled back and may simply run again.
_COLLISIONS = (errors.DeadlockDetected, errors.SerializationFailure)
_COLLISION_TRIES = 5


class _Later:
    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


#: Verdict of a step: the customer's head is locked elsewhere, nothing happened to the item.
BUSY = _Later("BUSY")
#: Verdict of a step: the item needs the waiting lane's patience; what was done meanwhile stays.
SLOW = _Later("SLOW")

GROUP_SIZE = Histogram(
    "paydesk_group_size", "Items committed together.", ["kind"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)  # fmt: skip
COMMIT_SECONDS = Histogram(
    "paydesk_group_seconds", "Seconds from taking a group to its commit.", ["kind"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class How:
    """How a step is to run. `wait`: wait for locked customers; `again`: the items may have been
    done already, by a group whose outcome is not known."""

    now: datetime
    settings: Settings
    wait: bool
    again: bool


class Step(Protocol):
    def __call__(self, tx: Tx, items: Sequence[Any], how: How) -> Sequence[Any]: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """What lanes can do: a step, and how many items it takes at once.

    `is_one_call`: each statement of the step is whole by itself and may be its own transaction,
    which saves two round trips a group.
    """

    name: str
    step: Step
    max_group: int = 256
    is_one_call: bool = False


class Work:
    """One item on its way. `sink` is a Future, or anything with the same three methods."""

    __slots__ = ("is_taken", "item", "key", "kind", "sink", "tries")

    def __init__(self, kind: Kind, key: UUID, item: Any, sink: Any) -> None:
        self.kind = kind
        self.key = key
        self.item = item
        self.sink = sink
        self.tries = 0
        self.is_taken = False


class LoopSlot:
    """Where an awaiting coroutine gets its answer; the lane calls the loop once per group."""

    __slots__ = ("future", "loop", "outcome")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.outcome: tuple[Any, BaseException | None] | None = None

    def set_running_or_notify_cancel(self) -> bool:
        return not self.future.cancelled()

    def set_result(self, value: Any) -> None:
        self.outcome = (value, None)

    def set_exception(self, error: BaseException) -> None:
        self.outcome = (None, error)

    def deliver(self) -> None:
        if self.future.done() or self.outcome is None:
            return
        value, error = self.outcome
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(value)


class Lane:
    """A queue for each kind of work, and one thread that commits groups from their heads."""

    def __init__(self, owner: Lanes, name: str) -> None:
        self._owner = owner
        self._changed = threading.Condition(threading.Lock())
        self._queues: dict[str, deque[Work]] = {}
        self._per_key: dict[UUID, int] = {}
        self.depth = 0
        self._is_idle = False
        self._is_stopping = False
        self._conn: psycopg.Connection[Any] | None = None
        self._thread = threading.Thread(target=self._run, name=f"paydesk {name}", daemon=True)
        self._thread.start()

    def put(self, works: Sequence[Work], *, is_checked: bool = False) -> None:
        """Queue items, in order. Raises Unavailable when there is no room: none was taken."""
        with self._changed:
            if self._is_stopping:
                raise Unavailable("This process is shutting down.", retry_after_s=1)
            if not is_checked:
                self._check_room(works)
            for work in works:
                self._add(work)
            if self._is_idle:
                self._changed.notify()

    def check_room(self, works: Sequence[Work]) -> None:
        """Raises Unavailable where `put` would."""
        with self._changed:
            self._check_room(works)

    def stop(self) -> None:
        """Take nothing more; the thread ends when the queue is empty."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _check_room(self, works: Sequence[Work]) -> None:
        capacity = self._owner.capacity
        if self.depth + len(works) > capacity:
            raise Unavailable("Too much is waiting to be committed.", retry_after_s=1)
        full = capacity // 4
        if any(self._per_key.get(work.key, 0) >= full for work in works):
            raise Unavailable("Too much is waiting for this customer.", retry_after_s=1)

    def _add(self, work: Work, *, in_front: bool = False) -> None:
        queue = self._queues.get(work.kind.name)
        if queue is None:
            queue = self._queues[work.kind.name] = deque()
        if in_front:
            queue.appendleft(work)
        else:
            queue.append(work)
        self._per_key[work.key] = self._per_key.get(work.key, 0) + 1
        self.depth += 1

    def _remove(self, work: Work) -> None:
        self.depth -= 1
        left = self._per_key[work.key] - 1
        if left:
            self._per_key[work.key] = left
        else:
            del self._per_key[work.key]

    def _run(self) -> None:
        try:
            while (group := self._take()) is not None:
                if group:
                    self._work_off(group)
        finally:
            self._drop()

    def _take(self) -> list[Work] | None:
        """The next group, all of one kind; None when the lane has stopped and is empty."""
        with self._changed:
            while not self.depth:
                if self._is_stopping:
                    return None
                self._is_idle = True
                self._changed.wait()
                self._is_idle = False
            group = self._pick()
        return [work for work in group if self._starts(work)]

    def _pick(self) -> list[Work]:
        name = next(name for name, queue in self._queues.items() if queue)
        queue = self._queues.pop(name)
        self._queues[name] = queue  # The other kinds come first next time.
        group = [queue.popleft() for _ in range(min(len(queue), queue[0].kind.max_group))]
        for work in group:
            self._remove(work)
        return group

    def _starts(self, work: Work) -> bool:
        if work.is_taken:
            return True
        work.is_taken = True
        if not work.sink.set_running_or_notify_cancel():
            return False
        # Items of a customer that waits elsewhere must not overtake.
        return not (self._owner.waiting.is_busy and self._owner.waiting.follow(work))

    def _work_off(self, group: list[Work]) -> None:
        kind = group[0].kind
        began = time.perf_counter()
        done, later = self._outcomes(kind, group, wait=False)
        COMMIT_SECONDS.labels(kind.name).observe(time.perf_counter() - began)
        GROUP_SIZE.labels(kind.name).observe(len(group))
        if later:
            self._put_off(later)
        deliver(done)

    def _put_off(self, later: list[tuple[Work, Any]]) -> None:
        """Busy items join the next group; after some tries, and slow ones, the waiting lane."""
        patient: set[UUID] = set()
        back: list[Work] = []
        for work, verdict in later:
            work.tries += 1
            if verdict is SLOW or work.tries >= self._owner.busy_tries or work.key in patient:
                patient.add(work.key)
                try:
                    self._owner.waiting.put((work,), is_checked=True)
                except Exception as exc:  # It has stopped: the caller hears of it, nobody waits.
                    deliver([(work, None, exc)])
            else:
                back.append(work)
        with self._changed:
            for work in reversed(back):
                self._add(work, in_front=True)

    def _outcomes(
        self, kind: Kind, group: list[Work], *, wait: bool
    ) -> tuple[list[tuple[Work, Any, BaseException | None]], list[tuple[Work, Any]]]:
        """Run a group; where it fails as a whole, its halves, down to the item at fault."""
        try:
            verdicts = self._commit(kind, [work.item for work in group], wait=wait)
        except Unavailable as exc:
            return [(work, None, exc) for work in group], []
        except Exception as exc:
            if len(group) == 1:
                return [(group[0], None, exc)], []
            middle = len(group) // 2
            first, first_later = self._outcomes(kind, group[:middle], wait=wait)
            second, second_later = self._outcomes(kind, group[middle:], wait=wait)
            return first + second, first_later + second_later
        except BaseException as exc:  # A crash point: the callers learn nothing but this.
            self._drop()
            return [(work, None, exc) for work in group], []
        done: list[tuple[Work, Any, BaseException | None]] = []
        later: list[tuple[Work, Any]] = []
        for work, verdict in zip(group, verdicts, strict=True):
            if verdict is BUSY or verdict is SLOW:
                later.append((work, verdict))
            else:
                done.append((work, verdict, None))
        return done, later

    def _commit(self, kind: Kind, items: list[Any], *, wait: bool) -> Sequence[Any]:
        """One transaction. After a lost connection the same items go again, until the outage is
        too long: then CommitUnknown if a commit was under way, else DatabaseUnavailable."""
        until = time.monotonic() + self._owner.outage_s
        again = is_unknown = False
        collisions, pause_s = 0, 0.02
        while True:
            stage = ["connect"]
            try:
                with telemetry.span(
                    "group commit", paydesk_group_kind=kind.name, paydesk_group_size=len(items)
                ):
                    return self._transact(kind, items, wait=wait, again=again, stage=stage)
            except errors.LockNotAvailable as exc:
                self._roll_back()
                raise Busy("Another operation holds this account; nothing happened.") from exc
            except _COLLISIONS:
                self._roll_back()
                collisions += 1
                if collisions >= _COLLISION_TRIES:
                    raise
            except (psycopg.OperationalError, DatabaseUnavailable) as exc:
                if stage[0] != "connect" and self._conn is not None and not self._conn.closed:
                    self._roll_back()
                    raise
                self._drop()
                again = again or stage[0] != "connect"
                is_unknown = is_unknown or stage[0] == "commit"
                if time.monotonic() > until:
                    raise _gave_up(exc, is_unknown=is_unknown) from exc
                log.warning("lane lost its connection, trying again: %s", exc)
            except BaseException:
                self._roll_back()
                raise
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.5)

    def _transact(
        self, kind: Kind, items: list[Any], *, wait: bool, again: bool, stage: list[str]
    ) -> Sequence[Any]:
        conn = self._connected()
        stage[0] = "step"
        how = How(self._owner.clock.now(), self._owner.settings, wait, again)
        crash.at(f"{kind.name}_before_step")
        if kind.is_one_call and not crash.armed():
            stage[0] = "commit"
            with marked(Tx(conn)) as tx:
                return kind.step(tx, items, how)
        conn.execute("begin isolation level read committed")
        with marked(Tx(conn)) as tx:
            verdicts = kind.step(tx, items, how)
            crash.at(f"{kind.name}_before_commit")
            stage[0] = "commit"
            conn.execute("commit")
        crash.at(f"{kind.name}_after_commit")
        return verdicts

    def _connected(self) -> psycopg.Connection[Any]:
        if self._conn is None or self._conn.closed:
            self._conn = self._owner.db.connect(lock_timeout_s=self._owner.busy_wait_s)
        return self._conn

    def _roll_back(self) -> None:
        conn = self._conn
        if conn is None or conn.closed:
            return
        if conn.info.transaction_status == TransactionStatus.ACTIVE:
            self._drop()
        elif conn.info.transaction_status != TransactionStatus.IDLE:
            with contextlib.suppress(psycopg.Error):
                conn.execute("rollback")

    def _drop(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            with contextlib.suppress(psycopg.Error):
                conn.close()


class WaitingLane(Lane):
    """The patient lane: one customer at a time, waiting for its lock a stated while."""

    @property
    def is_busy(self) -> bool:
        """Whether any customer waits here; a quick look without the lock."""
        return bool(self._per_key)

    def follow(self, work: Work) -> bool:
        """Queue here behind items of the same customer, if there are any. Says whether."""
        with self._changed:
            if work.key not in self._per_key:
                return False
            self._add(work)
            if self._is_idle:
                self._changed.notify()
            return True

    def _pick(self) -> list[Work]:
        """All waiting items of the first customer; they stay counted until they are done, so that
        later ones follow them here."""
        name = next(name for name, queue in self._queues.items() if queue)
        queue = self._queues[name]
        key = queue[0].key
        group = [work for work in queue if work.key == key][: queue[0].kind.max_group]
        chosen = set(map(id, group))
        self._queues[name] = deque(work for work in queue if id(work) not in chosen)
        self.depth -= len(group)
        return group

    def _starts(self, work: Work) -> bool:
        return True

    def _work_off(self, group: list[Work]) -> None:
        done, later = self._outcomes(group[0].kind, group, wait=True)
        deliver(done)
        with self._changed:
            self.depth += len(group)
            for work in group:
                self._remove(work)
            for work, _ in reversed(later):
                self._add(work, in_front=True)


def deliver(done: Sequence[tuple[Work, Any, BaseException | None]]) -> None:
    """Tell the callers, each event loop with one call for the group."""
    loops: dict[asyncio.AbstractEventLoop, list[LoopSlot]] = {}
    for work, value, error in done:
        sink = work.sink
        if error is not None:
            sink.set_exception(error)
        else:
            sink.set_result(value)
        if type(sink) is LoopSlot:
            loops.setdefault(sink.loop, []).append(sink)
    for loop, slots in loops.items():
        _wake(loop, slots)


def _wake(loop: asyncio.AbstractEventLoop, slots: list[LoopSlot]) -> None:
    def tell() -> None:
        for slot in slots:
            slot.deliver()

    # A loop that was closed meanwhile has nobody waiting any more.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(tell)


def _gave_up(exc: Exception, *, is_unknown: bool) -> Unavailable:
    if is_unknown:
        return CommitUnknown(
            "The database went away during the commit; repeat with the same key.", retry_after_s=2
        )
    return DatabaseUnavailable(
        f"The database cannot be reached; nothing happened: {str(exc).strip()}", retry_after_s=2
    )
