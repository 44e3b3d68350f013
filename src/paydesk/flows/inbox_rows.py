"""The inbox's rows: what is stored of an event, who works on it, and what became of it."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from paydesk import crash
from paydesk.db.errors import DatabaseUnavailable
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.flows import sweeps
from paydesk.logger import get_logger
from paydesk.providers import texts
from paydesk.providers.base import ProviderEvent
from paydesk.rules.payments import backoff_s

log = get_logger(__name__)

#: So many events are taken up at once.
GROUP = 64
#: How long whoever took an event up has it for itself before a sweep takes it.
LEASE_S = 60
#: After an outage an event is tried again this soon at the latest.
OUTAGE_BACKOFF_S = 60

#: Who applies what is no charge: `apply_event(env, provider=, account=, owner=, event=, path=,
#: wait_s=)`. It asks the provider, and raises what keeps the event from being applied.
APPLY = {
    "refund.updated": "paydesk.flows.refunds",
    "dispute.updated": "paydesk.flows.disputes",
    "method.updated": "paydesk.flows.methods",
    "setup.updated": "paydesk.flows.setups",
    "subscription.updated": "paydesk.flows.provider_billing_events",
    "invoice.updated": "paydesk.flows.provider_billing_events",
}
#: Kinds whose word in `about` is another's: an invoice's subscription is what is asked about.
_FAMILY = {"invoice.updated": "subscription"}

#: What an event names things by.
_NAMES = ("ref", "payment_ref", "charge_ref", "payment_id", "customer_id", "about")

#: An event's provider, account and id; its next state and why.
Key = tuple[str, str, str]
State = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Received:
    """What became of a delivery: `state` is new, waiting, done or parked."""

    event_id: str
    type: str
    state: str
    is_duplicate: bool = False


@dataclass(slots=True, eq=False)
class Row:
    """An event under way. `settled_by`: the event whose answer settled it too; `wait_s`: what the
    provider asked to be waited for."""

    provider: str
    account: str
    event: ProviderEvent
    tries: int = 0
    received_at: datetime | None = None
    owner: tuple[UUID, UUID] | None = None
    settled_by: str | None = None
    wait_s: int = 0

    @property
    def key(self) -> Key:
        return self.provider, self.account, self.event.id

    @property
    def about(self) -> str | None:
        """What the provider is asked about because of it, such as `subscription:sub_1`; None where
        it speaks for itself."""
        event = self.event
        if event.kind not in APPLY or event.problem:
            return None
        if event.kind == "method.updated":  # All methods of the customer are read.
            ref = event.payment_ref or event.ref
        else:
            ref = event.about or event.ref
        family = _FAMILY.get(event.kind, event.kind.split(".")[0])
        return f"{family}:{ref}" if ref else None

    @property
    def asks(self) -> bool:
        """Whether only the provider can say what it means."""
        kind = self.event.kind
        return kind in APPLY or (kind != "ignored" and self.event.charge is None)


def row_of(env: Env, provider: str, event: ProviderEvent) -> Row:
    event = _fit(event)
    return Row(provider, event.account or env.providers[provider].account, event)


def _fit(event: ProviderEvent) -> ProviderEvent:
    """An event whose texts can be kept, whatever its adapter made of it: where a name is none, it
    is parked. Without an id it is known by its body."""
    body = texts.text(event.body)
    found = replace(event, body=body, type=texts.text(event.type)[:255])
    odd = [name for name in _NAMES if getattr(event, name) is not None
           and not (texts.is_id(getattr(event, name)))]  # fmt: skip
    found = replace(found, **dict.fromkeys(odd))
    if not texts.is_id(event.id):
        told = body.encode()
        found = replace(found, id="sha256:" + hashlib.sha256(told).hexdigest())
        odd = ["id", *odd]
    if event.account and not texts.is_id(event.account):
        found, odd = replace(found, account=""), ["account", *odd]
    if not odd:
        return found
    return replace(found, problem=found.problem or f"{', '.join(odd)}: no name of anything")


def distinct(rows: Iterable[Row]) -> list[Row]:
    return list({row.key: row for row in rows}.values())


def first_state(env: Env, row: Row) -> State:
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


def store(env: Env, rows: Sequence[Row], *, hand_over: bool = False) -> dict[Key, Received]:
    """Write the events and commit; a known one counts its delivery, a parked one wakes up.

    `hand_over`: what the provider must be asked about is due at once, for whoever takes it up.
    """
    counts: dict[Key, int] = {}
    for row in rows:
        counts[row.key] = counts.get(row.key, 0) + 1
    unique = sorted(distinct(rows), key=lambda row: row.key)
    if not unique:
        return {}
    now = env.now()
    own = now + timedelta(seconds=LEASE_S)
    first = [first_state(env, row) for row in unique]
    with env.db.transaction() as tx:
        # Bodies travel in the binary format (b): as text every quotation mark would be escaped.
        found = tx.all(
            "insert into provider_events as e (provider, account, event_id, type, ref, about, body,"
            " state, error, try_at, deliveries, received_at, applied_at)"
            " select n.*, %(now)s, case when n.state = 'done' then %(now)s end"
            " from unnest(%(providers)s::text[], %(accounts)s::text[], %(ids)s::text[],"
            "  %(types)s::text[], %(refs)s::text[], %(abouts)s::text[], %(bodies)b::text[],"
            "  %(states)s::text[], %(errors)s::text[], %(try_at)s::timestamptz[],"
            "  %(counts)s::int[]) as n(provider, account, event_id, type, ref, about, body, state,"
            "   error, try_at, deliveries)"
            " on conflict (provider, account, event_id) do update set"
            "  deliveries = e.deliveries + excluded.deliveries,"
            "  state = case when e.state = 'parked' and excluded.state = 'new' then 'waiting'"
            "   else e.state end,"
            "  tries = case when e.state = 'parked' then 0 else e.tries end,"
            "  try_at = case when e.state = 'parked'"
            "   or (e.state = 'waiting' and excluded.try_at <= %(now)s) then excluded.try_at"
            "   else e.try_at end"
            " returning e.provider, e.account, e.event_id, e.type, e.state,"
            "  e.xmax <> 0 as is_duplicate",
            {
                "now": now,
                "providers": [row.provider for row in unique],
                "accounts": [row.account for row in unique],
                "ids": [row.event.id for row in unique],
                "types": [row.event.type for row in unique],
                "refs": [row.event.ref for row in unique],
                "abouts": [row.about for row in unique],
                "bodies": [row.event.body for row in unique],
                "states": [state for state, _ in first],
                "errors": [error for _, error in first],
                "try_at": [now if hand_over and row.asks else own for row in unique],
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


def stored(env: Env, row: Mapping[str, Any]) -> Row:
    """A stored event once more. Raises whatever its reader raises."""
    event = env.providers[row["provider"]].read_event(row["body"], row["ref"])
    # The row's own id and type count, whatever the reader makes of the body.
    event = _fit(replace(event, id=row["event_id"], type=row["type"], body=row["body"]))
    return Row(row["provider"], row["account"], event, row["tries"], row["received_at"])


def find(env: Env, provider: str, account: str, event_id: str) -> dict[str, Any] | None:
    with env.db.read() as tx:
        return tx.one(
            "select e.* from provider_events e where provider = %(provider)s"
            " and account = %(account)s and event_id = %(id)s",
            {"provider": provider, "account": account, "id": event_id},
        )


_DUE_OF = (
    "select provider, account, event_id from provider_events"
    " where provider = %(provider)s and state in ('new', 'waiting') and try_at <= %(now)s"
    " order by try_at limit %(limit)s"
)
#: Of each provider that has something waiting: they are found one after the other in the index.
_DUE = (
    "with recursive p (provider) as ("
    " (select provider from provider_events where state in ('new', 'waiting')"
    "   order by provider limit 1)"
    " union all"
    " select (select e.provider from provider_events e where e.state in ('new', 'waiting')"
    "   and e.provider > p.provider order by e.provider limit 1)"
    "  from p where p.provider is not null)"
    " select d.* from p cross join lateral ("
    "  select provider, account, event_id from provider_events"
    "   where provider = p.provider and state in ('new', 'waiting') and try_at <= %(now)s"
    "   order by try_at limit %(limit)s) d"
)


def take_due(
    env: Env, limit: int = GROUP, provider: str | None = None
) -> list[dict[str, Any]]:
    """Take up what is due: so many of each provider, or of one, those that wait longest; nobody
    else has it until the lease ends."""
    now = env.now()
    with env.db.read() as tx:
        due = tx.all(
            _DUE_OF if provider else _DUE, {"now": now, "limit": limit, "provider": provider}
        )
    if not due:
        return []
    with env.db.transaction() as tx:
        _lock(tx, [(r["provider"], r["account"], r["event_id"]) for r in due])
        return tx.all(
            "update provider_events e set try_at = %(later)s"
            " from unnest(%(providers)s::text[], %(accounts)s::text[], %(ids)s::text[])"
            "  as k(provider, account, event_id)"
            " where e.provider = k.provider and e.account = k.account and e.event_id = k.event_id"
            " and e.state in ('new', 'waiting') and e.try_at <= %(now)s"
            " returning e.*",
            {
                "now": now,
                "later": now + timedelta(seconds=LEASE_S),
                "providers": [r["provider"] for r in due],
                "accounts": [r["account"] for r in due],
                "ids": [r["event_id"] for r in due],
            },
        )


def _lock(tx: Tx, keys: Sequence[Key]) -> None:
    """Hold these rows, one after the other in the order of their keys: two who want some of the
    same then wait for each other one way only."""
    if len(keys) < 2:
        return
    providers, accounts, ids = zip(*keys, strict=True)
    tx.all(
        "select e.event_id from provider_events e"
        " join unnest(%(providers)s::text[], %(accounts)s::text[], %(ids)s::text[])"
        "  as k(provider, account, event_id) using (provider, account, event_id)"
        " order by e.provider collate \"C\", e.account collate \"C\", e.event_id collate \"C\""
        " for no key update of e",
        {"providers": list(providers), "accounts": list(accounts), "ids": list(ids)},
    )


@dataclass(frozen=True, slots=True)
class Taken:
    """Who waits for one answer: `ids` still waits of those who asked; `due` are others whose time
    has come, taken up too; `early` are others who wait for a later time."""

    ids: frozenset[str]
    due: list[dict[str, Any]]
    early: list[dict[str, Any]]


def take_about(
    env: Env, provider: str, account: str, about: str, ids: Sequence[str]
) -> Taken:
    """Just before the provider is asked: every event that its answer will settle. What is stored
    after this may tell of something newer, and has to be asked about anew."""
    now = env.now()
    told = {
        "provider": provider, "account": account, "about": about, "ids": list(ids), "now": now,
        "later": now + timedelta(seconds=LEASE_S), "limit": GROUP,
    }  # fmt: skip
    with env.db.transaction() as tx:
        # In the order of their keys, as `_lock` holds them.
        held = tx.all(
            "select e.event_id from provider_events e where provider = %(provider)s"
            " and account = %(account)s and state in ('new', 'waiting')"
            " and (event_id = any(%(ids)s) or (about = %(about)s and try_at <= %(now)s))"
            " order by event_id collate \"C\" for no key update",
            told,
        )
        found = tx.all(
            "update provider_events e set try_at = %(later)s where provider = %(provider)s"
            " and account = %(account)s and event_id = any(%(held)s)"
            " and state in ('new', 'waiting') returning e.*",
            {**told, "held": [r["event_id"] for r in held]},
        )
        due = [r for r in found if r["event_id"] not in ids]
        early = tx.all(
            "select e.* from provider_events e where provider = %(provider)s"
            " and account = %(account)s and about = %(about)s and event_id <> all(%(ids)s)"
            " and event_id <> all(%(due)s) and state in ('new', 'waiting')"
            " order by received_at limit %(limit)s",
            {**told, "due": [r["event_id"] for r in due]},
        )
    return Taken(frozenset(r["event_id"] for r in found) & frozenset(ids), due, early)


def _after(env: Env, row: Row, state: str) -> str:
    """The state to be stored: what waited too often is parked, but not for an outage, nor while
    it may be another program's."""
    if state in ("later", "strange"):
        return "waiting"
    if state == "handed":
        return "new"
    if state == "waiting" and row.tries + 1 >= env.settings.inbox_max_tries:
        return "parked"
    return state


def _next_try(row: Row, state: str) -> timedelta:
    if state == "handed":
        return timedelta()
    seconds: float = backoff_s(row.tries + 1)
    if state == "later":
        seconds = max(min(seconds, OUTAGE_BACKOFF_S), row.wait_s)
        if row.wait_s:  # All that were asked to slow down do not come back at one time.
            seconds *= 1 + random.random() / 2
    return timedelta(seconds=seconds)


def mark(env: Env, rows: Sequence[Row], states: Mapping[Key, State]) -> list[str]:
    """Write what became of each event, apart from the facts: they are safe to lay down twice.
    Answers their states; one that somebody else settled ("gone") is not written, and one whose
    mark cannot be written stays as it was, for a later turn, and keeps no other from its own."""
    unique = sorted((row for row in distinct(rows) if states[row.key][0] != "gone"),
                    key=lambda row: row.key)  # fmt: skip
    after = {row.key: _after(env, row, states[row.key][0]) for row in unique}
    try:
        _write(env, unique, states, after)
    except DatabaseUnavailable:
        raise
    except Exception as exc:
        sweeps.fell_apart("marks", exc, len(unique))
        for row in unique:
            try:
                _write(env, [row], states, after)
            except DatabaseUnavailable:
                raise
            except Exception:  # The edge of one row: a fault of its own must not stop the others.
                log.exception("an event cannot be marked", event_id=row.event.id)
                after[row.key] = "waiting"
    return [after.get(row.key, "done") for row in rows]


def _write(
    env: Env, rows: Sequence[Row], states: Mapping[Key, State], after: Mapping[Key, str]
) -> None:
    if not rows:
        return
    now = env.now()
    with env.db.transaction() as tx:
        _lock(tx, [row.key for row in rows])
        tx.run(
            "update provider_events e set state = n.state, error = n.error,"
            " tries = least(e.tries + n.tries, 32000), try_at = n.try_at,"
            " customer_id = n.customer_id, subject_id = n.subject_id,"
            " settled_by = n.settled_by,"
            " applied_at = case when n.state = 'done' then %(now)s end"
            " from unnest(%(providers)s::text[], %(accounts)s::text[], %(ids)s::text[],"
            "  %(states)s::text[], %(errors)s::text[], %(tries)s::int[],"
            "  %(try_at)s::timestamptz[], %(customers)s::uuid[], %(subjects)s::uuid[],"
            "  %(by)s::text[]) as n(provider, account, event_id, state, error, tries, try_at,"
            "   customer_id, subject_id, settled_by)"
            " where e.provider = n.provider and e.account = n.account"
            " and e.event_id = n.event_id and (e.state <> 'done' or n.state = 'done')",
            {
                "now": now,
                "providers": [row.provider for row in rows],
                "accounts": [row.account for row in rows],
                "ids": [row.event.id for row in rows],
                "states": [after[row.key] for row in rows],
                "errors": [_text(states[row.key][1]) for row in rows],
                # What an outage kept from being applied was not tried.
                "tries": [int(states[row.key][0] not in ("later", "handed"))
                          for row in rows],
                "try_at": [now + _next_try(row, states[row.key][0]) for row in rows],
                "customers": [row.owner[0] if row.owner else None for row in rows],
                "subjects": [row.owner[1] if row.owner else None for row in rows],
                "by": [row.settled_by for row in rows],
            },
        )  # fmt: skip


def _text(why: str | None) -> str | None:
    """A text as the database takes it: whole letters, and none that ends it."""
    return texts.text(why or "")[:500] or None
