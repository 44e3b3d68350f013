"""A change that waits for its payment, or for the period's end: taken back before it comes.

Its payment is ended at the provider before anything is said of it here: money that came first
keeps the change, whatever was asked for in the same instant.
"""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import crash, ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import ChangeWasPaid, PaydeskError, PaymentInFlight
from paydesk.flows import checkout, heads, invoice_books, invoices, provider_calls
from paydesk.flows import provider_billing_changes as there
from paydesk.flows import subscription_steps as steps
from paydesk.flows.subscription_steps import Sub
from paydesk.flows.subscription_views import SubscriptionView, get

#: Where a process may die: before the wish is written, and after it.
POINTS = ("drop_before_commit", "drop_after_commit")


def takes_back(one: SubscriptionView, plan: Any, quantity: int | None) -> bool:
    """Whether a change to this plan and these seats is one to what runs already, while another
    waits for its payment."""
    if one.next is None or "invoice" not in one.next or (plan is None and quantity is None):
        return False
    return _runs(one, plan, quantity)


def _runs(one: SubscriptionView, plan: Any, quantity: int | None) -> bool:
    named = getattr(plan, "key", plan)
    mine = (None, one.plan_key, one.plan_id, str(one.plan_id), ids.show("plan", one.plan_id))
    return named in mine and quantity in (None, one.quantity)


def word_of(next: dict[str, Any] | None) -> str:
    """Which change it is that waits, as a form or a request names it; empty where none does."""
    if not next:
        return ""
    return next.get("invoice") or f"{next['plan_id']}.{next['plan_version']}.{next['quantity']}"


def was_asked(sub: Sub, key: UUID) -> bool:
    """Whether this very request took a change back, or began to."""
    return (sub.told.get("dropped") or [None])[0] == str(key)


def take_back(
    env: Env, customer_id: UUID, sub_id: UUID, plan: Any, quantity: int | None, key: UUID
) -> SubscriptionView:
    """`drop`, asked for as a change to what runs. Raises ChangeWasPaid where the money of the
    change that waited came first, and what `drop` raises."""
    after = drop(env, customer_id, sub_id, request_key=key)
    if not _runs(after, plan, quantity):
        raise ChangeWasPaid(
            f"The change to {after.plan_name} was paid before it could be taken back.",
            subscription=ids.show("subscription", sub_id),
        )
    return after


def drop(
    env: Env, customer_id: UUID, sub_id: UUID, *, waits: str | None = None,
    request_key: UUID | None = None,
) -> SubscriptionView:  # fmt: skip
    """Take back the change that waits. Nothing is owed then, and credits that were taken for it
    are back; one that had waited before it waits again. Answers the subscription as it is then:
    with the new plan, where the payment came first. Where nothing waits nothing is done, nor where
    it is another than `waits` names (`word_of`), or than this request found before.

    Raises NotFound, PaymentInFlight (the money is on its way and cannot be stopped), and what the
    provider raises: the sweep goes on ending it then.
    """
    if there.runs(env, customer_id, sub_id):
        def is_meant(sub: Sub) -> bool:
            return waits in (None, word_of(sub.next))

        return there.drop(env, customer_id, sub_id, is_meant, request_key)
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        sub = steps.read(tx, customer_id, sub_id)
        word = word_of(sub.next)
        is_repeat = request_key is not None and was_asked(sub, request_key)
        meant = sub.told["dropped"][1] if is_repeat else waits
        # What waited for no payment was dropped with the request: it is done.
        is_done = is_repeat and "invoice" not in (sub.next or {})
        if not word or is_done or meant not in (None, word):
            return get(env, customer_id, sub_id)
        if request_key is not None:
            sub.told = {**sub.told, "dropped": [str(request_key), word]}
        invoice, payment_id = _waits_for(tx, sub)
        if payment_id is not None:
            _hasten(tx, now, customer_id, payment_id)
            steps.save(tx, now, sub)
        else:
            _drop(tx, now, sub, invoice)
        crash.at("drop_before_commit")
    crash.at("drop_after_commit")
    if payment_id is not None:
        checkout.end(env, customer_id, payment_id, "verify")
        with env.db.read() as tx:
            if _waits_for(tx, steps.read(tx, customer_id, sub_id)) == (invoice, payment_id):
                raise PaymentInFlight(
                    "Its payment is on its way and cannot be stopped: the change is made when it"
                    " arrives.", payment=ids.show("payment", payment_id),
                )  # fmt: skip
    return get(env, customer_id, sub_id)


def end_payments(env: Env, customer_id: UUID, sub_id: UUID) -> None:
    """End every payment that is under way for it: a subscription that is canceled at once asks
    for nothing any more. What cannot be ended now is left to the sweeps, and money that comes all
    the same to a person."""
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        asked: list[UUID] = []
        for one in steps.open_invoices(tx, steps.read(tx, customer_id, sub_id)):
            row = invoice_books.get(tx, customer_id, one["id"])
            payment_id = invoice_books.under_way(tx, row)
            with contextlib.suppress(PaymentInFlight):
                if payment_id is not None:
                    _hasten(tx, now, customer_id, payment_id)
                    asked.append(payment_id)
    for payment_id in asked:
        with contextlib.suppress(PaydeskError):
            checkout.end(env, customer_id, payment_id, "verify")


def _waits_for(tx: Tx, sub: Sub) -> tuple[invoice_books.InvoiceRow | None, UUID | None]:
    """The open invoice of the change that waits, and the payment that is under way for it."""
    if sub.next is None or "invoice" not in sub.next:
        return None, None
    row = invoice_books.find(tx, sub.customer_id, UUID(sub.next["invoice"]))
    if row is None or row.state != "open":
        return None, None
    return row, invoice_books.under_way(tx, row)


def _hasten(tx: Tx, now: datetime, customer_id: UUID, payment_id: UUID) -> None:
    """Written down before the provider is asked: whoever dies leaves it to the sweep of sessions.

    Raises PaymentInFlight while the charge itself is being sent: to end it would be to send it.
    """
    call = provider_calls.of_payment(tx, customer_id, payment_id, "charge")
    if call is not None and not call.is_settled:
        raise PaymentInFlight(
            "The charge is being sent at this moment: try again shortly.",
            payment=ids.show("payment", payment_id),
        )
    tx.run(
        "update attempts set expires_at = least(expires_at, %(now)s)"
        " where customer_id = %(customer_id)s and payment_id = %(payment_id)s"
        " and ended_at is null",
        {"customer_id": customer_id, "payment_id": payment_id, "now": now},
    )


def _drop(tx: Tx, now: datetime, sub: Sub, row: invoice_books.InvoiceRow | None) -> None:
    """No money can come for it any more."""
    steps.drop_next(tx, now, sub)
    if row is not None:
        invoices.close(tx, now, invoice_books.get(tx, row.customer_id, row.id))
    steps.tell(tx, now, sub, "updated", changed=["next"])
    steps.save(tx, now, sub)
