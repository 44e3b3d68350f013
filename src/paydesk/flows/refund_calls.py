"""The call that refunds at a provider: sent, recorded, reversed when refused, or found again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import OutcomeUnknown, ProviderRefused
from paydesk.flows import provider_calls, refund_books, refund_facts, refund_views
from paydesk.flows.provider_calls import Action, Call
from paydesk.flows.refund_views import Row
from paydesk.providers.base import REFUND_REASONS, RemoteRefund
from paydesk.rules.money import Money
from paydesk.tracker.stores.joined import ServicePayment

#: So many refunds a provider lists of one payment.
LISTED = 100


def intend(tx: Tx, now: datetime, row: Row, payment: ServicePayment, call_id: UUID) -> Call:
    """Write the call of a refund that is pending by now."""
    owner = row.customer_id
    amount = Money(row.amount_minor, row.currency, minor=True)
    assert payment.provider_payment_id is not None, "a captured payment has its reference"
    tx.run(
        "update refunds set call_id = %(call_id)s where customer_id = %(customer_id)s"
        " and id = %(id)s",
        {"customer_id": owner, "id": row.id, "call_id": call_id},
    )
    return provider_calls.intend(
        tx, now, customer_id=owner, call_id=call_id, action="refund", payment_id=row.payment_id,
        subject_id=row.id, amount=amount, clock_id=row.clock_id,
        request={
            "provider": row.provider,
            "ref": payment.provider_payment_id,
            "amount_minor": row.amount_minor,
            "currency": row.currency,
            "reason": row.reason if row.reason in REFUND_REASONS else "other",
            "metadata": {
                "refund_id": ids.show("refund", row.id),
                "payment_id": ids.show("payment", row.payment_id),
                "customer_id": ids.show("customer", owner),
            },
        },
    )  # fmt: skip


def _send(env: Env, call: Call) -> RemoteRefund:
    kept = call.request
    return env.providers.call(
        call.provider, "refund", kept["ref"],
        Money(kept["amount_minor"], kept["currency"], minor=True), str(call.id),
        reason=kept["reason"], metadata=kept["metadata"],
    )  # fmt: skip


def _done(
    env: Env, tx: Tx, now: datetime, call: Call, remote: RemoteRefund
) -> dict[str, Any]:
    refund_facts.lay(tx, now, _row(tx, call), remote, env.settings)
    return {"id": remote.id, "status": remote.status}


def _refused(
    env: Env, tx: Tx, now: datetime, call: Call, code: str, message: str, unknown: bool
) -> None:
    """It is certain that no money left, or nobody can say: everything stands as before."""
    row = _row(tx, call)
    if row.state != "pending":
        return
    refund_books.reverse(tx, now, row, env.settings, code=code, message=message)
    if unknown:
        refund_books.flag(tx, now, (row.customer_id, row.payment_id), "refund_unknown")


def refusal(call: Call, message: str) -> ProviderRefused:
    """What whoever asks for a refused refund hears, the first time and ever after."""
    assert call.subject_id is not None
    return ProviderRefused(message[:500], refund_id=ids.show("refund", call.subject_id))


def _old(env: Env, call: Call) -> Mapping[str, Any] | None:
    """Too late to repeat: among the payment's refunds at the provider is ours, or it never was."""
    assert call.subject_id is not None and call.payment_id is not None
    listed = env.providers.call(call.provider, "list_refunds", call.request["ref"])
    ours = ids.show("refund", call.subject_id)
    remote = next((one for one in listed if one.refund_id == ours), None)
    if remote is None:
        if len(listed) >= LISTED:
            raise OutcomeUnknown("The provider has more refunds of this payment than it lists.")
        return None
    with env.db.read() as tx:
        row = _row(tx, call)
    refund_facts.apply_remote(
        env, call.provider, row.provider_account, remote, (call.customer_id, call.payment_id),
        "sweep",
    )
    return {"id": remote.id, "status": remote.status}


def _row(tx: Tx, call: Call) -> Row:
    assert call.subject_id is not None, "a refund's call names its refund"
    return refund_views.row(tx, call.customer_id, call.subject_id)


ACTION = Action(send=_send, done=_done, refused=_refused, refusal=refusal, old=_old)
