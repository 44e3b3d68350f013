"""v1: holds: set credits or money of a wallet aside, then capture or release."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest
from paydesk.flows import heads, holds
from paydesk.flows.holds import Hold
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF
from paydesk.http.fields import DEFAULT_LIMIT, Limit, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1.models import page_of
from paydesk.http.v1.wallet_models import CaptureIn, HoldIn, HoldOut
from paydesk.http.v1.wallets import owned
from paydesk.rules.ledger import CREDIT
from paydesk.rules.money import Money

holds_v1 = router("holds")


def hold_shape(request: Request, one: Hold) -> dict[str, Any]:
    env = env_of(request)

    def sums(**amounts: int) -> dict[str, Any]:
        if one.asset == CREDIT:
            return {**amounts, **{f"{name}_decimal": None for name in amounts}}
        return {
            key: value for name, minor in amounts.items()
            for key, value in fields.money(Money(minor, one.asset, minor=True), name).items()
        }  # fmt: skip

    return {
        "id": ids.show("hold", one.id),
        "object": "hold",
        "livemode": env.settings.live,
        "customer": ids.show("customer", one.customer_id),
        "asset": "credits" if one.asset == CREDIT else one.asset,
        **sums(amount=one.amount, captured=one.captured, left=one.left),
        "status": one.status(heads.now(env, one.customer_id)),
        "reason": one.reason,
        "reference": one.reference,
        "metadata": one.metadata,
        "expires_at": fields.instant(one.expires_at),
        "closed_at": fields.instant(one.closed_at),
        "created_at": fields.instant(one.created_at),
    }


@holds_v1.post(
    "/v1/holds", status_code=201, response_model=None, summary="Set credits or money aside",
    responses={201: {"model": HoldOut}}, **cell("admin", "service"),
)  # fmt: skip
def create_hold(request: Request, body: HoldIn) -> Response:
    """Until it is captured, released, or its minutes are over."""
    env, who = env_of(request), who_of(request)
    customer_id = owners.owner(env, who, body.customer)
    money = fields.money_of(
        body.amount, body.amount_decimal, body.currency, env.settings.default_currency
    )
    if (money is None) == (body.credits is None):
        raise InvalidRequest("Say what is held: credits, or an amount.", param="credits")
    amount, asset = (money.minor, money.currency) if money else (body.credits or 0, CREDIT)
    attempt = attempt_of(request, who)

    def work() -> Response:
        one = holds.hold_now(
            env, customer_id, amount, asset, reason=body.reason, reference=body.reference,
            minutes=body.minutes, metadata=body.metadata,
            request_key=attempt.key if attempt else None,
            request_hash=attempt.digest if attempt else None,
        )  # fmt: skip
        return reply(hold_shape(request, one), 201)

    return once(env, attempt, customer_id, work)


@holds_v1.get(
    "/v1/holds", response_model=None, summary="List holds",
    responses={200: {"model": page_of(HoldOut)}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def list_holds(
    request: Request,
    customer: Annotated[str | None, Query(max_length=255)] = None,
    state: Annotated[str | None, Query(max_length=40)] = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:
    """Newest first; `state` is open or closed."""
    env = env_of(request)
    customer_id = owners.owner(env, who_of(request), customer)
    after = None if starting_after is None else ids.parse("hold", starting_after)
    with env.db.read() as tx:
        found = holds.list_(tx, customer_id, state=state, limit=limit + 1, after=after)
    return reply(fields.page(found, limit, lambda one: hold_shape(request, one)))


@holds_v1.get(
    "/v1/holds/{hold}", response_model=None, summary="Get a hold",
    responses={200: {"model": HoldOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
def get_hold(request: Request, hold: str) -> Response:
    with env_of(request).db.read() as tx:
        one = holds.get(tx, *owned(request, "hold", hold))
    return reply(hold_shape(request, one))


@holds_v1.post(
    "/v1/holds/{hold}/capture", response_model=None, summary="Use what was set aside",
    responses={200: {"model": HoldOut}}, **cell("admin", "service"),
)  # fmt: skip
def capture_hold(request: Request, hold: str, body: CaptureIn) -> Response:
    """All of it or a part; the rest goes back, and the hold has ended: not after it has expired.

    With `final` false the rest stays set aside, for captures to come.
    """
    env, who = env_of(request), who_of(request)
    customer_id, found = owned(request, "hold", hold)
    attempt = attempt_of(request, who)

    def work() -> Response:
        one = holds.capture_now(
            env, customer_id, found, body.amount, is_final=body.final,
            request_key=attempt.key if attempt else None,
        )
        return reply(hold_shape(request, one))

    return once(env, attempt, customer_id, work)


@holds_v1.post(
    "/v1/holds/{hold}/release", response_model=None, summary="Give back what was set aside",
    responses={200: {"model": HoldOut}}, **cell("admin", "service"),
)  # fmt: skip
def release_hold(request: Request, hold: str) -> Response:
    env, who = env_of(request), who_of(request)
    customer_id, found = owned(request, "hold", hold)
    attempt = attempt_of(request, who)

    def work() -> Response:
        one = holds.release_now(
            env, customer_id, found, request_key=attempt.key if attempt else None
        )
        return reply(hold_shape(request, one))

    return once(env, attempt, customer_id, work)
