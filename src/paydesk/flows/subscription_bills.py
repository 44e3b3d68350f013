"""Invoices of subscriptions: what a period costs, written, asked for, and paid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.flows import credit_notes, invoices, provider_calls, subscription_history
from paydesk.flows import subscription_steps as steps
from paydesk.flows.invoice_books import InvoiceRow
from paydesk.flows.subscription_steps import Sub
from paydesk.rules import periods, promo, proration
from paydesk.rules.invoices import Discount, NewItem
from paydesk.rules.plans import Terms
from paydesk.rules.promo import charge_step, least_charge


def bill(
    env: Env, tx: Tx, now: datetime, sub: Sub, reason: str, items: Sequence[NewItem], *,
    key: Sequence[str], cycle: int | None = None,
    period: tuple[datetime, datetime] | None = None, discount: Discount | None = None,
    metadata: Mapping[str, str] | None = None,
    drafted: Callable[[InvoiceRow], None] | None = None,
) -> InvoiceRow:  # fmt: skip
    """Write and finalize an invoice; one that asks for nothing is paid at once, and what it pays
    for is given then: `sub` has to be read anew after that, unless the invoice is open. The head
    is locked. `drafted` hears of the draft before that.

    What cannot be charged of what a balance, a code, a tax, a change or a short first period left
    of a price is written off: for some cents nobody's plan ends.
    """
    draft = invoices.write(
        tx, now, settings=env.settings, customer_id=sub.customer_id, subscription_id=sub.id,
        reason=reason, currency=sub.currency, items=list(items), cycle=cycle, period=period,
        discount=discount, metadata=dict(metadata or {}),
        request_key=ids.request_key("subscription", str(sub.id), *key),
    )  # fmt: skip
    if drafted is not None:
        drafted(draft)
    row = invoices.finalize(
        tx, now, sub.customer_id, draft.id, settings=env.settings, row=draft
    )
    is_rest = reason == "subscription_update" or row.due_minor != sub.price_minor * sub.quantity
    rest = row.due_minor - chargeable(row.due_minor, row.currency)
    if row.state == "open" and is_rest and rest:
        row = credit_notes.write_off(env, tx, now, row, "too_small_to_charge", rest)
    return row


def chargeable(due_minor: int, currency: str) -> int:
    """What can be charged of a sum: nothing of a very small one, and whole steps of a currency
    that cards do not charge to the last digit (KWD in hundredths, ISK in whole ones)."""
    if due_minor < least_charge(currency):
        return 0
    return due_minor - due_minor % charge_step(currency)


def charge(
    env: Env, tx: Tx, now: datetime, sub: Sub, row: InvoiceRow, *, off_session: bool = True,
    return_url: str | None = None, is_fresh: bool = False,
) -> provider_calls.Call | None:  # fmt: skip
    """Intend the charge of an open invoice; None where there is nothing to charge with."""
    return invoices.intend_payment(
        env, tx, now, row, method_id=sub.method_id, off_session=off_session,
        return_url=return_url, is_fresh=is_fresh,
    )  # fmt: skip


def period_item(
    tx: Tx, sub: Sub, told: Terms, start: datetime, end: datetime
) -> NewItem:
    """The line of a whole period, or of the part of one that calendar billing begins with."""
    _, name = steps.plan_words(tx, sub.plan_id)
    full = sub.price_minor * sub.quantity
    amount, why = full, {
        "rule": "quantity x unit price", "unit_minor": sub.price_minor, "quantity": sub.quantity,
        "plan_version": sub.plan_version,
    }  # fmt: skip
    if end == sub.anchor and told.billing == "calendar":
        whole = periods.period(sub.anchor, told.interval_unit, told.interval_count, -1, sub.zone)
        policy = "days" if told.upgrade == "days" else "seconds"
        part = proration.share(*whole, start, policy, sub.zone)
        amount = proration.portion(full, part)
        why |= {
            "rule": f"short first period, by {policy}", "full_minor": full,
            "part": [part.numerator, part.denominator],
            "whole_period": [one.isoformat() for one in whole],
        }  # fmt: skip
    return NewItem(
        kind="recurring", description=name, amount_minor=amount, quantity=sub.quantity,
        unit_minor=sub.price_minor, period=(start, end), plan=(sub.plan_id, sub.plan_version),
        product=told.product, why=why,
    )  # fmt: skip


def use_discount(tx: Tx, sub: Sub) -> Discount | None:
    """What the subscription's promo code takes off the next period, of a plan that it is for; one
    that is counted counts down, and says whether the period is one of its own (`runs`)."""
    kept = sub.discount
    if kept is None:
        return None
    if kept.get("left") is not None and kept["left"] <= 0:
        sub.discount = {**kept, "runs": False}
        return None
    if kept.get("left") is not None:
        sub.discount = {**kept, "left": kept["left"] - 1, "runs": True}
    if not promo.is_discount(kept) or subscription_history.held(tx, sub) is None:
        return None
    return discount_of(kept)


def discount_of(kept: Mapping[str, Any]) -> Discount:
    """A kept promo code as an invoice takes it off."""
    return Discount(
        description=kept["code"], minor=kept.get("minor"),
        percent_micros=kept["percent"] * 10_000 if kept.get("percent") else None,
        why={"promo": ids.show("promo", UUID(kept["promo_id"]))},
    )  # fmt: skip
