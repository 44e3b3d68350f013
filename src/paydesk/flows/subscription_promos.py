"""Promo codes of subscriptions: weighed when one begins, counted once, kept with it.

A use is counted under the subscription's id, where a purchase has its payment's. What the code
takes off the coming periods stands on the subscription.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk.db.postgres import Tx
from paydesk.errors import InvalidPromoCode, NotFound
from paydesk.flows import promos
from paydesk.flows.customers import Customer
from paydesk.flows.plans import Plan
from paydesk.flows.subscription_steps import Sub
from paydesk.rules import promo as rules
from paydesk.rules.money import Money

#: Kinds that take nothing off a price.
_FREE = frozenset({"free_trial", "bonus_credits"})


@dataclass(frozen=True, slots=True)
class Code:
    """A code that this customer may use for this plan. `kept` is what the subscription keeps of
    it; `trial_days` of a free trial, 0 for other codes; `product` what it may be reserved for."""

    promo_id: UUID
    kept: dict[str, Any]
    trial_days: int
    product: str


def chosen(
    tx: Tx, code: str | None, who: Customer, plan: Plan, price: Money, now: datetime
) -> Code | None:
    """The code that was named, or the one that was applied for this plan before; None without
    any. Raises InvalidPromoCode for one that was named.

    Who may use it was decided when it was applied. Where what was applied no longer fits, and
    nobody names it, the subscription begins without.
    """
    kept = promos.kept_for(tx, who.uuid, plan, now)
    if code:
        is_kept = kept is not None and rules.norm(kept) == rules.norm(code)
        return weigh(tx, code, who, plan, price, now, is_kept=is_kept)
    if kept is None:
        return None
    try:
        found = weigh(tx, kept, who, plan, price, now, is_kept=True)
    except InvalidPromoCode:
        return None
    return None if found.trial_days and promos.had_trial(tx, who.uuid, plan) else found


def weigh(
    tx: Tx, code: str, who: Customer, plan: Plan, price: Money, now: datetime, *,
    is_kept: bool = False,
) -> Code:  # fmt: skip
    """Whether and how the code helps; of one that `is_kept`, whether it fits this plan and price.
    Nothing is counted. Raises InvalidPromoCode."""
    try:
        promo = promos.promo_in(tx, code)
    except NotFound:
        raise _refused("unknown") from None
    row = tx.one(
        "select kind, duration, duration_periods, trial_days, plans from promos where id = %(id)s",
        {"id": promo.uuid},
    )
    assert row is not None
    if row["plans"] is not None and plan.key not in row["plans"]:
        raise _refused("wrong_product")
    terms = promo.terms
    if is_kept:
        terms = replace(terms, active=True, starts_at=None, expires_at=None, customers=None,
                        match_metadata={}, first_purchase=False)  # fmt: skip
    if row["kind"] in _FREE:
        terms = replace(terms, kind="bonus_credits")
    elif price.minor <= 0:
        raise _refused("no_discount")
    has_purchased = terms.first_purchase and promos.has_purchased(tx, who.uuid)
    purchase = rules.Purchase(
        price_minor=price.minor, currency=price.currency, pack=None, plan=plan.key,
        customer_ids=(who.external_id, who.id), metadata=who.metadata,
        has_purchased=has_purchased,
    )  # fmt: skip
    if reason := rules.refusal(terms, purchase, now):
        raise _refused(reason)
    left = {"once": 1, "repeating": row["duration_periods"], "forever": None}[row["duration"]]
    kept: dict[str, Any] = {"promo_id": str(promo.uuid), "code": promo.code, "left": left,
                            "duration": row["duration"]}  # fmt: skip
    if row["kind"] == "percent":
        kept["percent"] = promo.percent_off
    elif row["kind"] == "fixed" and promo.amount_off is not None:
        kept["minor"] = promo.amount_off.minor
    elif row["kind"] == "bonus_credits":
        kept |= {"bonus": promo.bonus_credits, "left": 0}
    else:
        kept["left"] = 0
    if row["plans"] is not None and rules.is_discount(kept):
        kept["plans"] = list(row["plans"])
    return Code(promo.uuid, kept, row["trial_days"] or 0, promos.product_of(plan=plan))


def use(
    tx: Tx, code: Code | None, plan: Plan, customer_id: UUID, sub_id: UUID, now: datetime
) -> None:
    """Count one use for this subscription: the one that was kept for it, else a new one within
    the limits. Without a code, what was kept for the plan and does not fit goes back. Raises
    InvalidPromoCode."""
    if code is None:
        promos.leave(tx, customer_id, promos.product_of(plan=plan), now)
        return
    if not promos.hand_over(tx, customer_id, code.product, code.promo_id, sub_id, now):
        promos.count_use(tx, code.promo_id, customer_id, sub_id, now)
    tx.run(
        "update promo_uses set state = 'used' where promo_id = %(promo_id)s"
        " and payment_id = %(id)s and customer_id = %(customer_id)s",
        {"promo_id": code.promo_id, "id": sub_id, "customer_id": customer_id},
    )


def release(tx: Tx, sub: Sub, now: datetime) -> None:
    """A subscription that never began gives its use back."""
    _settle(tx, sub, "used", "released", now, -1)


def confirm(tx: Tx, sub: Sub) -> None:
    """It begins after all: what was given back counts again, over the limit if it must."""
    _settle(tx, sub, "released", "used", None, 1)


def _settle(
    tx: Tx, sub: Sub, before: str, after: str, released_at: datetime | None, step: int
) -> None:
    if not (sub.discount or {}).get("promo_id"):
        return
    assert sub.discount is not None
    tx.run(
        "with changed as (update promo_uses set state = %(after)s, released_at = %(at)s"
        " where promo_id = %(promo_id)s and payment_id = %(id)s and customer_id = %(customer_id)s"
        " and state = %(before)s returning promo_id)"
        " update promo_counts c set used = c.used + %(step)s from changed"
        " where c.promo_id = changed.promo_id",
        {"promo_id": UUID(sub.discount["promo_id"]), "id": sub.id, "before": before,
         "after": after, "at": released_at, "step": step, "customer_id": sub.customer_id},
    )  # fmt: skip


def _refused(reason: str) -> InvalidPromoCode:
    return InvalidPromoCode(rules.REFUSALS[reason], reason=reason, param="promo")
