"""Subscriptions inside a transaction: their rows, their states, and what a paid period gives.

The customer's head is locked wherever something is written. Nothing here calls a provider.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.cache import subscription_key
from paydesk.db.postgres import Tx, jsonb
from paydesk.errors import IdempotencyKeyReused, NotFound, SubscriptionAlreadyActive
from paydesk.flows import access, plans, subscription_history
from paydesk.flows.access import NewGrant
from paydesk.flows.events import NewEvent, emit_many
from paydesk.rules import periods
from paydesk.rules import subscriptions as rules
from paydesk.rules.plans import Terms

#: A subscription whose first payment does not come is given up after so long.
LIFE = timedelta(hours=23)
#: A period is never shorter.
INSTANT = timedelta(seconds=1)


@dataclass(slots=True, kw_only=True)
class Sub:
    """A row of `subscriptions`, changed in memory and written by `save`."""

    customer_id: UUID
    id: UUID
    version: int = 0
    state: str
    runner: str = "paydesk"
    plan_id: UUID
    plan_version: int
    family: str
    quantity: int = 1
    currency: str
    price_minor: int
    anchor: datetime
    anchor_period: int = 0
    zone: str = "UTC"
    period: int = 0
    period_start: datetime
    period_end: datetime
    credits_month: int = 0
    trial_start: datetime | None = None
    trial_end: datetime | None = None
    cancel_at: datetime | None = None
    canceled_at: datetime | None = None
    cancel_reason: str | None = None
    ended_at: datetime | None = None
    end_reason: str | None = None
    paused_at: datetime | None = None
    resume_at: datetime | None = None
    next: dict[str, Any] | None = None
    discount: dict[str, Any] | None = None
    method_id: UUID | None = None
    provider: str
    provider_account: str = ""
    provider_ref: str | None = None
    latest_invoice_id: UUID | None = None
    told: dict[str, Any]
    due_at: datetime | None = None
    metadata: dict[str, Any]
    request_key: UUID
    request_hash: bytes
    clock_id: UUID | None = None
    monthly_minor: int = 0
    created_at: datetime
    #: How it stood when it was read or written last, for its history.
    stood: subscription_history.Standing = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.stood = subscription_history.standing(self)

    @property
    def key(self) -> tuple[UUID, UUID]:
        return self.customer_id, self.id


_NAMES = tuple(one.name for one in fields(Sub) if one.init)
_JSON = frozenset({"next", "discount", "told", "metadata"})
_ONES = """
    select
        customer_id, id, version, state, runner, plan_id, plan_version, family, quantity,
        currency, price_minor, anchor, anchor_period, zone, period, period_start, period_end,
        credits_month, trial_start, trial_end, cancel_at, canceled_at, cancel_reason, ended_at,
        end_reason, paused_at, resume_at, next, discount, method_id, provider, provider_account,
        provider_ref, latest_invoice_id, told, nullif(due_at, 'infinity') as due_at, metadata,
        request_key, request_hash, clock_id, monthly_minor, created_at
    from subscriptions where customer_id = %(customer_id)s
"""
_NEWEST = " order by created_at desc, id desc limit 200"
_INSERT = """
    insert into subscriptions (
        customer_id, id, version, state, runner, plan_id, plan_version, family, quantity,
        currency, price_minor, anchor, anchor_period, zone, period, period_start, period_end,
        credits_month, trial_start, trial_end, cancel_at, canceled_at, cancel_reason, ended_at,
        end_reason, paused_at, resume_at, next, discount, method_id, provider, provider_account,
        provider_ref, latest_invoice_id, told, due_at, metadata, request_key, request_hash,
        clock_id, monthly_minor, created_at)
    values (
        %(customer_id)s, %(id)s, %(version)s, %(state)s, %(runner)s, %(plan_id)s,
        %(plan_version)s, %(family)s, %(quantity)s, %(currency)s, %(price_minor)s, %(anchor)s,
        %(anchor_period)s, %(zone)s, %(period)s, %(period_start)s, %(period_end)s,
        %(credits_month)s, %(trial_start)s, %(trial_end)s, %(cancel_at)s, %(canceled_at)s,
        %(cancel_reason)s, %(ended_at)s, %(end_reason)s, %(paused_at)s, %(resume_at)s, %(next)s,
        %(discount)s, %(method_id)s, %(provider)s, %(provider_account)s, %(provider_ref)s,
        %(latest_invoice_id)s, %(told)s, coalesce(%(due_at)s::timestamptz, 'infinity'),
        %(metadata)s, %(request_key)s, %(request_hash)s,
        %(clock_id)s, %(monthly_minor)s, %(created_at)s)
"""
_UPDATE = """
    update subscriptions set version = version + 1,
        state = %(state)s, plan_id = %(plan_id)s, plan_version = %(plan_version)s, quantity =
        %(quantity)s, currency = %(currency)s, price_minor = %(price_minor)s, anchor =
        %(anchor)s, anchor_period = %(anchor_period)s, zone = %(zone)s, period = %(period)s,
        period_start = %(period_start)s, period_end = %(period_end)s, credits_month =
        %(credits_month)s, trial_start = %(trial_start)s, trial_end = %(trial_end)s, cancel_at =
        %(cancel_at)s, canceled_at = %(canceled_at)s, cancel_reason = %(cancel_reason)s,
        ended_at = %(ended_at)s, end_reason = %(end_reason)s, paused_at = %(paused_at)s,
        resume_at = %(resume_at)s, next = %(next)s, discount = %(discount)s, method_id =
        %(method_id)s, provider = %(provider)s, provider_account = %(provider_account)s,
        latest_invoice_id = %(latest_invoice_id)s, told = %(told)s, due_at =
        coalesce(%(due_at)s::timestamptz, 'infinity'),
        metadata = %(metadata)s, monthly_minor = %(monthly_minor)s
    where customer_id = %(customer_id)s and id = %(id)s and version = %(version)s
"""


def read(tx: Tx, customer_id: UUID, sub_id: UUID) -> Sub:
    """The row as it stands. Raises NotFound."""
    row = tx.one(_ONES + " and id = %(id)s", {"customer_id": customer_id, "id": sub_id})
    if row is None:
        raise NotFound(f"No such subscription: {ids.show('subscription', sub_id)}.")
    return Sub(**row)


def of_customer(
    tx: Tx, customer_id: UUID, *, family: str | None = None, states: Iterable[str] | None = None
) -> list[Sub]:
    """The customer's, newest first; of a family, in some states."""
    found = tx.all(
        _ONES + " and (%(family)s::text is null or family = %(family)s)"
        " and (%(states)s::text[] is null or state = any(%(states)s))" + _NEWEST,
        {"customer_id": customer_id, "family": family,
         "states": None if states is None else sorted(states)},
    )  # fmt: skip
    return [Sub(**row) for row in found]


def of_key(tx: Tx, customer_id: UUID, request_key: UUID) -> Sub | None:
    """The one that this request made."""
    row = tx.one(
        _ONES + " and request_key = %(key)s", {"customer_id": customer_id, "key": request_key}
    )
    return Sub(**row) if row else None


def of_request(tx: Tx, customer_id: UUID, request_key: UUID, digest: bytes) -> Sub | None:
    """The one that this very request made. Raises IdempotencyKeyReused where another one did."""
    found = of_key(tx, customer_id, request_key)
    if found is not None and bytes(found.request_hash) != digest:
        raise IdempotencyKeyReused("This Idempotency-Key was used with another request.")
    return found


def write(tx: Tx, sub: Sub) -> None:
    """Insert a new row, and the first one of its history; the caller has set when it is due."""
    subscription_history.record(tx, sub.created_at, sub, None)
    tx.run(_INSERT, _values(sub))
    sub.stood = subscription_history.standing(sub)
    tx.stale.add(subscription_key(sub.customer_id))


def save(tx: Tx, now: datetime, sub: Sub) -> None:
    """Write what changed in memory, with the instant that it is due next."""
    sub.due_at = due_at(tx, sub)
    subscription_history.record(tx, now, sub, sub.stood)
    changed = tx.run(_UPDATE, _values(sub))
    assert changed == 1, "a subscription changed under its customer's lock"
    sub.version += 1
    sub.stood = subscription_history.standing(sub)
    tx.stale.add(subscription_key(sub.customer_id))


def _values(sub: Sub) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _NAMES:
        value = getattr(sub, name)
        if name in _JSON and value is not None:
            value = jsonb(value)
        found[name] = value
    return found


def check_free(tx: Tx, customer_id: UUID, family: str, but: UUID | None = None) -> None:
    """Raises SubscriptionAlreadyActive where the customer has one of this family."""
    found = tx.value(
        "select id from subscriptions where customer_id = %(customer_id)s"
        " and family = %(family)s and state = any(%(live)s)"
        " and (%(but)s::uuid is null or id <> %(but)s) limit 1",
        {"customer_id": customer_id, "family": family, "live": sorted(rules.LIVE), "but": but},
    )
    if found is not None:
        raise already_active(found)


def already_active(sub_id: UUID) -> SubscriptionAlreadyActive:
    shown = ids.show("subscription", sub_id)
    return SubscriptionAlreadyActive(
        f"{shown} runs already; change its plan instead.", subscription=shown
    )


# Terms and time --------------------------------------------------------------------------------

def terms(tx: Tx, sub: Sub) -> Terms:
    return plans.terms(tx, sub.plan_id, sub.plan_version)


def plan_words(tx: Tx, plan_id: UUID) -> tuple[str, str]:
    """A plan's (key, name)."""
    row = tx.one("select key, name from plans where id = %(id)s", {"id": plan_id})
    return (row["key"], row["name"]) if row else ("", "")


def bounds(sub: Sub, told: Terms, number: int) -> tuple[datetime, datetime]:
    """Where period `number` begins and ends; the one before the anchor's own ends there."""
    if number < sub.anchor_period:
        return sub.period_end, sub.anchor
    return periods.period(
        sub.anchor, told.interval_unit, told.interval_count, number - sub.anchor_period, sub.zone
    )


def begins_anew(before: Terms, told: Terms) -> bool:
    """Whether periods are counted anew with the terms that follow: another interval, or by the
    calendar and no more by the day on which it began."""
    return any(getattr(before, name) != getattr(told, name)
               for name in ("interval_unit", "interval_count", "billing"))  # fmt: skip


def _schedule(sub: Sub, told: Terms) -> rules.Schedule:
    number, stood = sub.period - sub.anchor_period, timedelta(0)
    anchor = sub.anchor
    if number < 0:  # A short or lengthened period counts its months from its own start.
        anchor, number, stood = sub.period_start, 0, stood_in(sub)
    return rules.Schedule(
        state=sub.state, anchor=anchor, unit=told.interval_unit, count=told.interval_count,
        zone=sub.zone, period=number, period_end=sub.period_end, runner=sub.runner,
        credits=told.credits, credits_month=sub.credits_month, stood=stood,
        trial_end=sub.trial_end, notice_told="trial" in sub.told, cancel_at=sub.cancel_at,
        resume_at=sub.resume_at, lapse_at=sub.created_at + LIFE,
    )  # fmt: skip


def stood_in(sub: Sub) -> timedelta:
    """How long pauses held the running period up."""
    kept = sub.told.get("stood") or {}
    return timedelta(seconds=kept["seconds"] if kept.get("period") == sub.period else 0)


def allotment(sub: Sub, told: Terms, number: int) -> tuple[datetime, datetime]:
    """The time that the running period's `number`-th giving of credits is for."""
    found = rules.allotments(_schedule(sub, told))
    starts = [one for one in found if one < sub.period_end][: number + 2]
    start = max(starts[min(number, len(starts) - 1)], sub.period_start)
    return start, starts[number + 1] if number + 1 < len(starts) else sub.period_end


def due(tx: Tx, sub: Sub) -> rules.Due | None:
    """What is to be done next, and when; None where nothing is."""
    return rules.due_at(_schedule(sub, terms(tx, sub)))


def due_at(tx: Tx, sub: Sub) -> datetime | None:
    found = due(tx, sub)
    return found.at if found else None


# Moving ----------------------------------------------------------------------------------------


def move(tx: Tx, now: datetime, sub: Sub, event: str, type: str | None, **more: Any) -> None:
    """Bring it into the state that `event` leads to, and tell of it as `type`.

    Raises SubscriptionAlreadyActive where it would live beside another one of the family.
    """
    before = sub.state
    sub.state = rules.move(sub.state, event)
    if sub.state in rules.LIVE and before not in rules.LIVE:
        check_free(tx, sub.customer_id, sub.family, but=sub.id)
    if sub.state in rules.ENDED:
        sub.ended_at, sub.cancel_at, sub.next, sub.resume_at = now, None, None, None
    elif before in rules.ENDED:
        sub.ended_at, sub.canceled_at, sub.end_reason, sub.cancel_reason = None, None, None, None
    if type is not None:
        tell(tx, now, sub, type, was=before, **more)


def tell(tx: Tx, now: datetime, sub: Sub, type: str, **more: Any) -> None:
    """Write an event about it, with how it stands."""
    key, _ = plan_words(tx, sub.plan_id)
    data = {
        "plan": key, "status": sub.state, "quantity": sub.quantity,
        "amount": sub.price_minor * sub.quantity, "currency": sub.currency,
        "period_start": sub.period_start.isoformat(), "period_end": sub.period_end.isoformat(),
        **{name: value for name, value in more.items() if value is not None},
    }  # fmt: skip
    emit_many(tx, [NewEvent(customer_id=sub.customer_id, type=f"subscription.{type}",
                            subject_id=sub.id, data=data, at=now)])  # fmt: skip


def end(tx: Tx, now: datetime, sub: Sub, event: str, reason: str) -> None:
    """It is over: what it gives ends now, and nothing more is asked for."""
    sub.end_reason = reason
    if sub.canceled_at is None:
        sub.canceled_at = now
    drop_next(tx, now, sub)
    _let_credits_end(tx, now, sub)
    move(tx, now, sub, event, "expired" if event == "lapsed" else "canceled", reason=reason)
    access.revoke_source(tx, now, sub.customer_id, sub.id, "cancellation")


def _let_credits_end(tx: Tx, now: datetime, sub: Sub) -> None:
    """What stood still in a pause has its time from now on."""
    from paydesk.flows import memberships

    memberships.run_on(tx, now, sub)


def drop_next(tx: Tx, now: datetime, sub: Sub) -> None:
    """The change that waits comes to nothing, and one that waited before it waits again; the
    caller saves `sub`. An invoice that it had stands for no period any more: the period it would
    have begun is billed by its own."""
    from paydesk.flows import invoice_books, memberships

    before = sub.next or {}
    sub.next = before.get("waiting")
    taken = before.get("taken")
    if "invoice" in before:
        row = invoice_books.find(tx, sub.customer_id, UUID(before["invoice"]))
        if row is not None and row.cycle is not None and row.state != "paid":
            invoice_books.change(tx, row, cycle=None)
    if taken:
        memberships.put_back(tx, now, sub, taken)


# What a period gives ---------------------------------------------------------------------------


def give_access(
    tx: Tx, now: datetime, sub: Sub, told: Terms, until: datetime, payment_id: UUID | None
) -> None:
    """Open what the plan opens until an instant."""
    if until <= now:
        return
    access.give(tx, now, [
        NewGrant(
            customer_id=sub.customer_id, type=one["type"], resource=one["id"],
            source="subscription", source_id=sub.id, payment_id=payment_id, starts_at=now,
            expires_at=until,
        )
        for one in told.grants
    ])  # fmt: skip


def until_of(told: Terms, period_end: datetime) -> datetime:
    """How long a period opens things: a little longer, so that a late payment closes nothing."""
    return period_end + timedelta(days=told.grace_days)


def payment_of_period(tx: Tx, sub: Sub) -> UUID | None:
    """The payment of the running period's invoice."""
    return tx.value(
        "select payment_id from invoices where customer_id = %(customer_id)s"
        " and subscription_id = %(id)s and cycle = %(cycle)s and state = 'paid'",
        {"customer_id": sub.customer_id, "id": sub.id, "cycle": sub.period},
    )


def open_invoices(tx: Tx, sub: Sub, but: Iterable[UUID] = ()) -> list[Mapping[str, Any]]:
    """What is still asked for, oldest first."""
    found = tx.all(
        "select id, reason, cycle from invoices where customer_id = %(customer_id)s"
        " and subscription_id = %(id)s and state = 'open' order by created_at, id limit 100",
        {"customer_id": sub.customer_id, "id": sub.id},
    )
    others = set(but)
    return [row for row in found if row["id"] not in others]


def has_method(tx: Tx, sub: Sub) -> bool:
    """Whether there is something to charge."""
    return bool(tx.value(
        "select exists (select 1 from payment_methods where customer_id = %(customer_id)s"
        " and detached_at is null and (is_default or id = %(id)s))",
        {"customer_id": sub.customer_id, "id": sub.method_id},
    ))  # fmt: skip


def postpone(tx: Tx, sub: Sub, until: datetime) -> None:
    """Look at it again later than it is due."""
    tx.run(
        "update subscriptions set due_at = %(until)s, version = version + 1"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": sub.customer_id, "id": sub.id, "until": until},
    )
