"""/dev: the home of the sandbox. Links, test cards, time to move, and what just happened."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Form, Request
from fastapi.responses import Response

from paydesk import ids
from paydesk.env import Env
from paydesk.errors import NotFound
from paydesk.flows import (
    catalog,
    checkout,
    clocks,
    customers,
    events,
    invoices,
    offer_links,
    plans,
    subscription_views,
)
from paydesk.flows.checkout import StartCheckout
from paydesk.flows.clocks import ClockView
from paydesk.flows.customers import Customer
from paydesk.flows.subscription_views import SubscriptionView
from paydesk.pages import look, portal_words, session, story
from paydesk.pages.routing import new_router
from paydesk.rules.plans import plan_price

router = new_router()

#: Who buys when a button of this page is pressed.
DEMO_CUSTOMER = "user_123"
DEMO_EMAIL = "maya@northwind.example"
#: Who subscribes when a button of this page is pressed: on a clock that is moved by hand.
TIME_CUSTOMER, TIME_EMAIL = "traveler", "tess@northwind.example"
STEPS = {"day": ("A day", 1), "week": ("A week", 7), "month": ("A month", 31)}
#: Stripe's published test cards, https://docs.stripe.com/testing
CARDS = [
    ("4242 4242 4242 4242", "succeeds"),
    ("4000 0025 0000 3155", "asks for 3-D Secure"),
    ("4000 0000 0000 0002", "is declined"),
    ("4000 0000 0000 9995", "has insufficient funds"),
]


def _check(request: Request) -> session.Operator:
    """The sandbox's home exists only in development, on this machine."""
    if not session.is_development(request):
        raise NotFound("There is no such page.")
    return session.operator(request)


@router.get("/dev")
def home(request: Request) -> Response:
    env, who = request.app.state.env, _check(request)
    steps = [
        story.of_event({"type": e.type, "data": e.data, "created_at": e.created_at})
        for e in events.list_events(env, limit=8)
    ]
    base = env.settings.base_url
    return look.page(
        request, "dev.html", who=who, cards=CARDS, steps=steps, base=base,
        packs=catalog.list_packs(env)[:4], key=env.settings.secret_key, customer=DEMO_CUSTOMER,
        simulator=env.settings.simulator_url, snippets=_snippets(base, env.settings.secret_key),
        plans=_plans(env), time=_time(env), every=portal_words.ENGLISH.every, time_steps=STEPS,
        shown=ids.show,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """Who lives by a clock of their own here, and what that clock brought."""

    now: datetime
    customer: str
    subs: list[SubscriptionView]
    bills: list[tuple[str, invoices.InvoiceView]]


def _plans(env: Env) -> list[Any]:
    """Public plans with what one seat costs."""
    return [
        {"key": one.key, "name": one.name, "trial_days": one.terms.trial_days,
         "price": plan_price(one.terms, env.settings.default_currency), "terms": one.terms}
        for one in plans.list_(env, public_only=True)[:4]
    ]  # fmt: skip


def _time(env: Env) -> Time | None:
    """None before somebody subscribed here."""
    if not customers.is_here(env, TIME_CUSTOMER):
        return None
    who = customers.ensure(env, TIME_CUSTOMER, create=False)
    clock = clocks.of_customer(env, who.uuid)
    if clock is None:
        return None
    bills = invoices.list_(env, who.uuid, limit=4)
    return Time(
        now=clock.now, customer=who.id, subs=subscription_views.list_(env, who.uuid, limit=3),
        bills=[(ids.show("invoice", one.id), one) for one in bills],
    )  # fmt: skip


def _traveler(env: Env) -> tuple[Customer, ClockView | None]:
    """Who subscribes here, made with a clock on the first use."""
    if not customers.is_here(env, TIME_CUSTOMER):
        clock = clocks.create(env, name="sandbox")
        who = customers.ensure(
            env, TIME_CUSTOMER, email=TIME_EMAIL, name="Tess Aldana", clock=clock.uuid
        )
        return who, clock
    who = customers.ensure(env, TIME_CUSTOMER, create=False)
    return who, clocks.of_customer(env, who.uuid)


@router.post("/dev/subscribe")
def subscribe(
    request: Request, plan: Annotated[str, Form(max_length=100)],
    csrf: Annotated[str, Form()] = "",
) -> Response:  # fmt: skip
    """To the offer of a plan, as the customer whose time can be moved."""
    session.check_form(request, _check(request), csrf)
    env: Env = request.app.state.env
    found = plans.get(env, plan, active_only=True)
    who, _ = _traveler(env)
    return look.go(offer_links.url(env, found, who.uuid).removeprefix(env.settings.base_url))


@router.post("/dev/time")
def move_time(
    request: Request, by: Annotated[str, Form(max_length=10)],
    csrf: Annotated[str, Form()] = "",
) -> Response:  # fmt: skip
    """Move that customer's time: what falls due on the way happens now."""
    session.check_form(request, _check(request), csrf)
    env: Env = request.app.state.env
    clock = _traveler(env)[1] if by in STEPS else None
    if clock is None:
        raise NotFound("There is no such step of time.")
    clocks.advance(env, clock, by=timedelta(days=STEPS[by][1]))
    return look.go("/dev#time")


def _snippets(base: str, key: str) -> list[dict[str, str]]:
    """Commands to copy; /docs has every field."""
    return [
        {"title": "Sell a pack", "text": _curl(
            f"{base}/v1/checkouts", key, "order-1042",
            {"customer": DEMO_CUSTOMER, "pack": "creator", "promo": "WELCOME10"},
        )},
        {"title": "Look at the balance", "text": _curl(
            f"{base}/v1/credits/balance?customer={DEMO_CUSTOMER}", key,
        )},
        {"title": "Spend credits", "text": _curl(
            f"{base}/v1/credits/spend", key, "render-77",
            {"customer": DEMO_CUSTOMER, "credits": 12, "reference": "render-77"},
        )},
    ]  # fmt: skip


def _curl(url: str, key: str, request_key: str = "", body: dict[str, Any] | None = None) -> str:
    lines = [f"curl {url}", f"-H 'Authorization: Bearer {key}'"]
    if request_key:
        lines.append(f"-H 'Idempotency-Key: \"{request_key}\"'")
    if body:
        lines.append(f"--json '{json.dumps(body)}'")
    return " \\\n  ".join(lines)


@router.post("/dev/purchase")
def purchase(
    request: Request,
    pack: Annotated[str, Form(max_length=100)],
    promo: Annotated[str, Form(max_length=64)] = "",
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Start a checkout as the demo customer and go to its page."""
    who = _check(request)
    session.check_form(request, who, csrf)
    return look.go(start_demo(request.app.state.env, pack, promo))


def start_demo(env: Any, pack: str, promo: str = "") -> str:
    """The path of a fresh checkout of the demo customer."""
    customer = customers.ensure(env, DEMO_CUSTOMER, email=DEMO_EMAIL)
    key = ids.new_catalog()
    view = checkout.start(
        env,
        StartCheckout(
            customer_id=customer.uuid, pack=pack, promo=promo or None, email=DEMO_EMAIL,
            request_key=key, request_hash=key.bytes,
        ),
    )  # fmt: skip
    return view.page_url.removeprefix(env.settings.base_url)
