"""v1: plans and memberships on sale, with the versions of their terms."""

from __future__ import annotations

from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from paydesk.errors import InvalidRequest
from paydesk.flows import plans
from paydesk.flows.plans import Plan, Terms
from paydesk.http import fields
from paydesk.http.auth import STAFF
from paydesk.http.fields import Limit, reply
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1.models import page_of
from paydesk.http.v1.plan_models import PlanIn, PlanOut, PriceOfPlan, VersionsOut
from paydesk.rules.money import Money, currency_code

plans_v1 = router("plans")


def terms_shape(one: Terms) -> dict[str, Any]:
    return {
        "version": one.version,
        "prices": [
            {**fields.money(price), "currency": price.currency} for price in one.prices.values()
        ],
        "interval": one.interval_unit,
        "interval_count": one.interval_count,
        "billing": one.billing,
        "trial_days": one.trial_days,
        "trial_needs_method": one.trial_needs_method,
        "grants": list(one.grants),
        "credits": one.credits,
        "credits_rollover": one.credits_rollover,
        "credits_cap": one.credits_cap,
        "least_quantity": one.least_quantity,
        "most_quantity": one.most_quantity,
        "upgrade": one.upgrade,
        "downgrade": one.downgrade,
        "upgrade_when": one.upgrade_when,
        "downgrade_when": one.downgrade_when,
        "dunning": dict(one.dunning),
        "grace_days": one.grace_days,
        "product": one.product,
    }


def plan_shape(one: Plan, livemode: bool) -> dict[str, Any]:
    return {
        "id": one.id,
        "object": "plan",
        "livemode": livemode,
        "key": one.key,
        "kind": one.kind,
        "family": one.family,
        "name": one.name,
        "description": one.description,
        **terms_shape(one.terms),
        "active": one.active,
        "public": one.public,
        "position": one.position,
        "metadata": one.metadata,
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
    }


@plans_v1.get(
    "/v1/plans", response_model=None, summary="List plans and memberships",
    responses={200: {"model": page_of(PlanOut)}}, **cell("customer", *STAFF),
)  # fmt: skip
def list_plans(
    request: Request,
    kind: Literal["plan", "membership"] | None = None,
    limit: Limit = 100,
    starting_after: str | None = None,
    include_inactive: bool = False,
) -> Response:
    """In the order they are shown. Customers see those that are public and sold."""
    env, who = env_of(request), who_of(request)
    found = plans.list_(
        env, public_only=who.is_customer, kind=kind,
        include_inactive=include_inactive and not who.is_customer,
    )  # fmt: skip
    if starting_after is not None:
        last = plans.get(env, starting_after).uuid
        places = [i for i, one in enumerate(found) if one.uuid == last]
        found = found[places[0] + 1 :] if places else []
    live = env.settings.live
    return reply(fields.page(found, limit, lambda one: plan_shape(one, live)))


@plans_v1.get(
    "/v1/plans/{plan}", response_model=None, summary="Get a plan",
    responses={200: {"model": PlanOut}}, **cell("customer", *STAFF),
)  # fmt: skip
def get_plan(request: Request, plan: str) -> Response:
    """By key or id. One that is not public is found by who knows its key."""
    env, who = env_of(request), who_of(request)
    one = plans.get(env, plan, active_only=who.is_customer)
    return reply(plan_shape(one, env.settings.live))


@plans_v1.get(
    "/v1/plans/{plan}/versions", response_model=None, summary="All terms a plan ever had",
    responses={200: {"model": VersionsOut}}, **cell(*STAFF),
)  # fmt: skip
def list_versions(request: Request, plan: str) -> Response:
    """The newest first. Whoever subscribed keeps the version of that day."""
    env = env_of(request)
    about = {"object": "plan_version", "livemode": env.settings.live,
             "plan": plans.get(env, plan).id}  # fmt: skip
    data = [{**about, **terms_shape(one)} for one in plans.versions(env, plan)]
    return reply({"object": "list", "data": data, "has_more": False, "next_cursor": None})


@plans_v1.put(
    "/v1/plans/{plan}", response_model=None, summary="Make or change a plan",
    responses={200: {"model": PlanOut}}, **cell("admin", "service"),
)  # fmt: skip
def put_plan(request: Request, plan: str, body: PlanIn) -> Response:
    """The plan with this key becomes what the body says. Changed terms are the next version;
    subscriptions keep theirs until they are moved."""
    env = env_of(request)
    key = plan if not plan.startswith("plan_") else plans.get(env, plan).key
    told = body.model_dump(exclude={"amount", "amount_decimal", "currency", "prices", "dunning"})
    one = plans.upsert(
        env, key, prices=_prices(body, env.settings.default_currency),
        dunning=body.dunning and body.dunning.model_dump(exclude_none=True), **told,
    )  # fmt: skip
    return reply(plan_shape(one, env.settings.live))


@plans_v1.delete(
    "/v1/plans/{plan}", response_model=None, summary="Withdraw a plan",
    responses={200: {"model": PlanOut}}, **cell("admin", "service"),
)  # fmt: skip
def delete_plan(request: Request, plan: str) -> Response:
    """It is sold no more; subscriptions to it run on."""
    env = env_of(request)
    return reply(plan_shape(plans.archive(env, plan), env.settings.live))


def _prices(body: PlanIn, default: str) -> list[Money]:
    """One price, or those of the list; not both."""
    single = body.amount is not None or body.amount_decimal is not None
    if single == (body.prices is not None):
        raise InvalidRequest("Give amount, or amount_decimal, or prices.", param="amount")
    given = body.prices or [
        PriceOfPlan(amount=body.amount, amount_decimal=body.amount_decimal, currency=body.currency)
    ]
    return [_price(one, default) for one in given]


def _price(one: PriceOfPlan, default: str) -> Money:
    """As `fields.money_of`, but a plan may cost nothing."""
    code = currency_code(one.currency or default)
    whole = None if one.amount is None else Money(one.amount, code, minor=True)
    written = None if one.amount_decimal is None else Money(one.amount_decimal, code)
    found = whole if whole is not None else written
    if found is None or (written is not None and found != written):
        raise InvalidRequest(
            "Give amount or amount_decimal of each price; both only where they agree.",
            param="amount",
        )
    return found
