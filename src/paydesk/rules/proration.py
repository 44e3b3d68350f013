"""Proration: what a change of plan within a period costs and gives back, line by line."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from uuid import UUID

from paydesk.errors import InvalidRequest
from paydesk.rules.money import divide_half_up
from paydesk.rules.periods import time_zone

#: How the rest of a period counts: to the second (as Stripe and Polar do it), by whole days of
#: the billing zone (as Lago and Kill Bill do it), not at all, or as if it were whole.
POLICIES = ("seconds", "days", "none", "full")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_MICROS = 1_000_000
#: Mean days of a unit in the Gregorian calendar, whose 400 years have 146097 days.
_DAYS = {
    "day": Fraction(1), "week": Fraction(7), "month": Fraction(146097, 4800),
    "year": Fraction(146097, 400),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Discount:
    """What a promo code takes off each charge: `percent_micros` millionths of it (0 to 1000000;
    12.5 % are 125000), or `minor` a period, of which a part of a period takes the same part."""

    percent_micros: int = 0
    minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A plan as it is left, or as it is moved to. Amounts are minor units of one currency.

    Both sides: `plan` names it in lines and in `why`, `unit_minor` is its price of one unit for
    a whole period and `quantity` the units; `period` is the whole running period (start, end),
    of a short first period of calendar billing the whole one that it is a part of.

    Of the old side the charge matters that pays for the running time: `paid_minor` is what was
    really charged by it, after discounts and before tax that comes on top (0 while it is unpaid
    or in a trial), `credited_minor` what was credited or refunded of that before, `since` when
    it began (None: with the period) and `item` its id, which the credit names. `credits_given`
    are the membership credits that it has given so far, `credits_left` those of them that are
    unspent, and `credits_total` all that it gives in its time (None: what it has given). After a
    change that had no charge (policy none) it is still the charge before that pays.

    Of the new side: `discount` comes off its charge (give the old one's to carry it on), and
    `credits_given` are the credits of one whole allotment, whose running time is `allotment`
    (None: the period).
    """

    plan: str
    unit_minor: int
    period: tuple[datetime, datetime]
    quantity: int = 1
    paid_minor: int = 0
    credited_minor: int = 0
    since: datetime | None = None
    item: UUID | None = None
    credits_given: int = 0
    credits_left: int = 0
    credits_total: int | None = None
    allotment: tuple[datetime, datetime] | None = None
    discount: Discount | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of an invoice.

    `kind` is proration_credit, proration_charge, recurring (the whole new period when the cycle
    restarts) or discount. `amount_minor` adds to the total: credits and discounts are below
    zero. `description_key` is unused_time, remaining_time, new_period or discount. `of`: the id
    of the item that a credit takes back, or the index in `lines` of what a discount comes off.
    `why`: inputs, rule and rounding, as JSON.
    """

    kind: str
    amount_minor: int
    description_key: str
    plan: str
    quantity: int
    unit_minor: int
    period: tuple[datetime, datetime]
    of: UUID | int | None = None
    why: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """`net_minor` is the sum of the lines: above zero to be paid, below zero to be given back.

    `credits_back` membership credits are taken from what is left of the old side's, and
    `credits_given` are given for the rest of the running allotment of the new one.
    """

    lines: tuple[Line, ...]
    credits_back: int
    credits_given: int
    net_minor: int


@dataclass(frozen=True, slots=True)
class Unused:
    """What is left of a charge: money to give back, credits to take back, and why."""

    amount_minor: int
    credits_back: int
    why: dict[str, Any]


def share(start: datetime, end: datetime, at: datetime, policy: str, zone: str = "UTC") -> Fraction:
    """The part of the period [start, end) that is left at `at`, from 0 to 1.

    seconds: whole seconds left of whole seconds (fractions of a second are cut off each
    instant). days: dates of `zone` from that of `at` on, of the dates from start to end: the
    day of the change counts as left. none: 0. full: 1 as long as the period runs, else 0.
    Raises InvalidRequest for an unknown policy or zone, ValueError where end is not after start.
    """
    if end <= start:
        raise ValueError("a period ends after its start")
    left, whole, _ = _measure(start, end, at, policy, zone)
    return Fraction(left, whole)


def _measure(
    start: datetime, end: datetime, at: datetime, policy: str, zone: str
) -> tuple[int, int, str]:
    """(left, whole, unit) of the period at `at`; the whole is above zero."""
    if policy not in POLICIES:
        raise InvalidRequest(
            f"{policy!r} is no proration: use one of {', '.join(POLICIES)}.", param="proration"
        )
    at = min(max(at, start), end)
    if policy == "none":
        return 0, 1, "period"
    if policy == "full":
        return int(at < end), 1, "period"
    if policy == "days":
        first, last, day = (_date(one, zone) for one in (start, end, at))
        # A period within one date counts as that one day until it ends.
        return (last - day, last - first, "day") if last > first else (int(at < end), 1, "day")
    first, last, second = (_seconds(one) for one in (start, end, at))
    return (last - second, last - first, "second") if last > first else (int(at < end), 1, "second")


def _seconds(at: datetime) -> int:
    return (at - _EPOCH) // _SECOND


def _date(at: datetime, zone: str) -> int:
    return at.astimezone(time_zone(zone)).toordinal()


def portion(amount_minor: int, part: Fraction) -> int:
    """`part` of an amount, rounded half up to the minor unit (away from zero, either sign)."""
    return divide_half_up(amount_minor * part.numerator, part.denominator)


def unused(old: Side, at: datetime, *, policy: str, zone: str = "UTC") -> Unused:
    """What is left of the old side's charge at `at`: for a change, or a refund at cancellation.

    Without credits: `paid_minor` times the part of its time that is left, half up. With credits
    it is the lesser of two parts, the time left and the credits unspent; money of it is given
    back, rounded down, and the same part of the credits is taken back, rounded up, of which
    those that were not given yet count first. So neither used credits nor used time are paid
    back, and `credits_back` is never above `credits_left`.

    Never above what was paid and not credited before. Errors as `share`.
    """
    start, end = old.since or old.period[0], old.period[1]
    left, whole, unit = _measure(start, max(end, start + _SECOND), at, policy, zone)
    part = Fraction(left, whole)
    why: dict[str, Any] = {
        "rule": "unused", "policy": policy, "at": at.isoformat(), "paid_minor": old.paid_minor,
        "credited_minor": old.credited_minor, "left": left, "whole": whole, "unit": unit,
        "rounding": "half_up",
    }  # fmt: skip
    total = old.credits_given if old.credits_total is None else old.credits_total
    if total > 0:
        later = max(0, total - old.credits_given)
        unspent = Fraction(later + min(old.credits_left, old.credits_given), total)
        limit = "credits" if unspent < part else "time"
        part = min(part, unspent)
        back = max(0, -(-part.numerator * total // part.denominator) - later)
        amount = old.paid_minor * part.numerator // part.denominator
        why |= {"rounding": "down", "credits_total": total, "credits_later": later,
                "credits_left": old.credits_left, "credits_back": back,
                "limit": limit}  # fmt: skip
    else:
        back = 0
        amount = portion(old.paid_minor, part)
    return Unused(max(0, min(amount, old.paid_minor - old.credited_minor)), back, why)


def change(
    old: Side,
    new: Side,
    at: datetime,
    *,
    policy: str,
    zone: str = "UTC",
    restart: bool = False,
    fresh_period: tuple[datetime, datetime] | None = None,
    fresh_whole: tuple[datetime, datetime] | None = None,
) -> Result:
    """What moving from `old` to `new` at `at` costs and gives back.

    Lines, in this order: the credit of what is `unused` of the old charge (none where nothing
    of it was paid, or with policy none); the charge of the new price for the rest of the period;
    the discount that comes off it. Each is rounded half up by itself, so that the lines add up
    to `net_minor`. Tax is not in it: the invoice adds it to charges and takes it from credits.

    `restart`: the cycle begins anew at `at`, as it does when the interval changes: the whole new
    price for `fresh_period`, whatever the policy, which then is about the credit alone. Where that
    is the short first one of calendar billing, `fresh_whole` is the whole one that it is a part of,
    and it costs that part: by days with policy days, else by seconds. `allotment` is then the time
    of its credits where it has only a part of that. Without a restart policy none has no line and
    moves no credits until the next period.

    I24: a change and the change back at the same instant add up to zero within one unit a line,
    where the old charge was paid at the price and discount that the way back charges, and both
    take the same policy other than none.

    Credits (S4.25): let a charge c give g credits. After any sequence of changes and use, for
    each charge: (credits kept + credits used) * c <= g * (c - what was credited of it). The value
    received in credits, at the price that was paid for them, never exceeds the net paid; the time
    that the plan ran comes on top of it. The new side is given credits in the part that is
    charged, rounded down: at the plan's price they exceed the charge by less than one unit.

    Raises ValueError for `restart` without `fresh_period`; other errors as `share`.
    """
    lines: list[Line] = []
    rest = unused(old, at, policy=policy, zone=zone)
    if policy != "none" and old.paid_minor > old.credited_minor:
        lines.append(
            Line("proration_credit", -rest.amount_minor, "unused_time", old.plan, old.quantity,
                 old.unit_minor, (min(at, old.period[1]), old.period[1]), old.item, rest.why)
        )  # fmt: skip
    given = 0
    if restart:
        if fresh_period is None:
            raise ValueError("a cycle that restarts has a fresh period")
        by, start = "days" if policy == "days" else "seconds", fresh_period[0]
        measure = _measure(*fresh_whole, start, by, zone) if fresh_whole else (1, 1, "whole")
        lines += _charge(new, len(lines), fresh_period, *measure, "recurring", "new_period",
                         by if fresh_whole else "whole")  # fmt: skip
        is_part = fresh_whole is not None and new.allotment is not None
        given = _allotted(new, start, by, zone) if is_part else new.credits_given
    elif policy != "none":
        start, end = new.period
        measure = _measure(start, end, at, policy, zone)
        span = (min(max(at, start), end), end)
        lines += _charge(
            new, len(lines), span, *measure, "proration_charge", "remaining_time", policy
        )
        given = _allotted(new, at, policy, zone)
    net = sum(line.amount_minor for line in lines)
    return Result(tuple(lines), rest.credits_back, given, net)


def opening(side: Side, start: datetime, *, policy: str, zone: str = "UTC") -> Result:
    """The first charge of calendar billing: `start` lies within the period that it is a part of.

    `side.period` is that whole period; the rest of it from `start` is charged, and the credits
    of the running allotment are given in the same part. With policy none it is free, with full
    it costs as much as a whole one. Errors as `share`.
    """
    first, end = side.period
    measure = _measure(first, end, start, policy, zone)
    lines = _charge(side, 0, (start, end), *measure, "recurring", "first_period", policy)
    given = _allotted(side, start, policy, zone)
    return Result(tuple(lines), 0, given, sum(line.amount_minor for line in lines))


def _allotted(side: Side, at: datetime, policy: str, zone: str) -> int:
    """Credits of the running allotment for the part of it that is left, rounded down."""
    start, end = side.allotment or side.period
    part = share(start, end, at, policy, zone)
    return side.credits_given * part.numerator // part.denominator


def _charge(
    side: Side, index: int, span: tuple[datetime, datetime], left: int, whole: int, unit: str,
    kind: str, key: str, policy: str = "whole",
) -> list[Line]:  # fmt: skip
    """The charge for a part of a period, and its discount; `index` is the charge's own."""
    part = Fraction(left, whole)
    price = side.unit_minor * side.quantity
    amount = portion(price, part)
    why = {"rule": key, "policy": policy, "at": span[0].isoformat(), "price_minor": price,
           "left": left, "whole": whole, "unit": unit, "rounding": "half_up"}  # fmt: skip
    lines = [Line(kind, amount, key, side.plan, side.quantity, side.unit_minor, span, None, why)]
    off, inputs = _discount(side.discount, amount, part)
    if off:
        lines.append(Line("discount", -off, "discount", side.plan, 1, -off, span, index, inputs))
    return lines


def _discount(of: Discount | None, amount: int, part: Fraction) -> tuple[int, dict[str, Any]]:
    """What comes off a charge of `amount` for `part` of a period, never more than it."""
    if of is None:
        return 0, {}
    why = {"rule": "discount", "of_minor": amount, "rounding": "half_up"}
    percent = portion(amount, Fraction(of.percent_micros, _MICROS))
    fixed = portion(of.minor, part)
    if of.percent_micros:
        return min(percent, amount), why | {"percent_micros": of.percent_micros}
    return min(fixed, amount), why | {"minor": of.minor, "left": part.numerator,
                                      "whole": part.denominator}  # fmt: skip


def is_upgrade(
    old_minor: int, old_interval: tuple[str, int], new_minor: int, new_interval: tuple[str, int]
) -> bool:
    """Whether the new price of a day is the old one's or more; prices are of a whole interval.

    An interval is (unit, count); months and years count their mean length (146097 days in 400
    years), so that 20 a month is less than 300 a year. Quantities are in the prices.
    """
    old_days, new_days = (_DAYS[unit] * count for unit, count in (old_interval, new_interval))
    return new_minor * old_days >= old_minor * new_days


def describe(line: Line) -> str:
    """The line in English, for the invoice: "Unused time on 3 × Pro"."""
    many = f"{line.quantity} × {line.plan}" if line.quantity > 1 else line.plan
    return {
        "unused_time": f"Unused time on {many}", "remaining_time": f"Remaining time on {many}",
        "new_period": many, "first_period": many, "discount": f"Discount on {line.plan}",
    }[line.description_key]  # fmt: skip
