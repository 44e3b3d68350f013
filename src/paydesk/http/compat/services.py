"""Services: the premium membership, its payments and refunds under /api/v1/customers/services."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest, NotFound
from paydesk.flows import checkout, payment_records, refund_views, subscriptions
from paydesk.flows import payments as payment_flows
from paydesk.flows import services as service_flows
from paydesk.flows.checkout import CheckoutView, StartCheckout
from paydesk.flows.payments import PaymentView
from paydesk.flows.services import ServiceView
from paydesk.flows.subscription_views import SubscriptionView
from paydesk.http import owners
from paydesk.http.auth import STAFF, Principal
from paydesk.http.compat import payment_records as records
from paydesk.http.compat import services_memberships as memberships
from paydesk.http.compat.payment_records import RecordOut, decimal, instant
from paydesk.http.compat.shapes import DecimalNumber, SnakeIn, bare
from paydesk.http.fields import Code, Email, Instant, Ref, Url, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import at_provider, cell, env_of, router, who_of
from paydesk.http.v1.checkouts import started_by
from paydesk.rules.payments import DEAD_STATES
from paydesk.tracker.models import STATUS_OF

services = router("services")

BUYERS = ("customer", "admin", "service")
BASE = "/api/v1/customers/services"
CustomerId = Annotated[str | None, Query(max_length=255)]
Limit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(max_length=64)]
Status = Literal["pending", "processing", "succeeded", "failed", "canceled", "refunded",
                 "partially_refunded"] | None  # fmt: skip
PaymentType = Literal["subscription", "renewal", "upgrade", "refund"] | None
CreatedFrom = Annotated[Instant | None, Query(alias="created_at[gte]")]
CreatedTo = Annotated[Instant | None, Query(alias="created_at[lt]")]


class MembershipIn(SnakeIn):
    """`customer_id` is for callers with an API key. What it costs the catalogue says."""

    customer_id: Ref | None = None
    payment_method: str | None = Field(default=None, max_length=40)
    promo_code: Code | None = None
    email: Email | None = None
    success_url: Url | None = None
    cancel_url: Url | None = None


class RefundIn(SnakeIn):
    """So much of the payment in its own currency, or all that is left of it."""

    amount: DecimalNumber | None = None
    reason: str | None = Field(default=None, max_length=255)


class _Out(BaseModel):
    model_config = ConfigDict(extra="forbid")


class AppliedService(_Out):
    id: str
    service_type: str
    active: bool
    subscription_duration: int
    subscription_expires_at: str
    subscription_fee: float


class AppliedPayment(_Out):
    """`payment_id` is null where a card is to be saved before a trial."""

    payment_id: str | None
    payment_url: str | None
    amount: float
    currency: str
    expires_at: str | None


class ApplicationOut(_Out):
    status: Literal["pending_payment", "activated", "failed"]
    service: AppliedService
    payment: AppliedPayment | None


class ConfirmedService(_Out):
    id: str
    active: bool


class ConfirmedRecord(_Out):
    id: str
    status: str
    paid_at: str | None
    amount: float
    payment_method: str


class ConfirmationOut(_Out):
    """`status` is activated once the payment is through and the service runs; pending_payment
    and failed say what the provider says; ended: it ran, and does no more."""

    status: Literal["activated", "pending_payment", "in_review", "failed", "ended"]
    service: ConfirmedService
    payment_id: str
    payment_record: ConfirmedRecord


class RecordsOut(_Out):
    payments: list[RecordOut]
    has_more: bool
    next_cursor: str | None


class RefundedOut(_Out):
    status: str
    refund: RecordOut
    payment: RecordOut


# Applying and confirming -----------------------------------------------------------------------


@services.post(
    f"{BASE}/premium-membership", response_model=None, summary="Apply for a premium membership",
    responses={201: {"model": ApplicationOut}}, status_code=201, **cell(*BUYERS, owner="own"),
)  # fmt: skip
async def apply(request: Request, body: MembershipIn | None = None) -> Response:
    """Makes the inactive service and its pending payment; `payment_url` is the provider's page.
    Where the catalogue has a plan for it, the service is a subscription."""
    return await at_provider(request, _apply, request, body or MembershipIn())


def _apply(request: Request, body: MembershipIn) -> Response:
    env, who = env_of(request), who_of(request)
    customer_id = _owner(request, who, body.customer_id)
    attempt = attempt_of(request, who)
    provider, email = records.provider_of(env, body.payment_method), body.email or who.email
    plan = memberships.plan_of(env)
    if plan is not None:
        return once(env, attempt, customer_id, lambda: reply(memberships.apply(
            env, plan, customer_id, promo=body.promo_code, email=email, provider=provider,
            success_url=body.success_url, cancel_url=body.cancel_url, **started_by(attempt),
        ), 201))  # fmt: skip
    wanted = StartCheckout(
        customer_id=customer_id, service=env.settings.premium_membership_item,
        promo=body.promo_code, email=email, provider=provider,
        success_url=body.success_url, cancel_url=body.cancel_url, **started_by(attempt),
    )  # fmt: skip

    def work() -> Response:
        made = checkout.start(env, wanted)
        return reply(_application(env, made), 201)

    return once(env, attempt, customer_id, work)


def _application(env: Any, made: CheckoutView) -> dict[str, Any]:
    one = service_flows.of_payment(env, made.customer_id, made.payment.id)
    words = {"complete": "activated", "open": "pending_payment"}
    return {
        "status": words.get(made.status, "failed"),
        "service": {
            "id": bare(one.id),
            "service_type": one.service_type,
            "active": one.active,
            "subscription_duration": one.duration_months,
            "subscription_expires_at": instant(one.expires_at),
            "subscription_fee": decimal(one.fee),
        },
        "payment": {
            "payment_id": made.payment.handle,
            "payment_url": made.url,
            "amount": decimal(made.total),
            "currency": made.total.currency.upper(),
            "expires_at": instant(made.expires_at),
        },
    }


@services.post(
    f"{BASE}/payments/{{payment_id}}/confirm", response_model=None,
    summary="Confirm the payment of a service", responses={200: {"model": ConfirmationOut}},
    **cell(*BUYERS, "support", owner="own"),
)  # fmt: skip
async def confirm(request: Request, payment_id: str) -> Response:
    """Asks the provider, and believes nobody else. May be repeated; activates once."""
    return await at_provider(request, _confirm, request, payment_id)


def _confirm(request: Request, ref: str) -> Response:
    env = env_of(request)
    found = payment_flows.get(env, owners.only_own(env, who_of(request)), ref)
    if memberships.of_payment(env, found) is not None:
        payment, sub, word = memberships.confirmed(env, found)
        return reply(_confirmation(payment, sub.id, memberships.is_active(sub), word))
    _of_service(found)
    payment = checkout.verify(env, found.id, found.customer_id).payment
    assert payment.service_id is not None
    one = service_flows.get(env, payment.customer_id, payment.service_id)
    return reply(_confirmation(payment, one.id, one.active, _word(payment, one)))


def _confirmation(
    payment: PaymentView, service_id: UUID, active: bool, word: str
) -> dict[str, Any]:
    return {
        "status": word,
        "service": {"id": bare(service_id), "active": active},
        "payment_id": payment.handle,
        "payment_record": {
            "id": bare(payment.id),
            "status": records.status_of(payment),
            "paid_at": instant(payment.completed_at) if payment.paid else None,
            "amount": decimal(payment.amount),
            "payment_method": records.method_of(payment),
        },
    }


def _word(payment: PaymentView, one: ServiceView) -> str:
    if one.active and one.payment_id == payment.id:
        return "activated"
    if not payment.paid:
        return "failed" if payment.state in DEAD_STATES else "pending_payment"
    return "ended" if one.activated_at else "in_review"


def _of_service(payment: PaymentView) -> None:
    if payment.service_id is None:
        raise NotFound(f"Payment {payment.handle} is for no service.")


# Records and refunds ---------------------------------------------------------------------------


@services.get(
    f"{BASE}/payments/history", response_model=None, summary="A customer's payment records",
    responses={200: {"model": RecordsOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def history(
    request: Request, customer_id: CustomerId = None, status: Status = None,
    payment_type: PaymentType = None, created_from: CreatedFrom = None,
    created_to: CreatedTo = None, limit: Limit = 20, starting_after: Cursor = None,
) -> Response:  # fmt: skip
    """Every payment, and every refund as a record of type `refund`, newest first."""
    owner = _owner(request, who_of(request), customer_id)
    return _records(
        request, owner, limit, starting_after, **_states(status), payment_type=payment_type,
        created_from=created_from, created_to=created_to,
    )  # fmt: skip


@services.get(
    f"{BASE}/{{service_id}}/payments", response_model=None, summary="A service's payment records",
    responses={200: {"model": RecordsOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def of_service(
    request: Request, service_id: str, status: Status = None, payment_type: PaymentType = None,
    limit: Limit = 20, starting_after: Cursor = None,
) -> Response:  # fmt: skip
    """What was paid for this service, and what of it went back."""
    env = env_of(request)
    whose = owners.only_own(env, who_of(request))
    one: ServiceView | SubscriptionView
    try:
        one = service_flows.get(env, whose, service_id)
    except NotFound:
        one = subscriptions.get(env, whose, service_id)
    return _records(request, one.customer_id, limit, starting_after, service_id=one.id,
                    **_states(status), payment_type=payment_type)  # fmt: skip


def _records(
    request: Request, customer_id: UUID, limit: int, after: str | None, **filters: Any
) -> Response:
    env, for_staff = env_of(request), not who_of(request).is_customer
    mark = None if after is None else ids.parse("payment", after)
    found = payment_records.history(env, customer_id, limit=limit + 1, after=mark, **filters)
    shown = [records.shape(one, for_staff=for_staff) for one in found[:limit]]
    more = len(found) > limit
    return reply({"payments": shown, "has_more": more,
                  "next_cursor": shown[-1]["id"] if more else None})  # fmt: skip


def _states(status: str | None) -> dict[str, list[str]]:
    """Our states, of payments and of refunds, that show as this word of the document."""
    if status is None:
        return {}
    return {
        "states": [s for s in STATUS_OF if records.STATUS.get(s, s) == status],
        "refund_states": [
            s for s in refund_views.STATES if records.REFUND_STATUS.get(s, s) == status
        ],
    }


@services.post(
    f"{BASE}/payments/{{payment_id}}/refund", response_model=None,
    summary="Refund the payment of a service", responses={200: {"model": RefundedOut}},
    **cell(*BUYERS, "support", "finance", owner="own"),
)  # fmt: skip
async def refund(request: Request, payment_id: str, body: RefundIn | None = None) -> Response:
    """Wholly or in part. A customer asks for it, and somebody of the business decides."""
    return await at_provider(request, _refund, request, payment_id, body or RefundIn())


def _refund(request: Request, ref: str, body: RefundIn) -> Response:
    env, who = env_of(request), who_of(request)
    payment = payment_flows.get(env, owners.only_own(env, who), ref)
    attempt = attempt_of(request, who)

    def work() -> Response:
        done = records.create_refund(
            env, ids.show("payment", payment.id), body.amount, body.reason, by=who.caller,
            persons=who.persons, role=who.role, key=attempt.key if attempt else None,
            digest=attempt.digest if attempt else None,
        )  # fmt: skip
        entry = payment_records.get(env, payment.customer_id, payment.id, done.id)
        record = payment_records.get(env, payment.customer_id, payment.id)
        for_staff = not who.is_customer
        shown = records.shape(entry, for_staff=for_staff)
        return reply({"status": done.state, "refund": shown,
                      "payment": records.shape(record, for_staff=for_staff)})  # fmt: skip

    return once(env, attempt, payment.customer_id, work)


def _owner(request: Request, who: Principal, asked: str | None) -> UUID:
    """The caller's own customer, or the one whom an API key names."""
    if asked is None and not who.is_customer:
        if not who.subject:
            raise InvalidRequest(
                "Say whose: customer_id is required with an API key.", param="customer_id",
                errors=[{"pointer": "/customer_id", "detail": "This member is required."}],
            )  # fmt: skip
        asked = who.subject
    return owners.owner(env_of(request), who, asked, create=True)
