"""Hears from every process: a customer has something new; a cache has something to forget."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg

from paydesk.cache import access_key
from paydesk.db.errors import DatabaseUnavailable
from paydesk.env import Env
from paydesk.flows.events import CACHE_CHANNEL, LIVE_CHANNEL
from paydesk.logger import get_logger

log = get_logger(__name__)

Callback = Callable[[UUID, int], None]

_TICK_S = 0.25
#: How long Redis has to confirm a subscription.
_CONFIRM_S = 2.0


class Listener:
    """One thread on the channel of hints. Callbacks run in it: they only hand on.

    The channel may lose hints: every `recheck_s` (every `poll_s` while the channel is down) the
    heads of the customers asked for are read as well, so every event is told of in the end.
    """

    def __init__(self, env: Env, *, poll_s: float = 1.0, recheck_s: float = 5.0) -> None:
        self.is_connected = False
        self.received = 0
        self._env = env
        self._poll_s = poll_s
        self._recheck_s = recheck_s
        self._callbacks: dict[UUID, list[Callback]] = {}
        self._told: dict[UUID, int] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def subscribe(self, customer_id: UUID, callback: Callback) -> Callable[[], None]:
        """Call `callback(customer_id, last number)` when there is something new.

        Subscribe first, read afterwards: then nothing falls in between. Answers the function
        that ends it.
        """
        with self._lock:
            self._callbacks.setdefault(customer_id, []).append(callback)
        self.start()

        def unsubscribe() -> None:
            with self._lock:
                left = self._callbacks.get(customer_id, [])
                with contextlib.suppress(ValueError):
                    left.remove(callback)
                if not left:
                    self._callbacks.pop(customer_id, None)
                    self._told.pop(customer_id, None)

        return unsubscribe

    def start(self) -> None:
        """Listen, if only for what caches forget. Nothing where it listens, or was closed."""
        with self._lock:
            if self._stop.is_set() or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._run, name="paydesk-listener", daemon=True)
            self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    def _run(self) -> None:
        while not self._stop.is_set():
            channel = self._connect()
            if channel is not None:
                self._env.cache.hear(True)
            self.is_connected = channel is not None
            try:
                self._listen(channel)
            except Exception as exc:  # The edge of a thread: a broken channel is opened anew.
                log.warning("the channel of hints broke", error=str(exc))
            finally:
                self.is_connected = False
                if channel is not None:
                    self._env.cache.hear(False)
                    with contextlib.suppress(Exception):
                        channel.close()

    def _connect(self) -> _Channel | None:
        try:
            if self._env.cache.redis is not None:
                return _RedisChannel(self._env.cache.redis.url)
            return _PostgresChannel(self._env.db.dsn)
        except Exception as exc:  # Whatever a driver raises when nobody answers.
            log.warning("the channel of hints cannot be opened", error=str(exc))
            return None

    def _listen(self, channel: _Channel | None) -> None:
        """Until the channel breaks; without one, for as long as it takes to try again."""
        next_check = 0.0
        until = time.monotonic() + 2 * self._poll_s if channel is None else float("inf")
        while not self._stop.is_set() and time.monotonic() < until:
            if time.monotonic() >= next_check:
                self._look()
                wait_s = self._recheck_s if channel is not None else self._poll_s
                next_check = time.monotonic() + wait_s
            if channel is None:
                self._stop.wait(_TICK_S)
                continue
            for name, payload in channel.receive(_TICK_S):
                if name in CACHE_CHANNEL.values():
                    self._env.cache.forget(*_keys(payload))
                    continue
                self.received += 1
                hints = _parse(payload)
                self._env.cache.forget(*(access_key(customer_id) for customer_id, _ in hints))
                for customer_id, seq in hints:
                    self._tell(customer_id, seq)

    def _look(self) -> None:
        with self._lock:
            wanted = list(self._callbacks)
        if not wanted:
            return
        try:
            with self._env.db.read() as tx:
                rows = tx.all(
                    "select customer_id, seq from heads where customer_id = any(%(wanted)s)",
                    {"wanted": wanted},
                )
        except (DatabaseUnavailable, psycopg.Error) as exc:
            log.warning("heads could not be read", error=str(exc))
            return
        for row in rows:
            self._tell(row["customer_id"], row["seq"])

    def _tell(self, customer_id: UUID, seq: int) -> None:
        with self._lock:
            callbacks = list(self._callbacks.get(customer_id, ()))
            if not callbacks or seq <= self._told.get(customer_id, -1):
                return
            self._told[customer_id] = seq
        for callback in callbacks:
            try:
                callback(customer_id, seq)
            except Exception:  # A stranger's code must not end the thread for the others.
                log.exception("a subscriber failed", customer_id=str(customer_id))


class _Channel:
    def receive(self, timeout_s: float) -> list[tuple[str, str]]:
        """(Channel, payload) that came within the time. Raises when the channel broke."""
        raise AssertionError("abstract")

    def close(self) -> None:
        raise AssertionError("abstract")


class _PostgresChannel(_Channel):
    def __init__(self, dsn: str) -> None:
        self._conn = psycopg.connect(
            dsn, autocommit=True, connect_timeout=5, application_name="paydesk listener",
            keepalives_idle=30, keepalives_interval=5, keepalives_count=3,
        )  # fmt: skip
        self._conn.execute("listen paydesk_live")
        self._conn.execute("listen paydesk_cache")

    def receive(self, timeout_s: float) -> list[tuple[str, str]]:
        found = self._conn.notifies(timeout=timeout_s, stop_after=1)
        return [(n.channel, n.payload) for n in found]

    def close(self) -> None:
        self._conn.close()


class _RedisChannel(_Channel):
    def __init__(self, url: str) -> None:
        import redis

        self._client = redis.Redis.from_url(
            url, socket_timeout=5.0, socket_connect_timeout=1.0, health_check_interval=10,
            decode_responses=True,
        )  # fmt: skip
        self._channel: Any = self._client.pubsub()
        wanted = (LIVE_CHANNEL["redis"], CACHE_CHANNEL["redis"])
        self._channel.subscribe(*wanted)
        for _ in wanted:  # Each is confirmed: only then is nothing missed.
            if self._channel.get_message(timeout=_CONFIRM_S) is None:
                raise TimeoutError("the channel was not confirmed")

    def receive(self, timeout_s: float) -> list[tuple[str, str]]:
        message = self._channel.get_message(timeout=timeout_s)
        if not message or message["type"] != "message":
            return []
        return [(message["channel"], message["data"])]

    def close(self) -> None:
        self._channel.close()
        self._client.close()


def _keys(payload: str) -> list[str]:
    try:
        found = json.loads(payload)
    except ValueError:
        return []
    return [key for key in found if isinstance(key, str)] if isinstance(found, list) else []


def _parse(payload: str) -> list[tuple[UUID, int]]:
    try:
        return [(UUID(hex=one), int(seq)) for one, seq in json.loads(payload)]
    except (ValueError, TypeError):
        log.warning("a hint cannot be read", payload=payload[:200])
        return []
