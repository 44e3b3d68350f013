"""v1: saved ways to pay, and the setups that save them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.flows import methods, setups
from paydesk.flows.methods import AddMethod, MethodView
from paydesk.flows.setups import SetupView, StartSetup
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.fields import reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import at_provider, cell, env_of, router, who_of
from paydesk.http.v1.checkouts import started_by
from paydesk.http.v1.method_models import MethodChange, MethodIn, MethodOut, SetupIn, SetupOut
from paydesk.http.v1.models import page_of

payment_methods_v1 = router("payment_methods")

HOLDERS = ("customer", "admin", "service")


def method_shape(one: MethodView, live: bool) -> dict[str, Any]:
    return {
        "id": ids.show("method", one.id),
        "object": "payment_method",
        "livemode": live,
        "customer": ids.show("customer", one.customer_id),
        "provider": one.provider,
        "provider_method_id": one.ref,
        "kind": one.kind,
        "brand": one.brand,
        "last4": one.last4,
        "exp_month": one.exp_month,
        "exp_year": one.exp_year,
        "country": one.country,
        "wallet": one.wallet,
        "default": one.is_default,
        "expired": one.expired,
        "expires_soon": one.expires_soon,
        "metadata": one.metadata,
        "removed_at": fields.instant(one.detached_at),
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
    }


def setup_shape(one: SetupView, live: bool) -> dict[str, Any]:
    return {
        "id": ids.show("setup", one.id),
        "object": "setup",
        "livemode": live,
        "customer": ids.show("customer", one.customer_id),
        "provider": one.provider,
        "provider_setup_id": one.ref,
        "status": one.state,
        "client_secret": one.client_secret,
        "url": one.url,
        "payment_method": fields.shown("method", one.method_id),
        "default": one.make_default,
        "error_code": one.error_code,
        "error_message": one.error_message,
        "metadata": one.metadata,
        "created_at": fields.instant(one.created_at),
        "expires_at": fields.instant(one.expires_at),
    }


@payment_methods_v1.post(
    "/v1/payment_methods", status_code=201, response_model=None, summary="Save a payment method",
    responses={201: {"model": MethodOut}}, **cell(*HOLDERS, owner="own"),
)  # fmt: skip
async def add_method(request: Request, body: MethodIn) -> Response:
    """Attaches a token that the provider's own form has made. The first one is the default."""
    return await at_provider(request, _add, request, body)


def _add(request: Request, body: MethodIn) -> Response:
    env, who = env_of(request), who_of(request)
    customer_id = owners.owner(env, who, body.customer, create=True)
    attempt = attempt_of(request, who, moves_money=False)
    wanted = AddMethod(
        customer_id=customer_id, token=body.token, provider=body.provider,
        make_default=body.default, metadata=body.metadata, **started_by(attempt),
    )  # fmt: skip

    def work() -> Response:
        return reply(method_shape(methods.add(env, wanted), env.settings.live), 201)

    return once(env, attempt, customer_id, work)


@payment_methods_v1.get(
    "/v1/payment_methods", response_model=None, summary="List a customer's payment methods",
    responses={200: {"model": page_of(MethodOut)}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
async def list_methods(
    request: Request,
    customer: Annotated[str | None, Query(max_length=255)] = None,
    refresh: bool = False,
) -> Response:
    """The default first. `refresh` asks the provider before, for cards that a bank replaced."""
    return await at_provider(request, _list, request, customer, refresh)


def _list(request: Request, customer: str | None, refresh: bool) -> Response:
    env = env_of(request)
    customer_id = owners.owner(env, who_of(request), customer)
    found = methods.list_(env, customer_id, refresh=refresh)
    live = env.settings.live
    return reply(fields.page(found, methods.MOST_METHODS, lambda one: method_shape(one, live)))


def _whose(request: Request, method: str, customer: str | None) -> Any:
    """The customer whose method it is: our id says so; the provider's needs its customer named."""
    env, who = env_of(request), who_of(request)
    if customer is None and not who.is_customer:
        return ids.customer_of(ids.parse("method", method))
    return owners.owner(env, who, customer)


@payment_methods_v1.get(
    "/v1/payment_methods/{method}", response_model=None, summary="Get a payment method",
    responses={200: {"model": MethodOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def get_method(
    request: Request, method: str, customer: Annotated[str | None, Query(max_length=255)] = None
) -> Response:
    """By our id, or with its customer by the provider's."""
    env = env_of(request)
    one = methods.get(env, _whose(request, method, customer), method)
    return reply(method_shape(one, env.settings.live))


@payment_methods_v1.patch(
    "/v1/payment_methods/{method}", response_model=None, summary="Make a method the default",
    responses={200: {"model": MethodOut}}, **cell(*HOLDERS, owner="own"),
)  # fmt: skip
async def change_method(request: Request, method: str, body: MethodChange) -> Response:
    """Exactly one method of a customer is the default."""

    def work() -> Response:
        env = env_of(request)
        one = methods.set_default(env, _whose(request, method, body.customer), method)
        return reply(method_shape(one, env.settings.live))

    return await at_provider(request, work)


@payment_methods_v1.delete(
    "/v1/payment_methods/{method}", response_model=None, summary="Remove a payment method",
    responses={200: {"model": MethodOut}}, **cell(*HOLDERS, owner="own"),
)  # fmt: skip
async def remove_method(
    request: Request, method: str, customer: Annotated[str | None, Query(max_length=255)] = None
) -> Response:
    """It is charged no more from now on; what was paid with it stays as it was."""

    def work() -> Response:
        env = env_of(request)
        one = methods.remove(env, _whose(request, method, customer), method)
        return reply(method_shape(one, env.settings.live))

    return await at_provider(request, work)


@payment_methods_v1.post(
    "/v1/setups", status_code=201, response_model=None, summary="Start saving a payment method",
    responses={201: {"model": SetupOut}}, **cell(*HOLDERS, owner="own"),
)  # fmt: skip
async def start_setup(request: Request, body: SetupIn) -> Response:
    """Answers a `client_secret` for the provider's script, or the `url` of its page."""
    return await at_provider(request, _start, request, body)


def _start(request: Request, body: SetupIn) -> Response:
    env, who = env_of(request), who_of(request)
    customer_id = owners.owner(env, who, body.customer, create=True)
    attempt = attempt_of(request, who, moves_money=False)
    wanted = StartSetup(
        customer_id=customer_id, provider=body.provider, hosted=body.hosted, token=body.token,
        success_url=body.success_url, cancel_url=body.cancel_url, make_default=body.default,
        metadata=body.metadata, **started_by(attempt),
    )  # fmt: skip
    # Not kept as an answer: a client secret is stored nowhere. The key lives on the setup.
    return reply(setup_shape(setups.start(env, wanted), env.settings.live), 201)


@payment_methods_v1.get(
    "/v1/setups/{setup}", response_model=None, summary="Get a setup",
    responses={200: {"model": SetupOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def get_setup(request: Request, setup: str) -> Response:
    env = env_of(request)
    one = setups.get(env, owners.only_own(env, who_of(request)), setup)
    return reply(setup_shape(one, env.settings.live))


@payment_methods_v1.post(
    "/v1/setups/{setup}/verify", response_model=None, summary="Ask how a setup stands",
    responses={200: {"model": SetupOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
async def verify_setup(request: Request, setup: str) -> Response:
    """The provider is asked, and what it says is recorded; safe to repeat."""

    def work() -> Response:
        env = env_of(request)
        one = setups.verify(env, owners.only_own(env, who_of(request)), setup)
        return reply(setup_shape(one, env.settings.live))

    return await at_provider(request, work)
