"""v1: items and services on sale, and what they cost a customer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk.errors import InvalidRequest
from paydesk.flows import customers, items
from paydesk.flows.items import Item
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.fields import Limit, reply
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1.goods_models import ItemIn, ItemOut, PriceOut
from paydesk.http.v1.models import page_of

items_v1 = router("items")


def item_shape(one: Item, livemode: bool, *, with_rules: bool = True) -> dict[str, Any]:
    """An item; customers do not see what others would pay."""
    shape = {
        "id": one.id,
        "object": "item",
        "livemode": livemode,
        "key": one.key,
        "kind": one.kind,
        "name": one.name,
        "description": one.description,
        **fields.money(one.price),
        "currency": one.price.currency,
        "repeatable": one.repeatable,
        "most_quantity": one.most_quantity,
        "duration_months": one.duration_months,
        "access_days": one.access_days,
        "grants": list(one.grants),
        "active": one.active,
        "position": one.position,
        "metadata": one.metadata,
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
    }
    return shape | ({"rules": [rule.as_json() for rule in one.rules]} if with_rules else {})


@items_v1.get(
    "/v1/items", response_model=None, summary="List items and services",
    responses={200: {"model": page_of(ItemOut)}}, **cell("customer", *STAFF),
)  # fmt: skip
def list_items(
    request: Request,
    kind: Literal["item", "service"] | None = None,
    limit: Limit = 100,
    starting_after: str | None = None,
    include_inactive: bool = False,
) -> Response:
    """In the order they are shown. Customers see those that are sold."""
    env, who = env_of(request), who_of(request)
    found = items.list_(env, include_inactive=include_inactive and not who.is_customer, kind=kind)
    if starting_after is not None:
        last = items.get(env, starting_after).uuid
        places = [i for i, one in enumerate(found) if one.uuid == last]
        found = found[places[0] + 1 :] if places else []
    live = env.settings.live
    return reply(
        fields.page(
            found, limit, lambda one: item_shape(one, live, with_rules=not who.is_customer)
        )
    )


@items_v1.get(
    "/v1/items/{item}", response_model=None, summary="Get an item",
    responses={200: {"model": ItemOut}}, **cell("customer", *STAFF),
)  # fmt: skip
def get_item(request: Request, item: str) -> Response:
    """By key or id."""
    env, who = env_of(request), who_of(request)
    one = items.get(env, item, active_only=who.is_customer)
    return reply(item_shape(one, env.settings.live, with_rules=not who.is_customer))


@items_v1.get(
    "/v1/items/{item}/price", response_model=None, summary="What an item costs a customer",
    responses={200: {"model": PriceOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def price_item(
    request: Request,
    item: str,
    quantity: Annotated[int, Query(ge=1, le=10**6)] = 1,
    customer: Annotated[str | None, Query(max_length=255)] = None,
) -> Response:
    """Now, by the item's rules and the application's hook. A checkout freezes it."""
    env = env_of(request)
    who = customers.get(env, owners.owner(env, who_of(request), customer))
    one = items.quote(env, item, who, quantity)
    return reply(
        {
            "object": "item_price",
            "livemode": env.settings.live,
            "item": one.item.key,
            "quantity": one.quantity,
            **fields.money(one.full, "full"),
            **fields.money(one.price),
            "currency": one.price.currency,
            "pricing": list(one.pricing),
        }
    )


@items_v1.put(
    "/v1/items/{item}", response_model=None, summary="Make or change an item",
    responses={200: {"model": ItemOut}}, **cell("admin", "service"),
)  # fmt: skip
def put_item(request: Request, item: str, body: ItemIn) -> Response:
    """The item with this key becomes what the body says; what was sold before stays as it was."""
    env = env_of(request)
    price = fields.money_of(
        body.amount, body.amount_decimal, body.currency, env.settings.default_currency
    )
    if price is None:
        raise InvalidRequest("An item needs a price: amount or amount_decimal.", param="amount")
    key = item if not item.startswith("item_") else items.get(env, item).key
    one = items.upsert(
        env, key, name=body.name, price=price, kind=body.kind, repeatable=body.repeatable,
        most_quantity=body.most_quantity, duration_months=body.duration_months,
        access_days=body.access_days,
        grants=None if body.grants is None else [grant.model_dump() for grant in body.grants],
        rules=[rule.model_dump(exclude_none=True) for rule in body.rules or ()],
        active=body.active, position=body.position, description=body.description,
        metadata=body.metadata,
    )  # fmt: skip
    return reply(item_shape(one, env.settings.live))


@items_v1.delete(
    "/v1/items/{item}", response_model=None, summary="Withdraw an item",
    responses={200: {"model": ItemOut}}, **cell("admin", "service"),
)  # fmt: skip
def delete_item(request: Request, item: str) -> Response:
    """It is sold no more; what was sold of it stays."""
    env = env_of(request)
    return reply(item_shape(items.deactivate(env, item), env.settings.live))
