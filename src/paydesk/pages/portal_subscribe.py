"""The page of a plan's offer: what it costs, what it opens, and the way to begin it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode
from uuid import uuid4

from fastapi import Request
from fastapi.responses import Response

from paydesk import causes, ids
from paydesk.errors import InvalidPromoCode, InvalidRequest, SubscriptionAlreadyActive
from paydesk.flows import plans, subscription_offers, subscriptions
from paydesk.flows.subscriptions import NewSubscription
from paydesk.pages import look, reader
from paydesk.pages.portal_words import Line, Tongue
from paydesk.rules.plans import plan_price
from paydesk.seals import seal

if TYPE_CHECKING:
    from datetime import datetime

    from paydesk.env import Env
    from paydesk.flows.customers import Customer
    from paydesk.flows.plans import Plan
    from paydesk.flows.subscription_offers import FirstInvoice

#: How long the form can be sent, in seconds.
FORM_S = 3600
FORM = "offer form"

Cost = tuple[str, str, "tuple[datetime, datetime] | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOffer:
    """What the page shows, in words of its reader. `first` is what it would begin with, and
    `costs` its lines; None where nothing is begun, as where `had` says that one runs already.
    `refusal` is why the code does not count, `wrong` why the number of seats does not."""

    plan: Plan
    price: str
    every: str
    trial: str | None
    gives: list[tuple[str, str]]
    has_seats: bool
    quantity: int
    had: bool
    is_known: bool
    first: FirstInvoice | None
    costs: list[Cost]
    code: str
    code_note: str | None
    refusal: str | None
    wrong: str | None
    form: str
    word: str


@dataclass(slots=True)
class Seen:
    """What looking at it found."""

    first: FirstInvoice | None = None
    had: bool = False
    refusal: str | None = None
    wrong: str | None = None
    code: str = ""
    kept: dict[str, Any] = field(default_factory=dict)


def page(
    request: Request, key: str, who: Customer | None, word: str, quantity: int | None = None,
    code: str = "",
) -> Response:  # fmt: skip
    """A plan on sale, as it is offered to somebody or to nobody in particular. Raises NotFound."""
    env: Env = request.app.state.env
    t = reader.tongue(request, who)
    plan = plans.get(env, key, active_only=True)
    view = _look(env, t, plan, who, word, quantity, code.strip())
    return look.page(request, "offer_plan.html", view=view, t=t, lang=t.locale)


def _look(
    env: Env, t: Tongue, plan: Plan, who: Customer | None, word: str, quantity: int | None,
    code: str,
) -> PlanOffer:  # fmt: skip
    terms = plan.terms
    seats = terms.least_quantity if quantity is None else quantity
    seen = _seen(env, t, plan, who, seats, code) if who is not None else Seen(code=code)
    if seen.wrong:
        seats = terms.least_quantity
    each = plan_price(terms, env.settings.default_currency)
    days = seen.first.trial_days if seen.first else terms.trial_days if who is None else 0
    has_seats = terms.most_quantity > 1
    every_of = terms.interval_unit, terms.interval_count
    every = t.every(*every_of)
    every = f"{t('a_seat')} {every}" if has_seats else every
    price = t.amount(each.minor, each.currency)
    then = f"{price} {every}"
    trial = None
    if days:
        first = "free_first_one" if days == 1 else "free_first"
        trial = t(first, price=then, **({} if days == 1 else {"count": t.count(days)}))
    gives = [(t.resource(one["type"], one["id"]), t("while_it_runs")) for one in terms.grants]
    if terms.credits:
        told = t("some_credits", count=t.count(terms.credits * seats))
        is_monthly = terms.interval_unit in ("month", "year")
        gives.append((told, t("each_period") if is_monthly else t.every(*every_of)))
    return PlanOffer(
        plan=plan, price=price, every=every, trial=trial, gives=gives, has_seats=has_seats,
        quantity=seats, had=seen.had, is_known=who is not None, first=seen.first,
        costs=_costs(t, seen.first), code=seen.code, code_note=_code_note(t, seen),
        refusal=seen.refusal, wrong=seen.wrong, word=word,
        form=_form(env, who, plan) if who is not None and seen.first else "",
    )  # fmt: skip


def _seen(env: Env, t: Tongue, plan: Plan, who: Customer, seats: int, code: str) -> Seen:
    """The first invoice of what is asked for; without the code, or with the fewest seats, where
    those do not count."""
    seen = Seen(code=code)
    terms = plan.terms
    if not terms.least_quantity <= seats <= terms.most_quantity:
        seen.wrong = t("seats_wrong", least=t.count(terms.least_quantity),
                       most=t.count(terms.most_quantity))  # fmt: skip
        seats = terms.least_quantity
    currency = plan_price(terms, env.settings.default_currency).currency
    for promo in dict.fromkeys((code or None, None)):
        try:
            seen.first = subscription_offers.preview(
                env, who.uuid, plan.key, quantity=seats, promo=promo, currency=currency
            )
        except InvalidPromoCode as exc:
            seen.refusal = refusal(t, str(exc.extra.get("reason") or ""))
        except SubscriptionAlreadyActive:
            seen.had = True
        except InvalidRequest:
            if promo is None:
                raise
            seen.refusal = t("refused_unknown")
        if seen.first or seen.had:
            break
    return seen


def refusal(t: Tongue, reason: str) -> str:
    """Why a code does not count, told to who typed it."""
    return t(f"refused_{reason}") if t.has(f"refused_{reason}") else t("refused_other")


def _costs(t: Tongue, first: FirstInvoice | None) -> list[Cost]:
    """The lines as the invoice will have them: (what, amount, period of a plan's own line)."""
    if first is None:
        return []
    rows: list[Cost] = []
    for one in first.lines:
        what, amount = t.cost(Line(
            kind=one.kind, description=one.description, amount_minor=one.amount_minor,
            currency=first.total.currency, period=one.period, why=one.why,
        ))  # fmt: skip
        is_own = one.kind == "recurring"
        what = f"{t.count(one.quantity)} × {what}" if is_own and one.quantity > 1 else what
        rows.append((what, amount, one.period if is_own else None))
    return rows


def _code_note(t: Tongue, seen: Seen) -> str | None:
    """What the code does, where it counts."""
    if seen.first is None or not seen.code or seen.refusal:
        return None
    taken = [one for one in seen.first.lines if one.kind == "discount"]
    if taken:
        off = -sum(one.amount_minor for one in taken)
        name = taken[0].description
        return t("code_takes", code=name, amount=t.amount(off, seen.first.total.currency))
    kept = seen.first.code or {}
    name = str(kept.get("code") or seen.code)
    if kept.get("bonus"):
        return t("code_credits", code=name, count=t.count(kept["bonus"]))
    if seen.first.trial_days:
        return t("code_trial", code=name, count=t.count(seen.first.trial_days))
    return t("code_counts", code=name)


def _form(env: Env, who: Customer, plan: Plan) -> str:
    """Names the subscription that one showing of the page can begin, and its terms."""
    until = int((env.now() + timedelta(seconds=FORM_S)).timestamp())
    told = {"c": who.id, "p": plan.key, "v": plan.version, "n": uuid4().hex, "exp": until}
    return seal(env.settings, FORM, told)


def begin(
    request: Request, who: Customer, told: dict[str, Any], word: str, quantity: int | None = None,
    code: str = "",
) -> Response:  # fmt: skip
    """Begin what the form names, on a page where it is paid for or a method is saved; nothing is
    charged before. Where the terms have changed since, the code or the seats do not count, or one
    runs already, the offer again."""
    env: Env = request.app.state.env
    plan = plans.get(env, told["p"], active_only=True)
    seats = plan.terms.least_quantity if quantity is None else quantity
    code = code.strip()
    back = "/portal/offer?" + urlencode({
        "plan": told["p"], **({"for": word} if word else {}),
        **({"quantity": seats} if quantity is not None else {}), **({"code": code} if code else {}),
    })  # fmt: skip
    if plan.version != told["v"]:
        return look.go(back)
    causes.enter(f"customer:{who.external_id}", "portal", request.scope.get("paydesk.request_id"))
    home = f"{env.settings.base_url}/portal/offer?" + urlencode(
        {"plan": told["p"], **({"for": word} if word else {})}
    )
    try:
        begun = subscriptions.start(env, NewSubscription(
            customer_id=who.uuid, plan=plan.key, quantity=seats, promo=code or None,
            currency=plan_price(plan.terms, env.settings.default_currency).currency, is_hosted=True,
            success_url=home, cancel_url=env.settings.base_url + back,
            request_key=ids.request_key("plan offer", told["n"], str(seats), code),
        ))  # fmt: skip
    except (SubscriptionAlreadyActive, InvalidPromoCode, InvalidRequest):
        return look.go(back)
    if begun.checkout is not None:
        shown = ids.show("checkout", begun.checkout.id)
        return look.go(f"/checkout/{shown}?s={quote(begun.checkout.secret)}")
    if begun.setup is not None:  # A form may not lead to another site; a link may.
        t = reader.tongue(request, who)
        return look.page(request, "portal_card.html", t=t, lang=t.locale, url=begun.setup.url)
    return look.go(home.removeprefix(env.settings.base_url))
