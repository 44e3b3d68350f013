"""v1: checkouts: start one, look at it, ask the provider about it, end it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest
from paydesk.flows import checkout
from paydesk.flows.checkout import CheckoutView, StartCheckout
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.fields import reply
from paydesk.http.idempotency import Attempt, attempt_of, once
from paydesk.http.routes import at_provider, cell, env_of, in_thread, router, who_of
from paydesk.http.v1.models import CheckoutIn, CheckoutOut
from paydesk.http.v1.payments import payment_shape

checkouts_v1 = router("checkouts")


def checkout_shape(one: CheckoutView) -> dict[str, Any]:
    return {
        "id": ids.show("checkout", one.id),
        "object": "checkout",
        "livemode": one.payment.livemode,
        "customer": ids.show("customer", one.payment.customer_id),
        "payment": payment_shape(one.payment),
        "status": one.status,
        "url": one.url,
        "page_url": one.page_url,
        "secret": one.secret,
        **fields.money(one.total),
        "currency": one.total.currency,
        "email": one.email,
        "success_url": one.success_url,
        "cancel_url": one.cancel_url,
        "lines": [dict(line) for line in one.lines],
        "created_at": fields.instant(one.payment.created_at),
        "expires_at": fields.instant(one.expires_at),
    }


@checkouts_v1.post(
    "/v1/checkouts", status_code=201, response_model=None, summary="Start a checkout",
    responses={201: {"model": CheckoutOut}},
    **cell("customer", "admin", "service", owner="own"),
)  # fmt: skip
async def create_checkout(request: Request, body: CheckoutIn) -> Response:
    """Prices it, records a pending payment, and opens the provider's page: `url`."""
    return await at_provider(request, _create, request, body)


def _create(request: Request, body: CheckoutIn) -> Response:
    env, who = env_of(request), who_of(request)
    amount = fields.money_of(
        body.amount, body.amount_decimal, body.currency, env.settings.default_currency
    )
    asked = (body.pack, body.credits, body.item, body.service, amount)
    if sum(one is not None for one in asked) != 1:
        raise InvalidRequest(
            "Say what is bought: one of pack, credits, item, service and amount.", param="pack"
        )
    if body.wallet and amount is None:
        raise InvalidRequest("A wallet is filled with an amount.", param="wallet")
    if amount is not None and who.is_customer and not body.wallet:
        raise InvalidRequest(
            "With a customer's token what is in the catalogue can be bought; amounts are set by"
            " the application.", param="amount",
        )  # fmt: skip
    customer_id = owners.owner(env, who, body.customer, create=True)
    attempt = attempt_of(request, who)
    wanted = StartCheckout(
        customer_id=customer_id, pack=body.pack, credits=body.credits, item=body.item,
        quantity=body.quantity, service=body.service, wallet=amount if body.wallet else None,
        amount=None if body.wallet else amount, promo=body.promo, email=body.email or who.email,
        provider=body.provider, success_url=body.success_url, cancel_url=body.cancel_url,
        description=body.description, reference=body.reference, metadata=body.metadata,
        **started_by(attempt),
    )  # fmt: skip

    def work() -> Response:
        one = checkout.start(env, wanted)
        shown = checkout_shape(one)
        return reply(shown, 201, {"Location": f"/v1/checkouts/{shown['id']}"})

    return once(env, attempt, customer_id, work)


def started_by(attempt: Attempt | None) -> dict[str, Any]:
    """The attempt as a checkout takes it."""
    if attempt is None:
        return {}
    return {"request_key": attempt.key, "request_hash": attempt.digest}


@checkouts_v1.get(
    "/v1/checkouts/{checkout}", response_model=None, summary="Get a checkout",
    responses={200: {"model": CheckoutOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
async def get_checkout(request: Request, checkout: str) -> Response:
    return await in_thread(request, _get, request, checkout)


def _get(request: Request, checkout_id: str) -> Response:
    env = env_of(request)
    found = checkout.get(env, _customer_of(request, checkout_id), checkout_id)
    return reply(checkout_shape(found))


@checkouts_v1.post(
    "/v1/checkouts/{checkout}/verify", response_model=None, summary="Ask the provider",
    responses={200: {"model": CheckoutOut}},
    **cell("customer", "admin", "service", "support", owner="own"),
)  # fmt: skip
async def verify_checkout(request: Request, checkout: str) -> Response:
    """For when no webhook came. Safe to repeat: what was paid for is handed over once."""
    return await at_provider(request, _verify, request, checkout)


def _verify(request: Request, checkout_id: str) -> Response:
    env = env_of(request)
    customer_id = _customer_of(request, checkout_id)
    return reply(checkout_shape(checkout.verify(env, checkout_id, customer_id)))


@checkouts_v1.post(
    "/v1/checkouts/{checkout}/expire", response_model=None, summary="End a checkout",
    responses={200: {"model": CheckoutOut}},
    **cell("customer", "admin", "service", "support", owner="own"),
)  # fmt: skip
async def expire_checkout(request: Request, checkout: str) -> Response:
    """Ends it at the provider first, so that nobody pays for it any more."""
    return await at_provider(request, _expire, request, checkout)


def _expire(request: Request, checkout_id: str) -> Response:
    env = env_of(request)
    found = checkout.expire_now(env, _customer_of(request, checkout_id), checkout_id)
    return reply(checkout_shape(found))


def _customer_of(request: Request, checkout_id: str) -> UUID:
    """The caller's own, or for staff the one whom the id names."""
    own = owners.only_own(env_of(request), who_of(request))
    return own or ids.customer_of(ids.parse("checkout", checkout_id))
