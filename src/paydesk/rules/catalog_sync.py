"""The catalogue beside a provider's: what differs, what would make them equal, what can be adopted.

Ours is the truth. A provider's product is known as ours by the reference that was kept, or by the
id in its metadata.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from paydesk.errors import InvalidRequest
from paydesk.rules import access
from paydesk.rules.money import Money

#: Names in a product's metadata: our id, our key, and what a sale of it gives.
OURS, KEY, CREDITS, GRANTS, DAYS = "paydesk_id", "paydesk_key", "credits", "grants", "days"
#: What can differ. `archived`: sold here and not there; `active`: the other way round.
TYPES = (
    "only_there", "only_here", "name", "description", "price", "currency", "active", "archived",
    "metadata",
)  # fmt: skip
#: A provider keeps so many characters of a value.
MOST_VALUE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RemotePrice:
    """A provider's price. `amount` None: in tiers, metered, or of the buyer's choice. `interval`:
    (unit, count) of a price that recurs."""

    id: str
    product: str
    amount: Money | None
    active: bool
    interval: tuple[str, int] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteProduct:
    """A provider's product; `price` is the id of its default price."""

    id: str
    name: str
    active: bool
    description: str | None = None
    price: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A pack, an item or a plan as a provider shall show it; `interval` is a plan's."""

    kind: str
    id: str
    key: str
    name: str
    price: Money
    active: bool
    description: str | None = None
    credits: int | None = None
    grants: tuple[str, ...] = ()
    days: int | None = None
    interval: tuple[str, int] | None = None

    @property
    def metadata(self) -> dict[str, str]:
        """What a provider's product carries of us; enough to make the same one from it."""
        found = {OURS: self.id, KEY: self.key}
        if self.credits is not None:
            found[CREDITS] = str(self.credits)
        if grants := " ".join(self.grants):
            found[GRANTS] = grants
        if self.days is not None:
            found[DAYS] = str(self.days)
        return {name: value for name, value in found.items() if len(value) <= MOST_VALUE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """What a provider's product says of a pack (`credits`) or an item (`grants`) to be made."""

    key: str
    name: str
    description: str | None
    price: Money
    credits: int | None
    grants: tuple[str, ...]
    days: int | None


def digest(one: Product) -> bytes:
    """The same for the same content, and only then."""
    return _sum([one.kind, one.id, one.key, one.name, one.description, one.price.minor,
                 one.price.currency, one.active, sorted(one.metadata.items()),
                 *([list(one.interval)] if one.interval else [])])  # fmt: skip


def product_key(one: Product, before: str | None) -> str:
    """The idempotency key of making a product; `before`: the one that is gone."""
    return "product-" + _sum([digest(one).hex(), before]).hex()[:40]


def price_key(one: Product, product: str, before: str | None) -> str:
    """The idempotency key of making a price; `before`: the price that was kept last."""
    told = [one.id, product, one.price.minor, one.price.currency, before]
    return "price-" + _sum(told + ([list(one.interval)] if one.interval else [])).hex()[:40]


def _sum(value: Any) -> bytes:
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).digest()


def match(
    ours: Iterable[Product], theirs: Sequence[RemoteProduct], refs: Mapping[str, str]
) -> dict[str, RemoteProduct]:
    """Our id -> the product there: the one whose reference was kept (`refs`), else the first that
    carries our id. A copy of it, which carries the id too, is a stranger's."""
    by_ref = {one.id: one for one in theirs}
    taken = {ref for ref in refs.values() if ref in by_ref}
    by_id: dict[str, RemoteProduct] = {}
    for one in theirs:
        if one.id not in taken and OURS in one.metadata:
            by_id.setdefault(one.metadata[OURS], one)
    found = {}
    for one in ours:
        there = by_ref.get(refs.get(one.id, "")) or by_id.get(one.id)
        if there is not None:
            found[one.id] = there
    return found


def differences(
    one: Product, there: RemoteProduct, prices: Sequence[RemotePrice]
) -> tuple[str, ...]:
    """In what they differ, as words of TYPES. `prices` are all of this product. What is sold
    nowhere differs in nothing."""
    if not one.active:
        return ("active",) if there.active else ()
    found = []
    if not there.active:
        found.append("archived")
    if there.name != one.name:
        found.append("name")
    if (there.description or None) != (one.description or None):
        found.append("description")
    default = default_of(there, prices)
    amount = default.amount if default and default.active else None
    if amount is not None and amount.currency != one.price.currency:
        found.append("currency")
    elif amount is None or not _fits(one, default) or strays(one, there, prices):
        found.append("price")
    if any(there.metadata.get(name) != value for name, value in one.metadata.items()):
        found.append("metadata")
    return tuple(found)


def default_of(there: RemoteProduct, prices: Sequence[RemotePrice]) -> RemotePrice | None:
    return next((price for price in prices if price.id == there.price), None)


def strays(
    one: Product, there: RemoteProduct, prices: Sequence[RemotePrice]
) -> list[RemotePrice]:
    """Prices of ours that nobody sells by and that were not archived."""
    return [price for price in prices
            if price.active and price.id != there.price and price.metadata.get(OURS) == one.id]


def usable(one: Product, there: RemoteProduct, prices: Sequence[RemotePrice]) -> RemotePrice | None:
    """A price of the right amount that is there already: the default, or one of ours."""
    fitting = [p for p in prices if _fits(one, p)]
    for price in fitting:
        if price.id == there.price and price.active:
            return price
    return next((p for p in fitting if p.metadata.get(OURS) == one.id), None)


def _fits(one: Product, price: RemotePrice) -> bool:
    return (price.amount, price.interval) == (one.price, one.interval)


def actions(differs: Iterable[str]) -> tuple[str, ...]:
    """What makes a provider's product equal to ours: update, restore, archive, price."""
    found = set(differs)
    steps = []
    if found & {"name", "description", "metadata"}:
        steps.append("update")
    if "archived" in found:
        steps.append("restore")
    if "active" in found:
        steps.append("archive")
    if found & {"price", "currency"}:
        steps.append("price")
    return tuple(steps)


def adoption(there: RemoteProduct, prices: Sequence[RemotePrice]) -> Adoption:
    """What to make of a product that somebody made there. Raises InvalidRequest with the reason
    why nothing can be made of it."""
    told = there.metadata
    if not there.active:
        raise _refused(there, "it is archived")
    default = default_of(there, prices)
    if default is None or not default.active:
        raise _refused(there, "it has no default price")
    if default.amount is None or default.amount.minor <= 0 or default.interval is not None:
        raise _refused(there, "its price is no single amount above zero")
    if not told.get(KEY, "").strip():
        raise _refused(there, f"its metadata has no {KEY}")
    if (CREDITS in told) == (GRANTS in told):
        raise _refused(there, f"its metadata has not one of {CREDITS} and {GRANTS}")
    try:
        grants = tuple(
            access.show(*access.parse(word)) for word in told.get(GRANTS, "").split()
        )
    except InvalidRequest as exc:
        raise _refused(there, f"its {GRANTS} cannot be read") from exc
    if GRANTS in told and not grants:
        raise _refused(there, f"its {GRANTS} are empty")
    return Adoption(
        key=told[KEY].strip(), name=there.name, description=there.description or None,
        price=default.amount, grants=grants,
        credits=_whole(there, CREDITS) if CREDITS in told else None,
        days=_whole(there, DAYS) if DAYS in told else None,
    )  # fmt: skip


def _whole(there: RemoteProduct, name: str) -> int:
    text = there.metadata[name].strip()
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= 9 and int(text) > 0):
        raise _refused(there, f"its {name} are no whole number above zero")
    return int(text)


def _refused(there: RemoteProduct, why: str) -> InvalidRequest:
    return InvalidRequest(f"The product {there.id} cannot be adopted: {why}.", param="adopt")
