"""Renewals: what is due of a subscription is done, one thing at a time, however late.

A step takes the head, looks again, does the books and writes the payment with its provider call;
it is committed before the call is sent. Whoever dies after any line leaves it to the sweeps.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from paydesk import crash
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import InvalidRequest, PaydeskError, PaymentFailed, PaymentInFlight
from paydesk.flows import (
    access,
    clock_sources,
    due_batches,
    dunning,
    heads,
    invoice_books,
    memberships,
    plans,
    provider_billing_books,
    provider_calls,
    subscription_notices,
    subscription_pauses,
    subscription_trials,
)
from paydesk.flows import subscription_bills as bills
from paydesk.flows import subscription_steps as steps
from paydesk.flows.subscription_steps import Sub
from paydesk.flows.sweeps import SET_BACK, WAIT_S, is_ending
from paydesk.logger import get_logger
from paydesk.rules import subscriptions as rules

log = get_logger(__name__)

#: When a period waits for the payment of a change that is under way.
WAIT_FOR_CHANGE = timedelta(minutes=5)
#: A month's credits wait so long where a provider has not been paid for the period; its news comes
#: before that.
WAIT_FOR_MONEY = timedelta(days=1)
#: Periods that are caught up with for one subscription in one round of the sweep.
MOST_AT_ONCE = 50
#: Where a process may die: before a step's commit, and after it.
POINTS = ("renewal_before_commit", "renewal_after_commit")


def run_due(env: Env, limit: int = 4 * due_batches.SIZE) -> int:
    """Sweep: do what is due of subscriptions and of invoices that failed; answers how much.

    Any number of workers may run it side by side: they share what is due.
    """
    with env.db.read() as tx:
        found: Sequence[Mapping[str, Any]] = tx.all(
            "select customer_id, id from subscriptions where clock_id is null"
            " and due_at < 'infinity' and due_at <= %(now)s order by due_at limit %(limit)s",
            {"now": env.now(), "limit": limit},
        )
    done = 0
    for _ in range(MOST_AT_ONCE):
        made, alone = due_batches.run(env, found, _act, POINTS)
        made += due_batches.by_itself(
            env, "renewals", alone, partial(step, env), partial(_set_back, env), _later, POINTS
        )
        done += made
        found = _still_due(env, found) if made else []
        if not found or is_ending():
            break
    return done + dunning.retry_due(env, limit)


def _still_due(env: Env, found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those of which more is due: periods that were missed while nobody worked."""
    with env.db.read() as tx:
        return tx.all(
            "select s.customer_id, s.id from unnest(%(customers)s::uuid[], %(ids)s::uuid[])"
            "  as k(c, s) cross join lateral (select customer_id, id from subscriptions"
            "  where customer_id = k.c and id = k.s and due_at <= %(now)s limit 1) s",
            {"customers": [one["customer_id"] for one in found],
             "ids": [one["id"] for one in found], "now": env.now()},
        )  # fmt: skip


def _act(
    env: Env, tx: Tx, at: datetime, customer_id: UUID, sub_id: UUID
) -> tuple[bool, provider_calls.Call | None] | None:
    """`step` inside a batch: the head is locked. None where a provider has to be asked first, or
    where the row's instant is to be put right."""
    now = heads.decide(tx, at, customer_id)
    sub = steps.read(tx, customer_id, sub_id)
    found = steps.due(tx, sub)
    if sub.due_at is None or sub.due_at > now:
        return False, None
    if found is None or found.at > now or found.what == "lapse":
        return None
    if _is_to_ask(tx, sub, found) and not dunning.knows_method(tx, customer_id):
        return None
    return True, _do(env, tx, now, sub, found)


def _is_to_ask(tx: Tx, sub: Sub, found: rules.Due) -> bool:
    """Whether there has to be a method: what begins costs something, and none is named for it."""
    if found.what not in ("renew", "trial_end") or sub.method_id is not None:
        return False
    return _costs(sub) or _next_costs(tx, sub)


def _next_costs(tx: Tx, sub: Sub) -> bool:
    """Whether a change that waits, or the one behind it, leads to a plan that costs something."""
    wanted = sub.next
    while wanted is not None:
        told = plans.terms(tx, UUID(wanted["plan_id"]), wanted["plan_version"])
        if plans.price(told, sub.currency).minor > 0:
            return True
        wanted = wanted.get("waiting")
    return False


def _set_back(env: Env, customer_id: UUID, sub_id: UUID) -> None:
    with env.db.transaction(customer_id, wait_s=WAIT_S) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        sub = steps.read(tx, customer_id, sub_id)
        if sub.due_at is not None and sub.due_at <= now:
            steps.postpone(tx, sub, now + SET_BACK)


def _later(
    env: Env, tx: Tx, at: datetime, customer_id: UUID, sub_id: UUID
) -> tuple[bool, None]:
    now = heads.decide(tx, at, customer_id)
    sub = steps.read(tx, customer_id, sub_id)
    if sub.due_at is not None and sub.due_at <= now:
        steps.postpone(tx, sub, now + due_batches.LATER)
    return False, None


def step(env: Env, customer_id: UUID, sub_id: UUID) -> bool:
    """Do the one thing that is due next; whether there was one."""
    with env.db.read() as tx:
        sub = steps.read(tx, customer_id, sub_id)
        found = steps.due(tx, sub)
        is_to_ask = found is not None and _is_to_ask(tx, sub, found)
    if found is None or found.at > heads.now(env, customer_id):
        return _put_right(env, customer_id, sub_id)
    if found.what == "lapse":
        return _lapse(env, customer_id, sub_id)
    is_sure = not is_to_ask or dunning.learn_method(env, customer_id)
    with env.db.transaction(customer_id, wait_s=WAIT_S) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        sub = steps.read(tx, customer_id, sub_id)
        found = steps.due(tx, sub)
        if found is None or found.at > now:
            return False
        if not is_sure and now - found.at < dunning.ASK_FOR:
            steps.postpone(tx, sub, now + dunning.ASK_AGAIN)
            return False
        call = _do(env, tx, now, sub, found)
        crash.at("renewal_before_commit")
    crash.at("renewal_after_commit")
    if call is not None:
        with contextlib.suppress(PaymentFailed):  # It stands on the payment and the invoice.
            provider_calls.run(env, call)
    return True


def catch_up(env: Env, customer_id: UUID, sub_id: UUID) -> None:
    """Do first what was due before: a command of now is then about the period that runs now, as if
    no worker had ever stopped. What cannot be done at this moment is left to the sweeps."""
    for _ in range(MOST_AT_ONCE):
        with env.db.read() as tx:
            sub = steps.read(tx, customer_id, sub_id)
            if sub.due_at is None or sub.due_at > heads.now(env, customer_id, tx):
                return
        try:
            if not step(env, customer_id, sub_id):
                return
        except PaydeskError as exc:
            log.info("what is due is left to the sweeps", subscription=str(sub_id), why=repr(exc))
            return


def _put_right(env: Env, customer_id: UUID, sub_id: UUID) -> bool:
    """The row said that something was due, and nothing is: it says the right instant again."""
    with env.db.transaction(customer_id, wait_s=WAIT_S) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        sub = steps.read(tx, customer_id, sub_id)
        right = steps.due_at(tx, sub)
        if sub.due_at != right and (right is None or right > now):
            steps.save(tx, now, sub)
    return False


def _lapse(env: Env, customer_id: UUID, sub_id: UUID) -> bool:
    from paydesk.flows import subscriptions

    try:
        subscriptions.lapse(env, customer_id, sub_id)
    except PaymentInFlight:  # It is looked at again when the payment has ended.
        with env.db.transaction(customer_id, wait_s=WAIT_S) as tx:
            now = heads.decide(tx, env.now(), customer_id)
            steps.postpone(tx, steps.read(tx, customer_id, sub_id), now + WAIT_FOR_CHANGE)
        return False
    return True


def _do(
    env: Env, tx: Tx, now: datetime, sub: Sub, found: rules.Due
) -> provider_calls.Call | None:
    if found.what in ("renew", "trial_end"):
        return _renew(env, tx, now, sub)
    if found.what == "trial_notice":
        sub.told = {**sub.told, "trial": now.isoformat()}
        assert sub.trial_end is not None
        told = subscription_notices.upcoming(tx, now, sub, env.settings)
        steps.tell(tx, now, sub, "trial_will_end", trial_end=sub.trial_end.isoformat(), **told)
    elif found.what == "cancel":
        dunning.end_open(tx, now, sub)
        steps.end(tx, now, sub, "canceled", sub.cancel_reason or "requested")
    elif found.what == "resume":
        subscription_pauses.resumed(tx, now, sub)
    elif found.what == "credits" and not _may_give_month(tx, sub):
        steps.postpone(tx, sub, now + WAIT_FOR_MONEY)
        return None
    elif found.what == "credits":
        sub.credits_month += 1
        if not _is_void(tx, sub):
            memberships.give(tx, now, sub, steps.terms(tx, sub), sub.credits_month,
                         steps.payment_of_period(tx, sub), env.settings)  # fmt: skip
    steps.save(tx, now, sub)
    return None


def _may_give_month(tx: Tx, sub: Sub) -> bool:
    """Whether a later month of the running period may be given. A provider calls one active that
    was not paid for: a draft waits, its invoice was given up, or nothing of it was sold."""
    if sub.runner == "paydesk":
        return True
    paid = tx.value(
        "select id from invoices where customer_id = %(customer_id)s"
        " and subscription_id = %(id)s and cycle = %(cycle)s and state = 'paid'",
        {"customer_id": sub.customer_id, "id": sub.id, "cycle": sub.period},
    )
    return paid is not None and not provider_billing_books.is_trials_own(tx, sub, paid)


def _is_void(tx: Tx, sub: Sub) -> bool:
    """Whether the running period's invoice is void: what nobody paid gives no credits."""
    return bool(tx.value(
        "select exists (select 1 from invoices where customer_id = %(customer_id)s"
        " and subscription_id = %(id)s and cycle = %(cycle)s and state = 'void')",
        {"customer_id": sub.customer_id, "id": sub.id, "cycle": sub.period},
    ))  # fmt: skip


# A period begins -------------------------------------------------------------------------------


def _renew(env: Env, tx: Tx, now: datetime, sub: Sub) -> provider_calls.Call | None:
    """The next period: its invoice, once, and the charge for it."""
    if sub.next is not None and "invoice" in sub.next:
        row = invoice_books.find(tx, sub.customer_id, UUID(sub.next["invoice"]))
        if row is not None and row.state == "open" and invoice_books.under_way(tx, row):
            steps.postpone(tx, sub, now + WAIT_FOR_CHANGE)
            return None
        steps.drop_next(tx, now, sub)
    is_trial = sub.state == "trialing"
    if is_trial and not steps.has_method(tx, sub) and _costs(sub):
        steps.end(tx, now, sub, "lapsed", "no_payment_method")
        steps.save(tx, now, sub)
        return None
    _take_next(tx, now, sub)
    if is_trial:
        subscription_trials.count_on(sub, steps.terms(tx, sub))
    _move_on(tx, sub)
    if is_trial:
        steps.move(tx, now, sub, "paid", None)
    told, span = steps.terms(tx, sub), (sub.period_start, sub.period_end)
    discount = bills.use_discount(tx, sub)

    def drafted(draft: invoice_books.InvoiceRow) -> None:
        sub.latest_invoice_id = draft.id
        steps.save(tx, now, sub)  # Where nothing is due, what was paid for is given right after.

    row = bills.bill(
        env, tx, now, sub, "subscription_cycle", [bills.period_item(tx, sub, told, *span)],
        key=("cycle", str(sub.period)), cycle=sub.period, period=span, discount=discount,
        drafted=drafted,
    )  # fmt: skip
    crash.at("renewal_invoiced")
    return _charge(env, tx, now, sub, row) if row.state == "open" else None


def _charge(
    env: Env, tx: Tx, now: datetime, sub: Sub, row: invoice_books.InvoiceRow
) -> provider_calls.Call | None:
    """Intend the charge; no method, or a sum that nobody can be asked for, is a failed try."""
    code = dunning.NO_METHOD
    try:
        call = bills.charge(env, tx, now, sub, row, is_fresh=True)
    except InvalidRequest as exc:
        call, code = None, exc.code
    if call is None:
        row = invoice_books.change(
            tx, invoice_books.get(tx, sub.customer_id, row.id), attempts=row.attempts + 1
        )
        dunning.failed(tx, now, sub, row, code)
        steps.save(tx, now, sub)
    return call


def _move_on(tx: Tx, sub: Sub) -> None:
    number = sub.period + 1
    start, end = steps.bounds(sub, steps.terms(tx, sub), number)
    sub.period, sub.period_start, sub.period_end, sub.credits_month = number, start, end, 0


def _take_next(tx: Tx, now: datetime, sub: Sub) -> None:
    """A change that waited for the period's end takes effect."""
    if sub.next is None:
        return
    wanted, before = sub.next, steps.terms(tx, sub)
    was, _ = steps.plan_words(tx, sub.plan_id)
    sub.next = None
    sub.plan_id, sub.plan_version = UUID(wanted["plan_id"]), wanted["plan_version"]
    sub.quantity = wanted["quantity"]
    after = steps.terms(tx, sub)
    sub.price_minor = plans.price(after, sub.currency).minor
    if steps.begins_anew(before, after):
        subscription_trials.count_on(sub, after)
    changed = ["plan"] if before.plan_id != after.plan_id else ["quantity"]
    if before.plan_id != after.plan_id:
        access.revoke_source(tx, now, sub.customer_id, sub.id, "cancellation")
    steps.tell(tx, now, sub, "updated", changed=changed, plan_was=was)


def _costs(sub: Sub) -> bool:
    return sub.price_minor > 0


# Customers whose clock is moved by hand --------------------------------------------------------

clock_sources.register(clock_sources.Due(
    name="renewals", rank=30, step=step,
    find="select t.due_at, t.customer_id, t.id from clock_customers k"
    " join subscriptions t using (customer_id) where k.clock_id = %(clock_id)s"
    " and t.due_at < 'infinity' and t.due_at <= %(until)s",
))  # fmt: skip
clock_sources.register(clock_sources.Due(
    name="dunning", rank=31, step=dunning.retry,
    find="select t.try_at as due_at, t.customer_id, t.id from clock_customers k"
    " join invoices t using (customer_id) where k.clock_id = %(clock_id)s"
    " and t.try_at <= %(until)s",
))  # fmt: skip
