"""What an invoice or a credit note says, in a language; and its PDF."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

from paydesk.notify import brand, countries, formats, receipts, words

Facts = Mapping[str, Any]
Row = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Paper:
    """A document in a language. `lines` are (description, detail, quantity, unit price, amount);
    `sums` lead from them to `total`, `after` from there to what is due, or says what of it went
    where; `ends` is whether its last row is a sum."""

    title: str
    headline: str
    facts: list[Row]
    seller: list[str]
    buyer: list[str]
    heads: list[str]
    lines: list[tuple[str, str, str, str, str]]
    sums: list[Row]
    total: Row
    after: list[Row]
    memo: str | None
    test: str | None
    ends: bool = True


def invoice(locale: str, facts: Facts) -> Paper:
    """The invoice that these facts call for (JSON values: amounts in minor units)."""
    w = partial(words.say, locale)
    shown = partial(formats.amount, currency=facts["currency"], locale=locale)
    rows = [(w("invoice_number"), facts["number"] or "—")]
    if facts["finalized_at"]:
        rows.append((w("issued"), formats.day_of(facts["finalized_at"], locale)))
    if facts["status"] in ("open", "uncollectible"):
        rows.append((w("due_date"), formats.day_of(facts["due_at"], locale)))
    elif facts["status"] == "paid":
        rows.append((w("paid_date"), formats.day_of(facts["paid_at"], locale)))
    if facts["period"]:
        rows.append((w("period"), _span(locale, facts["period"])))
    return Paper(
        title=w("invoice"), headline=_headline(locale, facts), facts=rows,
        **_parties(locale, facts), heads=_heads(locale), lines=_lines(locale, facts),
        sums=_sums(locale, facts), total=(w("total"), shown(facts["total"])),
        after=_after(locale, facts), memo=facts["memo"],
        test=None if facts["livemode"] else w("test"),
    )  # fmt: skip


def _headline(locale: str, facts: Facts) -> str:
    w = partial(words.say, locale)
    shown = partial(formats.amount, currency=facts["currency"], locale=locale)
    if facts["status"] == "draft":
        return w("not_issued")
    if facts["status"] == "void":
        return w("voided")
    if facts["status"] == "paid" and facts["paid"]:
        day = formats.day_of(facts["paid_at"], locale)
        return w("paid_on", amount=shown(facts["paid"]), date=day)
    if not facts["remaining"]:
        return w("nothing_due")
    day = formats.day_of(facts["due_at"], locale)
    return w("due_on", amount=shown(facts["remaining"]), date=day)


def _parties(locale: str, facts: Facts) -> dict[str, list[str]]:
    w = partial(words.say, locale)
    seller, buyer = facts["seller"], facts["buyer"]

    def rows(who: Mapping[str, Any]) -> list[str]:
        tax = who.get("tax_id")
        country = countries.name(who["country"], locale) if who.get("country") else None
        told = [*brand.lines(who.get("address") or ""), country, who.get("email")]
        return [one for one in told if one] + ([w("tax_id", number=tax)] if tax else [])

    named = [one for one in (buyer.get("name"),) if one]
    return {"seller": [seller["name"], *rows(seller)], "buyer": [*named, *rows(buyer)]}


def _heads(locale: str) -> list[str]:
    return [words.say(locale, key) for key in ("description", "quantity", "unit_price", "amount")]


def _lines(locale: str, facts: Facts) -> list[tuple[str, str, str, str, str]]:
    shown = partial(formats.amount, currency=facts["currency"], locale=locale)
    return [
        (
            described(locale, one["description"], one.get("kind")),
            _span(locale, one["period"]) if one["period"] else "",
            formats.number(one["quantity"], locale),
            shown(one["unit"]) if one["unit"] is not None else "",
            shown(one["amount"]),
        )
        for one in facts["lines"]
    ]


#: How lines that the desk writes by itself begin -> their words.
_OWN = {"Unused time on ": "line_unused", "Remaining time on ": "line_remaining",
        "Discount on ": "line_discount"}  # fmt: skip
#: Kinds of line whose text is a person's or a plan's name.
_NAMED = frozenset({"one_off", "adjustment", "recurring"})


def described(locale: str, text: str, kind: str | None = None) -> str:
    """A line's text; what the desk itself says of changes is said in the language. Without a
    `kind`, as in facts that were kept long ago, the text tells."""
    for start, key in _OWN.items() if kind not in _NAMED else ():
        if text.startswith(start):
            return words.say(locale, key, name=isolated(text.removeprefix(start)))
    return text


def _sums(locale: str, facts: Facts) -> list[Row]:
    w = partial(words.say, locale)
    shown = partial(formats.amount, currency=facts["currency"], locale=locale)
    rows = [(w("discount_code", code=isolated(one["name"])), shown(-one["amount"]))
            for one in facts["discounts"]]  # fmt: skip
    for tax in facts["taxes"]:
        told = {"name": isolated(tax["name"]), "percent": percent(tax["micros"], locale)}
        if tax["inclusive"]:
            rows.append((w("included", amount=shown(tax["amount"]), **told), ""))
        else:
            rows.append((w("tax_rate", **told), shown(tax["amount"])))
    return [(w("subtotal"), shown(facts["subtotal"])), *rows] if rows else []


def _after(locale: str, facts: Facts) -> list[Row]:
    """From the total to what is still due."""
    w = partial(words.say, locale)
    shown = partial(formats.amount, currency=facts["currency"], locale=locale)
    rows = []
    if facts["balance"]:
        key = "from_balance" if facts["balance"] > 0 else "to_balance"
        rows.append((w(key), shown(-facts["balance"])))
    # What was credited after it had been paid went back to the customer: nothing less was due.
    less = facts["total"] - facts["balance"] - facts["paid"] - facts["remaining"]
    if less > 0:
        rows.append((w("credited"), shown(-less)))
    if facts["paid"]:
        rows.append((w("paid"), shown(-facts["paid"])))
    return [*rows, (w("amount_due"), shown(facts["remaining"]))]


def note(locale: str, facts: Facts) -> Paper:
    """The credit note that these facts call for."""
    w = partial(words.say, locale)
    shown = partial(formats.amount, currency=facts["currency"], locale=locale)
    day = formats.day_of(facts["created_at"], locale)
    rows = [(w("note_number"), facts["number"] or "—"), (w("issued"), day),
            (w("invoice_number"), facts["invoice_number"] or "—")]  # fmt: skip
    if facts["reason"]:
        rows.append((w("reason"), _reason(locale, facts["reason"])))
    lines = [(described(locale, one["description"], one.get("kind")), "", "1",
              shown(one["amount"]), shown(one["amount"]))
             for one in facts["lines"]]  # fmt: skip
    if not lines:
        name = w("note_line", number=facts["invoice_number"] or "")
        lines = [(name.strip(), "", "1", shown(facts["amount"]), shown(facts["amount"]))]
    given = [(w(key), shown(facts[name])) for key, name in
             (("tax_in_it", "tax"), ("refunded", "refunded"), ("to_balance", "balance"),
              ("not_asked", "written_off")) if facts[name]]  # fmt: skip
    headline = w("note_void") if facts["status"] == "void" else w(
        "credited_on", amount=shown(facts["amount"]), date=day)  # fmt: skip
    return Paper(
        title=w("credit_note"), headline=headline, facts=rows, **_parties(locale, facts),
        heads=_heads(locale), lines=lines, memo=facts["memo"],
        sums=[], total=(w("total"), shown(facts["amount"])), after=given, ends=False,
        test=None if facts["livemode"] else w("test"),
    )  # fmt: skip


def _reason(locale: str, reason: str) -> str:
    """Why it was given, in words where we have them."""
    key = f"reason_{reason}"
    return words.say(locale, key) if key in words.WORDS else reason.replace("_", " ").capitalize()


def percent(micros: int, locale: str) -> str:
    """`20%`, `8.875%`: a share in millionths, exactly."""
    whole, rest = divmod(micros, 10_000)
    digits = f"{rest:04d}".rstrip("0")
    mark = "." if locale == "en" else ","
    text = f"{whole}{mark}{digits}" if digits else str(whole)
    return f"{text}%" if locale == "en" else f"{text}\u00a0%"


def isolated(name: str) -> str:
    """A name for a place beside other words: one that is written from right to left takes no
    figures of theirs with it."""
    is_right_to_left = any(unicodedata.bidirectional(one) in ("R", "AL") for one in name)
    return f"\u2068{name}\u2069" if is_right_to_left else name


def _span(locale: str, period: Sequence[str]) -> str:
    start, end = (formats.day_of(one, locale) for one in period)
    return words.say(locale, "span", start=start, end=end)


# The page ----------------------------------------------------------------------------------------


def pdf(locale: str, paper: Paper, *, color: str, base_url: str, contact: str | None,
        logo: brand.Logo | None = None) -> bytes:  # fmt: skip
    """The document on A4, on as many pages as it takes; the same paper gives the same pages."""
    import typst

    w = partial(words.say, locale)
    about = f"{paper.seller[0]} · {base_url}"
    questions = w("questions", contact=contact) if contact else ""
    footer = "\n".join(one for one in (about, questions) if one)
    told = {
        "title": paper.title, "locale": locale, "color": color, "business": paper.seller[0],
        "logo": list(logo.content) if logo else None, "address": paper.seller[1:],
        "customer": [w("billed_to"), *paper.buyer], "facts": paper.facts,
        "headline": paper.headline, "heads": paper.heads, "lines": paper.lines,
        "sums": paper.sums, "total": paper.total, "after": paper.after,
        "ends": paper.ends, "note": paper.test, "memo": paper.memo,
        "footer": footer, "page": w("page", page="{page}", pages="{pages}"),
    }  # fmt: skip
    return typst.compile(
        (files("paydesk.notify") / "templates" / "receipt.typ").read_bytes(),
        font_paths=receipts.fonts(), format="pdf",
        sys_inputs={"facts": json.dumps(told, ensure_ascii=False)},
    )  # fmt: skip
