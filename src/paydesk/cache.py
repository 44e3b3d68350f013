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

import structlog

log = structlog.get_logger(__name__)

#: Keys in Redis begin with this.
_PREFIX = "paydesk:cache:"
#: Redis gets this long for an answer, and after a failure that long in peace.
_TIMEOUT_S = 0.5
_PEACE_S = 5.0


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
        self._drops = 0

    def read(self, key: str, load: Callable[[], Any], *, ttl_s: float = 5.0) -> Any:
        """The kept value, or that of `load()`; at most `ttl_s` old, twice that with Redis."""
        with self._lock:
            kept = self._kept.get(key)
            drops = self._drops
        if kept is not None and kept[0] > time.monotonic():
            return kept[1]
        value = self._from_redis(key)
        if value is None:
            value = load()
            if self.redis is not None and self._drops == drops:
                self.redis.set(_PREFIX + key, json.dumps(value), ttl_s)
        with self._lock:
            if self._drops == drops:
                self._keep(key, value, ttl_s)
        return value

    def keep(self, key: str, value: Any, *, ttl_s: float) -> None:
        """Keep in this process only; for what never changes."""
        with self._lock:
            self._keep(key, value, ttl_s)

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
            self._drops += 1
            for key in keys:
                self._kept.pop(key, None)

    def close(self) -> None:
        if self.redis is not None:
            self.redis.close()

    def _keep(self, key: str, value: Any, ttl_s: float) -> None:
        self._kept[key] = (time.monotonic() + ttl_s, value)
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
