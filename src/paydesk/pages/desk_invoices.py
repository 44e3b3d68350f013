"""The dashboard's invoices: the list, one with the reasons of its lines, what may be done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID, uuid4

from fastapi import Form, Request
from fastapi.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest
from paydesk.flows import (
    credit_notes,
    desk_lists,
    heads,
    invoice_papers,
    invoice_views,
    invoices,
    payments,
    subscription_views,
)
from paydesk.flows.credit_notes import NewNote
from paydesk.pages import desk, desk_subscriptions, look, reasons, session, story
from paydesk.pages.routing import new_router
from paydesk.rules.invoices import MADE, PAYABLE
from paydesk.rules.money import Money

if TYPE_CHECKING:
    from paydesk.flows.invoice_views import InvoiceView, ItemView

router = new_router()

HOME = "/dashboard/invoices"
TABS = [
    ("all", "All"), ("open", "Open"), ("paid", "Paid"), ("draft", "Drafts"), ("void", "Void"),
    ("uncollectible", "Uncollectible"),
]  # fmt: skip
BECAUSE = {
    "subscription_create": "First period", "subscription_cycle": "Renewal",
    "subscription_update": "Change of plan", "manual": "By hand",
}  # fmt: skip
Csrf = Annotated[str, Form(max_length=100)]
Text = Annotated[str, Form(max_length=500)]


@router.get(HOME)
def invoice_list(request: Request, tab: str = "all", q: str = "", before: str = "") -> Response:
    env, who = request.app.state.env, session.operator(request)
    tab, q = tab if tab in dict(TABS) else "all", q.replace("\x00", "")[:100]
    rows, cursor = desk_lists.invoices_page(env, tab=tab, q=q, before=before)
    return desk.show(
        request, "invoices.html", who=who, rows=rows, tab=tab, tabs=TABS, q=q,
        next_url=desk.older(HOME, cursor, tab=tab, q=q), is_first=not before,
        first_url=desk.address(HOME, tab=tab, q=q),
    )  # fmt: skip


@router.get(HOME + "/{ident}")
def invoice(request: Request, ident: str) -> Response:
    env, who = request.app.state.env, session.operator(request)
    one = invoices.get(env, None, ident)
    notes = credit_notes.list_(env, one.customer_id, invoice_id=one.id, limit=20)
    books: tuple[dict[str, Any], ...] = ()
    if one.items:
        books = subscription_views.why(env, None, one.items[0].id).entries
    with env.db.read() as tx:
        rows = desk_lists.told(tx, one.customer_id, [one.id, *(note.id for note in notes)])
        person = desk_lists.people(tx, [one.customer_id])[one.customer_id]
        now = heads.now(env, one.customer_id, tx)
    paid_by = one.payment_id and payments.get(env, one.customer_id, one.payment_id)
    return desk.show(
        request, "invoice_desk.html", who=who, i=one, ident=ids.show("invoice", one.id),
        person=person, because=BECAUSE[one.reason], lines=[_line(one, item) for item in one.items],
        notes=notes, shown=ids.show, books=[_entry(entry) for entry in books], payment=paid_by,
        steps=[story.of_event(row) for row in rows], at=now, deeds=deeds(one),
        left=Money(max(0, one.total.minor - one.credited.minor), one.currency, minor=True),
        nonce=str(uuid4()), is_waiting=one.status == "open" and paid_by is not None
        and not paid_by.paid and paid_by.state in ("pending", "processing", "requires_action"),
    )  # fmt: skip


def _line(one: InvoiceView, item: ItemView) -> dict[str, Any]:
    return {
        "whole": invoice_views.whole_of(one.items, item),
        "item": item, "ident": ids.show("invoice_item", item.id), "is_made": item.kind in MADE,
        "why": reasons.of_line(item.why, item.amount.currency),
    }


def _entry(entry: dict[str, Any]) -> dict[str, Any]:
    is_credit = entry["currency"] == "CREDIT"
    text = (f"{look.count(entry['amount'])} credits" if is_credit
            else look.amount(entry["amount"], entry["currency"].lower()))  # fmt: skip
    return {**entry, "text": text}


def deeds(one: InvoiceView) -> frozenset[str]:
    """What may be done about it as it stands."""
    if one.runner != "paydesk":
        return frozenset()
    is_owed = one.status in PAYABLE and one.remaining.minor > 0
    found = {
        "finalize": one.status == "draft" and one.subscription_id is None,
        "pay": is_owed,
        "void": one.status in PAYABLE,
        "give_up": one.status == "open",
        "credit": one.status in ("open", "paid", "uncollectible")
        and one.total.minor > one.credited.minor,
        "papers": one.status != "draft",
    }
    return frozenset(name for name, is_open in found.items() if is_open)


@router.get(HOME + "/{ident}/pdf")
def pdf(request: Request, ident: str) -> Response:
    session.operator(request)
    env = request.app.state.env
    return look.pdf(*invoice_papers.invoice_pdf(env, invoices.get(env, None, ident)))


@router.get("/dashboard/credit-notes/{ident}/pdf")
def note_pdf(request: Request, ident: str) -> Response:
    session.operator(request)
    env = request.app.state.env
    return look.pdf(*invoice_papers.note_pdf(env, credit_notes.get(env, None, ident)))


# What may be done ---------------------------------------------------------------------------------


@router.post(HOME + "/{ident}/pay")
def pay(
    request: Request, ident: str, nonce: Annotated[UUID, Form()], csrf: Csrf = ""
) -> Response:
    """Charge the customer's method now."""
    desk.actor(request, csrf, "invoices.pay")
    env = request.app.state.env
    one = invoices.get(env, None, ident)
    return desk.done(f"{HOME}/{ident}", desk_subscriptions.charge(env, one, nonce))


@router.post(HOME + "/{ident}/finalize")
def finalize(request: Request, ident: str, csrf: Csrf = "") -> Response:
    desk.actor(request, csrf, "invoices.finalize")
    env = request.app.state.env
    one = invoices.get(env, None, ident)
    if one.subscription_id is not None:
        raise InvalidRequest("A subscription finalizes its drafts by itself.")
    invoices.finalize_now(env, one.customer_id, one.id)
    return desk.done(f"{HOME}/{ident}", "finalized")


@router.post(HOME + "/{ident}/void")
def void(request: Request, ident: str, csrf: Csrf = "") -> Response:
    desk.actor(request, csrf, "invoices.close")
    env = request.app.state.env
    one = invoices.get(env, None, ident)
    invoices.void(env, one.customer_id, one.id)
    return desk.done(f"{HOME}/{ident}", "voided")


@router.post(HOME + "/{ident}/uncollectible")
def give_up(request: Request, ident: str, csrf: Csrf = "") -> Response:
    desk.actor(request, csrf, "invoices.close")
    env = request.app.state.env
    one = invoices.get(env, None, ident)
    invoices.mark_uncollectible(env, one.customer_id, one.id)
    return desk.done(f"{HOME}/{ident}", "given_up")


@router.post(HOME + "/{ident}/credit")
def credit(
    request: Request, ident: str, nonce: Annotated[UUID, Form()],
    amount: Annotated[str, Form(max_length=40)] = "", to: Text = "", reason: Text = "",
    memo: Text = "", line: Text = "", csrf: Csrf = "",
) -> Response:  # fmt: skip
    """A credit note of so much (all that is left): to the payer, or to the customer's balance.
    `line`: the one that it is about."""
    who = desk.actor(request, csrf, "credit_notes")
    env = request.app.state.env
    one = invoices.get(env, None, ident)
    none = Money(0, one.currency, minor=True)
    money = Money(amount.strip(), one.currency) if amount.strip() else None
    about = ids.parse("invoice_item", line) if line else None
    if about is not None and money is None:
        raise InvalidRequest("Say how much of the line.", param="amount")
    credit_notes.create(env, NewNote(
        customer_id=one.customer_id, invoice_id=one.id,
        amount=money, items=[(about, money.minor)] if about and money else (),
        refund=none if to == "balance" and one.is_paid else None, reason=reason.strip() or None,
        memo=memo.strip() or None, by=who.caller, persons=who.persons, actor_role=who.role,
        request_key=ids.request_key("desk note", str(one.id), str(nonce)),
    ))  # fmt: skip
    return desk.done(f"{HOME}/{ident}", "credited")
