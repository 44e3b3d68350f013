"""The catalogue at a provider: pushed from here, compared, adopted from there on demand.

Ours is the truth, and nothing is sold by what stands there: a checkout takes its amount from our
own row. So the provider's news of products change nothing and are not needed: whoever looks reads
the provider's catalogue as it is. Every step sets what shall be, and a repeat finds what was done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from paydesk import crash, ids
from paydesk.env import Env
from paydesk.errors import Conflict, InvalidRequest, NotFound, NotSupported, ProviderRefused
from paydesk.flows import catalog, items, plans, trail
from paydesk.flows.catalog import Pack
from paydesk.flows.items import Item
from paydesk.flows.plans import Plan
from paydesk.rules import access
from paydesk.rules import catalog_sync as rules
from paydesk.rules.catalog_sync import Product, RemotePrice, RemoteProduct
from paydesk.rules.money import Money
from paydesk.rules.plans import again, plan_price

#: A provider's catalogue is read up to here.
MOST_PAGES = 200

#: Told of progress: (how many are done, of how many).
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What was done at a provider to one of ours, or would be. `actions` are of create, update,
    restore, archive, price, link, adopt. `error`: why the provider refused."""

    kind: str
    id: str
    key: str
    product: str | None
    actions: tuple[str, ...]
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """A difference; `type` is a word of rules.catalog_sync.TYPES.

    `changed` says where: here, since the last push, or there. `reason`: why a product that only
    they have cannot be adopted, None where it can.
    """

    type: str
    kind: str
    key: str | None
    id: str | None
    product: str | None
    ours: Any
    theirs: Any
    changed: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What a push did, or, when it was dry, would do. `unchanged`: how many were equal."""

    provider: str
    dry_run: bool
    changes: tuple[Change, ...]
    unchanged: int

    @property
    def failed(self) -> int:
        return sum(one.error is not None for one in self.changes)


@dataclass(frozen=True, slots=True)
class _Ref:
    product: str
    price: str | None
    hash: bytes | None


@dataclass(slots=True)
class _Both:
    """Our catalogue, theirs, and what was kept of the last push."""

    provider: str
    ours: list[Product]
    theirs: list[RemoteProduct]
    prices: dict[str, list[RemotePrice]]
    refs: dict[str, _Ref]
    matched: dict[str, RemoteProduct]

    def prices_of(self, there: RemoteProduct) -> list[RemotePrice]:
        return self.prices.get(there.id, [])


# Looking -----------------------------------------------------------------------------------------


def drift(env: Env, provider: str = "stripe") -> list[Drift]:
    """How the provider's catalogue differs from ours, now. Changes nothing.

    Raises NotFound, NotSupported, ProviderUnavailable.
    """
    both = _read(env, provider)
    found: list[Drift] = []
    for one in both.ours:
        there, ref = both.matched.get(one.id), both.refs.get(one.id)
        common: dict[str, Any] = {"kind": one.kind, "key": one.key, "id": one.id}
        if there is None:
            if one.active:
                found.append(Drift(
                    type="only_here", product=ref.product if ref else None, ours=one.name,
                    theirs=None, changed="there" if ref else "here", **common,
                ))  # fmt: skip
            continue
        pushed = ref is not None and ref.hash == rules.digest(one)
        for type in rules.differences(one, there, both.prices_of(there)):
            ours, theirs = _sides(type, one, there, both.prices_of(there))
            found.append(Drift(type=type, product=there.id, ours=ours, theirs=theirs,
                               changed="there" if pushed else "here", **common))  # fmt: skip
    return found + _strangers(both)


def _strangers(both: _Both) -> list[Drift]:
    """What is sold there and not here."""
    known = {there.id for there in both.matched.values()}
    found = []
    for there in both.theirs:
        if there.id in known or not there.active:
            continue
        reason = None
        try:
            rules.adoption(there, both.prices_of(there))
        except InvalidRequest as exc:
            reason = exc.detail
        kind = "pack" if rules.CREDITS in there.metadata else "item"
        found.append(Drift(
            type="only_there", kind=kind, key=there.metadata.get(rules.KEY), id=None,
            product=there.id, ours=None, theirs=there.name, changed="there", reason=reason,
        ))  # fmt: skip
    return found


def _sides(
    type: str, one: Product, there: RemoteProduct, prices: list[RemotePrice]
) -> tuple[Any, Any]:
    """What each side says, in words that JSON has."""
    if type in ("price", "currency"):
        default = rules.default_of(there, prices)
        amount = default.amount if default and default.active else None
        told = None
        if default is not None and amount is not None:
            told = _price_words(amount, default.interval)
        return _price_words(one.price, one.interval), told
    if type == "metadata":
        return one.metadata, {name: there.metadata.get(name) for name in one.metadata}
    if type in ("active", "archived"):
        return one.active, there.active
    return getattr(one, type), getattr(there, type)


def _price_words(price: Money, interval: tuple[str, int] | None) -> dict[str, Any]:
    told: dict[str, Any] = {"amount": price.minor, "currency": price.currency}
    return told | ({"interval": f"{interval[1]} {interval[0]}"} if interval else {})


def _read(env: Env, provider: str) -> _Both:
    """Both catalogues. The provider's is read whole: of one product as of a thousand."""
    if "catalog" not in env.providers[provider].can:
        raise NotSupported(f"The provider {provider!r} keeps no catalogue.")
    theirs = _pages(env, provider, "product")
    prices: dict[str, list[RemotePrice]] = {}
    for price in _pages(env, provider, "price"):
        prices.setdefault(price.product, []).append(price)
    refs = _refs(env, provider)
    # What is no longer sold and never was there is of no interest there.
    default = env.settings.default_currency
    ours = [one for one in _ours(env, default) if one.active or one.id in refs]
    matched = rules.match(ours, theirs, {id: ref.product for id, ref in refs.items()})
    return _Both(provider, ours, theirs, prices, refs, matched)


def _pages(env: Env, provider: str, kind: str) -> list[Any]:
    found: list[Any] = []
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        page, cursor = env.providers.call(provider, "catalog_page", kind, cursor)
        found += page
        if cursor is None:
            break
    # Oldest first: of two that carry our id the first one is ours.
    return found[::-1]


def _ours(env: Env, default: str) -> list[Product]:
    """From the database: what is pushed is never some seconds old. A plan's price is that in the
    `default` currency, or its first: a product there is sold by one price."""
    with env.db.read() as tx:
        packs = tx.all("select id from packs order by created_at, id")
        sold = tx.all("select id from items order by created_at, id")
        subscribed = tx.all("select id from plans order by created_at, id")
        return [
            *(_of_pack(catalog.pack_in(tx, row["id"])) for row in packs),
            *(_of_item(items.item_in(tx, row["id"])) for row in sold),
            *(_of_plan(plans.plan_in(tx, row["id"]), default) for row in subscribed),
        ]


def _of_pack(one: Pack) -> Product:
    return Product(
        kind="pack", id=one.id, key=one.key, name=one.name, description=one.description,
        price=one.price, active=one.active, credits=one.credits, days=one.expires_days,
    )  # fmt: skip


def _of_item(one: Item) -> Product:
    grants = tuple(access.show(grant["type"], grant["id"]) for grant in one.grants)
    return Product(
        kind="item", id=one.id, key=one.key, name=one.name, description=one.description,
        price=one.price, active=one.active, grants=grants, days=one.access_days,
    )  # fmt: skip


def _of_plan(one: Plan, default: str) -> Product:
    terms = one.terms
    return Product(
        kind="plan", id=one.id, key=one.key, name=one.name, description=one.description,
        price=plan_price(terms, default), active=one.active,
        interval=(terms.interval_unit, terms.interval_count),
    )  # fmt: skip


def _refs(env: Env, provider: str) -> dict[str, _Ref]:
    with env.db.read() as tx:
        rows = tx.all(
            "select kind, local_id, product_ref, price_ref, synced_hash from catalog_refs"
            " where provider = %(provider)s and account = %(account)s",
            {"provider": provider, "account": env.providers[provider].account},
        )
    return {
        ids.show(row["kind"], row["local_id"]): _Ref(
            row["product_ref"], row["price_ref"], row["synced_hash"]
        )
        for row in rows
    }


# Pushing -----------------------------------------------------------------------------------------


def sync(
    env: Env, provider: str = "stripe", *, dry_run: bool = False, progress: Progress | None = None
) -> Synced:
    """Make the provider's catalogue equal to ours; what only they have is left alone.

    What was changed there since the last push is written over: `drift` shows it before. `dry_run`:
    only say what would be done. A refusal of one product is told of and the others go on; run
    again after ProviderUnavailable or OutcomeUnknown. A second run does nothing.
    """
    both = _read(env, provider)
    changes: list[Change] = []
    for done, one in enumerate(both.ours):
        if progress:
            progress(done, len(both.ours))
        steps = _steps(both, one)
        if not steps:
            continue
        error, product = None, both.matched.get(one.id)
        if not dry_run:
            try:
                product = _push(env, both, one, steps)
            except (ProviderRefused, InvalidRequest) as exc:
                error = exc.detail
        changes.append(Change(kind=one.kind, id=one.id, key=one.key, actions=steps,
                              product=product.id if product else None, error=error))  # fmt: skip
    if progress:
        progress(len(both.ours), len(both.ours))
    found = Synced(provider=provider, dry_run=dry_run, changes=tuple(changes),
                   unchanged=len(both.ours) - len(changes))  # fmt: skip
    if changes and not dry_run:
        _tell(env, "catalog.pushed", provider, changes)
    return found


def _steps(both: _Both, one: Product) -> tuple[str, ...]:
    there = both.matched.get(one.id)
    if there is None:
        return ("create", "price") if one.active else ()
    steps = rules.actions(rules.differences(one, there, both.prices_of(there)))
    ref = both.refs.get(one.id)
    if not steps and (ref is None or ref.product != there.id or ref.hash != rules.digest(one)):
        return ("link",)
    return steps


def _push(env: Env, both: _Both, one: Product, steps: tuple[str, ...]) -> RemoteProduct:
    """Make the product there equal to ours, a call for each step, and keep what it is called.

    Whoever dies in between leaves a product that carries our id: the next run goes on with it.
    """
    name, ref = both.provider, both.refs.get(one.id)
    there = both.matched.get(one.id)
    if there is None or {"update", "restore", "archive"} & set(steps):
        there = env.providers.call(
            name, "save_product", there.id if there else None, one,
            rules.product_key(one, ref.product if ref else None),
        )  # fmt: skip
        crash.at("catalog_product_made")
        _keep(env, both, one, there, price=ref.price if ref else None, hash=None)
    if "price" in steps:
        there = _price(env, both, one, there)
    _keep(env, both, one, there, price=there.price, hash=rules.digest(one))
    return there


def _price(env: Env, both: _Both, one: Product, there: RemoteProduct) -> RemoteProduct:
    """Sell by a price of the right amount. A price never changes: another takes its place, one of
    ours that was archived where there is one, and the old one is archived."""
    name, before = both.provider, there.price
    prices, ref = both.prices_of(there), both.refs.get(one.id)
    price = rules.usable(one, there, prices)
    if price is None:
        price = env.providers.call(
            name, "make_price", there.id, one.price, {rules.OURS: one.id, rules.KEY: one.key},
            rules.price_key(one, there.id, ref.price if ref else None),
            **({"interval": one.interval} if one.interval else {}),
        )  # fmt: skip
        crash.at("catalog_price_made")
    if there.price != price.id:
        there = env.providers.call(name, "set_price", there.id, price.id)
        crash.at("catalog_price_set")
    for old in prices:
        is_old = old.id == before or old.metadata.get(rules.OURS) == one.id
        if old.active and old.id != price.id and is_old:
            env.providers.call(name, "switch_price", old.id, False)
    return there


def _keep(
    env: Env, both: _Both, one: Product, there: RemoteProduct, *, price: str | None,
    hash: bytes | None,
) -> None:  # fmt: skip
    values = {
        "provider": both.provider, "account": env.providers[both.provider].account,
        "kind": one.kind, "id": ids.parse(one.kind, one.id), "product": there.id, "price": price,
        "hash": hash, "now": env.now(),
    }  # fmt: skip
    with env.db.transaction() as tx:
        tx.run(
            "delete from catalog_refs where provider = %(provider)s and account = %(account)s"
            " and product_ref = %(product)s and local_id <> %(id)s",
            values,
        )
        tx.run(
            "insert into catalog_refs (provider, account, kind, local_id, product_ref, price_ref,"
            " synced_hash, synced_at) values (%(provider)s, %(account)s, %(kind)s, %(id)s,"
            " %(product)s, %(price)s, %(hash)s, %(now)s)"
            " on conflict (provider, account, kind, local_id) do update set"
            " product_ref = excluded.product_ref, price_ref = excluded.price_ref,"
            " synced_hash = excluded.synced_hash, synced_at = excluded.synced_at",
            values,
        )


def _tell(env: Env, action: str, provider: str, changes: Iterable[Change]) -> None:
    about = {one.id: {"key": one.key, "product": one.product, "actions": list(one.actions),
                      "error": one.error} for one in changes}  # fmt: skip
    with env.db.transaction() as tx:
        trail.record(tx, env.now(), action, provider, about)


# Adopting ----------------------------------------------------------------------------------------


def adopt(env: Env, wanted: str, provider: str = "stripe") -> Change:
    """Take what somebody made or changed there: `wanted` is the product's id, or a key of ours.

    A product that only they have becomes a pack or an item by its metadata; one of ours takes its
    name, description, price, credits and whether it is sold from there. Raises NotFound,
    InvalidRequest with the reason, Conflict where its key names something else here.
    """
    both = _read(env, provider)
    there = _wanted(both, wanted)
    mine = next((one for one in both.ours if both.matched.get(one.id) == there), None)
    if mine is None:
        uuid, kind = _make(env, there, both)
    else:
        uuid, kind = _take(env, mine, there, both.prices_of(there)), mine.kind
    with env.db.read() as tx:
        one = (_of_pack(catalog.pack_in(tx, uuid)) if kind == "pack"
               else _of_plan(plans.plan_in(tx, uuid), env.settings.default_currency)
               if kind == "plan" else _of_item(items.item_in(tx, uuid)))  # fmt: skip
    both.matched[one.id] = there
    steps = rules.actions(rules.differences(one, there, both.prices_of(there)))
    pushed = _push(env, both, one, steps)
    change = Change(kind=kind, id=one.id, key=one.key, product=pushed.id, actions=("adopt",))
    _tell(env, "catalog.adopted", provider, [change])
    return change


def _wanted(both: _Both, wanted: str) -> RemoteProduct:
    for there in both.theirs:
        if there.id == wanted:
            return there
    by_key = [one.id for one in both.ours if one.key == wanted and one.id in both.matched]
    if len(by_key) == 1:
        return both.matched[by_key[0]]
    known = {there.id for there in both.matched.values()}
    found = [there for there in both.theirs
             if there.id not in known and there.active
             and there.metadata.get(rules.KEY, "").strip() == wanted]  # fmt: skip
    if len(found) + len(by_key) > 1:
        raise Conflict(f"More than one product has the key {wanted[:64]!r}: name it by its id.")
    if not found:
        raise NotFound(f"No product there is called {wanted[:64]!r}.", param="adopt")
    return found[0]


def _make(env: Env, there: RemoteProduct, both: _Both) -> tuple[UUID, str]:
    """The pack or item of a product that only they have. One that is here already, not linked and
    equal, is what an adoption left that did not come to its end."""
    told = rules.adoption(there, both.prices_of(there))
    kind = "pack" if told.credits is not None else "item"
    for one in both.ours:
        if (one.kind, one.key) != (kind, told.key):
            continue
        if one.id in both.matched or not _is_same(one, told):
            raise Conflict(f"A {kind} of the key {told.key[:64]!r} is here already.")
    _known(env, kind, told.key, both)
    if kind == "pack":
        assert told.credits is not None
        pack = catalog.upsert_pack(
            env, told.key, name=told.name, credits=told.credits, price=told.price,
            expires_days=told.days, description=told.description,
        )  # fmt: skip
        crash.at("catalog_adopted")
        return pack.uuid, kind
    item = items.upsert(
        env, told.key, name=told.name, price=told.price, access_days=told.days,
        grants=told.grants, description=told.description,
    )  # fmt: skip
    crash.at("catalog_adopted")
    return item.uuid, kind


def _known(env: Env, kind: str, key: str, both: _Both) -> None:
    """Refuse a key of something that is sold no more: adopting would sell it again."""
    here = {(one.kind, one.key) for one in both.ours}
    for one in _ours(env, env.settings.default_currency):
        if (one.kind, one.key) == (kind, key) and (kind, key) not in here:
            raise Conflict(f"A {kind} of the key {key[:64]!r} is here and no longer sold.")


def _is_same(one: Product, told: rules.Adoption) -> bool:
    return (one.name, one.description or None, one.price, one.credits, one.grants, one.days) == (
        told.name, told.description, told.price, told.credits, told.grants, told.days
    )  # fmt: skip


def _take(
    env: Env, mine: Product, there: RemoteProduct, prices: list[RemotePrice]
) -> UUID:
    """Write what the provider's product says onto ours."""
    if mine.kind == "plan":
        return _take_plan(env, mine, there, prices)
    default = rules.default_of(there, prices)
    amount = default.amount if default and default.active else None
    if there.active and (amount is None or amount.minor <= 0):
        rules.adoption(there, prices)  # Says why its price cannot be taken.
    price = amount if amount is not None and amount.minor > 0 else mine.price
    same: Mapping[str, Any] = {
        "name": there.name, "price": price, "description": there.description,
        "active": there.active,
    }  # fmt: skip
    if mine.kind == "pack":
        old = catalog.get_pack(env, mine.key)
        told = there.metadata.get(rules.CREDITS, "")
        credits = int(told) if told.isascii() and told.isdigit() and 0 < len(told) <= 9 else 0
        return catalog.upsert_pack(
            env, old.key, **same, credits=credits or old.credits, expires_days=old.expires_days,
            position=old.position, metadata=old.metadata,
        ).uuid  # fmt: skip
    item = items.get(env, mine.key)
    return items.upsert(
        env, item.key, **same, kind=item.kind, repeatable=item.repeatable,
        most_quantity=item.most_quantity, duration_months=item.duration_months,
        access_days=item.access_days, grants=item.grants,
        rules=[rule.as_json() for rule in item.rules], position=item.position,
        metadata=item.metadata,
    ).uuid  # fmt: skip


def _take_plan(
    env: Env, mine: Product, there: RemoteProduct, prices: list[RemotePrice]
) -> UUID:
    """A plan takes its name, its description, whether it is sold, and the amount of a price of
    the same interval, which makes its next version. What else it says stays as it is here."""
    default, old = rules.default_of(there, prices), plans.get(env, mine.key)
    amounts = dict(old.terms.prices)
    if (
        default and default.active and default.amount is not None
        and default.interval == mine.interval
    ):  # fmt: skip
        amounts[default.amount.currency] = default.amount
    elif there.active:
        raise InvalidRequest(
            f"The product {there.id} cannot be adopted: its price has not the plan's interval.",
            param="adopt",
        )
    return plans.upsert(
        env, old.key, name=there.name, description=there.description, active=there.active,
        kind=old.kind, family=old.family, public=old.public, position=old.position,
        metadata=old.metadata, **again(old.terms, list(amounts.values())),
    ).uuid  # fmt: skip
