"""A notification's facts as a mail: subject, text and HTML from one template, papers as PDF."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import css_inline
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from paydesk.notify import billing, formats, invoices, receipts, words
from paydesk.notify.billing import DECLINES
from paydesk.notify.brand import COLOR, Logo

KINDS = ("receipt", "refund", "payment_failed", "credits_low", "credits_expiring",
         "dispute_opened", "dispute_due_soon", "refund_failed", "endpoint_disabled",
         "refill_paused", "payment_reminder", "invoice_reminder", *billing.KINDS)  # fmt: skip
#: Kinds that go to the staff, in the desk's own language.
STAFF_KINDS = frozenset(
    {"dispute_opened", "dispute_due_soon", "refund_failed", "endpoint_disabled"}
)
#: Kinds that bring the receipt as it stands, and those that bring the invoice.
WITH_RECEIPT = frozenset({"receipt", "refund"})
WITH_INVOICE = frozenset({"receipt", "invoice", "invoice_paid", "invoice_reminder"})
#: Reasons of a dispute that have words.
_DISPUTES = frozenset(
    {"fraudulent", "product_not_received", "product_unacceptable", "duplicate",
     "credit_not_processed", "unrecognized", "subscription_canceled"}
)  # fmt: skip

Facts = Mapping[str, Any]

_WIDTH = 72


@dataclass(frozen=True, slots=True)
class Rendered:
    """A mail's parts. `papers`: the name of each PDF that comes with it, and the PDF where it was
    asked for."""

    subject: str
    text: str
    html: str
    logo: Logo | None = None
    papers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def pdf_name(self) -> str | None:
        return self.papers[0][0] if self.papers else None

    @property
    def pdf(self) -> bytes | None:
        return self.papers[0][1] if self.papers else None


def mail(
    kind: str, locale: str, facts: Facts, *, logo: Logo | None = None, with_pdf: bool = True
) -> Rendered:
    """The mail of these facts (JSON values: amounts in minor units, instants as RFC 3339).

    The HTML shows the logo as `cid:logo`, a part of its own that the message brings. Without
    `with_pdf` a paper's name stands there alone: its pages take longest to make.
    """
    assert kind in KINDS, f"no such kind of notification: {kind}"
    w = partial(words.say, locale)
    is_billing = kind in billing.KINDS
    shown = billing.shown(kind, w, locale, facts) if is_billing else _SHOWN[kind](w, locale, facts)
    business = facts["business"]
    subject = _line(w(shown.pop("subject", f"{kind}_subject"),
                      **{"business": business, **_texts(shown)}))  # fmt: skip
    contact = facts.get("contact")
    common = {
        "w": w, "locale": locale, "business": business, "subject": subject,
        "color": facts.get("color") or COLOR, "logo": "cid:logo" if logo else None,
        "is_test": not facts["livemode"] and "currency" in facts,
        "hello": w("hello", name=_isolated(_line(facts["name"]))) if facts.get("name")
        else w("hello_you"),
        "footer": w("footer_staff" if kind in STAFF_KINDS else "footer", business=business),
        "address": facts.get("address", ()),
        "questions": w("questions", contact=contact)
        if contact and kind not in STAFF_KINDS else None,
        "account_url": facts.get("account_url"),
    }  # fmt: skip
    name = billing.TEMPLATE if is_billing else kind
    text = _render(name, "text", {**common, **shown})
    html = _inliner().inline(_render(name, "html", {**common, **shown}))
    return Rendered(subject, text, html, logo, tuple(_papers(kind, locale, facts, logo, with_pdf)))


def _papers(
    kind: str, locale: str, facts: Facts, logo: Logo | None, with_pdf: bool
) -> Iterator[tuple[str, bytes | None]]:
    """(Name, PDF) of what comes with the mail."""
    if kind in WITH_RECEIPT:
        made = receipts.pdf(locale, _told(facts), logo) if with_pdf else None
        yield f"receipt-{facts['number']}.pdf", made
    if kind in WITH_INVOICE and facts.get("paper"):
        yield _paper(locale, facts, "paper", invoices.invoice, logo, with_pdf)
    if kind in ("credit_note", "credit_note_voided") and facts.get("note"):
        yield _paper(locale, facts, "note", invoices.note, logo, with_pdf)


def _paper(
    locale: str, facts: Facts, name: str, shown: Callable[[str, Facts], invoices.Paper],
    logo: Logo | None, with_pdf: bool,
) -> tuple[str, bytes | None]:  # fmt: skip
    told = facts[name]
    made = None
    if with_pdf:
        made = invoices.pdf(
            locale, shown(locale, told), color=facts.get("color") or COLOR,
            base_url=facts["base_url"], contact=facts.get("contact") or None, logo=logo,
        )  # fmt: skip
    return f"{told['number'] or words.say(locale, 'invoice').lower()}.pdf", made


# What each kind shows ---------------------------------------------------------------------------


def _told(f: Facts) -> Facts:
    """The facts of a receipt; those that were kept before lines were have one of them."""
    if "lines" in f:
        return f
    line = {"description": f.get("item"), "quantity": 1, "unit": f["price"],
            "credits": f.get("credits")}  # fmt: skip
    return {**f, "total": f["price"] - f["discount"], "lines": [line]}


def _receipt(w: Any, locale: str, f: Facts) -> dict[str, Any]:
    one = receipts.receipt(locale, _told(f))
    button = (w("account"), f["account_url"]) if f.get("account_url") else None
    if f.get("invoice_url"):
        button = (w("view_invoice"), f["invoice_url"])
    return {"lines": _bought(one), "facts": one.facts, "total": one.total, "after": one.after,
            "amount": one.paid, "date": one.day, "button": button}  # fmt: skip


def _bought(one: receipts.Receipt) -> list[tuple[str, str]]:
    """Lines in two columns, then the sums."""
    rows = []
    for line in one.lines:
        more = f" × {line.quantity}" if line.quantity != "1" else ""
        detail = f" ({line.detail})" if line.detail else ""
        rows.append((f"{line.description}{more}{detail}", line.amount))
    return rows + one.sums


def _refund(w: Any, locale: str, f: Facts) -> dict[str, Any]:
    back = formats.amount(f["amount"], f["currency"], locale)
    one = receipts.receipt(locale, _told(f))
    facts = [(w("date"), formats.day_of(f["at"], locale)), (w("number"), f["number"])]
    if way := receipts.method(locale, f):
        facts.append((w("method"), way))
    return {"amount": back, "lines": one.after, "total": (w("refunded"), back), "facts": facts}


def _failed(w: Any, locale: str, f: Facts) -> dict[str, Any]:
    facts = [(w("date"), formats.day_of(f["at"], locale)), (w("payment"), f["number"])]
    if way := receipts.method(locale, f):
        facts.insert(1, (w("method_tried"), way))
    if reason := DECLINES.get(f.get("error_code") or ""):
        facts.insert(0, (w("reason"), w(reason)))
    return {"amount": formats.amount(f["amount"], f["currency"], locale), "facts": facts}


def _low(w: Any, locale: str, f: Facts) -> dict[str, Any]:
    return {
        "balance": formats.number(f["balance"], locale),
        "subject": words.counted(locale, "credits_low_subject", f["balance"]),
        "text": words.counted(locale, "credits_low_text", f["balance"]),
    }


def _expiring(w: Any, locale: str, f: Facts) -> dict[str, Any]:
    return {
        "credits": formats.number(f["credits"], locale), "date": formats.day_of(f["on"], locale),
        "subject": words.counted(locale, "credits_expiring_subject", f["credits"]),
        "text": words.counted(locale, "credits_expiring_text", f["credits"]),
    }  # fmt: skip


def _dispute(w: Any, locale: str, f: Facts) -> dict[str, Any]:
    amount, customer = formats.amount(f["amount"], f["currency"], locale), _isolated(f["customer"])
    facts = [(w("amount"), amount), (w("customer"), customer), (w("payment"), f["number"])]
    if reason := f.get("reason"):
        facts.append((w("reason"), w(reason) if reason in _DISPUTES else reason.replace("_", " ")))
    due = formats.day_of(f["due_at"], locale) if f.get("due_at") else ""
    if due:
        facts.append((w("due"), due))
    return {"amount": amount, "customer": customer, "facts": facts, "date": due,
            "payment_url": _payment_url(f)}  # fmt: skip


def _refund_failed(w: Any, locale: str, f: Facts) -> dict[str, Any]:
    amount, customer = formats.amount(f["amount"], f["currency"], locale), _isolated(f["customer"])
    facts = [(w("amount"), amount), (w("customer"), customer), (w("payment"), f["number"])]
    if f.get("reason"):
        facts.append((w("reason"), f["reason"].replace("_", " ")))
    return {"amount": amount, "customer": customer, "facts": facts, "payment_url": _payment_url(f)}


def _disabled(w: Any, locale: str, f: Facts) -> dict[str, Any]:
    return {
        "reason": f["reason"], "days": formats.number(f["days"], locale),
        "host": urlsplit(f["url"]).hostname or "", "facts": [(w("address"), f["url"])],
    }  # fmt: skip


def _refill_paused(w: Any, locale: str, f: Facts) -> dict[str, Any]:
    is_wallet = f["currency"] is not None
    facts = []
    if reason := DECLINES.get(f.get("error_code") or ""):
        facts.append((w("reason"), w(reason)))
    return {
        "facts": facts, "what": w("refill_wallet" if is_wallet else "refill_credits"),
        "text": "refill_paused_method" if f["reason"] == "payment_method" else "refill_paused_text",
    }  # fmt: skip


def _reminder(w: Any, locale: str, f: Facts) -> dict[str, Any]:
    amount = formats.amount(f["amount"], f["currency"], locale)
    facts = [(w("amount"), amount)]
    if f.get("number"):
        facts.append((w(f["label"]), f["number"]))
    if f.get("reference"):
        facts.append((w("reference"), f["reference"]))
    return {"amount": amount, "date": formats.day_of(f["since"], locale), "facts": facts,
            "pay_url": f.get("pay_url") or f.get("account_url")}  # fmt: skip


_SHOWN = {
    "receipt": _receipt, "refund": _refund, "payment_failed": _failed, "credits_low": _low,
    "credits_expiring": _expiring, "dispute_opened": _dispute, "dispute_due_soon": _dispute,
    "refund_failed": _refund_failed, "endpoint_disabled": _disabled,
    "refill_paused": _refill_paused, "payment_reminder": _reminder,
    "invoice_reminder": _reminder,
}  # fmt: skip


def _payment_url(facts: Facts) -> str:
    return f"{facts['base_url']}/dashboard/payments/{facts['number']}"


def _texts(shown: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in shown.items() if isinstance(value, str)}


def _isolated(text: str) -> str:
    """A name inside a sentence: one that runs from right to left leaves the rest as it stands."""
    is_rtl = any(unicodedata.bidirectional(one) in ("R", "AL") for one in text)
    return f"\u2068{text}\u2069" if is_rtl else text


def _line(text: str) -> str:
    """One line: what a header or a greeting may hold."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:300]


# Templates --------------------------------------------------------------------------------------


@functools.cache
def _environment(mode: str) -> Environment:
    made = Environment(
        loader=PackageLoader("paydesk.notify"), autoescape=mode == "html",
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters["columns"] = _columns
    return made


def _columns(rows: Sequence[tuple[str, str]]) -> str:
    """Labels to the left and figures to the right of a text of 72 columns; names that are too
    long for it push theirs to a line of its own."""
    lines = []
    for label, value in rows:
        room = _WIDTH - _width(label) - _width(value)
        lines.append(f"{label}{' ' * room}{value}" if room >= 2
                     else f"{label}\n{' ' * max(0, _WIDTH - _width(value))}{value}")  # fmt: skip
    return "\n".join(lines)


def _width(text: str) -> int:
    """Columns of a terminal: marks that combine take none, wide letters two."""
    return sum(
        0 if unicodedata.combining(one) or one in "\u200d\ufe0f"
        else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in text
    )  # fmt: skip


def _render(kind: str, mode: str, values: dict[str, Any]) -> str:
    """The kind's one template with the parts of `mode` in its frame."""
    environment = _environment(mode)
    parts = environment.get_template(f"parts_{mode}.j2").module
    body = environment.get_template(f"{kind}.j2").render(p=parts, **values)
    if mode == "html":
        framed = environment.get_template("base_html.j2").render(body=Markup(body), **values)
        return framed.strip() + "\n"
    framed = environment.get_template("base_text.j2").render(body=body.strip(), **values)
    lines: list[str] = []
    for line in framed.strip().splitlines():
        if line.strip() or (lines and lines[-1]):
            lines.append(line if line == "-- " else line.rstrip())
    return "\n".join(lines) + "\n"


@functools.cache
def _inliner() -> css_inline.CSSInliner:
    """Rules into style attributes, media queries kept; nothing is loaded from anywhere."""
    return css_inline.CSSInliner(
        keep_style_tags=False, keep_at_rules=True, load_remote_stylesheets=False
    )
