"""Webhooks out: each event to each endpoint that wants it, at least once, a customer's in order.

The first tries of a customer's events keep their order at every endpoint: the next one waits until
the one before was taken. An event that fails twice steps aside and is tried by itself, ever later,
for about three days, then parked: it delays the others by one retry. Every body has `sequence`.
"""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from paydesk import __version__, ids, signing
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import AddressRefused, Busy, Misconfigured, NotFound
from paydesk.flows import events, sweeps, webhook_endpoints
from paydesk.flows.event_types import TYPES
from paydesk.flows.events import Event
from paydesk.flows.webhook_endpoints import Endpoint
from paydesk.logger import get_logger
from paydesk.outgoing import Guard, Unreachable, guard_of

log = get_logger(__name__)

#: Seconds before each try, as the specification's example has them: about three days in all.
SCHEDULE_S = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
#: After so many failures an event no longer holds up the customer's later ones.
ASIDE_AFTER = 2
#: Nobody else sends a delivery for so long; above the time-out of a call.
_LEASE = timedelta(seconds=60)
#: Calls to one endpoint under way at once; one only while nothing gets through.
_LANES = 4
_PAGE = 200
_THREADS = 8
#: A lane goes on with what is due for so long before others have their turn.
_BUDGET_S = 10.0
_MAX_RESPONSE_BYTES = 16_384
_KEPT_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one endpoint. `state`: held (behind an earlier one), waiting, done, parked."""

    id: UUID
    customer_id: UUID
    endpoint_id: UUID
    seq: int
    event_type: str
    state: str
    tries: int
    try_at: datetime
    status: int | None
    error: str | None
    done_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call: `status` is None when no answer came, and `error` then says why."""

    sent_at: datetime
    duration_ms: int
    status: int | None
    error: str | None
    response: str | None
    retry_after_s: int = 0

    @property
    def is_success(self) -> bool:
        return self.status is not None and 200 <= self.status < 300 and self.error is None


# What is sent -----------------------------------------------------------------------------------


def payload(env: Env, event: Event) -> dict[str, Any]:
    """The body of an event, always the same for it."""
    return {
        "type": event.type,
        "timestamp": _instant(event.created_at),
        "data": event.shown_data,
        "id": event.id,
        "customer": ids.show("customer", event.customer_id),
        "subject": event.subject,
        "sequence": event.seq,
        "livemode": env.settings.live,
    }


def encoded(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def post(
    env: Env, url: str, secrets: Sequence[str], message_id: str, body: bytes, *,
    guard: Guard | None = None,
) -> Attempt:  # fmt: skip
    """One signed call. Never raises for what the receiver does. `guard`: another than the
    settings' own."""
    at, started = env.now(), time.monotonic()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"Paydesk/{__version__} (+standardwebhooks)",
        # Receivers compare it with the real time, whatever a virtual clock of ours says.
        **signing.headers(message_id, datetime.now(UTC), body, secrets),
    }
    try:
        found = (guard or guard_of(env.settings)).request(
            "POST", url, body=body, headers=headers, max_bytes=_MAX_RESPONSE_BYTES,
            timeout_s=float(env.settings.webhook_timeout_s),
        )  # fmt: skip
    except (Unreachable, AddressRefused) as exc:
        took = int((time.monotonic() - started) * 1000)
        return Attempt(at, took, None, str(exc)[:500], None)
    error = None if 200 <= found.status < 300 else f"The endpoint answered {found.status}."
    after = found.headers.get("retry-after", "")
    return Attempt(
        at, found.duration_ms, found.status, error, _kept(found.text),
        min(int(after), 86_400) if re.fullmatch(r"\d{1,6}", after) else 0,
    )  # fmt: skip


def _kept(text: str) -> str:
    """The beginning of an answer, without what may be a card, a key or a token."""
    text = re.sub(r"\d(?:[ -]?\d){12,}|\b(?:[sr]k_|whsec_|eyJ)[\w./+=-]{8,}", "[hidden]", text)
    return text.replace("\0", "")[:_KEPT_CHARACTERS]


def test(env: Env, endpoint_id: UUID, type: str = "payment.succeeded") -> Attempt:
    """Send an example of a type of event now, once; it is no event of anybody's."""
    endpoint = webhook_endpoints.get(env, endpoint_id)
    webhook_endpoints.checked([type])
    told = TYPES.get(type) or next(iter(TYPES.values()))
    message_id = ids.show("event", ids.new_catalog())
    body = {
        "type": type, "timestamp": _instant(env.now()), "data": told.data, "id": message_id,
        "customer": None, "subject": None, "sequence": 0, "livemode": env.settings.live,
        "test": True,
    }  # fmt: skip
    secrets = webhook_endpoints.secrets_of(env, endpoint.id)
    return post(env, endpoint.url, secrets, message_id, encoded(body))


# Queueing ---------------------------------------------------------------------------------------


def enqueue(
    tx: Tx, env: Env, endpoints: Sequence[Endpoint], found: Sequence[Event], *,
    again: bool = False,
) -> int:  # fmt: skip
    """Write a delivery for each event and endpoint that wants it; the head must be locked.

    All events are of one customer. `again`: those delivered or parked before wait anew. Answers
    how many deliveries are new or wait anew.
    """
    wanted = [(end.id, ev) for ev in found for end in endpoints if end.wants(ev.type)]
    if not wanted:
        return 0
    customer_id, now = found[0].customer_id, env.now()
    n = tx.run(
        "insert into webhook_deliveries as d (customer_id, id, endpoint_id, seq, event_type, state,"
        " try_at, created_at) select %(customer_id)s, n.id, n.endpoint_id, n.seq, n.type, 'held',"
        " %(now)s, %(now)s from unnest(%(ids)s::uuid[], %(ends)s::uuid[], %(seqs)s::bigint[],"
        " %(types)s::text[]) as n (id, endpoint_id, seq, type)"
        " on conflict (customer_id, endpoint_id, seq) do update set state = 'held', tries = 0,"
        " aside = false, try_at = %(now)s, error = null"
        " where %(again)s and d.state in ('done', 'parked')",
        {"customer_id": customer_id, "now": now, "again": again,
         "ids": [ids.new_owned(customer_id) for _ in wanted], "ends": [w[0] for w in wanted],
         "seqs": [w[1].seq for w in wanted], "types": [w[1].type for w in wanted]},
    )  # fmt: skip
    for endpoint_id in {w[0] for w in wanted}:
        _let_next(tx, env, customer_id, endpoint_id)
    return n


def _let_next(tx: Tx, env: Env, customer_id: UUID, endpoint_id: UUID) -> UUID | None:
    """The first of the held deliveries may be sent, when no other is in front of it."""
    return tx.value(
        "update webhook_deliveries set state = 'waiting', try_at = %(now)s"
        " where customer_id = %(customer_id)s and endpoint_id = %(endpoint_id)s and seq = ("
        "  select min(seq) from webhook_deliveries where customer_id = %(customer_id)s"
        "  and endpoint_id = %(endpoint_id)s and state = 'held')"
        " and not exists (select 1 from webhook_deliveries where customer_id = %(customer_id)s"
        "  and endpoint_id = %(endpoint_id)s and state = 'waiting' and not aside)"
        " returning id",
        {"customer_id": customer_id, "endpoint_id": endpoint_id, "now": env.now()},
    )


# Sending ----------------------------------------------------------------------------------------

_pool: list[ThreadPoolExecutor] = []
_lock = threading.Lock()
#: (database, endpoint) under way in this process.
_busy: set[tuple[str, UUID]] = set()
#: Endpoints whose secret cannot be opened, and until when they are left alone (monotonic).
_unsigned: dict[tuple[str, UUID], float] = {}
_UNSIGNED_S = 60.0
# A forked child has none of its parent's threads.
os.register_at_fork(after_in_child=lambda: (_pool.clear(), _busy.clear()))


def send_due(env: Env, *, wait_s: float | None = 2.0) -> int:
    """Send what is due, endpoints side by side; answers how much was taken within `wait_s`.

    What takes longer goes on by itself: a slow endpoint holds up no other. `None` waits for all.
    """
    with env.db.read() as tx:
        rows = tx.all(
            "select e.id from webhook_endpoints e where e.state = 'enabled' and exists ("
            " select 1 from webhook_deliveries d where d.endpoint_id = e.id"
            " and d.state = 'waiting' and d.try_at <= %(now)s) limit 1000",
            {"now": env.now()},
        )
    running: list[Future[int]] = []
    for row in rows:
        key = (env.db.dsn, row["id"])
        with _lock:
            if key in _busy or _unsigned.get(key, 0.0) > time.monotonic():
                continue
            _busy.add(key)
            if not _pool:
                _pool.append(ThreadPoolExecutor(_THREADS, "paydesk-webhooks"))
            running.append(_pool[0].submit(_send_endpoint, env, key))
    done, _ = wait(running, timeout=wait_s)
    return sum(one.result() for one in done)


def _send_endpoint(env: Env, key: tuple[str, UUID]) -> int:
    """All that is due for one endpoint, in lanes by customer."""
    endpoint_id = key[1]
    try:
        with env.db.read() as tx:
            endpoint = webhook_endpoints.by_id(tx, endpoint_id)
            rows = tx.all(
                "select customer_id, id from webhook_deliveries where endpoint_id = %(endpoint_id)s"
                " and state = 'waiting' and try_at <= %(now)s order by try_at, seq limit %(page)s",
                {"endpoint_id": endpoint_id, "now": env.now(), "page": _PAGE},
            )
        if endpoint is None or endpoint.state != "enabled":
            return 0
        secrets = webhook_endpoints.secrets_of(env, endpoint_id)
        _unsigned.pop(key, None)
        count = 1 if endpoint.failing_since else _LANES
        lanes: list[list[tuple[UUID, UUID]]] = [[] for _ in range(count)]
        for row in rows:
            lanes[row["customer_id"].int % count].append((row["customer_id"], row["id"]))
        lanes = [lane for lane in lanes if lane]
        with ThreadPoolExecutor(max(1, len(lanes)), "paydesk-webhooks-lane") as pool:
            return sum(pool.map(lambda lane: _send_lane(env, endpoint, secrets, lane), lanes))
    except Misconfigured as exc:
        with _lock:
            _unsigned[key] = time.monotonic() + _UNSIGNED_S
        log.error("webhooks cannot be signed", endpoint=ids.show("endpoint", endpoint_id),
                  error=exc.detail)  # fmt: skip
        return 0
    finally:
        with _lock:
            _busy.discard(key)


def _send_lane(
    env: Env, endpoint: Endpoint, secrets: Sequence[str], lane: list[tuple[UUID, UUID]]
) -> int:
    """One after the other; after a success the customer's next one follows. Ends at a failure:
    what is left stays due, so that a dead endpoint costs one call at a time."""
    done, until = 0, time.monotonic() + _BUDGET_S
    for customer_id, first in lane:
        next_id: UUID | None = first
        while next_id is not None and time.monotonic() < until:
            delivery_id, next_id = next_id, None
            with sweeps.one_row("webhooks", delivery_id):
                attempt, next_id = _send_one(env, endpoint, secrets, customer_id, delivery_id)
                if attempt is not None and not attempt.is_success:
                    return done
                done += attempt is not None
    return done


def _send_one(
    env: Env, endpoint: Endpoint, secrets: Sequence[str], customer_id: UUID, delivery_id: UUID
) -> tuple[Attempt | None, UUID | None]:
    """(What came back, None when it is not due any more; the customer's next delivery)."""
    with env.db.transaction(customer_id, wait_s=sweeps.WAIT_S) as tx:
        seq = tx.value(
            "update webhook_deliveries set try_at = %(until)s where customer_id = %(customer_id)s"
            " and id = %(id)s and state = 'waiting' and try_at <= %(now)s returning seq",
            {"customer_id": customer_id, "id": delivery_id, "now": env.now(),
             "until": env.now() + _LEASE},
        )  # fmt: skip
        found = events.follow(tx, customer_id, seq - 1, limit=1) if seq else []
    if not found:
        return None, None
    try:
        body = encoded(payload(env, found[0]))
        attempt = post(env, endpoint.url, secrets, found[0].id, body)
    except (ValueError, TypeError, KeyError) as exc:  # An event that cannot be written out.
        log.exception("an event has no body", event_id=found[0].id)
        attempt = Attempt(env.now(), 0, None, f"{type(exc).__name__}: {exc}"[:500], None)
    return attempt, _settle(env, endpoint.id, customer_id, delivery_id, attempt)


def _settle(
    env: Env, endpoint_id: UUID, customer_id: UUID, delivery_id: UUID, attempt: Attempt
) -> UUID | None:
    with env.db.transaction(customer_id) as tx:
        keys = {"customer_id": customer_id, "id": delivery_id, "status": attempt.status,
                "error": attempt.error}  # fmt: skip
        tries = tx.value(
            "update webhook_deliveries set tries = tries + 1, status = %(status)s,"
            " error = %(error)s where customer_id = %(customer_id)s and id = %(id)s"
            " returning tries",
            keys,
        )
        if tries is None:
            return None  # Forgotten meanwhile: its history had ended.
        tx.run(
            "insert into webhook_attempts (customer_id, id, delivery_id, sent_at, duration_ms,"
            " status, error, response) values (%(customer_id)s, %(attempt)s, %(id)s, %(sent_at)s,"
            " %(duration_ms)s, %(status)s, %(error)s, %(response)s)",
            {**keys, "attempt": ids.new_owned(customer_id), "sent_at": attempt.sent_at,
             "duration_ms": attempt.duration_ms, "response": attempt.response},
        )  # fmt: skip
        if attempt.is_success:
            state, pause = "done", timedelta(0)
            webhook_endpoints.note_success(tx, endpoint_id)
        else:
            state = "parked" if tries >= len(SCHEDULE_S) else "waiting"
            pause = _pause(tries, attempt.retry_after_s)
            reason = webhook_endpoints.note_failure(
                tx, env, endpoint_id, is_gone=attempt.status == 410
            )
            if reason is not None:
                events.emit(tx, customer_id, "webhook_endpoint.disabled", endpoint_id,
                            {"reason": reason}, at=env.now())  # fmt: skip
        tx.run(
            "update webhook_deliveries set state = %(state)s, try_at = %(then)s,"
            " aside = aside or %(aside)s, done_at = case when %(state)s = 'done' then %(now)s end"
            " where customer_id = %(customer_id)s and id = %(id)s",
            {**keys, "state": state, "then": env.now() + pause, "now": env.now(),
             "aside": state == "waiting" and tries >= ASIDE_AFTER},
        )  # fmt: skip
        return _let_next(tx, env, customer_id, endpoint_id)


def _pause(tries: int, retry_after_s: int) -> timedelta:
    """What the schedule says for the next try and up to a tenth more, so that the receivers of an
    outage do not all come back at once; later where the receiver asks for it."""
    base = SCHEDULE_S[min(tries, len(SCHEDULE_S) - 1)]
    return timedelta(seconds=max(base * (1 + random.random() / 10), retry_after_s))


# Looking and sending again ----------------------------------------------------------------------


def list_(
    env: Env, endpoint_id: UUID, *, limit: int = 20, after: UUID | None = None,
    state: str | None = None,
) -> list[Delivery]:  # fmt: skip
    """An endpoint's deliveries, newest first. `after`: the last one already seen."""
    last = get(env, after) if after else None
    with env.db.read() as tx:
        rows = tx.all(
            "select id, customer_id, endpoint_id, seq, event_type, state, tries, try_at, status,"
            " error, done_at, created_at from webhook_deliveries"
            " where endpoint_id = %(endpoint_id)s and (%(state)s::text is null or state = %(state)s"
            " or (%(state)s = 'waiting' and state = 'held'))"
            " and (%(at)s::timestamptz is null or (created_at, id) < (%(at)s, %(last)s))"
            " order by created_at desc, id desc limit %(limit)s",
            {"endpoint_id": endpoint_id, "state": state, "limit": limit,
             "at": last.created_at if last else None, "last": last.id if last else None},
        )  # fmt: skip
    return [Delivery(**row) for row in rows]


def get(env: Env, delivery_id: UUID) -> Delivery:
    """One delivery by its id, which names its customer. Raises NotFound."""
    with env.db.read() as tx:
        row = tx.one(
            "select id, customer_id, endpoint_id, seq, event_type, state, tries, try_at, status,"
            " error, done_at, created_at from webhook_deliveries"
            " where customer_id = %(customer_id)s and id = %(id)s",
            {"customer_id": ids.customer_of(delivery_id), "id": delivery_id},
        )
    if row is None:
        raise NotFound(f"No such delivery: {ids.show('delivery', delivery_id)!r}.")
    return Delivery(**row)


def attempts(env: Env, delivery: Delivery) -> list[Attempt]:
    """Every call of a delivery, oldest first."""
    with env.db.read() as tx:
        rows = tx.all(
            "select sent_at, duration_ms, status, error, response from webhook_attempts"
            " where customer_id = %(customer_id)s and delivery_id = %(id)s"
            " order by sent_at, id limit 1000",
            {"customer_id": delivery.customer_id, "id": delivery.id},
        )
    return [Attempt(**row) for row in rows]


def request_of(env: Env, delivery: Delivery) -> dict[str, Any]:
    """The body that a delivery sends."""
    with env.db.read() as tx:
        found = events.follow(tx, delivery.customer_id, delivery.seq - 1, limit=1)
    assert found, "a delivery without its event"
    return payload(env, found[0])


def redeliver(env: Env, delivery_id: UUID) -> Delivery:
    """Send one again, whatever became of it; the receiver drops what it knows by `webhook-id`."""
    one = get(env, delivery_id)
    endpoint = webhook_endpoints.get(env, one.endpoint_id)
    with env.db.transaction(one.customer_id) as tx:
        found = events.follow(tx, one.customer_id, one.seq - 1, limit=1)
        tx.run(
            "update webhook_deliveries set try_at = %(now)s where customer_id = %(customer_id)s"
            " and id = %(id)s and state = 'waiting' and tries > 0",
            {"customer_id": one.customer_id, "id": one.id, "now": env.now()},
        )
        # As if it wanted everything: who sends this one again means this one.
        enqueue(tx, env, [replace(endpoint, events=["*"])], found, again=True)
    return get(env, delivery_id)


def redeliver_range(
    env: Env, endpoint_id: UUID, since: datetime, until: datetime | None = None, *,
    only_failed: bool = False, limit: int = 10_000,
) -> int:  # fmt: skip
    """Send again every event of these times that the endpoint wants, the oldest first, also those
    that were never queued for it. `only_failed` leaves out what it has taken. Answers how many."""
    endpoint = webhook_endpoints.get(env, endpoint_id)
    with env.db.read() as tx:
        rows = tx.all(
            "select e.customer_id, e.seq, e.id, e.type, e.subject_id, e.data, e.cause,"
            " e.created_at from events e where e.created_at >= %(since)s"
            " and e.created_at < %(until)s and not (%(only_failed)s and exists (select 1"
            "  from webhook_deliveries d where d.customer_id = e.customer_id and d.seq = e.seq"
            "  and d.endpoint_id = %(endpoint_id)s and d.state = 'done'))"
            " order by e.created_at, e.customer_id, e.seq limit %(limit)s",
            {"since": since, "until": until or env.now() + timedelta(minutes=1), "limit": limit,
             "only_failed": only_failed, "endpoint_id": endpoint_id},
        )  # fmt: skip
    by_customer: dict[UUID, list[Event]] = {}
    for row in rows:
        by_customer.setdefault(row["customer_id"], []).append(events.event_of(row))
    count = 0
    for customer_id, found in by_customer.items():
        with env.db.transaction(customer_id) as tx:
            count += enqueue(tx, env, [endpoint], found, again=True)
    return count


def parked(env: Env, limit: int = 100) -> list[Delivery]:
    """What no endpoint took in three days, newest first; `redeliver` tries it again."""
    with env.db.read() as tx:
        rows = tx.all(
            "select id, customer_id, endpoint_id, seq, event_type, state, tries, try_at, status,"
            " error, done_at, created_at from webhook_deliveries where state = 'parked'"
            " order by created_at desc limit %(limit)s",
            {"limit": limit},
        )
    return [Delivery(**row) for row in rows]


def forget(env: Env, limit: int = 1000) -> int:
    """Delete deliveries older than the history is kept, in whatever state."""
    before = env.now() - timedelta(days=env.settings.webhook_keep_days)
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, id from webhook_deliveries"
            " where created_at < %(before)s order by created_at limit %(limit)s",
            {"before": before, "limit": limit},
        )
    gone = 0
    for row in rows:
        try:
            with env.db.transaction(row["customer_id"], wait_s=sweeps.WAIT_S) as tx:
                keys = {"customer_id": row["customer_id"], "id": row["id"]}
                tx.run("delete from webhook_attempts where customer_id = %(customer_id)s"
                       " and delivery_id = %(id)s", keys)  # fmt: skip
                gone += tx.run("delete from webhook_deliveries where customer_id = %(customer_id)s"
                               " and id = %(id)s", keys)  # fmt: skip
        except Busy:
            continue
    return gone
