"""The inbox: a provider's event is verified, stored and committed, and only then applied.

Stored means acknowledged. A row that cannot be applied waits with back-off, is parked after
some tries, and delays no other; a redelivery, the sweep or a person takes it up again.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import structlog

from paydesk import causes, crash, telemetry
from paydesk.env import Env
from paydesk.errors import (
    BodyTooLarge,
    InvalidSignature,
    NotFound,
    PaydeskError,
    ProviderUnavailable,
    Unavailable,
)
from paydesk.flows import charges
from paydesk.flows.charges import ASK, DONE, FOREIGN, STALE, UNKNOWN, Claim
from paydesk.providers.base import Charge, MissingHeader, ProviderEvent, WebhookHeaders
from paydesk.rules.payments import backoff_s, is_ours, owner_in_metadata

log = structlog.get_logger(__name__)

#: So many events are applied in one transaction.
GROUP = 64
#: How long whoever stored an event has it for itself before the sweep takes it.
LEASE_S = 60
#: How long an event may come before we know of what it is about; after it, what bears no id of
#: ours is another program's on the same account.
STRANGE_S = 600
#: After an outage an event is tried again this soon at the latest.
OUTAGE_BACKOFF_S = 60
#: How long one event waits for its customer's lock, and all of a group together.
LOCK_WAIT_S, LOCK_WAITS_S = 1.0, 3.0
#: Even when that is used up.
LEAST_LOCK_WAIT_S = 0.05

#: Who applies what is no charge: `apply_event(env, provider=, account=, owner=, event=, path=,
#: wait_s=)`. It raises what keeps it from being applied.
APPLY = {
    "refund.updated": "paydesk.flows.refunds",
    "dispute.updated": "paydesk.flows.disputes",
    "method.updated": "paydesk.flows.methods",
    "setup.updated": "paydesk.flows.setups",
    "subscription.updated": "paydesk.flows.provider_billing_events",
    "invoice.updated": "paydesk.flows.provider_billing_events",
}
#: What is asked where an event does not say of which payment it is.
WHOSE = {"refund.updated": "fetch_refund", "dispute.updated": "fetch_dispute"}

#: An event's provider, account and id; its next state and why.
Key = tuple[str, str, str]
State = tuple[str, str | None]
Delivery = tuple[bytes, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Received:
    """What became of a delivery: `state` is new, waiting, done or parked."""

    event_id: str
    type: str
    state: str
    is_duplicate: bool = False


@dataclass(slots=True)
class _Row:
    """An event under way."""

    provider: str
    account: str
    event: ProviderEvent
    tries: int = 0
    received_at: datetime | None = None
    owner: tuple[UUID, UUID] | None = None

    @property
    def key(self) -> Key:
        return self.provider, self.account, self.event.id


class _Wait(Exception):
    """The event cannot be applied now; the message says why."""


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
    env: Env, provider: str, deliveries: Sequence[Delivery]
) -> list[list[Received] | PaydeskError]:
    """Several webhooks at once: one insert, then groups of 64 in a transaction each.

    Answers in order; a delivery that was refused answers its error.
    """
    read = [_verified(env, provider, body, headers) for body, headers in deliveries]
    rows = [_row(env, provider, e) for one in read if not isinstance(one, PaydeskError)
            for e in one]  # fmt: skip
    stored = store(env, rows)
    crash.at("webhook_after_store")
    todo = [row for row in _distinct(rows) if stored[row.key].state in ("new", "waiting")]
    states: dict[Key, str] = {}
    try:
        found = _apply_rows(env, todo, "webhook")
        states = {row.key: state for row, state in zip(todo, found, strict=True)}
    except (Unavailable, psycopg.Error) as exc:  # Stored is acknowledged: the sweep goes on.
        log.warning("stored events are not applied yet", error=repr(exc)[:300])
    crash.at("inbox_after_done")
    answer: list[list[Received] | PaydeskError] = []
    for one in read:
        if isinstance(one, PaydeskError):
            answer.append(one)
            continue
        keys = [_row(env, provider, e).key for e in one]
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


def _row(env: Env, provider: str, event: ProviderEvent) -> _Row:
    return _Row(provider, event.account or env.providers[provider].account, event)


def _distinct(rows: Iterable[_Row]) -> list[_Row]:
    return list({row.key: row for row in rows}.values())


def store(env: Env, rows: Sequence[_Row]) -> dict[Key, Received]:
    """Write the events and commit; a known one counts its delivery, a parked one wakes up."""
    counts: dict[Key, int] = {}
    for row in rows:
        counts[row.key] = counts.get(row.key, 0) + 1
    unique = sorted(_distinct(rows), key=lambda row: row.key)
    if not unique:
        return {}
    now = env.now()
    first = [_first_state(env, row) for row in unique]
    with env.db.transaction() as tx:
        # Bodies travel in the binary format (b): as text every quotation mark would be escaped.
        found = tx.all(
            "insert into provider_events as e (provider, account, event_id, type, ref, body, state,"
            " error, try_at, deliveries, received_at, applied_at)"
            " select n.*, %(now)s, case when n.state = 'done' then %(now)s end"
            " from unnest(%(providers)s::text[], %(accounts)s::text[], %(ids)s::text[],"
            "  %(types)s::text[], %(refs)s::text[], %(bodies)b::text[], %(states)s::text[],"
            "  %(errors)s::text[], %(try_at)s::timestamptz[], %(counts)s::int[])"
            "  as n(provider, account, event_id, type, ref, body, state, error, try_at, deliveries)"
            " on conflict (provider, account, event_id) do update set"
            "  deliveries = e.deliveries + excluded.deliveries,"
            "  state = case when e.state = 'parked' and excluded.state = 'new' then 'waiting'"
            "   else e.state end,"
            "  tries = case when e.state = 'parked' then 0 else e.tries end,"
            "  try_at = case when e.state = 'parked' then excluded.try_at else e.try_at end"
            " returning e.provider, e.account, e.event_id, e.type, e.state,"
            "  e.xmax <> 0 as is_duplicate",
            {
                "now": now,
                "providers": [row.provider for row in unique],
                "accounts": [row.account for row in unique],
                "ids": [row.event.id for row in unique],
                "types": [row.event.type for row in unique],
                "refs": [row.event.ref for row in unique],
                "bodies": [row.event.body for row in unique],
                "states": [state for state, _ in first],
                "errors": [error for _, error in first],
                "try_at": [now + timedelta(seconds=LEASE_S)] * len(unique),
                "counts": [counts[row.key] for row in unique],
            },
        )
        crash.at("webhook_before_store_commit")
    return {
        (r["provider"], r["account"], r["event_id"]): Received(
            r["event_id"], r["type"], r["state"], r["is_duplicate"]
        )
        for r in found
    }


def _first_state(env: Env, row: _Row) -> tuple[str, str | None]:
    """What can never be applied is parked at once; what says nothing new is done."""
    event, provider = row.event, env.providers[row.provider]
    if event.problem:
        return "parked", event.problem
    if event.kind == "ignored":
        return "done", None
    if row.account != provider.account:
        return "parked", "The event is another account's."
    if event.livemode is not None and event.livemode != provider.livemode:
        return "parked", "The event is of the other mode (live or test)."
    return "new", None


def apply(
    env: Env, provider: str, account: str, event_id: str, path: str = "webhook"
) -> str:
    """Apply one stored event, whatever its state; answers the state it has then."""
    with env.db.read() as tx:
        row = tx.one(
            "select provider, account, event_id, type, ref, body, tries, received_at"
            " from provider_events where provider = %(provider)s and account = %(account)s"
            " and event_id = %(id)s",
            {"provider": provider, "account": account, "id": event_id},
        )
    if row is None:
        raise NotFound(f"No such event: {event_id[:64]!r}.")
    return _apply_stored(env, [row], path)[0]


def replay(env: Env, provider: str, account: str, event_id: str) -> str:
    """A person takes a stored event up again; applying it twice changes nothing."""
    return apply(env, provider, account, event_id, "admin")


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


def apply_waiting(env: Env, limit: int = GROUP) -> int:
    """Sweep: apply what was stored and not applied, and what waits and is due again."""
    now = env.now()
    with env.db.read() as tx:
        due = tx.all(
            "select provider, account, event_id from provider_events"
            " where state in ('new', 'waiting') and try_at <= %(now)s"
            " order by try_at limit %(limit)s",
            {"now": now, "limit": limit},
        )
    if not due:
        return 0
    with env.db.transaction() as tx:
        rows = tx.all(
            "update provider_events e set try_at = %(later)s"
            " from unnest(%(providers)s::text[], %(accounts)s::text[], %(ids)s::text[])"
            "  as k(provider, account, event_id)"
            " where e.provider = k.provider and e.account = k.account and e.event_id = k.event_id"
            " and e.state in ('new', 'waiting') and e.try_at <= %(now)s"
            " returning e.provider, e.account, e.event_id, e.type, e.ref, e.body, e.tries,"
            "  e.received_at",
            {
                "now": now,
                "later": now + timedelta(seconds=LEASE_S),
                "providers": [r["provider"] for r in due],
                "accounts": [r["account"] for r in due],
                "ids": [r["event_id"] for r in due],
            },
        )
    return len(_apply_stored(env, rows, "sweep"))


def _apply_stored(env: Env, rows: Sequence[Mapping[str, Any]], path: str) -> list[str]:
    """Apply events as they were stored; one that cannot be read waits, and stops no other."""
    read: list[_Row] = []
    states: dict[Key, State] = {}
    for row in rows:
        try:
            one = _stored(env, row)
            _first_state(env, one)
        except Exception as exc:  # Its provider is gone, or its adapter cannot read it.
            log.warning("an event cannot be read", event_id=row["event_id"], error=repr(exc)[:300])
            event = ProviderEvent(id=row["event_id"], kind="charge.updated", type=row["type"])
            one = _Row(row["provider"], row["account"], event, row["tries"], row["received_at"])
            states[one.key] = ("waiting", f"It cannot be read: {getattr(exc, 'detail', exc)!s}")
        read.append(one)
    return _apply_rows(env, read, path, states)


def _stored(env: Env, row: Mapping[str, Any]) -> _Row:
    event = env.providers[row["provider"]].read_event(row["body"], row["ref"])
    # The row's own id and type count, whatever the reader makes of the body.
    event = ProviderEvent(
        id=row["event_id"], kind=event.kind, ref=event.ref, type=row["type"], body=row["body"],
        account=event.account, livemode=event.livemode, charge=event.charge, problem=event.problem,
        payment_ref=event.payment_ref, payment_id=event.payment_id, customer_id=event.customer_id,
    )  # fmt: skip
    return _Row(row["provider"], row["account"], event, row["tries"], row["received_at"])


def _apply_rows(
    env: Env,
    rows: Sequence[_Row],
    path: str,
    known: Mapping[Key, State] | None = None,
) -> list[str]:
    """Apply events in groups and write on each row what became of it; answers their states.

    `known`: what is settled already, and only has to be written.
    """
    states = dict(known or {})
    todo = [row for row in rows if row.key not in states]
    for start in range(0, len(todo), GROUP):
        group = todo[start : start + GROUP]
        # Several events in one transaction have the provider in common; each claim names its own.
        named = {"event": group[0].event.id} if len(group) == 1 else {}
        around = causes.current() or {}
        with causes.by(
            f"provider:{group[0].provider}", path, around.get("request_id"), **named
        ), telemetry.span(
            "webhook apply", kind="consumer", paydesk_provider=group[0].provider,
            paydesk_group_size=len(group),
        ):  # fmt: skip
            states |= _apply_group(env, group, path)
    _mark(env, rows, states)
    return [_after(env, row, *states[row.key]) for row in rows]


def _apply_group(
    env: Env, rows: Sequence[_Row], path: str
) -> dict[Key, State]:
    """(done or waiting, why) for each; one transaction where all goes well, else one for each."""
    _find_owners(env, rows)
    states = _ask_whose(env, rows)
    ready = []
    for row in rows:
        if row.key in states:
            continue
        if (problem := _unfit(env, row)) is not None:
            states[row.key] = ("parked", problem)
        elif row.event.kind == "ignored":
            states[row.key] = ("done", None)
        elif row.owner is None:
            states[row.key] = _strange(env, row)
        else:
            ready.append(row)
    claims = {row.key: claim for row in ready if (claim := _claim(env, row, path)) is not None}
    outcomes: dict[Key, str | None] = {}
    if len(claims) > 1:
        try:
            found = charges.settle_free(env, list(claims.values()))
            outcomes = dict(zip(claims, found, strict=True))
        except Exception as exc:  # One event's fault must not stop the others: each goes alone.
            log.warning("a group of events goes one by one", error=repr(exc)[:300])
    wait_s = _waits()
    # Those whose customer is held elsewhere come last: they wait.
    for row in sorted(ready, key=lambda row: outcomes.get(row.key) is None):
        with causes.also(event=row.event.id):
            states[row.key] = _one(env, row, outcomes.get(row.key), path, wait_s)
    return states


def _ask_whose(env: Env, rows: Sequence[_Row]) -> dict[Key, State]:
    """Let the provider say of which payment a refund or dispute is, where its event does not:
    thin events, and shapes from before there were payment intents."""
    states: dict[Key, State] = {}
    asked = []
    for row in rows:
        event = row.event
        if (row.owner is not None or event.payment_ref or not event.ref
                or event.kind not in WHOSE or _unfit(env, row) is not None):  # fmt: skip
            continue
        try:
            found = env.providers.call(row.provider, WHOSE[event.kind], event.ref)
        except (Unavailable, ProviderUnavailable) as exc:
            states[row.key] = ("later", f"{exc.code}: {exc.detail}")
        except PaydeskError:
            continue  # It knows of none: another program's, or it is known soon.
        else:
            row.event = replace(event, payment_ref=found.payment_ref, payment_id=found.payment_id)
            asked.append(row)
    if asked:
        _find_owners(env, asked)
    return states


def _waits() -> Callable[[], float]:
    """How long each of a group may still wait for a lock, so that its sender gets an answer."""
    until = time.monotonic() + LOCK_WAITS_S
    return lambda: max(LEAST_LOCK_WAIT_S, min(LOCK_WAIT_S, until - time.monotonic()))


def _strange(env: Env, row: _Row) -> State:
    """An event of no payment that is known: ours may be known soon, others' never are."""
    event, now = row.event, env.now()
    is_old = now - (row.received_at or now) >= timedelta(seconds=STRANGE_S)
    claimed = event.charge.payment_id if event.charge else event.payment_id
    if is_ours(claimed) or (event.charge is None and event.kind not in APPLY):
        return "waiting", _REASONS[UNKNOWN]
    if is_old:
        return "done", "It bears no id of ours: another program's on this account."
    return "strange", _REASONS[UNKNOWN]


def _one(
    env: Env, row: _Row, outcome: str | None, path: str, wait_s: Callable[[], float]
) -> State:
    """Finish one event: alone where its group did not, with the provider where it must be asked."""
    try:
        if row.event.kind in APPLY:
            importlib.import_module(APPLY[row.event.kind]).apply_event(
                env, provider=row.provider, account=row.account, owner=row.owner,
                event=row.event, path=path, wait_s=wait_s(),
            )  # fmt: skip
            return "done", None
        if outcome is None:
            claim = _claim(env, row, path)
            outcome = charges.settle(env, [claim], wait_s=wait_s())[0] if claim else ASK
        if outcome == ASK:
            outcome = _ask(env, row, path)
        if outcome == DONE:
            return "done", None
        raise _Wait(_REASONS[outcome])
    except _Wait as exc:
        return "waiting", str(exc)
    except (Unavailable, ProviderUnavailable) as exc:
        return "later", f"{exc.code}: {exc.detail}"
    except PaydeskError as exc:
        return "waiting", f"{exc.code}: {exc.detail}"
    except Exception as exc:  # The edge of one event: a fault of its own must not stop the others.
        log.exception("an event cannot be applied", event_id=row.event.id)
        return "waiting", f"{type(exc).__name__}: {exc}"


_REASONS = {
    UNKNOWN: "It belongs to no payment that is known here.",
    FOREIGN: "Its references, account or mode are not its payment's.",
    STALE: "The payment changes too often.",
}


def _ask(env: Env, row: _Row, path: str) -> str:
    """Believe only what the provider itself says now. A claim it does not bear out waits."""
    assert row.owner is not None
    claimed = row.event.charge
    outcome, charge = charges.refresh(
        env, *row.owner, path, ref=row.event.ref, wait_s=LOCK_WAIT_S
    )
    if charge is None:
        raise _Wait("The provider has nothing to be asked about.")
    is_paid = claimed is not None and claimed.status == "succeeded"
    if outcome == DONE and is_paid and charge.status != "succeeded":
        raise _Wait("The provider does not show the payment that the event claims.")
    return outcome


def _claim(env: Env, row: _Row, path: str) -> Claim | None:
    """None where the event says too little to be weighed without the provider."""
    if row.event.charge is None or row.owner is None:
        return None
    proof = env.settings.events_are_proof and env.providers[row.provider].events_are_proof
    return Claim(
        customer_id=row.owner[0],
        payment_id=row.owner[1],
        provider=row.provider,
        account=row.account,
        charge=row.event.charge,
        path=path,
        proof=proof,
        event=row.event.id,
    )


def _unfit(env: Env, row: _Row) -> str | None:
    state, why = _first_state(env, row)
    return why if state == "parked" else None


def _find_owners(env: Env, rows: Sequence[_Row]) -> None:
    """By our metadata first, which also serves events that outrun our own attach; else by ref."""
    unknown = []
    for row in rows:
        named = row.event.charge or row.event
        row.owner = owner_in_metadata(named.payment_id, named.customer_id)
        if row.owner is None and (row.event.payment_ref or row.event.ref):
            unknown.append(row)
    if not unknown:
        return
    with env.db.read() as tx:
        found = tx.all(
            "select r.* from unnest(%(providers)s::text[], %(accounts)s::text[], %(refs)s::text[])"
            "  as k(provider, account, ref)"
            " cross join lateral (select provider, account, ref, customer_id, object_id"
            "  from provider_refs where provider = k.provider and account = k.account"
            "  and ref = k.ref limit 1) r",
            {
                "providers": [row.provider for row in unknown],
                "accounts": [row.account for row in unknown],
                "refs": [row.event.payment_ref or row.event.ref for row in unknown],
            },
        )
    owners = {
        (r["provider"], r["account"], r["ref"]): (r["customer_id"], r["object_id"]) for r in found
    }
    for row in unknown:
        ref = row.event.payment_ref or row.event.ref or ""
        row.owner = owners.get((row.provider, row.account, ref))


def _after(env: Env, row: _Row, state: str, why: str | None) -> str:
    """The state to be stored: what waited too often is parked, but not for an outage, nor while
    it may be another program's."""
    if state in ("later", "strange"):
        return "waiting"
    if state == "waiting" and row.tries + 1 >= env.settings.inbox_max_tries:
        return "parked"
    return state


def _next_try(row: _Row, state: str) -> timedelta:
    seconds = backoff_s(row.tries + 1)
    return timedelta(seconds=min(seconds, OUTAGE_BACKOFF_S) if state == "later" else seconds)


def _mark(
    env: Env,
    rows: Sequence[_Row],
    states: Mapping[Key, State],
) -> None:
    """Write what became of each event, apart from the facts: they are safe to lay down twice."""
    if not rows:
        return
    now = env.now()
    unique = sorted(rows, key=lambda row: row.key)
    with env.db.transaction() as tx:
        tx.run(
            "update provider_events e set state = n.state, error = n.error,"
            " tries = least(e.tries + n.tries, 32000),"
            " try_at = n.try_at, customer_id = n.customer_id, subject_id = n.subject_id,"
            " applied_at = case when n.state = 'done' then %(now)s end"
            " from unnest(%(providers)s::text[], %(accounts)s::text[], %(ids)s::text[],"
            "  %(states)s::text[], %(errors)s::text[], %(tries)s::int[],"
            "  %(try_at)s::timestamptz[], %(customers)s::uuid[], %(subjects)s::uuid[])"
            "  as n(provider, account, event_id, state, error, tries, try_at, customer_id,"
            "   subject_id)"
            " where e.provider = n.provider and e.account = n.account and e.event_id = n.event_id"
            " and (e.state <> 'done' or n.state = 'done')",
            {
                "now": now,
                "providers": [row.provider for row in unique],
                "accounts": [row.account for row in unique],
                "ids": [row.event.id for row in unique],
                "states": [_after(env, row, *states[row.key]) for row in unique],
                "errors": [(states[row.key][1] or "")[:500] or None for row in unique],
                # What an outage kept from being applied was not tried.
                "tries": [int(states[row.key][0] != "later") for row in unique],
                "try_at": [now + _next_try(row, states[row.key][0]) for row in unique],
                "customers": [row.owner[0] if row.owner else None for row in unique],
                "subjects": [row.owner[1] if row.owner else None for row in unique],
            },
        )
