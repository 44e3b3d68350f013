"""What is unused of a period that a provider billed goes back to the payer with its cancellation:
kept with the call that cancels, begun in the transaction that settles it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import IdempotencyInProgress, PaydeskError
from paydesk.flows import heads, payments, refund_views, refunds
from paydesk.flows import subscription_steps as steps
from paydesk.flows.refunds import WantRefund
from paydesk.flows.subscription_charges import charged, old_side
from paydesk.flows.subscription_steps import Sub
from paydesk.rules import proration
from paydesk.rules import subscriptions as rules
from paydesk.rules.invoices import half_up
from paydesk.rules.money import Money


def unused(
    env: Env, tx: Tx, sub: Sub, by: str, persons: Sequence[str] | None
) -> dict[str, Any] | None:
    """What is to go back, as the call keeps it; None where nothing is. Of one that is over, as of
    its end: a repeat comes to the same. Taxes and all, as far as the payment goes."""
    paid_for = charged(tx, sub)
    if paid_for is None or paid_for.payment_id is None or sub.state == "trialing":
        return None
    told = steps.terms(tx, sub)
    policy = told.downgrade if told.downgrade in ("seconds", "days") else "seconds"
    at = sub.ended_at or heads.now(env, sub.customer_id, tx)
    rest = proration.unused(
        old_side(tx, sub, told, paid_for), at, policy=policy, zone=sub.zone
    ).amount_minor
    if rest <= 0:
        return None
    paid = payments.get(env, sub.customer_id, paid_for.payment_id)
    part = Fraction(rest, paid_for.paid_minor)
    minor = min(half_up(paid.captured.minor * part), paid.refundable.minor)
    if minor <= 0:
        return None
    return {"payment": str(paid_for.payment_id), "minor": minor, "currency": sub.currency,
            "by": by, "persons": list(persons) if persons else None}  # fmt: skip


def begin(env: Env, tx: Tx, now: datetime, sub: Sub, back: Mapping[str, Any]) -> None:
    """Begin it, once, in the transaction that settles the cancellation; `finish` sends it. One
    that is refused is left to `finish`, which says so: the cancellation stands."""
    want = _want(sub.customer_id, sub.id, back)
    if sub.state not in rules.ENDED:
        return
    if refund_views.of_request(tx, sub.customer_id, want.request_key) is None:
        with contextlib.suppress(PaydeskError), tx.savepoint():
            _, call = refunds.ask_in(env, tx, now, want)
            if call is not None:  # Whoever comes first sends it.
                tx.run(
                    "update provider_calls set try_at = %(now)s"
                    " where customer_id = %(customer_id)s and id = %(id)s",
                    {"customer_id": call.customer_id, "id": call.id,
                     "now": heads.real(tx, now, call.customer_id)},
                )  # fmt: skip


def finish(env: Env, customer_id: UUID, sub_id: UUID, back: Mapping[str, Any]) -> None:
    """Send it, or begin it where nobody did. Raises what a refund raises."""
    with contextlib.suppress(IdempotencyInProgress):  # A sweep is sending it.
        refunds.request(env, _want(customer_id, sub_id, back))


def _want(customer_id: UUID, sub_id: UUID, back: Mapping[str, Any]) -> WantRefund:
    key = ids.request_key("subscription", str(sub_id), "unused")
    return WantRefund(
        customer_id=customer_id, payment_id=UUID(back["payment"]), by=back["by"],
        persons=back["persons"], amount=Money(back["minor"], back["currency"], minor=True),
        reason="requested_by_customer", force=True, request_key=key, request_hash=key.bytes,
    )  # fmt: skip
