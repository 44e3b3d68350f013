"""v1: promo codes: defined by staff, validated and applied for customers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest
from paydesk.flows import plans, pricing, promos
from paydesk.flows.checkout import StartCheckout
from paydesk.flows.promos import Discount, Promo, Reservation
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.fields import DEFAULT_LIMIT, Limit, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1.models import PromoAsk, PromoIn, PromoOut, QuoteOut, page_of

promos_v1 = router("promos")


def promo_shape(one: Promo, livemode: bool) -> dict[str, Any]:
    off, least = one.amount_off, one.min_purchase
    return {
        "id": one.id,
        "object": "promo",
        "livemode": livemode,
        "code": one.code,
        "kind": one.kind,
        "percent_off": one.percent_off,
        "amount_off": off.minor if off else None,
        "amount_off_decimal": str(off.decimal) if off else None,
        "currency": (off or least).currency if off or least else None,  # type: ignore[union-attr]
        "bonus_credits": one.bonus_credits,
        "free_trial_days": one.free_trial_days,
        "duration": one.duration,
        "duration_periods": one.duration_periods,
        "cap": one.cap,
        "used": one.used,
        "per_customer": one.per_customer,
        "min_amount": least.minor if least else None,
        "packs": None if one.packs is None else list(one.packs),
        "plans": None if one.plans is None else list(one.plans),
        "first_purchase": one.first_purchase,
        "customers": None if one.customers is None else list(one.customers),
        "match_metadata": one.match_metadata,
        "starts_at": fields.instant(one.starts_at),
        "expires_at": fields.instant(one.expires_at),
        "active": one.active,
        "metadata": one.metadata,
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
    }


def quote_shape(one: Discount, livemode: bool) -> dict[str, Any]:
    until = one.expires_at if isinstance(one, Reservation) else None
    return {
        "object": "promo_quote",
        "livemode": livemode,
        "code": one.code,
        "promo": ids.show("promo", one.promo_id),
        **fields.money(one.total),
        **fields.money(one.discount, "discount"),
        "currency": one.total.currency,
        "bonus_credits": one.bonus_credits,
        "free_trial_days": one.free_trial_days,
        "duration": one.duration,
        "duration_periods": one.periods,
        "reserved_until": fields.instant(until),
    }


@promos_v1.get(
    "/v1/promos", response_model=None, summary="List promo codes",
    responses={200: {"model": page_of(PromoOut)}}, **cell(*STAFF),
)  # fmt: skip
def list_promos(
    request: Request,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
    include_inactive: bool = False,
) -> Response:
    env = env_of(request)
    found = promos.list_promos(
        env, include_inactive=include_inactive, limit=limit + 1, starting_after=starting_after
    )
    live = env.settings.live
    return reply(fields.page(found, limit, lambda one: promo_shape(one, live)))


@promos_v1.get(
    "/v1/promos/{promo}", response_model=None, summary="Get a promo code",
    responses={200: {"model": PromoOut}}, **cell(*STAFF),
)  # fmt: skip
def get_promo(request: Request, promo: str) -> Response:
    """By the code, in any case, or by its id."""
    env = env_of(request)
    return reply(promo_shape(promos.get_promo(env, promo), env.settings.live))


@promos_v1.put(
    "/v1/promos/{promo}", response_model=None, summary="Make or change a promo code",
    responses={200: {"model": PromoOut}}, **cell("admin", "service"),
)  # fmt: skip
def put_promo(request: Request, promo: str, body: PromoIn) -> Response:
    """The code becomes what the body says; uses so far still count."""
    env = env_of(request)
    default = env.settings.default_currency
    off = fields.money_of(body.amount_off, body.amount_off_decimal, body.currency, default)
    least = fields.money_of(body.min_amount, None, body.currency, default)
    one = promos.upsert_promo(
        env, promo, percent_off=body.percent_off, amount_off=off,
        bonus_credits=body.bonus_credits, free_trial_days=body.free_trial_days,
        duration=body.duration, duration_periods=body.duration_periods, cap=body.cap,
        per_customer=body.per_customer, min_purchase=least, packs=body.packs, plans=body.plans,
        first_purchase=body.first_purchase, customers=body.customers,
        match_metadata=body.match_metadata, starts_at=body.starts_at,
        expires_at=body.expires_at, active=body.active, metadata=body.metadata,
    )  # fmt: skip
    return reply(promo_shape(one, env.settings.live))


@promos_v1.post(
    "/v1/promos/validate", response_model=None, summary="What a code would do",
    responses={200: {"model": QuoteOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def validate_promo(request: Request, body: PromoAsk) -> Response:
    """Reserves nothing. A code that cannot be used is a 422 with its reason."""
    env = env_of(request)
    customer_id = owners.owner(env, who_of(request), body.customer)
    found = promos.quote(env, body.code, customer_id, **_product(request, body, customer_id))
    return reply(quote_shape(found, env.settings.live))


@promos_v1.post(
    "/v1/promos/apply", response_model=None, summary="Reserve a code",
    responses={200: {"model": QuoteOut}}, **cell("customer", "admin", "service", owner="own"),
)  # fmt: skip
def apply_promo(request: Request, body: PromoAsk) -> Response:
    """The customer's next checkout of this product, or subscription to this plan, uses it, until
    `reserved_until`."""
    env, who = env_of(request), who_of(request)
    customer_id = owners.owner(env, who, body.customer)

    def work() -> Response:
        product = _product(request, body, customer_id)
        found = promos.apply(env, body.code, customer_id, **product)
        return reply(quote_shape(found, env.settings.live))

    return once(env, attempt_of(request, who, moves_money=False), customer_id, work)


def _product(request: Request, body: PromoAsk, customer_id: UUID) -> dict[str, Any]:
    env = env_of(request)
    amount = fields.money_of(
        body.amount, body.amount_decimal, body.currency, env.settings.default_currency
    )
    asked = (body.pack, body.credits, body.item, body.service, body.plan, amount)
    if sum(one is not None for one in asked) != 1:
        raise InvalidRequest(
            "Say what it is for: one of pack, credits, item, service, plan and amount.",
            param="pack",
        )
    if body.plan is not None:
        plan = plans.get(env, body.plan, active_only=True)
        return {"plan": plan, "price": plans.price_of(env, plan, body.currency, body.quantity)}
    return pricing.product(env, StartCheckout(
        customer_id=customer_id, pack=body.pack, credits=body.credits, item=body.item,
        quantity=body.quantity, service=body.service, amount=amount,
    ))  # fmt: skip
