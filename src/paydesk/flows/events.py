"""Events: what happened to a customer, in order and without gaps; feed and outbox in one.

Writers add events under the customer's locked head. The publisher moves each feed on and pushes
a hint; receivers read the table after their own last number, so a lost hint loses nothing.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import psycopg

from paydesk import causes, crash, ids
from paydesk.db.errors import DatabaseUnavailable, UnknownCustomer
from paydesk.db.postgres import BEGINNING, Tx
from paydesk.db.together import in_sets
from paydesk.env import Env
from paydesk.errors import Busy, InvalidRequest, NotFound
from paydesk.flows import event_search
from paydesk.flows.event_types import TYPES
from paydesk.logger import get_logger

log = get_logger(__name__)

#: Channels of hints, as NOTIFY and as Redis pub/sub have them. What is new: a payload is
#: [[customer id, seq], ...]. What caches forget: [key, ...].
LIVE_CHANNEL = {"postgres": "paydesk_live", "redis": "paydesk:live"}
CACHE_CHANNEL = {"postgres": "paydesk_cache", "redis": "paydesk:forget"}
#: A NOTIFY payload holds fewer than 8,000 bytes; an entry has at most 62.
_HINTS_A_PAYLOAD = 120
_KEYS_BYTES = 7_000
_CUSTOMERS_A_GROUP = 64
#: How long all locked customers together are waited for; whoever is not waits for the push.
_WAITS_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event to be written. `at`: when it was decided, else the head's last decision."""

    customer_id: UUID
    type: str
    subject_id: UUID
    data: Mapping[str, Any] = field(default_factory=dict)
    cause: Mapping[str, Any] | None = None
    at: datetime | None = None


#: Members of an event's data that are kept without their prefix, and what they name.
_ID_MEMBERS = {"transfer_id": "transfer", "batch_id": "batch", "payment_id": "payment",
               "spend_id": "transfer", "from": "customer", "to": "customer"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Event:
    """One event as stored. `seq` counts the customer's events from 1 on, without gaps."""

    id: str
    customer_id: UUID
    seq: int
    type: str
    subject_id: UUID
    data: dict[str, Any]
    cause: dict[str, Any] | None
    created_at: datetime

    @property
    def subject(self) -> str:
        """The prefixed id of what the event is about."""
        return ids.show(TYPES[self.type].subject if self.type in TYPES else "event",
                        self.subject_id)

    @property
    def shown_data(self) -> dict[str, Any]:
        """The data with prefixed ids, as people and other programs see it."""
        return shown(self.data)

    def __repr__(self) -> str:
        return f"<Event {self.id} {self.type} #{self.seq}>"


def shown(data: Mapping[str, Any]) -> dict[str, Any]:
    """An event's data with prefixed ids."""
    return {
        name: ids.show(_ID_MEMBERS[name], UUID(value)) if value and name in _ID_MEMBERS else value
        for name, value in data.items()
    }


# Writing ---------------------------------------------------------------------------------------


def emit(
    tx: Tx,
    customer_id: UUID,
    type: str,
    subject_id: UUID,
    data: Mapping[str, Any],
    cause: Mapping[str, Any] | None = None,
    *,
    at: datetime | None = None,
) -> int:
    """Write one event; the head must be locked. Answers its number."""
    return emit_many(
        tx, [NewEvent(customer_id=customer_id, type=type, subject_id=subject_id, data=data,
                      cause=cause, at=at)]
    )[0]  # fmt: skip


@contextmanager
def gathered(tx: Tx) -> Iterator[None]:
    """Write the events of this block together, at its end or before a savepoint: a batch tells of
    many things one after the other, and each statement moves all its heads anew."""
    assert tx.late.write is None, "events are gathered already"
    tx.late.write = _write
    try:
        yield
        tx.settle()
    finally:
        tx.late.items.clear()
        tx.late.write = None


class _Told(NamedTuple):
    """An event as it is written; `instant` None: the transaction's."""

    customer_id: UUID
    id: UUID
    type: str
    subject_id: UUID
    data: str
    cause: str | None
    instant: datetime | None


@in_sets()
def emit_many(tx: Tx, items: Sequence[NewEvent]) -> list[int]:
    """Write events of any customers, whose heads must be locked, in one statement.

    Numbers follow the order given. Answers them in that order. Also keeps the heads' last
    decision and the publisher's news.
    """
    if not items:
        return []
    told = _told(tx, items)
    if tx.late.write is None:
        return _write(tx, told)
    tx.late.items += told
    numbers = []
    for one in told:
        head = tx.heads[one.customer_id]
        head.seq += 1
        numbers.append(head.seq)
    return numbers


def _told(tx: Tx, items: Sequence[NewEvent]) -> list[_Told]:
    """As they are written; the heads know of their instants from now on."""
    found, around, shown = [], causes.current(), None
    for item in items:
        assert item.type in TYPES, f"{item.type!r} is not a type of event"
        head = tx.heads.get(item.customer_id)
        assert head is not None, "the head must be locked before an event is written"
        at = item.at or (head.last_at if head.last_at > BEGINNING else None)
        if head.clock_at is not None:
            at = head.instant(head.clock_at)
        cause = causes.merged(item.cause, item.customer_id)
        if cause is around and shown is None:  # Nearly all of them: it is written once.
            shown = _json(around) if around else None
        found.append(_Told(
            item.customer_id, ids.new_owned(item.customer_id), item.type, item.subject_id,
            _json(item.data), shown if cause is around else cause and _json(cause), at,
        ))  # fmt: skip
    for one in found:
        if one.instant is not None:
            head = tx.heads[one.customer_id]
            head.last_at = max(head.last_at, one.instant)
    return found


def _json(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value).decode()


def _write(tx: Tx, told: Sequence[_Told]) -> list[int]:
    counts: dict[UUID, int] = {}
    latest: dict[UUID, datetime] = {}
    offsets = []
    for one in told:
        owner, at = one.customer_id, one.instant
        counts[owner] = counts.get(owner, 0) + 1
        offsets.append(counts[owner])
        if at is not None:
            latest[owner] = max(at, latest.get(owner, at))
    customers = sorted(counts)
    owners, made, types, subjects, data, why, instants = map(list, zip(*told, strict=True))
    rows = tx.all(
        """
        with moved as (
            update heads h set seq = h.seq + b.n,
                last_at = greatest(h.last_at, coalesce(b.at, h.last_at))
            from unnest(%(customers)s::uuid[], %(counts)s::bigint[], %(latest)s::timestamptz[])
                as b (customer_id, n, at)
            where h.customer_id = b.customer_id
            returning h.customer_id, h.seq - b.n as base
        ), told as (
            insert into news (customer_id) select customer_id from moved
            on conflict (customer_id) do nothing
        ), written as (
            insert into events (customer_id, seq, id, type, subject_id, data, cause, created_at)
            select e.customer_id, m.base + e.n, e.id, e.type, e.subject_id, e.data, e.cause,
                coalesce(e.at, now())
            from unnest(%(owners)s::uuid[], %(offsets)s::bigint[], %(ids)s::uuid[],
                    %(types)s::text[], %(subjects)s::uuid[], %(data)s::jsonb[],
                    %(causes)s::jsonb[], %(instants)s::timestamptz[])
                as e (customer_id, n, id, type, subject_id, data, cause, at)
            join moved m on m.customer_id = e.customer_id
        )
        select customer_id, base from moved
        """,
        {
            "customers": customers, "counts": [counts[c] for c in customers],
            "latest": [latest.get(c) for c in customers], "owners": owners, "offsets": offsets,
            "ids": made, "types": types, "subjects": subjects, "data": data, "causes": why,
            "instants": instants,
        },
    )  # fmt: skip
    base = {row["customer_id"]: row["base"] for row in rows}
    for customer_id, n in counts.items():
        tx.heads[customer_id].seq = base[customer_id] + n
    return [base[one.customer_id] + n for one, n in zip(told, offsets, strict=True)]


# Reading ---------------------------------------------------------------------------------------


def follow(tx: Tx, customer_id: UUID, after_seq: int, *, limit: int = 100) -> list[Event]:
    """The customer's events after a number, oldest first."""
    rows = tx.all(
        "select customer_id, seq, id, type, subject_id, data, cause, created_at from events"
        " where customer_id = %(customer_id)s and seq > %(after)s order by seq limit %(limit)s",
        {"customer_id": customer_id, "after": after_seq, "limit": limit},
    )
    return [event_of(row) for row in rows]


def last_seq(tx: Tx, customer_id: UUID) -> int:
    """The number of the customer's last event; 0 when there is none."""
    sql = "select seq from heads where customer_id = %(customer_id)s"
    return tx.value(sql, {"customer_id": customer_id}) or 0


def get_event(env: Env, event: str, *, customer_id: UUID | None = None) -> Event:
    """One event by its id, which names its customer. Raises NotFound, also for another's."""
    event_id = ids.parse("event", event)
    owner = ids.customer_of(event_id)
    if customer_id is not None and owner != customer_id:
        raise NotFound(f"No such event: {event[:64]!r}.")
    with env.db.read() as tx:
        seq = event_search.seq_of(tx, owner, event_id)
        found = [] if seq is None else follow(tx, owner, seq - 1, limit=1)
    if not found:
        raise NotFound(f"No such event: {event[:64]!r}.")
    return found[0]


def after(
    env: Env,
    customer_id: UUID,
    seq: int,
    *,
    limit: int = 20,
    types: Sequence[str] | None = None,
    subject_id: UUID | None = None,
) -> list[Event]:
    """The ordered feed: a customer's events after a number, oldest first. Without a filter their
    numbers have no gaps."""
    _check_types(types)
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, seq, id, type, subject_id, data, cause, created_at from events"
            " where customer_id = %(customer_id)s and seq > %(after)s"
            " and (%(types)s::text[] is null or type = any(%(types)s))"
            " and (%(subject_id)s::uuid is null or subject_id = %(subject_id)s)"
            " order by seq limit %(limit)s",
            {"customer_id": customer_id, "after": seq, "types": list(types) if types else None,
             "subject_id": subject_id, "limit": limit},
        )  # fmt: skip
    return [event_of(row) for row in rows]


def _check_types(types: Sequence[str] | None) -> None:
    for type_ in types or ():
        if type_ not in TYPES:
            raise InvalidRequest(f"{type_[:64]!r} is not a type of event.", param="type")


def list_events(
    env: Env,
    customer_id: UUID | None = None,
    *,
    limit: int = 20,
    before: str | None = None,
    types: Sequence[str] | None = None,
    subject_id: UUID | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[Event]:
    """Events, newest first: one customer's, or everybody's. `before`: the last id already seen.
    `since` is inclusive, `until` is not."""
    cursor = get_event(env, before, customer_id=customer_id) if before else None
    _check_types(types)
    if customer_id is None:
        return _everybodys(env, limit, cursor, types, subject_id, since, until)
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, seq, id, type, subject_id, data, cause, created_at from events"
            " where customer_id = %(customer_id)s and seq < %(before)s"
            " and (%(types)s::text[] is null or type = any(%(types)s))"
            " and (%(subject_id)s::uuid is null or subject_id = %(subject_id)s)"
            " and (%(since)s::timestamptz is null or created_at >= %(since)s)"
            " and (%(until)s::timestamptz is null or created_at < %(until)s)"
            " order by seq desc limit %(limit)s",
            {"customer_id": customer_id, "before": cursor.seq if cursor else 2**62,
             "types": list(types) if types else None, "subject_id": subject_id, "limit": limit,
             "since": since, "until": until},
        )  # fmt: skip
    return [event_of(row) for row in rows]


#: A page of everybody's events is looked for in ever wider windows of time, which an index of
#: block ranges serves: it costs the writers next to nothing.
_WINDOWS = [timedelta(hours=1), timedelta(days=2), timedelta(days=60), timedelta(days=36_500)]


def _everybodys(
    env: Env, limit: int, cursor: Event | None, types: Sequence[str] | None,
    subject_id: UUID | None, since: datetime | None, until: datetime | None,
) -> list[Event]:  # fmt: skip
    newest = cursor.created_at if cursor else env.now()
    if until is not None:
        newest = min(newest, until)
    last = cursor.created_at if cursor else datetime(9999, 1, 1, tzinfo=UTC)
    rows: list[Any] = []
    with env.db.read() as tx:
        for window in _WINDOWS:
            begin = newest - window
            rows = tx.all(
                "select customer_id, seq, id, type, subject_id, data, cause, created_at"
                " from events where created_at >= %(since)s and created_at <= %(last)s"
                " and (%(until)s::timestamptz is null or created_at < %(until)s)"
                " and (%(id)s::uuid is null or (created_at, id) < (%(last)s, %(id)s))"
                " and (%(types)s::text[] is null or type = any(%(types)s))"
                " and (%(subject_id)s::uuid is null or subject_id = %(subject_id)s)"
                " order by created_at desc, id desc limit %(limit)s",
                {"since": max(begin, since) if since else begin, "last": last, "until": until,
                 "id": ids.parse("event", cursor.id) if cursor else None,
                 "types": list(types) if types else None,
                 "subject_id": subject_id, "limit": limit},
            )  # fmt: skip
            if len(rows) >= limit or (since is not None and begin <= since):
                break
    return [event_of(row) for row in rows]


def event_of(row: Mapping[str, Any]) -> Event:
    """The event of a whole row of the table."""
    return Event(
        id=ids.show("event", row["id"]),
        customer_id=row["customer_id"],
        seq=row["seq"],
        type=row["type"],
        subject_id=row["subject_id"],
        data=row["data"] or {},
        cause=row["cause"],
        created_at=row["created_at"],
    )


# Publishing ------------------------------------------------------------------------------------


def publish(env: Env, sink: str = "live", *, limit: int = 2_000) -> int:
    """Move the feed on over everything that is new, and push one hint; answers how many events.

    Customers whose head is locked come last and are waited for shortly, else they stay for the
    next time. A failure before the commit leaves their news; one after it loses a hint, which
    the receivers' own polling makes up for.
    """
    moved: list[_Moved] = []
    seen: set[UUID] = set()
    busy: list[UUID] = []
    while len(seen) < limit:
        with env.db.read() as tx:
            rows = tx.all(
                "select customer_id from news where customer_id <> all(%(seen)s) limit %(limit)s",
                {"seen": list(seen), "limit": _CUSTOMERS_A_GROUP},
            )
        if not rows:
            break
        group = [row["customer_id"] for row in rows]
        seen.update(group)
        done = _move_on(env, sink, group)
        moved += done
        busy += sorted(set(group) - {one.customer_id for one in done})
    until = time.monotonic() + _WAITS_S
    for customer_id in busy:
        if (left_s := until - time.monotonic()) <= 0:
            break
        with contextlib.suppress(Busy, UnknownCustomer):
            moved += _move_on(env, sink, [customer_id], wait_s=min(1.0, left_s))
    hints = [(one.customer_id, one.seq) for one in moved if one.seq > one.before]
    if hints:
        push(env, hints)
    return sum(one.seq - one.before for one in moved)


class _Moved(NamedTuple):
    customer_id: UUID
    before: int
    seq: int


def _move_on(
    env: Env, sink: str, group: list[UUID], *, wait_s: float | None = None
) -> list[_Moved]:
    """Bring these customers' feeds up to their heads; without `wait_s`, of those not locked.

    Also says so to the sinks that keep a place of their own, the application's handlers.
    """
    with env.db.transaction(*(group if wait_s else ()), wait_s=wait_s) as tx:
        rows = tx.all(
            "select h.customer_id, h.seq, coalesce(f.seq, 0) as before from heads h"
            " left join feeds f on f.customer_id = h.customer_id and f.sink = %(sink)s"
            " where h.customer_id = any(%(group)s) order by h.customer_id"
            " for no key update of h skip locked",
            {"group": group, "sink": sink},
        )
        arrays = {
            "customers": [row["customer_id"] for row in rows],
            "seqs": [row["seq"] for row in rows],
            "befores": [row["before"] for row in rows],
            "sink": sink,
            "now": env.now(),
        }
        tx.run("delete from news where customer_id = any(%(customers)s)", arrays)
        tx.run(
            "insert into feeds (customer_id, sink, seq)"
            " select customer_id, %(sink)s, seq"
            " from unnest(%(customers)s::uuid[], %(seqs)s::bigint[]) as n (customer_id, seq)"
            " on conflict (customer_id, sink) do update"
            " set seq = greatest(feeds.seq, excluded.seq)",
            arrays,
        )
        tx.run(
            "insert into feeds (customer_id, sink, seq, try_at)"
            " select n.customer_id, s.name, n.seq, %(now)s"
            " from unnest(%(customers)s::uuid[], %(befores)s::bigint[]) as n (customer_id, seq)"
            " cross join sinks s where s.name <> %(sink)s"
            " on conflict (customer_id, sink) do update"
            " set try_at = coalesce(feeds.try_at, excluded.try_at)",
            arrays,
        )
        # Whose balance may have fallen is looked at, so that nothing is asked of who spends.
        tx.run(
            "update refills set woken = true where customer_id = any(%(customers)s)"
            " and state = 'active' and not woken",
            arrays,
        )
        crash.at("publish_before_commit")
    crash.at("publish_after_commit")
    return [_Moved(row["customer_id"], row["before"], row["seq"]) for row in rows]


def push(env: Env, hints: Sequence[tuple[UUID, int]]) -> bool:
    """Tell every process which customers have something new. Whether somebody took the message.

    Through Redis when there is one and it answers, else by NOTIFY. Never raises for a channel
    that is down: it is a hint.
    """
    for start in range(0, len(hints), _HINTS_A_PAYLOAD):
        part = hints[start : start + _HINTS_A_PAYLOAD]
        if not _send(env, LIVE_CHANNEL, [[c.hex, seq] for c, seq in part]):
            return False
    return True


def forget(env: Env, *keys: str) -> None:
    """Drop keys from every process's cache; one that does not hear it waits out the seconds."""
    env.cache.drop(*keys)
    part: list[str] = []
    room = _KEYS_BYTES
    for key in keys:
        taken = len(json.dumps(key)) + 1
        if part and taken > room:
            _send(env, CACHE_CHANNEL, part)
            part, room = [], _KEYS_BYTES
        part.append(key)
        room -= taken
    if part:
        _send(env, CACHE_CHANNEL, part)


def _send(env: Env, channel: Mapping[str, str], message: list[Any]) -> bool:
    payload = json.dumps(message, separators=(",", ":"))
    redis = env.cache.redis
    if redis is not None and redis.publish(channel["redis"], payload):
        return True
    try:
        with env.db.read() as tx:
            tx.one("select pg_notify(%(channel)s, %(payload)s)",
                   {"channel": channel["postgres"], "payload": payload})  # fmt: skip
    except (DatabaseUnavailable, psycopg.Error) as exc:
        log.warning("a hint was not sent", channel=channel["postgres"], error=str(exc))
        return False
    return True
