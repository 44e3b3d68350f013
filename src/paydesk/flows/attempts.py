"""Attempts to pay: opened with a payment, attached to the provider's session, ended by its word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.db.together import each, in_sets
from paydesk.flows import invoice_books, provider_customers
from paydesk.flows.events import NewEvent, emit_many
from paydesk.providers.base import RemoteCheckout
from paydesk.rules.payments import DEAD_STATES, OPEN_STATES
from paydesk.tracker import PaymentTracker
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment

Change = tuple[ServicePayment, str, dict[str, Any]]
Ref = tuple[str, str, str, UUID, UUID]


@dataclass(slots=True, kw_only=True)
class Attempt:
    """A row of `attempts`; `ended_at` is when the provider can take no more money for it."""

    customer_id: UUID
    id: UUID
    payment_id: UUID
    provider: str
    provider_account: str
    state: str
    call_id: UUID | None = None
    session_ref: str | None = None
    provider_payment_ref: str | None = None
    method: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    ended_at: datetime | None = None
    action_url: str | None = None
    response: dict[str, Any] | None = None


@in_sets()
def create(tx: Tx, payments: Sequence[ServicePayment]) -> None:
    """Write new payments. Raises DuplicatePayment."""
    JoinedStore(tx.conn).create_many(payments)


def open_(
    tx: Tx, payment: ServicePayment, *, attempt_id: UUID, call_id: UUID, now: datetime
) -> None:
    """Write the attempt that a provider call was intended for."""
    tx.run(
        "insert into attempts (customer_id, id, payment_id, call_id, provider, provider_account,"
        " state, method_id, expires_at, clock_id, created_at) values (%(customer_id)s, %(id)s,"
        " %(payment_id)s, %(call_id)s, %(provider)s, %(account)s, 'open', %(method_id)s,"
        " %(expires_at)s, %(clock_id)s, %(now)s)",
        {
            "customer_id": payment.customer_id,
            "id": attempt_id,
            "payment_id": payment.key[1],
            "call_id": call_id,
            "provider": payment.provider,
            "account": payment.provider_account,
            "method_id": payment.method_id,
            "expires_at": payment.expires_at,
            "clock_id": payment.clock_id,
            "now": now,
        },
    )


def attach(
    tx: Tx, now: datetime, payment: ServicePayment, attempt_id: UUID, remote: RemoteCheckout
) -> None:
    """The provider opened the session: remember it. An event may have told us before."""
    add_refs(
        tx,
        [
            (payment.provider, payment.provider_account, ref, *payment.key)
            for ref in (remote.id, remote.payment_ref)
            if ref
        ],
    )
    tx.run(
        "update attempts set session_ref = coalesce(session_ref, %(ref)s), url = %(url)s,"
        " provider_payment_ref = coalesce(provider_payment_ref, %(payment_ref)s),"
        # A page that ends sooner than ours is looked at then: who paid on it need not wait.
        " expires_at = least(expires_at, %(ends_at)s)"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {
            "customer_id": payment.customer_id,
            "id": attempt_id,
            "ref": remote.id,
            "url": remote.url,
            "payment_ref": remote.payment_ref,
            "ends_at": None if remote.expires_in is None
            else now + timedelta(seconds=max(0, remote.expires_in)),
        },
    )
    if remote.gone_customer:
        provider_customers.forget(
            tx, (payment.customer_id, payment.provider, payment.provider_account,
                 remote.gone_customer)
        )  # fmt: skip
    if payment.session_id is None:
        advance(tx, now, [(payment, payment.state, {"session_id": remote.id})])


def give_up(
    tx: Tx, now: datetime, payment: ServicePayment, attempt_id: UUID, *, state: str,
    error_code: str, error_message: str, review: str | None = None,
) -> None:  # fmt: skip
    """No session was ever opened: the attempt and its payment end as `state`."""
    tx.run(
        "update attempts set state = case when state = 'canceled' then state else %(state)s end,"
        " ended_at = %(now)s, error_code = %(code)s, error_message = %(message)s"
        " where customer_id = %(customer_id)s and id = %(id)s and ended_at is null",
        {
            "customer_id": payment.customer_id,
            "id": attempt_id,
            "state": state,
            "now": now,
            "code": error_code,
            "message": error_message,
        },
    )
    if payment.state not in OPEN_STATES:
        return
    changes = {"error_code": error_code, "error_message": error_message}
    if review:
        changes["review"] = review
    moved = advance(tx, now, [(payment, state, changes)])[0]
    emit_many(tx, [state_event(moved, now, error_code=error_code)])


def of_payments(tx: Tx, keys: Sequence[tuple[UUID, UUID]]) -> list[Attempt]:
    """All attempts of these (customer, payment), oldest first within each."""
    rows = tx.all(
        "select a.* from unnest(%(customers)s::uuid[], %(payments)s::uuid[]) as k(c, p)"
        " cross join lateral (select customer_id, id, payment_id, provider, provider_account,"
        "  state, call_id, session_ref, provider_payment_ref, method, error_code, error_message,"
        "  ended_at, action_url, response from attempts"
        "  where customer_id = k.c and payment_id = k.p"
        "  order by created_at, id limit 200) a",
        {"customers": [k[0] for k in keys], "payments": [k[1] for k in keys]},
    )
    return [Attempt(**row) for row in rows]


def save(tx: Tx, changed: Iterable[Attempt], added: Iterable[Attempt], now: datetime) -> None:
    """Write what became of attempts, and declined tries as rows of their own. Two statements."""
    if old := list(changed):
        tx.run(
            "update attempts a set state = n.state, session_ref = n.session_ref,"
            " provider_payment_ref = n.payment_ref, method = n.method, ended_at = n.ended_at,"
            " error_code = n.error_code, error_message = n.error_message,"
            " action_url = n.action_url, response = n.response"
            " from unnest(%(customers)s::uuid[], %(ids)s::uuid[], %(states)s::text[],"
            "  %(sessions)s::text[], %(payments)s::text[], %(methods)s::text[],"
            "  %(ended)s::timestamptz[], %(codes)s::text[], %(messages)s::text[],"
            "  %(actions)s::text[], %(responses)s::jsonb[])"
            "  as n(customer_id, id, state, session_ref, payment_ref, method, ended_at, error_code,"
            "   error_message, action_url, response)"
            " where a.customer_id = n.customer_id and a.id = n.id",
            {
                "customers": [a.customer_id for a in old],
                "ids": [a.id for a in old],
                "states": [a.state for a in old],
                "sessions": [a.session_ref for a in old],
                "payments": [a.provider_payment_ref for a in old],
                "methods": [a.method for a in old],
                "ended": [a.ended_at for a in old],
                "codes": [a.error_code for a in old],
                "messages": [a.error_message for a in old],
                "actions": [a.action_url for a in old],
                "responses": [jsonb(a.response) if a.response else None for a in old],
            },
        )
    if new := list(added):
        tx.run(
            "insert into attempts (customer_id, id, payment_id, provider, provider_account, state,"
            " provider_payment_ref, method, error_code, error_message, ended_at, created_at)"
            " select *, %(now)s, %(now)s from unnest(%(customers)s::uuid[], %(ids)s::uuid[],"
            "  %(payments)s::uuid[], %(providers)s::text[], %(accounts)s::text[],"
            "  %(states)s::text[], %(refs)s::text[], %(methods)s::text[], %(codes)s::text[],"
            "  %(messages)s::text[])",
            {
                "now": now,
                "customers": [a.customer_id for a in new],
                "ids": [a.id for a in new],
                "payments": [a.payment_id for a in new],
                "providers": [a.provider for a in new],
                "accounts": [a.provider_account for a in new],
                "states": [a.state for a in new],
                "refs": [a.provider_payment_ref for a in new],
                "methods": [a.method for a in new],
                "codes": [a.error_code for a in new],
                "messages": [a.error_message for a in new],
            },
        )


def declined(payment: ServicePayment, ref: str, code: str | None, message: str | None) -> Attempt:
    """A declined try as a row of its own; the session it was made in stays payable."""
    return Attempt(
        customer_id=payment.customer_id,
        id=ids.new_owned(payment.customer_id),
        payment_id=payment.key[1],
        provider=payment.provider,
        provider_account=payment.provider_account,
        state="failed",
        provider_payment_ref=ref,
        error_code=code,
        error_message=message,
    )


def add_refs(tx: Tx, refs: Sequence[Ref]) -> None:
    """Remember which payment a provider's reference stands for; the first to say so wins."""
    unique = sorted(set(refs))
    if not unique:
        return
    tx.run(
        "insert into provider_refs (provider, account, ref, customer_id, object_id)"
        " select * from unnest(%(providers)s::text[], %(accounts)s::text[], %(refs)s::text[],"
        "  %(customers)s::uuid[], %(objects)s::uuid[]) on conflict do nothing",
        {
            "providers": [r[0] for r in unique],
            "accounts": [r[1] for r in unique],
            "refs": [r[2] for r in unique],
            "customers": [r[3] for r in unique],
            "objects": [r[4] for r in unique],
        },
    )


@in_sets(2)
def advance(tx: Tx, now: datetime, items: Sequence[Change]) -> list[ServicePayment]:
    """Change payments through the tracker, whose heads are locked: nobody else can be first."""
    moved = PaymentTracker(JoinedStore(tx.conn), clock=lambda: now).advance_many(items, now=now)
    done = [one for one in moved if one is not None]
    assert len(done) == len(items), "a payment changed under its customer's lock"
    ended = [
        after for (before, _, _), after in zip(items, done, strict=True)
        if after.purpose == invoice_books.PURPOSE and after.state in DEAD_STATES
        and before.state != after.state
    ]  # fmt: skip
    each(tx, [partial(invoice_books.failed, now=now, payment=one) for one in ended],
         [one.customer_id for one in ended])  # fmt: skip
    return done


def state_event(
    payment: ServicePayment, now: datetime, *, state: str | None = None, type: str | None = None,
    **more: Any,
) -> NewEvent:  # fmt: skip
    """The event that says into which state a payment came, or what else befell it (`type`)."""
    state = state or payment.state
    data = {
        "amount": payment.amount_cents,
        "currency": payment.currency,
        "status": state,
        "credits": payment.credits_to_add,
        **{name: value for name, value in more.items() if value is not None},
    }
    return NewEvent(
        customer_id=payment.customer_id,
        type=type or f"payment.{state}",
        subject_id=payment.key[1],
        data=data,
        at=now,
    )
