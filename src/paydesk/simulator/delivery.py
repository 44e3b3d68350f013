"""Deliveries of events: signed, sent, tried again after a while, kept across restarts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import time
from dataclasses import dataclass
from typing import Any

import httpx

from . import signing
from .engine import Call, Simulator
from .store import Transaction

log = logging.getLogger("paydesk.simulator")

USER_AGENT = "Stripe/1.0 (+https://stripe.com/docs/webhooks)"
#: The longest the worker sleeps though nothing wakes it.
IDLE_S = 5.0


@dataclass(frozen=True)
class Parcel:
    """One delivery that is due: where it goes and what it carries."""

    seq: int
    event: str
    url: str
    secret: str
    body: bytes
    attempts: int


def event_body(
    sim: Simulator, tx: Transaction, event: dict[str, Any], base_url: str,
    version: str | None = None,
) -> bytes:
    """The bytes of an event as they are sent and signed, in the version the endpoint pins."""
    shown = sim.show_event(tx, event, base_url, version)
    return json.dumps(shown, indent=2, ensure_ascii=False).encode()


def take_due(sim: Simulator, tx: Transaction, room: int, busy: set[int]) -> list[Parcel]:
    """Deliveries to send now, at most `room`, without those that are being sent."""
    rows = tx.sql.execute(
        "select seq, event, endpoint, attempts from deliveries"
        " where state = 'pending' and due_at <= ? order by due_at, seq limit ?",
        (time.time(), room + len(busy)),
    ).fetchall()
    parcels = []
    for seq, event_id, endpoint_id, attempts in rows:
        if seq in busy or len(parcels) == room:
            continue
        endpoint, event = tx.get(endpoint_id, "webhook_endpoint"), tx.get(event_id, "event")
        if endpoint is None or event is None or endpoint["status"] != "enabled":
            _mark(tx, seq, "failed", attempts, None, "the endpoint is gone")
            continue
        body = event_body(sim, tx, event, sim.config.base_url, endpoint["api_version"])
        parcels.append(Parcel(seq, event_id, endpoint["url"], endpoint["_secret"], body, attempts))
    return parcels


def _mark(
    tx: Transaction, seq: int, state: str, attempts: int, status: int | None, error: str | None,
    due_at: float | None = None,
) -> None:
    tx.sql.execute(
        "update deliveries set state = ?, attempts = ?, last_status = ?, last_error = ?,"
        " due_at = coalesce(?, due_at) where seq = ? and state = 'pending'",
        (state, attempts, status, error, due_at, seq),
    )


def next_due(tx: Transaction) -> float | None:
    return tx.sql.execute(
        "select min(due_at) from deliveries where state = 'pending'"
    ).fetchone()[0]


class Worker:
    """Sends what is due, several at a time; lives on the event loop of the server."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim
        self._awake = asyncio.Event()
        self._busy: set[int] = set()
        self._clients: dict[bool, httpx.AsyncClient] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        sim.wake = self.wake

    def wake(self) -> None:
        """Look again now; may be called from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop may be closed already
            self._loop.call_soon_threadsafe(self._awake.set)

    async def run(self) -> None:
        """Send until cancelled; what is being sent then is sent again after the next start."""
        try:
            while True:
                self._awake.clear()
                pause = await self._send_due()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._awake.wait(), pause)
        finally:
            self.sim.wake = lambda: None
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for client in self._clients.values():
                await client.aclose()

    def _client(self, url: str) -> httpx.AsyncClient:
        """The client for an address; certificates are loaded only for one that needs them."""
        secure = url.startswith("https:")
        if secure not in self._clients:
            # Receivers are often on this machine: proxies of the environment stay out.
            self._clients[secure] = httpx.AsyncClient(verify=secure, trust_env=False)
        return self._clients[secure]

    async def _send_due(self) -> float:
        """Start what may start; returns how long to sleep, in seconds."""
        sim, room = self.sim, self.sim.switches.concurrency - len(self._busy)
        if room <= 0:
            return IDLE_S
        busy = set(self._busy)
        parcels, due_at = await asyncio.wrap_future(
            sim.store.submit(lambda tx: (take_due(sim, tx, room, busy), next_due(tx)))
        )
        for parcel in parcels:
            self._busy.add(parcel.seq)
            task = asyncio.create_task(self._send(parcel))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        waiting = due_at is not None and due_at > time.time()
        return min(IDLE_S, due_at - time.time()) if waiting and due_at is not None else IDLE_S

    async def _send(self, parcel: Parcel) -> None:
        sim = self.sim
        timeout = sim.switches.delivery_timeout_s or sim.config.delivery_timeout_s
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": USER_AGENT,
            "Stripe-Signature": signing.header(
                parcel.secret, parcel.body, int(sim.config.clock())
            ),
        }
        status, problem = None, None
        try:
            answer = await self._client(parcel.url).post(
                parcel.url, content=parcel.body, headers=headers, timeout=timeout
            )
            status = answer.status_code
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            problem = type(error).__name__
        try:
            await asyncio.wrap_future(
                sim.store.submit(lambda tx: self._record(tx, parcel, status, problem))
            )
        finally:
            self._busy.discard(parcel.seq)
            self._awake.set()

    def _record(
        self, tx: Transaction, parcel: Parcel, status: int | None, problem: str | None
    ) -> None:
        attempts, backoff = parcel.attempts + 1, self.sim.switches.backoff_s
        if status is not None and 200 <= status < 300:
            self.sim.count("delivered")
            _mark(tx, parcel.seq, "delivered", attempts, status, None)
            return
        self.sim.count("delivery_failed")
        log.info("delivery of %s failed: %s", parcel.event, status or problem)
        if attempts > len(backoff):
            _mark(tx, parcel.seq, "failed", attempts, status, problem)
        else:
            due_at = time.time() + backoff[attempts - 1]
            _mark(tx, parcel.seq, "pending", attempts, status, problem, due_at)


def deliver(
    call: Call,
    *,
    events: list[str] | None = None,
    types: list[str] | None = None,
    again: bool = False,
    order: str = "created",
    seed: int | None = None,
) -> int:
    """Send stored events now: held and lost ones, or with `again` every one once more.

    `order` is created, reversed or shuffled (by `seed`). Returns the number of deliveries.
    """
    tx = call.tx
    rows = tx.sql.execute(
        "select seq, event, endpoint, state from deliveries order by seq"
    ).fetchall()
    if again:
        wanted = [
            (None, event["id"], endpoint["id"])
            for event in list(tx.scan("event", after=0))
            for endpoint in tx.scan("webhook_endpoint")
            if {"*", event["type"]} & set(endpoint["enabled_events"])
        ]
    else:
        wanted = [(row[0], row[1], row[2]) for row in rows if row[3] in ("held", "lost")]
    wanted = [item for item in wanted if _asked(tx, item[1], events, types)]
    if order == "reversed":
        wanted.reverse()
    elif order == "shuffled":
        random.Random(seed).shuffle(wanted)
    start = time.time()
    for index, (seq, event_id, endpoint_id) in enumerate(wanted):
        due_at = start + index * 1e-6 - 1
        if seq is None:
            tx.sql.execute(
                "insert into deliveries (event, endpoint, state, due_at)"
                " values (?, ?, 'pending', ?)",
                (event_id, endpoint_id, due_at),
            )
        else:
            tx.sql.execute(
                "update deliveries set state = 'pending', due_at = ? where seq = ?", (due_at, seq)
            )
    call.sim.planned()
    return len(wanted)


def _asked(
    tx: Transaction, event_id: str, events: list[str] | None, types: list[str] | None
) -> bool:
    if events is not None and event_id not in events:
        return False
    return types is None or (tx.get(event_id) or {}).get("type") in types
