"""Amounts, numbers and dates as people of a language write them; exact, from whole numbers."""

from __future__ import annotations

import copy
import re
from datetime import date, datetime
from decimal import Decimal

from babel import Locale, dates, numbers

from paydesk.rules import money

#: Babel's Haitian Creole has French months.
_MONTHS_HT = ("janvye", "fevriye", "mas", "avril", "me", "jen", "jiyè", "out", "septanm", "oktòb",
              "novanm", "desanm")  # fmt: skip
_NO_BREAK = "\u00a0"


def amount(minor: int, currency: str, locale: str) -> str:
    """`$1,234.50`, `1 234,50 $US`, `1 234,50 G`: always with the currency's ISO digits, below
    zero with a true minus sign."""
    pattern = copy.copy(Locale.parse(locale).currency_formats["standard"])
    digits = money.exponent(currency)
    pattern.frac_prec = (digits, digits)
    text = pattern.apply(
        Decimal(money.format_minor(minor, currency)), locale, currency=currency.upper(),
        currency_digits=False,
    )  # fmt: skip
    return re.sub(r"([A-Z]{3})(?=\d)", rf"\1{_NO_BREAK}", text).replace("-", "−")


def number(value: int, locale: str) -> str:
    return numbers.format_decimal(value, locale=locale)


def day_of(text: str, locale: str) -> str:
    """The day of an RFC 3339 date or instant."""
    read = date.fromisoformat if len(text) == 10 else datetime.fromisoformat
    return day(read(text), locale)


def day(at: datetime | date, locale: str) -> str:
    """`November 21, 2026`, `21 novembre 2026`, `21 novanm 2026`; an instant's in its own zone."""
    on = at.date() if isinstance(at, datetime) else at
    if locale == "ht":
        return f"{on.day} {_MONTHS_HT[on.month - 1]} {on.year}"
    return dates.format_date(on, "long", locale=locale)
