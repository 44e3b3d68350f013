"""Why a line of an invoice is as it is: the rule's inputs as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from fractions import Fraction
from typing import Any

from paydesk.pages import look

#: Input -> what it is called. What is not here shows under its own name.
_LABELS = {
    "rule": "Rule", "quantity": "Quantity", "unit_minor": "Unit price",
    "plan_version": "Terms of the plan", "full_minor": "A whole period", "part": "Part of it",
    "whole_period": "The whole period", "policy": "Counted by", "at": "As of",
    "paid_minor": "Paid for the period", "credited_minor": "Credited of it before",
    "price_minor": "Price of a period", "rounding": "Rounding", "of_minor": "Of",
    "discount_minor": "Discount", "base_minor": "Base", "charge_minor": "Before the discount",
    "minor": "Discount of a whole period", "percent_micros": "Percent", "rate_micros": "Rate",
    "inclusive": "In the price", "tax_minor": "Tax", "credits_total": "Credits of the period",
    "credits_left": "Credits unspent", "credits_later": "Credits still to come",
    "credits_back": "Credits taken back", "limit": "Limited by", "promo": "Promo code",
}  # fmt: skip
_RULES = {
    "quantity x unit price": "quantity × unit price", "unused": "what is unused of what was paid",
    "remaining": "the rest of the period at the new price", "discount": "the promo code's share",
}  # fmt: skip
_ROUNDINGS = {"half_up": "half up", "down": "down", "line": "each line", "rate": "once per rate"}


def of_line(why: Mapping[str, Any], currency: str) -> list[tuple[str, str]]:
    """(what, how much) of every input, in the order in which they were written down."""
    rows: list[tuple[str, str]] = []
    for name, value in why.items():
        if name in ("left", "whole", "unit", "lines"):
            continue
        if isinstance(value, Mapping):
            rows += [(f"{look.words(name)}: {label}", text)
                     for label, text in of_line(value, currency)]  # fmt: skip
        elif value is not None:
            rows.append((_LABELS.get(name, look.words(name)), _shown(name, value, currency)))
    if "left" in why and "whole" in why:
        rows.append(("Time left", _share(why)))
    return rows


def _share(why: Mapping[str, Any]) -> str:
    left, whole = int(why["left"]), int(why["whole"])
    basis = whole and Fraction(left, whole) * 10_000
    percent = int(basis + Fraction(1, 2)) if whole else 0
    return (
        f"{look.count(left)} of {look.count(whole)} {why.get('unit', '')}".rstrip()
        + f", {percent // 100}.{percent % 100:02d}%"
    )


def _shown(name: str, value: Any, currency: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_minor") or name == "minor":
        return look.amount(int(value), currency)
    if name.endswith("_micros"):
        return percent(int(value))
    if name == "rule":
        return _RULES.get(str(value), str(value).replace("_", " "))
    if name == "rounding":
        return _ROUNDINGS.get(str(value), look.words(str(value)))
    if name == "plan_version":
        return f"version {value}"
    if name == "part" and isinstance(value, list) and len(value) == 2:
        return f"{look.count(value[0])} of {look.count(value[1])}"
    if isinstance(value, list):
        return " – ".join(_text(one) for one in value)
    return look.count(value) if isinstance(value, int) else _text(value)


def _text(value: Any) -> str:
    """An instant as a moment, anything else as it is."""
    try:
        return look.moment(datetime.fromisoformat(str(value)))
    except ValueError:
        return str(value)


def percent(micros: int) -> str:
    """`20%`, `8.875%` of millionths."""
    whole, rest = divmod(micros, 10_000)
    return f"{whole}.{rest:04d}".rstrip("0").rstrip(".") + "%"
