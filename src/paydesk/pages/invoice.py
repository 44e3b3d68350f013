"""The hosted page of an invoice: what it asks for, a button to pay it, the document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fastapi import Form, Request
from fastapi.responses import Response

from paydesk import ids
from paydesk.errors import NotFound, PaymentInFlight
from paydesk.flows import invoice_papers, invoice_views, invoices
from paydesk.notify import formats
from paydesk.notify import invoices as papers
from paydesk.pages import look, session
from paydesk.pages.routing import new_router
from paydesk.rules.invoices import PAYABLE, InvoiceStateConflict

if TYPE_CHECKING:
    from paydesk.env import Env
    from paydesk.flows.invoice_views import InvoiceView

router = new_router()

#: Invoice state -> tone, icon and what the reader is told.
_NOTES = {
    "paid": ("ok", "check", "This invoice is paid. Thank you."),
    "void": ("info", "circle-x", "This invoice is void: nothing is due."),
}
_UNDER_WAY = ("info", "hourglass", "A payment for this invoice is under way. You need not pay"
              " again: the page shows it once it is confirmed.")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoicePage:
    """What the page shows. `paper` is the document's text; `note` its state in words, where
    nothing can be paid now; `pay` what the button says."""

    paper: papers.Paper
    number: str
    status: str
    about: str
    note: tuple[str, str, str] | None
    pay: str | None
    failed: bool
    pay_url: str
    pdf_url: str
    secret: str
    sandbox: bool


@router.get("/invoice/{ident}")
def show(request: Request, ident: str, s: str = "") -> Response:
    """For whoever has the link: the id alone opens nothing."""
    env: Env = request.app.state.env
    return _page(request, _view(env, ident, s))


def _page(
    request: Request, one: InvoiceView, note: tuple[str, str, str] | None = None
) -> Response:
    env: Env = request.app.state.env
    paper = papers.invoice("en", invoice_papers.invoice_facts(env, one))
    remaining = one.remaining
    shown = ids.show("invoice", one.id)
    secret = quote(one.secret)
    note = note or _NOTES.get(one.status)
    page = InvoicePage(
        paper=paper, number=one.number or "", status=one.status,
        about=_about(env, one, paper),
        note=note, failed=one.error_code is not None and note is None,
        pay=look.amount(remaining.minor, one.currency) if remaining and note is None else None,
        pay_url=f"/invoice/{shown}/pay", pdf_url=f"/invoice/{shown}/pdf?s={secret}",
        secret=one.secret, sandbox=not env.settings.live,
    )  # fmt: skip
    return look.page(request, "invoice.html", view=page)


def _about(env: Env, one: InvoiceView, paper: papers.Paper) -> str:
    """What stands under the sum: until when it is to be paid, or what became of it."""
    if one.status not in PAYABLE or one.due_at is None:
        return paper.headline
    return f"Due {formats.day(one.due_at.astimezone(ZoneInfo(env.settings.time_zone)), 'en')}"


@router.post("/invoice/{ident}/pay")
def pay(
    request: Request, ident: str, s: Annotated[str, Form(max_length=64)] = ""
) -> Response:
    """To the page of a checkout that pays it: the one that is open, where there is one."""
    session.check_origin(request)
    env: Env = request.app.state.env
    one = _view(env, ident, s)
    back = f"{env.settings.base_url}{_home(one)}"
    try:
        made = invoices.checkout_for(
            env, one.customer_id, one.id, success_url=back, cancel_url=back
        )
    except PaymentInFlight:
        return _page(request, one, _UNDER_WAY)
    except InvoiceStateConflict:  # It was settled meanwhile.
        return look.go(_home(one))
    return look.go(f"/checkout/{ids.show('checkout', made.id)}?s={quote(made.secret)}")


@router.get("/invoice/{ident}/pdf")
def pdf(request: Request, ident: str, s: str = "", locale: str | None = None) -> Response:
    """The document, for whoever has the link."""
    env: Env = request.app.state.env
    name, content = invoice_papers.invoice_pdf(env, _view(env, ident, s), locale)
    headers = {
        "Content-Disposition": f'inline; filename="{name}"', "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
    }  # fmt: skip
    return Response(content, media_type="application/pdf", headers=headers)


def _home(one: InvoiceView) -> str:
    return f"/invoice/{ids.show('invoice', one.id)}?s={quote(one.secret)}"


def _view(env: Env, ident: str, secret: str) -> InvoiceView:
    """Raises NotFound in words for customers, who know no ids."""
    try:
        return invoice_views.by_secret(env, ident, secret)
    except NotFound:
        raise NotFound("This link leads to no invoice. Open it from the mail it came in.") from None
