"""v1: refills: credits or a wallet that a saved method fills again when little is left."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.flows import refills
from paydesk.flows.refills import RefillView, SetRefill
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.fields import DEFAULT_LIMIT, Limit, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1.models import page_of
from paydesk.http.v1.refill_models import RefillIn, RefillOut

refills_v1 = router("refills")

HOLDERS = ("customer", "admin", "service")


def refill_shape(one: RefillView, *, live: bool) -> dict[str, Any]:
    return {
        "id": ids.show("refill", one.id),
        "object": "refill",
        "livemode": live,
        "customer": ids.show("customer", one.customer_id),
        "status": one.state,
        "fills": "wallet" if one.currency else "credits",
        "currency": one.currency,
        "threshold": one.threshold,
        "pack": one.pack,
        "credits": one.credits,
        "amount": one.amount_minor,
        "payment_method": fields.shown("method", one.method_id),
        "day_count": one.day_count,
        "month_count": one.month_count,
        "day_amount": one.day_minor,
        "month_amount": one.month_minor,
        "pause_after": one.pause_after,
        "pause_reason": one.pause_reason,
        "failures": one.failures,
        "error_code": one.error_code,
        "refills": one.number,
        "payment": fields.shown("payment", one.payment_id),
        "retry_at": fields.instant(one.retry_at),
        "last_refill_at": fields.instant(one.last_at),
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
    }


@refills_v1.post(
    "/v1/refills", response_model=None, summary="Set a refill",
    responses={200: {"model": RefillOut}}, **cell(*HOLDERS, owner="own"),
)  # fmt: skip
def set_refill(request: Request, body: RefillIn) -> Response:
    """One for the customer's credits and one for each wallet: the same again changes it, and one
    that had paused goes on."""
    env, who = env_of(request), who_of(request)
    owner, attempt = owners.owner(env, who, body.customer), attempt_of(request, who)
    wallet = fields.money_of(
        body.amount, body.amount_decimal, body.currency, env.settings.default_currency
    )
    what = refills.in_minor(env, SetRefill(
        customer_id=owner, threshold=body.threshold, pack=body.pack, credits=body.credits,
        wallet=wallet, method=body.payment_method, day_count=body.day_count,
        month_count=body.month_count, pause_after=body.pause_after,
    ), body.day_amount, body.month_amount)  # fmt: skip

    def work() -> Response:
        return reply(refill_shape(refills.set_(env, what), live=env.settings.live))

    return once(env, attempt, owner, work)


@refills_v1.get(
    "/v1/refills", response_model=None, summary="List refills",
    responses={200: {"model": page_of(RefillOut)}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def list_refills(
    request: Request,
    customer: Annotated[str | None, Query(max_length=255)] = None,
    status: Annotated[str | None, Query(max_length=20)] = None,
    limit: Annotated[Limit, Query()] = DEFAULT_LIMIT,
    starting_after: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """Newest first; everybody's where staff names no customer."""
    env = env_of(request)
    owner = owners.scope_of(env, who_of(request), customer)
    found = refills.list_(env, owner, state=status, limit=limit + 1, after=starting_after)
    live = env.settings.live
    return reply(fields.page(found, limit, lambda one: refill_shape(one, live=live)))


@refills_v1.get(
    "/v1/refills/{refill}", response_model=None, summary="Get a refill",
    responses={200: {"model": RefillOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def get_refill(request: Request, refill: str) -> Response:
    """How it stands, and why it waits where it does."""
    env = env_of(request)
    one = refills.get(env, owners.only_own(env, who_of(request)), refill)
    return reply(refill_shape(one, live=env.settings.live))


@refills_v1.delete(
    "/v1/refills/{refill}", response_model=None, summary="Turn a refill off",
    responses={200: {"model": RefillOut}}, **cell(*HOLDERS, owner="own"),
)  # fmt: skip
def turn_off(request: Request, refill: str) -> Response:
    """Nothing more is bought; a payment that is under way is finished."""
    env = env_of(request)
    one = refills.off(env, owners.only_own(env, who_of(request)), refill)
    return reply(refill_shape(one, live=env.settings.live))
