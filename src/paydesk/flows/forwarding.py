"""Forwarding to a developer's machine: a feed of one's own for as long as somebody listens."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from paydesk import ids, signing
from paydesk.env import Env
from paydesk.flows import events, handlers, webhook_deliveries, webhook_endpoints
from paydesk.flows.events import Event
from paydesk.flows.webhook_deliveries import Attempt
from paydesk.outgoing import Guard

_PREFIX = "listen:"
#: A listener that was not seen for so long is gone; the next one clears up after it.
_GONE_AFTER = timedelta(minutes=10)

Told = Callable[[Event, Attempt], None]


class _NotTaken(Exception):
    """The application answered with something else than a success."""


class Forwarder:
    """Sends every event from now on to one address, each customer's in order, at least once.

    What fails is sent again some seconds later, eight times at most. `close` ends the feed.
    """

    def __init__(
        self, env: Env, url: str, filters: Sequence[str] = ("*",), told: Told | None = None
    ) -> None:
        """Raises AddressRefused, InvalidRequest. `told` hears of every call."""
        self._guard = Guard(allow_loopback=True, ports=frozenset({443, 8443}))
        self._guard.target(url)
        self._filters = webhook_endpoints.checked(filters)
        self._env, self._url, self._told = env, url, told
        self.secret = secret_of(env)
        self.sink = f"{_PREFIX}{ids.new_catalog().hex}"
        _clear_up(env)
        self._beat()
        handlers.register(env, self.sink)

    def run_once(self) -> int:
        """Forward what is new; answers how many events were taken."""
        self._beat()
        events.publish(self._env)
        return handlers.drain(self._env, self.sink, self._forward)

    def close(self) -> None:
        _forget(self._env, [self.sink])

    def _forward(self, event: Event) -> None:
        if not webhook_endpoints.passes(self._filters, event.type):
            return
        body = webhook_deliveries.encoded(webhook_deliveries.payload(self._env, event))
        found = webhook_deliveries.post(
            self._env, self._url, [self.secret], event.id, body, guard=self._guard
        )
        if self._told is not None:
            self._told(event, found)
        if not found.is_success:
            raise _NotTaken(found.error or "")

    def _beat(self) -> None:
        with self._env.db.transaction() as tx:
            tx.run(
                "insert into heartbeats (name, beat_at) values (%(name)s, %(now)s)"
                " on conflict (name) do update set beat_at = excluded.beat_at",
                {"name": self.sink, "now": self._env.now()},
            )


def secret_of(env: Env) -> str:
    """The secret that forwarded events are signed with: the same each time on one desk, where the
    desk has a secret to make it of."""
    base = env.settings.jwt_secret or env.settings.secret_key
    if not base:
        return signing.new_secret()
    key = hmac.new(base.encode(), b"paydesk listen", hashlib.sha256).digest()
    return signing.PREFIX + base64.b64encode(key).decode()


def _clear_up(env: Env) -> None:
    """Forget the feeds of listeners that ended without a word."""
    before: datetime = env.now() - _GONE_AFTER
    with env.db.read() as tx:
        rows = tx.all(
            "select s.name from sinks s left join heartbeats h on h.name = s.name"
            " where starts_with(s.name, %(prefix)s)"
            " and coalesce(h.beat_at, s.created_at) < %(before)s limit 100",
            {"prefix": _PREFIX, "before": before},
        )
    _forget(env, [row["name"] for row in rows])


def _forget(env: Env, sinks: Sequence[str]) -> None:
    if not sinks:
        return
    keys: dict[str, Any] = {"sinks": list(sinks)}
    with env.db.transaction() as tx:
        tx.run("delete from sinks where name = any(%(sinks)s)", keys)
        tx.run("delete from heartbeats where name = any(%(sinks)s)", keys)
    with env.db.transaction() as tx:
        tx.run("delete from deliveries where sink = any(%(sinks)s)", keys)
    with env.db.transaction() as tx:
        tx.run("delete from feeds where sink = any(%(sinks)s)", keys)
