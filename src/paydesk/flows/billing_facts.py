"""Mails about subscriptions and invoices: which event calls for which, and what each shows.

What a mail says of a subscription stands in its event, which tells how it stood then: the
customers of a clock may be months ahead when their mails are written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import NotFound, PaydeskError
from paydesk.flows import (
    credit_notes,
    invoice_books,
    invoice_numbers,
    invoice_papers,
    invoice_views,
    plans,
)
from paydesk.flows.customers import Customer
from paydesk.flows.events import Event
from paydesk.flows.invoice_books import InvoiceRow
from paydesk.rules.invoices import PAYABLE

#: Codes of charges that only their payer can confirm.
CONFIRM = frozenset(
    {"authentication_required", "authentication_not_handled", "payer_action_required",
     "payment_intent_authentication_failure"}
)  # fmt: skip
#: What is written off because it cannot be charged is told by nobody.
QUIET_NOTES = frozenset({"too_small_to_charge"})
#: What a subscription's own mails tell of a failed charge: then no other does.
TOLD_BY = frozenset(
    {"subscription.past_due", "subscription.unpaid", "subscription.canceled",
     "subscription.updated"}
)  # fmt: skip

Facts = dict[str, Any]


class Nobody(Exception):
    """There is nobody to send it to, or nothing to say any more."""


class NotYet(Exception):
    """What it is to tell is not decided yet."""


# Which event calls for which mail ----------------------------------------------------------------


def kind_of(event: Event) -> str | None:
    """The kind of mail that an event of a subscription or an invoice calls for."""
    find = _KIND_OF.get(event.type)
    return find(event.data) if find is not None else None


def _expired(data: Mapping[str, Any]) -> str | None:
    return "trial_ended" if data.get("reason") == "no_payment_method" else None


def _past_due(data: Mapping[str, Any]) -> str:
    return "renewal_action" if data.get("error_code") in CONFIRM else "renewal_failed"


def _canceled(data: Mapping[str, Any]) -> str | None:
    if data.get("was") == "incomplete":
        return None  # It never began.
    is_unpaid = data.get("reason") == "payment_failed"
    return "subscription_gave_up" if is_unpaid else "subscription_canceled"


def _updated(data: Mapping[str, Any]) -> str | None:
    changed = set(data.get("changed") or ())
    if "cancel_at" in changed:
        return "subscription_ending" if data.get("cancel_at") else "subscription_kept"
    if data.get("reason") == "payment_failed":
        return "subscription_gave_up"
    if changed == {"next"} and not data.get("plan_next"):
        return None  # A change that waited was taken back: all stays as it is.
    return "subscription_changed" if changed & {"plan", "quantity", "terms", "next"} else None


def _finalized(data: Mapping[str, Any]) -> str | None:
    return "invoice" if data.get("reason") == "manual" and data.get("due") else None


def _paid(data: Mapping[str, Any]) -> str | None:
    """Only what the balance paid: of what a credit note took off, that one tells."""
    by_balance = (data.get("balance") or 0) > 0 and not data.get("credited")
    return "invoice_paid" if by_balance and not data.get("payment_id") else None


def _noted(data: Mapping[str, Any]) -> str | None:
    return None if data.get("reason") in QUIET_NOTES else "credit_note"


_KIND_OF: dict[str, Callable[[Mapping[str, Any]], str | None]] = {
    "subscription.trial_will_end": lambda _: "trial_ending",
    "subscription.expired": _expired,
    "subscription.renewal_upcoming": lambda _: "renewal_upcoming",
    "payment_method.expiring": lambda _: "card_expiring",
    "subscription.past_due": _past_due,
    "subscription.unpaid": lambda _: "subscription_gave_up",
    "subscription.canceled": _canceled,
    "subscription.updated": _updated,
    "subscription.paused": lambda _: "subscription_paused",
    "subscription.resumed": lambda _: "subscription_resumed",
    "invoice.finalized": _finalized,
    "invoice.paid": _paid,
    "credit_note.created": _noted,
    "credit_note.voided": lambda _: "credit_note_voided",
}


def of_invoice(tx: Tx, customer_id: UUID, payment_id: UUID) -> Mapping[str, Any] | None:
    """Of a payment for an invoice: that invoice's subscription and who runs it."""
    return tx.one(
        "select i.subscription_id, i.runner, i.reason from payments p join invoices i"
        " on i.customer_id = p.customer_id and p.payable = 'invoice:' || i.id"
        " where p.customer_id = %(customer_id)s and p.id = %(id)s",
        {"customer_id": customer_id, "id": payment_id},
    )


def runner_of(tx: Tx, customer_id: UUID, event: Event) -> str:
    """Who bills what an event is about: paydesk or provider."""
    named = event.data.get("subscription_id") or event.subject_id
    if event.type.startswith("payment.") and (found := of_invoice(tx, customer_id, named)):
        return str(found["runner"])
    runner = tx.value(
        "select runner from subscriptions where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": customer_id, "id": UUID(str(named))},
    )
    return runner or "paydesk"


# What each shows ---------------------------------------------------------------------------------


def gather(kind: str, env: Env, customer: Customer, event: Event) -> Facts:
    """What a mail of this kind shows. Raises Nobody where there is nothing to say any more."""
    return _GATHER[kind](env, customer, event)


def _sub(env: Env, event: Event, *days: str) -> Facts:
    """What every mail about a subscription names: the plan, the seats, the price, some days."""
    data = event.data
    with env.db.read() as tx:
        names = {key: _plan_name(tx, key) for key in (data.get("plan"), data.get("plan_was"),
                                                      data.get("plan_next")) if key}  # fmt: skip
    found: Facts = {
        "plan": names.get(data.get("plan"), ""), "quantity": data.get("quantity", 1),
        "amount": data.get("amount", 0), "currency": data["currency"],
        "at": local(env, event.created_at), "renews_at": _instant(env, data.get("period_end")),
        "plan_was": names.get(data.get("plan_was")), "plan_next": names.get(data.get("plan_next")),
    }  # fmt: skip
    return found | {name: _instant(env, data.get(name)) for name in days}


def _plan_name(tx: Tx, key: str) -> str:
    return tx.value("select name from plans where key = %(key)s", {"key": key}) or key


def _trial_ending(env: Env, customer: Customer, event: Event) -> Facts:
    data = event.data
    return _sub(env, event) | {
        "amount": data.get("due", data.get("amount", 0)),
        "ends_at": _instant(env, data.get("trial_end") or data.get("period_end")),
        "has_method": data.get("has_method", True),
    }


def _upcoming(env: Env, customer: Customer, event: Event) -> Facts:
    return _sub(env, event) | {"amount": event.data.get("due", event.data.get("amount", 0))}


def _failed(env: Env, customer: Customer, event: Event) -> Facts:
    """A charge of a period that failed. Raises Nobody once its invoice asks for nothing."""
    facts = _sub(env, event, "retry_at", "final_at")
    owed = _owed(env, customer, event)
    return facts | owed | {"error_code": event.data.get("error_code") or owed.get("error_code")}


def _owed(env: Env, customer: Customer, event: Event) -> Facts:
    """The invoice that an event names: what it asks for, its page, the card that was tried."""
    row = _invoice_of(env, customer, event)
    if row is None:
        return {"pay_url": None}
    # A clock's mails tell what was so on their day.
    if row.state not in PAYABLE and row.clock_id is None:
        raise Nobody("It is not open any more.")
    asked = row.due_minor if row.state in PAYABLE else row.total_minor - row.balance_minor
    with env.db.read() as tx:
        detail = tx.value(
            "select method_detail from payments where customer_id = %(customer_id)s"
            " and payable = %(payable)s and created_at <= %(at)s"
            " order by created_at desc, id desc limit 1",
            {"customer_id": customer.uuid, "payable": row.payable, "at": event.created_at},
        )
    return {
        "amount": asked, "currency": row.currency, "number": row.number, "card": _card(detail),
        "error_code": row.error_code,
        "pay_url": invoice_views.page_url(env.settings.base_url, row),
    }  # fmt: skip


def _invoice_of(env: Env, customer: Customer, event: Event) -> InvoiceRow | None:
    """The invoice that an event names; where the provider bills, whichever is open."""
    named = event.data.get("invoice")
    if named:
        return numbered(env, customer.uuid, ids.parse("invoice", named))
    with env.db.read() as tx:
        found = tx.value(
            "select id from invoices where customer_id = %(customer_id)s"
            " and subscription_id = %(id)s and state = 'open'"
            " order by created_at desc, id desc limit 1",
            {"customer_id": customer.uuid, "id": event.subject_id},
        )
    return numbered(env, customer.uuid, found) if found else None


def _card(detail: Mapping[str, Any] | None) -> Facts:
    detail = detail or {}
    return {name: detail[name] for name in ("brand", "last4", "wallet") if detail.get(name)}


def _expiring(env: Env, customer: Customer, event: Event) -> Facts:
    data = event.data
    return _sub(env, event) | {
        "card": _card(data), "expires": f"{data['exp_month']:02d}/{data['exp_year']}",
    }  # fmt: skip


def _changed(env: Env, customer: Customer, event: Event) -> Facts:
    """A change, with the lines of the invoice that it was charged by."""
    data, facts = event.data, _sub(env, event)
    facts |= {"waits": "next" in (data.get("changed") or ()), "paper": None,
              "quantity_was": data.get("quantity_was", data.get("quantity", 1))}  # fmt: skip
    if facts["waits"]:
        facts |= {"plan_was": facts["plan"], "quantity_was": facts["quantity"],
                  "plan": facts["plan_next"] or facts["plan"],
                  "quantity": data.get("quantity_next", facts["quantity"])}  # fmt: skip
        return facts | _next_price(env, data, facts)
    with env.db.read() as tx:
        invoice_id = tx.value(
            "select id from invoices where customer_id = %(customer_id)s"
            " and subscription_id = %(id)s and reason = 'subscription_update' and state = 'paid'"
            " and paid_at = %(at)s order by created_at desc limit 1",
            {"customer_id": customer.uuid, "id": event.subject_id, "at": event.created_at},
        )
    if invoice_id is not None:
        facts["paper"] = paper(env, customer.uuid, invoice_id)
    return facts


def _next_price(env: Env, data: Mapping[str, Any], facts: Facts) -> Facts:
    """What a period costs once the change is made: as its provider says, else at the plan's
    present terms."""
    if "amount_next" in data:
        return {"amount": data["amount_next"]}
    try:
        with env.db.read() as tx:
            terms = plans.plan_in(tx, data.get("plan_next") or data["plan"]).terms
        return {"amount": plans.price(terms, facts["currency"]).minor * facts["quantity"]}
    except PaydeskError:  # The plan is gone since: its price is left as it was.
        return {}


def _gave_up(env: Env, customer: Customer, event: Event) -> Facts:
    then = {"subscription.canceled": "canceled", "subscription.unpaid": "unpaid"}.get(event.type)
    facts = _sub(env, event) | {"then": then or "downgraded", "pay_url": None}
    if facts["plan_was"] is None:
        facts["plan_was"] = facts["plan"]
    return facts | (_owed(env, customer, event) if then == "unpaid" else {})


# Invoices and credit notes -----------------------------------------------------------------------


def numbered(env: Env, customer_id: UUID, invoice_id: UUID) -> InvoiceRow:
    """The invoice with its number, which is drawn now where it can be."""
    with env.db.read() as tx:
        row = invoice_books.get(tx, customer_id, invoice_id)
    if row.number is None and row.runner == "paydesk" and row.state != "draft":
        try:
            invoice_numbers.number(env, customer_id, invoice_id)
        except PaydeskError:  # The sweep draws it; nobody waits for a number.
            return row
        with env.db.read() as tx:
            row = invoice_books.get(tx, customer_id, invoice_id)
    return row


def paper(env: Env, customer_id: UUID, invoice_id: UUID) -> Facts:
    """The invoice's document, with its number."""
    one = invoice_papers.numbered(env, invoice_views.get(env, customer_id, invoice_id))
    return invoice_papers.invoice_facts(env, one)


def paid_by(env: Env, customer: Customer, invoice_id: UUID) -> Facts:
    """What the receipt of an invoice's payment shows of it: the document, and its page."""
    try:
        one = numbered(env, customer.uuid, invoice_id)
    except NotFound:
        return {}
    found: Facts = {"invoice_url": invoice_views.page_url(env.settings.base_url, one)}
    if one.runner == "paydesk" and one.state != "draft":
        found["paper"] = paper(env, customer.uuid, invoice_id)
    return found


def _invoice(env: Env, customer: Customer, event: Event) -> Facts:
    """A new invoice. Raises Nobody once it is not open any more, and where it is charged by
    itself."""
    row = numbered(env, customer.uuid, event.subject_id)
    if row.state != "open" and row.clock_id is None:
        raise Nobody("It is not open any more.")
    return {
        "email": row.buyer.get("email") or customer.email, "number": row.number,
        "amount": event.data["due"], "currency": row.currency,
        "due_at": local(env, row.due_at or event.created_at),
        "pay_url": invoice_views.page_url(env.settings.base_url, row),
        "paper": paper(env, customer.uuid, row.id),
    }  # fmt: skip


def _invoice_paid(env: Env, customer: Customer, event: Event) -> Facts:
    """An invoice that the balance paid. Raises Nobody where its paper is the provider's."""
    row = numbered(env, customer.uuid, event.subject_id)
    if row.runner != "paydesk":
        raise Nobody("The provider writes this invoice.")
    return {
        "email": row.buyer.get("email") or customer.email, "number": row.number,
        "amount": row.total_minor, "currency": row.currency,
        "at": local(env, row.finalized_at or event.created_at),
        "pay_url": invoice_views.page_url(env.settings.base_url, row),
        "paper": paper(env, customer.uuid, row.id),
    }  # fmt: skip


def _note(env: Env, customer: Customer, event: Event) -> Facts:
    """A credit note. Raises Nobody once it was taken back, NotYet while a person decides on its
    refund."""
    one = credit_notes.get(env, customer.uuid, event.subject_id)
    if one.status == "void":
        raise Nobody("It was taken back.")
    if one.refund_status == "requested":
        raise NotYet("Its refund waits to be approved.")
    return _note_facts(env, customer, one)


def _note_voided(env: Env, customer: Customer, event: Event) -> Facts:
    """A credit note that was taken back. Raises Nobody where its customer was never told of it."""
    with env.db.read() as tx:
        was_told = tx.value(
            "select exists (select from notifications n join events e"
            " on e.customer_id = n.customer_id and e.seq = n.seq"
            " where n.customer_id = %(customer_id)s and n.kind = 'credit_note'"
            " and n.state in ('sent', 'kept') and e.subject_id = %(id)s)",
            {"customer_id": customer.uuid, "id": event.subject_id},
        )
    if not was_told:
        raise Nobody("Its customer was told of no credit note.")
    return _note_facts(env, customer, credit_notes.get(env, customer.uuid, event.subject_id))


def _note_facts(env: Env, customer: Customer, one: credit_notes.NoteView) -> Facts:
    if one.number is None:
        invoice_numbers.number(env, customer.uuid, one.id, invoice_numbers.NOTES)
        one = credit_notes.get(env, customer.uuid, one.id)
    row = numbered(env, customer.uuid, one.invoice_id)
    return {
        "email": row.buyer.get("email") or customer.email, "amount": one.amount.minor,
        "currency": row.currency, "note": invoice_papers.note_facts(env, one),
        "pay_url": invoice_views.page_url(env.settings.base_url, row),
    }  # fmt: skip


def local(env: Env, at: datetime) -> str:
    """The instant in the business's time zone, whose days its papers have."""
    return at.astimezone(ZoneInfo(env.settings.time_zone)).isoformat()


def _instant(env: Env, text: str | None) -> str | None:
    return local(env, datetime.fromisoformat(text)) if text else None


_GATHER: dict[str, Callable[[Env, Customer, Event], Facts]] = {
    "trial_ending": _trial_ending,
    "trial_ended": lambda env, _, event: _sub(env, event),
    "renewal_upcoming": _upcoming,
    "renewal_failed": _failed,
    "renewal_action": _failed,
    "card_expiring": _expiring,
    "subscription_changed": _changed,
    "subscription_ending": lambda env, _, event: _sub(env, event) | {
        "ends_at": _instant(env, event.data["cancel_at"])},
    "subscription_kept": lambda env, _, event: _sub(env, event),
    "subscription_canceled": lambda env, _, event: _sub(env, event),
    "subscription_gave_up": _gave_up,
    "subscription_paused": lambda env, _, event: _sub(env, event, "resume_at"),
    "subscription_resumed": lambda env, _, event: _sub(env, event),
    "invoice": _invoice,
    "invoice_paid": _invoice_paid,
    "credit_note": _note,
    "credit_note_voided": _note_voided,
}  # fmt: skip
