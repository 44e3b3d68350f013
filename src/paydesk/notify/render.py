"""A notification's facts as a mail: subject, text and HTML from one template, receipts as PDF."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from importlib.resources import as_file, files
from typing import Any
from urllib.parse import urlsplit

import css_inline
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from paydesk.notify import formats, words

KINDS = ("receipt", "refund", "payment_failed", "credits_low", "credits_expiring",
         "dispute_opened", "endpoint_disabled")  # fmt: skip
#: Kinds that go to the staff, in the desk's own language.
STAFF_KINDS = frozenset({"dispute_opened", "endpoint_disabled"})

Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A mail's parts. `pdf_name` is None for kinds without an attachment."""

    subject: str
    text: str
    html: str
    pdf_name: str | None = None
    pdf: bytes | None = None


def mail(kind: str, locale: str, facts: Facts, *, with_pdf: bool = True) -> Rendered:
    """The mail of these facts (JSON values: amounts in minor units, instants as RFC 3339).

    Without `with_pdf` a receipt's name stands there alone: its page takes longest to make.
    """
    assert kind in KINDS, f"no such kind of notification: {kind}"
    w = partial(words.say, locale)
    shown = _SHOWN[kind](w, locale, facts)
    business = facts["business"]
    subject = _line(w(f"{kind}_subject", **{"business": business, **_texts(shown)}))
    common = {
        "w": w, "locale": locale, "business": business, "subject": subject,
        "is_test": not facts["livemode"] and "currency" in facts,
        "hello": w("hello", name=_line(facts["name"])) if facts.get("name") else w("hello_you"),
        "footer": w("footer_staff" if kind in STAFF_KINDS else "footer", business=business),
        "account_url": f"{facts['base_url']}/portal",
    }  # fmt: skip
    text = _render(kind, "text", {**common, **shown})
    html = _inliner().inline(_render(kind, "html", {**common, **shown}))
    if kind != "receipt":
        return Rendered(subject, text, html)
    pdf = receipt(locale, facts) if with_pdf else None
    return Rendered(subject, text, html, f"receipt-{facts['number']}.pdf", pdf)


def receipt(locale: str, facts: Facts) -> bytes:
    """The receipt as a PDF of one page; the same facts give the same page."""
    import typst

    w = partial(words.say, locale)
    shown = _receipt(w, locale, facts)
    told = {
        "title": w("receipt"), "business": facts["business"], "locale": locale,
        "initial": facts["business"][:1].upper(),
        "facts": _people(w, facts) + shown["facts"], "lines": shown["lines"],
        "total": shown["total"], "note": None if facts["livemode"] else w("test"),
        "footer": f"{facts['business']} · {facts['base_url']}",
    }  # fmt: skip
    folder = files("paydesk.notify")
    with as_file(folder / "fonts") as fonts, as_file(folder / "templates") as templates:
        return typst.compile(
            str(templates / "receipt.typ"), root=str(templates), font_paths=[str(fonts)],
            format="pdf", sys_inputs={"facts": json.dumps(told, ensure_ascii=False)},
        )  # fmt: skip


# What each kind shows ---------------------------------------------------------------------------


def _receipt(w: Any, locale: str, f: Facts) -> dict[str, Any]:
    def shown(minor: int) -> str:
        return formats.amount(minor, f["currency"], locale)

    item = f.get("item") or (
        w("credits_item", credits=formats.number(f["credits"], locale)) if f.get("credits")
        else w("payment")
    )  # fmt: skip
    lines = [(item, shown(f["price"]))]
    if f["discount"]:
        lines.append((w("discount"), shown(-f["discount"])))
    facts = [(w("date"), _day(f["paid_at"], locale)), (w("number"), f["number"])]
    if f.get("method"):
        facts.append((w("method"), _method(w, f["method"])))
    if f.get("reference"):
        facts.append((w("reference"), f["reference"]))
    if f.get("credits"):
        facts.append((w("credits"), formats.number(f["credits"], locale)))
    paid = shown(f["amount"])
    return {"lines": lines, "facts": facts, "total": (w("paid"), paid), "paid": paid,
            "amount": paid, "date": _day(f["paid_at"], locale)}  # fmt: skip


def _refund(w: Any, locale: str, f: Facts) -> dict[str, Any]:
    back = formats.amount(f["amount"], f["currency"], locale)
    paid = formats.amount(f["paid"], f["currency"], locale)
    return {"amount": back, "lines": [(w("paid"), paid)], "total": (w("refunded"), back),
            "facts": [(w("date"), _day(f["at"], locale)), (w("number"), f["number"])]}  # fmt: skip


def _failed(w: Any, locale: str, f: Facts) -> dict[str, Any]:
    facts = [(w("date"), _day(f["at"], locale)), (w("payment"), f["number"])]
    if f.get("error_code") in ("card_declined", "insufficient_funds", "expired_card"):
        facts.insert(0, (w("reason"), w(f["error_code"])))
    return {"amount": formats.amount(f["amount"], f["currency"], locale), "facts": facts}


def _low(w: Any, locale: str, f: Facts) -> dict[str, Any]:
    return {"balance": formats.number(f["balance"], locale)}


def _expiring(w: Any, locale: str, f: Facts) -> dict[str, Any]:
    return {"credits": formats.number(f["credits"], locale), "date": _day(f["on"], locale)}


def _dispute(w: Any, locale: str, f: Facts) -> dict[str, Any]:
    amount = formats.amount(f["amount"], f["currency"], locale)
    facts = [(w("amount"), amount), (w("customer"), f["customer"]), (w("payment"), f["number"])]
    if f.get("reason"):
        facts.append((w("reason"), f["reason"]))
    if f.get("due_at"):
        facts.append((w("due"), _day(f["due_at"], locale)))
    return {"amount": amount, "customer": f["customer"], "facts": facts,
            "payment_url": f"{f['base_url']}/dashboard/payments/{f['number']}"}  # fmt: skip


def _disabled(w: Any, locale: str, f: Facts) -> dict[str, Any]:
    return {
        "reason": f["reason"], "days": formats.number(f["days"], locale),
        "host": urlsplit(f["url"]).hostname or "", "facts": [(w("address"), f["url"])],
    }  # fmt: skip


_SHOWN = {
    "receipt": _receipt, "refund": _refund, "payment_failed": _failed, "credits_low": _low,
    "credits_expiring": _expiring, "dispute_opened": _dispute, "endpoint_disabled": _disabled,
}  # fmt: skip


def _people(w: Any, facts: Facts) -> list[tuple[str, str]]:
    who = facts.get("name") or facts.get("email")
    return [(w("customer"), who)] if who else []


def _method(w: Any, method: str) -> str:
    return w(method) if words.known(method) else method.replace("_", " ").capitalize()


def _day(text: str, locale: str) -> str:
    if len(text) == 10:
        return formats.day(date.fromisoformat(text), locale)
    return formats.day(datetime.fromisoformat(text), locale)


def _texts(shown: Mapping[str, Any]) -> dict[str, str]:
    return {name: value for name, value in shown.items() if isinstance(value, str)}


def _line(text: str) -> str:
    """One line: what a header or a greeting may hold."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:300]


# Templates --------------------------------------------------------------------------------------


@functools.cache
def _environment(mode: str) -> Environment:
    return Environment(
        loader=PackageLoader("paydesk.notify"), autoescape=mode == "html",
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
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
