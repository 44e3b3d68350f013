"""Promo codes: definitions, quotes, and uses whose limits are exact under any concurrency.

A use is reserved under the customer's head in a short transaction of its own, before the payment
exists, by the id that the payment will have. It goes back once, and only when nobody can pay
for it any more. Eligibility is decided when the use is reserved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from paydesk import crash, ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import InvalidPromoCode, NotFound
from paydesk.flows import catalog, customers, events, heads, plans
from paydesk.flows.customers import Customer
from paydesk.flows.plans import Plan
from paydesk.flows.promo_codes import Promo, get_promo, list_promos, promo_in, upsert_promo
from paydesk.flows.promo_uses import (
    ORPHAN_AGE,
    confirm,
    give_back,
    lock_released,
    release,
    release_expired,
    release_one,
    uncount,
)
from paydesk.rules import promo as rules
from paydesk.rules.money import Money

__all__ = [
    "ORPHAN_AGE",
    "Discount",
    "Promo",
    "Reservation",
    "apply",
    "claim",
    "confirm",
    "count_use",
    "drop",
    "for_plan",
    "get_promo",
    "had_trial",
    "hand_over",
    "has_purchased",
    "kept_for",
    "leave",
    "let_go",
    "list_promos",
    "lock_released",
    "product_of",
    "promo_in",
    "quote",
    "release",
    "release_expired",
    "release_one",
    "reserve",
    "take_reservation",
    "upsert_promo",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Discount:
    """What a code takes off a price, and the credits that it adds. Nothing is reserved by it.

    Of a subscription: off the first period (`duration` once), `periods` of them, or all; and the
    days of its trial.
    """

    promo_id: UUID
    code: str
    kind: str
    price: Money
    discount: Money
    bonus_credits: int
    free_trial_days: int = 0
    duration: str = "once"
    periods: int | None = None

    @property
    def discount_minor(self) -> int:
        return self.discount.minor

    @property
    def total(self) -> Money:
        return self.price - self.discount

    def __repr__(self) -> str:
        return f"<Discount {self.code} -{self.discount} +{self.bonus_credits} credits>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation(Discount):
    """A use that is kept for the customer's next checkout of the product, until it expires."""

    product: str
    payment_id: UUID
    expires_at: datetime
    #: Whether this very call reserved the use; else it was kept before.
    is_new: bool = field(default=False, compare=False)

    def __repr__(self) -> str:
        return f"<Reservation {self.code} for {self.product} until {self.expires_at:%H:%M}>"


def product_of(
    *, pack: catalog.Pack | None = None, credits: int | None = None, amount: Money | None = None,
    item: str | None = None, plan: Plan | None = None,
) -> str:  # fmt: skip
    """The name under which a reservation finds its checkout, or the subscription that begins.
    `item`: its key."""
    if plan is not None:
        return f"plan:{plan.key}"
    if item is not None:
        return f"item:{item}"
    if pack is not None:
        return f"pack:{pack.key}"
    if credits is not None:
        return f"credits:{credits}"
    assert amount is not None, "a pack, a number of credits or an amount"
    return f"amount:{amount.minor}:{amount.currency}"


# Asking ----------------------------------------------------------------------------------------


def quote(
    env: Env,
    code: str,
    customer: Customer | str | UUID,
    *,
    pack: catalog.Pack | UUID | str | None = None,
    credits: int | None = None,
    price: Money | None = None,
    item: str | None = None,
    plan: Plan | UUID | str | None = None,
    now: datetime | None = None,
) -> Discount:
    """What the code would give this customer now; reserves nothing. `price` with `credits`, with
    the key of an `item`, or alone, where no pack names it; of a `plan`, that of all seats, by
    default one in the default currency. Raises InvalidPromoCode with a `reason` of
    rules.REFUSALS."""
    who = customers.ensure(env, customer)
    if plan is not None:
        sold = plans.get(env, plan, active_only=True)
        price = plans.price_of(env, sold) if price is None else price
        with env.db.read() as tx:
            now = now or heads.now(env, who.uuid, tx)
            promo = for_plan(tx, code, who, sold, price, now)
            held = _reservation(tx, who.uuid, product_of(plan=sold), now)
            if held is None or held["promo_id"] != promo.uuid:
                _check_limits(tx, promo, who.uuid)
        return Discount(**_gives(promo, price))
    found, price, product, _ = _what(env, pack, credits, price, item)
    with env.db.read() as tx:
        promo = _named(tx, code)
        now = now or heads.now(env, who.uuid, tx)
        _check(tx, promo, who, found, price, now, item)
        held = _reservation(tx, who.uuid, product, now)
        if held is None or held["promo_id"] != promo.uuid:
            _check_limits(tx, promo, who.uuid)
    return Discount(**_gives(promo, price))


def for_plan(
    tx: Tx, code: str, who: Customer, plan: Plan, price: Money, now: datetime
) -> Promo:
    """The code, where this customer may subscribe with it at this price; its limits are counted
    apart, when the subscription is written. Raises InvalidPromoCode."""
    promo = _named(tx, code)
    _check(tx, promo, who, None, price, now, None, plan)
    return promo


# Reserving -------------------------------------------------------------------------------------


def apply(
    env: Env,
    code: str,
    customer: Customer | str | UUID,
    *,
    pack: catalog.Pack | UUID | str | None = None,
    credits: int | None = None,
    price: Money | None = None,
    item: str | None = None,
    plan: Plan | UUID | str | None = None,
) -> Reservation:
    """Keep a use for this customer's next checkout of this product, or for the next subscription
    to this plan, until a session would expire.

    Again with the same code answers the same reservation; another code takes its place. One use
    of a code is kept for a customer: applied to another product, it leaves the one before.
    """
    found = claim(
        env, customer, pack=pack, credits=credits, price=price, code=code, is_only=True, item=item,
        plan=plan,
    )  # fmt: skip
    assert found is not None
    return found


def claim(
    env: Env,
    customer: Customer | str | UUID,
    *,
    pack: catalog.Pack | UUID | str | None = None,
    credits: int | None = None,
    price: Money | None = None,
    code: str | None = None,
    is_only: bool = False,
    item: str | None = None,
    plan: Plan | UUID | str | None = None,
) -> Reservation | None:
    """The reservation that a checkout of this product uses: that of `code`, reserved if need be,
    or without a code the one applied earlier, or None. `is_only` gives back what the customer
    keeps of the code for other products; checkouts running side by side leave each other alone.

    The checkout gives its payment the reservation's `payment_id` and takes the reservation in
    the transaction that writes the payment (`take_reservation`). A crash in between leaves it
    for the repeated checkout. Raises InvalidPromoCode.
    """
    who = customers.ensure(env, customer)
    found, price, product, sold = _what(env, pack, credits, price, item, plan)
    with env.db.transaction(who.uuid) as tx:
        now = heads.decide(tx, env.now(), who.uuid)
        held = _reservation(tx, who.uuid, product, now)
        if code is None:
            if held is None:
                return None
            promo = promo_in(tx, held["promo_id"])
            return Reservation(**_gives(promo, price), **_place(held))
        promo = _named(tx, code)
        if held is not None and held["promo_id"] == promo.uuid:
            return Reservation(**_gives(promo, price), **_place(held))
        _check(tx, promo, who, found, price, now, item, sold)
        if sold is not None and promo.free_trial_days and had_trial(tx, who.uuid, sold):
            raise _refused("customer_limit_reached")
        payment_id = ids.new_owned(who.uuid)
        row = {
            "customer_id": who.uuid, "product": product, "promo_id": promo.uuid,
            "payment_id": payment_id, "now": now,
            "expires_at": now + timedelta(minutes=env.settings.session_expiry_minutes),
        }  # fmt: skip
        _replace(tx, row, is_only=is_only)
        events.emit(tx, who.uuid, "promo.applied", promo.uuid,
                    {"code": promo.code, "product": product})  # fmt: skip
        count_use(tx, promo.uuid, who.uuid, payment_id, now)
        crash.at("promo_before_commit")
    crash.at("promo_after_reserve")
    return Reservation(**_gives(promo, price), **_place(row), is_new=True)


def reserve(
    env: Env, promo_id: UUID, customer_id: UUID, payment_id: UUID, now: datetime | None = None
) -> None:
    """Count one use for a payment that is about to be made; again with the same id is the same.

    Raises InvalidPromoCode when a limit is reached, and when the payment's use was given back.
    """
    with env.db.transaction(customer_id) as tx:
        count_use(tx, promo_id, customer_id, payment_id, now or heads.now(env, customer_id, tx))
        crash.at("promo_before_commit")
    crash.at("promo_after_reserve")


def take_reservation(
    tx: Tx, customer_id: UUID, product: str, now: datetime, payment_id: UUID | None = None
) -> tuple[UUID, UUID] | None:
    """End the reservation of this product because its payment is being written: (promo, payment).

    With `payment_id` only the one of that payment. None, and nothing done, when there is none
    any more, when it expired, or when another code took its place: claim again.
    """
    row = tx.one(
        "delete from promo_reservations where customer_id = %(customer_id)s"
        " and product = %(product)s and expires_at > %(now)s"
        " and payment_id = coalesce(%(payment_id)s, payment_id) returning promo_id, payment_id",
        {"customer_id": customer_id, "product": product, "now": now, "payment_id": payment_id},
    )
    return (row["promo_id"], row["payment_id"]) if row else None


def let_go(env: Env, reservation: Reservation | None) -> None:
    """Give back what a checkout reserved and then did not need, because it was refused. A use
    that was applied before it stays, and so does one that a payment has taken."""
    if reservation is None or not reservation.is_new:
        return
    customer_id = ids.customer_of(reservation.payment_id)
    with env.db.transaction(customer_id) as tx:
        drop(tx, customer_id, reservation, heads.decide(tx, env.now(), customer_id))


def drop(tx: Tx, customer_id: UUID, reservation: Reservation | None, now: datetime) -> None:
    """The step of `let_go`; the head is locked."""
    if reservation is None or not reservation.is_new:
        return
    if not _has_payment(tx, customer_id, reservation.payment_id):
        give_back(tx, customer_id, reservation.promo_id, reservation.payment_id, now)


def _replace(tx: Tx, row: Mapping[str, Any], *, is_only: bool) -> None:
    """Write the customer's reservation of a product; what it replaces is given back first."""
    old = tx.all(
        "select product, promo_id, payment_id from promo_reservations"
        " where customer_id = %(customer_id)s and (product = %(product)s"
        " or (%(is_only)s and promo_id = %(promo_id)s))",
        {**row, "is_only": is_only},
    )
    if old:
        # Two counters in one transaction: locked in order, as every such transaction does.
        tx.all(
            "select promo_id from promo_counts where promo_id = any(%(all)s)"
            " order by promo_id for no key update",
            {"all": [row["promo_id"], *(one["promo_id"] for one in old)]},
        )
    for one in old:
        if not _has_payment(tx, row["customer_id"], one["payment_id"]):
            uncount(tx, one["promo_id"], one["payment_id"], row["now"])
        if one["product"] != row["product"]:
            tx.run(
                "delete from promo_reservations where customer_id = %(customer_id)s"
                " and product = %(product)s",
                {"customer_id": row["customer_id"], "product": one["product"]},
            )
    tx.run(
        "insert into promo_reservations (customer_id, product, promo_id, payment_id, expires_at)"
        " values (%(customer_id)s, %(product)s, %(promo_id)s, %(payment_id)s, %(expires_at)s)"
        " on conflict (customer_id, product) do update set promo_id = excluded.promo_id,"
        " payment_id = excluded.payment_id, expires_at = excluded.expires_at,"
        " created_at = now()",
        row,
    )


def count_use(tx: Tx, promo_id: UUID, customer_id: UUID, payment_id: UUID, now: datetime) -> None:
    """The customer's own limits are exact because every use of theirs is reserved under their
    head; the code's limit because its counter is raised only below the cap. The counter, which
    all redeemers share, is locked last and for one statement.
    """
    assert customer_id in tx.heads, "the head must be locked"
    keys = {"promo_id": promo_id, "customer_id": customer_id, "payment_id": payment_id, "now": now}
    own = tx.one(
        "select state, customer_id from promo_uses"
        " where promo_id = %(promo_id)s and payment_id = %(payment_id)s",
        keys,
    )
    if own is not None:
        if own["customer_id"] != customer_id or own["state"] == "released":
            raise _refused("already_settled")
        return
    _check_own_limits(tx, promo_in(tx, promo_id), customer_id)
    counted = tx.run(
        "with counted as ("
        " update promo_counts c set used = c.used + 1 from promos p"
        " where c.promo_id = %(promo_id)s and p.id = c.promo_id"
        " and (p.cap is null or c.used < p.cap)"
        " returning p.id, coalesce(p.bonus_credits, 0) as bonus)"
        " insert into promo_uses"
        " (promo_id, payment_id, customer_id, state, bonus_credits, created_at)"
        " select id, %(payment_id)s, %(customer_id)s, 'reserved', bonus, %(now)s from counted",
        keys,
    )
    if not counted:
        raise _refused("limit_reached")


# Checking --------------------------------------------------------------------------------------


def _what(
    env: Env, pack: catalog.Pack | UUID | str | None, credits: int | None, price: Money | None,
    item: str | None, plan: Plan | UUID | str | None = None,
) -> tuple[catalog.Pack | None, Money, str, Plan | None]:  # fmt: skip
    """The pack that is bought, what it costs, its name for reservations, and its plan."""
    if plan is not None:
        sold = plans.get(env, plan, active_only=True)
        return None, price or plans.price_of(env, sold), product_of(plan=sold), sold
    if pack is not None:
        found = catalog.get_pack(env, pack, active_only=True)
        return found, found.price, product_of(pack=found), None
    assert price is not None, "a pack, or a price"
    return None, price, product_of(credits=credits, amount=price, item=item), None


def _named(tx: Tx, code: str) -> Promo:
    try:
        return promo_in(tx, code)
    except NotFound:
        raise _refused("unknown") from None


def _check(
    tx: Tx, promo: Promo, who: Customer, pack: catalog.Pack | None, price: Money, now: datetime,
    item: str | None, plan: Plan | None = None,
) -> None:  # fmt: skip
    """Everything but the limits. Raises InvalidPromoCode."""
    if item is not None and promo.bonus_credits:
        raise _refused("wrong_product")  # More credits come only with credits.
    purchase = rules.Purchase(
        price_minor=price.minor,
        currency=price.currency,
        pack=pack.key if pack else None,
        plan=plan.key if plan else None,
        customer_ids=(who.external_id, who.id),
        metadata=who.metadata,
        has_purchased=promo.first_purchase and has_purchased(tx, who.uuid),
    )
    if reason := rules.refusal(promo.terms, purchase, now):
        raise _refused(reason)


def _check_limits(tx: Tx, promo: Promo, customer_id: UUID) -> None:
    sql = "select used from promo_counts where promo_id = %(promo_id)s"
    used = tx.value(sql, {"promo_id": promo.uuid}) or 0
    if promo.cap is not None and used >= promo.cap:
        raise _refused("limit_reached")
    _check_own_limits(tx, promo, customer_id)


def _check_own_limits(tx: Tx, promo: Promo, customer_id: UUID) -> None:
    """What one customer may: so many uses; one purchase at a time that claims to be the first."""
    keys = {"promo_id": promo.uuid, "customer_id": customer_id}
    if promo.per_customer is not None:
        used = tx.value(
            "select count(*) from promo_uses where promo_id = %(promo_id)s"
            " and customer_id = %(customer_id)s and state <> 'released'",
            keys,
        )
        if used >= promo.per_customer:
            raise _refused("customer_limit_reached")
    if promo.first_purchase and (
        has_purchased(tx, customer_id)
        or tx.one(
            "select 1 as one from promos p join promo_uses u on u.promo_id = p.id"
            " where p.first_purchase and u.customer_id = %(customer_id)s"
            " and u.state <> 'released' limit 1",
            keys,
        )
    ):
        raise _refused("not_first_purchase")


def has_purchased(tx: Tx, customer_id: UUID) -> bool:
    return tx.one(
        "select 1 as one from payments where customer_id = %(customer_id)s"
        " and captured_minor > 0 limit 1",
        {"customer_id": customer_id},
    ) is not None  # fmt: skip


def had_trial(tx: Tx, customer_id: UUID, plan: Plan) -> bool:
    return tx.one(
        "select 1 as one from trials where customer_id = %(customer_id)s and family = %(family)s",
        {"customer_id": customer_id, "family": plan.family},
    ) is not None  # fmt: skip


def _has_payment(tx: Tx, customer_id: UUID, payment_id: UUID) -> bool:
    return tx.one(
        "select 1 as one from payments where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": customer_id, "id": payment_id},
    ) is not None  # fmt: skip


def kept_for(tx: Tx, customer_id: UUID, plan: Plan, now: datetime) -> str | None:
    """The code that was applied before for this plan, where one waits for its subscription."""
    held = _reservation(tx, customer_id, product_of(plan=plan), now)
    return promo_in(tx, held["promo_id"]).code if held else None


def hand_over(
    tx: Tx, customer_id: UUID, product: str, promo_id: UUID, use_id: UUID, now: datetime
) -> bool:
    """The use that was reserved of this code for the product becomes that of `use_id`, whatever
    the limits are by now. False where none is kept any more: it is to be counted anew."""
    kept = tx.one(
        "delete from promo_reservations where customer_id = %(customer_id)s"
        " and product = %(product)s and promo_id = %(promo_id)s returning payment_id, expires_at",
        {"customer_id": customer_id, "product": product, "promo_id": promo_id},
    )
    if kept is None:
        return False
    if kept["expires_at"] <= now:
        uncount(tx, promo_id, kept["payment_id"], now)
        return False
    return bool(tx.run(
        "update promo_uses set payment_id = %(use_id)s where promo_id = %(promo_id)s"
        " and payment_id = %(payment_id)s and customer_id = %(customer_id)s"
        " and state = 'reserved'",
        {"customer_id": customer_id, "promo_id": promo_id, "use_id": use_id,
         "payment_id": kept["payment_id"]},
    ))  # fmt: skip


def leave(tx: Tx, customer_id: UUID, product: str, now: datetime) -> None:
    """What was reserved for the product goes back: it was sold without. The head is locked."""
    held = _reservation(tx, customer_id, product, now)
    if held is not None:
        give_back(tx, customer_id, held["promo_id"], held["payment_id"], now)


def _reservation(tx: Tx, customer_id: UUID, product: str, now: datetime) -> Any:
    return tx.one(
        "select product, promo_id, payment_id, expires_at from promo_reservations"
        " where customer_id = %(customer_id)s and product = %(product)s and expires_at > %(now)s",
        {"customer_id": customer_id, "product": product, "now": now},
    )


def _gives(promo: Promo, price: Money) -> dict[str, Any]:
    taken = price.minor and rules.discount(promo.terms, price.minor, price.currency)
    return {
        "promo_id": promo.uuid,
        "code": promo.code,
        "kind": promo.kind,
        "price": price,
        "discount": Money(taken, price.currency, minor=True),
        "bonus_credits": promo.bonus_credits or 0,
        "free_trial_days": promo.free_trial_days or 0,
        "duration": promo.duration,
        "periods": promo.duration_periods,
    }


def _place(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in ("product", "payment_id", "expires_at")}


def _refused(reason: str) -> InvalidPromoCode:
    return InvalidPromoCode(rules.REFUSALS[reason], reason=reason, param="code")
