"""Handlers of the application: every event at least once, in order, from the outbox.

A sink keeps its own place in each customer's events. An event whose handler failed does not
hold up the rest: it is tried again by itself, ever later, and parked in the end.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.flows import events
from paydesk.flows.events import Event
from paydesk.logger import get_logger

log = get_logger(__name__)

Handle = Callable[[Event], None]

#: Nobody else takes a customer's events for so long; each event done renews it.
_LEASE = timedelta(seconds=60)
_PAGE = 50
MAX_TRIES = 8


def register(env: Env, sink: str) -> None:
    """Make a sink known: from now on it gets every event. Does nothing when it is known."""
    with env.db.transaction() as tx:
        tx.run("insert into sinks (name) values (%(sink)s) on conflict do nothing", {"sink": sink})


def drain(env: Env, sink: str, handle: Handle, *, limit: int = 100) -> int:
    """Hand on what is due for the sink; answers how many events were handled well."""
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id from feeds where sink = %(sink)s and try_at <= %(now)s"
            " order by try_at limit %(limit)s",
            {"sink": sink, "now": env.now(), "limit": limit},
        )
    done = sum(_drain_customer(env, sink, handle, row["customer_id"]) for row in rows)
    return done + _try_again(env, sink, handle, limit)


def parked(env: Env, sink: str | None = None, *, limit: int = 100) -> list[tuple[Event, str]]:
    """Events that no handler could take, newest first, each with the last error."""
    with env.db.read() as tx:
        rows = tx.all(
            "select e.customer_id, e.seq, e.id, e.type, e.subject_id, e.data, e.cause,"
            " e.created_at, d.error from deliveries d"
            " join events e on e.customer_id = d.customer_id and e.seq = d.seq"
            " where d.state = 'parked' and (%(sink)s::text is null or d.sink = %(sink)s)"
            " order by d.created_at desc limit %(limit)s",
            {"sink": sink, "limit": limit},
        )
    return [(events.event_of(row), row["error"] or "") for row in rows]


def replay(env: Env, customer_id: UUID, seq: int, sink: str) -> bool:
    """Try a parked event again at the next drain; whether it was parked."""
    with env.db.transaction(customer_id) as tx:
        return bool(
            tx.run(
                "update deliveries set state = 'waiting', tries = 0, try_at = %(now)s"
                " where customer_id = %(customer_id)s and sink = %(sink)s and seq = %(seq)s"
                " and state = 'parked'",
                {"customer_id": customer_id, "sink": sink, "seq": seq, "now": env.now()},
            )
        )


def _drain_customer(env: Env, sink: str, handle: Handle, customer_id: UUID) -> int:
    done = 0
    while (found := _lease(env, sink, customer_id)) is not None:
        for event in found:
            error = _handled(handle, event)
            done += error is None
            _advance(env, sink, event, error)
        _end_lease(env, sink, customer_id)
    return done


def _lease(env: Env, sink: str, customer_id: UUID) -> list[Event] | None:
    """The next events of a customer, for us alone; None when all is done or another has them."""
    with env.db.transaction(customer_id) as tx:
        keys = {"customer_id": customer_id, "sink": sink, "now": env.now(),
                "until": env.now() + _LEASE}  # fmt: skip
        seq = tx.value(
            "update feeds set try_at = %(until)s where customer_id = %(customer_id)s"
            " and sink = %(sink)s and try_at <= %(now)s returning seq",
            keys,
        )
        return None if seq is None else events.follow(tx, customer_id, seq, limit=_PAGE)


def _handled(handle: Handle, event: Event) -> str | None:
    """None when the handler took the event, else what it raised."""
    try:
        handle(event)
        return None
    except Exception as exc:  # The application's code: whatever it raises is kept with the event.
        log.exception("a handler failed", event_id=event.id, type=event.type)
        return f"{type(exc).__name__}: {exc}"[:500]


def _advance(env: Env, sink: str, event: Event, error: str | None) -> None:
    with env.db.transaction() as tx:
        keys = {"customer_id": event.customer_id, "sink": sink, "seq": event.seq,
                "now": env.now(), "until": env.now() + _LEASE, "error": error}  # fmt: skip
        if error is not None:
            tx.run(
                "insert into deliveries (customer_id, sink, seq, state, try_at, error)"
                " values (%(customer_id)s, %(sink)s, %(seq)s, 'waiting', %(then)s, %(error)s)"
                " on conflict do nothing",
                {**keys, "then": env.now() + _pause(1)},
            )
        tx.run(
            "update feeds set seq = greatest(seq, %(seq)s), try_at = %(until)s"
            " where customer_id = %(customer_id)s and sink = %(sink)s",
            keys,
        )


def _end_lease(env: Env, sink: str, customer_id: UUID) -> None:
    """The rest, where more has come meanwhile, is due at once."""
    with env.db.transaction(customer_id) as tx:
        tx.run(
            "update feeds set try_at = case when seq >= %(last)s then null else %(now)s end"
            " where customer_id = %(customer_id)s and sink = %(sink)s",
            {"customer_id": customer_id, "sink": sink, "last": tx.heads[customer_id].seq,
             "now": env.now()},
        )  # fmt: skip


def _try_again(env: Env, sink: str, handle: Handle, limit: int) -> int:
    done = 0
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, seq from deliveries where sink = %(sink)s"
            " and state = 'waiting' and try_at <= %(now)s order by try_at limit %(limit)s",
            {"sink": sink, "now": env.now(), "limit": limit},
        )
    for row in rows:
        event = _lease_one(env, sink, row["customer_id"], row["seq"])
        if event is None:
            continue
        error = _handled(handle, event)
        done += error is None
        with env.db.transaction(event.customer_id) as tx:
            _settle_one(tx, env, sink, event, error)
    return done


def _lease_one(env: Env, sink: str, customer_id: UUID, seq: int) -> Event | None:
    with env.db.transaction(customer_id) as tx:
        taken = tx.run(
            "update deliveries set try_at = %(until)s where customer_id = %(customer_id)s"
            " and sink = %(sink)s and seq = %(seq)s and state = 'waiting' and try_at <= %(now)s",
            {"customer_id": customer_id, "sink": sink, "seq": seq, "now": env.now(),
             "until": env.now() + _LEASE},
        )  # fmt: skip
        found = events.follow(tx, customer_id, seq - 1, limit=1) if taken else []
        return found[0] if found else None


def _settle_one(tx: Tx, env: Env, sink: str, event: Event, error: str | None) -> None:
    keys = {"customer_id": event.customer_id, "sink": sink, "seq": event.seq, "error": error}
    tries = tx.value(
        "update deliveries set tries = tries + 1, error = %(error)s"
        " where customer_id = %(customer_id)s and sink = %(sink)s and seq = %(seq)s"
        " returning tries",
        keys,
    )
    if error is None:
        state = "done"
    else:
        state = "parked" if tries >= MAX_TRIES else "waiting"
    tx.run(
        "update deliveries set state = %(state)s, try_at = %(then)s"
        " where customer_id = %(customer_id)s and sink = %(sink)s and seq = %(seq)s",
        {**keys, "state": state, "then": env.now() + _pause(tries)},
    )


def _pause(tries: int) -> timedelta:
    """1, 2, 4 … seconds, at most ten minutes."""
    return timedelta(seconds=min(2 ** min(tries - 1, 20), 600))
