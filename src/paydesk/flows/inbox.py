"""The inbox: a provider's event is verified, stored and committed, and only then applied.

Stored means acknowledged. What speaks for itself is applied at once; where the provider has to be
asked, whoever takes up what is due does it: the provider's `Taker` of the process that stored it,
or the worker's sweep. A row that cannot be applied waits with back-off, is parked after some
tries, and delays no other; a redelivery, the sweep or a person takes it up again.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import UUID

import psycopg

from paydesk import crash
from paydesk.env import Env
from paydesk.errors import (
    BodyTooLarge,
    InvalidSignature,
    NotFound,
    PaydeskError,
    Unavailable,
)
from paydesk.flows import charges, inbox_rows
from paydesk.flows.charges import STALE, UNKNOWN
from paydesk.flows.inbox_rows import GROUP, Key, Received, Row, State
from paydesk.flows.inbox_work import apply_rows
from paydesk.logger import get_logger
from paydesk.providers.base import Charge, MissingHeader, ProviderEvent, WebhookHeaders

log = get_logger(__name__)

__all__ = ["GROUP", "Received"]

Delivery = tuple[bytes, Mapping[str, str]]

#: How long a taker waits after it was woken: what tells of the same thing comes close together.
GATHER_S = 0.2
#: How often a taker looks for what waited and is due again.
LOOK_S = 5.0
#: The rest after a failure: the database is away.
PAUSE_S = 2.0
#: How long an end of the process waits for what is being taken up.
CLOSE_S = 5.0
#: Parked events that are taken up again at once.
MOST_REPLAYS = 500


# Receiving -------------------------------------------------------------------------------------


def receive(env: Env, provider: str, body: bytes, headers: Mapping[str, str]) -> list[Received]:
    """A webhook: check, remember, apply. One body may carry several events.

    Raises InvalidSignature, MalformedRequest or BodyTooLarge, and stores nothing then. What goes
    wrong after it is stored stands on the row.
    """
    answer = receive_many(env, provider, [(body, headers)])[0]
    if isinstance(answer, PaydeskError):
        raise answer
    return answer


def receive_many(
    env: Env, provider: str, deliveries: Sequence[Delivery],
    hand_over: Callable[[], None] | None = None,
) -> list[list[Received] | PaydeskError]:  # fmt: skip
    """Several webhooks at once: one insert, then groups of 64 in a transaction each.

    Answers in order; a delivery that was refused answers its error. With `hand_over` no provider
    is asked about what they say: such events are left due, and it is called to have them taken up.
    """
    read = [_verified(env, provider, body, headers) for body, headers in deliveries]
    rows = [inbox_rows.row_of(env, provider, e) for one in read
            if not isinstance(one, PaydeskError) for e in one]  # fmt: skip
    stored = inbox_rows.store(env, rows, hand_over=hand_over is not None)
    crash.at("webhook_after_store")
    todo = [row for row in inbox_rows.distinct(rows)
            if stored[row.key].state in ("new", "waiting")]  # fmt: skip
    handed = [row for row in todo if row.asks] if hand_over else []
    todo = [row for row in todo if not hand_over or not row.asks]
    states: dict[Key, str] = {}
    try:
        found = apply_rows(env, todo, "webhook", may_ask=hand_over is None)
        states = {row.key: state for row, state in zip(todo, found, strict=True)}
    except (Unavailable, psycopg.Error) as exc:  # Stored is acknowledged: the sweep goes on.
        log.warning("stored events are not applied yet", error=repr(exc)[:300])
    if hand_over and (handed or "new" in states.values()):
        hand_over()
    crash.at("inbox_after_done")
    answer: list[list[Received] | PaydeskError] = []
    for one in read:
        if isinstance(one, PaydeskError):
            answer.append(one)
            continue
        keys = [inbox_rows.row_of(env, provider, e).key for e in one]
        answer.append([
            Received(stored[k].event_id, stored[k].type, states.get(k, stored[k].state),
                     stored[k].is_duplicate)
            for k in keys
        ])  # fmt: skip
    return answer


def _verified(
    env: Env, provider: str, body: bytes, headers: Mapping[str, str]
) -> list[ProviderEvent] | PaydeskError:
    if len(body) > env.settings.max_body_bytes:
        return BodyTooLarge(f"A webhook has at most {env.settings.max_body_bytes} bytes.")
    try:
        return env.providers[provider].parse_webhook(body, WebhookHeaders(headers))
    except MissingHeader:
        return InvalidSignature()
    except PaydeskError as exc:
        return exc
    except Exception as exc:  # The edge of one delivery: an adapter's fault stops no other.
        log.exception("a webhook cannot be read", provider=provider)
        return Unavailable(f"The webhook cannot be read: {type(exc).__name__}.")


# Taking up -------------------------------------------------------------------------------------


def apply_waiting(
    env: Env, limit: int = GROUP, path: str = "sweep", *, provider: str | None = None
) -> int:
    """Sweep: apply what was stored and not applied, and what waits and is due again; of one
    provider, or of all, each provider's beside the others'."""
    rows = inbox_rows.take_due(env, limit, provider)
    units: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        units.setdefault(row["provider"], []).append(row)
    if len(units) < 2:
        for unit in units.values():
            _apply_stored(env, unit, path, is_taken=True)
        return len(rows)
    apply_unit = partial(_apply_stored, env, path=path, is_taken=True)
    with ThreadPoolExecutor(len(units), "paydesk-inbox") as pool:
        begun = [pool.submit(contextvars.copy_context().run, apply_unit, unit)
                 for unit in units.values()]  # fmt: skip
    for one in begun:
        one.result()
    return len(rows)


class Taker:
    """A thread that takes up what is due of one provider as soon as it is woken, so that an
    acknowledgment waits for no provider. What it leaves behind when its process dies, a sweep
    takes up."""

    def __init__(self, env: Env, provider: str) -> None:
        self._env = env
        self._provider = provider
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Look from time to time from now on. Nothing where it does, or was closed."""
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(
                    target=self._run, name=f"paydesk-taker-{self._provider}", daemon=True
                )
                self._thread.start()

    def wake(self) -> None:
        """Something is due now."""
        self._wake.set()
        self.start()

    def stop(self) -> None:
        """Begin nothing new."""
        with self._lock:
            self._stop.set()
        self._wake.set()

    def join(self, timeout_s: float) -> None:
        """Wait a while for what runs."""
        if self._thread is not None:
            self._thread.join(timeout=timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._wake.wait(LOOK_S):
                self._wake.clear()
                self._stop.wait(GATHER_S)
            try:
                while not self._stop.is_set():
                    done = apply_waiting(self._env, path="webhook", provider=self._provider)
                    if done < GROUP:  # The rest of a burst may be on its way.
                        self._stop.wait(GATHER_S if done else 0)
                    if not done:
                        break
            except (PaydeskError, psycopg.Error) as exc:
                log.warning("what is due was not taken up", error=repr(exc)[:300])
                self._stop.wait(PAUSE_S)
            except Exception:  # The edge of the thread: it must not end for good.
                log.exception("what is due was not taken up")
                self._stop.wait(PAUSE_S)


class Takers:
    """A taker for each provider: one that answers slowly delays no other's events."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._lock = threading.Lock()
        self._by_provider: dict[str, Taker] = {}
        self._is_closed = False

    def start(self) -> None:
        """Look from time to time, for every provider that tells of payments by webhook."""
        for name, provider in self._env.providers.items():
            if "webhooks" in provider.can and (taker := self._of(name)):
                taker.start()

    def wake(self, provider: str) -> None:
        """Something of this provider's is due now."""
        if taker := self._of(provider):
            taker.wake()

    def close(self) -> None:
        """Begin nothing new, and wait a while for what runs: for all of them together."""
        with self._lock:
            self._is_closed = True
            takers = list(self._by_provider.values())
        for one in takers:
            one.stop()
        until = time.monotonic() + CLOSE_S
        for one in takers:
            one.join(max(0.0, until - time.monotonic()))

    def _of(self, provider: str) -> Taker | None:
        with self._lock:
            if self._is_closed:
                return None
            if provider not in self._by_provider:
                self._by_provider[provider] = Taker(self._env, provider)
            return self._by_provider[provider]


def apply(
    env: Env, provider: str, account: str, event_id: str, path: str = "webhook"
) -> str:
    """Apply one stored event, whatever its state; answers the state it has then."""
    row = inbox_rows.find(env, provider, account, event_id)
    if row is None:
        raise NotFound(f"No such event: {event_id[:64]!r}.")
    return _apply_stored(env, [row], path)[0]


def replay(env: Env, provider: str, account: str, event_id: str) -> str:
    """A person takes a stored event up again; applying it twice changes nothing."""
    return apply(env, provider, account, event_id, "admin")


def replay_parked(env: Env, limit: int = MOST_REPLAYS) -> list[tuple[Received, str | None]]:
    """Take up every parked event once, the oldest first; answers what became of each and why."""
    with env.db.read() as tx:
        rows = tx.all(
            "select provider, account, event_id, type from provider_events"
            " where state = 'parked' order by received_at limit %(limit)s", {"limit": limit},
        )  # fmt: skip
    found = []
    for row in rows:
        key = (row["provider"], row["account"], row["event_id"])
        state = replay(env, *key)
        with env.db.read() as tx:
            why = tx.value(
                "select error from provider_events where provider = %(provider)s"
                " and account = %(account)s and event_id = %(event_id)s", row,
            )  # fmt: skip
        found.append((Received(row["event_id"], row["type"], state), why))
    return found


def _apply_stored(
    env: Env, rows: Sequence[Mapping[str, Any]], path: str, *, is_taken: bool = False
) -> list[str]:
    """Apply events as they were stored; one that cannot be read waits, and stops no other."""
    read: list[Row] = []
    states: dict[Key, State] = {}
    for row in rows:
        try:
            one = inbox_rows.stored(env, row)
            inbox_rows.first_state(env, one)
        except Exception as exc:  # Its provider is gone, or its adapter cannot read it.
            log.warning("an event cannot be read", event_id=row["event_id"], error=repr(exc)[:300])
            event = ProviderEvent(id=row["event_id"], kind="charge.updated", type=row["type"])
            one = Row(row["provider"], row["account"], event, row["tries"], row["received_at"])
            states[one.key] = ("waiting", f"It cannot be read: {getattr(exc, 'detail', exc)!s}")
        read.append(one)
    return apply_rows(env, read, path, states, is_taken=is_taken)


def apply_charge(
    env: Env, customer_id: UUID, payment_id: UUID, charge: Charge | None, path: str
) -> str:
    """Lay what a provider says about a payment onto it: the one place where a payment completes.

    A charge that was just fetched; None: the provider is asked now. Answers the outcome
    (`charges.DONE` and its like). Raises what the provider raises.
    """
    if charge is None:
        return charges.refresh(env, customer_id, payment_id, path)[0]
    with env.db.read() as tx:
        payment = charges.JoinedStore(tx.conn).get_many([(customer_id, payment_id)])[0]
    if payment is None:
        return UNKNOWN
    outcome = charges.record(env, payment, charge, path)
    if outcome == STALE:
        return charges.refresh(env, customer_id, payment_id, path)[0]
    return outcome
