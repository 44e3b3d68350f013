"""What a person may change of a payment: its words; its end, once the provider confirms it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import Conflict, InvalidRequest, NotSupported, UseConfirm, UseRefund
from paydesk.flows import attempts, charges, checkout, heads, payments, promos
from paydesk.flows.events import emit_many
from paydesk.flows.payments import PaymentView
from paydesk.rules import fields
from paydesk.rules.payments import DEAD_STATES, OPEN_STATES
from paydesk.tracker.models import STATE_OF
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment

#: "Not said", where None would mean "none".
UNSAID: Any = object()


def update(
    env: Env, customer_id: UUID | None, ref: str | UUID, *, status: str | None = None,
    description: str | None = UNSAID, metadata: Mapping[str, Any] | None = UNSAID,
) -> PaymentView:  # fmt: skip
    """Change a payment's description, its metadata, or end it while it is pending.

    `status` takes every document's word. canceled and failed stop the payment at its provider
    first. Raises NotFound, UseConfirm (completed), UseRefund (refunded), Conflict (it has ended
    otherwise, or money came first), InvalidRequest, ProviderUnavailable.
    """
    with env.db.read() as tx:
        key = payments.find(env, tx, ref, customer_id)
        before = payments.view(tx, *key)
    wanted = _wanted(status, before)
    changes: dict[str, Any] = {}
    if description is not UNSAID:
        changes["description"] = fields.optional_text(description, "description", most=500)
    if metadata is not UNSAID:
        changes["metadata"] = fields.metadata(metadata)
    if wanted is not None:  # First: a refusal leaves the words as they were.
        state = stop(env, key, wanted)
        if state != wanted:
            raise Conflict(f"This payment is {state}: it can no longer be ended.", param="status")
    if changes:
        _write(env, key, changes, "payment.updated", sorted(changes))
    return payments.get(env, *key)


def _wanted(status: str | None, before: PaymentView) -> str | None:
    """The end that is asked for; None where nothing has to be done."""
    if status is None:
        return None
    word = STATE_OF.get(status.lower())
    if word is None:
        raise InvalidRequest(f"{status[:40]!r} is no payment status.", param="status")
    if word == before.state:
        return None
    if word == "succeeded":
        raise UseConfirm("Use confirm: the provider, or for cash a person, says that money came.")
    if word in ("refunded", "partially_refunded"):
        raise UseRefund("Use a refund: it gives the money back and takes the goods back.")
    if word not in ("canceled", "failed"):
        raise InvalidRequest(f"Nobody sets a payment to {status[:40]}.", param="status")
    if before.state not in OPEN_STATES:
        raise Conflict(f"This payment is {before.state} already.", param="status")
    return word


def stop(env: Env, key: tuple[UUID, UUID], word: str) -> str:
    """End an open payment as canceled or failed, at its provider first; answers the state.

    Money that came first stays. Raises what the provider raises.
    """
    provider = env.providers[payments.get(env, *key).provider]
    asks = bool({"fetch", "expire"} & set(provider.can))
    with env.db.transaction(key[0]) as tx:
        now = heads.decide(tx, env.now(), key[0])
        payment = _locked(tx, key)
        if payment.state not in OPEN_STATES:
            return payment.state
        if not asks:  # Nobody else could take money for it.
            dead = attempts.advance(tx, now, [(payment, word, {})])[0]
            emit_many(tx, [attempts.state_event(dead, now)])
        else:
            # Written down first: whoever ends it, the sweep included, knows why.
            tx.run(
                "update attempts set state = %(state)s, expires_at = %(now)s"
                " where customer_id = %(customer_id)s and payment_id = %(payment_id)s"
                " and ended_at is null",
                {"customer_id": key[0], "payment_id": key[1], "now": now, "state": word},
            )
    if asks:
        _end(env, key, word)
    found = payments.get(env, *key)
    if found.promo_id and found.state in DEAD_STATES:
        promos.release(env, key[1])
    return found.state


def _end(env: Env, key: tuple[UUID, UUID], word: str) -> None:
    """The provider ends it; only its word ends the payment, under the name that was asked for."""
    with env.db.read() as tx:
        payment = JoinedStore(tx.conn).get_many([key])[0]
    assert payment is not None
    asked, provider = payment.session_id or payment.provider_payment_id, payment.provider
    if asked is None or word == "canceled":
        checkout.end(env, *key, "admin")
        return
    can = env.providers[provider].can
    if payment.session_id and "expire" in can:
        charge = env.providers.call(provider, "expire_checkout", asked, f"end-{payment.id}")
    elif not payment.session_id and "void" in can:
        charge = env.providers.call(provider, "void", asked, f"end-{payment.id}")
    else:
        raise NotSupported(f"{provider} ends no payments before their time.")
    if charge.status in DEAD_STATES:
        charge = replace(charge, status=word)
    if charges.record(env, payment, charge, "admin") == charges.STALE:
        charges.refresh(env, *key, "admin")


def remove(env: Env, customer_id: UUID | None, ref: str | UUID) -> PaymentView:
    """Hide a payment for which no money ever came; its record and its events stay.

    One that is open is ended at its provider first. Raises NotFound, and Conflict where money is
    or was in the books.
    """
    with env.db.read() as tx:
        key = payments.find(env, tx, ref, customer_id)
        before = payments.view(tx, *key)
    if before.state in OPEN_STATES:
        stop(env, key, "canceled")
    _write(env, key, {}, "payment.deleted", [])
    return payments.get(env, *key)


def restore(env: Env, customer_id: UUID | None, ref: str | UUID) -> PaymentView:
    """Show a hidden payment again. Safe to repeat. Raises NotFound."""
    with env.db.read() as tx:
        key = payments.find(env, tx, ref, customer_id)
    _write(env, key, {}, "payment.restored", [])
    return payments.get(env, *key)


def _write(
    env: Env, key: tuple[UUID, UUID], changes: dict[str, Any], type: str, changed: list[str]
) -> None:
    with env.db.transaction(key[0]) as tx:
        now = heads.decide(tx, env.now(), key[0])
        payment = _locked(tx, key)
        if type == "payment.deleted":
            if payment.deleted_at is not None:
                return
            _check_empty(tx, payment)
            changes = {"deleted_at": now}
        elif type == "payment.restored":
            if payment.deleted_at is None:
                return
            changes = {"deleted_at": None}
        attempts.advance(tx, now, [(payment, payment.state, changes)])
        more = {"changed": changed} if changed else {}
        emit_many(tx, [attempts.state_event(payment, now, type=type, **more)])


def _locked(tx: Tx, key: tuple[UUID, UUID]) -> ServicePayment:
    payment = JoinedStore(tx.conn).get_many([key])[0]
    assert payment is not None, "it was found just now"
    return payment


def _check_empty(tx: Tx, payment: ServicePayment) -> None:
    booked = tx.value(
        "select exists (select 1 from transfers"
        " where customer_id = %(customer_id)s and subject_id = %(id)s)",
        {"customer_id": payment.customer_id, "id": payment.key[1]},
    )
    if booked or payment.captured_cents:
        raise Conflict("Money is in the books for this payment: it cannot be deleted.")
    if payment.state not in DEAD_STATES:
        shown = ids.show("payment", payment.key[1])
        raise Conflict(f"{shown} is {payment.state}: it can still be paid.")
