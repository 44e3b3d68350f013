"""Trials: one of a family for each customer, with what the plan gives until it ends."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from paydesk.db.postgres import Tx
from paydesk.flows import subscription_promos
from paydesk.flows import subscription_steps as steps
from paydesk.flows.subscription_steps import Sub
from paydesk.rules import periods
from paydesk.rules.plans import Terms


def had(tx: Tx, customer_id: UUID, family: str) -> bool:
    """Whether the customer had a trial of this family, whatever became of it."""
    return tx.one(
        "select 1 as one from trials where customer_id = %(customer_id)s and family = %(family)s",
        {"customer_id": customer_id, "family": family},
    ) is not None  # fmt: skip


def lay_out(sub: Sub, told: Terms, now: datetime, days: int) -> None:
    """The trial is period 0; the plan's own periods begin at its end."""
    sub.trial_start, sub.trial_end = now, now + timedelta(days=days)
    sub.period, sub.period_start, sub.period_end = 0, now, sub.trial_end
    count_on(sub, told)


def count_on(sub: Sub, told: Terms) -> None:
    """Periods are counted anew from the end of the trial, or of the running period, by these
    terms."""
    sub.anchor, sub.anchor_period = sub.period_end, sub.period + 1
    if told.billing == "calendar":
        sub.anchor = periods.calendar_anchor(sub.period_end, told.interval_unit, sub.zone)
        sub.anchor_period += 1


def begin(
    tx: Tx, now: datetime, sub: Sub, days: int, start: datetime | None = None
) -> None:
    """The trial runs from now on, counted from `start`: what the plan opens is open. Where the
    customer had one in the meantime it ends at once, and is charged for. The head is locked; the
    caller saves `sub`."""
    told = steps.terms(tx, sub)
    made = tx.run(
        "insert into trials (customer_id, family, subscription_id, days, created_at)"
        " values (%(customer_id)s, %(family)s, %(id)s, %(days)s, %(now)s) on conflict do nothing",
        {"customer_id": sub.customer_id, "family": sub.family, "id": sub.id, "days": days,
         "now": now},
    )  # fmt: skip
    lay_out(sub, told, start or now, days)
    if not made:
        sub.trial_end = sub.period_end = now + steps.INSTANT
        sub.told = {**sub.told, "trial": now.isoformat()}
    steps.move(tx, now, sub, "trial_started", "activated",
               trial_end=sub.trial_end.isoformat() if sub.trial_end else None)  # fmt: skip
    subscription_promos.confirm(tx, sub)
    # Where something will be charged at its end, that may take its time.
    end = sub.period_end
    until = steps.until_of(told, end) if steps.has_method(tx, sub) else end
    steps.give_access(tx, now, sub, told, until, None)
