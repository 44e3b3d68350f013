"""The call that opens a checkout at its provider: sent, attached, given up or found again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import OutcomeUnknown, PaymentFailed
from paydesk.flows import attempts, charges, promos
from paydesk.flows.provider_calls import Action, Call, order_of
from paydesk.providers.base import Charge, RemoteCheckout
from paydesk.rules.payments import DEAD_STATES
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment


def _send(env: Env, call: Call) -> RemoteCheckout:
    return env.providers.call(call.provider, "create_checkout", order_of(call.id, call.request))


def _done(
    env: Env, tx: Tx, now: datetime, call: Call, remote: RemoteCheckout
) -> dict[str, Any]:
    assert call.attempt_id is not None
    attempts.attach(tx, now, _payment(tx, call), call.attempt_id, remote)
    return {"id": remote.id, "url": remote.url}


def _refused(
    env: Env, tx: Tx, now: datetime, call: Call, code: str, message: str, unknown: bool
) -> None:
    """It is certain that no session exists for the payment, or that none lives: it ends."""
    assert call.attempt_id is not None
    state = "expired" if unknown or code == "never_sent" else "failed"
    attempts.give_up(
        tx, now, _payment(tx, call), call.attempt_id, state=state,
        error_code="never_opened" if code == "never_sent" else code, error_message=message,
        review="outcome_unknown" if unknown else None,
    )  # fmt: skip


def _after(env: Env, call: Call) -> None:
    """The promo code of a payment that ended unpaid is free again."""
    with env.db.read() as tx:
        payment = _payment(tx, call)
    if payment.promo_id and payment.state in DEAD_STATES:
        promos.release(env, payment.key[1])


def refusal(call: Call, message: str) -> PaymentFailed:
    """What whoever asks for a refused payment hears, the first time and ever after."""
    assert call.payment_id is not None
    return PaymentFailed(message[:500], payment_id=ids.show("payment", call.payment_id))


def _old(env: Env, call: Call) -> Mapping[str, Any] | None:
    """Whatever the provider has for this payment is ended and recorded."""
    charge = _what_became(env, call)
    if charge is None:
        return None
    _lay(env, call, charge)
    return {"id": charge.session_ref, "url": None}


def _what_became(env: Env, call: Call) -> Charge | None:
    """The charge that carries our payment id, ended if it was open; None where there is none."""
    name = call.provider
    charge = env.providers.call(name, "search", call.request["id"], call.request["body"])
    if charge is None:
        return None
    if not charge.ended and charge.session_ref and "expire" in env.providers[name].can:
        charge = env.providers.call(name, "expire_checkout", charge.session_ref, f"end-{call.id}")
    # Attached by whatever the provider calls it, so that the sessions' sweep can go on with it.
    return replace(charge, session_ref=charge.session_ref or charge.ref)


def _lay(env: Env, call: Call, charge: Charge) -> None:
    assert call.payment_id is not None
    with env.db.read() as tx:
        payment = _payment(tx, call)
    outcome = charges.record(env, payment, charge, "sweep")
    if outcome == charges.STALE:
        outcome, _ = charges.refresh(
            env, call.customer_id, call.payment_id, "sweep", ref=charge.session_ref
        )
    if outcome != charges.DONE:
        raise OutcomeUnknown(f"What the provider shows for this payment is {outcome}.")


def _payment(tx: Tx, call: Call) -> ServicePayment:
    assert call.payment_id is not None, "a checkout is for a payment"
    payment = JoinedStore(tx.conn).get_many([(call.customer_id, call.payment_id)])[0]
    assert payment is not None, "a call's payment is written with it"
    return payment


ACTION = Action(
    send=_send, done=_done, refused=_refused, refusal=refusal, old=_old, after=_after
)
