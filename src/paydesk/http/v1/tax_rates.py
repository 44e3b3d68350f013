"""v1: tax rates by country and product."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.flows import tax_rates
from paydesk.flows.tax_rates import Rate
from paydesk.http import fields
from paydesk.http.auth import STAFF
from paydesk.http.fields import Limit, reply
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1.models import page_of
from paydesk.http.v1.plan_models import TaxRateIn, TaxRateOut

tax_rates_v1 = router("tax_rates")

Country = Annotated[str | None, Query(max_length=2)]
Product = Annotated[str | None, Query(max_length=100)]


def rate_shape(one: Rate, livemode: bool) -> dict[str, Any]:
    return {
        "id": ids.show("tax_rate", one.id),
        "object": "tax_rate",
        "livemode": livemode,
        "name": one.name,
        "percent": one.percent,
        "country": one.country,
        "product": one.product,
        "inclusive": one.inclusive,
        "active": one.active,
        "valid_from": fields.instant(one.valid_from),
        "created_by": one.created_by,
        "created_at": fields.instant(one.created_at),
    }


@tax_rates_v1.get(
    "/v1/tax-rates", response_model=None, summary="List tax rates",
    responses={200: {"model": page_of(TaxRateOut)}}, **cell(*STAFF),
)  # fmt: skip
def list_tax_rates(
    request: Request,
    country: Country = None,
    product: Product = None,
    limit: Limit = 100,
    starting_after: str | None = None,
    include_inactive: bool = False,
) -> Response:
    """By country, product and name; of each the newest first."""
    env = env_of(request)
    found = tax_rates.list_(
        env, country=country, product=product, include_inactive=include_inactive
    )
    if starting_after is not None:
        last = tax_rates.get(env, starting_after).id
        places = [i for i, one in enumerate(found) if one.id == last]
        found = found[places[0] + 1 :] if places else []
    live = env.settings.live
    return reply(fields.page(found, limit, lambda one: rate_shape(one, live)))


@tax_rates_v1.post(
    "/v1/tax-rates", status_code=201, response_model=None, summary="Enter a tax rate",
    responses={201: {"model": TaxRateOut}}, **cell("admin", "finance"),
)  # fmt: skip
def add_tax_rate(request: Request, body: TaxRateIn) -> Response:
    """It holds until the next of its name, country and product begins. Invoices that are
    finalized keep theirs."""
    env = env_of(request)
    one = tax_rates.add(
        env, body.name, body.percent, country=body.country, product=body.product,
        inclusive=body.inclusive, valid_from=body.valid_from, by=who_of(request).caller,
    )  # fmt: skip
    return reply(rate_shape(one, env.settings.live), 201)


@tax_rates_v1.delete(
    "/v1/tax-rates/{tax_rate}", response_model=None, summary="Take back a tax rate",
    responses={200: {"model": TaxRateOut}}, **cell("admin", "finance"),
)  # fmt: skip
def delete_tax_rate(request: Request, tax_rate: str) -> Response:
    """For one that was entered wrongly: what held before it holds again."""
    env = env_of(request)
    return reply(rate_shape(tax_rates.deactivate(env, tax_rate), env.settings.live))
