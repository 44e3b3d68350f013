"""Pausing: a subscription's time stands still, and what it opens is shut."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import Conflict, InvalidRequest
from paydesk.flows import access, heads, invoice_books, memberships
from paydesk.flows import provider_billing_changes as there
from paydesk.flows import subscription_steps as steps
from paydesk.flows.subscription_steps import Sub
from paydesk.flows.subscription_views import SubscriptionView, get


def pause(
    env: Env, customer_id: UUID, sub_id: UUID, *, resume_at: datetime | None = None
) -> SubscriptionView:
    """Stop its time: nothing is billed and nothing is open until it is resumed. Safe to repeat.

    Raises NotFound, InvalidTransition (it is not active), Conflict (it is to end), InvalidRequest
    (`resume_at` is past).
    """
    if there.runs(env, customer_id, sub_id):
        return there.pause(env, customer_id, sub_id, resume_at=resume_at)
    from paydesk.flows import renewals  # It resumes what is due to be.

    renewals.catch_up(env, customer_id, sub_id)
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        sub = steps.read(tx, customer_id, sub_id)
        if resume_at is not None and resume_at <= now:
            raise InvalidRequest("resume_at lies in the past.", param="resume_at")
        if sub.state != "paused":
            _refuse_trial(sub)
            if sub.cancel_at is not None:
                raise Conflict("It is to end: reactivate it before it is paused.")
            steps.move(tx, now, sub, "paused", "paused",
                       resume_at=resume_at and resume_at.isoformat())  # fmt: skip
            sub.paused_at = now
            memberships.stand_still(tx, now, sub)
            access.revoke_source(tx, now, customer_id, sub_id, "cancellation")
        sub.resume_at = resume_at
        steps.save(tx, now, sub)
    return get(env, customer_id, sub_id)


def _refuse_trial(sub: Sub) -> None:
    if sub.state == "trialing":
        raise InvalidRequest("A trial cannot be paused: it can be canceled.", param="subscription")


def resume(env: Env, customer_id: UUID, sub_id: UUID) -> SubscriptionView:
    """Let its time run on now. Safe to repeat. Raises NotFound, InvalidTransition."""
    if there.runs(env, customer_id, sub_id):
        return there.resume(env, customer_id, sub_id)
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        sub = steps.read(tx, customer_id, sub_id)
        if sub.state not in ("active", "past_due"):
            resumed(tx, now, sub)
            steps.save(tx, now, sub)
    return get(env, customer_id, sub_id)


def resumed(tx: Tx, now: datetime, sub: Sub) -> None:
    """The step: what was left of the period when it was paused begins now, and the periods that
    follow are counted from its end."""
    steps.move(tx, now, sub, "resumed", None)
    assert sub.paused_at is not None
    left = max(sub.period_end - sub.paused_at, steps.INSTANT)
    # The months of a longer period, and their credits, are as much later as its end.
    stood = steps.stood_in(sub) + (now - sub.paused_at)
    sub.told = {**sub.told, "stood": {"period": sub.period, "seconds": stood.total_seconds()}}
    if sub.cancel_at is not None:
        sub.cancel_at += now - sub.paused_at
    sub.period_end = now + left
    sub.anchor, sub.anchor_period = sub.period_end, sub.period + 1
    sub.paused_at = sub.resume_at = None
    memberships.run_on(tx, now, sub)
    told = steps.terms(tx, sub)
    if is_owed := _ask_again(tx, now, sub):
        steps.move(tx, now, sub, "payment_failed", None)
    steps.give_access(tx, now, sub, told, steps.until_of(told, now if is_owed else sub.period_end),
                      steps.payment_of_period(tx, sub))  # fmt: skip
    steps.tell(tx, now, sub, "resumed", was="paused")


def _ask_again(tx: Tx, now: datetime, sub: Sub) -> bool:
    """Whether the charge of the running period failed while it was paused. What is to be tried no
    more in a pause is tried once again."""
    is_owed = False
    for one in steps.open_invoices(tx, sub):
        row = invoice_books.get(tx, sub.customer_id, one["id"])
        if row.cycle == sub.period and row.first_failed_at is not None:
            is_owed = True
            if row.try_at is None:
                invoice_books.change(tx, row, try_at=now)
    return is_owed
