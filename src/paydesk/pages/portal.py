"""The customer's own pages: what they have and bought, and what they can buy.

The portal is entered by a link with a signed token. An offer is seen by its own link too, which
names whom it is for; without either it is shown at its list price, and nobody can buy.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlencode
from uuid import uuid4

from fastapi import Form, Query, Request
from fastapi.responses import Response

from paydesk import causes, ids
from paydesk.errors import (
    AlreadyPurchased,
    InvalidPromoCode,
    NotAuthenticated,
    NotPermitted,
    PaymentInFlight,
)
from paydesk.flows import (
    access,
    checkout,
    customers,
    items,
    notifications,
    offers,
    plans,
    reports,
)
from paydesk.flows.checkout import CheckoutView, StartCheckout
from paydesk.flows.offers import Offer
from paydesk.pages import look, portal_plan, portal_subscribe, reader, session
from paydesk.pages.dashboard import credit_facts
from paydesk.pages.portal_words import Tongue
from paydesk.pages.routing import new_router
from paydesk.rules.plans import plan_price
from paydesk.seals import seal, unseal

if TYPE_CHECKING:
    from paydesk.env import Env
    from paydesk.flows.access import GrantView
    from paydesk.flows.customers import Customer
    from paydesk.rules.money import Money
    from paydesk.rules.plans import Terms

router = new_router()

#: How long an offer's form can be sent, in seconds.
FORM_S = 3600
_FORM = "offer form"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferPage:
    """What the page of an offer shows. `less` are the steps from the full price to the total;
    `form` is empty where nothing can be bought."""

    name: str
    about: str | None
    term: str
    gives: list[tuple[str, str]]
    currency: str
    unit_minor: int
    quantity: int
    most: int
    less: list[tuple[str, int]]
    total_minor: int
    key: str
    word: str
    code: str
    code_note: str | None
    refusal: str | None
    had: str | None
    go_on: str | None
    is_known: bool
    form: str


@dataclass(frozen=True, slots=True)
class OpenPlan:
    """A plan that the portal offers."""

    key: str
    name: str
    price: Money
    terms: Terms


@router.get("/portal/enter")
def enter(request: Request, token: str = "", next: str = "") -> Response:
    """`next`: the page of the portal to go to."""
    place = look.local_path(next, "/portal")
    answer = look.go(place if place.startswith("/portal") else "/portal")
    session.enter_portal(request.app.state.env, answer, token)
    return answer


@router.get("/portal")
def portal(request: Request, item: str = "") -> Response:
    if item:
        return look.go(f"/portal/offer?{urlencode({'item': item})}")
    env: Env = request.app.state.env
    customer = customers.ensure(env, session.portal_customer(request), create=False)
    paid, _ = reports.payments_page(env, customer_id=customer.uuid, limit=10)
    for one in paid:
        one["ident"] = ids.show("payment", one["id"])
    running = portal_plan.cards_of(env, customer)
    return portal_plan.show(
        request, "portal.html", customer, reader.tongue(request, customer), payments=paid,
        plans=running, bills=portal_plan.bills_of(env, customer),
        shown=ids.show,
        grants=_access(env, customer), open_plans=_plans(env, running),
        sold=items.list_(env)[:12],
        **credit_facts(env, customer.uuid, limit=30),
    )  # fmt: skip


def _access(env: Env, customer: Customer) -> list[GrantView]:
    """What is open or will be; of several grants of one thing, the one that lasts longest."""
    best: dict[tuple[str, str, str], GrantView] = {}
    for one in access.list_(env, customer.uuid, limit=30):
        if one.status in ("active", "coming"):
            key = (one.type, one.resource, one.status)
            other = best.get(key)
            if other is None or _lasts(one) > _lasts(other):
                best[key] = one
    return list(best.values())


def _lasts(one: GrantView) -> float:
    return one.expires_at.timestamp() if one.expires_at else inf


def _plans(env: Env, running: list[portal_plan.PlanCard]) -> list[OpenPlan]:
    """Plans that could be begun: public ones of families in which nothing runs."""
    taken = {card.sub.family for card in running}
    return [
        OpenPlan(one.key, one.name, plan_price(one.terms, env.settings.default_currency), one.terms)
        for one in plans.list_(env, public_only=True) if one.family not in taken
    ][:8]  # fmt: skip


@router.get("/portal/receipts/{payment}")
def receipt(request: Request, payment: str) -> Response:
    """The receipt of a payment of one's own."""
    env: Env = request.app.state.env
    customer = customers.ensure(env, session.portal_customer(request), create=False)
    return look.pdf(*notifications.receipt_pdf(env, customer.uuid, payment))


# Offers -----------------------------------------------------------------------------------------


@router.get("/portal/offer")
def offer(
    request: Request,
    item: str = "",
    word: Annotated[str, Query(alias="for")] = "",
    quantity: int | None = None,
    code: str = "",
    plan: str = "",
) -> Response:
    """An item at this customer's price, with what it gives, and the way to its checkout; or a
    `plan`, and the way to begin it."""
    env: Env = request.app.state.env
    who = _buyer(request, word)
    if plan:
        return portal_subscribe.page(request, plan, who, word, quantity, code)
    found = offers.look(env, who, item, 1 if quantity is None else quantity, code.strip() or None)
    t = reader.tongue(request, who)
    view = _page(env, t, found, who, word, code.strip())
    return look.page(request, "offer.html", view=view, t=t, lang=t.locale)


@router.post("/portal/offer")
def buy(
    request: Request,
    form: Annotated[str, Form()],
    word: Annotated[str, Form(alias="for")] = "",
    quantity: Annotated[int | None, Form()] = None,
    code: Annotated[str, Form()] = "",
) -> Response:
    """Open the checkout; the same form sent twice opens one. What cannot be bought so is said on
    the page of the offer."""
    env: Env = request.app.state.env
    session.check_origin(request)
    who = _buyer(request, word)
    told = unseal(env.settings, _FORM, form, env.now().timestamp())
    if who is None or told is None or told["c"] != who.id:
        raise NotPermitted("The form is out of date: load the page again.")
    if "p" in told:
        return portal_subscribe.begin(request, who, told, word, quantity, code)
    quantity = 1 if quantity is None else quantity
    causes.enter(f"customer:{who.external_id}", "portal", request.scope.get("paydesk.request_id"))
    item = items.get(env, told["i"], active_only=True)
    back = _place(item.key, word, quantity, code)
    order = StartCheckout(
        customer_id=who.uuid, quantity=quantity, promo=code.strip() or None, email=who.email,
        cancel_url=env.settings.base_url + back,
        request_key=ids.request_key("offer", told["n"], str(quantity), code.strip()),
        **offers.named(item),
    )  # fmt: skip
    try:
        return look.go(_order_page(checkout.start(env, order)))
    except (AlreadyPurchased, InvalidPromoCode, PaymentInFlight):
        return look.go(back)


def _buyer(request: Request, word: str) -> Customer | None:
    try:
        external_id = session.portal_customer(request)
    except NotAuthenticated:
        external_id = None
    return offers.buyer(request.app.state.env, word, external_id)


def _order_page(view: CheckoutView) -> str:
    """Our page of a checkout, on this very site."""
    return f"/checkout/{ids.show('checkout', view.id)}?s={quote(view.secret)}"


def _place(key: str, word: str, quantity: int, code: str) -> str:
    told: dict[str, Any] = {"item": key}
    told |= {"for": word} if word else {}
    told |= {"quantity": quantity} if quantity != 1 else {}
    told |= {"code": code} if code else {}
    return f"/portal/offer?{urlencode(told)}"


def _page(
    env: Env, t: Tongue, found: Offer, who: Customer | None, word: str, code: str
) -> OfferPage:
    item, quote_ = found.item, found.quote
    price = quote_.price if quote_ else item.price
    may_buy = who is not None and found.had is None and found.payment_id is None
    go_on = None
    if who is not None and found.payment_id is not None:
        go_on = _order_page(checkout.get_by_payment(env, who.uuid, found.payment_id))
    return OfferPage(
        name=item.name, about=item.description, term=_term(t, found), gives=_gives(t, found),
        currency=item.price.currency, unit_minor=item.price.minor, quantity=found.quantity,
        most=item.most_quantity, less=_less(t, found),
        total_minor=(found.discount.total if found.discount else price).minor,
        key=item.key, word=word, code=code, code_note=_code_note(t, found),
        refusal=portal_subscribe.refusal(t, found.refused) if found.refused else None,
        had=found.had, go_on=go_on, is_known=who is not None,
        form=_form(env, who, item.key) if who is not None and may_buy else "",
    )  # fmt: skip


def _form(env: Env, who: Customer, key: str) -> str:
    """Names the order that one showing of the page can make."""
    until = int((env.now() + timedelta(seconds=FORM_S)).timestamp())
    content = {"c": who.id, "i": key, "n": uuid4().hex, "exp": until}
    return seal(env.settings, _FORM, content)


def _term(t: Tongue, found: Offer) -> str:
    months = found.item.duration_months
    if months is None:
        return t("one_time")
    return t("one_month_once") if months == 1 else t("some_months_once", count=t.count(months))


def _gives(t: Tongue, found: Offer) -> list[tuple[str, str]]:
    """(what, for how long) of everything that it gives access to."""
    shown = []
    for one in found.item.grants:
        days = one["days"] or found.item.access_days
        if days is None:
            how_long = t("while_it_runs") if found.item.kind == "service" else t("for_good")
        else:
            how_long = t("one_day") if days == 1 else t("some_days", count=t.count(days))
        shown.append((t.resource(one["type"], one["id"]), how_long))
    return shown


def _less(t: Tongue, found: Offer) -> list[tuple[str, int]]:
    """(why, minor units off) from the full price to what is asked."""
    if found.quote is None:
        return []
    rows = [
        (t("your_price") if one["effect"] == "hook" else one["rule"], one["off_minor"])
        for one in found.quote.pricing if one["off_minor"]
    ]  # fmt: skip
    if found.discount is not None:
        rows.append((t("code", code=found.discount.code), found.discount.discount_minor))
    return rows


def _code_note(t: Tongue, found: Offer) -> str | None:
    if found.discount is None:
        return None
    off: Money = found.discount.discount
    return t("code_takes", code=found.discount.code, amount=t.amount(off.minor, off.currency))
