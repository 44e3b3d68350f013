"""A provider's circuit: so many calls at once, each with a deadline, and a rest when it is ill."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

from paydesk import telemetry
from paydesk.errors import OutcomeUnknown, ProviderUnavailable

#: So many failures in a row open the circuit.
FAILURES_TO_OPEN = 8
#: For so long nothing is sent; then one call tries.
REST_S = 5.0
#: Where a provider that asks to slow down does not say for how long: so long, then twice that.
SLOW_S, MOST_SLOW_S = 0.5, 8.0
#: So often a patient call is sent at most.
MOST_TRIES = 6
#: It is believed up to here.
MOST_RETRY_AFTER_S = 600
#: No HTTP date is longer than this.
MOST_DATE = 64

#: How long a call of this context may wait where the provider asks to slow down.
_patience: ContextVar[float] = ContextVar("paydesk_patience", default=0.0)


class AnswerUnclear(OutcomeUnknown):
    """The provider answered, but its answer does not tell: no sign that the provider is ill."""


class SlowDown(ProviderUnavailable):
    """The provider is asked too often (429): nothing happened, and it is not ill.

    `told_s`: how long it says to wait, None where it does not say.
    """

    def __init__(self, detail: str, told_s: int | None = None) -> None:
        super().__init__(detail, retry_after_s=max(1, told_s) if told_s is not None else 2)
        self.told_s = told_s

    @property
    def wait_s(self) -> int:
        """Whole seconds after which to come back."""
        return int(self.extra["retry_after_s"])


def told_s(headers: Mapping[str, str], now_s: float | None = None) -> int | None:
    """The seconds of an answer's Retry-After header, of 600 at most; None where it has none that
    can be read. A moment is reckoned from the answer's own Date, else from `now_s`, a Unix time:
    real time, also where a customer's clock is virtual. One that is past is 0."""
    given = {name.lower(): value.strip() for name, value in headers.items()}
    told = given.get("retry-after", "")
    if told.isascii() and told.isdigit():
        # Python refuses numbers of some thousand digits.
        return min(int(told.lstrip("0")[:9] or 0), MOST_RETRY_AFTER_S)
    until_s = _moment_s(told)
    if until_s is None:
        return None
    from_s = _moment_s(given.get("date", ""))
    if from_s is None:
        from_s = time.time() if now_s is None else now_s
    return int(min(max(0.0, math.ceil(until_s - from_s)), MOST_RETRY_AFTER_S))


def _moment_s(text: str) -> float | None:
    """An HTTP date in any of its three forms, as a Unix time."""
    if not text.isascii() or not 0 < len(text) <= MOST_DATE:
        return None
    try:
        found = parsedate_to_datetime(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


@contextmanager
def patient(seconds: float) -> Iterator[None]:
    """Let each call inside wait so long in all where its provider asks to slow down: for work that
    nobody waits for. Elsewhere whoever asks hears so at once."""
    before = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(before)


class Circuit:
    """At most `size` calls under way; a caller waits `timeout_s` at most, all in all.

    Time-outs and ProviderUnavailable count as failures. An open circuit answers at once. To be
    asked to slow down is no failure: patient callers wait, the others hear of it.
    """

    def __init__(self, name: str, *, size: int, timeout_s: float, rest_s: float = REST_S) -> None:
        self.name = name
        self._size = size
        self._timeout_s = timeout_s
        self.rest_s = rest_s
        #: How often the provider asked to slow down.
        self.slowed = 0
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._slots = threading.BoundedSemaphore(self._size)
        self._pool: ThreadPoolExecutor | None = None
        self._failures = 0
        self._open_until = 0.0
        self._trying = False
        self._slow_s = SLOW_S
        self._slow_until = 0.0

    @property
    def state(self) -> str:
        if self._failures < FAILURES_TO_OPEN:
            return "closed"
        return "open" if time.monotonic() < self._open_until else "trying"

    def call(self, method: Callable[..., Any], *args: Any) -> Any:
        """Run the method, sync or async, in a thread of its own.

        Raises ProviderUnavailable where nothing was sent, OutcomeUnknown past the deadline.
        """
        if not telemetry.is_on():
            return self._patiently(method, args)
        inner = method.func if isinstance(method, partial) else method
        done = getattr(inner, "__name__", "call")
        with telemetry.span(
            f"{self.name} {done}", kind="client", paydesk_provider=self.name,
            paydesk_operation=done,
        ):  # fmt: skip
            return self._patiently(method, args)

    def _patiently(self, method: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """The call, again and again while the provider asks to slow down and there is patience."""
        left_s = _patience.get()
        if left_s <= 0:
            return self._call(method, args)
        for _ in range(MOST_TRIES - 1):
            left_s = self._wait_for_speed(left_s)
            try:
                return self._call(method, args)
            except SlowDown:
                if self._slow_until - time.monotonic() > left_s:
                    raise
        self._wait_for_speed(left_s)
        return self._call(method, args)

    def _wait_for_speed(self, left_s: float) -> float:
        """Wait until the provider may be asked again; answers what patience is left."""
        wait_s = self._slow_until - time.monotonic()
        if wait_s <= 0:
            return left_s
        if wait_s > left_s:
            raise SlowDown(f"{self.name} asked us to slow down; nothing was sent.",
                           min(MOST_RETRY_AFTER_S, round(wait_s) + 1))  # fmt: skip
        # Those who wait do not come back at one time.
        wait_s = min(left_s, wait_s * (1 + random.random() / 2))
        time.sleep(wait_s)
        return left_s - wait_s

    def _call(self, method: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        deadline = time.monotonic() + self._timeout_s
        self._enter(deadline)
        try:
            answer = self._submit(method, args).result(max(0.0, deadline - time.monotonic()))
        except FutureTimeout:
            self._failed()
            raise OutcomeUnknown(
                f"{self.name} did not answer within {self._timeout_s:g} s.", retry_after_s=2
            ) from None
        except AnswerUnclear:
            self._worked()
            raise
        except SlowDown as exc:
            self._was_slowed(exc)
            raise
        except (ProviderUnavailable, OutcomeUnknown):
            self._failed()
            raise
        except BaseException:
            self._worked()  # It answered, if only to refuse.
            raise
        self._worked()
        return answer

    def close(self) -> None:
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _enter(self, deadline: float) -> None:
        with self._lock:
            if self._pid != os.getpid():  # A forked child has none of the parent's threads.
                self._reset()
            if self._failures >= FAILURES_TO_OPEN:
                wait_s = self._open_until - time.monotonic()
                if wait_s > 0 or self._trying:
                    raise ProviderUnavailable(
                        f"{self.name} is not answering; nothing was sent.",
                        retry_after_s=max(1, round(wait_s)),
                    )
                self._trying = True
        if not self._slots.acquire(timeout=max(0.0, deadline - time.monotonic())):
            with self._lock:
                self._trying = False
            raise ProviderUnavailable(
                f"Too many calls to {self.name} are under way; nothing was sent.", retry_after_s=2
            )

    def _submit(self, method: Callable[..., Any], args: tuple[Any, ...]) -> Future[Any]:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._size, f"paydesk-{self.name}")
            pool, slots = self._pool, self._slots
        context = contextvars.copy_context()

        def work() -> Any:
            try:
                answer = context.run(method, *args)
                return asyncio.run(_awaited(answer)) if inspect.isawaitable(answer) else answer
            finally:
                slots.release()  # Held until the call really ends, not until its caller gave up.

        try:
            return pool.submit(work)
        except RuntimeError as exc:
            slots.release()
            raise ProviderUnavailable("Paydesk is shutting down; nothing was sent.") from exc

    def _failed(self) -> None:
        with self._lock:
            self._failures += 1
            self._trying = False
            if self._failures >= FAILURES_TO_OPEN:
                self._open_until = time.monotonic() + self.rest_s

    def _worked(self) -> None:
        with self._lock:
            self._failures = 0
            self._trying = False
            if time.monotonic() >= self._slow_until:
                self._slow_s = SLOW_S

    def _was_slowed(self, asked: SlowDown) -> None:
        """It answered, if only to be left alone for a while. What it says counts; where it says
        nothing each time is twice the one before."""
        with self._lock:
            self._failures = 0
            self._trying = False
            self.slowed += 1
            now = time.monotonic()
            if asked.told_s:
                self._slow_until = max(self._slow_until, now + asked.told_s)
            elif now >= self._slow_until:  # Once for all that were under way.
                self._slow_until = now + self._slow_s
                self._slow_s = min(MOST_SLOW_S, 2 * self._slow_s)
        telemetry.count("paydesk.provider.slowed", 1, paydesk_provider=self.name)


async def _awaited(answer: Any) -> Any:
    return await answer
