"""The hosted page of an invoice: what it asks for, a button to pay it, its papers; in the reader's
language, and without any script."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fastapi import Form, Request
from fastapi.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest, Misconfigured, NotFound, PaymentInFlight
from paydesk.flows import (
    credit_notes,
    customers,
    heads,
    invoice_papers,
    invoice_views,
    invoices,
    notifications,
    payments,
)
from paydesk.notify import brand, formats, receipts, words
from paydesk.notify import invoices as papers
from paydesk.pages import look, session
from paydesk.pages.pay_words import PAY_WORDS
from paydesk.pages.routing import new_router
from paydesk.rules.invoices import PAYABLE, InvoiceStateConflict

if TYPE_CHECKING:
    from paydesk.env import Env
    from paydesk.flows.invoice_views import InvoiceView
    from paydesk.flows.payments import PaymentView

router = new_router()

#: An invoice is past due when its money was not there on the day after it was expected.
GRACE = timedelta(days=1)
#: Status -> tone of its badge.
_TONES = {"open": "info", "past_due": "bad", "paid": "ok", "uncollectible": "warn"}
#: What the languages call themselves.
LANGUAGES = {"en": "English", "fr": "Français", "ht": "Kreyòl"}
_DARK = """--accent: color-mix(in srgb, COLOR 45%, white);
  --accent-hover: color-mix(in srgb, COLOR 30%, white);
  --accent-soft: color-mix(in srgb, COLOR 30%, black);
  --on-accent: #0d1015;"""
_BRAND = f""":root {{
  --accent: COLOR;
  --accent-hover: color-mix(in srgb, COLOR 85%, black);
  --accent-soft: color-mix(in srgb, COLOR 10%, white);
}}
@media (prefers-color-scheme: dark) {{
  :root:not([data-theme="light"]) {{
  {_DARK}
  }}
}}
:root[data-theme="dark"] {{
  {_DARK}
}}
"""
#: States of a payment whose money is on its way.
_UNDER_WAY = frozenset({"processing", "authorized"})


@dataclass(frozen=True, slots=True)
class Note:
    """What is said of the state: a tone, an icon, and words."""

    tone: str
    icon: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoicePage:
    """What the page shows. `paper` is the document's text; `pay` what the button says, None where
    nothing can be paid, `bank_url` where a payment under way waits to be confirmed instead;
    `receipt` how it was paid, `notes` (name, amount, address of the PDF)."""

    paper: papers.Paper
    number: str
    word: str
    tone: str
    sum: str
    about: str
    note: Note | None
    pay: str | None
    pay_url: str
    bank_url: str | None
    bank_word: str
    pdf_url: str | None
    receipt: list[tuple[str, str]]
    receipt_url: str | None
    notes: list[tuple[str, str, str]]
    logo: str | None
    brand_url: str | None
    secret: str
    locale: str
    languages: list[tuple[str, str, bool]]
    sandbox: bool


@router.get("/invoice/brand.css")
def brand_sheet(request: Request) -> Response:
    """The business's color where it has one of its own. Dark pages take a lighter tone of it."""
    env: Env = request.app.state.env
    color = brand.color(env.settings.brand_color)
    sheet = _BRAND.replace("COLOR", color)
    headers = {**look.HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}
    return Response(sheet, media_type="text/css", headers=headers)


@router.get("/invoice/{ident}")
def show(request: Request, ident: str, s: str = "", locale: str | None = None) -> Response:
    """For whoever has the link: the id alone opens nothing."""
    env: Env = request.app.state.env
    return _page(request, _view(env, ident, s), locale)


def _page(
    request: Request, one: InvoiceView, asked: str | None, *, under_way: bool = False
) -> Response:
    env: Env = request.app.state.env
    one = invoice_papers.numbered(env, one)
    locale = language_of(request, one, asked)
    w = partial(words.say, locale)
    paper = papers.invoice(locale, invoice_papers.invoice_facts(env, one))
    status = _status(env, one)
    payment = _payment(env, one)
    bank_url = payment.action_url if payment is not None else None
    under_way = bank_url is None and (
        under_way or (payment is not None and payment.state in _UNDER_WAY)
    )
    shown, secret = ids.show("invoice", one.id), quote(one.secret)
    link = partial(_link, shown, secret, locale)
    remaining = one.remaining
    amount = formats.amount(remaining.minor, one.currency, locale)
    told, receipt_url = _receipt(env, one, locale, link)
    page = InvoicePage(
        paper=paper, number=one.number or "", word=w(f"status_{status}"),
        tone=_TONES.get(status, ""), sum=amount if remaining.minor else paper.total[1],
        about=_about(env, one, locale, status, paper),
        note=_bank_note(locale) if bank_url else _note(one, locale, status, under_way),
        bank_url=bank_url, bank_word=PAY_WORDS["bank_title"][locale],
        pay=None if bank_url or under_way or not remaining.minor
        else w("pay_amount", amount=amount),
        pay_url=f"/invoice/{shown}/pay", pdf_url=None if status == "draft" else link("/pdf"),
        receipt=told, receipt_url=receipt_url, notes=_notes(env, one, locale, link),
        logo=_logo(env),
        brand_url=_brand_url(env), secret=one.secret, locale=locale,
        languages=[(f"/invoice/{shown}?s={secret}&locale={code}", name, code == locale)
                   for code, name in LANGUAGES.items()],
        sandbox=not env.settings.live,
    )  # fmt: skip
    return look.page(request, "invoice.html", view=page, lang=locale, w=w)


def language_of(request: Request, one: InvoiceView, asked: str | None) -> str:
    """What the address asks for, else what the customer is known to speak, else what the browser
    does, else the desk's."""
    env: Env = request.app.state.env
    known = customers.get(env, one.customer_id).metadata.get("locale")
    accepted = [
        part.partition(";")[0] for part in request.headers.get("accept-language", "").split(",")
    ]
    for tag in (asked, known, *accepted[:10]):
        if found := words.locale_of(tag if isinstance(tag, str) else None, ""):
            return found
    return env.settings.default_locale


def _status(env: Env, one: InvoiceView) -> str:
    """The invoice's status; an open one whose time is over, or whose charge failed, is past due."""
    if one.status != "open":
        return one.status
    now = heads.now(env, one.customer_id)
    is_late = one.due_at is not None and one.due_at + GRACE <= now
    return "past_due" if is_late or one.error_code else "open"


def _payment(env: Env, one: InvoiceView) -> PaymentView | None:
    """The payment that it names, while it asks for money."""
    if one.status not in PAYABLE or one.payment_id is None:
        return None
    return payments.get(env, one.customer_id, one.payment_id)


def _bank_note(locale: str) -> Note:
    return Note("warn", "hourglass", PAY_WORDS["invoice_bank"][locale])


def _about(
    env: Env, one: InvoiceView, locale: str, status: str, paper: papers.Paper
) -> str:
    """What stands under the sum: until when it is to be paid, or what became of it."""
    if one.status not in PAYABLE or one.due_at is None:
        return paper.headline
    day = formats.day(_day(env, one.due_at), locale)
    key = "was_due" if status == "past_due" else "is_due"
    return words.say(locale, key, date=day)


def _note(one: InvoiceView, locale: str, status: str, under_way: bool) -> Note | None:
    w = partial(words.say, locale)
    if under_way:
        return Note("info", "hourglass", w("page_under_way"))
    if one.error_code is not None and status in ("past_due", "uncollectible"):
        return Note("bad", "triangle-alert", w("page_failed"))
    found = {
        "draft": ("info", "file-pen"), "paid": ("ok", "check"), "void": ("info", "circle-x"),
        "uncollectible": ("warn", "info"), "past_due": ("warn", "clock"),
    }.get(status)  # fmt: skip
    return Note(*found, w(f"page_{status}")) if found else None


def _receipt(
    env: Env, one: InvoiceView, locale: str, link: partial[str]
) -> tuple[list[tuple[str, str]], str | None]:
    """How it was paid, and the receipt's address."""
    if one.status != "paid":
        return [], None
    w = partial(words.say, locale)
    rows = []
    if one.paid_at is not None:
        rows.append((w("paid_date"), formats.day(_day(env, one.paid_at), locale)))
    if one.balance.minor > 0:
        told = formats.amount(one.balance.minor, one.currency, locale)
        rows.append((w("from_balance"), told))
    if one.payment_id is None or not one.paid.minor:
        return rows, None
    payment = payments.get(env, one.customer_id, one.payment_id)
    rows.append((w("paid"), formats.amount(one.paid.minor, one.currency, locale)))
    detail = payment.method_detail or {}
    way = receipts.method(locale, {"card": detail, "method": payment.method or payment.provider})
    rows += [(w("method"), way)] if way else []
    return rows, link("/receipt") if payment.captured.minor else None


def _notes(
    env: Env, one: InvoiceView, locale: str, link: partial[str]
) -> list[tuple[str, str, str]]:
    """Credit notes that stand: name, amount, address of the PDF."""
    if not one.credited.minor:
        return []
    found = credit_notes.list_(env, one.customer_id, invoice_id=one.id, limit=50)
    return [
        (note.number or words.say(locale, "credit_note"),
         formats.amount(-note.amount.minor, one.currency, locale),
         link(f"/notes/{ids.show('credit_note', note.id)}"))
        for note in reversed(found) if note.status != "void"
    ]  # fmt: skip


def _link(shown: str, secret: str, locale: str, what: str) -> str:
    return f"/invoice/{shown}{what}?s={secret}&locale={locale}"


def _logo(env: Env) -> str | None:
    try:
        found = brand.logo(env.settings)
    except Misconfigured:  # The name stands there; the doctor says what is wrong.
        return None
    return found.data_url if found else None


def _brand_url(env: Env) -> str | None:
    """The sheet of the business's color; its address names the color, so that it may be kept."""
    try:
        color = brand.color(env.settings.brand_color)
    except Misconfigured:
        return None
    return None if color == brand.COLOR else f"/invoice/brand.css?{color[1:]}"


def _day(env: Env, at: datetime) -> datetime:
    return at.astimezone(ZoneInfo(env.settings.time_zone))


@router.post("/invoice/{ident}/pay")
def pay(
    request: Request, ident: str, s: Annotated[str, Form(max_length=64)] = "",
    locale: Annotated[str | None, Form(max_length=16)] = None,
) -> Response:  # fmt: skip
    """To the page of a checkout that pays it: the one that is open, where there is one."""
    session.check_origin(request)
    env: Env = request.app.state.env
    one = _view(env, ident, s)
    home = _home(one, locale)
    back = f"{env.settings.base_url}{home}"
    try:
        made = invoices.checkout_for(
            env, one.customer_id, one.id, success_url=back, cancel_url=back
        )
    except PaymentInFlight:  # Where a bank asks its holder, the page has the way there.
        return _page(request, one, locale, under_way=True)
    except InvoiceStateConflict:  # It was settled meanwhile, or is not issued yet.
        return look.go(home)
    spoken = f"&locale={locale}" if locale in words.LOCALES else ""
    return look.go(f"/checkout/{ids.show('checkout', made.id)}?s={quote(made.secret)}{spoken}")


@router.get("/invoice/{ident}/pdf")
def pdf(request: Request, ident: str, s: str = "", locale: str | None = None) -> Response:
    """The document, for whoever has the link."""
    env: Env = request.app.state.env
    return look.pdf(*invoice_papers.invoice_pdf(env, _view(env, ident, s), locale))


@router.get("/invoice/{ident}/receipt")
def receipt(request: Request, ident: str, s: str = "", locale: str | None = None) -> Response:
    """The receipt of the payment that paid it, for whoever has the link."""
    env: Env = request.app.state.env
    one = _view(env, ident, s)
    if one.status != "paid" or one.payment_id is None:
        raise NotFound("There is no receipt: nothing was paid.")
    return look.pdf(
        *notifications.receipt_pdf(env, one.customer_id, one.payment_id, locale)
    )


@router.get("/invoice/{ident}/notes/{note}")
def credit_note(
    request: Request, ident: str, note: str, s: str = "", locale: str | None = None
) -> Response:
    """A credit note of it, for whoever has the invoice's link."""
    env: Env = request.app.state.env
    one = _view(env, ident, s)
    try:
        found = credit_notes.get(env, one.customer_id, note)
    except (NotFound, InvalidRequest):
        found = None
    if found is None or found.invoice_id != one.id:
        raise NotFound("This link leads to no credit note.")
    return look.pdf(*invoice_papers.note_pdf(env, found, locale))


def _home(one: InvoiceView, locale: str | None) -> str:
    spoken = f"&locale={locale}" if locale in words.LOCALES else ""
    return f"/invoice/{ids.show('invoice', one.id)}?s={quote(one.secret)}{spoken}"


def _view(env: Env, ident: str, secret: str) -> InvoiceView:
    """Raises NotFound in words for customers, who know no ids."""
    try:
        return invoice_views.by_secret(env, ident, secret)
    except NotFound:
        raise NotFound("This link leads to no invoice. Open it from the mail it came in.") from None
