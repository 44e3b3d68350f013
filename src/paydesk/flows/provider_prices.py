"""Prices of plans at a provider that bills subscriptions: made on demand, and what they sell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from paydesk import crash, ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import NotFound
from paydesk.flows.plans import Plan
from paydesk.providers.billing import RemoteItem
from paydesk.rules import catalog_sync as catalog
from paydesk.rules.catalog_sync import Product
from paydesk.rules.money import Money

#: What a price that we make carries: the plan's id and the version of its terms.
PLAN, VERSION = "paydesk_plan", "paydesk_version"


@dataclass(frozen=True, slots=True)
class Sold:
    """What an item of a provider's subscription stands for."""

    item: RemoteItem
    plan_id: UUID
    version: int
    family: str


def ensure(env: Env, name: str, plan: Plan, price: Money) -> str:
    """The provider's price of the plan's terms of today in this currency, made where there is
    none. Never in a transaction.

    Product and price are made under keys of their own, and carry our ids: who dies before they
    are kept comes to the same ones. Raises what the provider raises.
    """
    account = env.providers[name].account
    keys = {
        "provider": name, "account": account, "plan": plan.uuid, "version": plan.version,
        "currency": price.currency,
    }  # fmt: skip
    with env.db.read() as tx:
        known = _own(tx, keys)
    if known is not None:
        return known
    product = _product(env, name, plan, price)
    told = [name, account, plan.id, str(plan.version), product, price.currency]
    made = env.providers.call(
        name, "make_price", product, price,
        {PLAN: plan.id, VERSION: str(plan.version), catalog.KEY: plan.key},
        f"plan-price-{ids.request_key(*told).hex}",
        interval=(plan.terms.interval_unit, plan.terms.interval_count),
    )
    crash.at("plan_price_made")
    with env.db.transaction() as tx:
        tx.run(
            "insert into plan_prices (provider, account, price_ref, product_ref, plan_id,"
            " plan_version, currency, own, created_at) values (%(provider)s, %(account)s,"
            " %(price)s, %(product)s, %(plan)s, %(version)s, %(currency)s, true, %(now)s)"
            " on conflict do nothing",
            {**keys, "price": made.id, "product": product, "now": env.now()},
        )
        kept = _own(tx, keys)
    assert kept is not None, "it was kept just now"
    return kept


def _own(tx: Tx, keys: Mapping[str, Any]) -> str | None:
    return tx.value(
        "select price_ref from plan_prices where provider = %(provider)s"
        " and account = %(account)s and plan_id = %(plan)s and plan_version = %(version)s"
        " and currency = %(currency)s and own",
        keys,
    )


def _product(env: Env, name: str, plan: Plan, price: Money) -> str:
    """The plan's product, which the catalogue's sync knows too."""
    keys = {"provider": name, "account": env.providers[name].account, "plan": plan.uuid}
    with env.db.read() as tx:
        known = _product_ref(tx, keys)
    if known is not None:
        return known
    shown = Product(
        kind="plan", id=plan.id, key=plan.key, name=plan.name, description=plan.description,
        price=price, active=True,
        interval=(plan.terms.interval_unit, plan.terms.interval_count),
    )  # fmt: skip
    made = env.providers.call(
        name, "save_product", None, shown, catalog.product_key(shown, None)
    )
    with env.db.transaction() as tx:
        tx.run(
            "insert into catalog_refs (provider, account, kind, local_id, product_ref)"
            " values (%(provider)s, %(account)s, 'plan', %(plan)s, %(product)s)"
            " on conflict do nothing",
            {**keys, "product": made.id},
        )
        return _product_ref(tx, keys) or made.id


def _product_ref(tx: Tx, keys: Mapping[str, Any]) -> str | None:
    return tx.value(
        "select product_ref from catalog_refs where provider = %(provider)s"
        " and account = %(account)s and kind = 'plan' and local_id = %(plan)s",
        keys,
    )


# What is sold there ----------------------------------------------------------------------------


def sold(
    tx: Tx, provider: str, account: str, items: Sequence[RemoteItem]
) -> Sold | None:
    """The first item whose price stands for a plan; None where none does.

    A price of ours says so itself. Any other leads to a plan by its product, or by the plan's key
    as its lookup key or in its metadata: to the newest terms of that amount, else to the newest of
    that interval. What was found once stays so.
    """
    for item in items:
        found = _kept(tx, provider, account, item.price) or _look(tx, provider, account, item)
        if found is not None:
            family = tx.value("select family from plans where id = %(id)s", {"id": found[0]})
            return Sold(item, *found, family)
    return None


def of_price(tx: Tx, provider: str, account: str, price: str) -> tuple[UUID, int] | None:
    """(plan, version) of a price that is known."""
    return _kept(tx, provider, account, price)


def keep(tx: Tx, provider: str, account: str, found: Sold) -> None:
    """Remember what a price stands for."""
    tx.run(
        "insert into plan_prices (provider, account, price_ref, product_ref, plan_id,"
        " plan_version, currency, own) values (%(provider)s, %(account)s, %(price)s,"
        " %(product)s, %(plan)s, %(version)s, %(currency)s, false) on conflict do nothing",
        {
            "provider": provider, "account": account, "price": found.item.price,
            "product": found.item.product, "plan": found.plan_id, "version": found.version,
            "currency": found.item.unit.currency if found.item.unit else "",
        },
    )  # fmt: skip


def _kept(tx: Tx, provider: str, account: str, price: str) -> tuple[UUID, int] | None:
    row = tx.one(
        "select plan_id, plan_version from plan_prices where provider = %(provider)s"
        " and account = %(account)s and price_ref = %(price)s",
        {"provider": provider, "account": account, "price": price},
    )
    return (row["plan_id"], row["plan_version"]) if row else None


def _look(
    tx: Tx, provider: str, account: str, item: RemoteItem
) -> tuple[UUID, int] | None:
    plan_id = tx.value(
        "select p.id from plans p left join catalog_refs c on c.provider = %(provider)s"
        " and c.account = %(account)s and c.kind = 'plan' and c.local_id = p.id"
        " where p.key = any(%(keys)s) or p.id = any(%(ids)s::uuid[])"
        " or c.product_ref = %(product)s or c.price_ref = %(price)s"
        " order by (c.price_ref = %(price)s) desc nulls last,"
        " (c.product_ref = %(product)s) desc nulls last, p.created_at limit 1",
        {
            "provider": provider, "account": account, "product": item.product,
            "price": item.price, "ids": _ids(item),
            "keys": [one for one in (item.metadata.get(catalog.KEY), item.lookup_key) if one],
        },
    )  # fmt: skip
    if plan_id is None:
        return None
    rows = tx.all(
        "select version, prices from plan_versions where plan_id = %(plan)s"
        " and interval_unit = %(unit)s and interval_count = %(count)s order by version desc",
        {"plan": plan_id, "unit": item.interval[0], "count": item.interval[1]},
    )
    same = [row for row in rows
            if item.unit and row["prices"].get(item.unit.currency) == item.unit.minor]  # fmt: skip
    chosen = next(iter([*same, *rows]), None)
    return (plan_id, chosen["version"]) if chosen else None


def _ids(item: RemoteItem) -> list[UUID]:
    found = []
    for name in (PLAN, catalog.OURS):
        try:
            found.append(ids.parse("plan", item.metadata.get(name) or ""))
        except NotFound:
            continue
    return found
