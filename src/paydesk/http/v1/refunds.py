"""v1: refunds: looked at before, asked for, decided by another person, and read."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any
from uuid import uuid4

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.flows import payments, refunds
from paydesk.flows.refund_views import RefundView
from paydesk.flows.refunds import Preview, WantRefund
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.fields import DEFAULT_LIMIT, MAX_AMOUNT, DecimalText, Limit, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import at_provider, cell, env_of, router, who_of
from paydesk.http.v1.models import page_of
from paydesk.http.v1.refund_models import (
    DecisionIn,
    PaidIn,
    RefundAsk,
    RefundIn,
    RefundOut,
    RefundPreviewOut,
)
from paydesk.rules.money import Money

refunds_v1 = router("refunds")

#: Who decides and settles by hand; who may ask.
DECIDERS, ASKERS = ("admin", "finance"), ("admin", "finance", "service", "support")


def refund_shape(one: RefundView, *, is_staff: bool) -> dict[str, Any]:
    """A refund; who of the staff did what about it is told to staff only."""
    shape = {
        "id": ids.show("refund", one.id),
        "object": "refund",
        "livemode": one.payment.livemode,
        "payment": ids.show("payment", one.payment_id),
        "customer": ids.show("customer", one.customer_id),
        "status": one.state,
        **fields.money(one.amount),
        "currency": one.currency,
        "reason": one.reason,
        "origin": one.origin,
        "credits_taken_back": one.credits_taken_back,
        "credits_owed": one.credits_owed,
        "credits_forgiven": one.credits_forgiven,
        "payment_status": one.payment.state,
        **fields.money(one.payment.refunded, "payment_refunded"),
        **fields.money(one.payment.refundable, "payment_refundable"),
        "error_code": one.error_code,
        "metadata": one.metadata,
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
        "succeeded_at": fields.instant(one.succeeded_at),
        "failed_at": fields.instant(one.failed_at),
    }
    if is_staff:
        shape |= {
            "provider": one.provider,
            "provider_refund_id": one.provider_ref,
            "note": one.note,
            "forced": one.forced,
            **fields.money(one.loss, "loss"),
            "requested_by": one.requested_by,
            "decided_by": one.decided_by,
            "decided_at": fields.instant(one.decided_at),
            "decision_note": one.decision_note,
            "error_message": one.error_message,
        }
    return shape


def _preview_shape(one: Preview) -> dict[str, Any]:
    return {
        "object": "refund_preview",
        "payment": ids.show("payment", one.payment_id),
        "currency": one.amount.currency,
        **fields.money(one.amount),
        **fields.money(one.refundable, "refundable"),
        "credits_taken_back": one.credits_taken_back,
        "credits_missing": one.credits_missing,
        "credits_expired": one.credits_expired,
        **fields.money(one.wallet_taken_back, "wallet_taken_back"),
        **fields.money(one.wallet_missing, "wallet_missing"),
        "access_revoked": one.access_revoked,
        "policy": one.policy,
        **fields.money(one.fee_lost, "fee_lost"),
        "needs_approval": one.needs_approval,
        "window_ends_at": fields.instant(one.window_ends_at),
        "is_window_open": one.is_window_open,
        "obstacle": one.obstacle,
        "summary": one.summary,
    }


@refunds_v1.post(
    "/v1/payments/{payment}/refunds", status_code=201, response_model=None,
    summary="Refund a payment", responses={201: {"model": RefundOut}}, **cell(*ASKERS),
)  # fmt: skip
async def refund_payment(request: Request, payment: str, body: RefundAsk) -> Response:
    """Wholly or in part; the goods go with the money. Above the approval threshold, and for
    support always, it is `requested` until somebody else approves it."""
    return await at_provider(request, _create, request, payment, body)


@refunds_v1.post(
    "/v1/refunds", status_code=201, response_model=None, summary="Make a refund",
    responses={201: {"model": RefundOut}}, **cell(*ASKERS),
)  # fmt: skip
async def create_refund(request: Request, body: RefundIn) -> Response:
    """As the payment's own address does."""
    return await at_provider(request, _create, request, body.payment, body)


def _create(request: Request, payment: str, body: RefundAsk) -> Response:
    env, who = env_of(request), who_of(request)
    paid = payments.get(env, owners.only_own(env, who), payment)
    attempt = attempt_of(request, who)
    want = WantRefund(
        customer_id=paid.customer_id, payment_id=paid.id, by=who.caller, persons=who.persons,
        actor_role=who.role,
        amount=_money(body.amount, body.amount_decimal, body.currency, paid.currency),
        reason=body.reason, note=body.note, force=body.force, metadata=body.metadata,
        request_key=attempt.key if attempt else uuid4(),
        request_hash=attempt.digest if attempt else hashlib.sha256(b"").digest(),
    )  # fmt: skip

    def work() -> Response:
        shown = refund_shape(refunds.request(env, want), is_staff=True)
        return reply(shown, 201, {"Location": f"/v1/refunds/{shown['id']}"})

    return once(env, attempt, paid.customer_id, work)


def _money(
    amount: int | None, amount_decimal: str | None, currency: str | None, default: str
) -> Money | None:
    return fields.money_of(amount, amount_decimal, currency, default)


@refunds_v1.get(
    "/v1/payments/{payment}/refunds/preview", response_model=None, summary="Look at a refund",
    responses={200: {"model": RefundPreviewOut}}, **cell(*ASKERS),
)  # fmt: skip
def preview_refund(
    request: Request,
    payment: str,
    amount: Annotated[int | None, Query(ge=1, le=MAX_AMOUNT)] = None,
    amount_decimal: Annotated[DecimalText | None, Query()] = None,
) -> Response:
    """What a refund would do and take back, before anything is done."""
    env, who = env_of(request), who_of(request)
    paid = payments.get(env, None, payment)
    money = _money(amount, amount_decimal, None, paid.currency)
    found = refunds.preview(env, paid.customer_id, paid.id, money, role=who.role)
    return reply(_preview_shape(found))


@refunds_v1.get(
    "/v1/payments/{payment}/refunds", response_model=None, summary="List a payment's refunds",
    responses={200: {"model": page_of(RefundOut)}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def list_payment_refunds(
    request: Request,
    payment: str,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:
    """Newest first, those that failed too."""
    env, who = env_of(request), who_of(request)
    paid = payments.get(env, owners.only_own(env, who), payment)
    found = refunds.list_(
        env, paid.customer_id, payment_id=paid.id, limit=limit + 1, after=_after(starting_after)
    )
    return reply(_page(found, limit, is_staff=not who.is_customer))


@refunds_v1.get(
    "/v1/refunds", response_model=None, summary="List refunds",
    responses={200: {"model": page_of(RefundOut)}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def list_refunds(
    request: Request,
    customer: Annotated[str | None, Query(max_length=255)] = None,
    payment: Annotated[str | None, Query(max_length=255)] = None,
    status: Annotated[str | None, Query(max_length=40)] = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:
    """Newest first; `status=requested` is what waits to be decided."""
    env, who = env_of(request), who_of(request)
    owner = owners.scope_of(env, who, customer)
    paid = None if payment is None else payments.get(env, owner, payment)
    found = refunds.list_(
        env, owner, payment_id=paid.id if paid else None, status=status, limit=limit + 1,
        after=_after(starting_after),
    )
    return reply(_page(found, limit, is_staff=not who.is_customer))


@refunds_v1.get(
    "/v1/refunds/{refund}", response_model=None, summary="Get a refund",
    responses={200: {"model": RefundOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def get_refund(request: Request, refund: str) -> Response:
    """As it stands, and its payment with it."""
    env, who = env_of(request), who_of(request)
    one = refunds.get(env, owners.only_own(env, who), ids.parse("refund", refund))
    return reply(refund_shape(one, is_staff=not who.is_customer))


@refunds_v1.post(
    "/v1/refunds/{refund}/approve", response_model=None, summary="Approve a refund",
    responses={200: {"model": RefundOut}}, **cell(*DECIDERS),
)  # fmt: skip
async def approve_refund(request: Request, refund: str, body: DecisionIn) -> Response:
    """By somebody else than who asked for it. Everything is checked anew, and carried out."""
    return await at_provider(request, _decide, request, refund, "approve", body.note)


@refunds_v1.post(
    "/v1/refunds/{refund}/reject", response_model=None, summary="Reject a refund",
    responses={200: {"model": RefundOut}}, **cell(*DECIDERS),
)  # fmt: skip
async def reject_refund(request: Request, refund: str, body: DecisionIn) -> Response:
    """By somebody else than who asked for it; nothing moves."""
    return await at_provider(request, _decide, request, refund, "reject", body.note)


def _decide(request: Request, refund: str, action: str, note: str | None) -> Response:
    env, who = env_of(request), who_of(request)
    refund_id = ids.parse("refund", refund)
    owner = ids.customer_of(refund_id)

    def work() -> Response:
        one = refunds.decide(env, owner, refund_id, action, by=who.caller, note=note,
                             persons=who.persons)  # fmt: skip
        return reply(refund_shape(one, is_staff=True))

    refunds.get(env, None, refund_id)
    return once(env, attempt_of(request, who), owner, work)


@refunds_v1.post(
    "/v1/refunds/{refund}/cancel", response_model=None, summary="Take a request back",
    responses={200: {"model": RefundOut}}, **cell(*ASKERS),
)  # fmt: skip
def cancel_refund(request: Request, refund: str) -> Response:
    """By whoever asked for it, before it was decided."""
    env, who = env_of(request), who_of(request)
    refund_id = ids.parse("refund", refund)
    one = refunds.cancel(env, ids.customer_of(refund_id), refund_id, by=who.caller)
    return reply(refund_shape(one, is_staff=True))


@refunds_v1.post(
    "/v1/refunds/{refund}/paid", response_model=None, summary="Say that it was paid by hand",
    responses={200: {"model": RefundOut}}, **cell(*DECIDERS),
)  # fmt: skip
def mark_refund_paid(request: Request, refund: str, body: PaidIn) -> Response:
    """For payments that no provider refunds."""
    return _settle(request, refund, "paid", body.reference)


@refunds_v1.post(
    "/v1/refunds/{refund}/failed", response_model=None, summary="Say that it could not be paid",
    responses={200: {"model": RefundOut}}, **cell(*DECIDERS),
)  # fmt: skip
def mark_refund_failed(request: Request, refund: str, body: DecisionIn) -> Response:
    """For payments that no provider refunds: goods and books stand as before."""
    return _settle(request, refund, "failed", body.note)


def _settle(request: Request, refund: str, action: str, told: str | None) -> Response:
    env, who = env_of(request), who_of(request)
    refund_id = ids.parse("refund", refund)
    one = refunds.settle_offline(
        env, ids.customer_of(refund_id), refund_id, action, by=who.caller, reference=told
    )
    return reply(refund_shape(one, is_staff=True))


def _after(starting_after: str | None) -> Any:
    return None if starting_after is None else ids.parse("refund", starting_after)


def _page(found: list[RefundView], limit: int, *, is_staff: bool) -> dict[str, Any]:
    return fields.page(found, limit, lambda one: refund_shape(one, is_staff=is_staff))
