"""Learning's subscription plans, for everybody, and the bookings family's memberships."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from paydesk.env import Env
from paydesk.errors import NotFound
from paydesk.flows import plans
from paydesk.flows.plans import Plan
from paydesk.http import fields
from paydesk.http.auth import STAFF
from paydesk.http.compat.shapes import CamelOut, bare, ref_of
from paydesk.http.fields import reply
from paydesk.http.routes import cell, env_of, router
from paydesk.rules.plans import plan_price

compat_plans = router("learning")
compat_memberships = router("bookings")


class PlanOnSale(CamelOut):
    """A row of the document's table `subscription_plans`. `prices`: all of them, by currency."""

    id: str
    key: str
    name: str
    description: str | None
    price: float
    currency: str
    prices: dict[str, float]
    interval: str
    interval_count: int
    trial_days: int
    credits: int
    features: list[str]
    active: bool


class PlansOnSale(CamelOut):
    plans: list[PlanOnSale]


class MembershipOnSale(PlanOnSale):
    """`monthlyCredits` are given each month, and those that are left go as `rollover` says."""

    monthly_credits: int
    rollover: str


class MembershipsOnSale(CamelOut):
    memberships: list[MembershipOnSale]


def plan_row(env: Env, one: Plan) -> dict[str, Any]:
    """A plan at the price in the default currency, or its first."""
    terms = one.terms
    price = plan_price(terms, env.settings.default_currency)
    return {
        "id": bare(one.uuid),
        "key": one.key,
        "name": one.name,
        "description": one.description,
        "price": fields.plain_number(price),
        "currency": price.currency.upper(),
        "prices": {c.upper(): fields.plain_number(p) for c, p in terms.prices.items()},
        "interval": terms.interval_unit,
        "intervalCount": terms.interval_count,
        "trialDays": terms.trial_days,
        "credits": terms.credits,
        "features": [
            grant["type"] if grant["id"] == "*" else f"{grant['type']}:{grant['id']}"
            for grant in terms.grants
        ],
        "active": one.active,
    }


def membership_row(env: Env, one: Plan) -> dict[str, Any]:
    return plan_row(env, one) | {
        "monthlyCredits": one.terms.credits, "rollover": one.terms.credits_rollover,
    }  # fmt: skip


def membership(env: Env, text: str) -> Plan:
    """A membership on sale by its bare uuid, its key or its prefixed id. Raises NotFound."""
    found = plans.get(env, ref_of(text), active_only=True)
    if found.kind != "membership":
        raise NotFound("No such membership.", param="membership")
    return found


@compat_plans.get(
    "/api/subscriptions/plans", response_model=None, summary="Plans on sale",
    responses={200: {"model": PlansOnSale}}, **cell("public"),
)  # fmt: skip
def list_plans(request: Request) -> Response:
    """For everybody, without a token; from a cache that every change of a plan drops."""
    env = env_of(request)
    found = plans.list_(env, public_only=True, kind="plan")
    return reply({"plans": [plan_row(env, one) for one in found]})


@compat_memberships.get(
    "/payment/memberships", response_model=None, summary="Memberships on sale",
    responses={200: {"model": MembershipsOnSale}}, **cell("customer", *STAFF),
)  # fmt: skip
def list_memberships(request: Request) -> Response:
    env = env_of(request)
    found = plans.list_(env, public_only=True, kind="membership")
    return reply({"memberships": [membership_row(env, one) for one in found]})
