"""Credits: checkout of a package, verify, history and stats under /api/credits."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from paydesk.flows import checkout, customers, payments
from paydesk.flows import credits as credit_flows
from paydesk.flows.checkout import StartCheckout
from paydesk.flows.payments import PaymentView
from paydesk.http import fields
from paydesk.http.auth import STAFF
from paydesk.http.compat.shapes import SnakeIn, bare, owner
from paydesk.http.fields import Code, Email, Ref, Url, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import at_provider, cell, env_of, router, who_of
from paydesk.http.v1.checkouts import started_by

credits = router("credits")

MAX_PAGE = 10_000
BUYERS = ("customer", "admin", "service")


class PackageCheckout(SnakeIn):
    """`user_id` is for callers with an API key; a customer's token says who buys."""

    package_id: Ref
    coupon_code: Code | None = None
    user_id: Ref | None = None
    email: Email | None = None
    success_url: Url | None = None
    cancel_url: Url | None = None


class VerifyPayment(SnakeIn):
    """The provider's session id, as the checkout answered it; ours is understood too."""

    session_id: Ref
    user_id: Ref | None = None


class _Out(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PackageCheckoutOut(_Out):
    checkout_url: str | None
    session_id: str | None
    payment_id: str


class VerifyPaymentOut(_Out):
    """`credits_added` is how many this payment has brought; 0 while it has brought none."""

    success: bool
    payment_verified: bool
    credits_added: int
    new_balance: int


class RecordOut(_Out):
    id: str
    user_id: str
    amount_cents: int
    amount_usd: float | None
    currency: str
    credits_to_add: int
    status: str
    provider: str
    provider_session_id: str | None
    provider_payment_id: str | None
    package_id: str | None
    package_name: str | None
    credits_added: bool
    credits_added_at: str | None
    credit_transaction_id: str | None
    created_at: str
    updated_at: str
    completed_at: str | None
    expires_at: str | None
    error_message: str | None
    error_code: str | None
    metadata: dict[str, Any]


class PaymentHistoryOut(_Out):
    payments: list[RecordOut]
    total_count: int
    page: int
    page_size: int
    has_more: bool


class PaymentStatsOut(_Out):
    total_spent_usd: float
    total_spent: dict[str, float]
    total_credits_purchased: int
    total_payments: int
    completed_payments: int
    pending_payments: int
    failed_payments: int
    refunded_payments: int
    payments_by_status: dict[str, int]
    last_payment_at: str | None


def record_shape(one: PaymentView, user_id: str) -> dict[str, Any]:
    """A row of the document's table `payment_transactions`."""
    in_usd = one.currency == "usd"
    return {
        "id": bare(one.id),
        "user_id": user_id,
        "amount_cents": one.amount.minor,
        "amount_usd": fields.plain_number(one.amount) if in_usd else None,
        "currency": one.currency,
        "credits_to_add": one.credits,
        "status": one.status,
        "provider": one.provider,
        "provider_session_id": one.session_ref,
        "provider_payment_id": one.payment_ref,
        "package_id": one.package_id,
        "package_name": one.package_name,
        "credits_added": one.credits_added,
        "credits_added_at": fields.instant(one.credits_added_at),
        "credit_transaction_id": bare(one.credit_txn_id),
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
        "completed_at": fields.instant(one.completed_at),
        "expires_at": fields.instant(one.expires_at),
        "error_message": one.error_message,
        "error_code": one.error_code,
        "metadata": one.metadata,
    }


@credits.post(
    "/api/credits/checkout/package", response_model=None, summary="Buy a package of credits",
    responses={200: {"model": PackageCheckoutOut}}, **cell(*BUYERS, owner="own"),
)  # fmt: skip
async def checkout_package(request: Request, body: PackageCheckout) -> Response:
    """Records a pending payment and answers the provider's page."""
    return await at_provider(request, _checkout, request, body)


def _checkout(request: Request, body: PackageCheckout) -> Response:
    env, who = env_of(request), who_of(request)
    customer_id = owner(env, who, body.user_id, create=True)
    attempt = attempt_of(request, who)
    wanted = StartCheckout(
        customer_id=customer_id, pack=body.package_id, promo=body.coupon_code,
        email=body.email or who.email, success_url=body.success_url, cancel_url=body.cancel_url,
        **started_by(attempt),
    )  # fmt: skip

    def work() -> Response:
        one = checkout.start(env, wanted)
        return reply(
            {
                "checkout_url": one.url,
                "session_id": one.payment.session_ref,
                "payment_id": bare(one.payment.id),
            }
        )

    return once(env, attempt, customer_id, work)


@credits.post(
    "/api/credits/verify-payment", response_model=None, summary="Make up for a lost webhook",
    responses={200: {"model": VerifyPaymentOut}},
    **cell(*BUYERS, "support", owner="own"),
)  # fmt: skip
async def verify_payment(request: Request, body: VerifyPayment) -> Response:
    """Asks the provider; hands over what was paid for, once, whoever asks how often."""
    return await at_provider(request, _verify, request, body)


def _verify(request: Request, body: VerifyPayment) -> Response:
    env, who = env_of(request), who_of(request)
    named = body.user_id is not None or who.is_customer
    whose = owner(env, who, body.user_id) if named else None
    one = checkout.verify(env, body.session_id, whose).payment
    with env.db.read() as tx:
        balance = credit_flows.balance_total(tx, one.customer_id, env.now())
    return reply(
        {
            "success": one.paid and one.credits_added,
            "payment_verified": one.paid,
            "credits_added": one.credits if one.credits_added else 0,
            "new_balance": balance,
        }
    )


@credits.get(
    "/api/credits/payment-history", response_model=None, summary="A customer's payments",
    responses={200: {"model": PaymentHistoryOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def payment_history(
    request: Request,
    page: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 1,
    page_size: Annotated[int, Query(ge=1, le=100)] = 20,
    status: Annotated[str | None, Query(max_length=40)] = None,
    user_id: Annotated[str | None, Query(max_length=255)] = None,
) -> Response:
    """Newest first, by numbered pages."""
    env = env_of(request)
    customer_id = owner(env, who_of(request), user_id)
    found, total = payments.history(env, customer_id, page=page, page_size=page_size, status=status)
    named = _external_id(env, customer_id)
    return reply(
        {
            "payments": [record_shape(one, named) for one in found],
            "total_count": total,
            "page": page,
            "page_size": page_size,
            "has_more": page * page_size < total,
        }
    )


@credits.get(
    "/api/credits/payment-stats", response_model=None, summary="A customer's payments in sums",
    responses={200: {"model": PaymentStatsOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def payment_stats(
    request: Request, user_id: Annotated[str | None, Query(max_length=255)] = None
) -> Response:
    """What was captured and not given back: all of it in US dollars at the rates stored with
    the payments, and by currency."""
    env = env_of(request)
    found = payments.stats(env, owner(env, who_of(request), user_id))
    spent = {code: fields.plain_number(money) for code, money in found.spent.items()}
    by_status = found.by_status
    return reply(
        {
            "total_spent_usd": fields.plain_number(found.spent_usd),
            "total_spent": spent,
            "total_credits_purchased": found.credits_purchased,
            "total_payments": found.total_payments,
            "completed_payments": by_status.get("completed", 0),
            "pending_payments": by_status.get("pending", 0) + by_status.get("processing", 0),
            "failed_payments": by_status.get("failed", 0),
            "refunded_payments": by_status.get("refunded", 0)
            + by_status.get("partially_refunded", 0),
            "payments_by_status": by_status,
            "last_payment_at": fields.instant(found.last_payment_at),
        }
    )


def _external_id(env: Any, customer_id: UUID) -> str:
    return customers.get(env, customer_id).external_id
