"""Provider calls are rows: intended and committed, then sent, resumed or resolved by one function.

The row's id is the provider's idempotency key and its request never changes. `try_at` is the
lease of whoever is sending and the time of the next try. Sent less than 23 hours ago: the
identical body goes out again under the same key. Older: the provider is searched by our payment
id, what is found is ended and recorded, and nothing is ever sent again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog

from paydesk import crash, ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import (
    IdempotencyInProgress,
    NotFound,
    NotSupported,
    OutcomeUnknown,
    PaymentFailed,
    ProviderRefused,
    ProviderUnavailable,
)
from paydesk.flows import attempts, charges, heads, promos
from paydesk.flows.sweeps import WAIT_S, one_row
from paydesk.providers.base import AnswerUnclear, Charge, Order, OrderLine, RemoteCheckout
from paydesk.rules.money import Money
from paydesk.rules.payments import backoff_s
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment

log = structlog.get_logger(__name__)

#: How long whoever sends has the call for itself; above any deadline of a provider.
LEASE_S = 60
#: Providers keep idempotency keys for 24 hours; so long a repeat is safe.
REPLAY_S = 23 * 3600
#: After so long a provider that still cannot say is asked no more: no session lives on, and a
#: person looks. Money that came is recorded whenever it shows.
GIVE_UP_S = 7 * 86_400
#: Tries are counted up to here.
MOST_TRIES = 32_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A row of `provider_calls`."""

    customer_id: UUID
    id: UUID
    payment_id: UUID
    attempt_id: UUID
    action: str
    request: dict[str, Any]
    state: str
    first_sent_at: datetime | None
    try_at: datetime
    tries: int
    error: str | None = None

    @property
    def is_settled(self) -> bool:
        return self.state in ("done", "refused")


def order_json(order: Order) -> dict[str, Any]:
    """An order as it is kept in `request`, the provider's own body included."""
    return {
        "id": order.id, "customer": order.customer, "amount_minor": order.amount.minor,
        "currency": order.amount.currency, "description": order.description,
        "lines": [{"name": one.name, "amount_minor": one.amount.minor, "quantity": one.quantity}
                  for one in order.lines],
        "email": order.email, "success_url": order.success_url, "cancel_url": order.cancel_url,
        "expires_in_s": order.expires_in_s, "metadata": dict(order.metadata),
        "provider_customer": order.provider_customer,
        "body": dict(order.request or {}),
    }  # fmt: skip


def order_of(call_id: UUID, kept: Mapping[str, Any]) -> Order:
    """The very order that `order_json` kept."""

    def money(minor: int) -> Money:
        return Money(minor, kept["currency"], minor=True)

    return Order(
        id=kept["id"],
        customer=kept["customer"],
        key=str(call_id),
        amount=money(kept["amount_minor"]),
        description=kept["description"],
        lines=tuple(
            OrderLine(name=one["name"], amount=money(one["amount_minor"]), quantity=one["quantity"])
            for one in kept["lines"]
        ),
        email=kept["email"],
        success_url=kept["success_url"],
        cancel_url=kept["cancel_url"],
        expires_in_s=kept["expires_in_s"],
        metadata=kept["metadata"],
        request=kept["body"],
        provider_customer=kept.get("provider_customer"),
    )


def intend(
    tx: Tx, now: datetime, payment: ServicePayment, *, call_id: UUID, attempt_id: UUID,
    action: str, request: Mapping[str, Any],
) -> Call:  # fmt: skip
    """Write the intention; the caller holds its lease and runs it once this is committed."""
    try_at = now + timedelta(seconds=LEASE_S)
    tx.run(
        "insert into provider_calls (customer_id, id, payment_id, attempt_id, action, amount_minor,"
        " currency, request, state, first_sent_at, try_at, tries, clock_id, created_at)"
        " values (%(customer_id)s, %(id)s, %(payment_id)s, %(attempt_id)s, %(action)s,"
        " %(amount)s, %(currency)s, %(request)s, 'intended', %(now)s, %(try_at)s, 1,"
        " %(clock_id)s, %(now)s)",
        {
            "customer_id": payment.customer_id,
            "id": call_id,
            "payment_id": payment.key[1],
            "attempt_id": attempt_id,
            "action": action,
            "amount": payment.amount_cents,
            "currency": payment.currency,
            "request": dict(request),
            "now": now,
            "try_at": try_at,
            "clock_id": payment.clock_id,
        },
    )
    return Call(
        customer_id=payment.customer_id, id=call_id, payment_id=payment.key[1],
        attempt_id=attempt_id, action=action, request=dict(request), state="intended",
        first_sent_at=now, try_at=try_at, tries=1,
    )  # fmt: skip


def run(env: Env, call: Call) -> None:
    """Send a call whose lease is ours, and record what came of it.

    Raises PaymentFailed (the payment has ended), ProviderUnavailable or OutcomeUnknown (the same
    key goes on later, by the caller or by the sweep).
    """
    assert call.first_sent_at is not None
    if env.now() - call.first_sent_at >= timedelta(seconds=REPLAY_S):
        _resolve_old(env, call)
        return
    crash.at("before_provider_call")
    try:
        remote = env.providers.call(
            call.request["provider"], "create_checkout", order_of(call.id, call.request)
        )
    except ProviderRefused as exc:
        _refused(env, call, "failed", exc.extra.get("provider_code") or exc.code, exc.detail)
        raise refusal(call.payment_id, exc.detail) from exc
    except (OutcomeUnknown, ProviderUnavailable) as exc:
        _unknown(env, call, exc.detail)
        raise
    except Exception as exc:  # A fault of the adapter: who knows what it had sent by then.
        _unknown(env, call, f"{type(exc).__name__}: {exc}")
        raise
    crash.at("after_provider_call")
    _done(env, call, remote)
    crash.at("checkout_after_attach")


def refusal(payment_id: UUID, message: str) -> PaymentFailed:
    """What whoever asks for a refused payment hears, the first time and ever after."""
    return PaymentFailed(message[:500], payment_id=ids.show("payment", payment_id))


def resume(
    env: Env, customer_id: UUID, call_id: UUID, *, wait_s: float | None = None
) -> None:
    """Go on with a call that somebody began; nothing where it is settled.

    `wait_s`: for the customer's lock. Raises IdempotencyInProgress while another has its lease,
    and what `run` raises.
    """
    with env.db.transaction(customer_id, wait_s=wait_s) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        call = read(tx, customer_id, call_id)
        if call.is_settled:
            return
        if call.state == "intended" and call.try_at > now:
            raise IdempotencyInProgress("This request is still running.", retry_after_s=2)
        row = tx.one(
            "update provider_calls set state = 'intended', try_at = %(try_at)s,"
            " tries = least(tries + 1, %(most)s),"
            " first_sent_at = coalesce(first_sent_at, %(now)s)"
            " where customer_id = %(customer_id)s and id = %(id)s returning first_sent_at, tries",
            {
                "customer_id": customer_id,
                "id": call_id,
                "now": now,
                "try_at": now + timedelta(seconds=LEASE_S),
                "most": MOST_TRIES,
            },
        )
        assert row is not None
        call = Call(**{**_fields(call), **row})
    run(env, call)


def resolve_due(env: Env, limit: int = 20) -> int:
    """Sweep: go on with every call whose lease or back-off is over. Answers how many settled."""
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, id from provider_calls where state in ('intended', 'unknown')"
            " and try_at <= %(now)s and clock_id is null order by try_at limit %(limit)s",
            {"now": env.now(), "limit": limit},
        )
    settled = 0
    for row in rows:
        with one_row("provider_calls", row["id"]):
            try:
                resume(env, row["customer_id"], row["id"], wait_s=WAIT_S)
                settled += 1
            except PaymentFailed:
                settled += 1
    return settled


def read(tx: Tx, customer_id: UUID, call_id: UUID) -> Call:
    """The call as it stands. Raises NotFound."""
    row = tx.one(
        "select customer_id, id, payment_id, attempt_id, action, request, state, first_sent_at,"
        " try_at, tries, error from provider_calls"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": customer_id, "id": call_id},
    )
    if row is None:
        raise NotFound(f"No such call: {ids.show('call', call_id)}.")
    return Call(**row)


def of_payment(tx: Tx, customer_id: UUID, payment_id: UUID) -> Call | None:
    """The payment's latest call."""
    row = tx.one(
        "select id from provider_calls where customer_id = %(customer_id)s"
        " and payment_id = %(payment_id)s order by created_at desc, id desc limit 1",
        {"customer_id": customer_id, "payment_id": payment_id},
    )
    return read(tx, customer_id, row["id"]) if row else None


def _done(env: Env, call: Call, remote: RemoteCheckout) -> None:
    with env.db.transaction(call.customer_id) as tx:
        now = heads.decide(tx, env.now(), call.customer_id)
        if read(tx, call.customer_id, call.id).is_settled:
            return
        payment = _payment(tx, call)
        attempts.attach(tx, now, payment, call.attempt_id, remote)
        _settle(tx, call, "done", result={"id": remote.id, "url": remote.url})
        crash.at("checkout_before_attach_commit")


def _refused(
    env: Env, call: Call, state: str, code: str, message: str, review: str | None = None
) -> None:
    """It is certain that no session exists for the payment: the payment ends."""
    with env.db.transaction(call.customer_id) as tx:
        now = heads.decide(tx, env.now(), call.customer_id)
        if read(tx, call.customer_id, call.id).is_settled:
            return
        payment = _payment(tx, call)
        attempts.give_up(
            tx, now, payment, call.attempt_id, state=state, error_code=code,
            error_message=message[:500], review=review,
        )  # fmt: skip
        _settle(tx, call, "refused", error=message[:500])
    if payment.promo_id:
        promos.release(env, call.payment_id)


def _unknown(env: Env, call: Call, error: str) -> None:
    with env.db.transaction(call.customer_id) as tx:
        now = heads.decide(tx, env.now(), call.customer_id)
        tx.run(
            "update provider_calls set state = 'unknown', error = %(error)s, try_at = %(try_at)s"
            " where customer_id = %(customer_id)s and id = %(id)s and state = 'intended'",
            {
                "customer_id": call.customer_id,
                "id": call.id,
                "error": error[:500],
                "try_at": now + timedelta(seconds=backoff_s(call.tries)),
            },
        )


def _resolve_old(env: Env, call: Call) -> None:
    """Too late to repeat: whatever the provider has for this payment is ended and recorded.

    The call is settled last: whoever dies before that leaves it to the next one, who finds the
    same. Raises OutcomeUnknown or ProviderUnavailable where it stays open.
    """
    try:
        charge = _what_became(env, call)
        if charge is not None:
            _lay(env, call, charge)
    except NotSupported:
        _never_known(env, call)
        return
    except (ProviderRefused, AnswerUnclear) as exc:
        assert call.first_sent_at is not None
        if env.now() - call.first_sent_at >= timedelta(seconds=GIVE_UP_S):
            _never_known(env, call)
            return
        _unknown(env, call, exc.detail)
        raise OutcomeUnknown(exc.detail) from exc
    except Exception as exc:  # Whatever it was, it is tried again, ever more rarely.
        _unknown(env, call, getattr(exc, "detail", None) or f"{type(exc).__name__}: {exc}")
        raise
    if charge is None:
        _refused(env, call, "expired", "never_opened", "The provider opened no session.")
        return
    crash.at("old_call_before_settle")
    with env.db.transaction(call.customer_id) as tx:
        if not read(tx, call.customer_id, call.id).is_settled:
            _settle(tx, call, "done", result={"id": charge.session_ref, "url": None})


def _what_became(env: Env, call: Call) -> Charge | None:
    """The charge that carries our payment id, ended if it was open; None where there is none."""
    name = call.request["provider"]
    charge = env.providers.call(name, "search", call.request["id"], call.request["body"])
    if charge is None:
        return None
    if not charge.ended and charge.session_ref and "expire" in env.providers[name].can:
        charge = env.providers.call(name, "expire_checkout", charge.session_ref, f"end-{call.id}")
    # Attached by whatever the provider calls it, so that the sessions' sweep can go on with it.
    return replace(charge, session_ref=charge.session_ref or charge.ref)


def _lay(env: Env, call: Call, charge: Charge) -> None:
    with env.db.read() as tx:
        payment = _payment(tx, call)
    outcome = charges.record(env, payment, charge, "sweep")
    if outcome == charges.STALE:
        outcome, _ = charges.refresh(
            env, call.customer_id, call.payment_id, "sweep", ref=charge.session_ref
        )
    if outcome != charges.DONE:
        raise OutcomeUnknown(f"What the provider shows for this payment is {outcome}.")


def _never_known(env: Env, call: Call) -> None:
    _refused(env, call, "expired", "outcome_unknown", "The outcome was never known.",
             review="outcome_unknown")  # fmt: skip


def _settle(
    tx: Tx, call: Call, state: str, *, result: Mapping[str, Any] | None = None,
    error: str | None = None,
) -> None:  # fmt: skip
    tx.run(
        "update provider_calls set state = %(state)s, result = %(result)s, error = %(error)s"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {
            "customer_id": call.customer_id,
            "id": call.id,
            "state": state,
            "result": dict(result) if result else None,
            "error": error,
        },
    )


def _payment(tx: Tx, call: Call) -> ServicePayment:
    payment = JoinedStore(tx.conn).get_many([(call.customer_id, call.payment_id)])[0]
    assert payment is not None, "a call's payment is written with it"
    return payment


def _fields(call: Call) -> dict[str, Any]:
    return {name: getattr(call, name) for name in Call.__slots__}
