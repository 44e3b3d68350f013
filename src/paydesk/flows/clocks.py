"""Clocks that are moved by hand: what is due for their customers is done in due order.

A clock stands until it is advanced, and never goes back. A customer stands on one from the day
he is made, for good. The ordinary sweeps pass over such customers; `advance` does for them what
the sweeps do for everybody else, one due row after the other, each at its own instant. Only where
no real money moves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg

from paydesk import crash, ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import Conflict, InvalidRequest, NotFound, NotPermitted, PaydeskError
from paydesk.flows import charges, clock_sources, invoice_numbers, provider_calls, refunds
from paydesk.flows import provider_clocks as theirs
from paydesk.flows.clock_sources import Due, register
from paydesk.logger import get_logger
from paydesk.rules import fields
from paydesk.rules.payments import OPEN_STATES

__all__ = [
    "ClockView", "Due", "advance", "begin", "create", "delete", "get", "is_sandbox", "list_",
    "register", "run", "run_due",
]  # fmt: skip

log = get_logger(__name__)

#: How far one advance may lead.
MOST = timedelta(days=3653)
#: How often one row may be due at one instant before it is given up.
MOST_REPEATS = 50
#: Steps of one clock in a round of the sweep, so that none waits for another's years.
ROUND = 50
#: What a step may be kept from by others for a moment, it is tried so often for.
_TRIES = 3
_PAUSE_S = 0.2
#: How long whoever waits for another's advance rests between looks.
_LOOK_S = 0.1
_LOCKS = 0x70617964


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockView:
    """`state`: ready, advancing (to `advancing_to`), failed (`error` says why; advance again goes
    on), or deleted. `customers`: how many stand on it."""

    uuid: UUID
    name: str
    now: datetime
    advancing_to: datetime | None
    error: str | None
    deleted_at: datetime | None
    customers: int
    created_at: datetime

    @property
    def id(self) -> str:
        return ids.show("clock", self.uuid)

    @property
    def state(self) -> str:
        if self.deleted_at is not None:
            return "deleted"
        if self.advancing_to is None:
            return "ready"
        return "advancing" if self.error is None else "failed"

    def __repr__(self) -> str:
        return f"<Clock {self.id} {self.now:%Y-%m-%d %H:%M:%S} {self.state}>"


def is_sandbox(env: Env) -> bool:
    """Whether no real money moves: only then may clocks be moved."""
    return not any(env.providers[name].livemode for name in env.providers)


def _check_sandbox(env: Env) -> None:
    if env.settings.live or not is_sandbox(env):
        raise NotPermitted("Clocks are moved in the sandbox only: a live key is set.")


# Making and looking -----------------------------------------------------------------------------


def create(env: Env, *, at: datetime | None = None, name: str = "") -> ClockView:
    """A clock that stands at an instant, now unless told. Raises NotPermitted with a live key."""
    _check_sandbox(env)
    now = env.now()
    at = at or now
    if at.tzinfo is None or abs(at - now) > MOST:
        raise InvalidRequest("A clock begins within ten years of now, with a zone.", param="now")
    made = ids.new_catalog()
    with env.db.transaction() as tx:
        tx.run(
            "insert into clocks (id, name, now_at, created_at)"
            " values (%(id)s, %(name)s, %(at)s, %(now)s)",
            {"id": made, "at": at, "now": now,
             "name": fields.optional_text(name or None, "name", most=255) or ""},
        )  # fmt: skip
    return get(env, made)


_VIEW = """
    select c.id as uuid, c.name, c.now_at as now, c.advancing_to, c.error, c.deleted_at,
        (select count(*) from clock_customers k where k.clock_id = c.id) as customers, c.created_at
    from clocks c where """


def get(env: Env, ref: str | UUID | ClockView) -> ClockView:
    """One clock, also a deleted one. Raises NotFound."""
    with env.db.read() as tx:
        return _read(tx, id_of(ref))


def id_of(ref: str | UUID | ClockView) -> UUID:
    if isinstance(ref, ClockView):
        return ref.uuid
    return ref if isinstance(ref, UUID) else ids.parse("clock", ref)


def _read(tx: Tx, clock_id: UUID) -> ClockView:
    row = tx.one(_VIEW + "c.id = %(id)s", {"id": clock_id})
    if row is None:
        raise NotFound(f"No such clock: {ids.show('clock', clock_id)}.")
    return ClockView(**row)


def list_(env: Env, *, limit: int = 20, after: str | UUID | None = None) -> list[ClockView]:
    """Clocks that are not deleted, newest first."""
    with env.db.read() as tx:
        rows = tx.all(
            _VIEW + "c.deleted_at is null and (%(after)s::uuid is null or c.id < %(after)s)"
            " order by c.id desc limit %(limit)s",
            {"after": None if after is None else id_of(after), "limit": limit},
        )
    return [ClockView(**row) for row in rows]


def of_customer(env: Env, customer_id: UUID) -> ClockView | None:
    """The clock a customer stands on; None where it is everybody's."""
    with env.db.read() as tx:
        clock_id = tx.value(
            "select clock_id from heads where customer_id = %(customer_id)s",
            {"customer_id": customer_id},
        )
        return None if clock_id is None else _read(tx, clock_id)


def delete(env: Env, ref: str | UUID | ClockView) -> ClockView:
    """Never move a clock again. Its customers stay, at the instant where it stands.

    Raises Conflict while it is being advanced, NotFound.
    """
    _check_sandbox(env)
    clock_id = id_of(ref)
    with env.db.transaction() as tx:
        found = _locked(tx, clock_id)
        if found.state == "advancing":
            raise Conflict("The clock is being advanced.")
        tx.run(
            "update clocks set deleted_at = coalesce(deleted_at, %(now)s), advancing_to = null"
            " where id = %(id)s",
            {"id": clock_id, "now": env.now()},
        )
        return _read(tx, clock_id)


def _locked(tx: Tx, clock_id: UUID) -> ClockView:
    tx.one("select id from clocks where id = %(id)s for no key update", {"id": clock_id})
    return _read(tx, clock_id)


# Moving -----------------------------------------------------------------------------------------


def advance(
    env: Env, ref: str | UUID | ClockView, to: datetime | None = None,
    *, by: timedelta | None = None,
) -> ClockView:  # fmt: skip
    """Move a clock ahead, and do on the way what falls due for its customers, in due order.

    When this returns it is done, also where another process did part of it; after a crash the
    same call goes on. What a step raises comes through, and the clock waits there (`failed`).
    Raises InvalidRequest for an earlier instant, Conflict for a deleted clock or one that is on
    its way to another instant, NotPermitted with a live key.
    """
    found = begin(env, ref, to, by=by)
    while found.state == "advancing":
        if not run(env, found.uuid):
            time.sleep(_LOOK_S)  # Another process is at it.
        found = get(env, found.uuid)
    if found.state == "failed":
        raise Conflict(f"The clock could not be advanced: {found.error}")
    return found


def begin(
    env: Env, ref: str | UUID | ClockView, to: datetime | None = None,
    *, by: timedelta | None = None,
) -> ClockView:  # fmt: skip
    """Only say how far a clock is to go; `run` takes it there, the worker's sweep does so too."""
    _check_sandbox(env)
    clock_id = id_of(ref)
    with env.db.transaction() as tx:
        found = _locked(tx, clock_id)
        to = _target(found, to, by)
        tx.run(
            "update clocks set advancing_to = %(to)s, error = null where id = %(id)s",
            {"id": clock_id, "to": to},
        )
        return _read(tx, clock_id)


def _target(found: ClockView, to: datetime | None, by: timedelta | None) -> datetime:
    if (to is None) == (by is None):
        raise InvalidRequest("Say where to, or by how much.", param="to")
    if found.state == "deleted":
        raise Conflict("The clock is deleted.")
    if to is None:
        assert by is not None
        to = found.now + by
    if to.tzinfo is None:
        raise InvalidRequest("An instant has a zone.", param="to")
    if to < found.now:
        raise InvalidRequest(f"A clock never goes back: it is {found.now:%Y-%m-%d %H:%M:%S} UTC.",
                             param="to")  # fmt: skip
    if to > found.now + MOST:
        raise InvalidRequest("At most ten years at a time.", param="to")
    if found.state == "advancing" and to != found.advancing_to:
        raise Conflict(f"The clock is on its way to {found.advancing_to:%Y-%m-%d %H:%M:%S} UTC.")
    return to


def run(env: Env, clock_id: UUID, *, steps: int | None = None) -> bool:
    """Take a clock that is on its way further, at most so many steps; False where another process
    does. A fault of a step is written to the clock and raised."""
    with _alone(env, clock_id) as is_mine:
        if not is_mine:
            return False
        try:
            _run(env, clock_id, steps)
        except (PaydeskError, psycopg.Error) as exc:
            _fail(env, clock_id, exc)
            raise
    return True


def run_due(env: Env, limit: int = 20) -> int:
    """Sweep: take every clock that is on its way a round further. Answers how many were."""
    with env.db.read() as tx:
        rows = tx.all(
            "select id from clocks where advancing_to is not null and error is null"
            " and deleted_at is null order by updated_at limit %(limit)s",
            {"limit": limit},
        )
    done = 0
    for row in rows:
        try:
            done += run(env, row["id"], steps=ROUND)
        except (PaydeskError, psycopg.Error) as exc:
            log.warning("a clock waits", clock=ids.show("clock", row["id"]), why=repr(exc)[:300])
    return done


@contextmanager
def _alone(env: Env, clock_id: UUID) -> Iterator[bool]:
    """Whether this process alone moves the clock for the block. A process that dies lets go."""
    conn = env.db.connect()
    try:
        keys = (_LOCKS, int.from_bytes(clock_id.bytes[-4:], "big", signed=True))
        row = conn.execute("select pg_try_advisory_lock(%s, %s) as mine", keys).fetchone()
        yield bool(row and row["mine"])
    finally:
        conn.close()


def _run(env: Env, clock_id: UUID, steps: int | None) -> None:
    found = get(env, clock_id)
    if found.advancing_to is None:
        return
    _hear(env, clock_id, all_open=True)
    theirs.look(env, clock_id, _tried)  # Who moved the provider's may have died then.
    last, repeats, left = None, 0, steps
    while left is None or left > 0:
        row = clock_sources.next_due(env, clock_id, found.advancing_to)
        to = found.advancing_to if row is None else row["due_at"]
        if theirs.bring(env, clock_id, to):  # The provider first, that nothing lapses here.
            _move(env, clock_id, to)
            crash.at("provider_clock_before_look")
            theirs.look(env, clock_id, _tried)
            left = None if left is None else left - 1
            continue  # What is due now may be another.
        if row is None:
            _hear(env, clock_id, all_open=True)
            if clock_sources.next_due(env, clock_id, found.advancing_to) is None:
                invoice_numbers.number_of_clock(env, clock_id)
                _finish(env, found)
                return
            continue
        key = tuple(row.values())
        repeats = repeats + 1 if key == last else 0
        last = key
        if repeats > MOST_REPEATS:
            raise Conflict(f"{row['name']} of {row['id']} stays due.")
        _move(env, clock_id, row["due_at"])
        crash.at("clock_after_move")
        _step(env, row)
        crash.at("clock_after_step")
        _hear(env, clock_id)
        left = None if left is None else left - 1


def _move(env: Env, clock_id: UUID, to: datetime) -> None:
    with env.db.transaction() as tx:
        tx.run(
            "update clocks set now_at = least(greatest(now_at, %(to)s), advancing_to)"
            " where id = %(id)s and advancing_to is not null",
            {"id": clock_id, "to": to},
        )


def _step(env: Env, row: dict[str, Any]) -> None:
    source = clock_sources.DUE[row["name"]]
    _tried(lambda: source.step(env, row["customer_id"], row["id"]))


def _tried(do: Callable[[], Any]) -> None:
    for left in reversed(range(_TRIES)):
        try:
            do()
            return
        except PaydeskError:
            if not left:
                raise
            time.sleep(_PAUSE_S)


def _finish(env: Env, found: ClockView) -> None:
    crash.at("clock_before_finish")
    with env.db.transaction() as tx:
        tx.run(
            "update clocks set now_at = greatest(now_at, advancing_to), advancing_to = null,"
            " error = null where id = %(id)s and advancing_to = %(to)s",
            {"id": found.uuid, "to": found.advancing_to},
        )


def _fail(env: Env, clock_id: UUID, exc: BaseException) -> None:
    told = f"{type(exc).__name__}: {exc}"[:1000]
    with suppress(PaydeskError, psycopg.Error), env.db.transaction() as tx:
        tx.run(
            "update clocks set error = %(error)s where id = %(id)s and advancing_to is not null",
            {"id": clock_id, "error": told},
        )


# What the provider has to say -------------------------------------------------------------------


def _hear(env: Env, clock_id: UUID, *, all_open: bool = False) -> None:
    """Go on with calls of the provider and ask it about payments that are under way, in real
    time; with `all_open` also about those that wait for the customer, and about refunds."""
    states = sorted(OPEN_STATES) if all_open else ["processing"]
    with env.db.read() as tx:
        calls = tx.all(
            "select p.customer_id, p.id from clock_customers k join provider_calls p"
            " using (customer_id) where k.clock_id = %(clock_id)s"
            " and p.state in ('intended', 'unknown') and p.try_at <= %(now)s"
            " order by p.try_at limit 100",
            {"clock_id": clock_id, "now": env.now()},
        )
        payments = tx.all(
            "select p.customer_id, p.id from clock_customers k join payments p"
            " using (customer_id) where k.clock_id = %(clock_id)s and p.state = any(%(states)s)"
            " and coalesce(p.session_ref, p.provider_payment_ref) is not null"
            " order by p.created_at limit 100",
            {"clock_id": clock_id, "states": states},
        )
        pending = [] if not all_open else tx.all(
            "select r.customer_id, r.id from clock_customers k join refunds r"
            " using (customer_id) where k.clock_id = %(clock_id)s and r.state = 'pending'"
            " and r.provider_ref is not null limit 100",
            {"clock_id": clock_id},
        )  # fmt: skip
    for row in calls:
        with _quietly("provider_calls", row):
            provider_calls.resume(env, row["customer_id"], row["id"])
    for row in payments:
        with _quietly("payments", row):
            charges.refresh(env, row["customer_id"], row["id"], "sweep")
    for row in pending:
        with _quietly("refunds", row):
            refunds.refresh(env, row["customer_id"], row["id"], "sweep")


@contextmanager
def _quietly(what: str, row: dict[str, Any]) -> Iterator[None]:
    """A provider that is away keeps no clock standing: it is asked again the next time."""
    try:
        yield
    except PaydeskError as exc:
        log.info("a clock goes on without an answer", of=what, row=str(row["id"]),
                 why=repr(exc)[:300])  # fmt: skip
