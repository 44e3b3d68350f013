"""What subscribing to a plan would cost somebody: the first invoice, reckoned and not written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk.env import Env
from paydesk.flows import (
    heads,
    invoice_views,
    ledger,
    subscription_trials,
    subscriptions,
    tax_rates,
)
from paydesk.flows import subscription_bills as bills
from paydesk.flows import subscription_steps as steps
from paydesk.flows.subscriptions import NewSubscription
from paydesk.rules import invoices as invoice_rules
from paydesk.rules.invoices import NewItem
from paydesk.rules.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstInvoice:
    """The invoice that a subscription would begin with, on `at`: now, or when its trial ends.

    `lines` add up to `total`; `from_balance` is what the customer's balance pays of it as it
    stands now, `due` what is charged then. The next period is billed on `next_at`, for
    `next_amount` before taxes and discounts. `trial_days` is 0 where no trial comes first. `code`
    is what the subscription keeps of the promo code.
    """

    at: datetime
    period: tuple[datetime, datetime]
    quantity: int
    lines: tuple[NewItem, ...]
    total: Money
    from_balance: Money
    due: Money
    trial_days: int
    next_at: datetime
    next_amount: Money
    code: Mapping[str, Any] | None

    @property
    def due_now(self) -> Money:
        """What is charged at once."""
        return Money(0, self.due.currency, minor=True) if self.trial_days else self.due


def preview(
    env: Env, customer_id: UUID, plan: str, *, quantity: int, promo: str | None = None,
    currency: str | None = None,
) -> FirstInvoice:  # fmt: skip
    """The first invoice by the very steps that write it. Nothing is reserved or written.

    Raises as `subscriptions.start`: NotFound, InvalidRequest, InvalidPromoCode,
    SubscriptionAlreadyActive.
    """
    what = NewSubscription(
        customer_id=customer_id, plan=plan, quantity=quantity, promo=promo, currency=currency,
        is_hosted=True,
    )  # fmt: skip
    with env.db.read() as tx:
        now = heads.now(env, customer_id, tx)
        drawn = subscriptions.draw_up(env, tx, now, what)
        sub, told = drawn.sub, drawn.plan.terms
        if drawn.trial_days:
            subscription_trials.lay_out(sub, told, now, drawn.trial_days)
            sub.period, (sub.period_start, sub.period_end) = 1, steps.bounds(sub, told, 1)
        span = sub.period_start, sub.period_end
        items = [bills.period_item(tx, sub, told, *span)]
        country = invoice_views.buyer(tx, customer_id, {}).get("country") or ""
        held = {one.product: tax_rates.find(tx, country, one.product, now) for one in items}
        sums = invoice_rules.compute(
            items, bills.use_discount(sub), held, currency=sub.currency,
            rounding=env.settings.tax_rounding,
        )  # fmt: skip
        stands = ledger.balances(tx, [customer_id], "balance", sub.currency)[customer_id]

    def money(minor: int) -> Money:
        return Money(minor, sub.currency, minor=True)

    used = min(sums.total, max(0, stands))
    due = sums.total - used
    # As `bills.bill` has it: of what is left of a price, what cannot be charged is let go.
    if due != sub.price_minor * sub.quantity:
        due = bills.chargeable(due, sub.currency)
    return FirstInvoice(
        at=span[0], period=span, quantity=sub.quantity, lines=sums.items, total=money(sums.total),
        from_balance=money(used), due=money(due), trial_days=drawn.trial_days, next_at=span[1],
        next_amount=money(sub.price_minor * sub.quantity),
        code=drawn.code.kept if drawn.code else None,
    )  # fmt: skip
