"""Learning: saved payment methods, setup intents and the history under /api/payments."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.flows import customers, methods, payments, setups
from paydesk.flows.methods import AddMethod, MethodView
from paydesk.flows.payments import PaymentView
from paydesk.flows.setups import StartSetup
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.compat.learning import PAYMENT_STATUS
from paydesk.http.compat.shapes import CamelIn, CamelOut, bare, owner
from paydesk.http.fields import Ref, Url, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import at_provider, cell, env_of, in_thread, router, who_of
from paydesk.http.v1.checkouts import started_by
from paydesk.tracker.models import STATUS_OF

learning_methods = router("learning")

HOLDERS = ("customer", "admin", "service")


class NewMethod(CamelIn):
    """`paymentMethodId`: what the provider's form made of a card; never the card's number."""

    payment_method_id: Ref
    user_id: Ref | None = None
    set_as_default: bool = False


class SetupAsked(CamelIn):
    """With `returnUrl` a page of the provider saves the card, without it the browser's script."""

    user_id: Ref | None = None
    return_url: Url | None = None


class WhoseMethod(CamelIn):
    user_id: Ref | None = None


class MethodRow(CamelOut):
    id: str
    user_id: str
    provider: str
    payment_method_id: str
    type: str
    brand: str | None
    last4: str | None
    exp_month: int | None
    exp_year: int | None
    is_default: bool
    is_expired: bool
    created_at: str


class MethodsOut(CamelOut):
    payment_methods: list[MethodRow]


class OneMethod(CamelOut):
    payment_method: MethodRow


class Removed(CamelOut):
    success: bool


class SetupRow(CamelOut):
    """`clientSecret` is for the provider's script in the browser; `url` a page to open."""

    setup_intent_id: str | None
    client_secret: str | None
    url: str | None
    status: str


class HistoryRow(CamelOut):
    """A payment and what it was for: a purchase, a service, a subscription, or nothing of these."""

    id: str
    user_id: str
    type: str
    amount: float
    currency: str
    status: str
    method: str | None
    description: str | None
    purchase_id: str | None
    service_id: str | None
    subscription_id: str | None
    item_key: str | None
    amount_refunded: float
    created_at: str
    completed_at: str | None


class HistoryOut(CamelOut):
    payments: list[HistoryRow]
    total: int = Field(description="How many there are on all pages.")
    page: int
    page_size: int
    has_more: bool


def method_row(one: MethodView, user_id: str) -> dict[str, Any]:
    return {
        "id": bare(one.id),
        "userId": user_id,
        "provider": one.provider,
        "paymentMethodId": one.ref,
        "type": one.kind,
        "brand": one.brand,
        "last4": one.last4,
        "expMonth": one.exp_month,
        "expYear": one.exp_year,
        "isDefault": one.is_default,
        "isExpired": one.expired,
        "createdAt": fields.instant(one.created_at),
    }


def _shown_as(status: str | None) -> list[str] | None:
    """The states that this family shows by a word; None for a word that is not of its own."""
    word = (status or "").lower()
    shown = ((state, PAYMENT_STATUS.get(state, state)) for state in STATUS_OF)
    return [state for state, name in shown if name == word] or None


def history_row(one: PaymentView, user_id: str) -> dict[str, Any]:
    goods = (one.terms or {}).get("goods") or {}
    return {
        "id": bare(one.id),
        "userId": user_id,
        "type": "subscription" if goods.get("subscription") else one.purpose,
        "amount": fields.plain_number(one.amount),
        "currency": one.currency.upper(),
        "status": PAYMENT_STATUS.get(one.state, one.state),
        "method": one.method,
        "description": one.description,
        "purchaseId": goods.get("purchase"),
        "serviceId": goods.get("service"),
        "subscriptionId": goods.get("subscription"),
        "itemKey": goods.get("key"),
        "amountRefunded": fields.plain_number(one.refunded),
        "createdAt": fields.instant(one.created_at),
        "completedAt": fields.instant(one.completed_at),
    }


@learning_methods.get(
    "/api/payments/methods/{user}", response_model=None, summary="List saved payment methods",
    responses={200: {"model": MethodsOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
async def list_methods(request: Request, user: str) -> Response:
    """The default first."""

    def work() -> Response:
        env = env_of(request)
        customer_id = owners.owner(env, who_of(request), user)
        name = customers.get(env, customer_id).external_id
        found = methods.list_(env, customer_id)
        return reply({"paymentMethods": [method_row(one, name) for one in found]})

    return await in_thread(request, work)


@learning_methods.post(
    "/api/payments/methods", status_code=201, response_model=None,
    summary="Add a payment method", responses={201: {"model": OneMethod}},
    **cell(*HOLDERS, owner="own"),
)  # fmt: skip
async def add_method(request: Request, body: NewMethod) -> Response:
    return await at_provider(request, _add, request, body)


def _add(request: Request, body: NewMethod) -> Response:
    env, who = env_of(request), who_of(request)
    customer_id = owner(env, who, body.user_id, create=True)
    attempt = attempt_of(request, who, moves_money=False)
    wanted = AddMethod(
        customer_id=customer_id, token=body.payment_method_id, make_default=body.set_as_default,
        **started_by(attempt),
    )  # fmt: skip
    return once(env, attempt, customer_id, lambda: _one(env, methods.add(env, wanted), 201))


def _one(env: Any, one: MethodView, status: int = 200) -> Response:
    name = customers.get(env, one.customer_id).external_id
    return reply({"paymentMethod": method_row(one, name)}, status)


def _whose(request: Request, method: str, asked: str | None) -> Any:
    """Our own id says whose a method is; the provider's needs its user named."""
    env, who = env_of(request), who_of(request)
    if asked is None and not who.is_customer:
        return ids.customer_of(ids.parse("method", method))
    return owner(env, who, asked)


@learning_methods.delete(
    "/api/payments/methods/{method}", response_model=None, summary="Remove a payment method",
    responses={200: {"model": Removed}}, **cell(*HOLDERS, owner="own"),
)  # fmt: skip
async def remove_method(
    request: Request, method: str,
    user_id: Annotated[str | None, Query(alias="userId", max_length=255)] = None,
) -> Response:  # fmt: skip
    def work() -> Response:
        methods.remove(env_of(request), _whose(request, method, user_id), method)
        return reply({"success": True})

    return await at_provider(request, work)


@learning_methods.post(
    "/api/payments/methods/{method}/default", response_model=None,
    summary="Make a payment method the default", responses={200: {"model": OneMethod}},
    **cell(*HOLDERS, owner="own"),
)  # fmt: skip
async def default_method(
    request: Request, method: str, body: WhoseMethod | None = None
) -> Response:
    def work() -> Response:
        env, asked = env_of(request), body.user_id if body else None
        return _one(env, methods.set_default(env, _whose(request, method, asked), method))

    return await at_provider(request, work)


@learning_methods.post(
    "/api/payments/setup-intent", status_code=201, response_model=None,
    summary="Create a setup intent", responses={201: {"model": SetupRow}},
    **cell(*HOLDERS, owner="own"),
)  # fmt: skip
async def setup_intent(request: Request, body: SetupAsked | None = None) -> Response:
    """To save a card without paying now."""

    def work() -> Response:
        env, who = env_of(request), who_of(request)
        told = body or SetupAsked()
        made = setups.start(env, StartSetup(
            customer_id=owner(env, who, told.user_id, create=True),
            hosted=told.return_url is not None, success_url=told.return_url,
            **started_by(attempt_of(request, who, moves_money=False)),
        ))  # fmt: skip
        return reply({
            "setupIntentId": made.ref, "clientSecret": made.client_secret, "url": made.url,
            "status": made.state,
        }, 201)  # fmt: skip

    return await at_provider(request, work)


@learning_methods.get(
    "/api/payments/history/{user}", response_model=None, summary="A user's payments",
    responses={200: {"model": HistoryOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
async def history(
    request: Request,
    user: str,
    page: Annotated[int, Query(ge=1, le=10**6)] = 1,
    page_size: Annotated[int, Query(alias="pageSize", ge=1, le=100)] = 20,
    status: Annotated[str | None, Query(max_length=40)] = None,
) -> Response:
    """Newest first."""

    def work() -> Response:
        env = env_of(request)
        customer_id = owners.owner(env, who_of(request), user)
        name = customers.get(env, customer_id).external_id
        found, total = payments.history(
            env, customer_id, page=page, page_size=page_size, status=status,
            states=_shown_as(status),
        )
        return reply({
            "payments": [history_row(one, name) for one in found], "total": total, "page": page,
            "pageSize": page_size, "hasMore": page * page_size < total,
        })  # fmt: skip

    return await in_thread(request, work)
