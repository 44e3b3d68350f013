"""The call that refunds at a provider: sent, recorded, reversed when refused, or found again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import NotRefundable, OutcomeUnknown, ProviderRefused
from paydesk.flows import provider_calls, refund_books, refund_facts, refund_views
from paydesk.flows.provider_calls import Action, Call
from paydesk.flows.refund_views import Row
from paydesk.providers.base import REFUND_REASONS, RemoteRefund
from paydesk.rules.money import Money
from paydesk.tracker.stores.joined import ServicePayment

#: So many refunds a provider lists of one payment.
LISTED = 100


#: What of each charge is not there any more: refunds on their way or paid, by whomever, and what
#: disputes hold. Where nobody said through which it went, it counts for the payment's own.
_GONE = (
    "select ref, sum(amount)::bigint as amount from ("
    " select coalesce(r.charge_ref, c.request->>'ref', %(first)s) as ref, r.amount_minor as amount"
    "  from refunds r left join provider_calls c"
    "   on c.customer_id = r.customer_id and c.id = r.call_id"
    "  where r.customer_id = %(customer_id)s and r.payment_id = %(payment_id)s"
    "  and r.state in ('pending', 'succeeded') and r.currency = %(asset)s"
    "  and r.id is distinct from %(own)s::uuid"
    " union all select coalesce(charge_ref, %(first)s), withdrawn_minor - reinstated_minor"
    "  from disputes where customer_id = %(customer_id)s and payment_id = %(payment_id)s"
    "  and currency = %(asset)s) l group by ref"
)


def through(
    tx: Tx, payment: ServicePayment, amount: int, *, own: UUID | None = None
) -> str:
    """The provider's charge through which so much goes back, in minor units: the payment's own
    where that holds it, else another by which it was paid. `own`: the refund that is to go, where
    it is written already. Raises NotRefundable where none does.
    """
    first = payment.provider_payment_id
    assert first is not None, "a captured payment has its reference"
    values = {"customer_id": payment.customer_id, "payment_id": payment.key[1],
              "asset": payment.currency}  # fmt: skip
    captured = {row["key"]: row["amount"] for row in tx.all(
        "select request_key as key, sum(amount)::bigint as amount from transfers"
        " where customer_id = %(customer_id)s and subject_id = %(payment_id)s"
        " and asset = %(asset)s and reason = 'PAYMENT_CAPTURE' group by request_key", values,
    )}  # fmt: skip
    if len(captured) < 2:
        return first
    refs = [row["ref"] for row in tx.all(
        "select ref from provider_refs where customer_id = %(customer_id)s"
        " and object_id = %(payment_id)s order by ref", values,
    )]  # fmt: skip
    gone = {row["ref"]: row["amount"] for row in tx.all(
        _GONE, {**values, "first": first, "own": own}
    )}
    most = {}
    for ref in [first, *refs]:
        fact = f"capture:{ref}"
        key = ids.request_key(payment.provider, payment.provider_account, fact)
        if key in captured:
            most[ref] = captured[key] - gone.get(ref, 0)
    for ref, left in most.items():
        if amount <= left:
            return ref
    if not most:  # This provider names captures otherwise than charges.
        return first
    there = Money(max(most.values()), payment.currency, minor=True)
    raise NotRefundable(
        f"This payment came in several parts: at most {there} of it can go back at once.",
        refundable=there.minor,
    )


def intend(
    tx: Tx, now: datetime, row: Row, payment: ServicePayment, call_id: UUID, ref: str
) -> Call:
    """Write the call of a refund that is pending by now, to go back `through` this charge."""
    owner = row.customer_id
    amount = Money(row.amount_minor, row.currency, minor=True)
    tx.run(
        "update refunds set call_id = %(call_id)s, charge_ref = %(ref)s"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": owner, "id": row.id, "call_id": call_id, "ref": ref},
    )
    return provider_calls.intend(
        tx, now, customer_id=owner, call_id=call_id, action="refund", payment_id=row.payment_id,
        subject_id=row.id, amount=amount, clock_id=row.clock_id,
        request={
            "provider": row.provider,
            "ref": ref,
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
