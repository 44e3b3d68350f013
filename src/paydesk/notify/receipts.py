"""What a receipt says: lines, sums, what was paid and given back; and its PDF."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

from paydesk.notify import brand, formats, words

Facts = Mapping[str, Any]
Row = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was bought, in words; `detail` says more of it or is empty."""

    description: str
    detail: str
    quantity: str
    unit: str
    amount: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt in a language. `sums` lead from the lines to `total`; `after` are the payment and
    what was given back of it, empty where the total was paid and kept."""

    number: str
    paid: str
    day: str
    lines: list[Line]
    sums: list[Row]
    total: Row
    after: list[Row]
    facts: list[Row]


def receipt(locale: str, facts: Facts) -> Receipt:
    """The receipt that these facts call for (JSON values: amounts in minor units)."""
    w = partial(words.say, locale)
    shown = partial(formats.amount, currency=facts["currency"], locale=locale)
    paid, day = facts["paid"], formats.day_of(facts["paid_at"], locale)
    lines = _lines(locale, facts)
    refunds = [
        (w("refunded_on", date=formats.day_of(one["at"], locale)), shown(-one["amount"]))
        for one in facts.get("refunds", ())
    ]
    after = [(w("paid"), shown(paid))] if refunds or paid != facts["total"] else []
    if refunds:
        left = paid - sum(one["amount"] for one in facts["refunds"])
        after += [*refunds, (w("after_refunds"), shown(left))]
    return Receipt(
        number=facts["number"], paid=shown(paid), day=day, lines=lines,
        sums=_sums(w, shown, facts), total=(w("total" if after else "paid"), shown(facts["total"])),
        after=after, facts=_facts(locale, facts, day),
    )  # fmt: skip


def _lines(locale: str, facts: Facts) -> list[Line]:
    shown = partial(formats.amount, currency=facts["currency"], locale=locale)
    found = []
    for one in facts["lines"]:
        name, detail = one["description"] or _name(locale, one), _detail(locale, one)
        found.append(Line(
            name, "" if detail == name else detail, formats.number(one["quantity"], locale),
            shown(one["unit"]), shown(one["unit"] * one["quantity"]),
        ))  # fmt: skip
    return found


def _name(locale: str, line: Mapping[str, Any]) -> str:
    """What a line is where the application gave it no name."""
    if line.get("credits"):
        return credits(locale, line["credits"])
    if "invoice" in line:
        return f"{words.say(locale, 'invoice')} {line['invoice'] or ''}".rstrip()
    return words.say(locale, "wallet_item" if line.get("is_wallet") else "payment")


def _detail(locale: str, line: Mapping[str, Any]) -> str:
    """What the line brought, beyond its name."""
    if line.get("credits"):
        return credits(locale, line["credits"])
    if about := line.get("about"):
        span = [formats.day_of(one, locale) for one in about["period"] or ()]
        told = [words.say(locale, "span", start=span[0], end=span[1])] if span else []
        return ", ".join([*about["names"], *told])
    if months := line.get("months"):
        key = words.counted(locale, "months", months)
        return words.say(locale, key, months=formats.number(months, locale))
    return ""


def credits(locale: str, count: int) -> str:
    """`150 credits`, `1 credit`."""
    key = words.counted(locale, "credits_item", count)
    return words.say(locale, key, credits=formats.number(count, locale))


def _sums(w: Any, shown: Any, facts: Facts) -> list[Row]:
    """From the lines to the total, where they differ: rules of the price, then the code."""
    full = sum(one["unit"] * one["quantity"] for one in facts["lines"])
    rules, off = facts["price"] - full, facts["price"] - facts["total"]
    if not rules and not off:
        return [] if len(facts["lines"]) == 1 else [(w("subtotal"), shown(full))]
    rows = [(w("subtotal"), shown(full))]
    if rules:
        rows.append((w("price_rules"), shown(rules)))
    if off:
        code = facts.get("promo")
        rows.append((w("discount_code", code=code) if code else w("discount"), shown(-off)))
    return rows


def _facts(locale: str, facts: Facts, day: str) -> list[Row]:
    w = partial(words.say, locale)
    rows = [(w("number"), facts["number"]), (w("date"), day)]
    if way := method(locale, facts):
        rows.append((w("method"), way))
    if facts.get("reference"):
        rows.append((w("reference"), facts["reference"]))
    return rows


def method(locale: str, facts: Facts) -> str:
    """`Visa •••• 4242`, `Apple Pay (Visa •••• 4242)`, `Cash`; empty where nothing is known."""
    card = facts.get("card") or {}
    name = words.name_of(locale, card.get("brand") or facts.get("method") or "")
    if card.get("last4"):
        name = f"{name} •••• {card['last4']}"
    wallet = card.get("wallet")
    return f"{words.name_of(locale, wallet)} ({name})" if wallet else name


# The page ----------------------------------------------------------------------------------------


def pdf(locale: str, facts: Facts, logo: brand.Logo | None = None) -> bytes:
    """The receipt on A4, on as many pages as it takes; the same facts give the same pages."""
    import typst

    w = partial(words.say, locale)
    one = receipt(locale, facts)
    told = {
        "title": w("receipt"), "locale": locale, "color": facts.get("color") or brand.COLOR,
        "business": facts["business"], "logo": list(logo.content) if logo else None,
        "address": _business(w, facts), "customer": [w("billed_to"), *_customer(facts)],
        "facts": one.facts, "headline": w("paid_on", amount=one.paid, date=one.day),
        "heads": [w("description"), w("quantity"), w("unit_price"), w("amount")],
        "lines": [[x.description, x.detail, x.quantity, x.unit, x.amount] for x in one.lines],
        "sums": one.sums, "total": one.total, "after": one.after,
        "note": None if facts["livemode"] else w("test"),
        "footer": _footer(w, facts), "page": w("page", page="{page}", pages="{pages}"),
    }  # fmt: skip
    return typst.compile(
        (files("paydesk.notify") / "templates" / "receipt.typ").read_bytes(),
        font_paths=fonts(), format="pdf",
        sys_inputs={"facts": json.dumps(told, ensure_ascii=False)},
    )  # fmt: skip


def _business(w: Any, facts: Facts) -> list[str]:
    tax = facts.get("tax_id")
    rows = [*facts.get("address", ()), facts.get("contact")]
    return [one for one in rows if one] + ([w("tax_id", number=tax)] if tax else [])


def _customer(facts: Facts) -> list[str]:
    return [one for one in (facts.get("name"), facts.get("email")) if one]


def _footer(w: Any, facts: Facts) -> str:
    about = f"{facts['business']} · {facts['base_url']}"
    contact = facts.get("contact")
    return f"{about}\n{w('questions', contact=contact)}" if contact else about


@functools.cache
def fonts() -> Any:
    """Our typefaces, then the machine's; read once."""
    import typst

    return typst.Fonts(font_paths=[str(files("paydesk.notify") / "fonts")])
