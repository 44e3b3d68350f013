"""v1: exchange rates: read them, enter one, import a file."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.flows import rates
from paydesk.http import fields
from paydesk.http.auth import STAFF
from paydesk.http.fields import DEFAULT_LIMIT, Limit, reply
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1.models import page_of
from paydesk.http.v1.wallet_models import ImportOut, RateIn, RateOut, RatesFileIn
from paydesk.rules import rates as rules
from paydesk.rules.money import currency_code
from paydesk.rules.rates import Rate

rates_v1 = router("rates")

Code = Annotated[str | None, Query(max_length=3)]
NeededCode = Annotated[str, Query(min_length=3, max_length=3)]


def rate_shape(one: Rate, livemode: bool, *, for_staff: bool = False) -> dict[str, Any]:
    return {
        "id": ids.show("rate", one.id),
        "object": "rate",
        "livemode": livemode,
        "base": one.base,
        "quote": one.quote,
        "rate": rules.plain(one.rate),
        "source": one.source,
        "at": fields.instant(one.at),
        "entered_by": one.entered_by if for_staff else None,
        "created_at": fields.instant(one.created_at or one.at),
    }


@rates_v1.get(
    "/v1/rates", response_model=None, summary="List stored exchange rates",
    responses={200: {"model": page_of(RateOut)}}, **cell("customer", *STAFF),
)  # fmt: skip
def list_rates(
    request: Request, base: Code = None, quote: Code = None, limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:  # fmt: skip
    """Those that hold since latest first."""
    env, for_staff = env_of(request), not who_of(request).is_customer
    with env.db.read() as tx:
        found = rates.list_(
            tx, base=base and currency_code(base), quote=quote and currency_code(quote),
            limit=limit + 1,
            after=None if starting_after is None else ids.parse("rate", starting_after),
        )  # fmt: skip
    live = env.settings.live
    return reply(
        fields.page(found, limit, lambda one: rate_shape(one, live, for_staff=for_staff))
    )


@rates_v1.get(
    "/v1/rates/latest", response_model=None, summary="The rate that serves a pair now",
    responses={200: {"model": RateOut}}, **cell("customer", *STAFF),
)  # fmt: skip
def latest_rate(request: Request, base: NeededCode, quote: NeededCode) -> Response:
    """In the direction in which it is stored; a pair that nobody quotes goes through another."""
    env = env_of(request)
    with env.db.read() as tx:
        one = rates.latest(
            tx, currency_code(base), currency_code(quote), env.now(),
            max_age_days=env.settings.rate_max_age_days,
        )  # fmt: skip
    shape = rate_shape(one, env.settings.live, for_staff=not who_of(request).is_customer)
    return reply(shape)


@rates_v1.post(
    "/v1/rates", status_code=201, response_model=None, summary="Enter an exchange rate",
    responses={201: {"model": RateOut}}, **cell("admin", "finance"),
)  # fmt: skip
def enter_rate(request: Request, body: RateIn) -> Response:
    """It holds from `at`, by default from now on. Rates are never changed: enter a newer one."""
    env = env_of(request)
    one = rates.enter(
        env, body.base, body.quote, body.rate, by=who_of(request).caller, at=body.at,
        source=body.source,
    )  # fmt: skip
    return reply(rate_shape(one, env.settings.live, for_staff=True), 201)


@rates_v1.post(
    "/v1/rates/import", response_model=None, summary="Import euro reference rates",
    responses={200: {"model": ImportOut}}, **cell("admin", "finance"),
)  # fmt: skip
def import_rates(request: Request, body: RatesFileIn) -> Response:
    """The files of the European Central Bank, XML or CSV; safe to repeat."""
    env = env_of(request)
    done = rates.import_ecb(env, body.data.encode(), by=who_of(request).caller)
    return reply({
        "object": "rates_import", "livemode": env.settings.live, "rates": done.rates,
        "new": done.new, "days": done.days,
        "first_day": done.first.isoformat() if done.first else None,
        "last_day": done.last.isoformat() if done.last else None,
    })  # fmt: skip
