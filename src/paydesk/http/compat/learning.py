"""Learning: single purchases of courses, paths and labs under /api/purchases."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.env import Env
from paydesk.flows import access, checkout, customers, purchases
from paydesk.flows.access import GrantView
from paydesk.flows.checkout import StartCheckout
from paydesk.flows.purchases import PurchaseView
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.compat import payment_records as records
from paydesk.http.compat.shapes import CamelIn, CamelOut, DecimalNumber, bare, owner
from paydesk.http.fields import Code, Email, Ref, Url, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import at_provider, cell, env_of, router, who_of
from paydesk.http.v1.checkouts import started_by

learning = router("learning")

BUYERS = ("customer", "admin", "service")
#: This family's words for how a payment stands; of a part that went back the amounts speak.
PAYMENT_STATUS = {"expired": "failed", "canceled": "failed", "requires_action": "pending",
                  "authorized": "processing", "partially_refunded": "succeeded"}  # fmt: skip


class PurchaseIn(CamelIn):
    """What is bought and how many; what it costs the catalogue says, for this user, now."""

    item_id: Ref
    quantity: int = Field(default=1, ge=1, le=10**6)
    user_id: Ref | None = None
    promo_code: Code | None = None
    email: Email | None = None
    success_url: Url | None = None
    cancel_url: Url | None = None


class PurchaseRefundIn(CamelIn):
    """So much in the purchase's currency, or all of it."""

    amount: DecimalNumber | None = None
    reason: str | None = Field(default=None, max_length=255)


class CreatedOut(CamelOut):
    purchase_id: str
    session_id: str | None
    checkout_url: str | None
    payment_id: str
    status: str
    amount: float
    currency: str
    expires_at: str | None


class PaymentOfPurchase(CamelOut):
    id: str
    status: str


class PurchaseRow(CamelOut):
    id: str
    user_id: str
    item_id: str
    item_key: str
    name: str
    quantity: int
    status: str
    amount: float
    amount_paid: float
    amount_refunded: float
    currency: str
    payment: PaymentOfPurchase
    created_at: str
    completed_at: str | None
    refunded_at: str | None


class PurchasesOut(CamelOut):
    purchases: list[PurchaseRow]
    has_more: bool
    next_cursor: str | None


class AccessRow(CamelOut):
    resource_type: str
    resource_id: str
    has_access: bool
    expires_at: str | None


class StatusOut(CamelOut):
    """`hasAccess`: the purchase gives access to all that it was bought for, now."""

    purchase: PurchaseRow
    status: str
    has_access: bool
    access: list[AccessRow]


class RefundOut(CamelOut):
    refund_id: str
    status: str
    amount: float
    currency: str
    purchase: PurchaseRow
    access_revoked: bool


def purchase_row(one: PurchaseView, user_id: str) -> dict[str, Any]:
    """A row of the document's table `purchases`, with its payment."""
    return {
        "id": bare(one.id),
        "userId": user_id,
        "itemId": bare(one.item_id),
        "itemKey": one.item_key,
        "name": one.name,
        "quantity": one.quantity,
        "status": one.state,
        "amount": fields.plain_number(one.price),
        "amountPaid": fields.plain_number(one.paid),
        "amountRefunded": fields.plain_number(one.refunded),
        "currency": one.price.currency.upper(),
        "payment": {
            "id": bare(one.payment_id),
            "status": PAYMENT_STATUS.get(one.payment_state, one.payment_state),
        },
        "createdAt": fields.instant(one.created_at),
        "completedAt": fields.instant(one.completed_at),
        "refundedAt": fields.instant(one.refunded_at),
    }


@learning.post(
    "/api/purchases/create", response_model=None, summary="Buy a course, path or lab",
    responses={201: {"model": CreatedOut}}, status_code=201, **cell(*BUYERS, owner="own"),
)  # fmt: skip
async def create(request: Request, body: PurchaseIn) -> Response:
    """Opens a checkout session. What is owned is refused with 409 `already_purchased`."""
    return await at_provider(request, _create, request, body)


def _create(request: Request, body: PurchaseIn) -> Response:
    env, who = env_of(request), who_of(request)
    customer_id = owner(env, who, body.user_id, create=True)
    attempt = attempt_of(request, who)
    wanted = StartCheckout(
        customer_id=customer_id, item=body.item_id, quantity=body.quantity,
        promo=body.promo_code, email=body.email or who.email, success_url=body.success_url,
        cancel_url=body.cancel_url, **started_by(attempt),
    )  # fmt: skip

    def work() -> Response:
        made = checkout.start(env, wanted)
        one = purchases.get(env, customer_id, made.payment.id)
        return reply(
            {
                "purchaseId": bare(one.id),
                "sessionId": made.payment.session_ref,
                "checkoutUrl": made.url,
                "paymentId": bare(made.payment.id),
                "status": one.state,
                "amount": fields.plain_number(made.total),
                "currency": made.total.currency.upper(),
                "expiresAt": fields.instant(made.expires_at),
            },
            201,
        )

    return once(env, attempt, customer_id, work)


@learning.get(
    "/api/purchases/history/{user_id}", response_model=None, summary="A user's purchases",
    responses={200: {"model": PurchasesOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def history(
    request: Request,
    user_id: str,
    status: Annotated[str | None, Query(max_length=40)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    starting_after: Annotated[str | None, Query(alias="startingAfter", max_length=64)] = None,
) -> Response:
    """Newest first."""
    env = env_of(request)
    customer_id = owners.owner(env, who_of(request), user_id)
    found = purchases.list_(
        env, customer_id, state=status, limit=limit + 1,
        after=None if starting_after is None else ids.parse("purchase", starting_after),
    )  # fmt: skip
    named = customers.get(env, customer_id).external_id
    shown = [purchase_row(one, named) for one in found[:limit]]
    more = len(found) > limit
    return reply({"purchases": shown, "hasMore": more,
                  "nextCursor": shown[-1]["id"] if more else None})  # fmt: skip


@learning.get(
    "/api/purchases/{purchase_id}/status", response_model=None,
    summary="A purchase and the access it gives",
    responses={200: {"model": StatusOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def status_of(request: Request, purchase_id: str) -> Response:
    env = env_of(request)
    one = _found(request, purchase_id)
    given = access.list_(env, one.customer_id, source_id=one.id)
    has = [_has(env, grant) for grant in given]
    return reply(
        {
            "purchase": purchase_row(one, _user(request, one.customer_id)),
            "status": one.state,
            "hasAccess": bool(given) and all(has),
            "access": [
                {
                    "resourceType": grant.type,
                    "resourceId": grant.resource,
                    "hasAccess": may,
                    "expiresAt": fields.instant(grant.expires_at),
                }
                for grant, may in zip(given, has, strict=True)
            ],
        }
    )


@learning.post(
    "/api/purchases/{purchase_id}/refund", response_model=None, summary="Refund a purchase",
    responses={200: {"model": RefundOut}}, **cell(*BUYERS, "support", "finance", owner="own"),
)  # fmt: skip
async def refund(
    request: Request, purchase_id: str, body: PurchaseRefundIn | None = None
) -> Response:
    """Within the refund window. A user asks for it, and somebody of the business decides; access
    goes with the whole of the money."""
    return await at_provider(request, _refund, request, purchase_id, body or PurchaseRefundIn())


def _refund(request: Request, purchase_id: str, body: PurchaseRefundIn) -> Response:
    env, who = env_of(request), who_of(request)
    one = _found(request, purchase_id)
    attempt = attempt_of(request, who)

    def work() -> Response:
        done = records.create_refund(
            env, ids.show("payment", one.payment_id), body.amount, body.reason, by=who.caller,
            persons=who.persons, role=who.role, key=attempt.key if attempt else None,
            digest=attempt.digest if attempt else None,
        )  # fmt: skip
        after = purchases.get(env, one.customer_id, one.id)
        return reply(
            {
                "refundId": bare(done.id),
                "status": done.state,
                "amount": fields.plain_number(done.amount),
                "currency": done.amount.currency.upper(),
                "purchase": purchase_row(after, _user(request, one.customer_id)),
                "accessRevoked": done.access_revoked > 0,
            }
        )

    return once(env, attempt, one.customer_id, work)


def _has(env: Env, grant: GrantView) -> bool:
    """Whether the purchase's access holds; days that follow others hold once those are over."""
    if grant.status == "coming":
        return access.can(env, grant.customer_id, grant.name).allowed
    return grant.status == "active"


def _found(request: Request, purchase_id: str) -> PurchaseView:
    env = env_of(request)
    return purchases.get(env, owners.only_own(env, who_of(request)), purchase_id)


def _user(request: Request, customer_id: UUID) -> str:
    return customers.get(env_of(request), customer_id).external_id
