"""The dashboard's subscriptions: the list, one of them, what it may be made to do."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID, uuid4

from fastapi import Form, Request
from fastapi.responses import Response

from paydesk import ids
from paydesk.errors import (
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    PaydeskError,
    PaymentFailed,
    PaymentInFlight,
    PaymentMethodNotUsable,
    PreviewOutdated,
    ProviderUnavailable,
)
from paydesk.flows import (
    desk_lists,
    heads,
    invoices,
    methods,
    payments,
    plans,
    subscription_changes,
    subscription_pauses,
    subscription_pending,
    subscription_views,
)
from paydesk.pages import desk, look, session, story
from paydesk.pages.routing import new_router
from paydesk.rules import subscriptions as rules
from paydesk.rules.payments import DEAD_STATES

if TYPE_CHECKING:
    from paydesk.env import Env
    from paydesk.flows.invoice_views import InvoiceView
    from paydesk.flows.methods import MethodView
    from paydesk.flows.plans import Plan
    from paydesk.flows.subscription_charges import ChangePreview
    from paydesk.flows.subscription_views import SubscriptionView
    from paydesk.rules.money import Money

router = new_router()

HOME = "/dashboard/subscriptions"
TABS = [
    ("all", "All"), ("active", "Active"), ("trialing", "In trial"), ("late", "Payment late"),
    ("paused", "Paused"), ("waiting", "Not paid yet"), ("ended", "Ended"),
]  # fmt: skip
#: States in which a person may still do something about it.
_STOPPABLE = frozenset({"incomplete", "trialing", "active", "past_due", "paused", "unpaid"})
_PAUSABLE = frozenset({"active", "trialing"})
_CHANGEABLE = frozenset({"active", "trialing"})
WHEN = (("", "As the plan has it"), ("now", "Now"), ("period_end", "At the period's end"))

Text = Annotated[str, Form(max_length=255)]
Csrf = Annotated[str, Form(max_length=100)]


@dataclass(frozen=True, slots=True)
class Next:
    """What is charged next: `amount` before discounts and taxes, `plan` where another begins."""

    at: datetime
    amount: Money
    plan: str | None


@router.get(HOME)
def subscriptions(
    request: Request, tab: str = "all", plan: str = "", q: str = "", before: str = ""
) -> Response:
    env, who = request.app.state.env, session.operator(request)
    tab = tab if tab in dict(TABS) else "all"
    q, plan = q.replace("\x00", "")[:100], plan.replace("\x00", "")[:100]
    rows, cursor = desk_lists.subscriptions_page(env, tab=tab, plan=plan, q=q, before=before)
    return desk.show(
        request, "subscriptions.html", who=who, rows=rows, tab=tab, tabs=TABS, q=q, plan=plan,
        plans=[(one.key, one.name) for one in plans.list_(env, include_inactive=True)],
        every=every, is_first=not before,
        next_url=desk.older(HOME, cursor, tab=tab, plan=plan, q=q),
        first_url=desk.address(HOME, tab=tab, plan=plan, q=q),
    )  # fmt: skip


@router.get(HOME + "/{ident}")
def subscription(request: Request, ident: str) -> Response:
    env, who = request.app.state.env, session.operator(request)
    one = subscription_views.get(env, None, ident)
    bills = invoices.list_(env, one.customer_id, subscription_id=one.id, limit=24)
    with env.db.snapshot() as tx:
        rows = desk_lists.told(tx, one.customer_id, [one.id, *(bill.id for bill in bills)])
        credits = desk_lists.allotments(tx, one.customer_id, one.id)
        now = heads.now(env, one.customer_id, tx)
        person = desk_lists.people(tx, [one.customer_id])[one.customer_id]
    owed = next((bill for bill in bills if bill.status == "open" and bill.remaining.minor), None)
    return desk.show(
        request, "subscription.html", who=who, s=one, ident=ids.show("subscription", one.id),
        person=person, terms=plans.terms(env, one.plan_id, one.plan_version), every=every,
        next=next_charge(env, one), invoices=bills, show_invoice=_invoice_ident, credits=credits,
        steps=[story.of_event(row) for row in rows], card=card_words(method_of(env, one)),
        owed=owed, at=now, deeds=deeds(one, owed is not None), shown=ids.show,
        nonce=str(uuid4()), waits=subscription_pending.word_of(one.next),
        is_waiting=one.state == "incomplete" or (owed is not None and bool(owed.payment_id)),
    )  # fmt: skip


def deeds(one: SubscriptionView, owes: bool) -> frozenset[str]:
    """What may be done about it as it stands."""
    if one.runner != "paydesk":  # Only what waits there is taken back here.
        return frozenset({"drop"} if one.next is not None and one.state in rules.LIVE else ())
    found = {
        "change": one.state in _CHANGEABLE,
        "drop": one.next is not None and one.state in _CHANGEABLE,
        "cancel": one.state in _STOPPABLE,
        "reactivate": one.cancel_at is not None and one.state in rules.LIVE,
        "pause": one.state in _PAUSABLE and one.cancel_at is None,
        "resume": one.state == "paused",
        "retry": owes,
    }
    return frozenset(name for name, is_open in found.items() if is_open)


def _invoice_ident(one: Any) -> str:
    return ids.show("invoice", one.id)


def every(unit: str, count: int) -> str:
    """`month`, `3 months`: what a price is for."""
    return unit if count == 1 else f"{count} {unit}s"


def method_of(env: Env, one: SubscriptionView) -> MethodView | None:
    """What it is charged to: its own method, else the customer's default one."""
    saved = methods.list_(env, one.customer_id)
    own = next((m for m in saved if m.id == one.method_id), None)
    return own or next((m for m in saved if m.is_default), None)


def card_words(method: MethodView | None) -> str | None:
    """`Visa •• 4242`; None without a method."""
    if method is None:
        return None
    name = (method.brand or method.kind).replace("_", " ")
    name = name[:1].upper() + name[1:]
    return f"{name} •• {method.last4}" if method.last4 else name


def next_charge(env: Env, one: SubscriptionView) -> Next | None:
    """When the next period is billed and for how much; None where none is to come."""
    is_last = one.cancel_at is not None and one.cancel_at <= one.period_end
    if one.state not in ("trialing", "active", "past_due") or is_last:
        return None
    if one.next is None or "invoice" in one.next:
        return Next(one.period_end, one.amount, None)
    later = plans.terms(env, UUID(one.next["plan_id"]), one.next["plan_version"])
    each = one.next_price or later.prices.get(one.price.currency, one.price)
    amount = type(each)(each.minor * one.next["quantity"], each.currency, minor=True)
    return Next(one.period_end, amount, one.next["plan"])


# Changes of plan ----------------------------------------------------------------------------------


@router.get(HOME + "/{ident}/change")
def change_page(
    request: Request, ident: str, plan: str = "", quantity: int | None = None, at: str = ""
) -> Response:
    """The plans of its family and, once one is chosen, every line that the change would have."""
    env, who = request.app.state.env, session.operator(request)
    desk.refuse(who, "subscriptions")
    one = subscription_views.get(env, None, ident)
    found, refusal = None, None
    if plan or quantity is not None or at:
        found, refusal = look_at(env, one, plan, quantity, at)
    sold = choices(env, one)
    with env.db.read() as tx:
        person = desk_lists.people(tx, [one.customer_id])[one.customer_id]
    return desk.show(
        request, "subscription_change.html", who=who, s=one, person=person, every=every,
        ident=ids.show("subscription", one.id), plans=sold, found=found,
        has_seats=one.quantity > 1 or any(plan.terms.most_quantity > 1 for plan in sold),
        refusal=refusal, chosen=plan or one.plan_key, quantity=quantity or one.quantity, when=at,
        whens=WHEN, card=card_words(method_of(env, one)),
    )  # fmt: skip


def look_at(
    env: Env, one: SubscriptionView, plan: str, quantity: int | None, at: str
) -> tuple[ChangePreview | None, str | None]:
    """(the preview, why there is none)."""
    try:
        return subscription_changes.preview(
            env, one.customer_id, one.id, plan=wanted_plan(one, plan), quantity=quantity,
            at=at or None,
        ), None  # fmt: skip
    except PaydeskError as exc:
        if exc.http_status >= 500:
            raise
        return None, exc.detail


def wanted_plan(one: SubscriptionView, plan: str) -> str | None:
    """Another plan than the running one; the same one keeps the terms that were agreed on."""
    return plan if plan and plan != one.plan_key else None


def choices(env: Env, one: SubscriptionView) -> list[Plan]:
    """Plans that it may be changed to: of its family, sold in its currency."""
    return [
        plan for plan in plans.list_(env)
        if plan.family == one.family and one.price.currency in plan.terms.prices
    ]  # fmt: skip


@router.post(HOME + "/{ident}/change")
def change(
    request: Request, ident: str, token: Annotated[str, Form(max_length=100)], plan: Text = "",
    quantity: Annotated[int | None, Form()] = None, at: Text = "", csrf: Csrf = "",
) -> Response:  # fmt: skip
    """Carry out what the preview said; where the figures moved, show the new ones."""
    desk.actor(request, csrf, "subscriptions")
    env, home = request.app.state.env, f"{HOME}/{ident}"
    one = subscription_views.get(env, None, ident)
    try:
        done = subscription_changes.change(
            env, one.customer_id, one.id, plan=wanted_plan(one, plan), quantity=quantity,
            at=at or None, expect=token, request_key=ids.request_key("desk", ident, token),
        )  # fmt: skip
    except PreviewOutdated:
        again = desk.address(f"{home}/change", plan=plan, quantity=str(quantity or ""), at=at)
        return look.go(f"{again}&done=outdated")
    except PaymentFailed:
        return desk.done(home, "declined")
    except PaymentMethodNotUsable:
        return desk.done(home, "no_method")
    except PaymentInFlight:  # Another one waits, which the page shows.
        return desk.done(home, "another")
    if done.next is None:
        return desk.done(home, "changed")
    # What is charged still, as where the bank asks the customer first, has changed nothing yet.
    return desk.done(home, "charging" if "invoice" in done.next else "scheduled")


@router.post(HOME + "/{ident}/drop")
def drop(request: Request, ident: str, waits: Text = "", csrf: Csrf = "") -> Response:
    """Take back a change that waits, for the period's end or for its payment. `waits`: the one
    that the page showed; where another waits by now, or none, nothing is dropped."""
    desk.actor(request, csrf, "subscriptions")
    env, home = request.app.state.env, f"{HOME}/{ident}"
    one = subscription_views.get(env, None, ident)
    word_of = subscription_pending.word_of
    if waits not in ("", word_of(one.next)):
        return desk.done(home, "moved" if one.next is not None else "gone")
    try:
        after = subscription_pending.drop(env, one.customer_id, one.id, waits=waits or None)
    except PaymentInFlight:
        return desk.done(home, "charging")
    except PaymentFailed:  # Who runs it refused.
        return desk.done(home, "kept")
    except (OutcomeUnknown, ProviderUnavailable):
        return desk.done(home, "asked")
    if (after.plan_id, after.quantity) != (one.plan_id, one.quantity):
        return desk.done(home, "changed")
    # One that waited before it waits again.
    left = (one.next or {}).get("waiting")
    return desk.done(home, "dropped" if word_of(after.next) == word_of(left) else "moved")


# Other steps --------------------------------------------------------------------------------------


@router.post(HOME + "/{ident}/cancel")
def cancel(
    request: Request, ident: str, at: Text = "period_end", reason: Text = "",
    refund: Text = "", csrf: Csrf = "",
) -> Response:  # fmt: skip
    who = desk.actor(request, csrf, "subscriptions")
    env = request.app.state.env
    one = subscription_views.get(env, None, ident)
    if refund:
        session.check_form(request, who, csrf, desk.MAY["refunds.decide"])
    done = subscription_changes.cancel(
        env, one.customer_id, one.id, at=at, reason=reason.strip() or None,
        refund="unused" if refund else None, by=who.caller, persons=who.persons,
    )  # fmt: skip
    return desk.done(f"{HOME}/{ident}", "canceled" if done.ended_at else "will_end")


@router.post(HOME + "/{ident}/reactivate")
def reactivate(request: Request, ident: str, csrf: Csrf = "") -> Response:
    desk.actor(request, csrf, "subscriptions")
    env = request.app.state.env
    one = subscription_views.get(env, None, ident)
    subscription_changes.reactivate(env, one.customer_id, one.id)
    return desk.done(f"{HOME}/{ident}", "reactivated")


@router.post(HOME + "/{ident}/pause")
def pause(
    request: Request, ident: str, until: Annotated[str, Form(max_length=10)] = "", csrf: Csrf = ""
) -> Response:
    """`until`: the day on which it resumes by itself; none: when somebody resumes it."""
    desk.actor(request, csrf, "subscriptions")
    env = request.app.state.env
    one = subscription_views.get(env, None, ident)
    subscription_pauses.pause(env, one.customer_id, one.id, resume_at=_day(until))
    return desk.done(f"{HOME}/{ident}", "paused")


def _day(text: str) -> datetime | None:
    """The beginning of a day in UTC. Raises InvalidRequest."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC) if text else None
    except ValueError:
        raise InvalidRequest("A day is written like 2026-12-31.", param="until") from None


@router.post(HOME + "/{ident}/resume")
def resume(request: Request, ident: str, csrf: Csrf = "") -> Response:
    desk.actor(request, csrf, "subscriptions")
    env = request.app.state.env
    one = subscription_views.get(env, None, ident)
    subscription_pauses.resume(env, one.customer_id, one.id)
    return desk.done(f"{HOME}/{ident}", "resumed")


@router.post(HOME + "/{ident}/retry")
def retry(
    request: Request, ident: str, nonce: Annotated[UUID, Form()], csrf: Csrf = ""
) -> Response:
    """Charge what is owed now, not when the schedule has it."""
    desk.actor(request, csrf, "subscriptions")
    env = request.app.state.env
    one = subscription_views.get(env, None, ident)
    bills = invoices.list_(env, one.customer_id, subscription_id=one.id, status="open", limit=24)
    owed = next((bill for bill in reversed(bills) if bill.remaining.minor), None)
    if owed is None:
        return look.go(f"{HOME}/{ident}")
    return desk.done(f"{HOME}/{ident}", charge(env, owed, nonce, one.method_id))


def charge(env: Env, bill: InvoiceView, nonce: UUID, method_id: UUID | None = None) -> str:
    """Charge an invoice; answers the word for what came of it. One `nonce` charges once."""
    key = ids.request_key("desk pay", str(bill.id), str(nonce))
    try:
        paid = invoices.pay(env, bill.customer_id, bill.id, method=method_id, request_key=key)
    except PaymentFailed:
        return "declined"
    except (PaymentMethodNotUsable, NotFound):
        return "no_method"
    except PaymentInFlight:
        return "charging"
    if paid.is_paid or paid.payment_id is None:
        return "paid" if paid.is_paid else "no_method"
    tried = payments.get(env, bill.customer_id, paid.payment_id)
    return "declined" if tried.state in DEAD_STATES else "charging"
