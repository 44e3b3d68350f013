"""v1: customers and credit packs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest
from paydesk.flows import catalog, customers
from paydesk.flows.catalog import Pack
from paydesk.flows.customers import Customer
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.fields import DEFAULT_LIMIT, Limit, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1 import models
from paydesk.http.v1.models import CustomerChange, CustomerIn, CustomerOut, PackIn, PackOut

customers_v1 = router("customers")
packs_v1 = router("packs")


def customer_shape(one: Customer, livemode: bool) -> dict[str, Any]:
    return {
        "id": one.id,
        "object": "customer",
        "livemode": livemode,
        "external_id": one.external_id,
        "email": one.email,
        "name": one.name,
        "owner": one.owner_id,
        "organization": one.organization_id,
        "metadata": one.metadata,
        "clock": fields.shown("clock", one.clock_id),
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
    }


def pack_shape(one: Pack, livemode: bool) -> dict[str, Any]:
    return {
        "id": one.id,
        "object": "pack",
        "livemode": livemode,
        "key": one.key,
        "name": one.name,
        "description": one.description,
        "credits": one.credits,
        **fields.money(one.price),
        "currency": one.price.currency,
        "expires_days": one.expires_days,
        "active": one.active,
        "position": one.position,
        "metadata": one.metadata,
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
    }


@customers_v1.post(
    "/v1/customers", status_code=201, response_model=None, summary="Make a customer",
    responses={201: {"model": CustomerOut}, 200: {"model": CustomerOut}},
    **cell("admin", "service"),
)  # fmt: skip
def create_customer(request: Request, body: CustomerIn) -> Response:
    """A customer of this external id; the one there already is answered with 200."""
    env, live = env_of(request), env_of(request).settings.live

    def work() -> Response:
        started = env.now()
        clock = None if body.clock is None else ids.parse("clock", body.clock)
        was_here = clock is not None and customers.is_here(env, body.external_id)
        one = customers.ensure(
            env, customers.external(body.external_id), email=body.email, name=body.name,
            metadata=body.metadata,
            clock=clock,
        )  # fmt: skip
        is_new = one.created_at >= started if clock is None else not was_here
        status = 201 if is_new else 200
        return reply(customer_shape(one, live), status, {"Location": f"/v1/customers/{one.id}"})

    return once(env, attempt_of(request, who_of(request), moves_money=False), None, work)


@customers_v1.get(
    "/v1/customers", response_model=None, summary="List customers",
    responses={200: {"model": models.page_of(CustomerOut)}}, **cell(*STAFF),
)  # fmt: skip
def list_customers(
    request: Request,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
    q: Annotated[str | None, Query(max_length=255)] = None,
) -> Response:
    """Newest first. `q` is the beginning of an external id or e-mail."""
    env = env_of(request)
    found = customers.list_(env, limit=limit + 1, starting_after=starting_after, q=q)
    live = env.settings.live
    return reply(fields.page(found, limit, lambda one: customer_shape(one, live)))


@customers_v1.get(
    "/v1/customers/{customer}", response_model=None, summary="Get a customer",
    responses={200: {"model": CustomerOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def get_customer(request: Request, customer: str) -> Response:
    """By `cus_…` or by the application's own id."""
    env = env_of(request)
    found = customers.get(env, owners.owner(env, who_of(request), customer))
    return reply(customer_shape(found, env.settings.live))


@customers_v1.patch(
    "/v1/customers/{customer}", response_model=None, summary="Change a customer",
    responses={200: {"model": CustomerOut}}, **cell("admin", "service", "support"),
)  # fmt: skip
def change_customer(request: Request, customer: str, body: CustomerChange) -> Response:
    """Change what is named. Who owns whose credits only an application or an admin decides."""
    env, who = env_of(request), who_of(request)
    given: dict[str, Any] = {name: getattr(body, name) for name in body.model_fields_set}
    if who.role == "support" and given.keys() & {"owner", "organization"}:
        raise InvalidRequest("The role 'support' may not change whose credits these are.")
    for name in ("owner", "metadata"):
        if name in given and given[name] is None:
            raise InvalidRequest(f"{name} cannot be null.", param=name)
    one = customers.update(env, customer, cause={"by": who.caller}, **given)
    return reply(customer_shape(one, env.settings.live))


@packs_v1.get(
    "/v1/packs", response_model=None, summary="List packs",
    responses={200: {"model": models.page_of(PackOut)}}, **cell("customer", *STAFF),
)  # fmt: skip
def list_packs(
    request: Request,
    limit: Limit = 100,
    starting_after: str | None = None,
    include_inactive: bool = False,
) -> Response:
    """In the order they are shown. Customers see those that are sold."""
    env, who = env_of(request), who_of(request)
    found = catalog.list_packs(env, include_inactive=include_inactive and not who.is_customer)
    if starting_after is not None:
        last = catalog.get_pack(env, starting_after).uuid
        places = [i for i, one in enumerate(found) if one.uuid == last]
        found = found[places[0] + 1 :] if places else []
    live = env.settings.live
    return reply(fields.page(found, limit, lambda one: pack_shape(one, live)))


@packs_v1.get(
    "/v1/packs/{pack}", response_model=None, summary="Get a pack",
    responses={200: {"model": PackOut}}, **cell("customer", *STAFF),
)  # fmt: skip
def get_pack(request: Request, pack: str) -> Response:
    """By key or id."""
    env = env_of(request)
    only_active = who_of(request).is_customer
    return reply(pack_shape(catalog.get_pack(env, pack, active_only=only_active),
                            env.settings.live))  # fmt: skip


@packs_v1.put(
    "/v1/packs/{pack}", response_model=None, summary="Make or change a pack",
    responses={200: {"model": PackOut}}, **cell("admin", "service"),
)  # fmt: skip
def put_pack(request: Request, pack: str, body: PackIn) -> Response:
    """The pack with this key becomes what the body says; checkouts opened before keep theirs."""
    env = env_of(request)
    price = fields.money_of(
        body.amount, body.amount_decimal, body.currency, env.settings.default_currency
    )
    if price is None:
        raise InvalidRequest("A pack needs a price: amount or amount_decimal.", param="amount")
    key = pack if not pack.startswith("pack_") else catalog.get_pack(env, pack).key
    one = catalog.upsert_pack(
        env, key, name=body.name, credits=body.credits, price=price,
        expires_days=body.expires_days, active=body.active, position=body.position,
        description=body.description, metadata=body.metadata,
    )  # fmt: skip
    return reply(pack_shape(one, env.settings.live))
