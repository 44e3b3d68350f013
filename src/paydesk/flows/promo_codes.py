"""Definitions of promo codes: made and changed by their code, which no other may resemble."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import Conflict, InvalidRequest, NotFound
from paydesk.flows import catalog, trail
from paydesk.flows import plans as catalog_plans
from paydesk.flows.customers import Customer
from paydesk.rules import fields
from paydesk.rules import promo as rules
from paydesk.rules.money import Money
from paydesk.settings import Settings


@dataclass(frozen=True, slots=True)
class Promo:
    """A code and its terms. `used` counts the uses that are reserved or done.

    Of a subscription a discount takes off the first period (`duration` once), so many of them
    (repeating, `duration_periods`), or all (forever). A single purchase has one period.
    """

    uuid: UUID
    code: str
    kind: str
    percent_off: int | None
    amount_off: Money | None
    bonus_credits: int | None
    free_trial_days: int | None
    duration: str
    duration_periods: int | None
    cap: int | None
    per_customer: int | None
    min_purchase: Money | None
    packs: tuple[str, ...] | None
    plans: tuple[str, ...] | None
    first_purchase: bool
    customers: tuple[str, ...] | None
    match_metadata: dict[str, str]
    starts_at: datetime | None
    expires_at: datetime | None
    active: bool
    metadata: dict[str, str]
    used: int
    created_at: datetime
    updated_at: datetime

    @property
    def id(self) -> str:
        return ids.show("promo", self.uuid)

    @property
    def terms(self) -> rules.Terms:
        bound = self.amount_off or self.min_purchase
        return rules.Terms(
            kind=self.kind,
            percent_off=self.percent_off,
            amount_off_minor=self.amount_off.minor if self.amount_off else None,
            currency=bound.currency if bound else None,
            bonus_credits=self.bonus_credits,
            min_purchase_minor=self.min_purchase.minor if self.min_purchase else None,
            packs=frozenset(self.packs) if self.packs is not None else None,
            plans=frozenset(self.plans) if self.plans is not None else None,
            first_purchase=self.first_purchase,
            customers=frozenset(self.customers) if self.customers is not None else None,
            match_metadata=self.match_metadata,
            starts_at=self.starts_at,
            expires_at=self.expires_at,
            active=self.active,
        )

    def __repr__(self) -> str:
        gives = {"percent": f"{self.percent_off} %", "fixed": str(self.amount_off),
                 "bonus_credits": f"{self.bonus_credits} credits",
                 "free_trial": f"{self.free_trial_days} days free"}[self.kind]  # fmt: skip
        of = f" of {self.cap}" if self.cap is not None else ""
        return f"<Promo {self.code} {gives}, used {self.used}{of}>"


def upsert_promo(
    env: Env,
    code: str,
    *,
    percent_off: int | None = None,
    amount_off: Money | None = None,
    bonus_credits: int | None = None,
    free_trial_days: int | None = None,
    duration: str = "once",
    duration_periods: int | None = None,
    cap: int | None = None,
    per_customer: int | None = None,
    min_purchase: Money | None = None,
    packs: Iterable[str | catalog.Pack] | None = None,
    plans: Iterable[str | catalog_plans.Plan] | None = None,
    first_purchase: bool = False,
    customers: Iterable[str | Customer] | None = None,
    match_metadata: Mapping[str, Any] | None = None,
    starts_at: datetime | None = None,
    expires_at: datetime | None = None,
    active: bool = True,
    metadata: Mapping[str, Any] | None = None,
) -> Promo:
    """Make the code, or make it so: every term is set as given here; uses so far still count.

    Exactly one of `percent_off`, `amount_off`, `bonus_credits` and `free_trial_days`, which is
    for plans alone. A minimum purchase binds the code to its currency. Raises InvalidRequest, and
    Conflict for a code that would be taken for another one (upper and lower case, or another
    Unicode form).
    """
    shown = rules.check_code(code)
    gives = _gives(env.settings, percent_off, amount_off, bonus_credits, free_trial_days)
    gives |= _lasts(gives["kind"], duration, duration_periods)
    if free_trial_days is not None and packs is not None:
        raise InvalidRequest("A free trial is for plans, not for packs.", param="packs")
    if starts_at and expires_at and expires_at <= starts_at:
        raise InvalidRequest("expires_at must be after starts_at.", param="expires_at")
    values = {
        **gives,
        "id": ids.new_catalog(),
        "code": shown,
        "norm": rules.norm(shown),
        "currency": _one_currency(amount_off, min_purchase),
        "cap": _count(cap, "cap"),
        "per_customer": _count(per_customer, "per_customer"),
        "min_purchase": min_purchase.minor if min_purchase else None,
        "packs": None if packs is None else [catalog.get_pack(env, one).key for one in packs],
        "plans": None if plans is None else [catalog_plans.get(env, one).key for one in plans],
        "first_purchase": bool(first_purchase),
        "customers": None if customers is None else [_customer_text(one) for one in customers],
        "match_metadata": fields.metadata(match_metadata, "match_metadata"),
        "starts_at": _instant(starts_at, "starts_at"),
        "expires_at": _instant(expires_at, "expires_at"),
        "active": bool(active),
        "metadata": fields.metadata(metadata),
        "now": env.now(),
    }
    with env.db.transaction() as tx:
        written = tx.one(_UPSERT, values)
        if written is None:
            raise Conflict(
                f"The code {shown!r} would be taken for one that exists already.", param="code"
            )
        tx.run(
            "insert into promo_counts (promo_id) values (%(id)s) on conflict do nothing",
            {"id": written["id"]},
        )
        trail.record(tx, values["now"], "promo.saved", ids.show("promo", written["id"]),
                     {"code": shown, "active": values["active"]})  # fmt: skip
        return promo_in(tx, written["id"])


_UPSERT = """
    insert into promos (id, code, code_norm, kind, percent_off, amount_off_minor, currency,
        bonus_credits, trial_days, duration, duration_periods, cap, per_customer,
        min_purchase_minor, packs, plans, first_purchase, customers, match_metadata, starts_at,
        expires_at, active, metadata, created_at)
    values (%(id)s, %(code)s, %(norm)s, %(kind)s, %(percent_off)s, %(amount_off)s, %(currency)s,
        %(bonus_credits)s, %(trial_days)s, %(duration)s, %(duration_periods)s, %(cap)s,
        %(per_customer)s, %(min_purchase)s, %(packs)s, %(plans)s, %(first_purchase)s,
        %(customers)s, %(match_metadata)s, %(starts_at)s, %(expires_at)s, %(active)s,
        %(metadata)s, %(now)s)
    on conflict (code_norm) do update set kind = excluded.kind,
        percent_off = excluded.percent_off, amount_off_minor = excluded.amount_off_minor,
        currency = excluded.currency, bonus_credits = excluded.bonus_credits,
        trial_days = excluded.trial_days, duration = excluded.duration,
        duration_periods = excluded.duration_periods, cap = excluded.cap,
        per_customer = excluded.per_customer, min_purchase_minor = excluded.min_purchase_minor,
        packs = excluded.packs, plans = excluded.plans, first_purchase = excluded.first_purchase,
        customers = excluded.customers, match_metadata = excluded.match_metadata,
        starts_at = excluded.starts_at, expires_at = excluded.expires_at,
        active = excluded.active, metadata = excluded.metadata
    where promos.code = excluded.code
    returning id
"""


def get_promo(env: Env, ref: str | UUID | Promo) -> Promo:
    """A code's definition by the code, in any case and form, or by its id. Raises NotFound."""
    with env.db.read() as tx:
        return promo_in(tx, ref)


def promo_in(tx: Tx, ref: str | UUID | Promo) -> Promo:
    """`get_promo` inside a transaction."""
    uuid, norm = _either(ref)
    row = tx.one(
        "select p.id, p.code, p.kind, p.percent_off, p.amount_off_minor, p.currency,"
        " p.bonus_credits, p.trial_days, p.duration, p.duration_periods, p.cap, p.per_customer,"
        " p.min_purchase_minor, p.packs, p.plans, p.first_purchase, p.customers,"
        " p.match_metadata, p.starts_at, p.expires_at, p.active, p.metadata,"
        " p.created_at, p.updated_at, coalesce(c.used, 0) as used from promos p"
        " left join promo_counts c on c.promo_id = p.id"
        " where p.id = %(uuid)s or p.code_norm = %(norm)s",
        {"uuid": uuid, "norm": norm},
    )
    if row is None:
        raise NotFound("No such promo code.", param="code")
    return _promo(row)


def list_promos(
    env: Env, *, include_inactive: bool = False, limit: int = 100, starting_after: str | None = None
) -> list[Promo]:
    """Codes, newest first."""
    last = get_promo(env, starting_after) if starting_after else None
    with env.db.read() as tx:
        rows = tx.all(
            "select p.id, p.code, p.kind, p.percent_off, p.amount_off_minor, p.currency,"
            " p.bonus_credits, p.trial_days, p.duration, p.duration_periods, p.cap,"
            " p.per_customer, p.min_purchase_minor, p.packs, p.plans, p.first_purchase,"
            " p.customers, p.match_metadata, p.starts_at, p.expires_at,"
            " p.active, p.metadata, p.created_at, p.updated_at, coalesce(c.used, 0) as used"
            " from promos p left join promo_counts c on c.promo_id = p.id"
            " where (p.active or %(all)s) and (%(before)s::uuid is null or p.id < %(before)s)"
            " order by p.id desc limit %(limit)s",
            {"all": include_inactive, "before": last.uuid if last else None, "limit": limit},
        )
    return [_promo(row) for row in rows]


def _gives(
    settings: Settings, percent_off: int | None, amount_off: Money | None, bonus: int | None,
    free_days: int | None,
) -> dict[str, Any]:  # fmt: skip
    """The kind of code and its one value, within the settings' bounds.

    The bounds of fixed amounts are in the default currency and hold for codes in it alone.
    """
    given = [value for value in (percent_off, amount_off, bonus, free_days) if value is not None]
    if len(given) != 1:
        raise InvalidRequest(
            "Give one of percent_off, amount_off, bonus_credits and free_trial_days."
        )
    found: dict[str, Any] = dict.fromkeys(
        ("percent_off", "amount_off", "bonus_credits", "trial_days")
    )
    if free_days is not None:
        days = fields.whole(free_days, "free_trial_days", most=730)
        return {**found, "kind": "free_trial", "trial_days": days}
    if percent_off is not None:
        least, most = settings.promo_percent_min, min(settings.promo_percent_max, 100)
        value = fields.whole(percent_off, "percent_off", least=least, most=most)
        return {**found, "kind": "percent", "percent_off": value}
    if bonus is not None:
        value = fields.whole(bonus, "bonus_credits")
        return {**found, "kind": "bonus_credits", "bonus_credits": value}
    if not isinstance(amount_off, Money):
        raise TypeError("amount_off must be Money, such as USD('5.00')")
    if amount_off.minor <= 0:
        raise InvalidRequest("amount_off must be above zero.", param="amount_off")
    if amount_off.currency == settings.default_currency:
        low, high = (Money(edge, amount_off.currency)
                     for edge in (settings.promo_fixed_min, settings.promo_fixed_max))  # fmt: skip
        if not low <= amount_off <= high:
            raise InvalidRequest(f"amount_off must be {low} to {high}.", param="amount_off")
    return {**found, "kind": "fixed", "amount_off": amount_off.minor}


def _lasts(kind: str, duration: str, periods: int | None) -> dict[str, Any]:
    """For how many periods of a subscription the code takes something off."""
    if duration not in rules.DURATIONS:
        raise InvalidRequest("duration is 'once', 'repeating' or 'forever'.", param="duration")
    if (duration == "repeating") != (periods is not None):
        raise InvalidRequest(
            "duration_periods says how often a repeating code is used.", param="duration_periods"
        )
    if duration != "once" and kind not in rules.DISCOUNTS:
        raise InvalidRequest("Only percent_off and amount_off have a duration.", param="duration")
    most = None if periods is None else fields.whole(periods, "duration_periods", most=1_200)
    return {"duration": duration, "duration_periods": most}


def _one_currency(amount_off: Money | None, min_purchase: Money | None) -> str | None:
    found = {money.currency for money in (amount_off, min_purchase) if money is not None}
    if len(found) > 1:
        raise InvalidRequest("amount_off and min_purchase must be in one currency.")
    if min_purchase is not None and min_purchase.minor <= 0:
        raise InvalidRequest("min_purchase must be above zero.", param="min_purchase")
    return found.pop() if found else None


def _count(value: int | None, param: str) -> int | None:
    return None if value is None else fields.whole(value, param)


def _customer_text(one: str | Customer) -> str:
    return one.id if isinstance(one, Customer) else fields.text(one, "customers", most=255)


def _instant(value: datetime | None, param: str) -> datetime | None:
    if value is not None and (not isinstance(value, datetime) or value.tzinfo is None):
        raise InvalidRequest(f"{param} must be an instant with its time zone.", param=param)
    return value


def _either(ref: str | UUID | Promo) -> tuple[UUID | None, str | None]:
    if isinstance(ref, Promo):
        return ref.uuid, None
    if isinstance(ref, UUID):
        return ref, None
    if not isinstance(ref, str) or not 0 < len(ref) <= 4 * rules.MAX_CODE_LENGTH:
        return None, None
    if ref.startswith("promo_"):
        try:
            return ids.parse("promo", ref), None
        except NotFound:
            pass
    norm = rules.norm(ref)
    return None, norm if norm.isprintable() else None


def _promo(row: Mapping[str, Any]) -> Promo:
    def money(minor: int | None) -> Money | None:
        return None if minor is None else Money(minor, row["currency"], minor=True)

    return Promo(
        uuid=row["id"],
        code=row["code"],
        kind=row["kind"],
        percent_off=row["percent_off"],
        amount_off=money(row["amount_off_minor"]),
        bonus_credits=row["bonus_credits"],
        free_trial_days=row["trial_days"],
        duration=row["duration"],
        duration_periods=row["duration_periods"],
        cap=row["cap"],
        per_customer=row["per_customer"],
        min_purchase=money(row["min_purchase_minor"]),
        packs=None if row["packs"] is None else tuple(row["packs"]),
        plans=None if row["plans"] is None else tuple(row["plans"]),
        first_purchase=row["first_purchase"],
        customers=None if row["customers"] is None else tuple(row["customers"]),
        match_metadata=row["match_metadata"] or {},
        starts_at=row["starts_at"],
        expires_at=row["expires_at"],
        active=row["active"],
        metadata=row["metadata"],
        used=row["used"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
