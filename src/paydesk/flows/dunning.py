"""Dunning: an invoice that could not be charged is tried again, until it is paid or given up.

`invoices.try_at` is when it is tried next. A new method moves it to now.
"""

from __future__ import annotations

import contextlib
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from paydesk import crash, ids
from paydesk.db.errors import DatabaseUnavailable
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import (
    Busy,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    PaydeskError,
    PaymentFailed,
    ProviderUnavailable,
)
from paydesk.flows import (
    access,
    due_batches,
    heads,
    invoice_books,
    invoices,
    methods,
    plans,
    provider_calls,
    subscription_trials,
)
from paydesk.flows import subscription_bills as bills
from paydesk.flows import subscription_steps as steps
from paydesk.flows.invoice_books import InvoiceRow
from paydesk.flows.subscription_steps import Sub
from paydesk.flows.sweeps import SET_BACK, WAIT_S
from paydesk.rules import dunning as rules
from paydesk.rules.invoices import PAYABLE
from paydesk.rules.plans import Terms

#: Where a process may die: before a try's commit, and after it.
POINTS = ("dunning_before_commit", "dunning_after_commit")
#: Who may have a method that a provider knows, which is away, is looked at again so much later;
#: a renewal waits for so long at most, a try so long after the last one of its schedule.
ASK_AGAIN = timedelta(minutes=15)
ASK_FOR = timedelta(days=1)
#: What the schedule knows a missing or unusable method by.
NO_METHOD = "payment_method_not_usable"


def schedule(told: Terms) -> rules.Schedule:
    """The plan's schedule."""
    return rules.read(told.dunning)


def failed(tx: Tx, now: datetime, sub: Sub, row: InvoiceRow, code: str | None) -> None:
    """A try to charge an invoice of a period failed: what follows is decided, once.

    The head is locked; the caller saves `sub`.
    """
    if row.first_failed_at is None or row.error_code != code:
        row = invoice_books.change(
            tx, row, first_failed_at=row.first_failed_at or now, error_code=code
        )
    assert row.first_failed_at is not None
    attempts = max(1, row.attempts)
    found = rules.next_step(
        schedule(steps.terms(tx, sub)), row.first_failed_at, attempts, code, now
    )
    if isinstance(found, rules.Final):
        _give_up(tx, now, sub, row, found)
        return
    at = found.at if isinstance(found, rules.Retry) else found.final_at
    invoice_books.change(tx, row, try_at=at)
    if sub.state in ("unpaid", "paused"):
        return
    until = "retry_at" if isinstance(found, rules.Retry) else "final_at"
    steps.move(tx, now, sub, "payment_failed", "past_due", error_code=code,
               invoice=ids.show("invoice", row.id), attempts=attempts,
               **{until: at.isoformat()})  # fmt: skip


def _give_up(tx: Tx, now: datetime, sub: Sub, row: InvoiceRow, found: rules.Final) -> None:
    """The plan's last action."""
    if sub.state == "active":
        steps.move(tx, now, sub, "payment_failed", None)
    shown = ids.show("invoice", row.id)
    is_paused = sub.state == "paused"  # Nothing begins to live on in a pause: it ends.
    if found.action == "downgrade" and found.downgrade_to is not None and not is_paused:
        with contextlib.suppress(NotFound):
            _downgrade(tx, now, sub, row, found.downgrade_to)
            return
    if found.action == "unpaid":
        invoice_books.change(tx, row, try_at=None)
        if sub.state == "past_due":
            steps.move(tx, now, sub, "gave_up", "unpaid", invoice=shown)
        access.revoke_source(tx, now, sub.customer_id, sub.id, "cancellation")
        return
    invoices.close(tx, now, row, "give_up", "invoice.marked_uncollectible", "uncollectible_at")
    end_open(tx, now, sub)
    steps.end(tx, now, sub, "canceled", "payment_failed")


def _downgrade(tx: Tx, now: datetime, sub: Sub, row: InvoiceRow, key: str) -> None:
    """It lives on with the lesser plan, whose first period begins now. Raises NotFound."""
    plan = plans.plan_in(tx, key)
    if sub.currency not in plan.terms.prices:
        raise NotFound(f"Plan {key!r} has no price in {sub.currency}.")
    invoices.close(tx, now, row, "give_up", "invoice.marked_uncollectible", "uncollectible_at")
    end_open(tx, now, sub)
    was, _ = steps.plan_words(tx, sub.plan_id)
    sub.plan_id, sub.plan_version = plan.uuid, plan.version
    sub.price_minor = plan.terms.prices[sub.currency].minor
    sub.quantity = min(max(sub.quantity, plan.terms.least_quantity), plan.terms.most_quantity)
    steps.drop_next(tx, now, sub)
    sub.next = None
    sub.period_end = now
    subscription_trials.count_on(sub, plan.terms)
    sub.period_start = min(sub.period_start, now - steps.INSTANT)
    steps.move(tx, now, sub, "downgraded", "updated", changed=["plan"], plan_was=was,
               reason="payment_failed")  # fmt: skip
    access.revoke_source(tx, now, sub.customer_id, sub.id, "cancellation")


def end_open(tx: Tx, now: datetime, sub: Sub) -> None:
    """Nothing that is still asked for is asked for any more."""
    for one in steps.open_invoices(tx, sub):
        row = invoice_books.get(tx, sub.customer_id, one["id"])
        if row.state == "open":
            invoices.close(
                tx, now, row, "give_up", "invoice.marked_uncollectible", "uncollectible_at"
            )


# Trying again ----------------------------------------------------------------------------------


def new_method(tx: Tx, now: datetime, customer_id: UUID, method_id: UUID) -> None:
    """A method was added, or made the default: what is owed is tried with it at once."""
    owing = tx.all(
        "select id, subscription_id from invoices where customer_id = %(customer_id)s"
        " and state = 'open' and subscription_id is not null and first_failed_at is not null"
        " and runner = 'paydesk'"
        " order by created_at limit 100",
        {"customer_id": customer_id},
    )
    for one in owing:
        row = invoice_books.get(tx, customer_id, one["id"])
        sub = steps.read(tx, customer_id, one["subscription_id"])
        if row.reason == "subscription_create" or sub.state in ("canceled", "expired"):
            continue
        invoice_books.change(tx, row, try_at=now, error_code=None)
        if sub.method_id is not None and sub.method_id != method_id:
            sub.method_id = method_id
            steps.save(tx, now, sub)


def retry_due(env: Env, limit: int = 4 * due_batches.SIZE) -> int:
    """Sweep: try every invoice again whose time has come; answers how many were taken up."""
    with env.db.read() as tx:
        found = tx.all(
            "select customer_id, id from invoices where try_at <= %(now)s and clock_id is null"
            " order by try_at, created_at limit %(limit)s",
            {"now": env.now(), "limit": limit},
        )
    done, alone = due_batches.run(env, found, _act, POINTS)
    return done + due_batches.by_itself(
        env, "dunning", alone, partial(retry, env), partial(_set_back, env), _later, POINTS
    )


def _act(
    env: Env, tx: Tx, at: datetime, customer_id: UUID, invoice_id: UUID
) -> tuple[bool, provider_calls.Call | None] | None:
    """`retry` inside a batch: the head is locked. None where a provider has to be asked first."""
    now = heads.decide(tx, at, customer_id)
    row = invoice_books.find(tx, customer_id, invoice_id)
    if row is None or row.try_at is None or row.try_at > now:
        return False, None
    if row.subscription_id is not None and not knows_method(tx, customer_id):
        return None
    return True, _again(env, tx, now, row)


def _set_back(env: Env, customer_id: UUID, invoice_id: UUID) -> None:
    with env.db.transaction(customer_id, wait_s=WAIT_S) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        row = invoice_books.find(tx, customer_id, invoice_id)
        if row is not None and row.try_at is not None and row.try_at <= now:
            invoice_books.change(tx, row, try_at=now + SET_BACK)


def _later(
    env: Env, tx: Tx, at: datetime, customer_id: UUID, invoice_id: UUID
) -> tuple[bool, None]:
    now = heads.decide(tx, at, customer_id)
    row = invoice_books.find(tx, customer_id, invoice_id)
    if row is not None and row.try_at is not None and row.try_at <= now:
        invoice_books.change(tx, row, try_at=now + due_batches.LATER)
    return False, None


def retry(env: Env, customer_id: UUID, invoice_id: UUID) -> bool:
    """Charge an invoice again if its time has come, or do what comes last."""
    with env.db.read() as tx:
        wanted = invoice_books.find(tx, customer_id, invoice_id)
    is_sure = True
    if wanted is not None and wanted.subscription_id is not None:
        is_sure = learn_method(env, customer_id)
    with env.db.transaction(customer_id, wait_s=WAIT_S) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        row = invoice_books.find(tx, customer_id, invoice_id)
        if row is None or row.try_at is None or row.try_at > now:
            return False
        if not is_sure and _may_wait(tx, now, row):
            invoice_books.change(tx, row, try_at=now + ASK_AGAIN)
            return False
        call = _again(env, tx, now, row)
        crash.at("dunning_before_commit")
    crash.at("dunning_after_commit")
    if call is not None:
        with contextlib.suppress(PaymentFailed):  # It stands on the payment and the invoice.
            provider_calls.run(env, call)
    return True


def _may_wait(tx: Tx, now: datetime, row: InvoiceRow) -> bool:
    """Whether its schedule, and a day more, is not over yet."""
    if row.subscription_id is None or row.first_failed_at is None:
        return False
    told = schedule(steps.terms(tx, steps.read(tx, row.customer_id, row.subscription_id)))
    return now < row.first_failed_at + timedelta(days=max(told.days, default=0)) + ASK_FOR


def _again(
    env: Env, tx: Tx, now: datetime, row: InvoiceRow
) -> provider_calls.Call | None:
    stands = row.state in PAYABLE and row.subscription_id is not None
    if not stands or invoice_books.under_way(tx, row):
        invoice_books.change(tx, row, try_at=None)
        return None
    assert row.subscription_id is not None
    sub = steps.read(tx, row.customer_id, row.subscription_id)
    if rules.action_of(row.error_code) != "retry":
        # The last day without a method that could be charged.
        told = schedule(steps.terms(tx, sub))
        _give_up(tx, now, sub, row, rules.Final(told.final, told.downgrade_to))
        steps.save(tx, now, sub)
        return None
    code = NO_METHOD
    try:
        call = bills.charge(env, tx, now, sub, row)
    except InvalidRequest as exc:  # A sum that nobody can be asked for.
        call, code = None, exc.code
    if call is None:
        row = invoice_books.change(tx, invoice_books.get(tx, *_key(row)), attempts=row.attempts + 1)
        failed(tx, now, sub, row, code)
        steps.save(tx, now, sub)
    return call


def _key(row: InvoiceRow) -> tuple[UUID, UUID]:
    return row.customer_id, row.id


def knows_method(tx: Tx, customer_id: UUID) -> bool:
    """Whether there is a default method."""
    return tx.value(
        "select exists (select 1 from payment_methods where customer_id = %(customer_id)s"
        " and is_default and detached_at is null)",
        {"customer_id": customer_id},
    )


def learn_method(env: Env, customer_id: UUID) -> bool:
    """Where no method is known here, ask the providers that know this customer: what a checkout
    was paid with is saved there. False where one may still come to be known: one of them did not
    answer, its answer could not be written down, or a method is being saved."""
    with env.db.read() as tx:
        is_known = knows_method(tx, customer_id)
    if is_known:
        return True
    is_sure = True
    for name in methods.known_providers(env, customer_id):
        try:
            is_sure &= methods.sync(env, customer_id, name)
        except DatabaseUnavailable:
            raise
        except (ProviderUnavailable, OutcomeUnknown, Busy):
            is_sure = False
        except PaydeskError:
            pass  # It answered, if only to refuse; another may know of one.
    with env.db.read() as tx:
        return knows_method(tx, customer_id) or (is_sure and not methods.is_busy(tx, customer_id))
