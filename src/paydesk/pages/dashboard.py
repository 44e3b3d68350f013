"""The dashboard: signing in, overview, search, payments and customers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

from fastapi import Form, Request
from fastapi.responses import Response

from paydesk import ids
from paydesk.errors import NotAuthenticated, NotPermitted, RateLimited
from paydesk.flows import (
    checkout,
    credits,
    desk_lists,
    events,
    figure_reports,
    fulfillment,
    invoices,
    notifications,
    reports,
    subscription_views,
    wallets,
)
from paydesk.pages import charts, desk, look, session, story
from paydesk.pages.routing import new_router
from paydesk.rules.payments import DEAD_STATES

if TYPE_CHECKING:
    from paydesk.env import Env

router = new_router()

TABS = [
    ("all", "All"), ("succeeded", "Succeeded"), ("failed", "Failed"), ("refunded", "Refunded"),
    ("unconfirmed", "Unconfirmed"), ("ended", "Expired"), ("review", "To look at"),
]  # fmt: skip
_OPEN = ("pending", "processing", "requires_action")
#: While nobody has paid, a checkout can be ended.
_UNPAID = ("pending", "requires_action")
#: Of those who may act here, whom the interface lets end one too.
_ENDERS = ("admin",)
_ATTENTION_ICONS = {
    "blocked": "shield-alert", "due": "hourglass", "parked": "webhook", "unknown": "git-compare",
    "review": "triangle-alert", "disputes": "shield-alert", "refunds": "undo-2",
    "reviews": "triangle-alert", "dunning": "repeat", "overdue": "file-text",
    "uncollectible": "file-text",
}  # fmt: skip

# Signing in ---------------------------------------------------------------------------------------


@router.get("/dashboard/sign-in")
def sign_in_page(request: Request, next: str = "/dashboard", problem: str = "") -> Response:
    env = request.app.state.env
    answer = look.page(request, "sign_in.html", csrf="", next=next, problem=problem)
    token = session.new_form_token(env, answer)
    body = look.page(request, "sign_in.html", csrf=token, next=next, problem=problem)
    body.headers["set-cookie"] = answer.headers["set-cookie"]
    return body


@router.post("/dashboard/sign-in")
def sign_in(
    request: Request,
    key: Annotated[str, Form(max_length=300)] = "",
    email: Annotated[str, Form(max_length=320)] = "",
    password: Annotated[str, Form(max_length=256)] = "",
    csrf: Annotated[str, Form(max_length=100)] = "",
    next: Annotated[str, Form(max_length=2000)] = "/dashboard",
) -> Response:
    session.check_form_token(request, csrf)
    answer = look.go(look.local_path(next, "/dashboard"))
    try:
        if email.strip():
            session.sign_in_staff(request, answer, email, password)
        else:
            session.sign_in(request.app.state.env, answer, key.strip())
    except (NotAuthenticated, NotPermitted, RateLimited) as exc:
        page = look.page(
            request, "sign_in.html", status=exc.http_status, csrf=csrf, next=next,
            problem=exc.detail, email=email,
        )  # fmt: skip
        return page
    return answer


@router.post("/dashboard/sign-out")
def sign_out(request: Request, csrf: Annotated[str, Form(max_length=100)] = "") -> Response:
    session.check_origin(request)
    answer = look.go("/dashboard/sign-in")
    session.sign_out(request, answer)
    return answer


# Overview -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recurring:
    """Monthly recurring revenue in minor units, now and when the period began; and how many
    subscriptions run, and how many are late with a payment."""

    minor: int
    before: int
    active: int
    late: int


@router.get("/dashboard")
def overview(request: Request, days: int = 30) -> Response:
    env, who = request.app.state.env, session.operator(request)
    days = days if days in (7, 30, 90, 365) else 30
    found = reports.overview(env, days=days)
    recent, _ = reports.payments_page(env, limit=8)
    fills = ["", "fill-2", "fill-3", "fill-4", "fill-0"]
    for number, method in enumerate(found.methods):
        method["text"] = desk.method_text(method["name"])
        method["share"] = f"{method['permille'] // 10}.{method['permille'] % 10}%"
        method["fill"] = fills[number]
    for row in found.attention:
        row["icon"] = _ATTENTION_ICONS[row["kind"]]
    rate = found.success_permille
    shown = [d for d in reversed(found.days) if d.volume or d.before or d.succeeded or d.failed]
    return desk.show(
        request, "overview.html", who=who, o=found, days=days, recent=desk.payment_rows(recent),
        recurring=recurring(env, days, found.currency),
        rate="—" if rate is None else f"{rate // 10}.{rate % 10}%",
        revenue=charts.revenue(found.days, found.currency), outcomes=charts.outcomes(found.days),
        sparks={
            "volume": charts.spark([d.volume for d in found.days]),
            "rate": charts.spark(_rates(found.days)),
            "credits": charts.spark([d.credits for d in found.days]),
        },
        changes={
            "volume": _change(found.volume, found.volume_before),
            "credits": _change(found.credits_sold, found.credits_sold_before),
        },
        change=_change,
        revenue_rows=[
            (look.day_of(d.day), look.amount(d.volume, found.currency),
             look.amount(d.before, found.currency)) for d in shown
        ],
        outcome_rows=[(look.day_of(d.day), d.succeeded, d.failed) for d in shown],
    )  # fmt: skip


def recurring(env: Env, days: int, currency: str) -> Recurring | None:
    """What subscriptions bring each month, and how that moved; None where nobody subscribed."""
    over, where = f"{days}d", {"currency": currency}
    moved = figure_reports.report(env, "mrr", last=over, by=[], where=where).totals
    if not moved or not (moved[0]["mrr_opening"] or moved[0]["mrr_closing"]):
        return None
    standing = figure_reports.report(env, "subscriptions", last=over, by=["status"], where=where)
    counts: dict[str, int] = {}
    for row in standing.rows:
        counts[row["status"]] = counts.get(row["status"], 0) + row["subscriptions"]
    return Recurring(
        moved[0]["mrr_closing"], moved[0]["mrr_opening"], counts.get("active", 0),
        counts.get("past_due", 0) + counts.get("unpaid", 0),
    )  # fmt: skip


def _rates(days: list[reports.Day]) -> list[int]:
    """Permille of tries that succeeded; a day without any keeps that of the day before."""
    rates, last = [], 1000
    for day in days:
        tried = day.succeeded + day.failed
        last = day.succeeded * 1000 // tried if tried else last
        rates.append(last)
    return rates


def _change(now: int, before: int) -> str | None:
    """`+18.4%` against the period before; None where that had nothing."""
    if not before:
        return None
    permille = (now - before) * 1000 // before
    sign = "+" if permille >= 0 else "−"
    return f"{sign}{abs(permille) // 10}.{abs(permille) % 10}%"


@router.get("/dashboard/search")
def search(request: Request, q: str = "") -> Response:
    session.operator(request)
    text = q.strip()[:200].replace("\x00", "")
    env = request.app.state.env
    found = (desk_lists.find(env, text) or reports.find(env, text)) if text else None
    return look.go(found or f"/dashboard/payments?{urlencode({'q': text})}")


# Payments -----------------------------------------------------------------------------------------


@router.get("/dashboard/payments")
def payments(
    request: Request, tab: str = "all", q: str = "", customer: str = "", before: str = ""
) -> Response:
    env, who = request.app.state.env, session.operator(request)
    tab = tab if tab in dict(TABS) else "all"
    owner = ids.parse("customer", customer) if customer else None
    rows, cursor = reports.payments_page(env, tab=tab, q=q, customer_id=owner, before=before)
    path = "/dashboard/payments"
    return desk.show(
        request, "payments.html", who=who, rows=desk.payment_rows(rows), tab=tab, tabs=TABS, q=q,
        next_url=desk.older(path, cursor, tab=tab, q=q, customer=customer), is_first=not before,
        first_url=f"{path}?{urlencode({'tab': tab, 'q': q})}",
    )  # fmt: skip


@router.get("/dashboard/payments/{ident}")
def payment(request: Request, ident: str) -> Response:
    env, who = request.app.state.env, session.operator(request)
    found = reports.payment_page(env, ids.parse("payment", ident))
    pay = found.payment
    # A provider that is configured no more can do nothing.
    can = env.providers[pay["provider"]].can if pay["provider"] in env.providers else ()
    for entry in found.entries:
        is_credit = entry["asset"] == "CREDIT"
        entry["text"] = (
            f"{look.count(entry['amount'])} credits" if is_credit
            else look.amount(entry["amount"], entry["asset"].lower())
        )  # fmt: skip
    return desk.show(
        request, "payment.html", who=who, p=found, ident=ids.show("payment", pay["id"]),
        customer_ident=ids.show("customer", pay["customer_id"]),
        checkout_ident=ids.show("checkout", pay["checkout_id"]) if pay["checkout_id"] else "",
        total=look.amount(pay["captured_minor"] or pay["asked_minor"], pay["currency"]),
        method_text=desk.method_text(pay["method"], "not chosen yet"),
        steps=story.of_payment(found),
        is_open=pay["state"] in _OPEN, paths=story.PATHS, can_ask="fetch" in can,
        can_end=who.role in _ENDERS and pay["state"] in _UNPAID and bool(pay["checkout_id"])
        and "expire" in can,
        stuck=[f for f in found.fulfillments if f["state"] in ("due", "blocked")],
    )  # fmt: skip


@router.get("/dashboard/payments/{ident}/receipt")
def receipt(request: Request, ident: str) -> Response:
    session.operator(request)
    payment_id = ids.parse("payment", ident)
    env = request.app.state.env
    return look.pdf(*notifications.receipt_pdf(env, ids.customer_of(payment_id), payment_id))


@router.post("/dashboard/payments/{ident}/verify")
def verify(request: Request, ident: str, csrf: Annotated[str, Form()] = "") -> Response:
    who = session.operator(request)
    session.check_form(request, who, csrf)
    checkout.verify(request.app.state.env, ident, path="admin")
    return look.go(f"/dashboard/payments/{ident}?done=verified")


@router.post("/dashboard/payments/{ident}/end")
def end(request: Request, ident: str, csrf: Annotated[str, Form()] = "") -> Response:
    """End the session that nobody has paid, at its provider first."""
    who = session.operator(request)
    session.check_form(request, who, csrf)
    if who.role not in _ENDERS:
        raise NotPermitted(f"The role {who.role} may not end a checkout.")
    payment_id = ids.parse("payment", ident)
    view = checkout.expire_now(request.app.state.env, ids.customer_of(payment_id), ident)
    done = "late" if view.payment.paid else "ended" if view.payment.state in DEAD_STATES else ""
    return look.go(f"/dashboard/payments/{ident}?done={done}")


@router.post("/dashboard/payments/{ident}/resolve")
def resolve(
    request: Request,
    ident: str,
    action: Annotated[str, Form()],
    csrf: Annotated[str, Form()] = "",
) -> Response:
    who = session.operator(request)
    session.check_form(request, who, csrf)
    payment_id = ids.parse("payment", ident)
    action = "waive" if action == "waive" else "retry"
    fulfillment.resolve(
        request.app.state.env, ids.customer_of(payment_id), payment_id, action=action,
        actor=who.name,
    )  # fmt: skip
    return look.go(f"/dashboard/payments/{ident}?done={action}")


# Customers ----------------------------------------------------------------------------------------


@router.get("/dashboard/customers")
def customers(request: Request, q: str = "", before: str = "") -> Response:
    env, who = request.app.state.env, session.operator(request)
    rows, cursor = reports.customers_page(env, q=q, before=before)
    for row in rows:
        row["ident"] = ids.show("customer", row["customer_id"])
    path = "/dashboard/customers"
    return desk.show(
        request, "customers.html", who=who, rows=rows, q=q, is_first=not before,
        next_url=desk.older(path, cursor, q=q), first_url=f"{path}?{urlencode({'q': q})}",
    )  # fmt: skip


@router.get("/dashboard/customers/{ident}")
def customer(request: Request, ident: str) -> Response:
    env, who = request.app.state.env, session.operator(request)
    customer_id = ids.parse("customer", ident)
    row = reports.customer_row(env, customer_id)
    paid, _ = reports.payments_page(env, customer_id=customer_id, limit=10)
    ident = ids.show("customer", customer_id)
    with env.db.read() as tx:
        purses = wallets.list_(tx, customer_id)
    return desk.show(
        request, "customer.html", who=who, c=row, ident=ident, wallets=purses, shown=ids.show,
        subscriptions=subscription_views.list_(env, customer_id, limit=10),
        invoices=invoices.list_(env, customer_id, limit=10),
        payments=desk.payment_rows(paid),
        steps=[story.of_event(e) for e in recent_events(env, customer_id)],
        **credit_facts(env, customer_id),
    )  # fmt: skip


def credit_facts(env: Any, customer_id: Any, limit: int = 20) -> dict[str, Any]:
    """Balance, open batches and history, read at one instant."""
    with env.db.snapshot() as tx:
        now = env.now()
        return {
            "balance": credits.balance(tx, customer_id, now),
            "batches": credits.batches(tx, customer_id, now, limit=50),
            "history": credits.history(tx, customer_id, limit=limit),
        }


def recent_events(env: Any, customer_id: Any, limit: int = 15) -> list[reports.Row]:
    return [
        {"type": e.type, "data": e.data, "created_at": e.created_at}
        for e in events.list_events(env, customer_id=customer_id, limit=limit)
    ]


@router.post("/dashboard/customers/{ident}/portal")
def open_portal(request: Request, ident: str, csrf: Annotated[str, Form()] = "") -> Response:
    who = session.operator(request)
    session.check_form(request, who, csrf)
    env = request.app.state.env
    row = reports.customer_row(env, ids.parse("customer", ident))
    link = session.portal_link(env, row["external_id"])
    return look.go(link.removeprefix(env.settings.base_url))
