"""The catalogue: credit packs, kept by a key that people choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import InvalidRequest, NotFound
from paydesk.flows import catalog_rows, events, trail
from paydesk.rules import fields
from paydesk.rules.money import Money

_LIST_KEY = "packs"
_LIST_TTL_S = 5.0


@dataclass(frozen=True, slots=True)
class Pack:
    """So many credits for a price. `expires_days` None: the setting's number of days."""

    uuid: UUID
    key: str
    name: str
    description: str | None
    credits: int
    price: Money
    expires_days: int | None
    active: bool
    position: int
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime

    @property
    def id(self) -> str:
        return ids.show("pack", self.uuid)

    def __repr__(self) -> str:
        return f"<Pack {self.key!r} {self.credits} credits for {self.price}>"


def upsert_pack(
    env: Env,
    key: str,
    *,
    name: str,
    credits: int,
    price: Money,
    expires_days: int | None = None,
    active: bool = True,
    position: int = 0,
    description: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Pack:
    """Make the pack, or make it so: every field is set as given here.

    Checkouts that were opened before keep their price and credits.
    """
    if not isinstance(price, Money):
        raise TypeError("price must be Money, such as USD('9.99')")
    if price.minor <= 0:
        raise InvalidRequest("price must be above zero.", param="price")
    values = {
        "id": ids.new_catalog(),
        "key": pack_key(key),
        "name": fields.text(name, "name", most=255),
        "description": fields.optional_text(description, "description", most=2_000),
        "credits": fields.whole(credits, "credits"),
        "price": price.minor,
        "currency": price.currency,
        "expires_days": None
        if expires_days is None
        else fields.whole(expires_days, "expires_days", most=36_500),
        "active": bool(active),
        "position": fields.whole(position, "position", least=-(2**31), most=2**31 - 1),
        "metadata": fields.metadata(metadata),
        "now": env.now(),
    }
    with env.db.transaction() as tx:
        row = tx.one(
            "insert into packs (id, key, name, description, credits, price_minor, currency,"
            " expires_days, active, position, metadata, created_at)"
            " values (%(id)s, %(key)s, %(name)s, %(description)s, %(credits)s, %(price)s,"
            " %(currency)s, %(expires_days)s, %(active)s, %(position)s, %(metadata)s, %(now)s)"
            " on conflict (key) do update set name = excluded.name,"
            " description = excluded.description, credits = excluded.credits,"
            " price_minor = excluded.price_minor, currency = excluded.currency,"
            " expires_days = excluded.expires_days, active = excluded.active,"
            " position = excluded.position, metadata = excluded.metadata"
            " returning id, key, name, description, credits, price_minor, currency, expires_days,"
            " active, position, metadata, created_at, updated_at",
            values,
        )
        assert row is not None
        about = {"key": key, "credits": row["credits"], "price_minor": row["price_minor"],
                 "currency": row["currency"], "active": row["active"]}  # fmt: skip
        trail.record(tx, values["now"], "pack.saved", ids.show("pack", row["id"]), about)
    events.forget(env, _LIST_KEY)
    return _pack(row)


def pack_key(value: Any) -> str:
    """A key that a person chose: printable, without spaces, and no id of ours."""
    key = fields.text(value, "key", most=100)
    if key != key.strip() or not key.isprintable() or any(c.isspace() for c in key):
        raise InvalidRequest("A pack's key has no spaces or control characters.", param="key")
    if key.startswith("pack_"):
        raise InvalidRequest("A pack's key may not begin with 'pack_'.", param="key")
    return key


def get_pack(env: Env, ref: str | UUID | Pack, *, active_only: bool = False) -> Pack:
    """A pack by key or id, read from the database. Raises NotFound."""
    with env.db.read() as tx:
        return pack_in(tx, ref, active_only=active_only)


def pack_in(tx: Tx, ref: str | UUID | Pack, *, active_only: bool = False) -> Pack:
    """`get_pack` inside a transaction."""
    if isinstance(ref, Pack):
        ref = ref.uuid
    uuid, key = catalog_rows.either("pack", ref)
    row = tx.one(
        "select id, key, name, description, credits, price_minor, currency, expires_days, active,"
        " position, metadata, created_at, updated_at from packs"
        " where id = %(uuid)s or key = %(key)s order by (key = %(key)s) desc nulls last limit 1",
        {"uuid": uuid, "key": key},
    )
    if row is None or (active_only and not row["active"]):
        raise NotFound(f"No such pack: {str(ref)[:64]!r}.", param="pack")
    return _pack(row)


def list_packs(env: Env, include_inactive: bool = False) -> list[Pack]:
    """All packs in the order they are shown. Up to some seconds old: shows, never prices."""
    rows = env.cache.read(_LIST_KEY, lambda: _load(env), ttl_s=_LIST_TTL_S)
    packs = [_pack(catalog_rows.of_json(row)) for row in rows]
    return [pack for pack in packs if pack.active or include_inactive]


def _load(env: Env) -> list[dict[str, Any]]:
    with env.db.read() as tx:
        rows = tx.all(
            "select id, key, name, description, credits, price_minor, currency, expires_days,"
            " active, position, metadata, created_at, updated_at from packs"
            " order by position, price_minor, key limit 1000"
        )
    return catalog_rows.to_json(rows)


def _pack(row: Mapping[str, Any]) -> Pack:
    return Pack(
        uuid=row["id"],
        key=row["key"],
        name=row["name"],
        description=row["description"],
        credits=row["credits"],
        price=Money(row["price_minor"], row["currency"], minor=True),
        expires_days=row["expires_days"],
        active=row["active"],
        position=row["position"],
        metadata=row["metadata"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
