"""Recurring revenue: what a subscription brings in a month, and what a change of it is called.

Whole minor units. A month is the twelfth part of a year: a yearly price counts a twelfth, a week's
52 twelfths, a day's 365 twelfths, and what is paid for every n of them the n-th part of that. It is
rounded half up once, for each subscription as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paydesk.rules.money import divide_half_up

#: In these a subscription counts: what is tried again is not lost yet.
COUNTED = frozenset({"active", "past_due"})
#: How many of an interval a year has, in twelfths: (numerator, denominator).
PER_MONTH = {"year": (1, 12), "month": (1, 1), "week": (52, 12), "day": (365, 12)}
#: What a change of a customer's recurring revenue is called.
MOVEMENTS = ("new", "expansion", "contraction", "churned", "reactivation")

_MILLION = 1_000_000


def monthly(amount_minor: int, unit: str, count: int = 1) -> int:
    """What a price of every `count` units comes to in a month, rounded half up."""
    times, parts = PER_MONTH[unit]
    return divide_half_up(amount_minor * times, parts * count)


def lasting(discount: Mapping[str, Any] | None) -> bool:
    """Whether a subscription's code takes off the running period and is meant to go on: one for
    ever does, one for so many periods while it lasts, one for the first period does not."""
    if discount is None or not (discount.get("percent") or discount.get("minor")):
        return False
    if discount.get("left") is None:
        return True
    return discount.get("duration") == "repeating" and bool(discount.get("runs"))


def net(amount_minor: int, discount: Mapping[str, Any] | None) -> int:
    """What a period costs after a lasting discount, as its invoice takes it off."""
    if discount is None or not lasting(discount):
        return amount_minor
    if discount.get("percent"):
        off = divide_half_up(amount_minor * discount["percent"] * 10_000, _MILLION)
    else:
        off = discount["minor"]
    return amount_minor - min(off, amount_minor)


def movement(before: int, after: int, had: bool) -> str | None:
    """What it is when a customer's recurring revenue of a currency changes from one sum to another;
    None where it does not. `had`: there was some at any time before."""
    if before == after:
        return None
    if before == 0:
        return "reactivation" if had else "new"
    if after == 0:
        return "churned"
    return "expansion" if after > before else "contraction"
