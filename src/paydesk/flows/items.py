"""Items and services on sale: kept by a key, priced by rules, and what they give access to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.env import Env
from paydesk.errors import InvalidRequest, Misconfigured, NotFound
from paydesk.flows import catalog_rows, events, heads, trail
from paydesk.flows.customers import Customer
from paydesk.rules import access, fields, pricing
from paydesk.rules.money import Money
from paydesk.rules.pricing import Rule

_LIST_KEY = "items"
_LIST_TTL_S = 5.0
KINDS = ("item", "service")
MAX_GRANTS = 100


@dataclass(frozen=True, slots=True)
class Item:
    """Something that is sold. `kind` is item, or service, which runs for `duration_months`.

    `repeatable`: a customer may own it more than once. `grants` are resources as
    {type, id, days}; without days for `access_days`, without those for ever, and those of a
    service for as long as it runs.
    """

    uuid: UUID
    key: str
    kind: str
    name: str
    description: str | None
    price: Money
    repeatable: bool
    most_quantity: int
    duration_months: int | None
    access_days: int | None
    grants: tuple[dict[str, Any], ...]
    rules: tuple[Rule, ...]
    active: bool
    position: int
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime

    @property
    def id(self) -> str:
        return ids.show("item", self.uuid)

    @property
    def payable(self) -> str | None:
        """The name under which only one payment at a time may be under way."""
        return None if self.repeatable and self.kind == "item" else f"item:{self.key}"

    def __repr__(self) -> str:
        return f"<Item {self.key!r} {self.kind} {self.price}>"


#: What an application may say about a price: None leaves what the rules say.
PriceHook = Callable[[Item, int, Customer, Money], Money | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What so many of an item cost a customer now. `pricing` says how it came about: what each
    rule took off, and what the application's hook set."""

    item: Item
    quantity: int
    full: Money
    price: Money
    pricing: tuple[dict[str, Any], ...]

    def __repr__(self) -> str:
        return f"<Quote {self.quantity} {self.item.key!r} {self.price}>"


def upsert(
    env: Env,
    key: str,
    *,
    name: str,
    price: Money,
    kind: str = "item",
    repeatable: bool = False,
    most_quantity: int | None = None,
    duration_months: int | None = None,
    access_days: int | None = None,
    grants: Sequence[str | Mapping[str, Any]] | None = None,
    rules: Sequence[Any] | None = None,
    active: bool = True,
    position: int = 0,
    description: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Item:
    """Make the item, or make it so: every field is set as given here. What was sold before, or is
    in a checkout, keeps its price and what it gives."""
    if not isinstance(price, Money):
        raise TypeError("price must be Money, such as USD('9.99')")
    if price.minor <= 0:
        raise InvalidRequest("price must be above zero.", param="price")
    if kind not in KINDS:
        raise InvalidRequest("kind is 'item' or 'service'.", param="kind")
    if (kind == "service") != (duration_months is not None):
        raise InvalidRequest(
            "A service has duration_months, an item has none.", param="duration_months"
        )
    if kind == "service" and grants is None:
        grants = [access.PLATFORM]
    most = 1_000 if repeatable and kind == "item" else 1
    if most_quantity is not None:
        most = most_quantity
    values = {
        "id": ids.new_catalog(),
        "key": item_key(key),
        "kind": kind,
        "name": fields.text(name, "name", most=255),
        "description": fields.optional_text(description, "description", most=2_000),
        "price": price.minor,
        "currency": price.currency,
        "repeatable": bool(repeatable),
        "most": fields.whole(most, "most_quantity", most=10**6 if kind == "item" else 1),
        "months": _maybe(duration_months, "duration_months", 1_200),
        "days": _maybe(access_days, "access_days", 36_500),
        "grants": jsonb(read_grants(grants)),
        "rules": jsonb([one.as_json() for one in pricing.read(rules, price.currency)]),
        "active": bool(active),
        "position": fields.whole(position, "position", least=-(2**31), most=2**31 - 1),
        "metadata": jsonb(fields.metadata(metadata)),
        "now": env.now(),
    }
    with env.db.transaction() as tx:
        row = tx.one(_UPSERT, values)
        assert row is not None
        _record(tx, values["now"], _item(row))
    events.forget(env, _LIST_KEY)
    return _item(row)


_UPSERT = """
    insert into items (id, key, kind, name, description, price_minor, currency, repeatable,
        most_quantity, duration_months, access_days, grants, rules, active, position, metadata,
        created_at)
    values (%(id)s, %(key)s, %(kind)s, %(name)s, %(description)s, %(price)s, %(currency)s,
        %(repeatable)s, %(most)s, %(months)s, %(days)s, %(grants)s, %(rules)s, %(active)s,
        %(position)s, %(metadata)s, %(now)s)
    on conflict (key) do update set kind = excluded.kind, name = excluded.name,
        description = excluded.description, price_minor = excluded.price_minor,
        currency = excluded.currency, repeatable = excluded.repeatable,
        most_quantity = excluded.most_quantity, duration_months = excluded.duration_months,
        access_days = excluded.access_days, grants = excluded.grants, rules = excluded.rules,
        active = excluded.active, position = excluded.position, metadata = excluded.metadata
    returning id, key, kind, name, description, price_minor, currency, repeatable, most_quantity,
        duration_months, access_days, grants, rules, active, position, metadata, created_at,
        updated_at
"""


def _maybe(value: Any, param: str, most: int) -> int | None:
    return None if value is None else fields.whole(value, param, most=most)


def item_key(value: Any) -> str:
    """A key that a person chose: printable, without spaces, and no id of ours."""
    key = fields.text(value, "key", most=100)
    if not key.isprintable() or any(c.isspace() for c in key):
        raise InvalidRequest("An item's key has no spaces or control characters.", param="key")
    if key.startswith("item_"):
        raise InvalidRequest("An item's key may not begin with 'item_'.", param="key")
    return key


def read_grants(given: Sequence[str | Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """Grants as they are stored, from `course:python` or {type, id, days}."""
    if isinstance(given, str) or (given is not None and not isinstance(given, Sequence)):
        raise InvalidRequest("grants must be a list.", param="grants")
    if given is not None and len(given) > MAX_GRANTS:
        raise InvalidRequest(f"An item may have {MAX_GRANTS} grants.", param="grants")
    found = []
    for one in given or ():
        days = None
        if isinstance(one, Mapping):
            if one.keys() - {"type", "id", "days"}:
                raise InvalidRequest("A grant has type, id and days.", param="grants")
            pair = access.check_pair(one.get("type"), one.get("id") or access.ALL, "grants")
            if one.get("days") is not None:
                days = fields.whole(one["days"], "grants.days", most=36_500)
        else:
            pair = access.parse(one, "grants")
        found.append({"type": pair[0], "id": pair[1], "days": days})
    return found


def get(env: Env, ref: str | UUID | Item, *, active_only: bool = False) -> Item:
    """An item by key or id, read from the database. Raises NotFound."""
    with env.db.read() as tx:
        return item_in(tx, ref, active_only=active_only)


def item_in(tx: Tx, ref: str | UUID | Item, *, active_only: bool = False) -> Item:
    """`get` inside a transaction."""
    ref = ref.uuid if isinstance(ref, Item) else ref
    uuid, key = catalog_rows.either("item", ref)
    row = tx.one(
        "select id, key, kind, name, description, price_minor, currency, repeatable,"
        " most_quantity, duration_months, access_days, grants, rules, active, position, metadata,"
        " created_at, updated_at from items where id = %(uuid)s or key = %(key)s"
        " order by (key = %(key)s) desc nulls last limit 1",
        {"uuid": uuid, "key": key},
    )
    if row is None or (active_only and not row["active"]):
        raise NotFound(f"No such item: {str(ref)[:64]!r}.", param="item")
    return _item(row)


def list_(env: Env, *, include_inactive: bool = False, kind: str | None = None) -> list[Item]:
    """All items in the order they are shown. Up to some seconds old: shows, never prices."""
    rows = env.cache.read(_LIST_KEY, lambda: _load(env), ttl_s=_LIST_TTL_S)
    found = [_item(catalog_rows.of_json(row)) for row in rows]
    return [
        one for one in found
        if (one.active or include_inactive) and kind in (None, one.kind)
    ]  # fmt: skip


def deactivate(env: Env, ref: str | UUID | Item) -> Item:
    """Sell it no more. Checkouts that are open can still be paid. Raises NotFound."""
    found = get(env, ref)
    with env.db.transaction() as tx:
        tx.run("update items set active = false where id = %(id)s", {"id": found.uuid})
        found = item_in(tx, found)
        _record(tx, env.now(), found)
    events.forget(env, _LIST_KEY)
    return found


def _record(tx: Tx, now: datetime, item: Item) -> None:
    """Changes of the catalogue stand in the log of who changed what."""
    about = {"key": item.key, "kind": item.kind, "price_minor": item.price.minor,
             "currency": item.price.currency, "active": item.active,
             "rules": [rule.as_json() for rule in item.rules]}  # fmt: skip
    trail.record(tx, now, "item.saved", item.id, about)


def offering(env: Env, kind: str, name: str) -> Item | None:
    """An item on sale that gives access to a resource; one made for it before one for more."""
    best: tuple[int, Item] | None = None
    for one in list_(env):
        for grant in one.grants:
            if grant["type"] == access.PLATFORM:
                rank = 2
            elif grant["type"] == kind and grant["id"] in (name, access.ALL):
                rank = 0 if grant["id"] == name else 1
            else:
                continue
            if best is None or rank < best[0]:
                best = rank, one
    return best[1] if best else None


def quote(env: Env, ref: str | UUID | Item, who: Customer, quantity: int = 1) -> Quote:
    """What so many of an active item cost this customer now: by its rules, then by the hook.

    The hook, `env.hooks.price_item` or else the setting's, is the application's own word, on the
    server: it may set any price above zero in the item's currency. Raises NotFound,
    InvalidRequest.
    """
    item = get(env, ref, active_only=True)
    count = fields.whole(quantity, "quantity", most=item.most_quantity)
    currency = item.price.currency
    found = pricing.price(
        item.price.minor, count, currency, who.metadata, heads.now(env, who.uuid), item.rules
    )
    told = [one.as_json() for one in found.applied]
    price = Money(found.total_minor, currency, minor=True)
    ask: PriceHook | None = env.hooks.price_item or _named_hook(env.settings.price_item)
    if ask is not None:
        answer = ask(item, count, who, price)
        if answer is not None:
            if not isinstance(answer, Money) or answer.currency != currency or answer.minor <= 0:
                raise Misconfigured(
                    f"The price hook must answer Money above zero in {currency.upper()}, or None."
                )
            if answer != price:
                told.append({"rule": getattr(ask, "__qualname__", "hook"), "effect": "hook",
                             "off_minor": price.minor - answer.minor})  # fmt: skip
            price = answer
    full = Money(found.full_minor, currency, minor=True)
    return Quote(item=item, quantity=count, full=full, price=price, pricing=tuple(told))


def _named_hook(dotted: str) -> PriceHook | None:
    """The callable of `module:name`. Raises Misconfigured."""
    if not dotted:
        return None
    module, _, name = dotted.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as exc:
        raise Misconfigured(f"PAYDESK_PRICE_ITEM names nothing callable: {dotted[:80]}.") from exc
    if not callable(found):
        raise Misconfigured(f"PAYDESK_PRICE_ITEM names nothing callable: {dotted[:80]}.")
    return found


def _load(env: Env) -> list[dict[str, Any]]:
    with env.db.read() as tx:
        rows = tx.all(
            "select id, key, kind, name, description, price_minor, currency, repeatable,"
            " most_quantity, duration_months, access_days, grants, rules, active, position,"
            " metadata, created_at, updated_at from items"
            " order by position, price_minor, key limit 10000"
        )
    return catalog_rows.to_json(rows)


def _item(row: Mapping[str, Any]) -> Item:
    return Item(
        uuid=row["id"], key=row["key"], kind=row["kind"], name=row["name"],
        description=row["description"],
        price=Money(row["price_minor"], row["currency"], minor=True),
        repeatable=row["repeatable"], most_quantity=row["most_quantity"],
        duration_months=row["duration_months"], access_days=row["access_days"],
        grants=tuple(row["grants"]), rules=tuple(pricing.read(row["rules"], row["currency"])),
        active=row["active"], position=row["position"], metadata=row["metadata"],
        created_at=row["created_at"], updated_at=row["updated_at"],
    )  # fmt: skip
