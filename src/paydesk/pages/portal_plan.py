"""The customer's own plan in the portal: changed, canceled, taken up again; card and invoices."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote
from uuid import UUID, uuid4

from fastapi import Form, Request
from fastapi.responses import Response

from paydesk import causes, ids
from paydesk.errors import (
    NotFound,
    NotPermitted,
    OutcomeUnknown,
    PaydeskError,
    PaymentFailed,
    PaymentInFlight,
    PaymentMethodNotUsable,
    PreviewOutdated,
    ProviderUnavailable,
)
from paydesk.flows import (
    customers,
    direct,
    invoice_papers,
    invoices,
    plans,
    setups,
    subscription_changes,
    subscription_pending,
    subscription_views,
)
from paydesk.flows.setups import StartSetup
from paydesk.pages import desk_subscriptions as desk
from paydesk.pages import look, reader, session
from paydesk.pages.portal_words import WORDS, Line, Tongue
from paydesk.pages.routing import new_router
from paydesk.rules.subscriptions import LIVE
from paydesk.seals import seal, unseal

if TYPE_CHECKING:
    from paydesk.env import Env
    from paydesk.flows.customers import Customer
    from paydesk.flows.invoice_views import InvoiceView
    from paydesk.flows.subscription_views import SubscriptionView

router = new_router()

#: How long the portal's forms can be sent, in seconds.
FORM_S = 3600
_FORM, _CARD = "portal form", "portal card"
#: What may be done -> the values of PAYDESK_PORTAL_SELF_SERVICE that allow it.
_ALLOWED = {"change": ("all",), "cancel": ("all", "cancel"), "card": ("all", "cancel")}
#: Reasons that are offered, as the events keep them.
REASONS = ("too_expensive", "missing_features", "unused", "switched_service", "other")
_TONES = {
    "outdated": ("warn", "triangle-alert"), "declined": ("bad", "circle-x"),
    "no_method": ("bad", "circle-x"), "unconfirmed": ("bad", "circle-x"),
    "on_its_way": ("info", "hourglass"), "kept": ("bad", "circle-x"),
    "asked": ("info", "hourglass"),
}  # fmt: skip

Word = Annotated[str, Form(max_length=1000)]
Text = Annotated[str, Form(max_length=100)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCard:
    """A subscription as its customer sees it. `owed` is what could not be charged; `waiting` names
    the plan that a payment under way is for, `waits` the change whose payment that is."""

    ident: str
    sub: SubscriptionView
    next: desk.Next | None
    card: str | None
    owed: InvoiceView | None
    waiting: str | None
    waits: str
    deeds: frozenset[str]


# What is shown ------------------------------------------------------------------------------------


def allowed(env: Env, what: str) -> bool:
    return env.settings.portal_self_service in _ALLOWED[what]


def cards_of(env: Env, customer: Customer) -> list[PlanCard]:
    """Everything that runs, and what waits for its first payment; the newest first."""
    found = subscription_views.list_(env, customer.uuid, limit=20)
    return [_card(env, one) for one in found if one.state in LIVE or one.state == "incomplete"]


def _card(env: Env, one: SubscriptionView) -> PlanCard:
    bills = invoices.list_(env, one.customer_id, subscription_id=one.id, status="open", limit=5)
    coming = one.awaits if one.payment is not None else None
    owed = next((bill for bill in bills if bill.remaining.minor and bill.id != coming), None)
    here = desk.deeds(one, owes=False)
    may_change = "change" in here and allowed(env, "change") and one.payment is None
    names = {
        "change": may_change and len(desk.choices(env, one)) > 1,
        "drop": "drop" in here and allowed(env, "change"),
        "cancel": "cancel" in here and one.cancel_at is None and allowed(env, "cancel"),
        "reactivate": "reactivate" in here and allowed(env, "cancel"),
        "card": one.runner == "paydesk" and one.state in LIVE and allowed(env, "card"),
    }
    return PlanCard(
        ident=ids.show("subscription", one.id), sub=one, next=desk.next_charge(env, one),
        card=desk.card_words(desk.method_of(env, one)), owed=owed,
        waiting=waiting_of(env, one) if one.payment is not None else None,
        waits=subscription_pending.word_of(one.next),
        deeds=frozenset(name for name, is_open in names.items() if is_open),
    )  # fmt: skip


def waiting_of(env: Env, one: SubscriptionView) -> str:
    """The name of the plan that it waits for."""
    if one.next is None:
        return one.plan_name
    with contextlib.suppress(NotFound):
        return plans.get(env, one.next["plan"]).name
    return one.next["plan"]


def bills_of(env: Env, customer: Customer) -> list[InvoiceView]:
    """Invoices that are not drafts, the newest first."""
    return [
        one for one in invoices.list_(env, customer.uuid, limit=24) if one.status != "draft"
    ]


def form_word(env: Env, customer: Customer) -> str:
    """Goes into the portal's forms: they come from a page that this customer was shown."""
    until = int((env.now() + timedelta(seconds=FORM_S)).timestamp())
    return seal(env.settings, _FORM, {"c": customer.id, "n": uuid4().hex, "exp": until})


def notice_of(request: Request, t: Tongue) -> dict[str, str] | None:
    """What is said after an action, by the word that it leaves in the address."""
    done = request.query_params.get("done", "")
    if f"done_{done}" not in WORDS:
        return None
    tone, icon = _TONES.get(done, ("ok", "circle-check"))
    return {"tone": tone, "icon": icon, "text": t(f"done_{done}")}


def show(request: Request, name: str, customer: Customer, t: Tongue, **context: Any) -> Response:
    env: Env = request.app.state.env
    return look.page(
        request, name, c=customer, t=t, lang=t.locale, word=form_word(env, customer),
        notice=notice_of(request, t), **context,
    )  # fmt: skip


def _visitor(request: Request) -> tuple[Env, Customer, Tongue]:
    env: Env = request.app.state.env
    customer = customers.ensure(env, session.portal_customer(request), create=False)
    return env, customer, reader.tongue(request, customer)


def _sender(request: Request, word: str, what: str) -> tuple[Env, Customer, str]:
    """(environment, whose form this is, its number). Raises NotAuthenticated, NotPermitted."""
    session.check_origin(request)
    env, customer, _ = _visitor(request)
    told = unseal(env.settings, _FORM, word, env.now().timestamp())
    if told is None or told["c"] != customer.id:
        raise NotPermitted("The form is out of date: load the page again.")
    if not allowed(env, what):
        raise NotPermitted("This is changed by the people of the business: write to them.")
    causes.enter(
        f"customer:{customer.external_id}", "portal", request.scope.get("paydesk.request_id")
    )
    return env, customer, told["n"]


def _own(
    env: Env, customer: Customer, ident: str, *, whoever_runs: bool = False
) -> SubscriptionView:
    """A subscription of theirs that this desk runs, or anybody. Raises NotFound, also for
    another's."""
    one = subscription_views.get(env, customer.uuid, ident)
    if one.runner != "paydesk" and not whoever_runs:
        raise NotFound(f"No such subscription: {ident[:64]!r}.")
    return one


# Changing it --------------------------------------------------------------------------------------


@router.get("/portal/plan/{ident}/change")
def change_page(
    request: Request, ident: str, plan: str = "", quantity: int | None = None
) -> Response:
    """The plans to choose from and, once one is chosen, every line of what it costs."""
    env, customer, t = _visitor(request)
    one = _own(env, customer, ident)
    if not allowed(env, "change"):
        raise NotPermitted("This is changed by the people of the business: write to them.")
    if one.payment is not None:
        return look.go(f"/portal/plan/{ident}/bank" if one.action_url else "/portal")
    found, refusal = None, None
    if plan or quantity is not None:
        found, refusal = desk.look_at(env, one, plan, quantity, "")
    sold = [p for p in desk.choices(env, one) if p.public or p.uuid == one.plan_id]
    costs = [
        (*t.cost(Line(kind=i.kind, description=i.description, amount_minor=i.amount.minor,
                      currency=i.amount.currency, period=i.period, why=i.why)), i.period)
        for i in (found.lines if found else ())
    ]  # fmt: skip
    return show(
        request, "portal_change.html", customer, t, s=one, costs=costs, ident=ident, plans=sold,
        found=found, refusal=refusal, chosen=plan or one.plan_key,
        quantity=quantity or one.quantity,
        has_seats=one.quantity > 1 or any(p.terms.most_quantity > 1 for p in sold),
        card=desk.card_words(desk.method_of(env, one)),
    )  # fmt: skip


@router.post("/portal/plan/{ident}/change")
def change(
    request: Request, ident: str, word: Word, token: Text, plan: Text = "",
    quantity: Annotated[int | None, Form()] = None,
) -> Response:  # fmt: skip
    """What the preview said, once; where the figures moved, the new ones are shown."""
    env, customer, number = _sender(request, word, "change")
    one = _own(env, customer, ident)
    here = f"/portal/plan/{ident}/change"
    sold = {p.key for p in desk.choices(env, one) if p.public}
    wanted = desk.wanted_plan(one, plan)
    if wanted is not None and wanted not in sold:
        raise NotFound(f"No such plan: {plan[:64]!r}.")
    try:
        done = subscription_changes.change(
            env, one.customer_id, one.id, plan=wanted, quantity=quantity, expect=token,
            request_key=ids.request_key("portal", ident, token, number),
            return_url=f"{env.settings.base_url}/portal/plan/{ident}/back",
        )  # fmt: skip
    except PreviewOutdated:
        seats = f"&quantity={quantity}" if quantity else ""
        return look.go(f"{here}?plan={quote(plan)}{seats}&done=outdated")
    except PaymentFailed:
        return look.go("/portal?done=declined")
    except PaymentMethodNotUsable:
        return look.go("/portal?done=no_method")
    except PaymentInFlight:  # Another one waits, which the portal shows.
        return look.go("/portal")
    if done.payment is not None:
        return look.go(f"/portal/plan/{ident}/bank")
    return look.go(f"/portal?done={'scheduled' if done.next is not None else 'changed'}")


@router.get("/portal/plan/{ident}/bank")
def bank_page(request: Request, ident: str) -> Response:
    """The way to the bank's page, which a payment waits for. A form may not lead to another site;
    a link may."""
    env, customer, t = _visitor(request)
    one = _own(env, customer, ident)
    if one.action_url is None:
        return look.go("/portal")
    return show(
        request, "portal_bank.html", customer, t, s=one, ident=ident,
        waits=subscription_pending.word_of(one.next), plan=waiting_of(env, one),
        may_drop=one.next is not None and allowed(env, "change"),
    )  # fmt: skip


@router.get("/portal/plan/{ident}/back")
def back(request: Request, ident: str) -> Response:
    """Back from the bank's page: the provider is asked what came of it."""
    env, customer, _ = _visitor(request)
    one = _own(env, customer, ident)
    if one.payment is not None:
        with contextlib.suppress(PaydeskError):  # A webhook or a sweep brings the answer.
            direct.confirm(env, one.customer_id, one.payment.id)
    one = _own(env, customer, ident)
    if one.latest_invoice_id is None or one.payment is not None:
        return look.go("/portal")
    bill = invoices.get(env, one.customer_id, one.latest_invoice_id)
    said = {"paid": "?done=changed", "void": "?done=unconfirmed"}.get(bill.status, "")
    return look.go(f"/portal{said}")


@router.post("/portal/plan/{ident}/drop")
def drop(request: Request, ident: str, word: Word, waits: Text = "") -> Response:
    """Take back the change that waits, for the period's end or for its payment."""
    env, customer, _ = _sender(request, word, "change")
    one = _own(env, customer, ident, whoever_runs=True)
    wanted = one.next if waits in ("", subscription_pending.word_of(one.next)) else None
    try:
        after = subscription_pending.drop(env, one.customer_id, one.id, waits=waits or None)
    except PaymentInFlight:
        return look.go("/portal?done=on_its_way")
    except PaymentFailed:  # Who runs it refused.
        return look.go("/portal?done=kept")
    except (OutcomeUnknown, ProviderUnavailable):
        return look.go("/portal?done=asked")
    if wanted is not None:
        return look.go(f"/portal?done={'changed' if _is_as(after, wanted) else 'dropped'}")
    return look.go(f"/portal{_came_of(env, one, waits)}")


def _came_of(env: Env, one: SubscriptionView, waits: str) -> str:
    """What is said of a change that waits no more: it was paid elsewhere, or dropped before."""
    with contextlib.suppress(NotFound, ValueError):
        bill = invoices.get(env, one.customer_id, UUID(waits))
        return {"paid": "?done=changed", "void": "?done=dropped"}.get(bill.status, "")
    return "" if one.next is not None else "?done=dropped"


def _is_as(one: SubscriptionView, wanted: dict[str, Any]) -> bool:
    """Whether it runs as a change would have it."""
    return (str(one.plan_id), one.quantity) == (wanted["plan_id"], wanted["quantity"])


# Ending it ----------------------------------------------------------------------------------------


@router.get("/portal/plan/{ident}/cancel")
def cancel_page(request: Request, ident: str) -> Response:
    """What canceling means, before it is done."""
    env, customer, t = _visitor(request)
    one = _own(env, customer, ident)
    if one.cancel_at is not None or one.ended_at is not None:
        return look.go("/portal")
    return show(
        request, "portal_cancel.html", customer, t, s=one, ident=ident, reasons=REASONS,
        runs_on=one.state in ("active", "trialing", "past_due"),
    )  # fmt: skip


@router.post("/portal/plan/{ident}/cancel")
def cancel(request: Request, ident: str, word: Word, reason: Text = "") -> Response:
    """At the period's end; what is not running ends at once."""
    env, customer, _ = _sender(request, word, "cancel")
    one = _own(env, customer, ident)
    done = subscription_changes.cancel(
        env, one.customer_id, one.id, reason=reason if reason in REASONS else None
    )
    return look.go(f"/portal?done={'canceled' if done.ended_at else 'will_end'}")


@router.post("/portal/plan/{ident}/reactivate")
def reactivate(request: Request, ident: str, word: Word) -> Response:
    env, customer, _ = _sender(request, word, "cancel")
    one = _own(env, customer, ident)
    subscription_changes.reactivate(env, one.customer_id, one.id)
    return look.go("/portal?done=reactivated")


# Card and papers ----------------------------------------------------------------------------------


@router.post("/portal/card")
def card(request: Request, word: Word) -> Response:
    """The way to the provider's page, where another card is saved."""
    env, customer, number = _sender(request, word, "card")
    until = int((env.now() + timedelta(seconds=FORM_S)).timestamp())
    back = seal(env.settings, _CARD, {"c": customer.id, "exp": until})
    home = f"{env.settings.base_url}/portal"
    setup = setups.start(env, StartSetup(
        customer_id=customer.uuid, hosted=True, make_default=True, cancel_url=home,
        success_url=f"{home}/card?word={quote(back)}",
        request_key=ids.request_key("portal card", number),
    ))  # fmt: skip
    t = reader.tongue(request, customer)
    return show(request, "portal_card.html", customer, t, url=setup.url)


@router.get("/portal/card")
def card_saved(request: Request, word: str = "") -> Response:
    """Back from the provider's page: plans that were charged to a card of their own are charged to
    the default one from now on, which the new one is."""
    env, customer, _ = _visitor(request)
    told = unseal(env.settings, _CARD, word, env.now().timestamp())
    if told is None or told["c"] != customer.id:
        return look.go("/portal")
    for one in subscription_views.list_(env, customer.uuid, limit=20):
        if one.state in LIVE and one.method_id is not None and one.runner == "paydesk":
            subscription_changes.set_method(env, one.customer_id, one.id, None)
    return look.go("/portal?done=card")


@router.get("/portal/invoices/{ident}/pdf")
def invoice_pdf(request: Request, ident: str) -> Response:
    """An invoice of one's own."""
    env, customer, t = _visitor(request)
    one = invoices.get(env, customer.uuid, ident)
    return look.pdf(*invoice_papers.invoice_pdf(env, one, t.locale))
