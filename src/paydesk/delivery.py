"""Runs an application's handlers: what `pay.on(...)` registered, from the outbox, in a thread."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from paydesk import ids
from paydesk.env import Env
from paydesk.errors import NotFound
from paydesk.flows import events, handlers, payments
from paydesk.flows.event_types import TYPES
from paydesk.logger import get_logger
from paydesk.results import Event, Payment

log = get_logger(__name__)

Handler = TypeVar("Handler", bound=Callable[[Event], Any])

SINK = "handlers"
_EVERY_S = 0.5
#: How long a handler that runs in the application's event loop may take.
_HANDLER_TIMEOUT_S = 50.0


class Delivery:
    """Handlers by type of event. Each event is handed on at least once, a customer's in order.

    A handler that fails is tried again later with that event; all of the event's handlers run
    again then, so they drop repetitions by `event.id`.
    """

    def __init__(self, env: Callable[[], Env]) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._env = env
        self._handlers: dict[str, list[Callable[[Event], Any]]] = {}
        self._is_registered = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def on(self, *types: str) -> Callable[[Handler], Handler]:
        """Decorator: call this function with every event of these types; `*` is every type."""
        for one in types:
            if one != "*" and one not in TYPES:
                raise ValueError(f"{one!r} is no type of event: {', '.join(TYPES)}")

        def add(handler: Handler) -> Handler:
            for one in types:
                self._handlers.setdefault(one, []).append(handler)
            return handler

        return add

    @property
    def has_handlers(self) -> bool:
        return bool(self._handlers)

    def register(self) -> None:
        """Take a place in the outbox, from now on, once there is a handler."""
        if self._handlers and not self._is_registered:
            handlers.register(self._env(), SINK)
            self._is_registered = True

    def run_once(self) -> int:
        """Publish what is new and hand on what is due; answers how many events went well."""
        env = self._env()
        self.register()
        events.publish(env)
        return handlers.drain(env, SINK, self._handle) if self._handlers else 0

    def start(self) -> None:
        """Do so twice a second in a thread, until `stop`."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._stop.clear()
                self.register()
                self._thread = threading.Thread(
                    target=self._run, name="paydesk-handlers", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=5.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.run_once()
            except Exception:  # The edge of a thread: the database may be away for a while.
                log.exception("events were not handed on")
            self._stop.wait(_EVERY_S)

    def _handle(self, stored: events.Event) -> None:
        wanted = self._handlers.get(stored.type, []) + self._handlers.get("*", [])
        if not wanted:
            return
        event = Event.of(stored, self._payment(stored))
        for handler in wanted:
            self._call(handler, event)

    def _call(self, handler: Callable[[Event], Any], event: Event) -> None:
        """A coroutine runs in the application's loop where there is one, else in one of its own."""
        if not inspect.iscoroutinefunction(handler):
            handler(event)
        elif self.loop is not None and self.loop.is_running():
            running = asyncio.run_coroutine_threadsafe(handler(event), self.loop)
            running.result(_HANDLER_TIMEOUT_S)
        else:
            asyncio.run(handler(event))

    def _payment(self, stored: events.Event) -> Payment | None:
        named = stored.data.get("payment")
        if stored.type in TYPES and TYPES[stored.type].subject == "payment":
            named = ids.show("payment", stored.subject_id)
        if not isinstance(named, str):
            return None
        try:
            return Payment.of(payments.get(self._env(), stored.customer_id, named))
        except NotFound:
            return None
