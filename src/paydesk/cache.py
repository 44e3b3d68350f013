"""A small cache of things that may be seconds old: in the process, and in Redis where there is one.

No decision about money reads it. Redis holds no truth: down, slow or flushed, only speed and the
delay of a push change.
"""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from uuid import UUID

from paydesk.logger import get_logger

log = get_logger(__name__)

#: Keys in Redis begin with this.
_PREFIX = "paydesk:cache:"
#: Redis gets this long for an answer, and after a failure that long in peace.
_TIMEOUT_S = 0.5
_PEACE_S = 5.0


def access_key(customer_id: UUID) -> str:
    """Under which a customer's access is kept."""
    return f"access:{customer_id.hex}"


def subscription_key(customer_id: UUID) -> str:
    """Under which a customer's subscriptions are kept."""
    return f"subscriptions:{customer_id.hex}"


class Redis:
    """A connection that never raises: after a failure it is left in peace for some seconds."""

    def __init__(self, url: str) -> None:
        import redis

        self.url = url
        self._client = redis.Redis.from_url(
            url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S,
            decode_responses=True,
        )  # fmt: skip
        self._down_until = 0.0

    @property
    def is_down(self) -> bool:
        return time.monotonic() < self._down_until

    def get(self, key: str) -> str | None:
        return self._try(lambda: self._client.get(key))

    def set(self, key: str, value: str, ttl_s: float) -> None:
        self._try(lambda: self._client.set(key, value, px=max(1, int(ttl_s * 1000))))

    def delete(self, *keys: str) -> None:
        self._try(lambda: self._client.delete(*keys))

    def publish(self, channel: str, payload: str) -> bool:
        """Whether Redis took the message."""
        return self._try(lambda: self._client.publish(channel, payload)) is not None

    def close(self) -> None:
        self._client.close()

    def _try(self, call: Callable[[], Any]) -> Any:
        import redis

        if self.is_down:
            return None
        try:
            return call()
        except (redis.RedisError, OSError) as exc:
            self._down_until = time.monotonic() + _PEACE_S
            log.warning("redis does not answer", error=str(exc), peace_s=_PEACE_S)
            return None


class Cache:
    """Values that JSON can hold, kept for seconds.

    A value read while its key was being dropped is not kept, so that a change made in this
    process is seen by it at once.
    """

    def __init__(self, redis_url: str = "", *, size: int = 10_000) -> None:
        self.redis = Redis(redis_url) if redis_url else None
        self._size = size
        self._kept: OrderedDict[str, tuple[float, Any]] = OrderedDict()
        self._lock = threading.Lock()
        #: Reads under way by their key; whoever drops the key takes it away.
        self._loads: dict[str, set[object]] = {}
        self._hearing = 0
        #: Starts this process's listener, where it has one.
        self.listen: Callable[[], None] | None = None

    @property
    def is_hearing(self) -> bool:
        """Whether a listener of this process has an open channel, on which the others say what
        to forget. Whoever asks first has it started."""
        if not self._hearing and self.listen is not None:
            self.listen()
        return self._hearing > 0

    def read(
        self, key: str, load: Callable[[], Any], *, ttl_s: float = 5.0, shared: bool = True
    ) -> Any:
        """The kept value, or that of `load()`; at most `ttl_s` old, counted from before it was
        read, twice that with Redis. Not `shared`: kept in this process only, of any type."""
        began, mine = time.monotonic(), object()
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and kept[0] > began:
                return kept[1]
            self._loads.setdefault(key, set()).add(mine)
        try:
            value = self._from_redis(key) if shared else None
            if value is None:
                value = load()
                if shared and self.redis is not None and mine in self._loads.get(key, ()):
                    self.redis.set(_PREFIX + key, json.dumps(value), ttl_s)
            with self._lock:
                if mine in self._loads.get(key, ()):
                    self._keep(key, value, began + ttl_s)
            return value
        finally:
            with self._lock:
                loads = self._loads.get(key, set())
                loads.discard(mine)
                if not loads:
                    self._loads.pop(key, None)

    def keep(self, key: str, value: Any, *, ttl_s: float) -> None:
        """Keep in this process only; for what never changes."""
        with self._lock:
            self._keep(key, value, time.monotonic() + ttl_s)

    def peek(self, key: str) -> Any:
        """What this process keeps, or None."""
        kept = self._kept.get(key)
        return kept[1] if kept is not None and kept[0] > time.monotonic() else None

    def drop(self, *keys: str) -> None:
        """Forget here and in Redis. Other processes are told by the caller, or wait the seconds."""
        self.forget(*keys)
        if self.redis is not None:
            self.redis.delete(*(_PREFIX + key for key in keys))

    def forget(self, *keys: str) -> None:
        """Forget in this process only."""
        with self._lock:
            for key in keys:
                self._loads.pop(key, None)
                self._kept.pop(key, None)

    def hear(self, is_hearing: bool) -> None:
        """A listener's channel opened or broke. What is kept was missed on, so all is dropped."""
        with self._lock:
            self._hearing += 1 if is_hearing else -1
            self._loads.clear()
            self._kept.clear()

    def close(self) -> None:
        if self.redis is not None:
            self.redis.close()

    def _keep(self, key: str, value: Any, until: float) -> None:
        self._kept[key] = (until, value)
        self._kept.move_to_end(key)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def _from_redis(self, key: str) -> Any:
        text = self.redis.get(_PREFIX + key) if self.redis is not None else None
        if text is None:
            return None
        try:
            return json.loads(text)
        except ValueError:
            return None
