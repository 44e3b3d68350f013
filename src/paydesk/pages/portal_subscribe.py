"""The page of a plan's offer: what it costs, what it opens, and the way to begin it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode
from uuid import uuid4

from fastapi import Request
from fastapi.responses import Response

from paydesk import causes, ids
from paydesk.errors import SubscriptionAlreadyActive
from paydesk.flows import plans, subscription_trials, subscription_views, subscriptions
from paydesk.flows.subscriptions import NewSubscription
from paydesk.pages import look, portal_plan
from paydesk.pages.desk_catalog import resource_words
from paydesk.seals import seal

if TYPE_CHECKING:
    from paydesk.env import Env
    from paydesk.flows.customers import Customer
    from paydesk.flows.plans import Plan
    from paydesk.rules.money import Money

#: How long the form can be sent, in seconds.
FORM_S = 3600
FORM = "offer form"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOffer:
    """What the page shows. `had`: what runs already; `form` is empty where nothing is begun."""

    plan: Plan
    price: Money
    every: str
    trial_days: int
    gives: list[str]
    had: str | None
    is_known: bool
    form: str
    word: str


def page(request: Request, key: str, who: Customer | None, word: str) -> Response:
    """A plan on sale, as it is offered to somebody or to nobody in particular. Raises NotFound."""
    env: Env = request.app.state.env
    return look.page(request, "offer_plan.html", view=_look(env, key, who, word))


def _look(env: Env, key: str, who: Customer | None, word: str) -> PlanOffer:
    plan = plans.get(env, key, active_only=True)
    terms = plan.terms
    had = None
    days = terms.trial_days
    if who is not None:
        running = subscription_views.current(env, who.uuid, plan.family)
        had = running and f"{running.plan_name} is {running.state.replace('_', ' ')}."
        with env.db.read() as tx:
            days = 0 if subscription_trials.had(tx, who.uuid, plan.family) else days
    many = terms.interval_count
    return PlanOffer(
        plan=plan, price=plans.price_of(env, plan), trial_days=days, had=had, word=word,
        every=f"{'a' if many == 1 else 'every'} {terms.interval}", is_known=who is not None,
        gives=[resource_words(one["type"], one["id"]) for one in terms.grants],
        form=_form(env, who, plan) if who is not None and had is None else "",
    )  # fmt: skip


def _form(env: Env, who: Customer, plan: Plan) -> str:
    """Names the subscription that one showing of the page can begin, and its terms."""
    until = int((env.now() + timedelta(seconds=FORM_S)).timestamp())
    told = {"c": who.id, "p": plan.key, "v": plan.version, "n": uuid4().hex, "exp": until}
    return seal(env.settings, FORM, told)


def begin(request: Request, who: Customer, told: dict[str, Any], word: str) -> Response:
    """Begin what the form names, on a page where it is paid for or a method is saved; nothing is
    charged before. Where the terms have changed since, or one runs already, the offer again."""
    env: Env = request.app.state.env
    back = "/portal/offer?" + urlencode({"plan": told["p"], **({"for": word} if word else {})})
    plan = plans.get(env, told["p"], active_only=True)
    if plan.version != told["v"]:
        return look.go(back)
    causes.enter(f"customer:{who.external_id}", "portal", request.scope.get("paydesk.request_id"))
    try:
        begun = subscriptions.start(env, NewSubscription(
            customer_id=who.uuid, plan=plan.key, quantity=plan.terms.least_quantity,
            currency=plans.price_of(env, plan).currency, is_hosted=True,
            success_url=f"{env.settings.base_url}{back}",
            cancel_url=f"{env.settings.base_url}{back}",
            request_key=ids.request_key("plan offer", told["n"]),
        ))  # fmt: skip
    except SubscriptionAlreadyActive:
        return look.go(back)
    if begun.checkout is not None:
        shown = ids.show("checkout", begun.checkout.id)
        return look.go(f"/checkout/{shown}?s={quote(begun.checkout.secret)}")
    if begun.setup is not None:  # A form may not lead to another site; a link may.
        t = portal_plan.tongue_of(env, who)
        return look.page(request, "portal_card.html", t=t, lang=t.locale, url=begun.setup.url)
    return look.go(back)
