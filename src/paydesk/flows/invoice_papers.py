"""Invoices and credit notes as documents: what they show, gathered from the records, and as PDF."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from paydesk import ids
from paydesk.env import Env
from paydesk.errors import InvalidRequest, NotFound
from paydesk.flows import customers, invoice_numbers, invoice_views
from paydesk.flows.credit_notes import NoteView
from paydesk.flows.invoice_views import InvoiceView, ItemView
from paydesk.notify import brand, invoices, words
from paydesk.rules.invoices import MADE
from paydesk.rules.money import Money


def numbered(env: Env, one: InvoiceView) -> InvoiceView:
    """The invoice with its number, drawn now where it has none. A draft has none, and those of the
    provider are the provider's."""
    if one.number is not None or one.status == "draft" or one.runner != "paydesk":
        return one
    return replace(one, number=invoice_numbers.number(env, one.customer_id, one.id))


def invoice_facts(env: Env, one: InvoiceView) -> dict[str, Any]:
    """What the document shows: JSON values, amounts in minor units, days of the business."""
    plain = ("number", "status", "currency", "memo", "buyer")
    money = ("subtotal", "total", "balance", "paid", "credited", "remaining")
    return {
        **{name: getattr(one, name) for name in plain},
        **{name: getattr(one, name).minor for name in money},
        "finalized_at": _day(env, one.finalized_at), "due_at": _day(env, one.due_at),
        "paid_at": _day(env, one.paid_at),
        "period": _span(env, one.period_start, one.period_end),
        "lines": [_line(env, item) for item in one.items if item.kind not in MADE],
        "discounts": _discounts(one.items), "taxes": [_tax(i) for i in one.items if i.tax],
        "livemode": env.settings.live,
        # A draft has nobody's yet: it is finalized with those of its day.
        "seller": one.seller or invoice_views.seller(env.settings),
    }  # fmt: skip


def _line(env: Env, one: ItemView) -> dict[str, Any]:
    unit = one.unit if one.unit is not None or one.quantity != 1 else one.amount
    if unit is None and one.kind in ("one_off", "adjustment"):
        each, rest = divmod(one.amount.minor, one.quantity)
        unit = None if rest else Money(each, one.amount.currency, minor=True)
    # A unit price that does not make up the amount, as of a part of a period, is left out.
    if unit is not None and unit.minor * one.quantity != one.amount.minor:
        unit = None
    return {
        "kind": one.kind, "description": one.description, "quantity": one.quantity,
        "unit": unit.minor if unit is not None else None, "amount": one.amount.minor,
        "period": _span(env, one.period_start, one.period_end),
    }  # fmt: skip


def _discounts(items: list[ItemView]) -> list[dict[str, Any]]:
    """What each discount takes off in all."""
    sums: dict[str, int] = {}
    for one in items:
        if one.kind == "discount":
            sums[one.description] = sums.get(one.description, 0) - one.amount.minor
    return [{"name": name, "amount": amount} for name, amount in sums.items()]


def _tax(one: ItemView) -> dict[str, Any]:
    return {
        "name": one.description, "micros": one.why["rate_micros"],
        "inclusive": one.why["inclusive"], "amount": one.why["tax_minor"],
    }  # fmt: skip


def invoice_pdf(env: Env, one: InvoiceView, locale: str | None = None) -> tuple[str, bytes]:
    """(File name, PDF), never without a number. Raises NotFound for a draft, or one that the
    provider writes."""
    if one.status == "draft" or one.runner != "paydesk":
        raise NotFound("There is no document of this invoice here.")
    one = numbered(env, one)
    language = language_of(env, one.customer_id, locale)
    paper = invoices.invoice(language, invoice_facts(env, one))
    name = one.number or ids.show("invoice", one.id)
    return f"{name}.pdf", _pdf(env, language, paper)


def note_pdf(env: Env, one: NoteView, locale: str | None = None) -> tuple[str, bytes]:
    """(File name, PDF) of a credit note, never without a number."""
    if one.number is None:
        drawn = invoice_numbers.number(env, one.customer_id, one.id, invoice_numbers.NOTES)
        one = replace(one, number=drawn)
    language = language_of(env, one.customer_id, locale)
    name = one.number or ids.show("credit_note", one.id)
    return f"{name}.pdf", _pdf(env, language, invoices.note(language, note_facts(env, one)))


def note_facts(env: Env, one: NoteView) -> dict[str, Any]:
    """What a credit note's document shows, as `invoice_facts`."""
    of = numbered(env, invoice_views.get(env, one.customer_id, one.invoice_id))
    money = ("amount", "tax", "refunded", "balance", "written_off")
    kinds = {str(item.id): item.kind for item in of.items}
    return {
        **{name: getattr(one, name).minor for name in money},
        "currency": one.amount.currency, "number": one.number, "invoice_number": of.number,
        "created_at": _day(env, one.created_at), "reason": one.reason, "memo": one.memo,
        "status": one.status, "seller": of.seller, "buyer": of.buyer,
        "lines": [{**line, "kind": kinds.get(line.get("item", ""))} for line in one.items],
        "livemode": env.settings.live,
    }  # fmt: skip


def _pdf(env: Env, language: str, paper: invoices.Paper) -> bytes:
    told = env.settings
    return invoices.pdf(
        language, paper, color=brand.color(told.brand_color), base_url=told.base_url,
        contact=told.business_email or None, logo=brand.logo(told),
    )  # fmt: skip


def language_of(env: Env, customer_id: UUID, locale: str | None) -> str:
    """The language that is asked for, else the customer's. Raises InvalidRequest."""
    if locale is not None:
        if locale not in words.LOCALES:
            raise InvalidRequest(f"locale is one of {', '.join(words.LOCALES)}.", param="locale")
        return locale
    customer = customers.get(env, customer_id)
    return words.locale_of(customer.metadata.get("locale"), env.settings.default_locale)


def _span(env: Env, start: datetime | None, end: datetime | None) -> list[str] | None:
    told = [_day(env, start), _day(env, end)]
    return [one for one in told if one] if all(told) else None


def _day(env: Env, at: datetime | None) -> str | None:
    """The instant in the business's time zone, whose days its documents have."""
    return at.astimezone(ZoneInfo(env.settings.time_zone)).isoformat() if at else None
