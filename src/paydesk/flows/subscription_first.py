"""The first invoice of a subscription that would begin: reckoned by the steps that write it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import PreviewOutdated
from paydesk.flows import invoice_views, ledger, subscription_trials, tax_rates
from paydesk.flows import subscription_bills as bills
from paydesk.flows import subscription_steps as steps
from paydesk.flows.subscription_charges import EPOCH, MICROSECOND, PREVIEW_LIFE, instant_of
from paydesk.flows.subscription_steps import Sub
from paydesk.rules import invoices as invoice_rules
from paydesk.rules.invoices import NewItem
from paydesk.rules.money import Money
from paydesk.rules.plans import Terms

if TYPE_CHECKING:
    from paydesk.flows.subscriptions import Draft


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstInvoice:
    """The invoice that a subscription would begin with, on `at`: now, or when its trial ends.

    `lines` add up to `total`; `from_balance` is what the customer's balance pays of it as it
    stands now, `due` what is charged then. The next period is billed on `next_at`, for
    `next_amount` before taxes and discounts and `next_total` with them. `trial_days` is 0 where no
    trial comes first. `code` is what the subscription keeps of the promo code.

    `way`: how it would begin. "charge": a saved method pays at once; "checkout": a page to pay on;
    "free": at once, as nothing is due; "trial": at once; "setup": a page that saves a method, and
    the trial runs from then on. `token` stands for all of it, reckoned for the instant `made_at`.
    """

    customer_id: UUID
    plan: str
    way: str
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
    next_total: Money
    code: Mapping[str, Any] | None
    made_at: datetime
    token: str

    @property
    def due_now(self) -> Money:
        """What is charged at once."""
        return Money(0, self.due.currency, minor=True) if self.trial_days else self.due


def reckon(env: Env, tx: Tx, now: datetime, drawn: Draft) -> FirstInvoice:
    """What a subscription that was drawn up would cost first, and next. Nothing is written."""
    sub, told = replace(drawn.sub), drawn.plan.terms
    moment = sub.period_start
    if drawn.trial_days:
        subscription_trials.lay_out(sub, told, moment, drawn.trial_days)
        _step(sub, told)
    span = sub.period_start, sub.period_end
    sums = _sums(env, tx, sub, told, max(now, span[0]))
    stands = ledger.balances(tx, [sub.customer_id], "balance", sub.currency)[sub.customer_id]
    used = min(sums.total, max(0, stands))
    due = sums.total - used
    # As `bills.bill` has it: of what is left of a price, what cannot be charged is let go.
    if due != sub.price_minor * sub.quantity:
        due = bills.chargeable(due, sub.currency)
    _step(sub, told)
    later = _sums(env, tx, sub, told, max(now, sub.period_start))

    def money(minor: int) -> Money:
        return Money(minor, sub.currency, minor=True)

    figures = [
        ids.show("customer", sub.customer_id), drawn.plan.key, drawn.plan.version, sub.quantity,
        sub.currency, sub.price_minor, drawn.trial_days, sums.total, due, later.total,
        [[one.kind, one.description, one.amount_minor] for one in sums.items],
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(figures).encode()).hexdigest()[:32]
    return FirstInvoice(
        customer_id=sub.customer_id, plan=drawn.plan.key, way=_way(drawn, due), at=span[0],
        period=span, quantity=sub.quantity, lines=sums.items, total=money(sums.total),
        from_balance=money(used), due=money(due), trial_days=drawn.trial_days, next_at=span[1],
        next_amount=money(sub.price_minor * sub.quantity), next_total=money(later.total),
        code=drawn.code.kept if drawn.code else None, made_at=moment,
        token=f"{(moment - EPOCH) // MICROSECOND}.{digest}",
    )  # fmt: skip


def _step(sub: Sub, told: Terms) -> None:
    """The period after this one."""
    start, end = steps.bounds(sub, told, sub.period + 1)
    sub.period, sub.period_start, sub.period_end = sub.period + 1, start, end


def _sums(env: Env, tx: Tx, sub: Sub, told: Terms, at: datetime) -> invoice_rules.Sums:
    """A period's invoice, with the code's discount and the taxes of that day."""
    items = [bills.period_item(tx, sub, told, sub.period_start, sub.period_end)]
    country = invoice_views.buyer(tx, sub.customer_id, {}).get("country") or ""
    held = {one.product: tax_rates.find(tx, country, one.product, at) for one in items}
    return invoice_rules.compute(
        items, bills.use_discount(tx, sub), held, currency=sub.currency,
        rounding=env.settings.tax_rounding,
    )  # fmt: skip


def _way(drawn: Draft, due: int) -> str:
    """How it would begin, as `subscriptions.start` has it."""
    if drawn.trial_days:
        is_ready = drawn.has_method or not drawn.plan.terms.trial_needs_method
        return "trial" if is_ready else "setup"
    if due == 0:
        return "free"
    return "charge" if drawn.has_method else "checkout"


# What is expected ------------------------------------------------------------------------------


def moment_of(now: datetime, expect: FirstInvoice | str | None) -> datetime:
    """The instant that it begins at: now, or the preview's. Raises InvalidRequest,
    PreviewOutdated."""
    if expect is None:
        return now
    moment = instant_of(_token(expect))
    if not now - PREVIEW_LIFE <= moment <= now:
        raise PreviewOutdated("The preview is too old: preview it anew.")
    return moment


def check(
    env: Env, tx: Tx, now: datetime, drawn: Draft, expect: FirstInvoice | str | None
) -> None:
    """Raises PreviewOutdated where what would begin costs another sum than expected, or its first
    period is over by now."""
    if expect is None:
        return
    seen = reckon(env, tx, now, drawn)
    if seen.token != _token(expect) or seen.next_at <= now:
        raise PreviewOutdated("It would cost another sum now: preview it anew.")


def _token(expect: FirstInvoice | str) -> str:
    return expect.token if isinstance(expect, FirstInvoice) else str(expect)
