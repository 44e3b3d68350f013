"""A provider's circuit: so many calls at once, each with a deadline, and a rest when it is ill."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from functools import partial
from typing import Any

from paydesk import telemetry
from paydesk.errors import OutcomeUnknown, ProviderUnavailable

#: So many failures in a row open the circuit.
FAILURES_TO_OPEN = 8
#: For so long nothing is sent; then one call tries.
REST_S = 5.0


class AnswerUnclear(OutcomeUnknown):
    """The provider answered, but its answer does not tell: no sign that the provider is ill."""


class Circuit:
    """At most `size` calls under way; a caller waits `timeout_s` at most, all in all.

    Time-outs and ProviderUnavailable count as failures. An open circuit answers at once.
    """

    def __init__(self, name: str, *, size: int, timeout_s: float, rest_s: float = REST_S) -> None:
        self.name = name
        self._size = size
        self._timeout_s = timeout_s
        self.rest_s = rest_s
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._slots = threading.BoundedSemaphore(self._size)
        self._pool: ThreadPoolExecutor | None = None
        self._failures = 0
        self._open_until = 0.0
        self._trying = False

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
            return self._call(method, args)
        inner = method.func if isinstance(method, partial) else method
        done = getattr(inner, "__name__", "call")
        with telemetry.span(
            f"{self.name} {done}", kind="client", paydesk_provider=self.name,
            paydesk_operation=done,
        ):  # fmt: skip
            return self._call(method, args)

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


async def _awaited(answer: Any) -> Any:
    return await answer
