"""Plans and memberships on sale: kept by a key, their terms in versions that never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.env import Env
from paydesk.errors import Conflict, InvalidRequest, NotFound
from paydesk.flows import catalog_rows, events, trail
from paydesk.rules import fields
from paydesk.rules import plans as rules
from paydesk.rules.money import Money
from paydesk.rules.plans import Terms, price

__all__ = [
    "Plan", "Terms", "archive", "get", "list_", "opening", "plan_in", "price", "price_of", "terms",
    "upsert", "versions",
]  # fmt: skip

_LIST_KEY = "plans"
_LIST_TTL_S = 5.0
#: Terms by plan and version. They never change, and the ids are of no other database.
_kept: dict[tuple[UUID, int], Terms] = {}
_KEPT_MOST = 4_096


@dataclass(frozen=True, slots=True)
class Plan:
    """Something that is subscribed to. `terms` are those that are sold now; who subscribed keeps
    the version of that day. Of a `family` a customer has one live subscription."""

    uuid: UUID
    key: str
    kind: str
    family: str
    name: str
    description: str | None
    version: int
    active: bool
    public: bool
    position: int
    metadata: dict[str, str]
    terms: Terms
    created_at: datetime
    updated_at: datetime

    @property
    def id(self) -> str:
        return ids.show("plan", self.uuid)

    def __repr__(self) -> str:
        return f"<Plan {self.key!r} v{self.version} {self.terms.price_words()}>"


def upsert(
    env: Env,
    key: str,
    *,
    name: str | None = None,
    kind: str = "plan",
    family: str | None = None,
    description: str | None = None,
    active: bool = True,
    public: bool = True,
    position: int = 0,
    metadata: Mapping[str, Any] | None = None,
    **terms: Any,
) -> Plan:
    """Make the plan, or make it so: every field is set as given here.

    `terms` are those of `rules.plans.check`: price or prices, interval, and so on. Where they
    differ from those sold now they become the next version; what subscriptions have agreed on
    stays. Kind and family stay as they were made; the family is the kind where none is given, and
    the name comes from the key.
    Raises InvalidRequest, and Conflict for another kind or family.
    """
    if kind not in rules.KINDS:
        raise InvalidRequest("kind is 'plan' or 'membership'.", param="kind")
    told = rules.check(**terms)
    name = rules.name_of(plan_key(key)) if name is None else name
    values = {
        "id": ids.new_catalog(),
        "key": plan_key(key),
        "kind": kind,
        "family": None if family is None else fields.text(family, "family", most=100),
        "name": fields.text(name, "name", most=255),
        "description": fields.optional_text(description, "description", most=2_000),
        "active": bool(active),
        "public": bool(public),
        "position": fields.whole(position, "position", least=-(2**31), most=2**31 - 1),
        "metadata": jsonb(fields.metadata(metadata)),
        "now": env.now(),
    }
    with env.db.transaction() as tx:
        row = tx.one(_UPSERT, values)
        assert row is not None
        if kind != row["kind"] or family not in (None, row["family"]):
            raise Conflict("A plan keeps its kind and family; make another plan.", param="family")
        plan_id, version = row["id"], row["version"]
        sold = _terms_row(tx, plan_id, version)
        if sold is None or any(sold[one] != told[one] for one in rules.COLUMNS):
            version += sold is not None
            _write_terms(tx, plan_id, version, told, values["now"])
        found = plan_in(tx, plan_id)
        _record(tx, values["now"], found)
    events.forget(env, _LIST_KEY)
    return found


_UPSERT = """
    insert into plans (id, key, kind, family, name, description, active, public, position,
        metadata, created_at)
    values (%(id)s, %(key)s, %(kind)s, coalesce(%(family)s, %(kind)s), %(name)s, %(description)s,
        %(active)s, %(public)s, %(position)s, %(metadata)s, %(now)s)
    on conflict (key) do update set name = excluded.name, description = excluded.description,
        active = excluded.active, public = excluded.public, position = excluded.position,
        metadata = excluded.metadata
    returning id, kind, family, version
"""

#: Plans with the terms that are sold now.
_SELECT = """
    select p.id, p.key, p.kind, p.family, p.name, p.description, p.version, p.active, p.public,
        p.position, p.metadata, p.created_at, p.updated_at, v.interval_unit, v.interval_count,
        v.prices, v.billing, v.trial_days, v.trial_needs_method, v.grants, v.credits,
        v.credits_rollover, v.credits_cap, v.least_quantity, v.most_quantity, v.upgrade,
        v.downgrade, v.upgrade_when, v.downgrade_when, v.dunning, v.grace_days, v.product
    from plans p join plan_versions v on v.plan_id = p.id and v.version = p.version
"""
_SELECT_TERMS = """
    select version, interval_unit, interval_count, prices, billing, trial_days, trial_needs_method,
        grants, credits, credits_rollover, credits_cap, least_quantity, most_quantity, upgrade,
        downgrade, upgrade_when, downgrade_when, dunning, grace_days, product
    from plan_versions where plan_id = %(plan_id)s
"""
_INSERT_TERMS = """
    insert into plan_versions (plan_id, version, created_at, interval_unit, interval_count, prices,
        billing, trial_days, trial_needs_method, grants, credits, credits_rollover, credits_cap,
        least_quantity, most_quantity, upgrade, downgrade, upgrade_when, downgrade_when, dunning,
        grace_days, product)
    values (%(plan_id)s, %(version)s, %(now)s, %(interval_unit)s, %(interval_count)s, %(prices)s,
        %(billing)s, %(trial_days)s, %(trial_needs_method)s, %(grants)s, %(credits)s,
        %(credits_rollover)s, %(credits_cap)s, %(least_quantity)s, %(most_quantity)s, %(upgrade)s,
        %(downgrade)s, %(upgrade_when)s, %(downgrade_when)s, %(dunning)s, %(grace_days)s,
        %(product)s)
"""


def _write_terms(
    tx: Tx, plan_id: UUID, version: int, told: Mapping[str, Any], now: datetime
) -> None:
    """The next version, and the plan sold by it. The plan's row is locked by the caller."""
    stored = {key: jsonb(told[key]) for key in ("prices", "grants", "dunning")}
    tx.run(
        _INSERT_TERMS,
        {**told, **stored, "plan_id": plan_id, "version": version, "now": now},
    )
    tx.run("update plans set version = %(version)s where id = %(id)s",
           {"id": plan_id, "version": version})  # fmt: skip


def plan_key(value: Any) -> str:
    """A key that a person chose: printable, without spaces, and no id of ours."""
    key = fields.text(value, "key", most=100)
    if not key.isprintable() or any(c.isspace() for c in key):
        raise InvalidRequest("A plan's key has no spaces or control characters.", param="key")
    if key.startswith("plan_"):
        raise InvalidRequest("A plan's key may not begin with 'plan_'.", param="key")
    return key


def get(env: Env, ref: str | UUID | Plan, *, active_only: bool = False) -> Plan:
    """A plan by key or id, read from the database. Raises NotFound."""
    with env.db.read() as tx:
        return plan_in(tx, ref, active_only=active_only)


def plan_in(tx: Tx, ref: str | UUID | Plan, *, active_only: bool = False) -> Plan:
    """`get` inside a transaction."""
    ref = ref.uuid if isinstance(ref, Plan) else ref
    uuid, key = catalog_rows.either("plan", ref)
    row = tx.one(
        _SELECT + " where p.id = %(uuid)s or p.key = %(key)s"
        " order by (p.key = %(key)s) desc nulls last limit 1",
        {"uuid": uuid, "key": key},
    )
    if row is None or (active_only and not row["active"]):
        raise NotFound(f"No such plan: {str(ref)[:64]!r}.", param="plan")
    return _plan(row)


def terms(where: Env | Tx, plan_id: UUID, version: int) -> Terms:
    """What was agreed on: a version of a plan. Read once and then kept in this process, because
    it never changes. Raises NotFound."""
    kept = _kept.get((plan_id, version))
    if kept is not None:
        return kept
    if isinstance(where, Tx):
        row = _terms_row(where, plan_id, version)
    else:
        with where.db.read() as tx:
            row = _terms_row(tx, plan_id, version)
    if row is None:
        raise NotFound(f"No version {version} of {ids.show('plan', plan_id)}.", param="plan")
    found = rules.terms_of(plan_id, version, row)
    if len(_kept) >= _KEPT_MOST:
        _kept.clear()
    _kept[plan_id, version] = found
    return found


def versions(env: Env, ref: str | UUID | Plan) -> list[Terms]:
    """All terms that a plan ever had, the newest first. Raises NotFound."""
    with env.db.read() as tx:
        plan = plan_in(tx, ref)
        rows = tx.all(_SELECT_TERMS + " order by version desc", {"plan_id": plan.uuid})
    return [rules.terms_of(plan.uuid, row["version"], row) for row in rows]


def _terms_row(tx: Tx, plan_id: UUID, version: int) -> Any:
    return tx.one(
        _SELECT_TERMS + " and version = %(version)s",
        {"plan_id": plan_id, "version": version},
    )


def list_(
    env: Env,
    *,
    public_only: bool = False,
    kind: str | None = None,
    include_inactive: bool = False,
) -> list[Plan]:
    """All plans in the order they are shown. Up to some seconds old: shows, never charges."""
    rows = env.cache.read(_LIST_KEY, lambda: _load(env), ttl_s=_LIST_TTL_S)
    found = [_plan(catalog_rows.of_json(row)) for row in rows]
    return [
        one for one in found
        if (one.active or include_inactive) and (one.public or not public_only)
        and kind in (None, one.kind)
    ]  # fmt: skip


def opening(env: Env, kind: str, name: str) -> Plan | None:
    """The cheapest public plan on sale that gives access to a resource."""
    found = [one for one in list_(env, public_only=True) if rules.opens(one.terms, kind, name)]
    default = env.settings.default_currency
    return min(found, key=lambda one: rules.cost(one.terms, default), default=None)


def price_of(
    env: Env, plan: Plan, currency: str | None = None, quantity: int | None = None
) -> Money:
    """What so many seats, by default the fewest that are sold, cost for one period now, in the
    default currency where none is named. Raises InvalidRequest."""
    quantity = plan.terms.least_quantity if quantity is None else quantity
    return rules.total(plan.terms, currency, quantity, env.settings.default_currency)


def archive(env: Env, ref: str | UUID | Plan) -> Plan:
    """Sell it no more. Subscriptions to it run on. Raises NotFound."""
    with env.db.transaction() as tx:
        found = plan_in(tx, ref)
        tx.run("update plans set active = false where id = %(id)s", {"id": found.uuid})
        found = plan_in(tx, found)
        _record(tx, env.now(), found)
    events.forget(env, _LIST_KEY)
    return found


def _record(tx: Tx, now: datetime, plan: Plan) -> None:
    """Changes of the catalogue stand in the log of who changed what."""
    about = {"key": plan.key, "version": plan.version, "active": plan.active,
             "prices": {one.currency: one.minor for one in plan.terms.prices.values()},
             "interval": plan.terms.interval}  # fmt: skip
    trail.record(tx, now, "plan.saved", plan.id, about)


def _load(env: Env) -> list[dict[str, Any]]:
    with env.db.read() as tx:
        rows = tx.all(_SELECT + " order by p.position, p.created_at, p.key limit 1000")
    return catalog_rows.to_json(rows)


def _plan(row: Mapping[str, Any]) -> Plan:
    return Plan(
        uuid=row["id"], key=row["key"], kind=row["kind"], family=row["family"], name=row["name"],
        description=row["description"], version=row["version"], active=row["active"],
        public=row["public"], position=row["position"], metadata=row["metadata"],
        terms=rules.terms_of(row["id"], row["version"], row),
        created_at=row["created_at"], updated_at=row["updated_at"],
    )  # fmt: skip
