"""Refills: credits or a wallet that a saved method fills again when little is left.

A customer has one for his credits and one for each of his wallets. It is kept as a row; what is
due of it is done in `refill_steps`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from paydesk import causes, ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import InvalidRequest, NotFound
from paydesk.flows import catalog, events, heads, methods, pricing, wallets
from paydesk.flows.checkout import StartCheckout
from paydesk.rules import fields
from paydesk.rules import refills as rules
from paydesk.rules.ledger import CREDIT
from paydesk.rules.money import Money
from paydesk.rules.refills import Limits

STATES = ("active", "paused", "off")
CREDITS = "credits"
MOST_THRESHOLD = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRefill:
    """What is filled, from where on, with what, and how often.

    Exactly one of `pack` (a key), `credits` and `wallet` (money to put there). `threshold`: below
    it a refill is bought; credits, or Money of the wallet's currency. `method`: a saved method,
    None for the default one. `day_amount`, `month_amount`: the most money, None for no limit.
    `pause_after`: failures in a row.
    """

    customer_id: UUID
    threshold: int | Money
    pack: Any = None
    credits: int | None = None
    wallet: Money | None = None
    method: str | UUID | None = None
    day_count: int = 3
    month_count: int = 20
    day_amount: Money | None = None
    month_amount: Money | None = None
    pause_after: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RefillView:
    """A refill as it stands. `status`: active, paused (`pause_reason`: failures, payment_method,
    stopped) or off. Amounts are credits, or minor units of `currency`, which credits have none of;
    money of the limits is in what the payments are in. `payment_id`: the one under way."""

    id: UUID
    customer_id: UUID
    what: str
    asset: str
    threshold: int
    pack: str | None
    credits: int | None
    amount_minor: int | None
    method_id: UUID | None
    day_count: int
    month_count: int
    day_minor: int | None
    month_minor: int | None
    pause_after: int
    state: str
    pause_reason: str | None
    number: int
    payment_id: UUID | None
    failures: int
    error_code: str | None
    retry_at: datetime | None
    last_at: datetime | None
    set_by: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def currency(self) -> str | None:
        """The wallet's; None for credits."""
        return None if self.asset == CREDIT else self.asset

    @property
    def payable(self) -> str:
        """What only one payment at a time is for."""
        return f"refill:{self.what}"

    @property
    def key(self) -> tuple[UUID, UUID]:
        return self.customer_id, self.id

    @property
    def limits(self) -> Limits:
        return Limits(day_count=self.day_count, month_count=self.month_count,
                      day_minor=self.day_minor, month_minor=self.month_minor)  # fmt: skip

    def __repr__(self) -> str:
        return f"<Refill {ids.show('refill', self.id)} {self.what} {self.state}>"


_READ: LiteralString = (
    "select id, customer_id, what, asset, threshold, pack, credits, amount_minor, method_id,"
    " day_count, month_count, day_minor, month_minor, pause_after, state, pause_reason, number,"
    " payment_id, failures, error_code, retry_at, last_at, set_by, created_at, updated_at"
    " from refills where "
)


# Setting ----------------------------------------------------------------------------------------


def set_(env: Env, what: SetRefill) -> RefillView:
    """Fill this from now on, or fill it so; one that had paused goes on. Safe to repeat.

    Raises InvalidRequest, NotFound (pack, method), PaymentMethodNotUsable, AmountTooSmall,
    AmountTooLarge.
    """
    values = _checked(env, what)
    with env.db.transaction(what.customer_id) as tx:
        now = heads.decide(tx, env.now(), what.customer_id)
        saved = methods.for_charge(tx, what.customer_id, what.method, now)
        before = _find(tx, what.customer_id, values["what"])
        refill_id = before.id if before else ids.new_owned(what.customer_id)
        tx.run(
            "insert into refills as r (customer_id, id, what, asset, threshold, pack, credits,"
            " amount_minor, method_id, day_count, month_count, day_minor, month_minor, pause_after,"
            " due_at, set_by, clock_id, created_at) values (%(customer_id)s, %(id)s, %(what)s,"
            " %(asset)s, %(threshold)s, %(pack)s, %(credits)s, %(amount_minor)s, %(method_id)s,"
            " %(day_count)s, %(month_count)s, %(day_minor)s, %(month_minor)s, %(pause_after)s,"
            " %(now)s, %(set_by)s, %(clock_id)s, %(now)s) on conflict (customer_id, what) do update"
            " set threshold = excluded.threshold, pack = excluded.pack,"
            " credits = excluded.credits, amount_minor = excluded.amount_minor,"
            " method_id = excluded.method_id, day_count = excluded.day_count,"
            " month_count = excluded.month_count, day_minor = excluded.day_minor,"
            " month_minor = excluded.month_minor, pause_after = excluded.pause_after,"
            " state = 'active', pause_reason = null, failures = 0, error_code = null,"
            " retry_at = null, woken = true, due_at = excluded.due_at, set_by = excluded.set_by",
            {**values, "customer_id": what.customer_id, "id": refill_id, "now": now,
             "method_id": None if what.method is None else saved["id"],
             "set_by": causes.actor("application"),
             "clock_id": tx.heads[what.customer_id].clock_id},
        )  # fmt: skip
        found = _find(tx, what.customer_id, values["what"])
        assert found is not None
        tell(tx, now, found, "set")
    return found


def in_minor(
    env: Env, what: SetRefill, day_minor: int | None, month_minor: int | None
) -> SetRefill:
    """The same with its amounts in the currencies they are in: the threshold (so far a number) in
    the wallet's, the limits in that of what a refill costs. Raises as `set_`."""
    threshold: int | Money = what.threshold
    if what.wallet is not None and not isinstance(threshold, Money):
        threshold = Money(threshold, what.wallet.currency, minor=True)
    found = dataclasses.replace(what, threshold=threshold)
    return _limited(env, found, lambda value, unit: Money(value, unit, minor=True),
                    day_minor, month_minor)  # fmt: skip


def limited(env: Env, what: SetRefill, day: str | None, month: str | None) -> SetRefill:
    """The same with limits that are decimals of the currency that a refill costs. Raises as
    `set_`."""
    return _limited(env, what, Money, day, month)


def _limited(
    env: Env, what: SetRefill, money: Callable[[Any, str], Money], day: Any, month: Any
) -> SetRefill:
    if day is None and month is None:
        return what
    currency = _price(env, what).currency
    amounts = [None if one is None else money(one, currency) for one in (day, month)]
    return dataclasses.replace(what, day_amount=amounts[0], month_amount=amounts[1])


def _price(env: Env, what: SetRefill) -> Money:
    """What one refill costs now."""
    if sum(one is not None for one in (what.pack, what.credits, what.wallet)) != 1:
        raise InvalidRequest("Say what is bought: one of pack, credits and wallet.", param="pack")
    found: Money = pricing.product(env, StartCheckout(
        customer_id=what.customer_id, pack=what.pack, credits=what.credits, wallet=what.wallet,
    ))["price"]  # fmt: skip
    return found


def _checked(env: Env, what: SetRefill) -> dict[str, Any]:
    """The row's values of what is asked; priced once, so that what nobody sells is refused now."""
    price = _price(env, what)
    values: dict[str, Any] = {
        "pack": None, "credits": what.credits, "amount_minor": None, "what": CREDITS,
        "asset": CREDIT, "pause_after": fields.whole(what.pause_after, "pause_after", most=10),
        "day_count": fields.whole(what.day_count, "day_count", most=100),
        "month_count": fields.whole(what.month_count, "month_count", most=1000),
    }  # fmt: skip
    if what.pack is not None:
        values["pack"] = catalog.get_pack(env, what.pack, active_only=True).key
    if what.wallet is not None:
        wallets.check_money(env, what.wallet)
        asset = what.wallet.currency
        values |= {"what": f"wallet:{asset}", "asset": asset, "amount_minor": what.wallet.minor}
    values["threshold"] = _threshold(what.threshold, values["asset"])
    for name in ("day", "month"):
        values[f"{name}_minor"] = _limit(getattr(what, f"{name}_amount"), price, f"{name}_amount")
    return values


def _threshold(value: int | Money, asset: str) -> int:
    if isinstance(value, Money) == (asset == CREDIT):
        raise InvalidRequest(
            "The threshold is a number of credits, or money of the wallet.", param="threshold"
        )
    if isinstance(value, Money):
        if value.currency != asset:
            raise InvalidRequest(f"The threshold is in {asset.upper()}.", param="threshold")
        value = value.minor
    return fields.whole(value, "threshold", most=MOST_THRESHOLD)


def _limit(value: Money | None, price: Money, param: str) -> int | None:
    """The most money of a day or month: at least one refill has room in it."""
    if value is None:
        return None
    if value.currency != price.currency:
        raise InvalidRequest(f"{param} is in {price.currency.upper()}.", param=param)
    if value.minor < price.minor:
        raise InvalidRequest(f"One refill costs {price}, more than {param}.", param=param)
    return value.minor


def off(env: Env, customer_id: UUID | None, ref: str | UUID) -> RefillView:
    """Buy nothing more. What is under way is finished. Safe to repeat. Raises NotFound."""
    refill_id = _id_of(customer_id, ref)
    owner = ids.customer_of(refill_id)
    with env.db.transaction(owner) as tx:
        now = heads.decide(tx, env.now(), owner)
        before = read(tx, owner, refill_id)
        if before.state == "off":
            return before
        tx.run(
            "update refills set state = 'off', pause_reason = null, retry_at = null"
            " where customer_id = %(customer_id)s and id = %(id)s",
            {"customer_id": owner, "id": refill_id},
        )
        found = read(tx, owner, refill_id)
        tell(tx, now, found, "off")
    return found


def new_method(tx: Tx, now: datetime, customer_id: UUID, method_id: UUID) -> None:
    """A method was added, or made the default: what waited for one goes on with it. The head is
    locked."""
    tx.run(
        "update refills set state = 'active', pause_reason = null, failures = 0, retry_at = null,"
        " error_code = null, woken = true, due_at = %(now)s,"
        " method_id = case when method_id is null then null else %(method_id)s::uuid end"
        " where customer_id = %(customer_id)s and state = 'paused'"
        " and pause_reason = 'payment_method'",
        {"customer_id": customer_id, "method_id": method_id, "now": now},
    )


# Looking ----------------------------------------------------------------------------------------


def get(env: Env, customer_id: UUID | None, ref: str | UUID) -> RefillView:
    """One refill; with `customer_id` only his. Raises NotFound."""
    refill_id = _id_of(customer_id, ref)
    with env.db.read() as tx:
        return read(tx, ids.customer_of(refill_id), refill_id)


def list_(
    env: Env, customer_id: UUID | None = None, *, state: str | None = None, limit: int = 20,
    after: str | UUID | None = None,
) -> list[RefillView]:  # fmt: skip
    """Refills, newest first; everybody's without a customer."""
    if state is not None and state not in STATES:
        raise InvalidRequest(f"status is one of {', '.join(STATES)}.", param="status")
    last = get(env, customer_id, after) if after is not None else None
    whose: LiteralString = "true" if customer_id is None else "customer_id = %(customer_id)s"
    with env.db.read() as tx:
        rows = tx.all(
            _READ + whose +
            " and (%(state)s::text is null or state = %(state)s)"
            " and (%(at)s::timestamptz is null or (created_at, id) < (%(at)s, %(last)s))"
            " order by created_at desc, id desc limit %(limit)s",
            {"customer_id": customer_id, "state": state, "limit": limit,
             "at": last.created_at if last else None, "last": last.id if last else None},
        )  # fmt: skip
    return [RefillView(**row) for row in rows]


def read(tx: Tx, customer_id: UUID, refill_id: UUID) -> RefillView:
    """The row. Raises NotFound."""
    row = tx.one(
        _READ + "customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": customer_id, "id": refill_id},
    )
    if row is None:
        raise NotFound(f"No such refill: {ids.show('refill', refill_id)}.")
    return RefillView(**row)


def _find(tx: Tx, customer_id: UUID, what: str) -> RefillView | None:
    row = tx.one(
        _READ + "customer_id = %(customer_id)s and what = %(what)s",
        {"customer_id": customer_id, "what": what},
    )
    return RefillView(**row) if row else None


def _id_of(customer_id: UUID | None, ref: str | UUID) -> UUID:
    refill_id = ref if isinstance(ref, UUID) else ids.parse("refill", ref)
    if customer_id is not None and ids.customer_of(refill_id) != customer_id:
        raise NotFound(f"No such refill: {str(ref)[:64]!r}.")
    return refill_id


# Telling ----------------------------------------------------------------------------------------


def tell(tx: Tx, now: datetime, one: RefillView, word: str, **more: Any) -> None:
    """The event of what became of it."""
    data: Mapping[str, Any] = {
        "what": one.what, "status": one.state, "threshold": one.threshold, "pack": one.pack,
        "credits": one.credits, "amount": one.amount_minor, "currency": one.currency, **more,
    }  # fmt: skip
    events.emit(tx, one.customer_id, f"refill.{word}", one.id, data, at=now)


def change(tx: Tx, one: RefillView, **changes: Any) -> RefillView:
    """Write what changed of the row; the head is locked."""
    assert changes.keys() <= _CHANGEABLE, "not a column that changes"
    found = dataclasses.replace(one, **changes)
    tx.run(
        "update refills set state = %(state)s, pause_reason = %(pause_reason)s,"
        " number = %(number)s, payment_id = %(payment_id)s, failures = %(failures)s,"
        " error_code = %(error_code)s, retry_at = %(retry_at)s, last_at = %(last_at)s"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": one.customer_id, "id": one.id,
         **{name: getattr(found, name) for name in _CHANGEABLE}},
    )  # fmt: skip
    return found


_CHANGEABLE = frozenset(
    {"state", "pause_reason", "number", "payment_id", "failures", "error_code", "retry_at",
     "last_at"}
)  # fmt: skip


def failed(
    tx: Tx, now: datetime, one: RefillView, code: str | None, **told: Any
) -> RefillView:
    """Write down a failure and what follows it, with its events; the head is locked."""
    count = one.failures + 1
    found = rules.after_failure(code, count, one.pause_after, now)
    is_paused = found.reason is not None and one.state == "active"
    changed = change(
        tx, one, failures=count, error_code=code, payment_id=None, retry_at=found.retry_at,
        **({"state": "paused", "pause_reason": found.reason} if is_paused else {}),
    )  # fmt: skip
    told = {"error_code": code, "failures": count, **told}
    tell(tx, now, changed, "failed",
         retry_at=found.retry_at.isoformat() if found.retry_at else None, **told)  # fmt: skip
    if is_paused:
        tell(tx, now, changed, "paused", reason=found.reason, **told)
    return changed
