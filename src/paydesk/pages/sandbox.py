"""/dev: the home of the sandbox. Links, test cards, commands to copy, and what just happened."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Form, Request
from fastapi.responses import Response

from paydesk import ids
from paydesk.errors import NotFound
from paydesk.flows import catalog, checkout, customers, events
from paydesk.flows.checkout import StartCheckout
from paydesk.pages import look, session, story
from paydesk.pages.routing import new_router

router = new_router()

#: Who buys when a button of this page is pressed.
DEMO_CUSTOMER = "user_123"
DEMO_EMAIL = "maya@northwind.example"
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
    )  # fmt: skip


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
