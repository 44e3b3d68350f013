"""v1: payments, their timelines, and what waits for a person."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest, NotFound, NotPermitted
from paydesk.flows import customers, events, fulfillment, payment_trail, payments
from paydesk.flows.payment_trail import AttemptView, Step
from paydesk.flows.payments import FulfillmentView, PaymentView
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.fields import DEFAULT_LIMIT, MAX_AMOUNT, Instant, Limit, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1.catalog import customer_shape
from paydesk.http.v1.models import PaymentOut, ResolveIn, page_of
from paydesk.rules.money import Money

payments_v1 = router("payments")

EXPANDABLE = ("customer",)


def payment_shape(one: PaymentView, *, for_staff: bool = False) -> dict[str, Any]:
    """A payment; what it cost and what was thought of it are for staff."""
    shape = {
        "id": ids.show("payment", one.id),
        "object": "payment",
        "livemode": one.livemode,
        "customer": ids.show("customer", one.customer_id),
        "checkout": fields.shown("checkout", one.checkout_id),
        "handle": one.handle,
        "status": one.state,
        **fields.money(one.amount),
        "currency": one.currency,
        **fields.money(one.captured, "captured"),
        **fields.money(one.refunded, "refunded"),
        **fields.money(one.refundable, "refundable"),
        **fields.money(one.price, "price"),
        **fields.money(one.discount, "discount"),
        "credits": one.credits,
        "credits_added": one.credits_added,
        "credits_added_at": fields.instant(one.credits_added_at),
        "credit_transaction": fields.shown("transfer", one.credit_txn_id),
        "pack": one.package_id,
        "pack_name": one.package_name,
        "purpose": one.purpose,
        "payment_type": one.payment_type,
        "item": one.item,
        "purchase": fields.shown("purchase", one.purchase_id),
        "service": fields.shown("service", one.service_id),
        "disputed": one.disputed,
        "promo": fields.shown("promo", one.promo_id),
        "provider": one.provider,
        "provider_session_id": one.session_ref,
        "provider_payment_id": one.payment_ref,
        "method": one.method,
        "method_detail": one.method_detail,
        "payment_method": fields.shown("method", one.method_id),
        "wallet_used": one.wallet,
        "country": one.country,
        **_money(one.usd, "usd"),
        "usd_rate": fields.shown("rate", one.rate_id),
        "payment_url": one.payment_url,
        "payment_url_expires_at": fields.instant(one.payment_url_expires_at),
        "action_url": one.action_url,
        "failure_reason": one.failure_reason,
        "description": one.description,
        "reference": one.reference,
        "review": one.review,
        "error_code": one.error_code,
        "error_message": one.error_message,
        "fulfillment": _fulfillment(one.fulfillment),
        "metadata": one.metadata,
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
        "completed_at": fields.instant(one.completed_at),
        "failed_at": fields.instant(one.failed_at),
        "canceled_at": fields.instant(one.canceled_at),
        "deleted_at": fields.instant(one.deleted_at),
        "expires_at": fields.instant(one.expires_at),
        "refunded_at": fields.instant(one.refunded_at),
        "refund_reason": one.refund_reason,
        "refunds": f"/v1/payments/{ids.show('payment', one.id)}/refunds",
    }
    if for_staff:
        shape |= {**_money(one.fee, "fee"), "risk_score": one.risk_score}
    return shape


def _money(value: Money | None, name: str) -> dict[str, Any]:
    """Money that may not be known."""
    return {name: None, f"{name}_decimal": None} if value is None else fields.money(value, name)


def _fulfillment(one: FulfillmentView | None) -> dict[str, Any] | None:
    return one and {
        "purpose": one.purpose,
        "state": one.state,
        "path": one.path,
        "transaction": fields.shown("transfer", one.txn_id),
        "error_code": one.error_code,
        "error": one.error,
        "done_at": fields.instant(one.done_at),
    }


def _step(one: Step, for_staff: bool) -> dict[str, Any]:
    return {
        "id": ids.show("event", one.id),
        "at": fields.instant(one.at),
        "type": one.type,
        "data": events.shown(one.data),
        "via": one.via,
        "actor": one.actor if for_staff else None,
        "request_id": one.request_id if for_staff else None,
        "cause": one.cause if for_staff else None,
    }


def _attempt(one: AttemptView, for_staff: bool) -> dict[str, Any]:
    return {
        "id": ids.show("attempt", one.id),
        "object": "attempt",
        "status": one.state,
        "provider": one.provider,
        "provider_session_id": one.session_ref,
        "provider_payment_id": one.payment_ref,
        "method": one.method,
        "payment_method": fields.shown("method", one.method_id),
        "payment_url": one.url,
        "action_url": one.action_url,
        "error_code": one.error_code,
        "error_message": one.error_message,
        "provider_response": one.response if for_staff else None,
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
        "expires_at": fields.instant(one.expires_at),
        "ended_at": fields.instant(one.ended_at),
    }


@payments_v1.get(
    "/v1/payments", response_model=None, summary="List payments",
    responses={200: {"model": page_of(PaymentOut)}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def list_payments(
    request: Request,
    customer: Annotated[str | None, Query(max_length=255)] = None,
    status: Annotated[str | None, Query(max_length=40)] = None,
    method: Annotated[str | None, Query(max_length=64)] = None,
    currency: Annotated[str | None, Query(max_length=3)] = None,
    reference: Annotated[str | None, Query(max_length=255)] = None,
    provider: Annotated[str | None, Query(max_length=64)] = None,
    purpose: Annotated[str | None, Query(max_length=64)] = None,
    amount_from: Annotated[int | None, Query(alias="amount[gte]", ge=0, le=MAX_AMOUNT)] = None,
    amount_to: Annotated[int | None, Query(alias="amount[lte]", ge=0, le=MAX_AMOUNT)] = None,
    q: Annotated[str | None, Query(min_length=1, max_length=320)] = None,
    payment_type: Annotated[str | None, Query(max_length=64)] = None,
    service: Annotated[str | None, Query(max_length=64)] = None,
    disputed: bool | None = None,
    deleted: bool = False,
    in_review: bool | None = None,
    created_from: Annotated[Instant | None, Query(alias="created_at[gte]")] = None,
    created_to: Annotated[Instant | None, Query(alias="created_at[lt]")] = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
    ending_before: str | None = None,
    expand: Annotated[list[str] | None, Query(max_length=5)] = None,
) -> Response:
    """Newest first. `status` takes every word that any of the documents has for it; `q` is an id,
    a handle or a reference, for staff also a customer's e-mail or id. `deleted`: for
    administrators, hidden ones too. `ending_before`: the page of newer ones just before a payment;
    `has_more` then says whether there are still newer ones."""
    env, who = env_of(request), who_of(request)
    if deleted and who.role != "admin":
        raise NotPermitted("Only administrators see deleted payments.")
    if starting_after is not None and ending_before is not None:
        raise InvalidRequest("Either starting_after or ending_before.", param="ending_before")
    wanted = expansions(expand, *EXPANDABLE)
    found = payments.list_(
        env, owners.scope_of(env, who, customer), limit=limit + 1,
        after=None if starting_after is None else ids.parse("payment", starting_after),
        before=None if ending_before is None else ids.parse("payment", ending_before),
        payment_type=payment_type, disputed=disputed,
        service_id=None if service is None else ids.parse("service", service),
        status=status, method=method, currency=currency and currency.lower(),
        reference=reference, provider=provider, purpose=purpose, amount_from=amount_from,
        amount_to=amount_to, q=q, deleted=deleted, review=in_review, created_from=created_from,
        created_to=created_to,
    )  # fmt: skip
    for_staff = not who.is_customer
    # Backward, the one too many is the newest: it stands first.
    shown = found[-limit:] if ending_before is not None else found[:limit]
    result = {
        "object": "list", "data": [payment_shape(one, for_staff=for_staff) for one in shown],
        "has_more": len(found) > limit, "next_cursor": None,
    }  # fmt: skip
    if result["has_more"]:
        edge = shown[0] if ending_before is not None else shown[-1]
        result["next_cursor"] = ids.show("payment", edge.id)
    if "customer" in wanted:
        kept: dict[UUID, dict[str, Any]] = {}
        for one, shape in zip(shown, result["data"], strict=True):
            if one.customer_id not in kept:
                named = customers.get(env, one.customer_id)
                kept[one.customer_id] = customer_shape(named, env.settings.live)
            shape["customer"] = kept[one.customer_id]
    return reply(result)


@payments_v1.get(
    "/v1/payments/{payment}", response_model=None, summary="Get a payment",
    responses={200: {"model": PaymentOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def get_payment(
    request: Request,
    payment: str,
    expand: Annotated[list[str] | None, Query(max_length=5)] = None,
) -> Response:
    """With its timeline and attempts. By our id, a uuid, the handle, or the provider's id."""
    env, who = env_of(request), who_of(request)
    wanted = expansions(expand, *EXPANDABLE)
    with env.db.read() as tx:
        key = payments.find(env, tx, payment, owners.only_own(env, who))
        one = payments.view(tx, *key)
        if one.deleted_at is not None and who.role != "admin":
            raise NotFound(f"No such payment: {payment[:64]!r}.")
        steps, tries = payment_trail.timeline(tx, one), payment_trail.attempts(tx, *key)
    for_staff = not who.is_customer
    shape = payment_shape(one, for_staff=for_staff)
    if "customer" in wanted:
        named = customers.get(env, one.customer_id)
        shape["customer"] = customer_shape(named, env.settings.live)
    shape["timeline"] = [_step(step, for_staff) for step in steps]
    shape["attempts"] = [_attempt(attempt, for_staff) for attempt in tries]
    if for_staff:
        shape["provider_response"] = one.provider_response
    return reply(shape)


@payments_v1.post(
    "/v1/payments/{payment}/resolve", response_model=None,
    summary="Settle goods that are due or blocked",
    responses={200: {"model": PaymentOut}}, **cell("admin"),
)  # fmt: skip
def resolve_payment(request: Request, payment: str, body: ResolveIn) -> Response:
    """For captured money whose goods could not be handed over."""
    env, who = env_of(request), who_of(request)
    key = payments.get(env, None, payment)

    def work() -> Response:
        one = fulfillment.resolve(env, key.customer_id, key.id, body.action, actor=who.caller)
        return reply(payment_shape(one))

    return once(env, attempt_of(request, who), key.customer_id, work)


def expansions(asked: list[str] | None, *known: str) -> set[str]:
    """The names to expand. Raises InvalidRequest for one that is not known."""
    for name in asked or ():
        if name not in known:
            raise InvalidRequest(
                f"{name[:40]!r} cannot be expanded here; {', '.join(known)} can.", param="expand"
            )
    return set(asked or ())
