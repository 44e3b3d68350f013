"""v1: purchases of items, and services that run."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.flows import items, purchases, services
from paydesk.flows.purchases import PurchaseView
from paydesk.flows.services import ServiceView
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.fields import DEFAULT_LIMIT, Limit, reply
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1.goods_models import PurchaseOut, ServiceOut
from paydesk.http.v1.models import page_of

purchases_v1 = router("purchases")
services_v1 = router("services")

Text = Annotated[str | None, Query(max_length=255)]


def purchase_shape(one: PurchaseView, livemode: bool) -> dict[str, Any]:
    return {
        "id": ids.show("purchase", one.id),
        "object": "purchase",
        "livemode": livemode,
        "customer": ids.show("customer", one.customer_id),
        "item": one.item_key,
        "name": one.name,
        "quantity": one.quantity,
        "status": one.state,
        "payment": ids.show("payment", one.payment_id),
        **fields.money(one.price, "price"),
        **fields.money(one.paid, "paid"),
        **fields.money(one.refunded, "refunded"),
        "currency": one.price.currency,
        "pricing": list(one.pricing),
        "completed_at": fields.instant(one.completed_at),
        "refunded_at": fields.instant(one.refunded_at),
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
    }


def service_shape(one: ServiceView, livemode: bool) -> dict[str, Any]:
    return {
        "id": ids.show("service", one.id),
        "object": "service",
        "livemode": livemode,
        "customer": ids.show("customer", one.customer_id),
        "service_type": one.service_type,
        "status": one.state,
        "active": one.active,
        "duration_months": one.duration_months,
        **fields.money(one.fee, "fee"),
        "currency": one.fee.currency,
        "payment": fields.shown("payment", one.payment_id),
        "starts_at": fields.instant(one.starts_at),
        "expires_at": fields.instant(one.expires_at),
        "activated_at": fields.instant(one.activated_at),
        "ended_at": fields.instant(one.ended_at),
        "end_reason": one.end_reason,
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
    }


@purchases_v1.get(
    "/v1/purchases", response_model=None, summary="List purchases",
    responses={200: {"model": page_of(PurchaseOut)}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def list_purchases(
    request: Request,
    customer: Text = None,
    status: Annotated[str | None, Query(max_length=40)] = None,
    item: Text = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:
    """Newest first. `item` by key or id."""
    env, who = env_of(request), who_of(request)
    found = purchases.list_(
        env, owners.scope_of(env, who, customer), state=status,
        item=items.get(env, item).key if item is not None else None, limit=limit + 1,
        after=None if starting_after is None else ids.parse("purchase", starting_after),
    )  # fmt: skip
    live = env.settings.live
    return reply(fields.page(found, limit, lambda one: purchase_shape(one, live)))


@purchases_v1.get(
    "/v1/purchases/{purchase}", response_model=None, summary="Get a purchase",
    responses={200: {"model": PurchaseOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def get_purchase(request: Request, purchase: str) -> Response:
    """By its id, a bare uuid, or its payment's id."""
    env = env_of(request)
    one = purchases.get(env, owners.only_own(env, who_of(request)), purchase)
    return reply(purchase_shape(one, env.settings.live))


@services_v1.get(
    "/v1/services", response_model=None, summary="List services that customers have",
    responses={200: {"model": page_of(ServiceOut)}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def list_services(
    request: Request,
    customer: Text = None,
    status: Annotated[str | None, Query(max_length=40)] = None,
    service_type: Text = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:
    """Newest first. `service_type` is the key of what was sold."""
    env, who = env_of(request), who_of(request)
    found = services.list_(
        env, owners.scope_of(env, who, customer), state=status, service_type=service_type,
        limit=limit + 1,
        after=None if starting_after is None else ids.parse("service", starting_after),
    )  # fmt: skip
    live = env.settings.live
    return reply(fields.page(found, limit, lambda one: service_shape(one, live)))


@services_v1.get(
    "/v1/services/{service}", response_model=None, summary="Get a service",
    responses={200: {"model": ServiceOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def get_service(request: Request, service: str) -> Response:
    env = env_of(request)
    one = services.get(env, owners.only_own(env, who_of(request)), service)
    return reply(service_shape(one, env.settings.live))
