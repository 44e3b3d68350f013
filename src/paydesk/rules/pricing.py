"""Prices of items by rules: which ones hold for a purchase, and what they make of its price.

The order is fixed: the first unit price that holds, then percentages, then amounts; within each
kind as they are listed. A percentage is taken from what is left by then, and rounded half up to
the smallest step that can be charged, once for the whole line. Nothing goes below zero, and no
rule makes a price higher than the item's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from paydesk.errors import InvalidRequest
from paydesk.rules import fields
from paydesk.rules.money import Money, divide_half_up
from paydesk.rules.promo import charge_step

MAX_RULES = 50
#: What a rule does: exactly one of these.
EFFECTS = ("unit_price", "percent_off", "amount_off")
_MEMBERS = frozenset(
    {"name", "customer", "quantity_from", "quantity_to", "starts_at", "ends_at", *EFFECTS}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When it holds, and its one effect. Amounts are minor units of the item's currency.

    `customer`: every one of these attributes has this value. Quantities are inclusive; the time
    is from `starts_at` until before `ends_at`.
    """

    name: str
    customer: Mapping[str, str] = field(default_factory=dict)
    quantity_from: int = 1
    quantity_to: int | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    unit_price: int | None = None
    percent_off: int | None = None
    amount_off: int | None = None

    @property
    def effect(self) -> str:
        return next(name for name in EFFECTS if getattr(self, name) is not None)

    def as_json(self) -> dict[str, Any]:
        """The rule as it is stored and shown; what says nothing is left out."""
        found: dict[str, Any] = {"name": self.name}
        if self.customer:
            found["customer"] = dict(self.customer)
        if self.quantity_from > 1:
            found["quantity_from"] = self.quantity_from
        if self.quantity_to is not None:
            found["quantity_to"] = self.quantity_to
        for name in ("starts_at", "ends_at"):
            value = getattr(self, name)
            if value is not None:
                found[name] = value.isoformat().replace("+00:00", "Z")
        return {**found, self.effect: getattr(self, self.effect)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What one rule took off, in minor units."""

    name: str
    effect: str
    off_minor: int

    def as_json(self) -> dict[str, Any]:
        return {"rule": self.name, "effect": self.effect, "off_minor": self.off_minor}


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """A priced line: `full_minor` less everything in `applied` is `total_minor`."""

    quantity: int
    unit_minor: int
    full_minor: int
    total_minor: int
    applied: tuple[Applied, ...]


def price(
    unit_minor: int,
    quantity: int,
    currency: str,
    attributes: Mapping[str, str],
    now: datetime,
    rules: Sequence[Rule] = (),
) -> Price:
    """What so many of an item cost this customer now: 0 <= total <= unit price * quantity."""
    assert unit_minor > 0 and quantity > 0
    full = left = unit_minor * quantity
    step = charge_step(currency)
    applied: list[Applied] = []
    holding = [rule for rule in rules if holds(rule, quantity, attributes, now)]
    fixed = [rule for rule in holding if rule.unit_price is not None][:1]
    rest = [r for effect in EFFECTS[1:] for r in holding if r.effect == effect]
    for rule in [*fixed, *rest]:
        if rule.unit_price is not None:
            wanted = full - rule.unit_price * quantity
        elif rule.percent_off is not None:
            wanted = step * divide_half_up(left * rule.percent_off, 100 * step)
        else:
            assert rule.amount_off is not None
            wanted = rule.amount_off
        off = max(0, min(wanted, left))
        if off:
            left -= off
            applied.append(Applied(name=rule.name, effect=rule.effect, off_minor=off))
    return Price(quantity=quantity, unit_minor=unit_minor, full_minor=full, total_minor=left,
                 applied=tuple(applied))  # fmt: skip


def holds(rule: Rule, quantity: int, attributes: Mapping[str, str], now: datetime) -> bool:
    """Whether a rule is for this purchase."""
    if quantity < rule.quantity_from:
        return False
    if rule.quantity_to is not None and quantity > rule.quantity_to:
        return False
    if rule.starts_at is not None and now < rule.starts_at:
        return False
    if rule.ends_at is not None and now >= rule.ends_at:
        return False
    return all(attributes.get(key) == value for key, value in rule.customer.items())


def read(given: Sequence[Any] | None, currency: str) -> list[Rule]:
    """Rules as they were written: mappings, amounts as Money or minor units. InvalidRequest."""
    if given is None:
        return []
    if isinstance(given, str | Mapping) or not isinstance(given, Sequence):
        raise InvalidRequest("rules must be a list.", param="rules")
    if len(given) > MAX_RULES:
        raise InvalidRequest(f"An item may have {MAX_RULES} rules.", param="rules")
    return [_rule(one, currency, f"rules[{place}]") for place, one in enumerate(given)]


def _rule(given: Any, currency: str, param: str) -> Rule:
    if isinstance(given, Rule):
        given = given.as_json()
    if not isinstance(given, Mapping):
        raise InvalidRequest(f"{param} must be an object.", param=param)
    for name in given.keys() - _MEMBERS:
        raise InvalidRequest(f"{param} has no member {str(name)[:40]!r}.", param=param)
    told = {name: value for name, value in given.items() if value is not None}
    if len(told.keys() & set(EFFECTS)) != 1:
        raise InvalidRequest(f"{param} has exactly one of {', '.join(EFFECTS)}.", param=param)
    least = 1
    values: dict[str, Any] = {"name": fields.text(told.get("name"), f"{param}.name", most=255)}
    values["customer"] = fields.metadata(told.get("customer"), f"{param}.customer")
    for name in ("quantity_from", "quantity_to"):
        if name in told:
            least = fields.whole(told[name], f"{param}.{name}", least=least, most=2**31 - 1)
            values[name] = least
    for name in ("starts_at", "ends_at"):
        if name in told:
            values[name] = _instant(told[name], f"{param}.{name}")
    if "percent_off" in told:
        values["percent_off"] = fields.whole(told["percent_off"], f"{param}.percent_off", most=100)
    for name in ("unit_price", "amount_off"):
        if name in told:
            values[name] = _minor(told[name], currency, f"{param}.{name}")
    if "starts_at" in values and "ends_at" in values and values["ends_at"] <= values["starts_at"]:
        raise InvalidRequest(f"{param} ends before it starts.", param=param)
    return Rule(**values)


def _minor(value: Any, currency: str, param: str) -> int:
    if isinstance(value, Money):
        if value.currency != currency:
            raise InvalidRequest(f"{param} is in another currency than the item.", param=param)
        value = value.minor
    return fields.whole(value, param, most=10**15)


def _instant(value: Any, param: str) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidRequest(f"{param} must be an RFC 3339 instant.", param=param) from None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise InvalidRequest(f"{param} must be an instant with an offset.", param=param)
    return value.astimezone(UTC)
