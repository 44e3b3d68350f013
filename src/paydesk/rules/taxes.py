"""Tax rates: percentages in millionths, and which of those that hold is the one that counts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from paydesk.errors import InvalidRequest
from paydesk.rules.invoices import TaxRate

#: 100 percent.
MILLION = 1_000_000
#: One percent, and how many digits after the point a percentage may have.
_PERCENT, _DIGITS = 10_000, 4
_PLAIN = re.compile(r"[0-9]{1,3}(\.[0-9]{1,20})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate(TaxRate):
    """A rate as it was entered. `country` "": everywhere else; `product` "": everything else.

    It holds from `valid_from` until the next of its name, country and product begins; one that is
    not active counts as if it had never been entered.
    """

    country: str
    product: str
    valid_from: datetime | None
    active: bool = True
    created_by: str | None = None
    created_at: datetime | None = None

    @property
    def percent(self) -> str:
        return show(self.micros)


def parse(percent: object) -> int:
    """Millionths of a percentage, such as "8.875" or 19. Raises InvalidRequest."""
    if isinstance(percent, bool) or not isinstance(percent, str | int | Decimal):
        raise InvalidRequest('A percentage is a text such as "8.875".', param="percent")
    text = str(percent)
    micros = Decimal(text) * _PERCENT if _PLAIN.fullmatch(text) else Decimal(-1)
    if micros != int(micros) or not 0 <= micros <= MILLION:
        raise InvalidRequest(
            f"A percentage is 0 to 100, with at most {_DIGITS} digits after the point.",
            param="percent",
        )
    return int(micros)


def show(micros: int) -> str:
    """`8.875` of 88750."""
    whole, rest = divmod(micros, _PERCENT)
    return f"{whole}.{rest:0{_DIGITS}d}".rstrip("0").rstrip(".")


def country_code(text: object) -> str:
    """Two letters in upper case, or nothing for everywhere else. Raises InvalidRequest."""
    code = text.upper() if isinstance(text, str) else "?"
    if code and not (len(code) == 2 and code.isascii() and code.isalpha()):
        raise InvalidRequest("A country has two letters, such as DE.", param="country")
    return code


def chosen(held: Iterable[Rate], country: str, product: str) -> Sequence[Rate]:
    """Of rates that hold now, those of the first of these that has any: this product in this
    country, the country's for everything else, this product's everywhere else, the rest's."""
    rates = list(held)
    places = ((country, product), (country, ""), ("", product), ("", ""))
    for place in places:
        found = [one for one in rates if (one.country, one.product) == place]
        if found:
            return sorted(found, key=lambda one: one.name)
    return []
