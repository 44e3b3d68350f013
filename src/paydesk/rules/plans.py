"""The terms of a plan: what it costs in each currency, how often, and what it gives."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from uuid import UUID

from paydesk.errors import AmountNotChargeable, InvalidRequest
from paydesk.rules import access, fields
from paydesk.rules import dunning as schedules
from paydesk.rules.money import Money
from paydesk.rules.promo import charge_step, least_charge

KINDS = ("plan", "membership")
#: Units of an interval, and how many of each one period may have.
INTERVALS = {"day": 1_000, "week": 520, "month": 120, "year": 10}
#: How many make a year, where prices are compared.
_A_YEAR = {"day": 365, "week": 52, "month": 12, "year": 1}
MOST_TRIAL_DAYS = 730
BILLING = ("anniversary", "calendar")
ROLLOVER = ("none", "all", "capped")
#: How what is left of a period counts when a plan changes within it.
PRORATION = ("seconds", "days", "none", "full")
WHEN = ("now", "period_end")
MAX_GRANTS = 100
#: `19.00 USD`, and how often: `/month`, `/3 months`.
_PRICE = re.compile(
    r"(?P<amount>[0-9.]{1,40}) ?(?P<currency>[A-Za-z]{3})"
    r"(?: ?/ ?(?:(?P<count>[0-9]{1,4}) )?(?P<unit>day|week|month|year)s?)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What was agreed on; a version never changes.

    A period is `interval_count` units long. `prices`: of one seat for one period, by currency.
    `credits` are given each month of a period, and each period where that is shorter; what is
    left of them at the next giving is lost, kept, or kept up to `credits_cap`. `grants`: resources
    as {type, id}, open while the subscription runs and `grace_days` on. `upgrade` and `downgrade`
    say how the rest of a period counts, `upgrade_when` and `downgrade_when` when a change takes
    effect. `dunning` is {days, final, downgrade_to}: days after the first failure, and what is
    done when all have failed. `product`: what taxes know it by.
    """

    plan_id: UUID
    version: int
    interval_unit: str
    interval_count: int
    prices: Mapping[str, Money]
    billing: str
    trial_days: int
    trial_needs_method: bool
    grants: tuple[dict[str, Any], ...]
    credits: int
    credits_rollover: str
    credits_cap: int | None
    least_quantity: int
    most_quantity: int
    upgrade: str
    downgrade: str
    upgrade_when: str
    downgrade_when: str
    dunning: Mapping[str, Any]
    grace_days: int
    product: str

    @property
    def interval(self) -> str:
        """`month`, or `3 months`."""
        many = self.interval_count
        return self.interval_unit if many == 1 else f"{many} {self.interval_unit}s"

    def __repr__(self) -> str:
        return f"<Terms v{self.version} {self.price_words()}>"

    def price_words(self) -> str:
        """`USD 19.99 or EUR 18.99 a month`, `USD 50.00 every 3 months`."""
        each = " or ".join(str(one) for one in self.prices.values())
        return f"{each} {'a' if self.interval_count == 1 else 'every'} {self.interval}"


#: Columns that hold the terms, as `check` answers them.
COLUMNS = (
    "interval_unit", "interval_count", "prices", "billing", "trial_days", "trial_needs_method",
    "grants", "credits", "credits_rollover", "credits_cap", "least_quantity", "most_quantity",
    "upgrade", "downgrade", "upgrade_when", "downgrade_when", "dunning", "grace_days", "product",
)  # fmt: skip


def price(terms: Terms, currency: str | None, default: str | None = None) -> Money:
    """What one seat costs for one period. Without a currency the `default`'s price, or the only
    one there is. Raises InvalidRequest where the plan has no price in it."""
    if currency is None and default in terms.prices:
        currency = default
    if currency is None and len(terms.prices) == 1:
        return next(iter(terms.prices.values()))
    found = terms.prices.get(currency.lower()) if currency is not None else None
    if found is None:
        known = ", ".join(sorted(one.upper() for one in terms.prices))
        raise InvalidRequest(f"The plan is sold in {known}.", param="currency")
    return found


def total(terms: Terms, currency: str | None, quantity: int, default: str | None = None) -> Money:
    """What so many seats cost for one period. Raises InvalidRequest for a number of seats that is
    not sold."""
    seats = fields.whole(
        quantity, "quantity", least=terms.least_quantity, most=terms.most_quantity
    )
    each = price(terms, currency, default)
    return Money(each.minor * seats, each.currency, minor=True)


def plan_price(terms: Terms, default: str) -> Money:
    """The price that is shown where only one can be: in the default currency, or the first."""
    return terms.prices[default if default in terms.prices else min(terms.prices)]


def opens(terms: Terms, kind: str, name: str) -> bool:
    """Whether the plan gives access to a resource."""
    return any(
        one["type"] == access.PLATFORM
        or (one["type"] == kind and one["id"] in (name, access.ALL))
        for one in terms.grants
    )


def cost(terms: Terms, default: str) -> tuple[bool, Fraction]:
    """What plans are compared by: those of another currency last, then the price of a year."""
    price = plan_price(terms, default)
    year = price.minor * terms.least_quantity * _A_YEAR[terms.interval_unit]
    return price.currency != default, Fraction(year, terms.interval_count)


def again(terms: Terms, prices: Iterable[Money]) -> dict[str, Any]:
    """What makes `check` answer the same terms at other prices."""
    told = {name: getattr(terms, name) for name in COLUMNS}
    told["interval"] = told.pop("interval_unit")
    return {**told, "grants": list(terms.grants), "prices": list(prices)}


def read_price(text: str) -> tuple[Money, str | None, int | None]:
    """(price, unit, count) of `19.00 USD/month`, `50.00 USD/3 months` or `19.00 USD`, which says
    nothing of the interval: None, None. Raises InvalidRequest."""
    found = _PRICE.fullmatch(text.strip())
    if found is None:
        raise InvalidRequest(
            f"A price is written '19.00 USD/month' or '50.00 USD/3 months', not {text[:40]!r}.",
            param="price",
        )
    try:
        price = Money(found["amount"], found["currency"].lower())
    except InvalidRequest as wrong:
        raise InvalidRequest(str(wrong), param="price") from None
    unit = found["unit"]
    return price, unit, None if unit is None else int(found["count"] or 1)


def name_of(key: str) -> str:
    """What a plan is called that was given no name: `pro_plus` is `Pro plus`."""
    words = " ".join(re.split(r"[\s_-]+", key)).strip() or key
    return words[:1].upper() + words[1:]


def _interval(
    price: Money | str | None, interval: str | None, count: int | None
) -> tuple[Money | None, str, int]:
    """The price with the interval that it names itself, else the one that is given, else a month.
    Raises InvalidRequest where they differ."""
    if not isinstance(price, str):
        return price, "month" if interval is None else interval, 1 if count is None else count
    found, unit, many = read_price(price)
    if unit is None:
        return _interval(found, interval, count)
    if interval not in (None, unit) or count not in (None, many):
        raise InvalidRequest(
            f"The price {price[:40]!r} names another interval: leave interval and interval_count "
            "out.",
            param="interval",
        )
    return found, unit, 1 if many is None else many


def check(
    *,
    price: Money | str | None = None,
    prices: Iterable[Money] | None = None,
    interval: str | None = None,
    interval_count: int | None = None,
    billing: str = "anniversary",
    trial_days: int = 0,
    trial_needs_method: bool = True,
    grants: Sequence[str | Mapping[str, Any]] | None = None,
    credits: int = 0,
    credits_rollover: str = "none",
    credits_cap: int | None = None,
    least_quantity: int = 1,
    most_quantity: int | None = None,
    upgrade: str = "seconds",
    downgrade: str = "seconds",
    upgrade_when: str = "now",
    downgrade_when: str = "period_end",
    dunning: Mapping[str, Any] | None = None,
    grace_days: int = 7,
    product: str = "",
) -> dict[str, Any]:
    """Terms by the names of COLUMNS, as JSON can hold them. Raises InvalidRequest with its
    `param`. Without `grants` a plan opens the whole platform; with none of them, nothing. A price
    may be a text, `19.00 USD/month`, that says the interval too."""
    price, named, count = _interval(price, interval, interval_count)
    unit = _one_of(named, "interval", tuple(INTERVALS))
    least = fields.whole(least_quantity, "least_quantity", most=10**6)
    rollover = _one_of(credits_rollover, "credits_rollover", ROLLOVER)
    if (rollover == "capped") != (credits_cap is not None):
        raise InvalidRequest(
            "credits_cap is given with the roll-over rule 'capped', and only with it.",
            param="credits_cap",
        )
    return {
        "interval_unit": unit,
        "interval_count": fields.whole(count, "interval_count", most=INTERVALS[unit]),
        "prices": _prices(price, prices, least),
        "billing": _one_of(billing, "billing", BILLING),
        "trial_days": fields.whole(trial_days, "trial_days", least=0, most=MOST_TRIAL_DAYS),
        "trial_needs_method": bool(trial_needs_method),
        "grants": _grants([access.PLATFORM] if grants is None else grants),
        "credits": fields.whole(credits, "credits", least=0),
        "credits_rollover": rollover,
        "credits_cap": None if credits_cap is None else fields.whole(credits_cap, "credits_cap"),
        "least_quantity": least,
        "most_quantity": fields.whole(
            least if most_quantity is None else most_quantity, "most_quantity",
            least=least, most=10**6,
        ),
        "upgrade": _one_of(upgrade, "upgrade", PRORATION),
        "downgrade": _one_of(downgrade, "downgrade", PRORATION),
        "upgrade_when": _one_of(upgrade_when, "upgrade_when", WHEN),
        "downgrade_when": _one_of(downgrade_when, "downgrade_when", WHEN),
        "dunning": _dunning({} if dunning is None else dunning),
        "grace_days": fields.whole(grace_days, "grace_days", least=0, most=365),
        "product": fields.text(product, "product", most=100, least=0),
    }  # fmt: skip


def terms_of(plan_id: UUID, version: int, row: Mapping[str, Any]) -> Terms:
    """Terms from their columns."""
    told = {key: row[key] for key in COLUMNS}
    told["prices"] = {
        code: Money(minor, code, minor=True) for code, minor in sorted(row["prices"].items())
    }
    told["grants"] = tuple(row["grants"])
    return Terms(plan_id=plan_id, version=version, **told)


def _one_of(value: Any, param: str, words: tuple[str, ...]) -> str:
    if value not in words:
        known = ", ".join(repr(one) for one in words[:-1])
        raise InvalidRequest(f"{param} is {known} or {words[-1]!r}.", param=param)
    return str(value)


def _prices(
    price: Money | None, prices: Iterable[Money] | None, seats: int
) -> dict[str, int]:
    """Minor units by currency; what is not free costs enough to be charged."""
    if (price is None) == (prices is None):
        raise InvalidRequest("Give price, or prices in several currencies.", param="price")
    found: dict[str, int] = {}
    for one in [price] if prices is None else prices:
        if not isinstance(one, Money):
            raise TypeError("price must be Money, such as USD('19.99')")
        if one.minor < 0:
            raise InvalidRequest("A price is not below zero.", param="price")
        if 0 < one.minor * seats < least_charge(one.currency):
            smallest = Money(least_charge(one.currency), one.currency, minor=True)
            raise InvalidRequest(f"Less than {smallest} cannot be charged.", param="price")
        step = charge_step(one.currency)
        if one.minor % step:
            smallest = Money(step, one.currency, minor=True)
            raise AmountNotChargeable(
                f"{one} cannot be charged: prices in {one.currency.upper()} are multiples of "
                f"{smallest}.",
                param="price", step=step,
            )  # fmt: skip
        if one.currency in found:
            raise InvalidRequest(f"There are two prices in {one.currency.upper()}.", param="price")
        found[one.currency] = one.minor
    if not found:
        raise InvalidRequest("A plan needs a price.", param="price")
    return found


def _grants(given: Any) -> list[dict[str, str]]:
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) > MAX_GRANTS:
        raise InvalidRequest(f"grants is a list of at most {MAX_GRANTS}.", param="grants")
    found = []
    for one in given:
        if isinstance(one, Mapping):
            if one.keys() - {"type", "id"}:
                raise InvalidRequest("A grant of a plan has type and id.", param="grants")
            pair = access.check_pair(one.get("type"), one.get("id") or access.ALL, "grants")
        else:
            pair = access.parse(one, "grants")
        if (told := {"type": pair[0], "id": pair[1]}) not in found:
            found.append(told)
    return found


def _dunning(given: Any) -> dict[str, Any]:
    """{days, final} and, for `downgrade`, the key of the plan that is taken instead."""
    if not isinstance(given, Mapping):
        raise InvalidRequest("dunning is an object of days and final.", param="dunning")
    return schedules.to_json(schedules.read(given))
