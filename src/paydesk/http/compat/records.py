"""The bookings family's transaction record, from the lines of a customer's credits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from paydesk import ids
from paydesk.errors import InvalidRequest
from paydesk.flows import credits, customers, payments, promos
from paydesk.flows.credits import Line
from paydesk.flows.payments import PaymentView
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


def lines(
    env: Env, customer_id: UUID, type: str | None, limit: int, after: str | None
) -> tuple[list[Line], bool]:
    """A page of lines, newest first, and whether there are more."""
    if type is not None and type not in TYPES:
        raise InvalidRequest(f"type is one of {', '.join(TYPES)}.", param="type")
    with env.db.read() as tx:
        before = None if after is None else lines_of.seq_of(tx, customer_id, after)
        found = credits.history(tx, customer_id, limit=limit + 1, before_seq=before, kind=type)
    return found[:limit], len(found) > limit


def one(env: Env, customer_id: UUID, transfer_id: UUID) -> dict[str, Any]:
    """The record of one transfer of this customer."""
    with env.db.read() as tx:
        seq = lines_of.seq_of(tx, customer_id, str(transfer_id))
        found = credits.history(tx, customer_id, limit=1, before_seq=seq + 1)
    return shapes(env, customer_id, found)[0]


def shapes(env: Env, customer_id: UUID, found: Sequence[Line]) -> list[dict[str, Any]]:
    """Records of these lines; two more statements for all of them."""
    wanted = {line.payment_id for line in found if line.type == "CREDIT_PURCHASE"} - {None}
    with env.db.read() as tx:
        paid = payments.views(tx, [(customer_id, one) for one in wanted if one is not None])
    by_id = {payment.id: payment for payment in paid}
    codes = {p.promo_id: promos.get_promo(env, p.promo_id).code for p in paid if p.promo_id}
    user_id = customers.get(env, customer_id).external_id
    return [
        _shape(line, user_id, by_id.get(line.payment_id) if line.payment_id else None, codes)
        for line in found
    ]


def _shape(
    line: Line, user_id: str, payment: PaymentView | None, codes: dict[UUID, str]
) -> dict[str, Any]:
    is_purchase = line.type == "CREDIT_PURCHASE" and payment is not None
    return {
        "id": ids.show("transfer", line.id),
        "userId": user_id,
        "type": line.type,
        "amount": fields.plain_number(payment.amount) if is_purchase and payment else fields.ZERO,
        "credits": line.amount,
        "status": "COMPLETED",
        "stripePaymentIntentId": payment.payment_ref if is_purchase and payment else None,
        "metadata": _metadata(line, payment if is_purchase else None, codes),
        "createdAt": fields.instant(line.at),
    }


def _metadata(line: Line, payment: PaymentView | None, codes: dict[UUID, str]) -> dict[str, Any]:
    if payment is not None:
        promo = codes.get(payment.promo_id) if payment.promo_id else None
        return {"packId": payment.package_id, "promoCode": promo}
    said = {"reference": line.reference, "reason": line.reason}
    return {**(line.metadata or {}), **{k: v for k, v in said.items() if v is not None}}
