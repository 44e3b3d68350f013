"""Small groups for the event loop: what arrives while a group is in flight is the next group."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

from paydesk.errors import Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Threads that run `step(items) -> answers` for all that waits, without any timer.

    Answers stand in the order of the items. A step that raises fails its whole group. The loop
    is told of a group by one call. With one thread, groups follow each other.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[Sequence[Item]], Sequence[Answer]],
        *,
        max_group: int = 256,
        max_waiting: int = 4096,
        threads: int = 1,
    ) -> None:
        self._name = name
        self._step = step
        self._max_group = max_group
        self._max_waiting = max_waiting
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._wake = threading.Condition()
        self._most_threads = threads
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closed = False

    async def ask(self, item: Item, *, timeout_s: float = 2.0) -> Answer:
        """The step's answer for this item. Raises Unavailable when too much waits already, and
        TimeoutError."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        with self._wake:
            if self._closed or len(self._waiting) >= self._max_waiting:
                raise Unavailable("Too many requests are waiting; nothing happened.")
            self._waiting.append((item, future))
            if not self._idle and len(self._threads) < self._most_threads:
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._threads.append(thread)
                thread.start()
            self._wake.notify()
        async with asyncio.timeout(timeout_s):
            return await future

    def close(self) -> None:
        """Serve what waits, then end the threads."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join(timeout=5)

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting:
                    if self._closed:
                        return
                    self._idle += 1
                    self._wake.wait()
                    self._idle -= 1
                count = min(len(self._waiting), self._max_group)
                group = [self._waiting.popleft() for _ in range(count)]
            try:
                answers: Sequence[Any] = self._step([item for item, _ in group])
                outcomes = [(f, a, None) for (_, f), a in zip(group, answers, strict=True)]
            except Exception as exc:  # The askers are the edge: each of them gets it.
                outcomes = [(f, None, exc) for _, f in group]
            _tell(outcomes)


def _tell(outcomes: list[tuple[asyncio.Future[Any], Any, Exception | None]]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[Any]] = {}
    for outcome in outcomes:
        by_loop.setdefault(outcome[0].get_loop(), []).append(outcome)
    for loop, mine in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, mine)


def _settle(outcomes: list[tuple[asyncio.Future[Any], Any, Exception | None]]) -> None:
    for future, value, error in outcomes:
        if future.done():
            continue
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)


class Bridge:
    """Awaits `concurrent.futures.Future`s; a group that is done wakes the loop once."""

    def __init__(self) -> None:
        self._done: deque[tuple[Future[Any], asyncio.Future[Any]]] = deque()
        self._lock = threading.Lock()
        self._is_called = False

    async def wait(self, future: Future[Any]) -> Any:
        """The future's result. Cancelling the waiter does not undo what it waits for."""
        if future.done():
            return future.result()
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[Any] = loop.create_future()

        def on_done(done: Future[Any]) -> None:
            with self._lock:
                self._done.append((done, mine))
                if self._is_called:
                    return
                self._is_called = True
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._collect)

        future.add_done_callback(on_done)
        return await mine

    def _collect(self) -> None:
        with self._lock:
            self._is_called = False
            done = list(self._done)
            self._done.clear()
        for future, mine in done:
            if mine.done():
                continue
            error = future.exception()
            if error is None:
                mine.set_result(future.result())
            else:
                mine.set_exception(error)
