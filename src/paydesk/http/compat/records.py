"""The bookings family's transaction record: what moved a customer's credits, and what was paid for
a membership.

A membership's payment is one record: with the credits that it brought, or, where it brought none,
by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.errors import InvalidRequest
from paydesk.flows import credits, customers, payments, promos
from paydesk.flows.credits import Line
from paydesk.flows.payments import PaymentView
from paydesk.flows.subscription_payments import PaidFor, paid_for
from paydesk.http import fields
from paydesk.http import lines as lines_of
from paydesk.http.compat.shapes import CamelOut

if TYPE_CHECKING:
    from paydesk.env import Env

#: The document's types, and ours for credits given by hand.
TYPES = (
    "CREDIT_PURCHASE", "CREDIT_USAGE", "CREDIT_REFUND", "CREDIT_TRANSFER", "CREDIT_EXPIRY",
    "CREDIT_GRANT", "MEMBERSHIP_PAYMENT",
)  # fmt: skip


MEMBERSHIP = "MEMBERSHIP_PAYMENT"


class TransactionOut(CamelOut):
    """`credits` is negative where credits left; `amount` is the money that moved."""

    id: str
    user_id: str
    type: str
    amount: float
    credits: int
    status: str
    stripe_payment_intent_id: str | None
    metadata: dict[str, Any]
    created_at: str


class TransactionsOut(CamelOut):
    transactions: list[TransactionOut]
    has_more: bool
    next_cursor: str | None


class Paid(NamedTuple):
    """A membership's payment that brought no credits, where it stands in the books."""

    id: UUID
    seq: int
    at: datetime
    payment_id: UUID


def lines(
    env: Env, customer_id: UUID, type: str | None, limit: int, after: str | None
) -> tuple[list[Line | Paid], bool]:
    """A page of lines, newest first, and whether there are more."""
    if type is not None and type not in TYPES:
        raise InvalidRequest(f"type is one of {', '.join(TYPES)}.", param="type")
    with env.db.read() as tx:
        before = None if after is None else lines_of.seq_of(tx, customer_id, after)
        found: list[Line | Paid] = [
            *credits.history(tx, customer_id, limit=limit + 1, before_seq=before, kind=type)
        ]
        if type in (None, MEMBERSHIP):
            found += _paid_alone(tx, customer_id, limit + 1, before)
    found.sort(key=lambda line: -line.seq)
    return found[:limit], len(found) > limit


def _paid_alone(tx: Tx, customer_id: UUID, limit: int, before: int | None) -> list[Paid]:
    """Memberships' payments without credits of their own, newest first, by their sales: found
    from the invoices, which are few, and not among all that moved."""
    rows = tx.all(
        "select t.id, t.seq, t.effective_at as at, i.payment_id from subscriptions s"
        " join plans g on g.id = s.plan_id and g.kind = 'membership'"
        " join invoices i on i.customer_id = s.customer_id and i.subscription_id = s.id"
        "  and i.state = 'paid' and i.payment_id is not null"
        " cross join lateral (select t.id, t.seq, t.effective_at from transfers t"
        "  where t.customer_id = i.customer_id and t.subject_id = i.payment_id"
        "  and t.asset <> 'CREDIT' and t.reason = 'SALE' offset 0) t"
        " where s.customer_id = %(customer_id)s"
        " and (%(before)s::bigint is null or t.seq < %(before)s::bigint)"
        " and not exists (select 1 from batches b where b.customer_id = i.customer_id"
        "  and b.payment_id = i.payment_id and b.kind = 'membership')"
        " order by t.seq desc limit %(limit)s",
        {"customer_id": customer_id, "before": before, "limit": limit},
    )
    return [Paid(**row) for row in rows]


def one(env: Env, customer_id: UUID, transfer_id: UUID) -> dict[str, Any]:
    """The record of one transfer of this customer's credits."""
    with env.db.read() as tx:
        seq = lines_of.seq_of(tx, customer_id, str(transfer_id))
        found = credits.history(tx, customer_id, limit=1, before_seq=seq + 1)
    return shapes(env, customer_id, found)[0]


class _Around(NamedTuple):
    """What the records of some lines tell beside them: of payments, the codes of packs, what was
    paid for, the first batch that each paid for, and the subscription of each batch."""

    payments: dict[UUID, PaymentView]
    codes: dict[UUID, str]
    plans: dict[UUID, PaidFor]
    first: dict[UUID, UUID]
    given: dict[UUID, dict[str, Any]]


def shapes(env: Env, customer_id: UUID, found: Sequence[Line | Paid]) -> list[dict[str, Any]]:
    """Records of these lines; some more statements for all of them."""
    bought = {line.payment_id for line in found
              if isinstance(line, Paid) or line.type in ("CREDIT_PURCHASE", MEMBERSHIP)} - {None}
    wanted = [one for one in bought if one is not None]
    batches = [line.batch_ids[0] for line in found
               if isinstance(line, Line) and line.type == MEMBERSHIP and line.batch_ids]
    with env.db.read() as tx:
        paid = {one.id: one for one in payments.views(tx, [(customer_id, one) for one in wanted])}
        plans = paid_for(tx, customer_id, wanted)
        first = _first_of(tx, customer_id, list(plans))
        given = _given(tx, customer_id, batches)
    codes = {p.promo_id: promos.get_promo(env, p.promo_id).code
             for p in paid.values() if p.promo_id}  # fmt: skip
    around = _Around(payments=paid, codes=codes, plans=plans, first=first, given=given)
    user_id = customers.get(env, customer_id).external_id
    return [_shape(line, user_id, around) for line in found]


def _first_of(tx: Tx, customer_id: UUID, payment_ids: list[UUID]) -> dict[UUID, UUID]:
    """The first membership batch of each payment: its record has the money."""
    if not payment_ids:
        return {}
    rows = tx.all(
        "select distinct on (payment_id) payment_id, id from batches"
        " where customer_id = %(customer_id)s and payment_id = any(%(ids)s)"
        " and kind = 'membership' order by payment_id, granted_at, id",
        {"customer_id": customer_id, "ids": payment_ids},
    )
    return {row["payment_id"]: row["id"] for row in rows}


def _given(tx: Tx, customer_id: UUID, batches: list[UUID]) -> dict[UUID, dict[str, Any]]:
    """The subscription and the plan that memberships' batches were given by."""
    if not batches:
        return {}
    rows = tx.all(
        "select b.id, s.id as subscription, g.key as plan from batches b"
        " join subscriptions s on s.customer_id = b.customer_id and s.id = b.source_id"
        " join plans g on g.id = s.plan_id"
        " where b.customer_id = %(customer_id)s and b.id = any(%(ids)s)",
        {"customer_id": customer_id, "ids": batches},
    )
    return {row["id"]: dict(row) for row in rows}


def _shape(line: Line | Paid, user_id: str, around: _Around) -> dict[str, Any]:
    type = MEMBERSHIP if isinstance(line, Paid) else line.type
    payment = None
    if type in ("CREDIT_PURCHASE", MEMBERSHIP) and line.payment_id is not None:
        payment = around.payments.get(line.payment_id)
    # Credits of later months were paid for with those of the first.
    came = payment is not None and (
        isinstance(line, Paid) or type != MEMBERSHIP
        or around.first.get(payment.id) in line.batch_ids
    )  # fmt: skip
    return {
        "id": ids.show("transfer", line.id),
        "userId": user_id,
        "type": type,
        "amount": fields.plain_number(payment.amount) if payment and came else fields.ZERO,
        "credits": 0 if isinstance(line, Paid) else line.amount,
        "status": "COMPLETED",
        "stripePaymentIntentId": payment.payment_ref if payment and came else None,
        "metadata": _metadata(line, type, payment, around),
        "createdAt": fields.instant(line.at),
    }


def _metadata(
    line: Line | Paid, type: str, payment: PaymentView | None, around: _Around
) -> dict[str, Any]:
    if payment is not None and payment.id in around.plans:
        of = around.plans[payment.id]
        return {"membershipId": of.plan_key, "subscriptionId": str(of.subscription_id),
                "promoCode": of.code}  # fmt: skip
    assert isinstance(line, Line), "what was paid alone was paid for a membership"
    if payment is not None and type == "CREDIT_PURCHASE":
        promo = around.codes.get(payment.promo_id) if payment.promo_id else None
        return {"packId": payment.package_id, "promoCode": promo}
    given = around.given.get(line.batch_ids[0]) if type == MEMBERSHIP and line.batch_ids else None
    if given is not None:
        return {"membershipId": given["plan"], "subscriptionId": str(given["subscription"]),
                "promoCode": None}  # fmt: skip
    said = {"reference": line.reference, "reason": line.reason}
    return {**(line.metadata or {}), **{k: v for k, v in said.items() if v is not None}}
