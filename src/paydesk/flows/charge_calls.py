"""Calls that charge a method, take held money, or let it go."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import OutcomeUnknown, PaydeskError, PaymentFailed, ProviderRefused
from paydesk.flows import attempts, charges, promos
from paydesk.flows.charges import Claim
from paydesk.flows.provider_calls import Action, Call, order_of
from paydesk.providers.base import Charge
from paydesk.rules.money import Money
from paydesk.rules.payments import DEAD_STATES, OPEN_STATES
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment


def _send(env: Env, call: Call) -> Charge:
    name, request = call.provider, call.request
    if request["op"] != "charge":
        return _send_held(env, call)
    flags: dict[str, bool] = {}
    if not request["off_session"]:
        flags["off_session"] = False
    if not request["capture"]:
        flags["capture"] = False
    order = order_of(call.id, request)
    charge = env.providers.call(name, "charge", order, request["method"], **flags)
    if charge.status == "requires_action" and request["off_session"] and _is_billed(request):
        # The payer is away: it failed, and the page of the invoice is where he can confirm.
        code = charge.error_code or "authentication_required"
        charge = replace(charge, status="failed", ended=False, action_url=None, error_code=code)
    is_over = charge.status == "failed" and not charge.ended and charge.payment_ref
    if is_over and "void" in env.providers[name].can:
        # Nobody tries another card on it: it is ended there, now or by the sweep.
        with contextlib.suppress(PaydeskError):
            ended = env.providers.call(name, "void", charge.payment_ref, f"{call.id}-end")
            charge = replace(charge, ended=ended.ended)
    return charge


def _is_billed(request: Mapping[str, Any]) -> bool:
    """Whether it is for an invoice."""
    return "invoice_id" in (request.get("metadata") or {})


def _send_held(env: Env, call: Call) -> Charge:
    """Take or let go. What was done by a repeat that nobody heard of is read."""
    name, request = call.provider, call.request
    money = Money(request["amount_minor"], request["currency"], minor=True)
    try:
        if request["op"] == "void":
            return env.providers.call(name, "void", request["ref"], str(call.id))
        return env.providers.call(name, "capture", request["ref"], money, str(call.id))
    except ProviderRefused:
        found = env.providers.call(name, "fetch", request["ref"])
        if found.status == "authorized":
            raise
        return found


def _done(env: Env, tx: Tx, now: datetime, call: Call, charge: Charge) -> Mapping[str, Any]:
    return _done_many(env, tx, now, [(call, charge)])[0][0]


def _done_many(
    env: Env, tx: Tx, now: datetime, answers: Sequence[tuple[Call, Charge]]
) -> list[tuple[Mapping[str, Any], bool]]:
    """Lay the answers down; where a payment has changed since, it is asked anew afterwards."""
    payments = _payments(tx, [call for call, _ in answers])
    kept: list[dict[str, Any]] = []
    claims: dict[int, Claim] = {}
    for index, ((call, charge), payment) in enumerate(zip(answers, payments, strict=True)):
        kept.append({"id": charge.payment_ref, "status": charge.status})
        asked_at = call.request.get("version", 0)
        if payment.version != asked_at and charge.status != "succeeded":
            _remember(tx, now, payment, charge)
            kept[index]["stale"] = True
            continue
        claims[index] = Claim(
            customer_id=call.customer_id, payment_id=payment.key[1], provider=payment.provider,
            account=payment.provider_account, charge=charge, path="verify", proof=True,
            version=asked_at,
        )  # fmt: skip
    outcomes, _ = charges.apply(
        tx, now, list(claims.values()), env.settings, [payments[index] for index in claims]
    )
    for index, outcome in zip(claims, outcomes, strict=True):
        kept[index]["outcome"] = outcome
    return [
        (one, "stale" in one or payment.promo_id is not None)
        for one, payment in zip(kept, payments, strict=True)
    ]


def _remember(tx: Tx, now: datetime, payment: ServicePayment, charge: Charge) -> None:
    """At least what to ask the provider about."""
    if charge.payment_ref:
        attempts.add_refs(
            tx, [(payment.provider, payment.provider_account, charge.payment_ref, *payment.key)]
        )
        if payment.provider_payment_id is None:
            changes = {"provider_payment_id": charge.payment_ref}
            attempts.advance(tx, now, [(payment, payment.state, changes)])


def _refused(
    env: Env, tx: Tx, now: datetime, call: Call, code: str, message: str, unknown: bool
) -> None:
    """Nothing happened: a charge fails; what is held stays held, and asked for in full again."""
    payment = _payment(tx, call)
    if call.request["op"] != "charge":
        held = call.request["held_minor"]
        if payment.state == "authorized" and payment.amount_cents != held:
            attempts.advance(tx, now, [(payment, payment.state, {"amount_cents": held})])
        return
    assert call.attempt_id is not None
    attempts.give_up(
        tx, now, payment, call.attempt_id, state="failed", error_code=code,
        error_message=message, review="outcome_unknown" if unknown else None,
    )  # fmt: skip


def _after(env: Env, call: Call) -> None:
    """Ask anew where the answer came too late, and free the code of what ended unpaid."""
    assert call.payment_id is not None
    with env.db.read() as tx:
        payment = _payment(tx, call)
        row = tx.one(
            "select result from provider_calls"
            " where customer_id = %(customer_id)s and id = %(id)s",
            {"customer_id": call.customer_id, "id": call.id},
        )
    is_stale = bool(row and row["result"] and row["result"].get("stale"))
    if is_stale and payment.state in OPEN_STATES | {"authorized"}:
        with contextlib.suppress(PaydeskError):  # Its events and the sweep tell it too.
            charges.refresh(env, call.customer_id, call.payment_id, "verify")
            with env.db.read() as tx:
                payment = _payment(tx, call)
    if payment.promo_id and payment.state in DEAD_STATES:
        promos.release(env, payment.key[1])


def _old(env: Env, call: Call) -> Mapping[str, Any] | None:
    """Look for what carries our payment id; what waits for its payer is ended."""
    name, request = call.provider, call.request
    assert call.payment_id is not None
    if request["op"] == "charge":
        charge = env.providers.call(name, "search", request["id"], {"kind": "charge"})
        if charge is None:
            return None
        if not charge.ended and charge.payment_ref and "void" in env.providers[name].can:
            with contextlib.suppress(ProviderRefused):
                charge = env.providers.call(name, "void", charge.payment_ref, f"{call.id}-end")
    else:
        charge = env.providers.call(name, "fetch", request["ref"])
        if charge.status == "authorized":
            return None
    with env.db.read() as tx:
        payment = _payment(tx, call)
    outcome = charges.record(env, payment, charge, "sweep")
    if outcome == charges.STALE:
        outcome, _ = charges.refresh(
            env, call.customer_id, call.payment_id, "sweep", ref=charge.payment_ref
        )
    if outcome != charges.DONE:
        raise OutcomeUnknown(f"What the provider shows for this payment is {outcome}.")
    return {"id": charge.payment_ref, "status": charge.status}


def refusal(call: Call, message: str) -> PaymentFailed:
    assert call.payment_id is not None
    return PaymentFailed(message[:500], payment_id=ids.show("payment", call.payment_id))


def _payment(tx: Tx, call: Call) -> ServicePayment:
    return _payments(tx, [call])[0]


def _payments(tx: Tx, calls: Sequence[Call]) -> list[ServicePayment]:
    keys = [(call.customer_id, call.payment_id) for call in calls if call.payment_id is not None]
    assert len(keys) == len(calls), "a charge is for a payment"
    found = [one for one in JoinedStore(tx.conn).get_many(keys) if one is not None]
    assert len(found) == len(calls), "a call's payment is written with it"
    return found


ACTION = Action(
    send=_send, done=_done, refused=_refused, refusal=refusal, old=_old, after=_after,
    done_many=_done_many,
)  # fmt: skip
